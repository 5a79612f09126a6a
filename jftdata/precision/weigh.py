"""Precision from the answers for a sample, weighted for how the sample was drawn, with an interval.

An answer stands for as many pairs as its stratum has for each one answered (Horvitz and Thompson 1952); precision is the
weighted share of yes among yes and no (Hájek's ratio). `unsure` is left out: the precision is that of the pairs that a
person can decide. An item without an answer is taken to be like the answered ones of its stratum.

The interval is Wilson's with the effective number of answers, p (1 - p) over the variance of the estimate under the
design. So that a stratum of all yes is not taken for certain, its variance counts one more answer, halfway between the
precision of all and 1/2; it is less by the share of the stratum that was answered. Wald's interval would be far too narrow
near 1. How often it covers the truth: `benchmarks/bench_precision.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.judge import ANSWERS
from jftdata.precision.draw import SAMPLE
from jftdata.precision.interval import wilson

ESTIMATE = {
    "group": pl.String(),  # all, frequency, depth, score, subtree or stratum
    "name": pl.String(),
    "precision": pl.Float64(),  # null where nobody said yes or no
    "low": pl.Float64(),
    "high": pl.Float64(),
    "if_all_no": pl.Float64(),  # were unsure ones and strata without an answer all wrong
    "if_all_yes": pl.Float64(),  # were they all right
    "num_yes": pl.Int64(),
    "num_no": pl.Int64(),
    "num_unsure": pl.Int64(),
    "num_unjudged": pl.Int64(),
    "population": pl.Float64(),  # pairs; exact for what strata are made of, else estimated
    "num_right": pl.Float64(),  # pairs answered yes, by Horvitz and Thompson
    "unrepresented": pl.Float64(),  # pairs of strata without an answer, left out of precision and interval
    "design_effect": pl.Float64(),  # answers that are worth one of a simple random sample
}


def estimate(
    sample: pl.DataFrame, judgements: pl.DataFrame, *, hierarchy: Hierarchy | None = None, under: Sequence[str] = (),
    confidence: float = 0.95,
) -> pl.DataFrame:  # fmt: skip
    """Precision of the labels a sample was drawn from.

    Args:
        sample: what `sample` drew, all of it; rows without an answer are counted.
        judgements: `image`, `label`, `answer` (yes, no or unsure), as `read_answers` returns them.
        hierarchy: of the labels; gives rows by subtree.
        under: labels whose own subtree and those of their children are told; without any, the roots.
        confidence: of the intervals, in (0, 1).

    Returns:
        Columns of `ESTIMATE`: all pairs, then by frequency, depth and score band, subtree and stratum; subtrees without a
        sampled pair are left out. Where there is no yes or no, `precision` is null and the interval 0..1; a stratum
        without any answer is counted in `unrepresented`.

    Raises:
        BadInput: a column missing, a probability outside 0..1 or NaN, strata that contradict themselves, another answer
            than yes, no or unsure, two answers to one pair, a pair twice in the sample.
        BadArgument: `under` without a hierarchy, a confidence out of range.
        UnknownName: an answer to a pair that is not in the sample; a label that is not in the hierarchy.

    Source: Horvitz and Thompson 1952; Hájek 1971; Korn and Graubard 1998 (effective number).
    """
    if not 0 < confidence < 1:
        raise BadArgument(f"`confidence` must be in (0, 1). Got {confidence}.")
    if under and hierarchy is None:
        raise BadArgument(f"`under` names {under[0]!r}, but no `hierarchy` is given. Give it too.")
    _check_sample(sample)
    answer = _answers(sample, judgements)
    names, stratum = np.unique(sample["stratum"].to_numpy(), return_inverse=True)
    population = np.zeros(len(names))
    population[stratum] = sample["population"].to_numpy()
    counted = _Counted(stratum, population, answer)
    groups = [("all", "all", np.ones(len(sample), np.bool_))]
    for group, column in (("frequency", "frequency"), ("depth", "depth"), ("score", "score_band")):
        values = sample[column].fill_null("").to_numpy()
        groups += [(group, value, values == value) for value in sorted(set(values) - {""})]
    if hierarchy is not None:
        groups += [("subtree", *rest) for rest in _subtrees(sample["label"].to_list(), hierarchy, under)]
    groups += [("stratum", name, stratum == i) for i, name in enumerate(names)]
    rows = [counted.row(*group, confidence) for group in groups]
    return pl.DataFrame(rows, schema=ESTIMATE, orient="row")


def describe(estimated: pl.DataFrame) -> str:
    """The first row of an estimate as a sentence.

    >>> row = dict.fromkeys(ESTIMATE, 0) | {"precision": None, "low": 0.0, "high": 1.0, "if_all_yes": 1.0, "num_unsure": 3}
    >>> describe(pl.DataFrame([row]))
    'precision unknown: nobody said yes or no (3 unsure, 0 unjudged)'
    """
    row = estimated.row(0, named=True)
    left = f"{row['num_unsure']:,} unsure, {row['num_unjudged']:,} unjudged"
    if row["precision"] is None:
        return f"precision unknown: nobody said yes or no ({left})"
    told = f"precision {row['precision']:.1%} ({row['low']:.1%} to {row['high']:.1%}) from {row['num_yes']:,} yes and "
    told += f"{row['num_no']:,} no for {row['population']:,.0f} given labels ({left})"
    if row["if_all_no"] < row["if_all_yes"]:
        told += f"; {row['if_all_no']:.1%} were all left out wrong, {row['if_all_yes']:.1%} were they right"
    if row["unrepresented"]:
        told += f"; {row['unrepresented']:,.0f} given labels are in strata that nobody answered for"
    return told


class _Counted:
    """Answers of a sample by stratum."""

    def __init__(self, stratum: NDArray[np.intp], population: NDArray[np.float64], answer: NDArray[Any]) -> None:
        self.stratum, self.population, self.answer = stratum, population, answer
        self.num_sampled = self._count(np.ones(len(answer), np.bool_))
        self.num_judged = self._count(answer != "")

    def _count(self, which: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(h,) how many of each stratum."""
        return np.bincount(self.stratum[which], minlength=len(self.population)).astype(np.float64)

    def row(self, group: str, name: str, inside: NDArray[np.bool_], confidence: float) -> tuple[Any, ...]:
        """The estimate for some of the pairs."""
        yes, no, unsure, none = (self._count(inside & (self.answer == x)) for x in ("yes", "no", "unsure", ""))
        weight = self.population / np.maximum(self.num_judged, 1)  # pairs an answer stands for
        sampled = self.population / self.num_sampled * self._count(inside)
        unrepresented = float(sampled[self.num_judged == 0].sum())
        right, unknown = float((weight * yes).sum()), float((weight * unsure).sum()) + unrepresented
        decided = float((weight * (yes + no)).sum())
        total = decided + unknown
        precision, low, high, effect = None, 0.0, 1.0, None
        if decided:
            precision = right / decided
            effective, effect = self._effective(yes, no, precision)
            low, high = wilson(min(precision, 1.0), effective, confidence=confidence)
        return (
            group, name, precision, low, high, right / total if total else 0.0, (right + unknown) / total if total else 1.0,
            *(int(x.sum()) for x in (yes, no, unsure, none)), float(sampled.sum()), right, unrepresented, effect,
        )  # fmt: skip

    def _effective(self, yes: NDArray[np.float64], no: NDArray[np.float64], precision: float) -> tuple[float, float]:
        """The number of answers of a simple random sample with this variance, and the design effect.

        With a share d of a stratum's answers inside, and p of them yes, the residual d (y - q) of the ratio q has the
        variance d (p (1 - p) + (p - q)^2) - d^2 (p - q)^2 in it. The number is infinite where every pair is answered; the
        effect is that of a large population.
        """
        there = yes + no > 0
        yes, num = yes[there], (yes + no)[there]
        judged, population = self.num_judged[there], self.population[there]
        inside = num / judged
        prior = (precision * num.sum() + 1) / (num.sum() + 2) / 2 + 1 / 4  # halfway from the precision of all to 1/2
        p = (yes + prior) / (num + 1)
        weight = population * inside
        q = float((weight * p).sum() / weight.sum())
        off = (p - q) ** 2
        residual = inside * (p * (1 - p) + off) - inside**2 * off
        parts = population**2 / judged * residual / (weight.sum() ** 2 * q * (1 - q))
        variance = float((parts * (1 - judged / population)).sum())
        return 1 / variance if variance > 0 else math.inf, float(num.sum() * parts.sum())


