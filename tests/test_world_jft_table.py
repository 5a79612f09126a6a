"""The published numbers of JFT-300M in the table that imitates it, at full size where no rows are needed."""

import numpy as np
import polars as pl
import pytest

from jftdata import storage, tail
from jftdata.errors import BadArgument, BadInput
from jftdata.world import jft300m
from jftdata.world.jft_table import NUM_HEAD, given_counts, hierarchy


def test_the_hierarchy_has_the_published_shape():
    tree = hierarchy()
    below = dict(zip(tree.labels, tree.subtree_sizes().tolist(), strict=True))
    assert (tree.num_labels, tree.max_depth, tree.max_children) == (18_291, 12, 2_876)
    assert (below["animal"], below["vehicle"]) == (1_165, 5_720)
    assert tree.parents("subaru 360") == ["car"]
    assert tree.facts()["num_multi_parent"] > 200


def test_counts_at_full_size_are_the_published_ones():
    tree, n = hierarchy(), given_counts()
    by_label = dict(zip(tree.labels, n.tolist(), strict=True))
    assert n.sum() == 375_000_000
    assert by_label["flower"] > 2_000_000
    assert (by_label["subaru 360"], by_label["train conductor"]) == (3_250, 131)
    assert ((n < 20).sum(), (n < 100).sum()) == (2_000, 3_050)
    assert n.min() == 1
    rare = np.flatnonzero(n < 100)
    assert not any(tree.child_lists[i] for i in rare)  # so that filling in ancestors leaves them rare
    assert not any(tree.child_lists[tree.index(label)] for label in ("subaru 360", "train conductor"))


@pytest.mark.parametrize("num_images", [100, 4_321, 1_200_000])
def test_a_table_holds_just_what_was_dealt_out(tmp_path, num_images):
    catalog = jft300m(num_images, seed=5, out=tmp_path / "c")
    rows = catalog.scan().collect()
    assert len(catalog) == len(rows) == num_images
    assert rows["image"].is_sorted()
    assert rows["image"].is_unique().all()
    assert rows["image"].min() >= 0
    lists = rows["labels"]
    assert (lists.list.n_unique() == lists.list.len()).all()
    assert lists.list.eval(pl.element().diff().drop_nulls().gt(0).all()).list.first().fill_null(True).all()
    dealt = given_counts(num_images)
    got = np.bincount(lists.explode().to_numpy(), minlength=len(dealt))
    assert got.sum() == dealt.sum()
    head = np.argsort(-dealt, kind="stable")[:NUM_HEAD]
    others = np.setdiff1d(np.arange(len(dealt)), head)
    assert (got[others] == dealt[others]).all()
    if num_images > 1_000_000:
        assert np.abs(got[head] - dealt[head]).max() < 0.02 * dealt.max()
        sizes = np.bincount(lists.list.len().to_numpy(), minlength=5)
        assert (sizes / num_images).tolist() == pytest.approx([0, 0.80, 0.16, 0.03, 0.01], abs=1e-6)
        firsts = lists.list.first().to_numpy()[: 2 * (num_images // 2)].reshape(-1, 2)
        assert abs(np.corrcoef(firsts[:, 0], firsts[:, 1])[0, 1]) < 0.01  # neighbours share nothing


def test_the_bytes_depend_on_size_and_seed_but_not_on_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("jftdata.world.jft_table._ROW_GROUP", 1_000)
    monkeypatch.setattr("jftdata.world.jft_table._FILE_ROWS", 3_000)
    one = jft300m(10_000, out=tmp_path / "one", workers=1)
    three = jft300m(10_000, out=tmp_path / "three", workers=3)
    assert len(one.files) == 4
    assert one.fingerprint == three.fingerprint
    assert jft300m(10_000, seed=1, out=tmp_path / "other").fingerprint != one.fingerprint
    storage.verify(tmp_path / "three")
    counts = tail.label_counts(one)
    assert counts["num_given"].sum() == 12_500
    assert counts.row(0, named=True)["num_images"] == 10_000


def test_too_few_images_and_pixels_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(BadArgument, match=r"100\.\..* Got 99"):
        jft300m(99, out=tmp_path / "c")
    catalog = jft300m(100, out=tmp_path / "c")
    with pytest.raises(BadInput, match="no pixels"):
        catalog.sample(label="entity", count=3, seed=0)
