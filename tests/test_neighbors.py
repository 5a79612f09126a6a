import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from jftdata import neighbors
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, Damaged, MissingInput, OutputExists, UnknownOption
from tests.strategies import unit_vectors, vectors_with_copies


def of(vectors, embedder="toy", images=None):
    return Embeddings.of(vectors, np.arange(len(vectors)) if images is None else images, embedder=embedder)


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
    mine = whole.left == 0
    assert (whole.similarity[mine] == alone.similarity).all()  # to the last bit


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


@given(vectors_with_copies(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.data())
def test_exact_answers_do_not_depend_on_the_blocks_they_are_made_in(vectors, block, added, answers, data):
    k, low = data.draw(st.integers(1, len(vectors))), data.draw(st.floats(0.05, 1))
    e = of(vectors)
    near, pairs = neighbors.nearest(e, e, k=k), neighbors.range_search(e, e, min_similarity=low)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_BLOCK", block), ("_ADDED", added), ("_ANSWERS", answers)):
            patch.setattr(neighbors, name, value)
        assert all((a == b).all() for a, b in zip(near, neighbors.nearest(e, e, k=k), strict=True))
        other = neighbors.range_search(e, e, min_similarity=low)
        assert all(a.tolist() == b.tolist() for a, b in zip(pairs, other, strict=True))


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1.01], ids=str)
@pytest.mark.parametrize("bad_queries", [True, False])
def test_vectors_that_slipped_in_unchecked_are_refused_by_name(value, bad_queries):
    vectors = np.eye(4, dtype=np.float32)
    vectors[2, 2] = value
    good, bad = of(np.eye(4, dtype=np.float32)), Embeddings(vectors, np.arange(10, 14), "toy", "")
    queries, base = (bad, good) if bad_queries else (good, bad)
    with pytest.raises(BadInput, match=r"the vector of image 12 has length .*, expected 1"):
        neighbors.nearest(queries, base, k=1)
    with pytest.raises(BadInput, match=r"the vector of image 12 has length .*, expected 1"):
        neighbors.range_search(queries, base, min_similarity=0.5)


def test_choices_that_are_not_there_or_contradict_each_other_are_refused():
    e = of(np.eye(3, dtype=np.float32))
    with pytest.raises(UnknownOption, match=r"'hnws' is not known. Did you mean 'hnsw'"):
        neighbors.nearest(e, e, k=1, index="hnws")
    with pytest.raises(UnknownOption, match="device 'gpu'"):
        neighbors.nearest(e, e, k=1, device="gpu")
    with pytest.raises(BadArgument, match="ivf cannot promise a recall of 1"):
        neighbors.nearest(e, e, k=1, index="ivf")
    for recall in (0, 1.2, float("nan")):
        with pytest.raises(BadArgument, match=rf"`recall` must be in \(0, 1\]. Got {recall}"):
            neighbors.nearest(e, e, k=1, recall=recall)
    with pytest.raises(BadInput, match=r"100 vectors or more\. Got 3"):
        neighbors.nearest(e, e, k=1, recall=0.9, index="pq")


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    e = of(np.eye(3, dtype=np.float32))
    with pytest.raises(BadArgument, match="sees no NVIDIA GPU"):
        neighbors.nearest(e, e, k=1, device="cuda")


@pytest.mark.gpu
def test_exact_answers_on_gpus_are_those_of_the_cpu(monkeypatch):
    monkeypatch.setattr(neighbors, "_ADDED", 3000)
    base, queries = of(clustered(100, 100)), of(clustered(100, 5, seed=7))
    for k in (10, 2100):  # the second is more than a GPU sorts
        one = neighbors.nearest(queries, base, k=k, device="cpu")
        other = neighbors.nearest(queries, base, k=k, device="cuda")
        assert (one.positions == other.positions).all()
        assert (one.similarity == other.similarity).all()
    assert "cuda" in other.plan
    with pytest.raises(BadArgument, match="has no ivf"):
        neighbors.nearest(queries, base, k=1, recall=0.9, index="ivf", device="cuda")