def _check_sample(sample: pl.DataFrame) -> None:
    missing = [name for name in SAMPLE if name not in sample.columns]
    if missing:
        raise BadInput(f"the sample has no column {missing[0]!r}, only {sample.columns}. Give what `sample` drew.")
    if sample.is_empty():
        raise BadInput("the sample has no rows. Give what `sample` drew.")
    wrong = sample.filter(~pl.col("probability").is_between(0, 1, closed="right").fill_null(False))
    if len(wrong):
        image, label, probability = wrong.select("image", "label", "probability").row(0)
        raise BadInput(
            f"probabilities must be in (0, 1]. Got {probability} for image {image} and label {label!r}. "
            "Give the sample as it was drawn."
        )
    drawn = (pl.col("population") * pl.col("probability")).round()
    strata = sample.group_by("stratum").agg(
        num=pl.len(), least=pl.col("population").min(), most=pl.col("population").max(), drawn_least=drawn.min(),
        drawn_most=drawn.max(),
    ).sort("stratum")  # fmt: skip
    for name, num, least, most, *both in strata.iter_rows():
        if least is None or least != most or both != [num, num]:
            raise BadInput(
                f"stratum {name!r} has {num:,} rows, expected its population times the probability of being drawn: {least} to "
                f"{most} pairs, {both[0]} to {both[1]} of them drawn. Give all of one sample."
            )
    twice = sample.filter(sample.select("image", "label").is_duplicated())
    if len(twice):
        raise BadInput(f"image {twice['image'][0]} and label {twice['label'][0]!r} are sampled twice. Give one sample.")


