"""Permutations computed at any place: each number once, and every order as frequent as another."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jftdata.hashing import stream_key
from jftdata.permute import LEAST_SIDE, ROUNDS, permuted, side_of


@numba.njit
def orders(num, side, keys, rounds):
    """(keys, num): the permutation of each key."""
    out = np.empty((len(keys), num), np.int64)
    for k in range(len(keys)):
        for i in range(num):
            out[k, i] = permuted(i, num, side, keys[k], rounds)
    return out


def keys(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def evenness(places, num):
    """p-value of a chi-square test that all of `num` values are equally frequent."""
    return stats.chisquare(np.bincount(places, minlength=num)).pvalue


@given(st.integers(1, 3_000), st.integers(0, 2**63 - 1))
def test_every_number_comes_once(num, seed):
    key = np.array([stream_key(seed, "x")], np.uint64)
    assert sorted(orders(num, side_of(num), key, ROUNDS)[0].tolist()) == list(range(num))


def test_the_side_holds_all_numbers_up_to_the_largest():
    for num in (1, 64, 65, 10**6, 10**6 + 1, 2**50 - 1, 2**50):
        assert (side_of(num) - 1) ** 2 < max(num, LEAST_SIDE**2) <= side_of(num) ** 2


@pytest.mark.parametrize("num", [2, 3, 4, 5, 6])
def test_all_orders_of_a_few_numbers_are_equally_frequent(num):
    found = orders(num, side_of(num), keys(100_000), ROUNDS)
    _, code = np.unique(found @ num ** np.arange(num), return_inverse=True)
    assert evenness(code, math.factorial(num)) > 1e-3


@pytest.mark.parametrize("num", [9, 20, 64, 100])
@pytest.mark.parametrize("apart", [1, 8, "half"])
def test_where_two_places_go_is_uniform(num, apart):
    found = orders(num, side_of(num), keys(60_000), ROUNDS)
    pair = found[:, 0] * (num - 1) + (found[:, num // 2 if apart == "half" else apart] - found[:, 0]) % num - 1
    assert evenness(pair, num * (num - 1)) > 1e-3


def test_four_rounds_fail_that_test():
    found = orders(64, 8, keys(60_000), 4)
    assert evenness(found[:, 0] * 63 + (found[:, 8] - found[:, 0]) % 64 - 1, 64 * 63) < 1e-30


def test_fixed_points_have_mean_and_variance_one():
    fixed = (orders(1_000, side_of(1_000), keys(5_000), ROUNDS) == np.arange(1_000)).sum(axis=1)
    assert fixed.mean() == pytest.approx(1, abs=0.06)  # four standard errors
    assert fixed.var() == pytest.approx(1, abs=0.1)


def test_neighbours_and_orders_of_other_keys_are_uncorrelated():
    num = 1_000_000
    one, two = orders(num, side_of(num), keys(2), ROUNDS)
    limit = 4 / math.sqrt(num)
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < limit
    assert abs(np.corrcoef(one, np.arange(num))[0, 1]) < limit
    assert abs(np.corrcoef(one, two)[0, 1]) < limit
