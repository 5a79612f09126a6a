"""Probes on frozen features against scikit-learn's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV

from jftdata.transfer.probe import RIDGE_PENALTIES, _ranks, ridge, solve


def test_the_probe_finds_scikit_learns_optimum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 5)), rng.integers(0, 3, 120)
    x[np.arange(120), y] += 1.0
    w, b = solve(x, y, num_classes=3, penalty=0.05)
    theirs = LogisticRegression(C=1 / (0.05 * 120), tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(w, theirs.coef_.T, atol=2e-3)
    np.testing.assert_allclose(b - b.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)


def drawn(seed, num=60, d=8, classes=4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, num)
    x = rng.normal(size=(num, d))
    x[np.arange(num), y] += 1.5
    return x, y


@given(st.integers(0, 1000), st.integers(3, 60), st.integers(1, 90))
def test_ridge_is_scikit_learns_at_the_penalty_it_chose(seed, num, d):
    x, y = drawn(seed, num, max(d, 4))
    w, b, penalty = ridge(x, y, num_classes=4)
    theirs = Ridge(alpha=penalty).fit(x, np.eye(4)[y])
    np.testing.assert_allclose(x @ w + b, theirs.predict(x), atol=1e-6)


def test_ridge_chooses_the_penalty_of_least_leave_one_out_error():
    for seed in range(5):
        x, y = drawn(seed)
        theirs = RidgeCV(alphas=RIDGE_PENALTIES).fit(x, np.eye(4)[y])
        assert ridge(x, y, num_classes=4)[2] == theirs.alpha_


@given(st.integers(0, 50), st.integers(1, 80))
def test_shots_are_drawn_by_id_and_larger_draws_hold_the_smaller(seed, num):
    rng = np.random.default_rng(seed)
    images, target = np.sort(rng.choice(10_000, num, replace=False)).astype(np.int64), rng.integers(0, 5, num)
    place = _ranks(images, target, seed=seed)
    for label in set(target.tolist()):
        assert sorted(place[target == label]) == list(range((target == label).sum()))
    some = np.flatnonzero(rng.random(num) < 0.6)
    fewer = _ranks(images[some], target[some], seed=seed)
    for label in set(target[some].tolist()):  # the order among those that stay is kept
        mine = target[some] == label
        assert np.array_equal(np.argsort(fewer[mine]), np.argsort(place[some][mine]))
