"""The registry of test-set leaks: planted copies counted by split, nothing compared twice, never a silent empty answer."""

import dataclasses
import shutil

import polars as pl
import pytest

from jftdata import copies, overlap, pretrain, recipes, subset, world
from jftdata.changes import change
from jftdata.errors import BadArgument, BadInput, MissingInput, OutputExists, UnknownOption
from jftdata.images import encode_jpeg
from jftdata.sources import from_folder

LEAKED = range(20, 26)
"""Training images of which a cropped copy is in the test set."""


def drawn(index):
    return world.scene(3, index, stream="eval").image


def catalog_of(folder, files):
    """A catalog of {split/label/name: bytes}."""
    for name, content in files.items():
        path = folder / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return from_folder(folder / "p", out=folder / "c", workers=1)


def ids(catalog):
    """Image id by file name without its ending."""
    return {s.split("/")[-1].split(".")[0]: i for i, s in catalog.scan().select("image", "source").collect().rows()}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    files = {f"train/a/t{i}.jpg": encode_jpeg(drawn(i)) for i in range(30)}
    return catalog_of(tmp_path_factory.mktemp("train"), files)


@pytest.fixture(scope="module")
def test(tmp_path_factory):
    """8 training and 10 test images; copies of training images are among the test images, the same file among the others."""
    cropped = {i: encode_jpeg(change(drawn(i), kind="cropped_75", image=i, seed=0)) for i in LEAKED}
    files = {f"test/a/q{i}.jpg": content for i, content in cropped.items()}
    files |= {f"test/a/n{i}.jpg": encode_jpeg(drawn(i)) for i in range(200, 204)}
    files |= {f"train/a/n{i}.jpg": encode_jpeg(drawn(i)) for i in range(300, 307)}
    files["train/a/same.jpg"] = encode_jpeg(drawn(3))
    return catalog_of(tmp_path_factory.mktemp("test"), files)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return catalog_of(tmp_path_factory.mktemp("clean"), {f"test/a/{i}.jpg": encode_jpeg(drawn(i)) for i in (400, 401)})


@pytest.fixture(scope="module")
def registered(train, test, clean):
    return overlap.register(train, {"leaky": test, "clean": clean}, workers=1)


@pytest.fixture(scope="module")
def checkpoint(train, tmp_path_factory):
    """Sixteen of the thirty training images are in its one batch."""
    config = dataclasses.replace(recipes.tiny(total_epochs=1.0, image_size=32), batch_size=16)
    return pretrain.run(subset.everything(train), config, out=tmp_path_factory.mktemp("run") / "run")


def test_the_summary_counts_planted_copies_by_split(registered, train):
    assert dict(registered.schema) == overlap.SUMMARY
    told = registered.select("test_set", "split", "num_images", "num_with_copy", "share", "num_pairs").rows()
    assert told == [
        ("leaky", "test", 10, 6, 0.6, 6), ("leaky", "train", 8, 1, 0.125, 1), ("clean", "test", 2, 0, 0.0, 0)
    ]  # fmt: skip
    assert registered["num_unread"].sum() == 0
    assert all(str(train.path) + ".overlaps/" in path for path in registered["path"])


def test_what_is_registered_is_not_compared_again(registered, train, test, clean, monkeypatch):
    monkeypatch.setattr(copies, "_search", None)
    assert overlap.register(train, {"leaky": test, "clean": clean}).equals(registered)
    with pytest.raises(OutputExists, match=r"min_probability: there 0\.5, now 0\.9"):
        overlap.register(train, [test], min_probability=0.9)


def test_a_stopped_registration_goes_on_with_what_is_missing(train, test, clean, tmp_path, monkeypatch):
    compared = []
    search = copies._search

    def stop_at_the_second(one, *given):
        compared.append(one)
        if len(compared) == 2:
            raise KeyboardInterrupt
        return search(one, *given)

    monkeypatch.setattr(copies, "_search", stop_at_the_second)
    tests = {"clean": clean, "leaky": test}
    with pytest.raises(KeyboardInterrupt):
        overlap.register(train, tests, registry=tmp_path / "r", workers=1)
    assert overlap.find(train, test, registry=tmp_path / "r") is None
    assert overlap.register(train, tests, registry=tmp_path / "r", workers=1)["num_with_copy"].to_list() == [0, 6, 1]
    assert compared == [clean, test, test]


