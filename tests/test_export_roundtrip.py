"""What goes out and comes in again is the same: ids, labels, splits, scores and negatives."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jftdata import export, plots, sources
from jftdata.hierarchy import Hierarchy
from tests.export_cases import Said, catalog_of, told, write_files

NAMES = [
    "a/b",
    "a_b",
    "..",
    "CON",
    "Cat",
    "cat",
    "é",
    "é",
    "x" * 300,
    "猫",
    ' "q",',
    "a ",
    "=1+1",
    "007",
    "NULL",
    "train",
]
TREE = Hierarchy.from_edges([("thing", name) for name in NAMES] + [("root", "thing"), ("other", "Cat")])
SPLITS = ["train", "val-2", "test", "a/b"]
SCORE = st.integers(1, 1000).map(lambda x: x / 1000)


@st.composite
def sayings(draw):
    labels = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
    scores = draw(st.none() | st.tuples(*[SCORE] * len(labels))) if labels else None
    negatives = draw(st.lists(st.sampled_from([name for name in NAMES if name not in labels]), unique=True, max_size=2))
    return Said(tuple(labels), scores, tuple(negatives), draw(st.sampled_from(SPLITS)))


single = st.builds(Said, st.tuples(st.sampled_from(NAMES)), split=st.sampled_from(SPLITS))
CASES = st.lists(sayings(), min_size=1, max_size=6) | st.lists(single, min_size=1, max_size=6)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files") / "images", len(NAMES))


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "rank_frequency", lambda *_: None)
        yield


def tree_of(out):
    return Hierarchy.load(out / "hierarchy.tsv")


def from_parquet(out, made):
    there = _columns(out)
    more = {name: name for name in ("scores", "negatives") if name in there}
    label = "label" if "label" in there else "labels"
    return [sources.from_hub(out / "data", label=label, **more, hierarchy=tree_of(out), out=made, workers=1)]


def _columns(out):
    import pyarrow.parquet as pq

    return pq.read_schema(next((out / "data").glob("*.parquet"))).names


def from_folder_table(out, made):
    return [sources.from_table(out / "labels.csv", images=out, hierarchy=tree_of(out), out=made, workers=1)]


def from_webdataset(out, made, splits):
    return [
        sources.from_webdataset(
            str(out / "data" / f"{name}-*.tar"), label="json.labels", scores="json.scores", negatives="json.negatives",
            split=split, hierarchy=tree_of(out), out=made / str(i), workers=1,
        )
        for i, (split, name) in enumerate(splits.items())
    ]  # fmt: skip


def from_coco(out, made, splits):
    return [
        sources.from_coco(
            out / "annotations" / f"instances_{name}.json", images=out / name, split=split, hierarchy=tree_of(out),
            out=made / str(i), workers=1,
        )
        for i, (split, name) in enumerate(splits.items())
    ]  # fmt: skip


def read_back(format, sidecar, out, made, files):
    splits = {split: sidecar.facts["renamed_splits"].get(split, split) for split in sidecar.facts["splits"]}
    if format == "parquet":
        return from_parquet(out, made)
    if format == "folder":
        return from_folder_table(out, made)
    if format == "list":
        return [sources.from_table(out / "labels.csv", images=files, hierarchy=tree_of(out), out=made, workers=1)]
    return (from_webdataset if format == "webdataset" else from_coco)(out, made, splits)


@pytest.mark.parametrize("format", export.FORMATS)
@settings(max_examples=5)
@given(said=CASES)
@example(said=[Said((name,), split=SPLITS[i % 4]) for i, name in enumerate(NAMES)])
def test_a_round_trip_gives_the_same(format, said, files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trip")
    catalog = catalog_of(said, files, folder, tree=TREE)
    sidecar = export.run(catalog, format=format, out=folder / "out", workers=2)
    back = {}
    for made in read_back(format, sidecar, folder / "out", folder / "back", files):
        assert made.hierarchy.labels == TREE.labels
        assert made.hierarchy.parent_lists == TREE.parent_lists
        back.update(told(made))
    assert back == told(catalog)
