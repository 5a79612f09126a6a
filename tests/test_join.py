"""Joins against all products in float64; lists find what they promise; the two compiled loops against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jftdata import join
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput
from tests.strategies import unit_vectors, vectors_with_copies


def of(vectors, ids=None, *, embedder="toy"):
    return Embeddings.of(vectors, np.arange(len(vectors)) if ids is None else ids, embedder=embedder)


def near(seed, count, copies, dimensions=64, spread=0.44):
    """Unit vectors and noisy copies of some of them."""
    rng = np.random.default_rng(seed)
    x = unit_vectors(seed, count, dimensions)
    noise = unit_vectors(seed + 1, copies, dimensions) * rng.uniform(0, spread, (copies, 1))
    y = x[rng.integers(0, count, copies)] + noise
    return np.concatenate([x, y / np.linalg.norm(y, axis=1, keepdims=True)]).astype(np.float32)


def expected(a, b, low):
    """Pairs well above the threshold, and pairs not well below it."""
    table = a.astype(np.float64) @ b.astype(np.float64).T
    return {tuple(p) for p in np.argwhere(table >= low + 2e-6)}, {tuple(p) for p in np.argwhere(table >= low - 2e-6)}


def pairs_of(found):
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True))


@pytest.mark.parametrize("bfloat16", [True, False])
@given(vectors=vectors_with_copies(), low=st.floats(0.3, 1.0))
def test_an_exact_join_is_every_pair_above_the_threshold(bfloat16, vectors, low):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "_bfloat16_is_faster", lambda: bfloat16)
        found = join.self_join(of(vectors), min_similarity=low)
        least, most = expected(vectors, vectors, low)
        assert {p for p in least if p[0] < p[1]} <= pairs_of(found) <= {p for p in most if p[0] < p[1]}
        assert found.recall == 1
        half = len(vectors) // 2
        if half:
            across = join.join(of(vectors[:half]), of(vectors[half:]), min_similarity=low)
            least, most = expected(vectors[:half], vectors[half:], low)
            assert least <= pairs_of(across) <= most
            assert (np.diff(across.left * len(vectors) + across.right) > 0).all()


def test_a_threshold_within_the_rounding_of_nothing_misses_nothing():
    vectors = unit_vectors(0, 300, 16)
    for low in (1e-6, 0.004):
        least, most = expected(vectors, vectors, low)
        found = pairs_of(join.self_join(of(vectors), min_similarity=low))
        assert {p for p in least if p[0] < p[1]} <= found <= {p for p in most if p[0] < p[1]}


@pytest.fixture
def by_lists(monkeypatch):
    monkeypatch.setattr(join, "EXACT_PRODUCTS", 0)


def test_lists_find_the_promised_share_and_nothing_else(by_lists):
    vectors = near(0, 6000, 1500)
    found = join.self_join(of(vectors), min_similarity=0.9, recall=0.95)
    assert "lists" in found.plan
    truth, most = expected(vectors, vectors, 0.9)
    truth = {p for p in truth if p[0] < p[1]}
    assert len(truth) > 1000
    assert pairs_of(found) <= most
    share = len(pairs_of(found) & truth) / len(truth)
    assert share >= 0.95
    assert found.recall == pytest.approx(share, abs=0.05)
    exact = np.einsum("nd,nd->n", vectors[found.left].astype(np.float64), vectors[found.right])
    assert found.similarity == pytest.approx(exact, abs=1e-12)


def test_lists_between_two_sets_find_the_promised_share(by_lists):
    base = near(3, 5000, 500)
    test = near(3, 5000, 1200)[-1200:]
    found = join.join(of(test), of(base), min_similarity=0.9, recall=0.95)
    truth, _ = expected(test, base, 0.9)
    assert len(pairs_of(found) & truth) / len(truth) >= 0.95


def test_lists_do_not_depend_on_row_order(by_lists):
    vectors = near(5, 3000, 900)
    order = np.random.default_rng(1).permutation(len(vectors))
    one = join.self_join(of(vectors), min_similarity=0.9)
    other = join.self_join(of(vectors[order], order), min_similarity=0.9)
    assert pairs_of(one) == pairs_of(other)
    assert len(one.left) > 500


def test_without_true_pairs_the_lists_are_set_by_pairs_made_up(by_lists):
    found = join.self_join(of(unit_vectors(2, 3000, 64)), min_similarity=0.95)
    assert len(found.left) == 0
    assert "made up at the threshold" in found.plan
    assert found.recall >= 0.99


def test_too_many_pairs_and_arguments_out_of_range_are_refused(monkeypatch):
    same = np.repeat(unit_vectors(0, 1, 8), 200, axis=0)
    monkeypatch.setattr(join, "MAX_PAIRS", 1000)
    with pytest.raises(BadInput, match="more than 1,000 pairs"):
        join.self_join(of(same), min_similarity=0.9)
    two = of(unit_vectors(0, 2, 8))
    for wrong in (0, 1.5, float("nan")):
        with pytest.raises(BadArgument, match="`min_similarity`"):
            join.self_join(two, min_similarity=wrong)
        with pytest.raises(BadArgument, match="`recall`"):
            join.self_join(two, min_similarity=0.9, recall=wrong)
    with pytest.raises(BadInput, match="two embedders"):
        join.join(two, of(unit_vectors(0, 2, 8), embedder="other"), min_similarity=0.9)


def test_one_vector_has_no_pair():
    found = join.self_join(of(unit_vectors(0, 1, 8)), min_similarity=0.5)
    assert (len(found.left), len(found.right), len(found.similarity)) == (0, 0, 0)


@given(arrays(np.int16, st.integers(1, 2000), elements=st.integers(-50, 50)), st.integers(-50, 50))
def test_the_scan_finds_every_value(values, low):
    assert join._reaching(values, np.int16(low)).tolist() == np.flatnonzero(values >= low).tolist()


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
def test_the_highest_columns_are_those_of_a_stable_sort(seed, columns, count):
    values = np.random.default_rng(seed).integers(0, 5, (4, columns)).astype(np.float32)
    out = np.empty((4, min(count, columns)), np.int32)
    join._highest(values, out)
    assert out.tolist() == np.argsort(-values, axis=1, kind="stable")[:, : out.shape[1]].tolist()


@pytest.mark.gpu
def test_a_join_on_a_gpu_is_the_one_on_the_cpu():
    vectors = near(0, 20_000, 5000)
    one = join.self_join(of(vectors), min_similarity=0.9, recall=1, device="cpu")
    other = join.self_join(of(vectors), min_similarity=0.9, device="cuda")
    assert torch.cuda.is_available()
    assert pairs_of(one) == pairs_of(other)
    assert one.similarity.tolist() == other.similarity.tolist()