def test_no_pair_is_an_empty_frame_and_not_compared_is_none(registered, train, test, clean, checkpoint, tmp_path):
    assert overlap.find(train, clean).rows() == []
    assert overlap.find(checkpoint, clean).rows() == []
    assert overlap.find(train, train) is None
    assert overlap.find(test, clean) is None
    assert overlap.find(checkpoint, test, registry=tmp_path) is None


def test_pairs_are_those_of_the_two_catalogs(registered, train, test):
    found = overlap.find(train, test)
    t, q = ids(train), ids(test)
    expected = {(q[f"q{i}"], t[f"t{i}"]) for i in LEAKED} | {(q["same"], t["t3"])}
    assert set(found.select("test_image", "train_image").rows()) == expected
    assert found.equals(copies.find_between(test, train, workers=1).pairs)


def test_a_checkpoint_counts_only_copies_of_images_it_saw(registered, train, test, checkpoint):
    everything = overlap.find(train, test)
    seen = set(checkpoint.images().tolist())
    assert len(seen) == 16
    expected = [pair for pair in everything.rows() if pair[1] in seen]
    assert 0 < len(expected) < len(everything)
    assert overlap.find(checkpoint, test).rows() == expected


def test_pairs_of_several_sets_carry_its_name_and_a_missing_one_is_an_error(registered, train, test, clean):
    found = overlap.pairs(train, {"clean": clean, "leaky": test})
    assert dict(found.schema) == overlap.PAIRS
    assert found["test_set"].to_list() == ["leaky"] * 7
    assert found.drop("test_set").equals(overlap.find(train, test))
    with pytest.raises(MissingInput, match=r"was not compared with .* Call `overlap\.register` first"):
        overlap.pairs(train, {"leaky": test, "other": train})


def test_images_to_drop_leave_no_pair_on_either_side(registered, train, test):
    found = overlap.find(train, test)
    for side in ("test", "train"):
        drop = overlap.to_drop(found, side=side)
        assert (drop.name, drop.dtype) == ("image", pl.Int64)
        assert drop.to_list() == sorted({pair[side == "train"] for pair in found.rows()})
    with pytest.raises(UnknownOption, match=r"side 'tets' is not known\. Did you mean 'test'"):
        overlap.to_drop(found, side="tets")
    with pytest.raises(BadInput, match="no column 'test_image'"):
        overlap.to_drop(pl.DataFrame({"image": [1]}), side="test")


def test_images_that_cannot_be_read_are_counted(tmp_path):
    one = catalog_of(tmp_path / "one", {f"test/a/{i}.jpg": encode_jpeg(drawn(i)) for i in range(4)})
    other = catalog_of(tmp_path / "other", {f"train/a/{i}.jpg": encode_jpeg(drawn(i)) for i in range(2, 8)})
    for gone in ("one/p/test/a/0.jpg", "other/p/train/a/2.jpg", "other/p/train/a/7.jpg"):
        (tmp_path / gone).unlink()
    told = overlap.register(other, {"one": one}, workers=1).row(0, named=True)
    assert (told["num_with_copy"], told["num_unread"]) == (1, 3)


def test_a_training_catalog_made_anew_is_not_the_registered_one(tmp_path, clean):
    files = {f"train/a/{i}.jpg": encode_jpeg(drawn(i)) for i in range(3)}
    before = catalog_of(tmp_path / "t", files)
    overlap.register(before, [clean], workers=1)
    shutil.rmtree(before.path)
    after = catalog_of(tmp_path / "t", {"train/a/9.jpg": encode_jpeg(drawn(9))})
    assert after.path == before.path
    assert overlap.find(after, clean) is None
    with pytest.raises(OutputExists, match="train: there"):
        overlap.register(after, [clean], workers=1)


def test_test_sets_need_names_of_their_own(train, clean):
    with pytest.raises(BadArgument, match="at least one test set"):
        overlap.register(train, [])
    with pytest.raises(BadArgument, match="folders of the same name"):
        overlap.register(train, [clean, train])
