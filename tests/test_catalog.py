import threading

import numpy as np
import polars as pl
import pytest

from jftdata import storage
from jftdata.catalog import FORMAT, SCHEMA, Catalog, label_rows
from jftdata.errors import BadInput, ImageRejected, MissingInput, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.sources import from_folder
from tests.test_sources_folder import place


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Seven images in two splits under the toy hierarchy, one of them unlabelled."""
    root = place(
        tmp_path_factory.mktemp("toy") / "p",
        "train/cat/1.jpg", "train/dog/2.jpg", "train/animal/3.jpg", "val/house cat/4.jpg", "val/bus/5.jpg", "val/6.jpg",
        "val/cat/7.jpg",
    )  # fmt: skip
    return from_folder(root, out=root.parent / "c", hierarchy=Hierarchy.load("toy"), workers=1)


def test_opening_gives_the_same_catalog(toy):
    again = Catalog.open(toy.path)
    assert again.fingerprint == toy.fingerprint
    assert len(again) == 7
    assert again.hierarchy.labels == Hierarchy.load("toy").labels
    assert again.scan().collect_schema() == SCHEMA


def test_opening_nothing_is_an_error(tmp_path):
    with pytest.raises(MissingInput):
        Catalog.open(tmp_path / "nowhere")


def test_images_are_ascending_and_splits_part_them(toy):
    everything = toy.images()
    assert (np.diff(everything) > 0).all()
    parts = [toy.images(split=split) for split in toy.splits]
    assert toy.splits == {"train": 3, "val": 4}
    assert sorted(np.concatenate(parts)) == everything.tolist()


def test_an_unknown_split_is_suggested(toy):
    for ask in (toy.scan, toy.images, lambda split: list(label_rows(toy, split=split))):
        with pytest.raises(UnknownName, match="Did you mean 'train'"):
            ask(split="trian")


def test_rows_come_in_the_order_asked_for_and_as_often(toy):
    ids = toy.images()[[4, 0, 4, 2]]
    rows = toy.rows(ids)
    assert rows["image"].to_list() == ids.tolist()
    assert rows.columns == list(SCHEMA)
    assert toy.rows(ids, columns=["source"]).columns == ["source"]
    assert len(toy.rows(ids[:0])) == 0


def test_rows_of_a_foreign_id_are_an_error_that_names_it(toy):
    with pytest.raises(BadInput, match=r"1 images are not in .*, for example 12345"):
        toy.rows(np.array([12345, toy.images()[0]]))


def test_label_rows_give_the_given_labels_of_every_image(toy):
    found = {}
    for images, start, index in label_rows(toy):
        for i, image in enumerate(images):
            found[int(image)] = index[start[i] : start[i + 1]].tolist()
    assert found == dict(toy.scan().select("image", "labels").collect().iter_rows())
    assert [] in found.values()  # an unlabelled image is not lost


def test_label_rows_of_a_split_are_those_of_that_split(toy):
    images = np.concatenate([images for images, _, _ in label_rows(toy, split="val")])
    assert images.tolist() == toy.images(split="val").tolist()


def test_a_file_that_is_gone_or_shorter_is_reported_as_missing(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg", "a/2.jpg")
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    for row in catalog.scan().sort("source").collect().iter_rows(named=True):
        path = root / row["source"]
        if row["source"] == "a/1.jpg":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ImageRejected) as caught:
            catalog.read(row["shard"], row["offset"], row["length"])
        assert caught.value.reason == "missing"
        assert row["source"] in str(caught.value)


def test_many_threads_read_the_right_bytes(photos, photo_catalog):
    rows = photo_catalog.scan().select("shard", "offset", "length", "source").collect().rows() * 4
    wrong = []

    def check(part):
        wrong.extend(s for shard, at, n, s in part if photo_catalog.read(shard, at, n) != (photos / s).read_bytes())

    threads = [threading.Thread(target=check, args=(rows[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_sample_of_a_label_holds_those_below_it_and_is_the_same_every_time(toy):
    cats = toy.sample(label="cat", count=10, seed=0)
    assert set(cats["source"]) == {"train/cat/1.jpg", "val/house cat/4.jpg", "val/cat/7.jpg"}
    two = toy.sample(label="cat", count=2, seed=0)
    assert two["image"].to_list() == cats["image"].to_list()[:2]
    assert len(toy.sample(label="tractor", count=3, seed=0)) == 0
    with pytest.raises(UnknownName, match="'cta'"):
        toy.sample(label="cta", count=1, seed=0)


def test_another_seed_samples_in_another_order(photo_catalog):
    orders = {tuple(photo_catalog.sample(label="cat", count=8, seed=seed)["image"]) for seed in range(5)}
    assert len(orders) == 5
    assert len({frozenset(order) for order in orders}) == 1


def test_ids_are_unique_and_fit_their_hash(photo_catalog):
    frame = photo_catalog.scan().select("image", "sha256").collect()
    assert frame["image"].is_unique().all()
    assert all(int.from_bytes(sha[:8], "big") >> 1 == image for image, sha in frame.iter_rows())
    assert frame.schema["image"] == pl.Int64


@pytest.fixture
def labels_only(tmp_path):
    """A catalog of two rows without pixels."""
    with storage.building(tmp_path / "c", format=FORMAT, made_with={}, inputs={}) as build:
        Hierarchy.load("toy").save(build.folder / "hierarchy.tsv")
        (build.folder / "images").mkdir()
        schema = {name: SCHEMA[name] for name in ("image", "labels", "split")}
        rows = pl.DataFrame({"image": [3, 5], "labels": [[1], []], "split": ["train", "train"]}, schema=schema)
        rows.write_parquet(build.folder / "images" / "00000.parquet")
        build.facts.update(num_images=2, splits={"train": 2}, has_pixels=False)
    return Catalog.open(tmp_path / "c")


def test_a_catalog_without_pixels_answers_about_labels(labels_only, toy):
    assert toy.has_pixels
    assert not labels_only.has_pixels
    assert labels_only.images(split="train").tolist() == [3, 5]
    assert labels_only.rows(np.array([5, 3]), columns=["image", "labels"]).rows() == [(5, []), (3, [1])]


@pytest.mark.parametrize(
    "ask",
    [
        lambda catalog: catalog.read("x.jpg", 0, 1),
        lambda catalog: catalog.sample(label="cat", count=1, seed=0),
        lambda catalog: catalog.rows(np.array([3])),
    ],
    ids=["read", "sample", "rows"],
)
def test_a_catalog_without_pixels_says_so_when_asked_for_them(labels_only, ask):
    with pytest.raises(BadInput, match="has labels but no pixels"):
        ask(labels_only)
