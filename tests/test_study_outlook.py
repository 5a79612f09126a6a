import functools
import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from jftdata.errors import BadArgument
from jftdata.study import forms
from jftdata.study.curves import fit
from jftdata.study.forms import FORMS
from jftdata.study.outlook import forecast, gain, images_for, plateau, summary

SIZES = [1_000, 3_000, 10_000, 30_000]


def rows(values, *, sizes=SIZES, seeds=3, sd=0.005, half=0.0):
    x = np.repeat(sizes, seeds)
    y = np.repeat(values, seeds) + np.random.default_rng(0).normal(0, sd, len(x))
    return pl.DataFrame({"n": x, "value": y, "low": y - half, "high": y + half})


def curve(values, *, form="log", **how):
    return fit(rows(values, **how), x="n", by=[], form=form)[0]


LINE = [0.2 + 0.1 * math.log10(n / 1000) for n in SIZES]


@functools.cache
def line():
    return curve(LINE)


def test_a_forecast_by_the_line_is_that_of_ordinary_least_squares():
    given = rows(LINE, seeds=1, sd=0.01)
    found = fit(given, x="n", by=[], form="log", num_draws=40_000)[0]
    x, y = np.log10(given["n"].to_numpy()), given["value"].to_numpy()
    fitted = stats.linregress(x, y)
    left = math.sqrt(((y - fitted.intercept - fitted.slope * x) ** 2).sum() / 2)
    half = stats.t.ppf(0.975, 2) * left * math.sqrt(1 + 1 / 4 + (5 - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    told = forecast(found, x=100_000)
    assert told.value == pytest.approx(fitted.intercept + 5 * fitted.slope)
    assert (told.high - told.low) / 2 == pytest.approx(half, rel=0.05)
    half = stats.t.ppf(0.975, 2) * fitted.stderr
    rise, low, high = gain(found, 1_000, 10_000)
    assert rise == pytest.approx(fitted.slope)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)


def test_other_test_images_widen_a_score_and_not_what_is_gained_on_a_line():
    sure, unsure = line(), curve(LINE, half=0.0196)
    assert unsure.test_sd == pytest.approx(0.01, rel=1e-3)
    same, others = forecast(unsure, x=1e5, same_test_images=True), forecast(unsure, x=1e5)
    alone = forecast(sure, x=1e5)
    assert same.high - same.low == pytest.approx(alone.high - alone.low, rel=0.1)
    wide = math.sqrt(
        (alone.high - alone.low) ** 2 + 2 * (2 * 1.96 * 0.01) ** 2
    )  # of the images at hand, and of the others
    assert others.high - others.low == pytest.approx(wide, rel=0.1)
    widths = [high - low for _, low, high in (gain(sure, 1e3, 1e5), gain(unsure, 1e3, 1e5))]
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_a_share_stays_a_share():
    told = forecast(curve([0.5, 0.65, 0.8, 0.95]), x=1e9)
    assert (told.value, told.high) == (1, 1)
    assert 0 < told.low <= 1
    single = forecast(curve([0.3, 0.5], sizes=SIZES[:2], seeds=1), x=1e5)
    assert (single.low, single.high) == (0, 1)


@pytest.mark.parametrize(
    ("x", "said"),
    [(500, "below the smallest"), (20_000, ""), (30_500, ""), (200_000, "goes on"), (400_000, "more than a decade")],
)
def test_a_forecast_says_how_far_beyond_the_sizes_it_lies(x, said):
    warning = forecast(line(), x=x).warning
    assert (said in warning) if said else warning == ""


def test_a_forecast_says_when_its_form_missed_the_largest_size():
    flat_end = [*LINE[:3], LINE[2]]
    assert "missed the largest by 5.3 points" in forecast(curve(flat_end), x=1e5).warning
    assert "missed" not in forecast(line(), x=1e5).warning
    assert "missed" not in forecast(curve(flat_end), x=1e4).warning


@pytest.mark.parametrize("x", [0, -5, math.nan, math.inf])
def test_a_forecast_at_no_images_is_refused(x):
    with pytest.raises(BadArgument, match="above 0"):
        forecast(line(), x=x)


def test_forms_that_are_not_refuted_are_told_and_widen_the_interval():
    found = curve(LINE, form="auto", sd=0.02)
    told = forecast(found, x=1e6)
    assert len(found.draws) > 1
    assert set(told.by_form) == set(found.draws)
    assert told.by_form[found.form] == told.value
    assert all(told.low <= value <= told.high for value in told.by_form.values())


def test_images_for_a_gain_are_those_at_which_the_curve_has_it():
    found = line()
    need = images_for(found, gain=0.05)
    assert forecast(found, x=need.images).value == pytest.approx(need.value)
    assert need.images == pytest.approx(30_000 * 10 ** (0.05 / found.parameters["slope"]))
    assert found.x_max < need.low < need.images < need.high < math.inf
    assert images_for(found, value=need.value).images == pytest.approx(need.images)
    assert images_for(found, value=need.value).low < need.low  # where the curve starts is not known either


def test_images_for_a_gain_may_be_infinite():
    levels = curve(
        forms.value(FORMS["power-offset"], np.array([[0.5, 50.0, 0.8]]), np.array(SIZES, float))[0], form="power-offset"
    )
    need = images_for(levels, gain=0.05)
    assert (need.images, need.high) == (math.inf, math.inf)
    unsure = curve([0.4, 0.405, 0.4, 0.41], sd=0.02)
    assert images_for(unsure, gain=0.01).high == math.inf


@pytest.mark.parametrize(
    "asked", [{}, {"gain": 0.1, "value": 0.5}, {"gain": 0}, {"gain": 0.9}, {"value": 0.1}, {"value": 1.1}]
)
def test_a_score_that_cannot_be_asked_for_is_refused(asked):
    with pytest.raises(BadArgument, match="Got"):
        images_for(line(), **asked)


def test_the_end_of_a_curve_rises_falls_is_flat_or_cannot_be_told():
    assert plateau(line()).verdict == "still rising"
    assert plateau(curve(LINE[::-1])).verdict == "falling"
    flat = [0.2, 0.4, 0.5, 0.5]
    assert plateau(curve(flat, sd=0.001)).verdict == "flat within 0.5 points"
    assert plateau(curve(flat, sd=0.001), within=0.0001).verdict == "cannot tell"
    assert plateau(curve(flat, sd=0.03)).verdict == "cannot tell"
    assert plateau(curve([0.2, 0.3], sizes=SIZES[:2], seeds=1)).verdict == "cannot tell"
    with pytest.raises(BadArgument, match="half a point"):
        plateau(curve(flat), within=1)


def test_a_plateau_is_a_two_sample_comparison_scaled_to_a_third_of_a_decade():
    values = rows([0.3, 0.42], sizes=[1_000, 10_000], sd=0.01)
    found = plateau(fit(values, x="n", by=[], form="log")[0])
    two = [values.filter(n=n)["value"].to_numpy() for n in (1_000, 10_000)]
    assert found.gain == pytest.approx((two[1].mean() - two[0].mean()) / 3)
    assert (found.start, found.stop) == (1_000, 10_000)
    pooled = stats.ttest_ind(two[1], two[0]).confidence_interval()
    assert found.high - found.low == pytest.approx((pooled.high - pooled.low) / 3, rel=0.05)


def test_a_plateau_leaves_out_sizes_that_are_too_near():
    found = plateau(curve([0.2, 0.3, 0.3, 0.3], sizes=[1_000, 10_000, 25_000, 30_000]))
    assert (found.start, found.stop) == (10_000, 30_000)


def test_a_summary_has_a_row_a_curve():
    both = pl.concat([rows(LINE).with_columns(task=pl.lit(t)) for t in ("b", "a")])
    found = summary(fit(both, x="n", by=["task"]))
    assert found["task"].to_list() == ["a", "b"]
    assert found["num_runs"].to_list() == [12, 12]
    assert found["decade"].to_list() == pytest.approx([0.1, 0.1], abs=0.02)
    assert found["held_out_inside"].to_list() == [True, True]
    nothing_held = summary(fit(both.filter(pl.col("n") < 5_000), x="n", by=["task"]))
    assert nothing_held["held_out_error"].to_list() == [None, None]
