"""Scores of test images against NumPy's resampling by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jftdata.transfer.metrics import CLEAN, Judged, judge, top_k
from jftdata.transfer.task import Score


def of_values(values, is_copy=None, *, seed, num_resamples):
    statistic = Score.of_mean("m", values).statistic
    (found,) = judge([statistic], len(values), seed=seed, is_copy=is_copy, num_resamples=num_resamples)
    assert found is not None
    return found


def test_top_k_counts_ties_against_the_right_class():
    assert top_k(np.array([[0.5, 0.5, 0.1]]), np.array([0]), k=1).tolist() == [0.0]
    assert top_k(np.array([[0.5, 0.5, 0.1]]), np.array([0]), k=2).tolist() == [1.0]


def test_a_bootstrap_interval_covers_a_coin_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = 0
    for i in range(200):
        found = of_values((rng.random(200) < 0.7).astype(float), seed=i, num_resamples=300)
        hits += found.low <= 0.7 <= found.high
    assert 180 <= hits <= 199


@given(st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 1))
def test_scores_without_copies_are_those_of_the_other_images(num, seed, share):
    rng = np.random.default_rng(seed)
    values, is_copy = (rng.random(num) < 0.6).astype(float), rng.random(num) < share
    found = of_values(values, is_copy, seed=seed, num_resamples=50)
    if is_copy.all():
        assert found.clean == dict.fromkeys(CLEAN)
        return
    draw = np.random.default_rng(seed)
    clean, difference = [], []
    for _ in range(50):
        rows = draw.integers(0, num, num)
        if not is_copy[rows].all():
            clean.append(np.mean([values[i] for i in rows if not is_copy[i]]))
            difference.append(np.mean(values[rows]) - clean[-1])
    expected = [values[~is_copy].mean(), *np.quantile(clean, [0.025, 0.975])]
    expected += [values.mean() - values[~is_copy].mean(), *np.quantile(difference, [0.025, 0.975])]
    np.testing.assert_allclose([found.clean[name] for name in CLEAN], expected, atol=1e-12)
    if not is_copy.any():
        assert (found.clean["low_clean"], found.clean["high_clean"]) == (found.low, found.high)
        assert [found.clean[name] for name in CLEAN[3:]] == [0.0, 0.0, 0.0]


def test_a_paired_interval_covers_what_copies_add_95_times_in_100():
    rng = np.random.default_rng(2)
    hits = 0
    for i in range(200):
        is_copy = rng.random(300) < 0.2
        values = (rng.random(300) < np.where(is_copy, 0.9, 0.6)).astype(float)
        found = of_values(values, is_copy, seed=i, num_resamples=300).clean
        hits += found["difference_low"] <= 0.2 * 0.3 <= found["difference_high"]
    assert 180 <= hits <= 199


def test_a_metric_that_is_undefined_is_none_and_resamples_without_it_are_left_out():
    def first(weights):
        return 1.0 if weights[0] else float("nan")

    found = judge([first, lambda weights: float("nan")], 3, seed=0, is_copy=np.array([True, False, False]))
    assert found == [Judged(1.0, 1.0, 1.0, dict.fromkeys(CLEAN)), None]


def test_all_metrics_are_asked_for_the_same_resamples():
    asked = {"a": [], "b": []}

    def statistic(name):
        return lambda weights: asked[name].append(weights.tobytes()) or 0.0

    judge([statistic("a"), statistic("b")], 40, seed=3)
    assert asked["a"] == asked["b"]
    assert len(set(asked["a"])) == 1001
