import datasets
import pyarrow.parquet as pq
import pytest

from jftdata import export
from jftdata.hierarchy import Hierarchy
from tests.export_cases import Said, catalog_of, write_files

TREE = Hierarchy.from_edges([("animal", "cat"), ("animal", "dög"), ("thing", "bus")])


def loaded(catalog, folder, tmp_path):
    """What a stranger gets, who knows nothing but the folder."""
    export.to_parquet(catalog, out=folder, card=export.Card(license="cc-by-4.0"))
    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path / "files", 6)


@pytest.fixture(autouse=True)
def _no_bars_nor_pictures(monkeypatch):
    monkeypatch.setattr("jftdata.plots.rank_frequency", lambda *_: None)
    datasets.disable_progress_bars()


def test_one_label_an_image_comes_back_as_a_class_label(files, tmp_path):
    said = [Said(("cat",)), Said(("bus",), split="val-2"), Said(("dög",)), Said(("cat",))]
    catalog = catalog_of(said, files, tmp_path / "catalogs", tree=TREE)
    found = loaded(catalog, tmp_path / "out", tmp_path)
    assert {split.split("_")[0]: len(rows) for split, rows in found.items()} == {"train": 3, "val": 1}
    rows = found["train"]
    assert rows.features["image"] == datasets.Image()
    assert rows.features["label"] == datasets.ClassLabel(names=list(TREE.labels))
    expected = {
        image: TREE.labels[labels[0]] for image, labels in catalog.scan(split="train").select("image", "labels").collect().iter_rows()
    }  # fmt: skip
    assert {row["image_id"]: rows.features["label"].int2str(row["label"]) for row in rows} == expected
    assert all(row["image"].size == (row["width"], row["height"]) for row in rows)


def test_several_labels_come_back_as_lists_of_class_labels_with_scores_and_negatives(files, tmp_path):
    said = [Said(("cat", "bus"), (0.25, 0.5), ("dög",)), Said(), Said(("bus",))]
    found = loaded(catalog_of(said, files, tmp_path / "catalogs", tree=TREE), tmp_path / "out", tmp_path)["train"]
    assert found.features["labels"] == datasets.List(datasets.ClassLabel(names=list(TREE.labels)))
    assert found.features["negatives"] == found.features["labels"]
    names = found.features["labels"].feature.int2str
    rows = {row["source"]: row for row in found.remove_columns("image")}
    first = rows["0.jpg"]
    assert dict(zip(names(first["labels"]), first["scores"], strict=True)) == {"cat": 0.25, "bus": 0.5}
    assert names(first["negatives"]) == ["dög"]
    assert rows["1.png"]["labels"] == []


def test_row_groups_stay_small(files, tmp_path, monkeypatch):
    monkeypatch.setattr("jftdata.export.parquet._ROW_GROUP", 2)
    export.to_parquet(catalog_of([Said()] * 5, files, tmp_path / "c", tree=TREE), out=tmp_path / "out")
    file = pq.ParquetFile(tmp_path / "out" / "data" / "train-000000.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 1]
