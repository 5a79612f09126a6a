import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jftdata.study import forms
from jftdata.study.forms import FORMS
from jftdata.study.held_out import HELD_OUT, POOLED, choose, fit_form, hold_out, interval, runs_of

SIZES = 250 * 10 ** (np.arange(6) / 2)


def true_runs(name, parameters, *, sizes=6, seeds=3, sd=0.005, seed=0, test_sd=0.0):
    x = np.repeat(SIZES[:sizes], seeds)
    curve = forms.value(FORMS[name], np.array([parameters]), x)[0]
    return runs_of(x, curve + np.random.default_rng(seed).normal(0, sd, len(x)), test_sd)


def test_sizes_that_differ_by_a_few_images_are_one():
    runs = runs_of(np.array([1000.0, 29_994, 1003, 30_010]), np.array([0.1, 0.3, 0.2, 0.4]), 0.0)
    assert runs.at.tolist() == [1001.5, 30_002]
    assert runs.size.tolist() == [0, 0, 1, 1]


@given(st.permutations(range(9)))
def test_the_order_of_runs_changes_nothing(order):
    x, y = np.repeat(SIZES[:3], 3), np.linspace(0.1, 0.9, 9) ** 2
    one, other = runs_of(x, y, 0.0), runs_of(x[order], y[order], 0.0)
    assert (one.y == other.y).all()
    assert (one.sd == other.sd).all()
    assert (one.x == other.x).all()


def test_the_scatter_of_a_size_is_pooled_with_that_of_all():
    y = np.array([0.1, 0.3, 0.5, 0.5])
    runs = runs_of(np.array([10.0, 10, 100, 100]), y, 0.0)
    squares, pooled = 0.02, 0.02 / 2
    assert runs.sd**2 == pytest.approx([(squares + POOLED * pooled) / (1 + POOLED), POOLED * pooled / (1 + POOLED)])
    assert runs.freedom == 2


def test_single_runs_scatter_as_they_do_around_the_line():
    y = np.array([0.1, 0.25, 0.28, 0.4])
    line = stats.linregress(np.log10(SIZES[:4]), y)
    runs = runs_of(SIZES[:4], y, 0.0)
    assert runs.sd == pytest.approx(
        [math.sqrt(((y - line.intercept - line.slope * np.log10(SIZES[:4])) ** 2).sum() / 2)] * 4
    )
    assert runs.freedom == 2


def test_a_bend_is_no_scatter():
    bent = runs_of(SIZES, 0.2 + 0.2 * np.log10(SIZES) - 0.02 * np.log10(SIZES) ** 2, 0.0)
    assert bent.sd.tolist() == [0] * 6
    assert bent.freedom == 3


def test_drawn_lines_spread_as_student_says():
    runs = true_runs("log", [0.1, 0.1], sizes=4, seeds=1, sd=0.01)
    found = fit_form(FORMS["log"], runs, np.random.default_rng(0), 40_000)
    line = stats.linregress(np.log10(runs.x), runs.y)
    half = stats.t.ppf(0.975, 2) * line.stderr
    low, high = interval(found.draws[:, 1], none=(0, 0))
    assert (high - low) / 2 == pytest.approx(half, rel=0.04)
    assert (high + low) / 2 == pytest.approx(line.slope, abs=half / 20)


@pytest.mark.parametrize(("name", "parameters", "num"), [("log", [0.1, 0.1], 300), ("power", [1.0, 2.0, 0.2], 80)])
def test_intervals_hold_the_gain_of_a_decade_as_often_as_they_say(name, parameters, num):
    """All runs are moved together by their test images, which the interval knows only the width of."""
    form, ends = FORMS[name], np.array([SIZES[4], 10 * SIZES[4]])
    rise = np.diff(forms.value(form, np.array([parameters]), ends)[0])[0]
    inside = 0
    for seed in range(num):
        runs = true_runs(name, parameters, sizes=5, sd=0.01, seed=seed)
        runs = runs_of(runs.x, runs.y + 0.015 * np.random.default_rng([seed, 1]).normal(), 0.015)
        found = fit_form(form, runs, np.random.default_rng(seed), 500)
        low, high = interval(np.diff(forms.value(form, found.draws, ends))[:, 0], none=(0, 0))
        inside += low <= rise <= high
    assert inside / num == pytest.approx(0.95, abs=0.035)


def test_no_more_runs_than_parameters_draw_nothing():
    found = fit_form(FORMS["log"], true_runs("log", [0.1, 0.1], sizes=2, seeds=1), np.random.default_rng(0), 10)
    assert found.draws.shape == (0, 2)
    assert interval(found.draws[:, 1], none=(-math.inf, math.inf)) == (-math.inf, math.inf)


def test_every_size_is_foretold_by_the_forms_that_smaller_ones_allow():
    runs = true_runs("log", [0.1, 0.1], sizes=5, sd=0)
    held = hold_out(runs, np.random.default_rng(0))
    assert dict(held.schema) == HELD_OUT
    asked = held.group_by("images", maintain_order=True).agg("form", "num_sizes", "compared")
    assert asked["images"].to_list() == pytest.approx(SIZES[2:5])
    assert asked["form"].to_list() == [
        ["log", "power"], ["log", "power", "power-offset"], ["log", "power", "power-offset", "sigmoid"],
    ]  # fmt: skip
    assert held["compared"].to_list() == [False] * 5 + [True] * 4
    line = held.filter(pl.col("form") == "log")
    assert line["error"].to_list() == pytest.approx([0] * 3, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("log", [0.1, 0.1]),
        ("power", [1.0, 2.0, 0.2]),
        ("power-offset", [0.6, 8.0, 0.5]),
        ("sigmoid", [0.8, 0.7, 3e3, 1.8]),
    ],
)
def test_the_form_of_the_truth_is_chosen_where_noise_is_small(name, parameters):
    runs = true_runs(name, parameters, sd=0.0005, seed=3)
    assert choose(hold_out(runs, np.random.default_rng(0)), runs)[0] == name


def test_among_equal_errors_fewer_parameters_are_taken_and_refuted_forms_are_left_out():
    runs = true_runs("log", [0.1, 0.1], sizes=4, sd=0.01)
    tie = runs.sd[-1] / math.sqrt(3)
    rows = [("power-offset", 0.0, True), ("power", 0.5 * tie, True), ("log", 0.9 * tie, False)]
    held = pl.DataFrame(
        [{"form": f, "images": runs.at[-1], "error": e, "inside": i, "compared": True} for f, e, i in rows]
    )
    assert choose(held, runs) == ["power", "power-offset"]
    assert choose(held.with_columns(error=pl.col("error") * 3), runs) == ["power-offset", "power"]
    assert choose(held.clear(), runs) == ["log"]
