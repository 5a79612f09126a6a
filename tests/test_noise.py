import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from jftdata import noise
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources import from_folder
from tests.strategies import unit_vectors

DIMENSIONS = 24


def tiny(number):
    """A small image that no other number makes."""
    rng = np.random.default_rng(number)
    return encode_jpeg(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))


def build(folder, plan, *, hierarchy=None, spread=0.15):
    """Catalog and embeddings of images planned as (label given, true label); sources are `label/number.jpg`.

    Each true label has its own direction, and an image lies near that of its true label.
    """
    truths = sorted({truth for _, truth in plan})
    centres = dict(zip(truths, unit_vectors(5, len(truths), DIMENSIONS), strict=True))
    truth_of = {}
    for number, (given, truth) in enumerate(plan):
        path = folder / "p" / given / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny(number))
        truth_of[f"{given}/{path.name}"] = truth
    catalog = from_folder(folder / "p", out=folder / "c", hierarchy=hierarchy, workers=1)
    rows = catalog.scan().select("image", "source").collect()
    rng = np.random.default_rng(1)
    x = np.stack([centres[truth_of[s]] for s in rows["source"]]) + spread * rng.normal(size=(len(rows), DIMENSIONS))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    wrong = {image for image, source in rows.iter_rows() if source.split("/")[0] != truth_of[source]}
    return catalog, Embeddings.of(x, rows["image"].to_numpy(), embedder="made up"), wrong


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Three labels of 40 images, in each of which two belong to another."""
    labels = ["bus", "cat", "dog"]
    plan = [(label, label) for label in labels for _ in range(38)]
    plan += [(label, other) for label in labels for other in labels if other != label]
    return build(tmp_path_factory.mktemp("planted"), plan)


def test_planted_wrong_labels_come_out_on_top(planted):
    catalog, embeddings, wrong = planted
    table = noise.audit(catalog, embeddings)
    assert table.schema == noise.AUDIT
    assert len(table) == 120
    assert set(table["image"][: len(wrong)]) == wrong
    assert (table["score"][: len(wrong)] > 0).all()
    assert (table["score"][len(wrong) :] < 0).all()
    assert roc_auc_score(table["image"].is_in(list(wrong)), table["distance"]) == 1.0


def test_the_other_label_named_is_the_true_one(planted):
    catalog, embeddings, wrong = planted
    table = noise.audit(catalog, embeddings).head(len(wrong))
    named = set(table.select("label", "other_label").iter_rows())
    assert named == {(a, b) for a in ("bus", "cat", "dog") for b in ("bus", "cat", "dog") if a != b}


def test_distances_are_those_to_the_mean_direction_of_the_label(planted):
    catalog, embeddings, _ = planted
    table = noise.audit(catalog, embeddings, num_centroids=1).sort("image")
    given = catalog.scan().select("image", "labels").collect()
    label_of = {image: catalog.hierarchy.labels[labels[0]] for image, labels in given.iter_rows()}
    x = embeddings.vectors.astype(np.float64)
    owner = np.array([label_of[int(i)] for i in embeddings.images])
    means = {label: x[owner == label].mean(axis=0) for label in ("bus", "cat", "dog")}
    table = table.with_columns(row=pl.Series(range(len(table))))
    for row in table.iter_rows(named=True):
        far = {label: 1 - x[row["row"]] @ mean / np.linalg.norm(mean) for label, mean in means.items()}
        assert row["distance"] == pytest.approx(far.pop(row["label"]), abs=1e-6)
        assert row["other_distance"] == pytest.approx(min(far.values()), abs=1e-6)
        assert row["other_label"] == min(far, key=far.get)
        assert row["score"] == pytest.approx(row["distance"] - row["other_distance"])


def test_rows_are_sorted_by_score_and_the_same_every_time(planted):
    catalog, embeddings, _ = planted
    table = noise.audit(catalog, embeddings, num_centroids=2, seed=3)
    assert table["score"].is_sorted(descending=True)
    assert table.equals(noise.audit(catalog, embeddings, num_centroids=2, seed=3))


@pytest.mark.parametrize("num_bins", [1, 2, 6])
def test_bins_are_equal_shares_of_each_label_by_distance(planted, num_bins):
    catalog, embeddings, _ = planted
    table = noise.audit(catalog, embeddings, num_bins=num_bins)
    for part in table.partition_by("label"):
        sizes = np.bincount(part["bin"], minlength=num_bins)
        assert len(sizes) == num_bins
        assert sizes.max() - sizes.min() <= 1
        assert part.sort("distance")["bin"].is_sorted()


def test_equal_distances_share_a_bin():
    assert noise._quantile_bins(np.full(9, 0.25), 6).tolist() == [0] * 9


def test_ancestors_and_descendants_are_not_counted_as_other_labels(tmp_path):
    plan = [("animal", "cat")] * 8 + [("cat", "cat")] * 8 + [("bus", "bus")] * 8
    catalog, embeddings, _ = build(tmp_path, plan, hierarchy=Hierarchy.load("toy"))
    table = noise.audit(catalog, embeddings)
    others = set(table.select("label", "other_label").iter_rows())
    assert {pair for pair in others if pair[0] != "bus"} == {("animal", "bus"), ("cat", "bus")}
    assert {pair[1] for pair in others if pair[0] == "bus"} <= {"animal", "cat"}
    assert (table["score"] < 0).all()  # an image of a cat that is called an animal is no error


def test_a_label_whose_relatives_are_all_there_is_has_no_other(tmp_path):
    catalog, embeddings, _ = build(
        tmp_path, [("animal", "x")] * 6 + [("cat", "x")] * 6, hierarchy=Hierarchy.load("toy")
    )
    table = noise.audit(catalog, embeddings)
    assert table["other_label"].null_count() == len(table)
    assert table["other_distance"].is_nan().all()
    assert table["score"].to_list() == table["distance"].to_list()


def test_labels_with_few_images_are_left_out(tmp_path):
    plan = [("cat", "cat")] * 6 + [("dog", "dog")] * 4
    catalog, embeddings, _ = build(tmp_path, plan)
    assert set(noise.audit(catalog, embeddings)["label"]) == {"cat"}
    assert set(noise.audit(catalog, embeddings, min_images=4)["label"]) == {"cat", "dog"}
    with pytest.raises(BadInput, match="no label is given to 7 images"):
        noise.audit(catalog, embeddings, min_images=7)


def test_a_catalog_image_without_a_vector_is_an_error(planted):
    catalog, embeddings, _ = planted
    with pytest.raises(BadInput, match=f"image {embeddings.images[-1]} of the catalog has no vector"):
        noise.audit(catalog, embeddings.select(embeddings.images[:-1]))


@pytest.mark.parametrize("name", ["num_centroids", "num_bins", "min_images"])
def test_numbers_below_one_are_refused(planted, name):
    catalog, embeddings, _ = planted
    with pytest.raises(BadArgument, match=f"`{name}` must be at least 1. Got 0"):
        noise.audit(catalog, embeddings, **{name: 0})
