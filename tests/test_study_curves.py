import math

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.results import Results
from jftdata.study.curves import FIT, fit, fit_log, predict
from tests.test_results import row

SIZES = [1_000, 3_000, 10_000, 30_000, 100_000]


def points(x, y):
    return pl.DataFrame({"n": x, "value": y}, schema={"n": pl.Float64, "value": pl.Float64})


def fitted(x, y):
    return fit_log(points(x, y), x="n", by=[]).row(0, named=True)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(-1000, 1000)), min_size=3, max_size=30))
def test_fits_are_those_of_scipy(pairs):
    assume(len({e for e, _ in pairs}) > 1 and len({v for _, v in pairs}) > 1)
    x, y = np.array([10 ** (e / 10) for e, _ in pairs]), np.array([v / 1000 for _, v in pairs])
    fit = fitted(x, y)
    reference = stats.linregress(np.log10(x), y)
    assert fit["slope"] == pytest.approx(reference.slope, rel=1e-6, abs=1e-9)
    assert fit["intercept"] == pytest.approx(reference.intercept, rel=1e-6, abs=1e-9)
    half = stats.t.ppf(0.975, len(x) - 2) * reference.stderr  # from 1 - r^2, which has half the digits on a line
    assert fit["slope_high"] - fit["slope"] == pytest.approx(half, rel=1e-5, abs=1e-6)
    assert fit["slope"] - fit["slope_low"] == pytest.approx(half, rel=1e-5, abs=1e-6)
    assert fit["r2"] == pytest.approx(reference.rvalue**2, abs=1e-9)
    assert (fit["num_points"], fit["num_sizes"]) == (len(x), len(set(x)))
    assert (fit["x_min"], fit["x_max"]) == (x.min(), x.max())


def test_a_slope_is_what_ten_times_the_images_gain():
    fit = fitted(SIZES, [0.1 + 0.07 * math.log10(n) for n in SIZES])
    assert fit["slope"] == pytest.approx(0.07)
    assert fit["r2"] == pytest.approx(1)
    values = [predict(fit, x=n)[0] for n in (10_000, 100_000, 1_000_000)]
    assert np.diff(values) == pytest.approx([0.07, 0.07])


def test_each_group_has_its_own_curve_and_every_seed_is_a_point():
    rows = [
        row(task=task, num_train_images=n, seed=seed, value=gain * math.log10(n) + 0.001 * seed)
        for task, gain in (("probe", 0.1), ("knn", 0.2))
        for n in SIZES
        for seed in range(3)
    ]
    fits = fit_log(Results.of(rows))
    assert fits.columns == ["task", "mode", "metric", *FIT]
    assert fits["task"].to_list() == ["knn", "probe"]
    assert fits["slope"].to_list() == pytest.approx([0.2, 0.1])
    assert fits["num_points"].to_list() == [15, 15]
    assert fits["num_sizes"].to_list() == [5, 5]


def test_rows_without_pretraining_are_left_out_of_the_fit():
    with_zero = fitted([0, *SIZES], [0.9, *(math.log10(n) for n in SIZES)])
    assert with_zero["slope"] == pytest.approx(1)
    assert with_zero["num_points"] == 5


def test_with_two_points_the_intervals_are_infinite():
    fit = fitted([10, 1000], [0.1, 0.5])
    assert fit["slope"] == pytest.approx(0.2)
    assert (fit["slope_low"], fit["slope_high"]) == (-math.inf, math.inf)
    value, low, high = predict(fit, x=100)
    assert (value, low, high) == (pytest.approx(0.3), -math.inf, math.inf)


def test_equal_values_make_a_flat_curve():
    fit = fitted(SIZES, [0.5] * 5)
    assert fit["slope"] == pytest.approx(0, abs=1e-12)
    assert math.isfinite(fit["r2"])


def test_the_prediction_interval_holds_95_percent_of_new_runs():
    rng = np.random.default_rng(0)
    x = np.repeat(SIZES, 2)
    inside = 0
    for _ in range(2000):
        fit = fitted(x, 0.2 + 0.05 * np.log10(x) + rng.normal(0, 0.01, len(x)))
        _, low, high = predict(fit, x=300_000)
        inside += low <= 0.2 + 0.05 * math.log10(300_000) + rng.normal(0, 0.01) <= high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_slope_interval_holds_95_percent_of_the_true_slopes():
    rng = np.random.default_rng(1)
    fits = [fitted(SIZES, 0.05 * np.log10(SIZES) + rng.normal(0, 0.01, 5)) for _ in range(2000)]
    assert np.mean([f["slope_low"] <= 0.05 <= f["slope_high"] for f in fits]) == pytest.approx(0.95, abs=0.015)


