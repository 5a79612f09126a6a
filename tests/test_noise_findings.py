import numpy as np
import polars as pl
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from jftdata import noise
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.noise import Probabilities
from tests.noise_cases import given_of

TREE = Hierarchy.load("toy")


def audit(*rows):
    """Rows of image, label, wrong, other label."""
    full = [(i, a, w, None if w is None else "wrong" if w > 0.5 else "fits", b, *[None] * 6) for i, a, w, b in rows]
    return pl.DataFrame(full, schema=noise.AUDIT, orient="row").with_columns(pl.col("verdict").fill_null("not scored"))


def test_confusions_sum_probabilities_by_pair_with_distance_and_examples():
    table = audit((1, "cat", 0.9, "dog"), (2, "cat", 0.6, "dog"), (3, "cat", 0.1, "bus"), (4, "cat", None, None),
                  (5, "dog", 0.2, "cat"))  # fmt: skip
    rows = noise.confusions(table, TREE, num_examples=1)
    assert rows.schema == noise.CONFUSIONS
    first = rows.row(0, named=True)
    assert (first["given"], first["shown"], first["num_likely"], first["examples"]) == ("cat", "dog", 2, [1])
    assert first["num_wrong"] == pytest.approx(1.5)
    assert first["rate"] == pytest.approx(0.5)
    assert first["distance"] == 2
    assert rows.filter(pl.col("shown") == "bus")["distance"].to_list() == [-1]
    with pytest.raises(BadArgument, match="`num_examples` must be at least 0"):
        noise.confusions(table, TREE, num_examples=-1)
    with pytest.raises(BadInput, match="no column 'wrong'"):
        noise.confusions(table.drop("wrong"), TREE)


def test_a_pair_that_is_mostly_wrong_comes_before_a_label_given_often():
    often = [(i, "cat", 0.2, "bus") for i in range(30)]
    table = audit(*often, *[(i, "cat", 0.9, "dog") for i in range(30, 35)])
    rows = noise.confusions(table, TREE)
    assert rows["shown"].to_list() == ["dog", "bus"]
    assert rows["num_wrong"].to_list() == pytest.approx([4.5, 6.0])
    assert rows["mean_wrong"].to_list() == pytest.approx([0.9, 0.2])


@drawn(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_intervals_are_wilsons(values):
    row = noise.by_label(audit(*[(i, "cat", v, "dog") for i, v in enumerate(values)]), TREE).row(0, named=True)
    n, p, z = len(values), float(np.mean(values)), 1.959963984540054
    # the ends solve (p - q)^2 = z^2 q (1 - q) / n
    ends = np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2])
    assert row["rate"] == pytest.approx(p)
    assert [row["low"], row["high"]] == pytest.approx(np.sort(ends.real).clip(0, 1).tolist(), abs=1e-6)
    assert row["most_for"] == "dog"


def test_labels_of_which_nothing_was_scored_are_listed_last_without_a_rate():
    rows = noise.by_label(audit((1, "cat", 0.9, "dog"), (2, "bus", None, None)), TREE)
    assert rows.schema == noise.LABELS
    assert rows["label"].to_list() == ["cat", "bus"]
    assert rows.row(1, named=True)["rate"] is None
    assert rows["num_scored"].to_list() == [1, 0]


def test_missing_labels_leave_out_ancestors_and_given_ones():
    given = given_of(TREE, [["cat"], ["animal"], ["bus"]])
    rows = [
        (0, "animal", 1.0),
        (0, "house cat", 0.9),
        (0, "bus", 0.7),
        (0, "cat", 1.0),
        (1, "dog", 0.4),
        (2, "dog", 0.8),
    ]
    found = Probabilities.of(pl.DataFrame(rows, schema=noise.PROBABILITIES, orient="row"), TREE, exclusive=False)
    table = noise.missing(given, found)
    assert table.schema == noise.MISSING
    assert table.select("image", "label", "kind").rows() == [
        (0, "house cat", "more specific"), (2, "dog", "besides"), (0, "bus", "besides")
    ]  # fmt: skip
    assert len(noise.missing(given, found, min_probability=0.4)) == 4
    for value in (0, 1.1, float("nan")):
        with pytest.raises(BadArgument, match=r"must be in \(0, 1\]"):
            noise.missing(given, found, min_probability=value)


def test_verified_negatives_and_all_below_them_are_not_missing(photo_catalog, monkeypatch):
    given = noise.read(photo_catalog)
    tree = given.tree
    names = tree.labels
    rows = [(int(i), x, 0.9) for i in given.images for x in names]
    found = Probabilities.of(pl.DataFrame(rows, schema=noise.PROBABILITIES, orient="row"), tree, exclusive=False)
    everything = noise.missing(photo_catalog, found)
    assert len(everything) == len(given.images) * (len(names) - 1)
    image = int(everything["image"][0])
    scan = type(photo_catalog).scan

    def with_negatives(self, **kwargs):
        mine = pl.when(pl.col("image") == image).then(pl.lit(list(range(len(names))), pl.List(pl.Int32)))
        return scan(self, **kwargs).with_columns(negatives=mine.otherwise(pl.lit([], pl.List(pl.Int32))))

    monkeypatch.setattr(type(photo_catalog), "scan", with_negatives)
    assert image not in noise.missing(photo_catalog, found)["image"]
