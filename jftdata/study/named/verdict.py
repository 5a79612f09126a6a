"""Whether a study's scores agree with what was found before: intervals over seeds, and plain words.

Each claim is of one number that every seed gives, such as the difference of two arms of that seed. Its interval is Student's t over
seeds, so what a seed shares (its images, the order) cancels out. One seed tells nothing.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from scipy import stats

Answer = Literal["agrees", "disagrees", "cannot tell"]
MARGIN = 0.02
"""Scores closer than this count as on a par: two points. Ours."""
MAIN = ("top-1", "AP", "mean IoU", "top-1 (k=10)", "top-1 (10 a class)")
"""Metrics that stand for a task, the first there is."""


@dataclass(frozen=True)
class Interval:
    """Mean over seeds and its 95% interval, infinite for one seed."""

    mean: float
    low: float
    high: float
    num_seeds: int


@dataclass(frozen=True)
class Claim:
    """What is expected of a number."""

    what: str
    """Such as `noisy against clean`; its points are put behind it."""
    of: Callable[[Mapping[str, float]], float]
    """The number, from one seed's scores by arm; a KeyError where an arm is not done."""
    expect: Literal["above", "same"] = "above"
    """Above zero, or within `MARGIN` of it."""


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean with the 95% interval of Student's t.

    >>> found = over_seeds([1.0, 2.0, 3.0])
    >>> found.mean, round(found.low, 2), round(found.high, 2)
    (2.0, -0.48, 4.48)
    """
    n, mean = len(values), statistics.fmean(values)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return Interval(mean, mean - half, mean + half, n)


def answer(found: Interval, expect: Literal["above", "same"]) -> Answer:
    """What an interval says of a claim.

    >>> answer(Interval(0.03, 0.01, 0.05, 3), "above"), answer(Interval(0.0, -0.01, 0.01, 3), "same")
    ('agrees', 'agrees')
    """
    if expect == "above":
        return "agrees" if found.low > 0 else "disagrees" if found.high < 0 else "cannot tell"
    if found.low >= -MARGIN and found.high <= MARGIN:
        return "agrees"
    return "disagrees" if found.low > MARGIN or found.high < -MARGIN else "cannot tell"


def points(found: Interval) -> str:
    """An interval of scores in points.

    >>> points(Interval(0.021, 0.01, 0.032, 3))
    '+2.1 points (1.0 to 3.2, 3 seeds)'
    """
    sign = f"{100 * found.mean:+.1f} points"
    if found.num_seeds == 1:
        return f"{sign} (one seed)"
    return f"{sign} ({100 * found.low:.1f} to {100 * found.high:.1f}, {found.num_seeds} seeds)"


def more(better: str, worse: str, *, what: str = "") -> Claim:
    """That one arm scores above another."""
    return Claim(what or f"{better} against {worse}", lambda score: score[better] - score[worse])


def same(one: str, other: str, *, what: str = "") -> Claim:
    """That two arms are on a par."""
    return Claim(what or f"{one} against {other}", lambda score: score[one] - score[other], "same")


def grows(arms: Mapping[str, float], what: str) -> Claim:
    """That scores rise with the logarithm of a number: the slope of a line through a seed's arms, a decade.

    Args:
        arms: the number by arm; arms at zero are left out.
        what: is counted, such as `images`.
    """
    return Claim(f"ten times the {what}", lambda score: slope(score, arms))


def slope(score: Mapping[str, float], arms: Mapping[str, float]) -> float:
    """Least squares of scores on log10 of a number."""
    used = {arm: at for arm, at in arms.items() if at > 0}
    return float(np.polyfit(np.log10(list(used.values())), [score[arm] for arm in used], 1)[0])


def verdict(table: pl.DataFrame, claims: Sequence[Claim], *, column: str = "value") -> str:
    """Say of each claim, task and mode what the seeds show, and in the first sentence what it comes to.

    Args:
        table: what `study.table` returns; rows of the task's main metric are taken.
        claims: what was found before.
        column: the score.
    """
    told: list[str] = []
    answers: list[Answer] = []
    for (task, mode), rows in table.partition_by("task", "mode", as_dict=True, maintain_order=True).items():
        known = set(rows["metric"].unique())
        metric = next((name for name in MAIN if name in known), min(known))
        rows = rows.filter(pl.col("metric") == metric, pl.col(column).is_not_null())
        seeds = [dict(part.select("arm", column).iter_rows()) for part in rows.partition_by("seed")]
        for claim in claims:
            values = _values(claim, seeds)
            head = f"{task} ({mode}, {metric}): {claim.what}"
            if not values:
                told.append(f"{head} is not known yet.")
                continue
            found = over_seeds(values)
            answers.append(answer(found, claim.expect))
            near = f", on a par within {100 * MARGIN:g} points" if claim.expect == "same" else ""
            told.append(f"{head} {points(found)}{near}: {answers[-1]}.")
    return "\n".join([_together(answers), *told])


def _values(claim: Claim, seeds: Sequence[Mapping[str, float]]) -> list[float]:
    values = []
    for score in seeds:
        try:
            values.append(claim.of(score))
        except KeyError:  # an arm of this seed is not done
            continue
    return values


def _together(answers: Sequence[Answer]) -> str:
    kinds = set(answers)
    if kinds == {"agrees"}:
        return "Agrees with the finding."
    if kinds == {"disagrees"}:
        return "Disagrees with the finding."
    if not kinds or kinds == {"cannot tell"}:
        return "Cannot tell whether the finding holds here."
    counts = ", ".join(
        f"{kind} in {list(answers).count(kind)}" for kind in ("agrees", "disagrees", "cannot tell") if kind in kinds
    )
    return f"Of {len(answers)} comparisons with the finding: {counts}."
