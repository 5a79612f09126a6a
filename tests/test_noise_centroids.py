import numpy as np
import pytest

from jftdata import noise
from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.noise import centroids
from jftdata.noise.given import vectors_of
from tests.noise_cases import build


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    plan = [("cat", "cat")] * 8 + [("dog", "dog")] * 8 + [("bus", "bus")] * 8 + [("animal", "dog")] * 6
    return build(tmp_path_factory.mktemp("far"), plan, hierarchy=Hierarchy.load("toy"))


def test_distances_are_those_to_the_mean_direction_of_each_label(case):
    catalog, embeddings, _ = case
    given = noise.read(catalog)
    found = centroids.distances(given, vectors_of(given, embeddings), num_centroids=1, min_images=1, seed=0)
    x = embeddings.vectors.astype(np.float64)
    tree = given.tree
    means = {}
    for label in ("cat", "dog", "bus", "animal"):
        mean = x[given.owner[given.index == tree.index(label)]].mean(axis=0)
        means[label] = mean / np.linalg.norm(mean)
    for at, (row, index) in enumerate(zip(given.owner, given.index, strict=True)):
        label = tree.labels[index]
        related = {label, *tree.ancestors(label), *tree.descendants(label)}
        far = {name: 1 - x[row] @ mean for name, mean in means.items()}
        others = {name: value for name, value in far.items() if name not in related}
        assert found.own[at] == pytest.approx(far[label], abs=1e-6)
        assert found.other[at] == pytest.approx(min(others.values()), abs=1e-6)
        assert tree.labels[found.other_label[at]] == min(others, key=others.get)


def test_labels_with_few_images_have_no_distance_and_are_no_other_label(case):
    catalog, embeddings, _ = case
    given = noise.read(catalog)
    found = centroids.distances(given, embeddings, num_centroids=3, min_images=7, seed=0)
    few = given.index == given.tree.index("animal")
    assert np.isnan(found.own[few]).all()
    assert not np.isnan(found.own[~few]).any()
    assert given.tree.index("animal") not in found.other_label
    with pytest.raises(BadInput, match="no label is given to 9 images"):
        centroids.distances(given, embeddings, num_centroids=1, min_images=9, seed=0)


def test_a_label_whose_relatives_are_all_there_is_has_no_other(tmp_path):
    catalog, embeddings, _ = build(
        tmp_path, [("animal", "x")] * 6 + [("cat", "x")] * 6, hierarchy=Hierarchy.load("toy")
    )
    found = centroids.distances(noise.read(catalog), embeddings, num_centroids=1, min_images=1, seed=0)
    assert np.isnan(found.other).all()
    assert (found.other_label == -1).all()
    assert set(noise.audit(catalog, embeddings, signals=["centroids"])["verdict"]) == {"not scored"}
