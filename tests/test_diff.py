import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import diff
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources.ingest import Listed, Record, ingest
from tests.strategies import picture

IMAGES = [encode_jpeg(picture(i, width=16, height=16)) for i in range(6)]


def catalog(out, rows, *, hierarchy=None):
    """A catalog of (image number, split, labels)."""
    made = [Record(source=str(i), labels=tuple(labels), split=split, data=IMAGES[i]) for i, split, labels in rows]
    names = sorted({label for record in made for label in record.labels})
    return ingest(
        [Listed(tuple(made))], out=out, hierarchy=hierarchy, made_with={"pack": True}, inputs={}, labels=names,
        max_rejected=0.0, workers=1,
    )  # fmt: skip


def told(changes, *catalogs):
    """Changes by the number of the image."""
    number = {image: int(s) for c in catalogs for image, s in c.scan().select("image", "source").collect().iter_rows()}
    return {number[row["image"]]: tuple(row.values())[1:] for row in changes.iter_rows(named=True)}


@pytest.fixture
def two(tmp_path):
    before = catalog(
        tmp_path / "a", [(0, "train", "a"), (1, "train", "ab"), (2, "val", "b"), (3, "val", ""), (5, "val", "ab")]
    )
    after = catalog(
        tmp_path / "b", [(0, "train", "a"), (1, "val", "zb"), (3, "train", ""), (4, "val", "z"), (5, "val", "ba")]
    )
    return before, after


def test_every_kind_of_change_is_told_once_and_what_is_alike_is_not(two):
    changes = diff.catalogs(*two)
    assert changes.schema == diff.DIFF
    assert changes["image"].is_sorted()
    assert told(changes, *two) == {
        1: ("relabelled", "train", "val", ["a", "b"], ["b", "z"]),
        2: ("removed", "val", None, ["b"], None),
        3: ("moved", "val", "train", [], []),
        4: ("added", None, "val", None, ["z"]),
    }
    assert diff.summary(changes) == {"added": 1, "removed": 1, "relabelled": 1, "moved": 1}


def test_changes_are_counted_by_split_and_by_label(two):
    changes = diff.catalogs(*two)
    assert diff.by_split(changes).rows() == [
        ("train", "moved", 1), ("val", "added", 1), ("val", "relabelled", 1), ("val", "removed", 1),
    ]  # fmt: skip
    assert diff.by_label(changes).rows() == [("z", 2, 0), ("a", 0, 1), ("b", 0, 1)]


def test_the_other_way_round_is_the_opposite(two):
    before, after = two
    there, back = diff.summary(diff.catalogs(before, after)), diff.summary(diff.catalogs(after, before))
    assert (there["added"], there["removed"]) == (back["removed"], back["added"])
    swapped = diff.by_label(diff.catalogs(after, before)).rename({"num_gained": "num_lost", "num_lost": "num_gained"})
    assert swapped.select("label", "num_gained", "num_lost").equals(diff.by_label(diff.catalogs(before, after)))


def test_a_catalog_does_not_differ_from_itself_under_another_hierarchy(tmp_path):
    rows = [(0, "train", ["cat"]), (1, "train", ["dog", "bus"]), (2, "train", [])]
    flat = catalog(tmp_path / "flat", rows)
    deep = catalog(tmp_path / "deep", rows, hierarchy=Hierarchy.load("toy"))
    assert flat.hierarchy.labels != deep.hierarchy.labels
    changes = diff.catalogs(flat, deep)
    assert len(changes) == 0
    assert changes.schema == diff.DIFF
    assert len(diff.by_split(changes)) == len(diff.by_label(changes)) == 0
    assert sum(diff.summary(changes).values()) == 0


def test_catalogs_without_any_label_can_be_compared(tmp_path):
    before = catalog(tmp_path / "a", [(0, "train", "")])
    after = catalog(tmp_path / "b", [(0, "train", ""), (1, "train", "")])
    assert told(diff.catalogs(before, after), after) == {1: ("added", None, "train", None, [])}


rows_drawn = st.dictionaries(
    st.integers(0, 5), st.tuples(st.sampled_from(["train", "val"]), st.sets(st.sampled_from("abc")).map(sorted)),
    min_size=1,
)  # fmt: skip


@settings(max_examples=20)
@given(old=rows_drawn, new=rows_drawn)
def test_the_difference_is_that_of_plain_python(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("diff")
    before = catalog(folder / "a", [(i, *row) for i, row in old.items()])
    after = catalog(folder / "b", [(i, *row) for i, row in new.items()])
    changes = diff.catalogs(before, after)
    assert told(changes, before, after).keys() == {i for i in old.keys() | new.keys() if old.get(i) != new.get(i)}
    gained = {x: sum(x in new.get(i, (0, ""))[1] and x not in old.get(i, (0, ""))[1] for i in range(6)) for x in "abc"}
    lost = {x: sum(x in old.get(i, (0, ""))[1] and x not in new.get(i, (0, ""))[1] for i in range(6)) for x in "abc"}
    found = {label: (g, n) for label, g, n in diff.by_label(changes).iter_rows()}
    assert found == {x: (gained[x], lost[x]) for x in "abc" if gained[x] or lost[x]}
    assert diff.by_split(changes)["num_images"].sum() == len(changes)
