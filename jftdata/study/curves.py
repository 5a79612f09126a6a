"""Curves through scores by data size: what more images would buy.

`fit_log` is the paper's line, value = intercept + slope * log10(x), in closed form (Sun et al. 2017, Figure 4). `fit` weighs the forms
of `forms.py` against each other by what they foretell of the largest sizes (`held_out.py`, where it also says what intervals
assume), and gives a `Curve` to ask (`outlook.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from jftdata.errors import BadArgument, BadInput
from jftdata.hashing import stream_key
from jftdata.results import Results
from jftdata.study import forms
from jftdata.study.forms import FORMS, Floats
from jftdata.study.held_out import choose, fit_form, hold_out, runs_of

FIT = {
    "slope": pl.Float64(),  # value gained by ten times the images
    "slope_low": pl.Float64(),  # 95% interval, Student's t on the residuals
    "slope_high": pl.Float64(),
    "intercept": pl.Float64(),
    "r2": pl.Float64(),
    "residual": pl.Float64(),  # standard deviation of the residuals
    "num_points": pl.Int64(),
    "num_sizes": pl.Int64(),
    "x_min": pl.Float64(),
    "x_max": pl.Float64(),
    "mean_log_x": pl.Float64(),
    "spread_log_x": pl.Float64(),  # sum of squared deviations of log10(x)
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A form fitted to the runs of one task, mode and metric, with what its intervals are made of."""

    key: dict[str, Any]
    """What tells it from other curves: the `by` columns."""
    form: str
    parameters: dict[str, float]
    """As `forms.Form` names them."""
    sizes: pl.DataFrame
    """By `images`: `num_runs`, their `mean`, and `sd`, the scatter of a run (see `POOLED`)."""
    freedom: int
    """Degrees of freedom of `sd`."""
    r2: float
    """Of the runs the curve was fitted to; it does not choose a form."""
    held_out: pl.DataFrame
    """What each form, fitted to smaller sizes only, foretold of a size: the columns of `HELD_OUT`."""
    test_sd: float
    """Standard deviation of a score over test images, common to all runs; 0 where the rows have no interval."""
    draws: dict[str, Floats]
    """By form, (m, p) parameters of curves that could be the true one: of `form`, and after `auto` also of those that the sizes held
    out do not refute. Empty where there are no more runs than parameters."""
    run_noise: Floats
    """What a run at the largest size adds to each, in their order."""
    moved: Floats
    """By what its test images moved each."""
    other_images: Floats
    """By what other test images would."""

    @property
    def x_max(self) -> float:
        return float(self.sizes["images"][-1])


def fit(
    results: Results | pl.DataFrame, *, form: str = "auto", x: str = "num_train_images", y: str = "value",
    by: Sequence[str] = ("task", "mode", "metric"), seed: int = 0, num_draws: int = 2000,
) -> list[Curve]:  # fmt: skip
    """Fit a form to each curve by weighted least squares; runs weigh by the variance at their size.

    `auto` takes the form that foretells held-out sizes best: each form that the smaller sizes allow is fitted to them and asked for
    the next. Of forms whose error is within one standard error of the least, the one with fewest parameters is taken, then the one
    with the least error. Intervals are of all forms that the held-out sizes do not refute. With two sizes nothing can be held out, and
    `log` is taken.

    Args:
        results: rows with the columns named, values as shares; rows with x = 0 (no pretraining) are left out. Columns `low` and
            `high` (95% over test images) and `data` (what was judged on) are used where they are there.
        form: one of `forms.FORMS`, or `auto`.
        x: number of images.
        y: score.
        by: columns that tell curves apart.
        seed: of what intervals are drawn from.
        num_draws: curves to draw.

    Returns:
        Curves, sorted by `by`.

    Raises:
        UnknownOption: no such form.
        BadInput: what `fit_log` raises; a value that is no share; fewer sizes than the form has parameters; runs of one curve judged on
            different test images.

    Cost: 0.04 s a curve of four sizes with `auto`, 0.12 s of six.

    >>> rows = pl.DataFrame({"n": [10, 10, 100, 100, 1000, 1000], "value": [0.1, 0.12, 0.3, 0.32, 0.5, 0.52]})
    >>> curve, = fit(rows, x="n", by=[])
    >>> curve.form, round(curve.parameters["slope"], 6)
    ('log', 0.2)
    """
    if form != "auto":
        forms.get(form)
    return [_fit(key, group, form, x, y, seed, num_draws) for key, group in _groups(results, x, y, by)]


