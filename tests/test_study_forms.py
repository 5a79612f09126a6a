import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from jftdata.errors import UnknownOption
from jftdata.study import forms
from jftdata.study.forms import FORMS

X = np.array([250.0, 800, 2_500, 8_000, 25_000, 80_000])
TRUE = {
    "log": [0.1, 0.12],
    "power": [1.0, 2.0, 0.3],
    "power-offset": [0.8, 3.0, 0.4],
    "sigmoid": [0.85, 0.6, 3_000.0, 0.8],
}
WRITTEN = {
    "log": lambda x, a, b: a + b * np.log10(x),
    "power": lambda x, a, b: 1 - a * x**-b,
    "power-offset": lambda x, top, a, b: top - a * x**-b,
    "sigmoid": lambda x, top, rise, half, k: top - rise / (1 + (x / half) ** k),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_what_its_formula_says_and_its_curve_is_found_again(name):
    form, true = FORMS[name], np.array(TRUE[name])
    y = forms.value(form, true[None], X)[0]
    own = true if len(true) == form.num_free else true[1:]
    assert y == pytest.approx(WRITTEN[name](X, *own))
    found = forms.solve(form, X, y, np.ones(len(X)))
    assert forms.value(form, found[None], X)[0] == pytest.approx(y, abs=1e-6)
    assert found == pytest.approx(true, rel=1e-3)


@pytest.mark.parametrize("name", ["power", "power-offset", "sigmoid"])
@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_no_curve_of_scipy_fits_better(name, seed):
    rng = np.random.default_rng(seed)
    form, true = FORMS[name], np.array(TRUE[name])
    y = forms.value(form, true[None], X)[0] + rng.normal(0, 0.01, len(X))
    weight = rng.uniform(0.2, 2, len(X))
    ours = forms.solve(form, X, y, weight)
    loss = (weight * (y - forms.value(form, ours[None], X)[0]) ** 2).sum()
    start = true if len(true) == form.num_free else true[1:]
    theirs, _ = curve_fit(WRITTEN[name], X, y, p0=start, sigma=weight**-0.5, bounds=_bounds(name), max_nfev=2000)
    assert loss <= (weight * (y - WRITTEN[name](X, *theirs)) ** 2).sum() * (1 + 1e-3)
    on_grid = forms.solve_many(form, X, y[None], weight)[0]
    assert loss <= (weight * (y - forms.value(form, on_grid[None], X)[0]) ** 2).sum() + 1e-12


def _bounds(name):
    exponent = (forms.EXPONENTS[0], forms.EXPONENTS[-1])
    steep = (forms.STEEPNESS[0], forms.STEEPNESS[-1])
    pairs = {
        "power": [(0, np.inf), exponent],
        "power-offset": [(-np.inf, 1), (0, np.inf), exponent],
        "sigmoid": [(-np.inf, 1), (0, np.inf), (X[0] / 10, X[-1] * 10), steep],
    }
    return tuple(zip(*pairs[name], strict=True))


@given(st.integers(0, 10_000))
def test_the_line_is_that_of_numpy_with_weights(seed):
    rng = np.random.default_rng(seed)
    y, weight = rng.uniform(0, 1, (3, len(X))), rng.uniform(0.1, 5, len(X))
    ours = forms.solve_many(FORMS["log"], X, y, weight)
    theirs = np.polyfit(np.log10(X), y.T, 1, w=np.sqrt(weight))
    assert ours[:, 1] == pytest.approx(theirs[0])
    assert ours[:, 0] == pytest.approx(theirs[1])


@pytest.mark.parametrize("name", ["power", "power-offset", "sigmoid"])
@settings(max_examples=15)
@given(y=st.lists(st.floats(0, 1), min_size=len(X), max_size=len(X)))
def test_a_share_stays_a_share_and_never_falls(name, y):
    found = forms.solve(FORMS[name], X, np.array(y), np.ones(len(X)))
    beyond = forms.value(FORMS[name], found[None], np.geomspace(X[0], 1e12, 50))[0]
    assert beyond.max() <= 1 + 1e-12
    assert (np.diff(beyond) >= -1e-12).all()


@pytest.mark.parametrize("name", FORMS)
def test_images_to_reach_a_value_give_that_value(name):
    form, true = FORMS[name], np.array(TRUE[name])[None]
    wanted = forms.value(form, true, np.array([30.0, 5_000.0, 1e6]))[0]
    images = forms.reach(form, np.repeat(true, 3, axis=0), wanted)
    assert images == pytest.approx([30.0, 5_000.0, 1e6])


def test_what_a_curve_never_reaches_takes_infinitely_many_images():
    for name in ("power-offset", "sigmoid"):
        top = TRUE[name][0]
        assert forms.reach(FORMS[name], np.array([TRUE[name]]), np.array([top + 0.001]))[0] == math.inf
    for falling in ([0.5, -0.1], [0.5, 0.0]):
        assert forms.reach(FORMS["log"], np.array([falling]), np.array([0.9]))[0] == math.inf


def test_an_unknown_form_is_refused():
    with pytest.raises(UnknownOption, match="Did you mean 'power'"):
        forms.get("powers")
