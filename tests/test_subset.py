import itertools
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import storage, subset
from jftdata.errors import BadArgument, BadInput, Damaged, MissingInput, OutputExists, UnknownName
from jftdata.hashing import keyed_hash
from jftdata.sources import from_folder
from tests.conftest import write_photos
from tests.test_sources_folder import place

SIZES = st.lists(st.integers(1, 24), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**63 - 1)


@given(SIZES, SEEDS)
def test_nested_subsets_nest_and_have_the_sizes_asked_for(photo_catalog, sizes, seed):
    made = subset.nested(photo_catalog, sizes=sizes, seed=seed)
    assert [len(s) for s in made] == sizes
    everything = set(photo_catalog.images().tolist())
    for s in made:
        assert (np.diff(s.images) > 0).all()
        assert set(s.images.tolist()) <= everything
    for small, large in itertools.pairwise(sorted(made, key=len)):
        assert set(small.images.tolist()) <= set(large.images.tolist())


@given(SEEDS, st.integers(1, 24))
def test_a_size_is_drawn_alike_whatever_other_sizes_are_asked_for(photo_catalog, seed, size):
    alone = subset.nested(photo_catalog, sizes=[size], seed=seed)[0]
    among = subset.nested(photo_catalog, sizes=[24, size, 1], seed=seed)[1]
    assert alone.fingerprint == among.fingerprint