def with_two_sizes(rows: pl.DataFrame, *, x: str, by: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """The rows of groups that a curve can be fitted to, and how many groups have one size only; all rows where none has two.

    >>> frame = pl.DataFrame({"task": ["a", "a", "b"], "n": [10, 20, 10]})
    >>> kept, alone = with_two_sizes(frame, x="n", by=["task"])
    >>> kept["task"].to_list(), alone
    (['a', 'a'], 1)
    """
    if x not in rows.columns or not by:
        return rows, 0
    groups = rows.group_by(by).agg(_sizes=pl.col(x).filter(pl.col(x) > 0).n_unique())
    alone = groups.filter(pl.col("_sizes") < 2)
    if len(alone) == len(groups):
        return rows, 0
    return rows.join(alone, on=list(by), how="anti", nulls_equal=True, maintain_order="left"), len(alone)


def fit_log(
    results: Results | pl.DataFrame, *, x: str = "num_train_images", y: str = "value",
    by: Sequence[str] = ("task", "mode", "metric"),
) -> pl.DataFrame:  # fmt: skip
    """Least squares of y on log10(x), a curve for each group; every row (each seed) is a point.

    Args:
        results: rows with the columns named; rows with x = 0 (no pretraining) are left out of the fit.
        x: number of images.
        y: score.
        by: columns that tell curves apart.

    Returns:
        The `by` columns and those of `FIT`, sorted by `by`. With two points the intervals are infinite.

    Raises:
        BadInput: a missing column, a value that is not finite, a group with fewer than two sizes.

    >>> rows = pl.DataFrame({"n": [10, 100, 1000], "value": [1.0, 2.0, 3.0]})
    >>> fit_log(rows, x="n", by=[]).select("slope", "intercept", "r2").row(0)
    (1.0, 0.0, 1.0)
    """
    groups = _groups(results, x, y, by)
    fits = []
    for key, group in groups:
        fits.append({**key, **_fit_line(group[x].to_numpy(), group[y].to_numpy(), str(tuple(key.values())))})
    schema = {**{column: group.schema[column] for column in by}, **FIT}
    return pl.DataFrame(fits, schema=schema)


def predict(fit: dict[str, float], *, x: float) -> tuple[float, float, float]:
    """Value of a fitted curve at x with its 95% prediction interval for one more run.

    Args:
        fit: a row of `fit_log`, as a dict.
        x: number of images, above 0.

    Returns:
        value, low, high. Beyond a decade past the largest size fitted the interval says too little: nothing shows that
        the curve goes on.

    >>> rows = pl.DataFrame({"n": [10, 100, 1000], "value": [1.0, 2.0, 3.0]})
    >>> round(predict(fit_log(rows, x="n", by=[]).row(0, named=True), x=10_000)[0], 6)
    4.0
    """
    if not x > 0:
        raise BadArgument(f"`x` must be above 0. Got {x}.")
    value = fit["intercept"] + fit["slope"] * math.log10(x)
    freedom = fit["num_points"] - 2
    if freedom < 1:
        return value, -math.inf, math.inf
    leverage = 1 + 1 / fit["num_points"] + (math.log10(x) - fit["mean_log_x"]) ** 2 / fit["spread_log_x"]
    half = float(stats.t.ppf(0.975, freedom)) * fit["residual"] * math.sqrt(leverage)
    return value, value - half, value + half


def _groups(
    results: Results | pl.DataFrame, x: str, y: str, by: Sequence[str]
) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """The rows of each curve with images, and what tells them apart, sorted by it."""
    rows = results.rows if isinstance(results, Results) else results
    for column in (x, y, *by):
        if column not in rows.columns:
            raise BadInput(f"results have no column {column!r}. They have: {', '.join(rows.columns)}.")
    bad = rows[x].filter(~rows[x].is_finite().fill_null(False))
    if len(bad):
        raise BadInput(f"{x} must be a finite number in every row. Got {bad[0]}.")
    rows = rows.filter(pl.col(x) > 0)
    if rows.is_empty():
        raise BadInput("there are no results with pretraining images to fit. Run a study first.")
    if not by:
        return [({}, rows)]
    groups = rows.sort(list(by), maintain_order=True).partition_by(list(by), as_dict=True, maintain_order=True)
    return [(dict(zip(by, key, strict=True)), group) for key, group in groups.items()]


def _fit(key: dict[str, Any], group: pl.DataFrame, asked: str, x: str, y: str, seed: int, num_draws: int) -> Curve:
    where = str(tuple(key.values())) if key else "this curve"
    values = group[y].to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise _not_finite(values, where)
    if not ((values >= 0) & (values <= 1)).all():
        odd = values[(values < 0) | (values > 1)][0]
        raise BadInput(f"a value of {where} is no share: {odd:g}. Give scores in 0..1; `fit_log` takes any.")
    if "data" in group.columns and group["data"].drop_nulls().n_unique() > 1:
        raise BadInput(
            f"{where} holds scores on different test images. Add `data` to `by`, or give results on one set."
        )
    runs = runs_of(group[x].to_numpy().astype(np.float64), values, _test_sd(group))
    num_sizes = len(runs.at)
    if num_sizes < 2:
        raise _one_size(num_sizes, where)
    rng = np.random.default_rng(stream_key(seed, "curves"))
    held_out = hold_out(runs, rng)
    names = choose(held_out, runs) if asked == "auto" else [asked]
    form = FORMS[names[0]]
    if form.num_free > num_sizes:
        known = ", ".join(f.name for f in FORMS.values() if f.num_free <= num_sizes)
        raise BadInput(
            f"{asked} has {form.num_free} parameters, {where} results at {num_sizes} sizes. Run more sizes or take {known}."
        )
    found = {name: fit_form(FORMS[name], runs, rng, math.ceil(num_draws / len(names))) for name in names}
    parameters = found[form.name].parameters
    rest = runs.y - forms.value(form, parameters[None], runs.x)[0]
    total = float(((runs.y - runs.y.mean()) ** 2).sum())
    noise = np.concatenate([one.noise for one in found.values()]) / math.sqrt(runs.weight[-1])
    num = np.bincount(runs.size)
    return Curve(
        key=key, form=form.name, parameters=dict(zip(form.parameters, map(float, parameters), strict=True)),
        sizes=pl.DataFrame(
            {"images": runs.at, "num_runs": num, "mean": np.bincount(runs.size, runs.y) / num, "sd": runs.sd}
        ),
        freedom=runs.freedom, r2=1 - float((rest**2).sum()) / total if total > 0 else 1.0, held_out=held_out, test_sd=runs.test_sd,
        draws={name: one.draws for name, one in found.items()}, run_noise=noise * rng.standard_normal(len(noise)),
        moved=np.concatenate([one.moved for one in found.values()]),
        other_images=runs.test_sd * rng.standard_normal(len(noise)),
    )  # fmt: skip


def _test_sd(group: pl.DataFrame) -> float:
    """From the 95% intervals over test images, on average."""
    if not {"low", "high"} <= set(group.columns):
        return 0.0
    width = (group["high"] - group["low"]).drop_nulls().to_numpy()
    width = width[np.isfinite(width)]
    return math.sqrt(float((width**2).mean())) / (2 * float(stats.norm.ppf(0.975))) if len(width) else 0.0


def _fit_line(x: np.ndarray, y: np.ndarray, where: str) -> dict[str, float]:
    if not np.isfinite(y).all():
        raise _not_finite(y, where)
    sizes = np.unique(x)
    if len(sizes) < 2:
        raise _one_size(len(sizes), where)
    log_x = np.log10(x.astype(np.float64))
    mean = log_x.mean()
    spread = float(((log_x - mean) ** 2).sum())
    slope = float(((log_x - mean) * (y - y.mean())).sum() / spread)
    intercept = float(y.mean() - slope * mean)
    residuals = y - intercept - slope * log_x
    total = float(((y - y.mean()) ** 2).sum())
    freedom = len(y) - 2
    residual = math.sqrt(float((residuals**2).sum()) / freedom) if freedom else 0.0
    half = float(stats.t.ppf(0.975, freedom)) * residual / math.sqrt(spread) if freedom else math.inf
    return {
        "slope": slope, "slope_low": slope - half, "slope_high": slope + half, "intercept": intercept,
        "r2": 1 - float((residuals**2).sum()) / total if total > 0 else 1.0, "residual": residual, "num_points": len(y),
        "num_sizes": len(sizes), "x_min": float(sizes[0]), "x_max": float(sizes[-1]), "mean_log_x": float(mean),
        "spread_log_x": spread,
    }  # fmt: skip


def _not_finite(y: np.ndarray, where: str) -> BadInput:
    return BadInput(f"a value of {where} is not finite: {y[~np.isfinite(y)][0]}. Leave it out or run it again.")


def _one_size(num: int, where: str) -> BadInput:
    return BadInput(f"{where} has results at {num} size only. A curve needs two or more.")
