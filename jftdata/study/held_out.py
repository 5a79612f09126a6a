"""Runs around a form: how they scatter, curves that could be the true one, and what forms foretell of sizes held out.

What intervals assume. A run scatters around its curve, each on its own, with a variance of its size: that of its seeds, pooled with
that of all sizes as if this were of `POOLED` degrees of freedom. Forms are fitted again to runs drawn so around the fitted one (a
parametric bootstrap over seeds; to draw among three seeds gives too little). How wide the scatter is, is drawn as well, from what the
residuals leave open, so that the intervals of `log` are Student's.

All runs are judged on the same test images. Had these been others, all scores would be higher or lower together: each set of drawn
runs is moved by one number of the width of the scores' own intervals. That takes all of their error as common; what is not lies in the
scatter too, so intervals are rather too wide than too narrow. It moves a curve and not its rise, but where a form is bound to a top.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.study import forms
from jftdata.study.forms import FORMS, Floats, Form

POOLED = 8
"""Degrees of freedom that the scatter of all sizes counts for beside that of one. With 3 seeds intervals hold the truth as often as if
all sizes had one scatter, and are up to 8% narrower where they have not; with 4, they held it 1 to 2 times in 100 less often."""
SAME_SIZE = 1.05
"""Numbers of images closer than this factor are one size: subsets of two seeds may differ by a few images."""
HELD_OUT = {
    "form": pl.String(),
    "images": pl.Float64(),  # the size held out
    "num_sizes": pl.Int64(),  # smaller ones, which the form was fitted to
    "value": pl.Float64(),  # mean of the runs at the size
    "predicted": pl.Float64(),
    "low": pl.Float64(),  # 95% interval for this mean, on the same test images
    "high": pl.Float64(),
    "error": pl.Float64(),  # predicted - value
    "inside": pl.Boolean(),
    "compared": pl.Boolean(),  # the size is one that every form foretold, by which they are chosen
}


@dataclass(frozen=True)
class Runs:
    """Runs of one curve by size and value, and how they scatter at each size."""

    x: Floats
    y: Floats
    size: NDArray[np.int64]
    """(n,) number of the size of each run."""
    at: Floats
    """(k,) images of each size."""
    sd: Floats
    """(k,) scatter of a run."""
    freedom: int
    test_sd: float
    """Of a score over test images."""

    @property
    def weight(self) -> Floats:
        """(n,) of each run, 1 where there is no scatter."""
        return (self.sd.mean() / self.sd[self.size]) ** 2 if self.sd.all() else np.ones(len(self.x))

    def below(self, size: int) -> "Runs":
        """Those at sizes before one, with the scatter that they show themselves."""
        keep = self.size < size
        return runs_of(self.x[keep], self.y[keep], self.test_sd)


def runs_of(x: Floats, y: Floats, test_sd: float) -> Runs:
    """Runs (n,) of x images and value y, sorted.

    Where every size has one run, all have the scatter that is left around a parabola in log x (a line would take a bend for scatter);
    with fewer than five runs, around a line.
    """
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    log_x = np.log10(x)
    size = np.cumsum(np.diff(log_x, prepend=log_x[0]) > math.log10(SAME_SIZE)).astype(np.int64)
    num = np.bincount(size)
    mean = np.bincount(size, y) / num
    squares = np.bincount(size, (y - mean[size]) ** 2)
    freedom = len(x) - len(num)
    if freedom:
        pooled = squares.sum() / freedom
        variance = (squares + POOLED * pooled) / (num - 1 + POOLED)
    else:
        degree = 2 if len(x) > 4 else 1
        freedom = max(len(x) - degree - 1, 0)
        rest = y - np.polyval(np.polyfit(log_x, y, degree), log_x) if freedom else np.zeros(len(x))
        variance = np.full(len(num), (rest**2).sum() / max(freedom, 1))
    variance[variance < 1e-20] = 0.0  # equal values, but for rounding
    return Runs(x, y, size, np.bincount(size, x) / num, np.sqrt(variance), freedom, test_sd)


@dataclass(frozen=True)
class Fitted:
    """A form fitted to runs."""

    parameters: Floats
    """(p,) with the least squares."""
    draws: Floats
    """(m, p) of curves that could be the true one; none where there are no more runs than parameters."""
    noise: Floats
    """(m,) standard deviation, in each draw, of a run of weight 1."""
    moved: Floats
    """(m,) by what its test images moved each draw's runs."""