def test_seeds_draw_different_images_and_every_image_equally_often(photo_catalog):
    drawn = [subset.nested(photo_catalog, sizes=[6], seed=seed)[0].images for seed in range(400)]
    assert len({tuple(images) for images in drawn}) > 390
    often = np.unique(np.concatenate(drawn), return_counts=True)[1]
    assert len(often) == 24
    assert np.abs(often - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_those_with_the_lowest_keyed_hashes_are_drawn(tmp_path):
    catalog = from_folder(place(tmp_path / "p", *(f"a/{i}.png" for i in range(3))), out=tmp_path / "c", workers=1)
    ids = catalog.images()
    expected = sorted(ids.tolist(), key=lambda i: int(keyed_hash(np.array([i]), seed=4, stream="nested")[0]))[:2]
    assert subset.nested(catalog, sizes=[2], seed=4)[0].images.tolist() == sorted(expected)


def test_images_added_later_change_no_earlier_decision(tmp_path, photos, photo_catalog):
    more = write_photos(tmp_path / "p", per_label=16)  # the first 8 of each label are those of `photos`
    larger = from_folder(more, out=tmp_path / "c", workers=1)
    old = photo_catalog.images()
    assert set(old.tolist()) < set(larger.images().tolist())
    for seed in range(5):
        few = subset.nested(photo_catalog, sizes=[8], seed=seed)[0].images
        order = [subset.nested(larger, sizes=[n], seed=seed)[0].images for n in range(1, 49)]
        kept = next(images for images in order if np.isin(images, old).sum() == 8)
        assert kept[np.isin(kept, old)].tolist() == few.tolist()


def test_images_that_must_stay_out_are_never_drawn_and_the_rest_are_drawn_alike(photo_catalog):
    out = photo_catalog.images()[[0, 5, 9]]
    without = subset.nested(photo_catalog, sizes=[21], seed=1, without=out)[0]
    assert not np.isin(without.images, out).any()
    with pytest.raises(BadArgument, match=r"1\.\.21"):
        subset.nested(photo_catalog, sizes=[22], seed=1, without=out)
    few = subset.nested(photo_catalog, sizes=[5], seed=1, without=out)[0]
    large = subset.nested(photo_catalog, sizes=[8], seed=1)[0]  # at most three of its eight are left out
    assert set(large.images.tolist()) - set(out.tolist()) >= set(few.images.tolist()) & set(large.images.tolist())
    assert without.recipe["without"]["num_images"] == 3
    other = subset.nested(photo_catalog, sizes=[21], seed=1, without=out[:2])[0]
    assert other.recipe["without"]["sha256"] != without.recipe["without"]["sha256"]


@pytest.mark.parametrize("size", [0, -1, 25])
def test_a_size_out_of_range_is_refused(photo_catalog, size):
    with pytest.raises(BadArgument, match=rf"1\.\.24, the images there are to draw from\. Got {size}"):
        subset.nested(photo_catalog, sizes=[1, size], seed=0)


def test_a_split_is_drawn_from_alone(tmp_path):
    root = place(tmp_path / "p", "train/a/1.jpg", "train/a/2.jpg", "val/a/3.jpg")
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    assert subset.everything(catalog, split="train").images.tolist() == catalog.images(split="train").tolist()
    assert len(subset.everything(catalog)) == 3
    assert (
        subset.nested(catalog, sizes=[1], seed=0, split="val")[0].images.tolist()
        == catalog.images(split="val").tolist()
    )
    with pytest.raises(UnknownName, match="'tran'"):
        subset.nested(catalog, sizes=[1], seed=0, split="tran")


def test_given_ids_are_put_in_order_and_checked(photo_catalog):
    ids = photo_catalog.images()
    made = subset.Subset.of(photo_catalog, [ids[3], ids[1], ids[3]], recipe={"builder": "mine"})
    assert made.images.tolist() == [ids[1], ids[3]]
    with pytest.raises(BadInput, match="images are not in"):
        subset.Subset.of(photo_catalog, [ids[0], 17], recipe={})
    with pytest.raises(BadInput, match="no image"):
        subset.Subset.of(photo_catalog, [], recipe={})


# ---- on disk ---------------------------------------------------------------------------------------------------------


def test_saved_and_opened_is_the_same(tmp_path, photo_catalog):
    made = subset.nested(photo_catalog, sizes=[7], seed=2)[0]
    made.save(tmp_path / "s")
    for again in (subset.Subset.open(tmp_path / "s"), subset.Subset.open(tmp_path / "s", catalog=photo_catalog)):
        assert again.images.tolist() == made.images.tolist()
        assert again.recipe == made.recipe == {"builder": "nested", "seed": 2, "split": None, "size": 7}
        assert again.fingerprint == made.fingerprint
        assert again.catalog.fingerprint == photo_catalog.fingerprint
    storage.verify(tmp_path / "s")


def test_saving_again_is_allowed_but_not_another_subset(tmp_path, photo_catalog):
    ids = photo_catalog.images()
    one = subset.Subset.of(photo_catalog, ids[:3], recipe={"builder": "mine"})
    one.save(tmp_path / "s")
    one.save(tmp_path / "s")
    with pytest.raises(OutputExists, match=r"inputs\.images"):
        subset.Subset.of(photo_catalog, ids[:4], recipe={"builder": "mine"}).save(tmp_path / "s")
    with pytest.raises(OutputExists, match="builder"):
        subset.Subset.of(photo_catalog, ids[:3], recipe={"builder": "yours"}).save(tmp_path / "s")


def test_a_changed_catalog_is_noticed(tmp_path):
    root = write_photos(tmp_path / "p", per_label=2)
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    subset.nested(catalog, sizes=[2], seed=0)[0].save(tmp_path / "s")
    place(root, "cat/99.jpg")
    (tmp_path / "c").rename(tmp_path / "old")
    from_folder(root, out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match="has changed since"):
        subset.Subset.open(tmp_path / "s")
    (tmp_path / "c").rename(tmp_path / "new")
    with pytest.raises(MissingInput):
        subset.Subset.open(tmp_path / "s")
    moved = type(catalog).open(tmp_path / "old")
    assert len(subset.Subset.open(tmp_path / "s", catalog=moved)) == 2


def test_other_ids_than_those_saved_are_noticed(tmp_path, photo_catalog):
    subset.nested(photo_catalog, sizes=[3], seed=0)[0].save(tmp_path / "s")
    pl.DataFrame({"image": photo_catalog.images()[:3]}).write_parquet(tmp_path / "s" / "images.parquet")
    with pytest.raises(Damaged, match="image ids do not match"):
        subset.Subset.open(tmp_path / "s")


def test_a_subset_copies_no_image(tmp_path, photo_catalog):
    subset.everything(photo_catalog).save(tmp_path / "s")
    assert sum(path.stat().st_size for path in (tmp_path / "s").iterdir()) < 5000
    assert json.loads((tmp_path / "s" / storage.SIDECAR).read_text())["facts"]["num_images"] == 24
