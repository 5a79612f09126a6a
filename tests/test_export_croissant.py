import json
import logging

import mlcroissant
import pytest

from jftdata import export
from jftdata.hierarchy import Hierarchy
from tests.export_cases import Said, catalog_of, write_files

pytestmark = [  # of libraries that mlcroissant uses
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning"),
]
TREE = Hierarchy.flat(["bus", "cät", "dog"])
SAID = [Said(("cät",)), Said(("bus",), split="val"), Said(("dog",)), Said(("bus", "cät")), Said()]


@pytest.fixture
def catalog(request, tmp_path):
    return catalog_of(SAID[: request.param], write_files(tmp_path / "files", 5), tmp_path / "catalogs", tree=TREE)


def records(path, caplog):
    """Records as mlcroissant reads them; it reports only fields it recommends, which nobody has told us."""
    with caplog.at_level(logging.ERROR):
        read = mlcroissant.Dataset(str(path))
    assert not read.metadata.issues.errors
    assert {line.split('"')[1].split("/")[-1] for line in read.metadata.issues.warnings} <= {
        "citeAs", "datePublished", "version"
    }  # fmt: skip
    return [{name.split("/")[1]: value for name, value in row.items()} for row in read.records("records")]


@pytest.mark.parametrize("catalog", [3], indirect=True, ids=["single"])
def test_parquet_records_are_the_images(catalog, tmp_path, caplog):
    export.to_parquet(catalog, out=tmp_path / "out", card=export.Card(license="cc0-1.0", title="Things"))
    found = {row["image_id"]: row for row in records(tmp_path / "out" / "croissant.json", caplog)}
    rows = catalog.rows(catalog.images(), columns=("image", "labels", "split", "width", "height"))
    assert len(found) == len(rows)
    for image, labels, split, width, height in rows.iter_rows():
        row = found[image]
        assert row["image"].size == (width, height)
        assert row["split"] == split.encode()
        assert [row["label"]] == labels if "label" in row else list(row["labels"]) == labels
    told = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert (told["name"], told["license"]) == ("Things", "cc0-1.0")


@pytest.mark.parametrize("catalog", [5], indirect=True, ids=["several"])
def test_folder_records_are_images_and_labels(catalog, tmp_path, caplog):
    export.to_folder(catalog, out=tmp_path / "out")
    found = {
        (row["image_id"], (row["label"] or b"").decode())
        for row in records(tmp_path / "out" / "croissant.json", caplog)
    }
    expected = {
        (image, TREE.labels[label] if label is not None else "")
        for image, labels in catalog.scan().select("image", "labels").collect().iter_rows()
        for label in labels or [None]
    }
    assert found == expected


@pytest.mark.parametrize("catalog", [5], indirect=True, ids=["several"])
def test_equal_exports_have_equal_descriptions(catalog, tmp_path):
    for name in ("a", "b"):
        export.to_parquet(catalog, out=tmp_path / name / "out")
    for file in ("croissant.json", "README.md", "SHA256SUMS", "tail.svg"):
        assert (tmp_path / "a" / "out" / file).read_bytes() == (tmp_path / "b" / "out" / file).read_bytes()