def fit_form(form: Form, runs: Runs, rng: np.random.Generator, num_draws: int) -> Fitted:
    """Fit a form, and fit it again to `num_draws` sets of runs drawn around it.

    Cost: 0.12 s for 2,000 draws of the sigmoid, 0.04 s of a power law.
    """
    weight = runs.weight
    parameters = forms.solve(form, runs.x, runs.y, weight)
    line = forms.value(form, parameters[None], runs.x)
    freedom = len(runs.x) - form.num_free
    if freedom < 1:
        return Fitted(parameters, np.empty((0, len(parameters))), np.empty(0), np.empty(0))
    left = float((weight * (runs.y - line[0]) ** 2).sum())
    noise = np.sqrt(left / rng.chisquare(freedom, num_draws))
    moved = runs.test_sd * rng.standard_normal(num_draws)
    drawn = line + moved[:, None] + noise[:, None] * rng.standard_normal((num_draws, len(runs.x))) / np.sqrt(weight)
    return Fitted(parameters, forms.solve_many(form, runs.x, drawn, weight), noise, moved)


def hold_out(runs: Runs, rng: np.random.Generator) -> pl.DataFrame:
    """Every size but the first two, foretold by each form that the smaller ones allow.

    Returns:
        The columns of `HELD_OUT`, by size and number of parameters. Forms that could not foretell the largest size are left out.
    """
    num_sizes = len(runs.at)
    able = [form for form in FORMS.values() if form.num_free < num_sizes]
    rows = []
    for size in range(2, num_sizes):
        here = runs.size == size
        before, at, value = runs.below(size), runs.x[here], float(runs.y[here].mean())
        for form in able:
            if form.num_free > size:
                continue
            found = fit_form(form, before, rng, 200)
            predicted = float(forms.value(form, found.parameters[None], at).mean().clip(0, 1))
            noise = found.noise / math.sqrt(before.weight[-1] * here.sum()) * rng.standard_normal(len(found.noise))
            drawn = forms.value(form, found.draws, at).mean(axis=1) - found.moved + noise
            low, high = interval(drawn.clip(0, 1), none=(0.0, 1.0))
            rows.append({
                "form": form.name, "images": runs.at[size], "num_sizes": size, "value": value, "predicted": predicted, "low": low,
                "high": high, "error": predicted - value, "inside": low <= value <= high,
                "compared": size >= max(f.num_free for f in able),
            })  # fmt: skip
    return pl.DataFrame(rows, schema=HELD_OUT)


def choose(held_out: pl.DataFrame, runs: Runs) -> list[str]:
    """The form to take, and after it those that the sizes held out do not refute.

    By the sizes that all forms foretold. Of forms whose error is within one standard error (of the runs held out) of the least, the
    one with fewest parameters is taken, then the one with the least error. A form is refuted where a size lies outside of its interval.
    `log` where nothing could be held out.
    """
    compared = held_out.filter("compared")
    if compared.is_empty():
        return ["log"]
    forms_of = {
        form: rows for (form,), rows in compared.partition_by("form", as_dict=True, maintain_order=True).items()
    }
    errors = {form: math.sqrt((rows["error"].to_numpy() ** 2).mean()) for form, rows in forms_of.items()}
    sizes = np.isin(runs.at, compared["images"].to_numpy())
    tie = math.sqrt((runs.sd[sizes] ** 2 / np.bincount(runs.size)[sizes]).mean())
    near = [form for form in errors if errors[form] <= min(errors.values()) + tie]
    taken = min(near, key=lambda form: (FORMS[form].num_free, errors[form]))
    return [taken, *(form for form, rows in forms_of.items() if form != taken and rows["inside"].all())]


def interval(values: Floats, *, none: tuple[float, float]) -> tuple[float, float]:
    """Of 95% of the values, which may be infinite; what `none` says where there are none."""
    if not len(values):
        return none
    ordered = np.sort(values)
    edge = round(0.025 * (len(ordered) - 1))
    return float(ordered[edge]), float(ordered[-1 - edge])