def _answers(sample: pl.DataFrame, judgements: pl.DataFrame) -> NDArray[Any]:
    """The answer of each row of the sample, empty for none."""
    for column in ("image", "label", "answer"):
        if column not in judgements.columns:
            raise BadInput(f"judgements have no column {column!r}, only {judgements.columns}. Use `read_answers`.")
    given = judgements.select(pl.col("image").cast(pl.Int64), pl.col("label").cast(pl.String), "answer").unique()
    wrong = given.filter(~pl.col("answer").is_in(ANSWERS).fill_null(False))
    if len(wrong):
        raise BadInput(f"an answer is {wrong['answer'][0]!r}, expected yes, no or unsure. Mend that answer.")
    twice = given.filter(given.select("image", "label").is_duplicated()).sort("image", "label")
    if len(twice):
        raise BadInput(
            f"image {twice['image'][0]} and label {twice['label'][0]!r} have two answers. Agree on one of them."
        )
    stray = given.join(sample, on=["image", "label"], how="anti").sort("image", "label")
    if len(stray):
        raise UnknownName(
            f"{len(stray):,} answers are to pairs that are not in the sample, for example image {stray['image'][0]} and "
            f"label {stray['label'][0]!r}. Give the sample that the page was made of."
        )
    joined = sample.select("image", "label").join(given, on=["image", "label"], how="left", maintain_order="left")
    return joined["answer"].fill_null("").to_numpy()


def _subtrees(
    labels: Sequence[str], tree: Hierarchy, under: Sequence[str]
) -> list[tuple[str, NDArray[np.bool_]]]:  # fmt: skip
    """Which pairs have a label at or below each chosen label and each of its children; without any they are left out."""
    tops = [x for label in (under or tree.roots) for x in (label, *tree.children(label))]
    above = [{label, *tree.ancestors(label)} for label in labels]
    found = [(top, np.array([top in line for line in above])) for top in dict.fromkeys(tops)]
    return [(top, inside) for top, inside in found if inside.any()]
