"""What to ask a fitted curve: the score at more images, what they add, how many a score needs, and whether the end still gains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from jftdata.errors import BadArgument
from jftdata.study import forms
from jftdata.study.curves import Curve
from jftdata.study.forms import Floats
from jftdata.study.held_out import SAME_SIZE, interval

THIRD = 10 ** (1 / 3)
"""A third of a decade."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A score at a number of images, with its 95% interval for one more run."""

    images: float
    value: float
    low: float
    high: float
    by_form: dict[str, float]
    """What each form foretells that the interval is of."""
    warning: str
    """How far beyond the sizes it lies, in words; empty among them."""


@dataclass(frozen=True, kw_only=True)
class Needed:
    """Images that a score needs, with a 95% interval; infinite where the curve never comes there."""

    value: float
    """The score to reach."""
    images: float
    low: float
    high: float
    warning: str


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Whether the largest size still gains over one at least a third of a decade below."""

    start: float
    """Images of the smaller size."""
    stop: float
    gain: float
    """For a third of a decade, with its 95% interval."""
    low: float
    high: float
    verdict: str


def forecast(curve: Curve, *, x: float, same_test_images: bool = False) -> Forecast:
    """What one more run would score at x images.

    Args:
        curve: from `fit`.
        x: number of images, above 0.
        same_test_images: the run is judged on the images that the others were; otherwise on as many others like them.

    Returns:
        The score, in 0..1, and its interval if the form holds; how far that is to be believed is in `warning`.

    Raises:
        BadArgument: x is not above 0.
    """
    if not 0 < x < math.inf:
        raise BadArgument(f"`x` must be a number of images above 0. Got {x}.")
    value = min(max(_best(curve, x), 0.0), 1.0)
    by_form = {curve.form: value}
    for name, draws in curve.draws.items():
        if name != curve.form:
            by_form[name] = float(np.median(forms.value(forms.get(name), draws, np.array([x])).clip(0, 1)))
    drawn = _at(curve, x) + curve.run_noise + (-curve.moved if same_test_images else curve.other_images)
    low, high = interval(np.clip(drawn, 0, 1), none=(0.0, 1.0))
    return Forecast(images=x, value=value, low=low, high=high, by_form=by_form, warning=_warning(curve, x))


def gain(curve: Curve, start: float, stop: float) -> tuple[float, float, float]:
    """What the curve rises between two numbers of images, with its 95% interval.

    >>> from jftdata.study.curves import fit
    >>> rows = pl.DataFrame({"n": [10, 100, 1000], "value": [0.1, 0.3, 0.5]})
    >>> curve, = fit(rows, x="n", by=[], form="log")
    >>> round(gain(curve, 1000, 10_000)[0], 6)
    0.2
    """
    low, high = interval(_at(curve, stop) - _at(curve, start), none=(-math.inf, math.inf))
    return _best(curve, stop) - _best(curve, start), low, high


def images_for(curve: Curve, *, gain: float | None = None, value: float | None = None) -> Needed:
    """How many images a score needs.

    Args:
        curve: from `fit`.
        gain: above the curve's value at the largest size: 0.01 for one more point.
        value: or the score itself.

    Returns:
        Images in all, at least the largest size. Infinite where the curve levels off below the score, or falls: more images like these
        never reach it; `high` is infinite where that cannot be ruled out.

    Raises:
        BadArgument: not one of the two, or a score that is reached already or above 1.
    """
    now = _best(curve, curve.x_max)
    if (gain is None) == (value is None):
        raise BadArgument(f"give `gain` or `value`, one of them. Got {gain} and {value}.")
    target = now + gain if gain is not None else float(value or 0)
    if not now < target <= 1:
        raise BadArgument(
            f"a score to reach must be above {now:.4g}, the curve's at {curve.x_max:,.0f} images, and at most 1. Got {target:.4g}."
        )
    form = forms.get(curve.form)
    targets = _at(curve, curve.x_max) + gain if gain is not None else np.full(len(curve.moved), target)
    images = forms.reach(form, _row(curve), np.array([target]))[0]
    there = _at(curve, curve.x_max) >= targets
    parts = np.split(targets, np.cumsum([len(draws) for draws in curve.draws.values()])[:-1])
    reached = np.concatenate(
        [
            forms.reach(forms.get(name), draws, part)
            for (name, draws), part in zip(curve.draws.items(), parts, strict=True)
        ]
    )
    drawn = np.where(there, curve.x_max, np.maximum(reached, curve.x_max))
    low, high = interval(drawn, none=(curve.x_max, math.inf))
    return Needed(value=target, images=float(images), low=low, high=high, warning=_warning(curve, float(images)))


def plateau(curve: Curve, *, within: float = 0.005) -> Plateau:
    """Is there evidence that the last third of a decade still gains?

    The runs at the largest size against those at the nearest that has 46% of its images or fewer (10^(-1/3), a third of a decade):
    their difference, scaled to a third of a decade, with Student's interval at the scatter of `Curve.sizes`. No form is assumed, and
    what test images have in common cancels.

    Args:
        curve: from `fit`.
        within: gains less than this count as none.

    Returns:
        `verdict`: `still rising` or `falling` where the interval leaves out 0; `flat within ... points` where it lies within
        +-`within`; else `cannot tell`.

    Raises:
        BadArgument: `within` is no share.
    """
    if not 0 < within < 1:
        raise BadArgument(f"`within` must be a share between 0 and 1, 0.005 for half a point. Got {within}.")
    last = curve.sizes.row(-1, named=True)
    below = curve.sizes[:-1].filter(pl.col("images") * THIRD <= last["images"] * SAME_SIZE)
    before = (below if len(below) else curve.sizes).row(-1 if len(below) else 0, named=True)
    share = 1 / 3 / math.log10(last["images"] / before["images"])
    rise = (last["mean"] - before["mean"]) * share
    low, high = -math.inf, math.inf
    if curve.freedom:
        error = math.sqrt(last["sd"] ** 2 / last["num_runs"] + before["sd"] ** 2 / before["num_runs"]) * share
        half = float(stats.t.ppf(0.975, curve.freedom)) * error
        low, high = rise - half, rise + half
    if low > 0:
        verdict = "still rising"
    elif high < 0:
        verdict = "falling"
    elif -within <= low and high <= within:
        verdict = f"flat within {100 * within:g} points"
    else:
        verdict = "cannot tell"
    return Plateau(start=before["images"], stop=last["images"], gain=rise, low=low, high=high, verdict=verdict)


def summary(curves: Sequence[Curve]) -> pl.DataFrame:
    """Curves as a table.

    Returns:
        What tells them apart, `form`, `num_runs`, `num_sizes`, `x_max`, `r2`, `decade` (the gain from the largest size to ten times it,
        with `decade_low` and `decade_high`), `held_out_error` at the largest size (null where none was held out), `held_out_inside`,
        and `plateau`.
    """
    rows = []
    for curve in curves:
        rise, low, high = gain(curve, curve.x_max, 10 * curve.x_max)
        held = held_out_of(curve)
        rows.append({
            **curve.key, "form": curve.form, "num_runs": int(curve.sizes["num_runs"].sum()), "num_sizes": len(curve.sizes),
            "x_max": curve.x_max, "r2": curve.r2, "decade": rise, "decade_low": low, "decade_high": high,
            "held_out_error": held["error"][0] if len(held) else None,
            "held_out_inside": held["inside"][0] if len(held) else None, "plateau": plateau(curve).verdict,
        })  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"held_out_error": pl.Float64(), "held_out_inside": pl.Boolean()})


def _row(curve: Curve) -> Floats:
    return np.array([list(curve.parameters.values())])


def _best(curve: Curve, x: float) -> float:
    """The fitted curve at x."""
    return float(forms.value(forms.get(curve.form), _row(curve), np.array([float(x)]))[0, 0])


def _at(curve: Curve, x: float) -> Floats:
    """Values of all draws at x."""
    at = np.array([float(x)])
    return np.concatenate([forms.value(forms.get(name), draws, at)[:, 0] for name, draws in curve.draws.items()])


def _warning(curve: Curve, x: float) -> str:
    least, most = float(curve.sizes["images"][0]), curve.x_max
    if x < least / SAME_SIZE:
        return f"This lies below the smallest set, {least:,.0f} images; the interval holds if the curve begins so."
    if x <= most * SAME_SIZE:
        return ""
    if x > 10 * most * SAME_SIZE:
        said = (
            f"This lies more than a decade beyond the largest set, {most:,.0f} images. Nothing shows that the curve goes on so "
            "far; the interval holds only if it does."
        )
    else:
        said = f"This lies beyond the largest set, {most:,.0f} images; the interval holds if the curve goes on."
    missed = held_out_of(curve).filter(~pl.col("inside"))["error"]
    if len(missed):
        said += f" Fitted to smaller sets, the form missed the largest by {100 * abs(missed[0]):.1f} points, more than its interval."
    return said


def held_out_of(curve: Curve) -> pl.DataFrame:
    """The row of `held_out` that tells of the curve's form at the largest size; none where that was not held out."""
    return curve.held_out.filter((pl.col("form") == curve.form) & (pl.col("images") == curve.x_max))
