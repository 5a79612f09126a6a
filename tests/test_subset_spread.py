"""Subsets by content against brute force, bounds that hold, and planted copies that go."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import neighbors, progress, subset, world
from jftdata.catalog import label_rows
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, UnknownOption
from tests.strategies import unit_vectors

NUM = 300
SEEDS = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Images without pixels, most of them with a label."""
    return world.jft300m(NUM, out=tmp_path_factory.mktemp("spread") / "c")


def embedded(ids, seed=0, dimensions=6):
    return Embeddings.of(unit_vectors(seed, len(ids), dimensions), ids, embedder="toy")


def crowds(ids, seed=0):
    """Twelve crowds, of which the first has half of the images, and three loners."""
    rng = np.random.default_rng(seed)
    middle = unit_vectors(seed, 12, 16)
    of = np.where(rng.random(len(ids)) < 0.5, 0, rng.integers(12, size=len(ids)))
    x = middle[of] + 0.05 * rng.normal(size=(len(ids), 16))
    x[:3] = unit_vectors(seed + 1, 3, 16)
    return Embeddings.of((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), ids, embedder="toy")


MAKERS = {
    "k_center": lambda s, e, n: subset.k_center(s, embeddings=e, size=n, seed=3),
    "facility_location": lambda s, e, n: subset.facility_location(s, embeddings=e, size=n, seed=3),
    "prototypes": lambda s, e, n: subset.prototypes(s, embeddings=e, size=n, per="all", num_clusters=4),
    "hardest": lambda s, e, n: subset.prototypes(s, embeddings=e, size=n, per="label", hardest=True),
    "sem_dedup": lambda s, e, n: subset.sem_dedup(s, embeddings=e, share=n / len(s), seed=3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_size_nesting_and_recipe(catalog, name):
    labelled = np.concatenate([images[np.diff(start) > 0] for images, start, _ in label_rows(catalog)])
    source = subset.only(catalog, images=labelled)
    own = crowds(catalog.images())
    made = [MAKERS[name](source, own, n) for n in (5, 40, len(source))]
    assert [len(s) for s in made] == [5, 40, len(source)]
    for small, large in itertools.pairwise(made):
        assert set(small.images.tolist()) < set(large.images.tolist())
    assert subset.make(made[1].recipe, catalog).fingerprint == made[1].fingerprint
    fewer = own.select(labelled)  # vectors of images that are not in the source do not matter
    assert MAKERS[name](source, fewer, 40).fingerprint == made[1].fingerprint


@given(SEEDS)
@settings(max_examples=15)
def test_k_center_is_within_twice_the_best_radius(catalog, seed):
    some = subset.sample(catalog, size=9, seed=seed)
    own = embedded(some.images, seed, 3)
    distance = np.sqrt(np.maximum(0, 2 - 2 * own.vectors.astype(float) @ own.vectors.T.astype(float)))
    best = min(distance[:, list(c)].min(axis=1).max() for c in itertools.combinations(range(9), 3))
    made = subset.k_center(some, embeddings=own, size=3, seed=seed)
    measured = subset.coverage(some, made, embeddings=own)
    near = distance[:, np.searchsorted(some.images, made.images)].min(axis=1)
    assert measured["radius"] == pytest.approx(near.max(), abs=1e-3)
    assert measured["similarity"] == pytest.approx((1 - near**2 / 2).mean(), abs=1e-6)
    assert near.max() <= 2 * best + 1e-3


@given(SEEDS)
@settings(max_examples=15)
def test_facility_location_is_within_1_less_1_over_e_of_the_best_sum(catalog, seed):
    some = subset.sample(catalog, size=9, seed=seed)
    own = embedded(some.images, seed, 3)
    value = np.maximum(own.vectors.astype(float) @ own.vectors.T.astype(float), 0)
    best = max(value[:, list(c)].max(axis=1).sum() for c in itertools.combinations(range(9), 3))
    made = subset.facility_location(some, embeddings=own, size=3, seed=seed)
    assert value[:, np.searchsorted(some.images, made.images)].max(axis=1).sum() >= (1 - 1 / np.e) * best


def test_what_each_is_good_at(catalog):
    own = crowds(catalog.images())
    random = subset.coverage(catalog, subset.sample(catalog, size=15, seed=0), embeddings=own)
    center = subset.coverage(catalog, MAKERS["k_center"](catalog, own, 15), embeddings=own)
    served = subset.coverage(catalog, MAKERS["facility_location"](catalog, own, 15), embeddings=own)
    assert center["radius"] < 0.5 < random["radius"]
    assert served["similarity"] > random["similarity"] + 0.05


@given(SEEDS, st.floats(0.01, 1), st.floats(-0.9, 0.99))
@settings(max_examples=20)
def test_sem_dedup_in_one_cluster_by_brute_force(catalog, seed, share, least):
    own = embedded(catalog.images(), seed, 4)
    x = own.vectors.astype(float)
    middle = x.mean(axis=0) / np.linalg.norm(x.mean(axis=0))
    order = np.argsort(x @ middle)  # farthest from the centroid first
    alike = np.full(NUM, -2.0)
    for place in range(1, NUM):
        alike[order[place]] = (x[order[:place]] @ x[order[place]]).max()
    by_share = subset.sem_dedup(catalog, embeddings=own, share=share, seed=seed)
    kept = np.sort(own.images[np.argsort(alike, kind="stable")[: max(1, round(share * NUM))]])
    assert by_share.images.tolist() == kept.tolist()
    least = abs(least) + 0.005
    by_threshold = subset.sem_dedup(catalog, embeddings=own, min_similarity=least, seed=seed)
    assert by_threshold.images.tolist() == own.images[alike < least].tolist()


def test_planted_copies_go_first(catalog):
    ids = catalog.images()
    x = unit_vectors(0, NUM, 32)
    x[200:] = x[:100] + 0.01 * unit_vectors(1, 100, 32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    own = Embeddings.of(x, ids, embedder="toy")
    for clusters in (1, 8):
        kept = set(
            subset.sem_dedup(catalog, embeddings=own, share=2 / 3, seed=0, num_clusters=clusters).images.tolist()
        )
        assert all((ids[i] in kept) + (ids[200 + i] in kept) == 1 for i in range(100))


@pytest.mark.parametrize("hardest", [False, True])
def test_prototypes_of_labels_by_brute_force(catalog, hardest):
    own = embedded(catalog.images(), 5, 8)
    labels = {}
    for images, start, index in label_rows(catalog):
        labels |= {int(i): index[a:b].tolist() for i, a, b in zip(images, start, start[1:], strict=False)}
    x = {int(i): v.astype(float) for i, v in zip(own.images, own.vectors, strict=True)}
    middle = {}
    for label in {label for found in labels.values() for label in found}:
        total = sum(x[i] for i in labels if label in labels[i])
        middle[label] = total / np.linalg.norm(total)
    crowd = {}
    for i, found in labels.items():
        if found:
            similarity, label = max((round(float(x[i] @ middle[label]), 6), -label) for label in found)
            crowd.setdefault(label, []).append((similarity if hardest else -similarity, i))
    rank = {i: (at + 0.5) / len(own) for own in crowd.values() for at, (_, i) in enumerate(sorted(own))}
    expected = sorted(rank, key=lambda i: (rank[i], i))[:60]
    made = subset.prototypes(catalog, embeddings=own, size=60, hardest=hardest)
    assert made.images.tolist() == sorted(expected)


@pytest.mark.parametrize("hardest", [False, True])
def test_prototypes_of_clusters_by_brute_force(catalog, hardest):
    own = crowds(catalog.images())
    middle = neighbors.kmeans(own.vectors, k=5, seed=1).astype(float)
    alike = np.round(own.vectors.astype(float) @ middle.T, 6)
    of, nearest = alike.argmax(axis=1), alike.max(axis=1)
    share = np.empty(NUM)
    for cluster in range(5):
        rows = np.flatnonzero(of == cluster)
        rows = rows[np.argsort(nearest[rows] if hardest else -nearest[rows], kind="stable")]
        share[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    expected = own.images[np.argsort(share, kind="stable")[:100]]
    made = subset.prototypes(catalog, embeddings=own, size=100, per="all", num_clusters=5, seed=1, hardest=hardest)
    assert made.images.tolist() == sorted(expected.tolist())


def test_images_without_a_vector_are_counted_and_not_chosen(catalog, capsys):
    ids = catalog.images()
    own = embedded(ids[10:])
    progress.set_quiet(False)
    made = subset.sem_dedup(catalog, embeddings=own, share=1, seed=0)
    assert made.images.tolist() == ids[10:].tolist()
    assert "10 of 300 images have no vector and are not chosen from" in capsys.readouterr().err
    with pytest.raises(BadArgument, match=r"1\.\.290, the images with a vector. Got 291"):
        subset.k_center(catalog, embeddings=own, size=291, seed=0)
    with pytest.raises(BadInput, match="none of the 10 images has a vector"):
        subset.k_center(subset.only(catalog, images=ids[:10]), embeddings=own, size=1, seed=0)


def test_arguments_that_cannot_be(catalog):
    own = embedded(catalog.images())
    with pytest.raises(BadArgument, match="one of the two"):
        subset.sem_dedup(catalog, embeddings=own, seed=0)
    with pytest.raises(BadArgument, match="one of the two"):
        subset.sem_dedup(catalog, embeddings=own, seed=0, share=0.5, min_similarity=0.9)
    with pytest.raises(BadArgument, match=r"`share` must be in \(0, 1\]. Got 1.5"):
        subset.sem_dedup(catalog, embeddings=own, seed=0, share=1.5)
    with pytest.raises(BadArgument, match=r"`num_clusters` must be in 1\.\.300"):
        subset.sem_dedup(catalog, embeddings=own, seed=0, share=0.5, num_clusters=301)
    with pytest.raises(BadArgument, match="goes with per='all'"):
        subset.prototypes(catalog, embeddings=own, size=3, num_clusters=4)
    with pytest.raises(UnknownOption, match="Did you mean 'label'"):
        subset.prototypes(catalog, embeddings=own, size=3, per="labels")
    with pytest.raises(BadArgument, match=r"`num_neighbors` must be at least 1\. Got 0"):
        subset.facility_location(catalog, embeddings=own, size=3, seed=0, num_neighbors=0)