# ---- indexes ---------------------------------------------------------------------------------------------------------

KINDS = pytest.mark.parametrize("kind", ["ivf", "pq", "hnsw"])


def clustered(k, each, dimensions=16, seed=0, spread=0.15):
    rng = np.random.default_rng(seed)
    noise = spread * rng.normal(size=(k * each, dimensions))
    x = np.repeat(unit_vectors(0, k, dimensions), each, axis=0) + noise
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def base():
    return of(clustered(150, 20), images=np.arange(3000) * 5 + 1)


@pytest.fixture(scope="module")
def asked():
    return of(clustered(150, 5, seed=9), images=np.arange(750) * 7)


@pytest.fixture(scope="module", params=["ivf", "pq", "hnsw"])
def index(request, base, asked, tmp_path_factory):
    out = tmp_path_factory.mktemp("index") / request.param
    return neighbors.build(base, out=out, index=request.param, queries=asked, k=40)


@pytest.mark.parametrize(("k", "recall"), [(1, 0.99), (10, 0.8), (10, 0.97), (40, 0.9)])
def test_an_index_finds_the_share_it_was_asked_for_with_exact_similarities(index, base, asked, k, recall):
    found = index.nearest(asked, k=k, recall=recall)
    table = similarities(asked.vectors, base.vectors)
    low = -np.sort(-table, axis=1)[:, k - 1 : k] - 1e-12
    true = (found.similarity >= low).mean()
    assert true >= recall - 0.01
    assert found.recall == pytest.approx(true, abs=0.02)  # 512 of the 750 queries were looked at
    assert found.plan.startswith(index.kind)
    assert f"recall {found.recall:.4f} measured" in found.plan
    assert np.abs(found.similarity - np.take_along_axis(table, found.positions, axis=1)).max() < 1e-12
    assert (np.diff(found.similarity, axis=1) <= 0).all()
    assert all(len(set(row)) == k for row in found.positions.tolist())


@pytest.mark.parametrize("low", [0.75, 0.9])
def test_a_range_search_of_an_index_finds_the_share_it_was_asked_for(index, base, asked, low):
    found = index.range_search(asked, min_similarity=low, recall=0.95)
    table = similarities(asked.vectors, base.vectors)
    pairs = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    assert set(pairs) <= set(zip(*np.nonzero(table >= low - 2e-6), strict=True))
    assert len(pairs) >= 0.94 * (table >= low).sum() > 200
    assert found.plan.startswith(index.kind)
    assert (found.similarity == neighbors.similarities(asked.vectors, base.vectors, found.left, found.right)).all()


@settings(max_examples=6)
@given(st.lists(st.integers(0, 749), min_size=1, max_size=30, unique=True), st.integers(1, 11), st.integers(1, 3))
def test_an_answer_does_not_depend_on_the_batch_or_the_threads(index, asked, rows, block, threads):
    whole = index.nearest(asked, k=7, recall=0.9)
    pairs = index.range_search(asked, min_similarity=0.8, recall=0.9)
    some = asked.select(asked.images[rows])
    usual = faiss.omp_get_max_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "_BLOCK", block)
        index._efforts.clear()
        faiss.omp_set_num_threads(threads)
        part = index.nearest(some, k=7, recall=0.9)
        less = index.range_search(some, min_similarity=0.8, recall=0.9)
        faiss.omp_set_num_threads(usual)
    assert (part.positions == whole.positions[sorted(rows)]).all()
    assert (part.similarity == whole.similarity[sorted(rows)]).all()
    mine = np.isin(pairs.left, rows)
    assert less.right.tolist() == pairs.right[mine].tolist()


