"""Logarithmic curves through scores by data size, with intervals: value = intercept + slope * log10(x).

Source: Sun et al. 2017, Figure 4: performance grows with the logarithm of the number of pretraining images.
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import stats

from jftdata.errors import BadArgument, BadInput
from jftdata.results import Results

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
    rows = results.rows if isinstance(results, Results) else results
    for column in (x, y, *by):
        if column not in rows.columns:
            raise BadInput(f"results have no column {column!r}. They have: {', '.join(rows.columns)}.")
    bad = rows[x].filter(~rows[x].is_finite().fill_null(False))
    if len(bad):
        raise BadInput(f"{x} must be a finite number in every row. Got {bad[0]}.")
    rows = rows.filter(pl.col(x) > 0)
    groups = rows.partition_by(list(by), as_dict=True, maintain_order=True) if by else {(): rows}
    fits = []
    for key, group in groups.items():
        fits.append({**dict(zip(by, key, strict=True)), **_fit(group[x].to_numpy(), group[y].to_numpy(), str(key))})
    if not fits:
        raise BadInput("there are no results with pretraining images to fit. Run a study first.")
    schema = {**{column: rows.schema[column] for column in by}, **FIT}
    frame = pl.DataFrame(fits, schema=schema)
    return frame.sort(list(by)) if by else frame


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


def _fit(x: np.ndarray, y: np.ndarray, where: str) -> dict[str, float]:
    if not np.isfinite(y).all():
        raise BadInput(f"a value of {where} is not finite: {y[~np.isfinite(y)][0]}. Leave it out or run it again.")
    sizes = np.unique(x)
    if len(sizes) < 2:
        raise BadInput(f"{where} has results at {len(sizes)} size only. A curve needs two or more.")
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
