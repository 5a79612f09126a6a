"""`jftdata catalog`: every source from the command line, and what it says."""

import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from jftdata.catalog import Catalog
from jftdata.cli import run
from jftdata.images import encode_jpeg
from tests.strategies import picture
from tests.test_catalog import labels_only  # noqa: F401  a fixture
from tests.test_cli import answer
from tests.test_sources_coco import COCO
from tests.test_sources_folder import place
from tests.test_sources_lvis import LVIS
from tests.test_sources_table import OPEN_IMAGES
from tests.test_sources_voc import ANNOTATIONS
from tests.test_sources_voc import write as write_voc
from tests.test_sources_webdataset import pairs, shard

Capture = pytest.CaptureFixture[str]
ONE = ("--workers", 1)


def test_webdataset(tmp_path: Path, capsys: Capture) -> None:
    shards = [shard(tmp_path / f"{i}.tar", pairs("cat", "dog", first=2 * i)) for i in range(2)]
    made = answer(capsys, "catalog", "webdataset", *shards, "--out", tmp_path / "c", "--split", "val", *ONE)
    assert (made["num_images"], made["splits"]) == (4, {"val": 4})
    none = answer(capsys, "catalog", "webdataset", shards[0], "--out", tmp_path / "n", "--label", "none", *ONE)
    assert none["num_unlabelled"] == 2


def test_coco_and_lvis(tmp_path: Path, capsys: Capture) -> None:
    images = place(tmp_path / "i", "1.jpg", "sub/2.jpg", "3.jpg", "4.jpg", "val2017/1.jpg", "val2017/2.jpg",
                   "train2017/3.jpg")  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(COCO))
    (tmp_path / "lvis.json").write_text(json.dumps(LVIS))
    coco = answer(capsys, "catalog", "coco", tmp_path / "coco.json", "--images", images, "--out", tmp_path / "c", *ONE)
    assert (coco["num_images"], coco["num_given_labels"]) == (4, 4)
    lvis = answer(
        capsys, "catalog", "lvis", tmp_path / "lvis.json", "--images", images, "--out", tmp_path / "l", "--label",
        "synset", *ONE,
    )  # fmt: skip
    assert (lvis["num_images"], lvis["num_negatives"], lvis["num_conflicts"]) == (3, 2, 1)


def test_voc(tmp_path: Path, capsys: Capture) -> None:
    root = write_voc(tmp_path / "v", {"train": ["a", "b"], "val": ["c"]}, ANNOTATIONS)
    made = answer(capsys, "catalog", "voc", root, "--out", tmp_path / "c", "--splits", "train,val", *ONE)
    assert made["splits"] == {"train": 2, "val": 1}


def test_table(tmp_path: Path, capsys: Capture) -> None:
    images = place(tmp_path / "i", "a1.jpg", "b2.jpg", "c3.jpg")
    (tmp_path / "t.csv").write_text(OPEN_IMAGES)
    columns = ["--image", "ImageID", "--label", "LabelName", "--confidence", "Confidence", "--source", "Source"]
    common = ["catalog", "table", tmp_path / "t.csv", "--images", images, "--suffix", ".jpg", *columns, *ONE]
    made = answer(capsys, *common, "--out", tmp_path / "c", "--min-confidence", 0.6)
    assert (made["num_rows"], made["num_rows_left_out"], made["num_negatives"]) == (7, 3, 1)
    small = answer(capsys, *common, "--out", tmp_path / "s", "--pack", "--shorter-side", 32)
    assert small["num_reencoded"] == 3
    capsys.readouterr()
    assert run(["catalog", "show", str(tmp_path / "s"), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "3 in = 3 ok + 0 byte-identical copies + 0 rejected" in said
    assert "3 stored smaller than they came" in said
    assert "7 rows read, 1 left out" in said
    assert "1 verified negative;" in said


def test_parquet_with_labels_inside_a_column_and_scores_beside_them(tmp_path: Path, capsys: Capture) -> None:
    rows = [
        {"image": encode_jpeg(picture(i)), "objects": [{"category": name}], "sure": [0.5], "not": ["c"]}
        for i, name in enumerate("ab")
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "d.parquet")
    made = answer(
        capsys, "catalog", "parquet", tmp_path / "d.parquet", "--label", "objects.category", "--scores", "sure",
        "--negatives", "not", "--out", tmp_path / "c", *ONE,
    )  # fmt: skip
    catalog = Catalog.open(str(made["path"]))
    assert catalog.hierarchy.labels == ("a", "b", "c")
    assert catalog.scan().select("scores", "negatives").collect().rows() == [([0.5], [2])] * 2


def test_smaller_images_need_packing(tmp_path: Path, capsys: Capture) -> None:
    images = place(tmp_path / "i", "a/1.jpg")
    assert run(["catalog", "folder", str(images), "--out", str(tmp_path / "c"), "--shorter-side", "32"]) == 2
    assert "must be packed" in capsys.readouterr().err


def test_a_dry_run_of_a_list_names_it_and_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    told = answer(capsys, "catalog", "webdataset", "a.tar", "b.tar", "--out", tmp_path / "c", "--dry-run")
    assert told["data"] == "a.tar, b.tar"
    assert not (tmp_path / "c").exists()


def test_sheet(photo_catalog: Catalog, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "s.png"
    common = ["catalog", "sheet", photo_catalog.path, "--out", out, "--labels", "dog|bus", "--size", 32]
    assert answer(capsys, *common, "--dry-run")["dry_run"] is True
    assert not out.exists()
    assert answer(capsys, *common, "--num-images", 3)["out"] == str(out)
    with Image.open(out) as two:
        height = two.height
    assert answer(capsys, *common[:-4], "--labels", "spread", "--size", 32)["out"] == str(out)
    with Image.open(out) as three:
        assert three.height == height + 38


def test_diff(photos: Path, photo_catalog: Catalog, tmp_path: Path, capsys: Capture) -> None:
    root = place(tmp_path / "p", "cat/new.jpg")
    (root / "dog").mkdir()
    (root / "dog" / "moved.jpg").write_bytes((photos / "cat" / "00.jpg").read_bytes())
    answer(capsys, "catalog", "folder", root, "--out", tmp_path / "c", *ONE)
    common = ["catalog", "diff", photo_catalog.path, tmp_path / "c"]
    told = answer(capsys, *common, "--out", tmp_path / "d.parquet")
    assert {kind: told[kind] for kind in ("added", "removed", "relabelled", "moved")} == {
        "added": 1, "removed": 23, "relabelled": 1, "moved": 0,
    }  # fmt: skip
    assert told["labels"][0] == {"label": "cat", "num_gained": 1, "num_lost": 8}  # type: ignore[index]
    assert len(pl.read_parquet(tmp_path / "d.parquet")) == 25
    capsys.readouterr()
    assert run([*map(str, common)]) == 0
    assert "1 added, 23 removed, 1 relabelled, 0 moved" in capsys.readouterr().out
    assert run([*map(str, common), "--out", "d.csv"]) == 2
    assert "must end in .parquet" in capsys.readouterr().err


def test_a_catalog_without_pixels_can_be_shown(labels_only: Catalog, capsys: Capture) -> None:  # noqa: F811
    assert answer(capsys, "catalog", "show", labels_only.path)["has_pixels"] is False
    assert run(["catalog", "show", str(labels_only.path)]) == 0
    assert "no pixels" in capsys.readouterr().out
