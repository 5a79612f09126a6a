import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import hashing, subset, world
from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hashing import keyed_hash, keyed_order
from jftdata.sources import from_folder
from jftdata.subset import sizes
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
    rest = subset.without(photo_catalog, images=out)
    drawn = subset.nested(rest, sizes=[21], seed=1)[0]
    assert (
        drawn.images.tolist()
        == rest.images.tolist()
        == sorted(set(photo_catalog.images().tolist()) - set(out.tolist()))
    )
    with pytest.raises(BadArgument, match=r"1\.\.21"):
        subset.nested(rest, sizes=[22], seed=1)
    few = subset.nested(rest, sizes=[5], seed=1)[0]
    large = subset.nested(photo_catalog, sizes=[8], seed=1)[0]  # at most three of its eight are left out
    assert set(few.images.tolist()) <= set(large.images.tolist())
    frame = pl.DataFrame({"image": out, "why": "x"})
    assert subset.without(photo_catalog, images=frame).fingerprint == rest.fingerprint
    assert subset.without(photo_catalog, images=[17]).fingerprint == subset.everything(photo_catalog).fingerprint
    with pytest.raises(BadInput, match=r"no image is left after the step 'without' of 24"):
        subset.without(photo_catalog, images=photo_catalog.images())


@pytest.mark.parametrize("size", [0, -1, 25])
def test_a_size_out_of_range_is_refused(photo_catalog, size):
    with pytest.raises(BadArgument, match=rf"1\.\.24, the images there are to draw from\. Got {size}"):
        subset.nested(photo_catalog, sizes=[1, size], seed=0)


def test_a_split_is_drawn_from_alone(tmp_path):
    root = place(tmp_path / "p", "train/a/1.jpg", "train/a/2.jpg", "val/a/3.jpg")
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    train = subset.everything(catalog, split="train")
    assert train.images.tolist() == catalog.images(split="train").tolist()
    assert subset.in_split(catalog, split="train").images.tolist() == train.images.tolist()
    assert len(subset.everything(catalog)) == 3
    assert subset.sample(train, size=2, seed=0).images.tolist() == train.images.tolist()
    with pytest.raises(BadInput, match="no image is left"):
        subset.in_split(train, split="val")
    for build in (subset.everything, subset.in_split):
        with pytest.raises(UnknownName, match="'tran'"):
            build(catalog, split="tran")


@given(SEEDS, st.lists(st.floats(0.05, 1), min_size=2, max_size=2))
def test_shares_nest_and_each_image_is_decided_on_its_own(photo_catalog, seed, shares):
    few, many = sorted(shares)
    everything = subset.everything(photo_catalog)
    drawn = {}
    for share in (few, many):
        hashes = keyed_hash(everything.images, seed=seed, stream="nested")
        expected = everything.images[hashes < share * 2.0**64] if share < 1 else everything.images
        if not len(expected):
            with pytest.raises(BadInput, match="no image is left"):
                subset.fraction(photo_catalog, share=share, seed=seed)
            return
        drawn[share] = subset.fraction(photo_catalog, share=share, seed=seed)
        assert drawn[share].images.tolist() == expected.tolist()
    assert set(drawn[few].images.tolist()) <= set(drawn[many].images.tolist())


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(photo_catalog, share):
    with pytest.raises(BadArgument, match=r"\(0, 1\]"):
        subset.fraction(photo_catalog, share=share, seed=0)


def test_given_images_must_be_in_the_source(photo_catalog):
    ids = photo_catalog.images()
    made = subset.only(photo_catalog, images=[ids[3], ids[1], ids[3]])
    assert made.images.tolist() == [ids[1], ids[3]]
    assert subset.only(made, images=made).images.tolist() == made.images.tolist()
    with pytest.raises(BadInput, match=r"1 of 2 images are not among the 24 to choose from, for example 17"):
        subset.only(photo_catalog, images=[int(ids[0]), 17])
    with pytest.raises(BadInput, match="not among the 2"):
        subset.only(made, images=ids[:1])
    with pytest.raises(BadInput, match="no image"):
        subset.only(photo_catalog, images=[])
    with pytest.raises(BadInput, match="whole numbers"):
        subset.only(photo_catalog, images=[0.5])
    with pytest.raises(BadInput, match=r"column `image`"):
        subset.only(photo_catalog, images=pl.DataFrame({"id": [1]}))


def test_large_sets_are_cut_as_small_ones_are(tmp_path, monkeypatch):
    catalog = world.jft300m(30_000, out=tmp_path / "c")
    ids = catalog.images()
    expected = {
        n: np.sort(ids[keyed_order(ids, seed=5, stream="nested")[:n]]).tolist() for n in (1, 700, 29_999, 30_000)
    }
    for piece in (1 << 20, 20_000):
        monkeypatch.setattr(sizes, "_PIECE", piece)
        for made, n in zip(subset.nested(catalog, sizes=list(expected), seed=5), expected, strict=True):
            assert made.images.tolist() == expected[n]
            assert made.fingerprint == subset.sample(catalog, size=n, seed=5).fingerprint
            assert made.recipe.key == subset.sample(catalog, size=n, seed=5).recipe.key
        within = subset.sample(subset.sample(catalog, size=29_999, seed=5), size=700, seed=5)
        assert within.images.tolist() == expected[700]


def test_a_tie_of_hashes_goes_to_the_smaller_id(photo_catalog, monkeypatch):
    same = lambda ids, **_: np.full(len(ids), 7, np.uint64)  # noqa: E731
    monkeypatch.setattr(sizes, "keyed_hash", same)
    monkeypatch.setattr(hashing, "keyed_hash", same)
    for piece in (1 << 20, 4):
        monkeypatch.setattr(sizes, "_PIECE", piece)
        assert subset.sample(photo_catalog, size=5, seed=0).images.tolist() == photo_catalog.images()[:5].tolist()
