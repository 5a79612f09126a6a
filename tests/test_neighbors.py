import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from jftdata import neighbors
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput
from tests.strategies import unit_vectors, vectors_with_copies


def of(vectors, embedder="toy"):
    return Embeddings.of(vectors, np.arange(len(vectors)), embedder=embedder)


def similarities(a, b):
    return a.astype(np.float64) @ b.astype(np.float64).T


# ---- range search ----------------------------------------------------------------------------------------------------


@given(vectors_with_copies(), vectors_with_copies(), st.floats(0.05, 1.0))
def test_range_search_finds_just_the_pairs_numpy_finds(one, other, threshold):
    d = min(one.shape[1], other.shape[1])
    a, b = (v[:, :d] / np.linalg.norm(v[:, :d], axis=1, keepdims=True) for v in (one, other))
    table = similarities(a, b)
    left, right, value = neighbors.range_search(of(a), of(b), min_similarity=threshold)
    found = list(zip(left.tolist(), right.tolist(), strict=True))
    assert found == sorted(set(found))
    assert set(found) >= set(zip(*np.nonzero(table >= threshold), strict=True))
    assert set(found) <= set(zip(*np.nonzero(table >= threshold - 2e-6), strict=True))  # as far as float32 can tell
    assert np.abs(value - table[left, right]).max(initial=0) < 1e-12


@given(vectors_with_copies())
def test_copies_of_a_vector_are_found_even_at_similarity_one(vectors):
    left, right, _ = neighbors.range_search(of(vectors), of(vectors), min_similarity=1.0)
    copies = (vectors[:, None] == vectors[None]).all(axis=2)
    assert set(zip(left.tolist(), right.tolist(), strict=True)) >= set(zip(*np.nonzero(copies), strict=True))


def test_range_search_over_several_blocks_is_that_over_one(monkeypatch):
    e = of(unit_vectors(3, 200, 6))
    whole = neighbors.range_search(e, e, min_similarity=0.5)
    monkeypatch.setattr(neighbors, "_BLOCK", 7)
    parts = neighbors.range_search(e, e, min_similarity=0.5)
    assert all(a.tolist() == b.tolist() for a, b in zip(whole, parts, strict=True))


def test_similarities_do_not_depend_on_how_many_are_asked_at_once():
    e = of(unit_vectors(4, 300, 64))
    whole = neighbors.range_search(e, e, min_similarity=0.1)
    alone = neighbors.range_search(of(e.vectors[:1]), e, min_similarity=0.1)
    mine = whole[0] == 0
    assert (whole[2][mine] == alone[2]).all()  # to the last bit


def test_no_pair_is_an_empty_answer():
    e = of(np.eye(3, dtype=np.float32))
    left, right, value = neighbors.range_search(e, of(-np.eye(3, dtype=np.float32)), min_similarity=0.5)
    assert len(left) == len(right) == len(value) == 0