@KINDS
def test_an_index_does_not_depend_on_row_order_or_threads(kind, base, asked):
    order = np.random.default_rng(1).permutation(len(base))
    turned = of(base.vectors[order], images=base.images[order])
    arguments = {"k": 5, "recall": 0.9, "index": kind, "seed": 3}
    one = neighbors.nearest(asked, base, **arguments)
    usual = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    other = neighbors.nearest(asked, turned, **arguments)
    faiss.omp_set_num_threads(usual)
    assert one.plan == other.plan
    assert one.plan.startswith(kind)
    assert (base.images[one.positions] == turned.images[other.positions]).all()


@KINDS
def test_an_index_of_several_parts_opened_again_answers_as_promised(kind, base, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbors, "_PART", 700)
    monkeypatch.setattr(neighbors, "_ADDED", 300)
    made = neighbors.build(base, out=tmp_path / "i", index=kind, queries=asked, k=10)
    assert len(list((tmp_path / "i").glob("part-*.faiss"))) == 5
    found = neighbors.Index.open(tmp_path / "i", base).nearest(asked, k=10, recall=0.95)
    assert (found.positions == made.nearest(asked, k=10, recall=0.95).positions).all()
    low = -np.sort(-similarities(asked.vectors, base.vectors), axis=1)[:, 9:10] - 1e-12
    assert (found.similarity >= low).mean() >= 0.94
    assert all(len(set(row)) == 10 for row in found.positions.tolist())
    assert found.plan.startswith(kind)


def test_a_killed_build_goes_on_with_the_parts_it_had(base, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbors, "_PART", 1000)
    whole = neighbors.build(base, out=tmp_path / "whole", index="ivf", k=5)
    made = []
    usual = neighbors._kept

    def kept(folder, name, make):
        def counted():
            if len(made) == 3:
                raise KeyboardInterrupt
            made.append(name)
            return make()

        return usual(folder, name, counted)

    monkeypatch.setattr(neighbors, "_kept", kept)
    with pytest.raises(KeyboardInterrupt):
        neighbors.build(base, out=tmp_path / "i", index="ivf", k=5)
    assert not (tmp_path / "i").exists()
    made.clear()
    neighbors.build(base, out=tmp_path / "i", index="ivf", k=5)
    assert made == ["part-00002.faiss"]
    again = neighbors.Index.open(tmp_path / "i", base).nearest(base, k=5, recall=0.9)
    assert (again.positions == whole.nearest(base, k=5, recall=0.9).positions).all()


def test_an_index_on_disk_belongs_to_its_embeddings_and_arguments(base, asked, tmp_path):
    out = tmp_path / "i"
    neighbors.build(base, out=out, k=5)
    before = (out / "part-00000.faiss").stat().st_mtime_ns
    neighbors.build(base, out=out, k=5)
    assert (out / "part-00000.faiss").stat().st_mtime_ns == before
    with pytest.raises(OutputExists, match="k: there 5, now 6"):
        neighbors.build(base, out=out, k=6)
    with pytest.raises(BadInput, match=f"{base.fingerprint[:12]}. Got {asked.fingerprint[:12]}"):
        neighbors.Index.open(out, asked)
    with pytest.raises(MissingInput):
        neighbors.Index.open(tmp_path / "nothing", base)
    found = neighbors.Index.open(out, base)
    with pytest.raises(BadArgument, match=r"1\.\.5, for which this index was measured. Got 6"):
        found.nearest(asked, k=6)
    with pytest.raises(BadArgument, match=r"`recall` of an index must be in \(0, 1\). Got 1"):
        found.nearest(asked, k=5, recall=1)
    with pytest.raises(BadInput, match="two embedders"):
        found.nearest(of(asked.vectors, "other"), k=5)
    with pytest.raises(BadArgument, match="nothing to build"):
        neighbors.build(base, out=tmp_path / "flat", index="flat")
    (out / "part-00000.faiss").write_bytes(b"no index")
    with pytest.raises(Damaged, match="Build the index again"):
        neighbors.Index.open(out, base)


