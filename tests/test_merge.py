"""Catalogs without copies: united labels against plain Python, bytes where they were, and sizes that add up."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import dedup, merge, progress, storage, tail
from jftdata.catalog import SCHEMA, Catalog
from jftdata.errors import BadInput, OutputExists, UnknownName, UnknownOption
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources.ingest import Record, ingest, listed
from tests.strategies import picture

TOY = Hierarchy.load("toy")
BYTES = [encode_jpeg(picture(i, width=24, height=16 + i)) for i in range(14)]
"""The later, the more pixels."""


def record(at, labels, *, negatives=(), split="train", source=None):
    return Record(
        source=source or f"x{at}", labels=tuple(labels), scores=tuple(labels.values()), split=split, data=BYTES[at],
        negatives=tuple(negatives),
    )  # fmt: skip


def catalog_of(out, *records):
    made_with = {"source": "test", "pack": True}
    return ingest(
        listed(records), out=out, hierarchy=TOY, made_with=made_with, inputs={}, labels=[], max_rejected=1.0, workers=1
    )


def numbers(catalog):
    """Image id by the place of its bytes in BYTES, by the height."""
    return {h - 16: i for i, h in catalog.scan().select("image", "height").collect().rows()}


def said(catalog):
    """Labels with scores, negatives and split by height, as plain values."""
    found = {}
    columns = ("height", "labels", "scores", "negatives", "split")
    for height, labels, scores, negatives, split in catalog.scan().select(columns).collect().iter_rows():
        names = [TOY.labels[i] for i in labels]
        assert labels == sorted(labels)
        assert scores is None or any(score is not None for score in scores)
        scored = dict(zip(names, scores or [None] * len(names), strict=True))
        found[height - 16] = (scored, {TOY.labels[i] for i in negatives}, split)
    return found


def resolved_of(catalog, *groups):
    """Groups of places in BYTES, resolved."""
    ids = numbers(catalog)
    rows = [(min(ids[x] for x in group), ids[x]) for group in groups for x in group]
    frame = pl.DataFrame(rows, schema=dedup.GROUPS, orient="row").sort("group", "image")
    return dedup.resolve(frame, catalog)


def adds_up(catalog):
    facts = catalog.sidecar.facts
    copies = pl.read_parquet(catalog.path / "duplicates.parquet")
    rows = catalog.scan().collect()
    assert dict(rows.schema) == SCHEMA
    assert facts["num_input"] == facts["num_images"] + facts["num_duplicates"] + facts["num_rejected"]
    assert facts["num_images"] == len(rows) == sum(facts["splits"].values())
    assert facts["num_duplicates"] == len(copies)
    assert facts["num_given_labels"] == rows["labels"].list.len().sum()
    assert facts["num_unlabelled"] == (rows["labels"].list.len() == 0).sum()
    assert facts["num_negatives"] == rows["negatives"].list.len().sum()
    assert facts["splits"] == dict(sorted(rows.group_by("split").len().iter_rows()))
    return copies


LABELS = st.dictionaries(st.sampled_from(TOY.labels), st.sampled_from([None, 0.25, 0.5, 1.0]), max_size=3)
IMAGES = st.lists(
    st.tuples(LABELS, st.sets(st.sampled_from(TOY.labels), max_size=2), st.sampled_from(["train", "test"]), st.integers(0, 4)),
    min_size=1, max_size=len(BYTES),
)  # fmt: skip


@settings(max_examples=15)
@given(IMAGES, st.sampled_from(["keep", "drop"]))
def test_each_group_is_its_kept_image_with_what_all_copies_say(tmp_path_factory, images, conflicts):
    """The last number is the group; group 0 are images without copies."""
    root = tmp_path_factory.mktemp("merge")
    catalog = catalog_of(
        root / "c", *(record(i, labels, negatives=no, split=split) for i, (labels, no, split, _) in enumerate(images))
    )
    groups = [[i for i, image in enumerate(images) if image[3] == g] for g in range(1, 5)]
    groups = [group for group in groups if len(group) > 1]
    resolved = resolved_of(catalog, *groups)
    before, ids = said(catalog), numbers(catalog)
    expected = dict(before)
    for group in groups:
        kept = max(group)  # the most pixels
        scores, negatives = {}, set()
        for i in group:
            for label, score in before[i][0].items():
                scores[label] = max((x for x in (scores.get(label), score) if x is not None), default=None)
            negatives |= before[i][1]
            del expected[i]
        if conflicts == "drop":
            odd = resolved.filter(pl.col("image") == ids[kept])["conflicts"][0].to_list()
            scores = {x: s for x, s in scores.items() if x not in odd and not negatives & {x, *TOY.ancestors(x)}}
        else:
            negatives -= {y for x in scores for y in (x, *TOY.ancestors(x))}
        expected[kept] = (scores, negatives, before[kept][2])
    made = merge.without_copies(catalog, resolved, out=root / "m", conflicts=conflicts)
    assert said(made) == expected
    copies = adds_up(made)
    gone = {ids[i]: ids[max(group)] for group in groups for i in group if i != max(group)}
    assert dict(copies.select("image", "kept_image").rows()) == gone
    assert made.sidecar.facts["num_merged"] == len(gone)


@pytest.fixture
def small(tmp_path):
    """0 and 1 are copies, and 3, 4 and 5; 2 came twice."""
    return catalog_of(
        tmp_path / "c", record(0, {"dog": 0.5}, split="test"), record(1, {"cat": None, "dog": 1.0}, negatives=["wolf", "bus"]),
        record(2, {"bus": None}), record(2, {"bus": 0.25}, source="x2 again"), record(3, {"bus": None}, negatives=["pet"]),
        record(4, {"house cat": 0.5}), record(5, {}, negatives=["toy"]),
    )  # fmt: skip


def test_the_bytes_stay_where_they_are_and_are_read_through_the_new_catalog(small, tmp_path):
    made = merge.without_copies(small, resolved_of(small, [0, 1], [3, 4, 5]), out=tmp_path / "deep" / "m")
    assert sorted(p.name for p in made.path.iterdir()) == [
        "artefact.json", "duplicates.parquet", "hierarchy.tsv", "images", "rejected.parquet"
    ]  # fmt: skip
    storage.verify(made.path)
    assert made.hierarchy.labels == small.hierarchy.labels
    read = {
        h - 16: made.read(*place)
        for h, *place in made.scan().select("height", "shard", "offset", "length").collect().rows()
    }
    assert read == {i: BYTES[i] for i in (1, 2, 5)}
    assert made.images().tolist() == sorted(made.images().tolist())


def test_a_contradicting_negative_goes_or_its_label(small, tmp_path):
    resolved = resolved_of(small, [0, 1], [3, 4, 5])
    kept = merge.without_copies(small, resolved, out=tmp_path / "keep")
    assert said(kept)[5] == ({"bus": None, "house cat": 0.5}, {"toy"}, "train")
    assert kept.sidecar.facts["num_conflicts"] == 1
    dropped = merge.without_copies(small, resolved, out=tmp_path / "drop", conflicts="drop")
    assert said(dropped)[5] == ({}, {"pet", "toy"}, "train")
    assert said(dropped)[1] == ({"dog": 1.0}, {"wolf", "bus"}, "train")
    assert dropped.sidecar.facts["num_dropped_labels"] == 3
    assert dropped.sidecar.facts["num_unlabelled"] == 1


def test_copies_of_copies_name_what_stands_for_them_now(small, tmp_path):
    ids = numbers(small)
    first = merge.without_copies(small, resolved_of(small, [0, 1]), out=tmp_path / "one")
    second = merge.without_copies(first, resolved_of(first, [1, 2], [4, 5]), out=tmp_path / "two")
    found = adds_up(second).select("image", "source", "split", "kept_source", "kept_image").rows()
    assert set(found) == {
        (ids[0], "x0", "test", "x2", ids[2]), (ids[1], "x1", "train", "x2", ids[2]),
        (ids[2], "x2 again", "train", "x2", ids[2]), (ids[4], "x4", "train", "x5", ids[5]),
    }  # fmt: skip
    assert second.sidecar.facts["num_merged"] == 3
    assert second.sidecar.facts["num_input"] == 7
    assert said(second)[2] == ({"dog": 1.0, "cat": None, "bus": 0.25}, {"wolf"}, "train")


def test_the_rows_do_not_depend_on_row_groups(small, tmp_path):
    resolved = resolved_of(small, [0, 1], [3, 4, 5])
    whole = merge.without_copies(small, resolved, out=tmp_path / "whole").scan().collect()
    for path in small.files:
        pl.read_parquet(path).write_parquet(path, row_group_size=2)
    pieces = merge.without_copies(small, resolved.reverse(), out=tmp_path / "pieces")
    assert pieces.scan().collect().equals(whole)
    counts = tail.label_counts(pieces).filter(pl.col("num_given") > 0).select("label", "num_given")
    assert dict(counts.rows()) == {"dog": 1, "cat": 1, "bus": 2, "house cat": 1}


def test_the_tail_before_and_after_is_told_once(small, tmp_path, capsys):
    progress.set_quiet(False)
    resolved = resolved_of(small, [3, 4, 5])
    merge.without_copies(small, resolved, out=tmp_path / "m", conflicts="drop")
    assert "without 2 copies: the tail: 1 label lost, 0 pushed below 20 images" in capsys.readouterr().err
    merge.without_copies(small, resolved, out=tmp_path / "m", conflicts="drop")
    assert capsys.readouterr().err == ""
    with pytest.raises(OutputExists, match='conflicts: there "drop", now "keep"'):
        merge.without_copies(small, resolved, out=tmp_path / "m")


def test_no_group_is_the_same_images_again(small, tmp_path):
    made = merge.without_copies(small, resolved_of(small), out=tmp_path / "m")
    assert said(made) == said(small)
    assert len(adds_up(made)) == 1


def test_groups_that_are_not_whole_or_not_of_this_catalog_are_refused(small, tmp_path):
    resolved = resolved_of(small, [0, 1])
    labels = pl.Series([["dgo"], ["dgo"]])
    for wrong, error, message in (
        (resolved.drop("conflicts"), BadInput, "no column 'conflicts'"),
        (pl.concat([resolved, resolved]), BadInput, "in resolved groups twice"),
        (resolved.with_columns(kept=True), BadInput, "keeps 2 images instead of one"),
        (resolved.with_columns(image=pl.Series([1, 2])), BadInput, "2 images are not in"),
        (resolved.with_columns(labels=labels), UnknownName, "Did you mean 'dog'"),
    ):
        with pytest.raises(error, match=message):
            merge.without_copies(small, wrong, out=tmp_path / "m")
    with pytest.raises(UnknownOption, match="Did you mean 'keep'"):
        merge.without_copies(small, resolved, out=tmp_path / "m", conflicts="kepe")
    assert not (tmp_path / "m").exists()


def test_a_catalog_without_pixels_is_refused(tmp_path):
    facts = {"num_images": 0, "splits": {}, "has_pixels": False}
    with storage.building(tmp_path / "c", format="jftdata.catalog/2", made_with={}, inputs={}) as build:
        TOY.save(build.folder / "hierarchy.tsv")
        build.facts = facts
    with pytest.raises(BadInput, match="labels but no pixels"):
        merge.without_copies(Catalog.open(tmp_path / "c"), pl.DataFrame(schema=dedup.RESOLVED), out=tmp_path / "m")
