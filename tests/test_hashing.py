import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jftdata.errors import BadArgument
from jftdata.hashing import image_id, keyed_hash, keyed_order, stream_key, uniform

IDS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50, unique=True)


def test_image_ids_are_fixed_for_ever():
    assert image_id(hashlib.sha256(b"").digest()) == 0xE3B0C44298FC1C14 >> 1
    assert image_id(hashlib.sha256(b"jftdata").digest()) == 5447258507112152130
    assert image_id(b"\xff" * 32) == 2**63 - 1


def test_keyed_hashes_are_fixed_for_ever():
    ids = np.array([0, 1, 2**62, 2**63 - 1])
    assert keyed_hash(ids, seed=0, stream="nested").tolist() == [
        7962713946766030370,
        17178619806554481994,
        6795149561858376118,
        1779788862473147228,
    ]
    assert keyed_hash(ids, seed=2**63 - 1, stream="epoch 7").tolist() == [
        11205111525155093487,
        9981749498302428521,
        14468438978423255768,
        12615858158710255357,
    ]


def test_keyed_order_is_fixed_for_ever():
    assert keyed_order(np.arange(12), seed=5, stream="sample").tolist() == [1, 2, 0, 8, 9, 4, 5, 11, 6, 7, 10, 3]


@given(IDS, st.integers(0, 2**63 - 1), st.randoms(use_true_random=False))
def test_keyed_order_does_not_see_row_order(ids, seed, random):
    shuffled = list(ids)
    random.shuffle(shuffled)
    a, b = np.array(ids), np.array(shuffled)
    assert a[keyed_order(a, seed=seed, stream="x")].tolist() == b[keyed_order(b, seed=seed, stream="x")].tolist()


@given(IDS, IDS)
def test_more_ids_do_not_change_the_order_of_the_old_ones(old, new):
    few = np.array(old)
    many = np.array(sorted({*old, *new}))
    order = many[keyed_order(many, seed=3, stream="x")]
    assert order[np.isin(order, few)].tolist() == few[keyed_order(few, seed=3, stream="x")].tolist()


@given(st.integers(0, 2**63 - 1), st.text(max_size=8))
def test_different_ids_never_share_a_hash(seed, stream):
    ids = np.arange(1000) * 7919
    assert len(np.unique(keyed_hash(ids, seed=seed, stream=stream))) == 1000  # the mixing is a bijection


@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize("ids", [np.arange(100_000), np.arange(100_000) << 40], ids=["low bits", "high bits"])
def test_hashes_are_uniform(ids, seed):
    hashes = keyed_hash(ids, seed=seed, stream="nested")
    for bits in (hashes >> np.uint64(56), hashes & np.uint64(255)):
        assert stats.chisquare(np.bincount(bits.astype(int), minlength=256)).pvalue > 1e-4
    assert stats.kstest(uniform(hashes), "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    ("one", "other"), [((0, "nested"), (0, "epoch")), ((0, "nested"), (1, "nested")), ((0, "epoch 1"), (0, "epoch 2"))]
)
def test_other_seeds_and_streams_are_independent(one, other):
    ids = np.arange(50_000)
    a, b = (uniform(keyed_hash(ids, seed=seed, stream=stream)) for seed, stream in (one, other))
    assert stats.spearmanr(a, b).pvalue > 1e-4
    table = np.histogram2d(a, b, bins=8)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_neighbouring_ids_are_not_correlated():
    u = uniform(keyed_hash(np.arange(50_000), seed=0, stream="x"))
    assert stats.spearmanr(u[:-1], u[1:]).pvalue > 1e-4


def test_uniform_never_reaches_one():
    assert uniform(np.array([2**64 - 1, 0], np.uint64)).tolist() == [1 - 2.0**-53, 0.0]


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(BadArgument, match=str(seed)):
        stream_key(seed, "x")