@pytest.mark.parametrize("threshold", [0, -0.5, 1.4, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    e = of(np.eye(3, dtype=np.float32))
    with pytest.raises(BadArgument, match=rf"must be in \(0, 1\]\. Got {threshold}"):
        neighbors.range_search(e, e, min_similarity=threshold)


# ---- nearest ---------------------------------------------------------------------------------------------------------


@given(vectors_with_copies(), st.data())
def test_nearest_is_what_a_full_sort_gives_ties_by_position(vectors, data):
    k = data.draw(st.integers(1, len(vectors)))
    positions, values = neighbors.nearest(of(vectors), of(vectors), k=k)
    assert positions.shape == values.shape == (len(vectors), k)
    table = similarities(vectors, vectors)
    for row in range(len(vectors)):
        exact = np.einsum("d,nd->n", vectors[row], vectors, dtype=np.float64)
        expected = np.lexsort((np.arange(len(vectors)), -exact))[:k]
        assert positions[row].tolist() == expected.tolist()
    assert np.abs(values - np.take_along_axis(table, positions, axis=1)).max() < 1e-12


@pytest.mark.parametrize("count", [30, 500])
@pytest.mark.parametrize("k", [1, 5, 12])
def test_ties_of_any_number_are_broken_by_the_lower_position(count, k):
    vectors = unit_vectors(0, 3, 8)[[*([0] * count), 1, *([2] * 4)]]
    positions, _ = neighbors.nearest(of(vectors[:1]), of(vectors), k=k)
    assert positions.tolist() == [list(range(k))]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_vectors_that_differ_in_their_last_bits_are_told_apart(seed, k):
    rng = np.random.default_rng(seed)
    vectors = np.tile(unit_vectors(seed, 1, 32), (80, 1))
    vectors += (rng.integers(-2, 3, vectors.shape) * 6e-9).astype(np.float32)  # too little for a float32 sum
    positions, values = neighbors.nearest(of(vectors[:1]), of(vectors), k=k)
    exact = np.einsum("d,nd->n", vectors[0], vectors, dtype=np.float64)
    assert positions[0].tolist() == np.lexsort((np.arange(80), -exact))[:k].tolist()
    assert values[0].tolist() == exact[positions[0]].tolist()


def test_nearest_over_several_blocks_is_that_over_one(monkeypatch):
    e = of(unit_vectors(3, 100, 6))
    whole = neighbors.nearest(e, e, k=4)
    monkeypatch.setattr(neighbors, "_BLOCK", 9)
    parts = neighbors.nearest(e, e, k=4)
    assert all(a.tolist() == b.tolist() for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_range_is_refused(k):
    e = of(np.eye(3, dtype=np.float32))
    with pytest.raises(BadArgument, match=rf"1\.\.3.*Got {k}"):
        neighbors.nearest(e, e, k=k)


def test_vectors_of_two_embedders_are_not_compared():
    e = of(np.eye(3, dtype=np.float32))
    for other in (of(np.eye(3, dtype=np.float32), "other"), of(np.eye(4, dtype=np.float32))):
        with pytest.raises(BadInput, match="two embedders"):
            neighbors.nearest(e, other, k=1)
        with pytest.raises(BadInput, match="two embedders"):
            neighbors.range_search(other, e, min_similarity=0.5)


def test_nothing_to_search_is_an_error():
    e = of(np.eye(3, dtype=np.float32))
    with pytest.raises(BadInput, match="0 queries, 3 vectors"):
        neighbors.range_search(of(np.empty((0, 3), np.float32)), e, min_similarity=0.5)


# ---- k-means ---------------------------------------------------------------------------------------------------------


def clustered(k, each, dimensions=16, seed=0):
    rng = np.random.default_rng(seed)
    x = np.repeat(unit_vectors(seed, k, dimensions), each, axis=0) + 0.05 * rng.normal(size=(k * each, dimensions))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_one_centroid_is_the_direction_of_the_mean():
    x = clustered(2, 20)
    mean = x.astype(np.float64).mean(axis=0)
    assert np.allclose(neighbors.kmeans(x, k=1, seed=0)[0], mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_kmeans_finds_separated_clusters_as_scikit_learn_does(seed):
    x = clustered(4, 30, seed=seed)
    ours = neighbors.kmeans(x, k=4, seed=seed)
    theirs = KMeans(4, n_init=10, random_state=0).fit(x).cluster_centers_
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    loss = [(1 - similarities(x, c).max(axis=1)).sum() for c in (ours, theirs)]
    assert loss[0] < loss[1] * 20 + 1e-6  # may end in a worse optimum, not in nonsense
    assert ours.tolist() == neighbors.kmeans(x, k=4, seed=seed).tolist()


def test_kmeans_of_equal_vectors_is_finite():
    x = np.tile(unit_vectors(0, 1, 8), (12, 1))
    found = neighbors.kmeans(x, k=3, seed=0)
    assert np.isfinite(found).all()
    assert similarities(x, found).max() == pytest.approx(1, abs=1e-5)


def test_more_centroids_than_vectors_are_refused():
    with pytest.raises(BadArgument, match=r"1\.\.3"):
        neighbors.kmeans(np.eye(3, dtype=np.float32), k=4, seed=0)