def test_the_prediction_interval_widens_away_from_the_points():
    fit = fitted(SIZES, [0.1, 0.22, 0.28, 0.41, 0.5])
    widths = [high - low for _, low, high in (predict(fit, x=x) for x in (10_000, 100_000, 1e6, 1e7))]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_value_or_a_size_that_is_not_finite_is_refused(bad):
    with pytest.raises(BadInput, match="finite"):
        fitted(SIZES, [0.1, 0.2, bad, 0.4, 0.5])
    with pytest.raises(BadInput, match="finite"):
        fitted([*SIZES[:4], bad], [0.1, 0.2, 0.3, 0.4, 0.5])


def test_too_few_sizes_no_rows_and_a_missing_column_are_refused():
    with pytest.raises(BadInput, match="1 size only"):
        fitted([10, 10], [0.1, 0.2])
    with pytest.raises(BadInput, match="no results with pretraining"):
        fit_log(Results.of([row(num_train_images=0)]))
    with pytest.raises(BadInput, match="no column 'images'"):
        fit_log(points(SIZES, SIZES), x="images", by=[])


@pytest.mark.parametrize("x", [0, -5, float("nan")])
def test_a_prediction_at_no_images_is_refused(x):
    with pytest.raises(BadArgument, match="above 0"):
        predict(fitted(SIZES, SIZES), x=x)


def scores(*, seed=0, task="knn", sizes=SIZES, **columns):
    rng = np.random.default_rng(seed)
    drawn = [(n, s, 0.2 + 0.07 * math.log10(n) + rng.normal(0, 0.005)) for n in sizes for s in range(3)]
    return Results.of(
        row(task=task, num_train_images=n, seed=s, value=y, low=y - 0.03, high=y + 0.03, **columns) for n, s, y in drawn
    )


def test_a_fitted_line_is_near_the_closed_one_and_each_group_has_its_own():
    both = Results.concat([scores(seed=1), scores(seed=2, task="probe")])
    found = fit(both, form="log")
    assert [curve.key["task"] for curve in found] == ["knn", "probe"]
    lines = fit_log(both)
    assert [curve.parameters["slope"] for curve in found] == pytest.approx(lines["slope"].to_list(), abs=0.002)
    for curve, line in zip(found, lines.iter_rows(named=True), strict=True):
        low, high = np.quantile(curve.draws["log"][:, 1], [0.025, 0.975])
        assert high - low == pytest.approx(line["slope_high"] - line["slope_low"], rel=0.25)  # by the weights
        assert curve.test_sd == pytest.approx(0.03 / 1.96, rel=1e-3)
        assert curve.r2 == pytest.approx(line["r2"], abs=0.01)


def test_the_order_of_rows_changes_nothing_and_the_seed_only_draws():
    rows = scores().rows
    first, second, other = fit(rows)[0], fit(rows.sample(fraction=1, shuffle=True, seed=4))[0], fit(rows, seed=1)[0]
    assert first.held_out.equals(second.held_out)
    assert (first.run_noise == second.run_noise).all()
    assert all((first.draws[name] == second.draws[name]).all() for name in first.draws)
    assert other.parameters == first.parameters
    assert (other.run_noise[:50] != first.run_noise[:50]).any()


def test_runs_without_pretraining_and_without_intervals_are_fitted_too():
    rows = pl.concat([scores().rows, Results.of([row(num_train_images=0)]).rows]).with_columns(low=None, high=None)
    curve = fit(rows.with_columns(pl.col("low", "high").cast(pl.Float64)), form="log")[0]
    assert (curve.test_sd, len(curve.sizes)) == (0.0, 5)
    assert (curve.other_images == 0).all()


def test_two_sizes_make_a_line_that_nothing_was_held_out_from():
    curve = fit(scores(sizes=SIZES[:2]))[0]
    assert (curve.form, len(curve.held_out)) == ("log", 0)


def test_a_form_that_is_not_known_or_has_too_many_parameters_is_refused():
    with pytest.raises(UnknownOption, match="Did you mean 'sigmoid'"):
        fit(scores(), form="sigmoids")
    with pytest.raises(
        BadInput, match=r"sigmoid has 4 parameters, .* at 3 sizes. Run more sizes or take log, power, power-offset"
    ):
        fit(scores(sizes=SIZES[:3]), form="sigmoid")


def test_what_is_no_share_or_judged_on_other_images_is_refused():
    percents = scores().rows.with_columns(pl.col("value") * 100)
    with pytest.raises(BadInput, match="is no share"):
        fit(percents)
    mixed = Results.concat([scores(data="a"), scores(seed=3, data="b")])
    with pytest.raises(BadInput, match="different test images"):
        fit(mixed)
    assert len(fit(mixed, form="log", by=["task", "data"])) == 2
    with pytest.raises(BadInput, match="not finite"):
        fit(scores().rows.with_columns(value=pl.lit(float("nan"))))
    with pytest.raises(BadInput, match="1 size only"):
        fit(scores(sizes=SIZES[:1]))