@KINDS
def test_where_no_index_finds_enough_everything_is_compared(kind, tmp_path, monkeypatch):
    base, asked = of(unit_vectors(1, 400, 48)), of(unit_vectors(2, 30, 48))
    found = neighbors.build(base, out=tmp_path / "i", index=kind, k=20)
    monkeypatch.setattr(neighbors.Index, "_candidates", lambda *a: np.full((len(a[1]), a[3]), -1))
    near = found.nearest(asked, k=20, recall=0.99)
    assert near.positions.tolist() == neighbors.nearest(asked, base, k=20).positions.tolist()
    assert near.recall == 1
    assert f"since the {kind} index does not reach a recall of 0.99" in near.plan
    pairs = found.range_search(asked, min_similarity=0.2, recall=0.99)
    assert pairs.right.tolist() == neighbors.range_search(asked, base, min_similarity=0.2).right.tolist()
    assert pairs.recall == 1


def test_a_query_whose_lists_hold_too_few_is_compared_with_everything(base):
    found = neighbors.nearest(base, base, k=60, recall=0.3, index="ivf")
    assert "1 of 110 lists" in found.plan
    exact = neighbors.nearest(base, base, k=60)
    assert found.positions.min() >= 0
    assert (found.positions == exact.positions).all(axis=1).mean() > 0.05  # a list of few has not 60


@pytest.mark.parametrize("kind", ["ivf", "pq"])  # a graph does not find its way among so many equal vectors
def test_answers_of_any_number_are_all_found(kind, asked, monkeypatch):
    monkeypatch.setattr(neighbors, "_DEEPEST", 500)
    copies = np.concatenate([clustered(150, 10), np.repeat(asked.vectors[:2], [300, 2500], axis=0)])
    found = neighbors.range_search(asked, of(copies), min_similarity=0.999, recall=0.9, index=kind)
    assert found.plan.startswith(kind)
    count = np.bincount(found.left, minlength=2)
    assert (count[0], count[1]) == (300, 2500)


def test_with_few_pairs_recall_is_measured_on_nearest_neighbours_and_said(index, asked):
    assert "nearest neighbours, since only" in index.range_search(asked, min_similarity=0.9999, recall=0.9).plan


def test_an_index_is_made_for_many_queries_of_a_large_base_and_else_everything_is_compared(base, asked, monkeypatch):
    assert neighbors.nearest(asked, base, k=3, recall=0.9).plan.startswith("exact")
    monkeypatch.setattr(neighbors, "EXACT_PRODUCTS", 1e6)
    monkeypatch.setattr(neighbors, "_PAYS", 16)
    assert neighbors.nearest(asked, base, k=3, recall=0.9, device="cpu").plan.startswith("exact")  # too few queries
    many = of(clustered(150, 6, seed=9))
    assert neighbors.nearest(many, base, k=3, recall=0.9, device="cpu").plan.startswith("pq")
    assert neighbors.range_search(many, base, min_similarity=0.8, recall=0.9).plan.startswith("pq")
    assert neighbors.nearest(many, base, k=3, device="cpu").plan.startswith("exact")


@pytest.mark.parametrize("dimensions", [5, 515])
def test_codes_fit_any_number_of_dimensions(dimensions):
    e = of(clustered(20, 10, dimensions))
    found = neighbors.nearest(e, e, k=5, recall=0.9, index="pq")
    assert found.plan.startswith("pq")
    exact = neighbors.nearest(e, e, k=5)
    assert (found.similarity >= exact.similarity[:, -1:]).mean() > 0.88


# ---- k-means ---------------------------------------------------------------------------------------------------------


def test_one_centroid_is_the_direction_of_the_mean():
    x = clustered(2, 20, spread=0.05)
    mean = x.astype(np.float64).mean(axis=0)
    assert np.allclose(neighbors.kmeans(x, k=1, seed=0)[0], mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_kmeans_finds_separated_clusters_as_scikit_learn_does(seed):
    x = clustered(4, 30, seed=seed, spread=0.05)
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
