import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from jftdata import export, storage
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, OutputExists, TooManyRejects, UnknownOption
from jftdata.export import driver, webdataset
from jftdata.hierarchy import Hierarchy
from jftdata.images import decode
from jftdata.subset import Step, Subset, only
from tests.export_cases import Said, catalog_of, write_files
from tests.test_catalog import labels_only  # noqa: F401  a fixture

TREE = Hierarchy.from_edges([("animal", "cat"), ("animal", "dog"), ("pet", "cat"), ("thing", "bus")])
SAID = [Said(("cat",), (0.5,), ("bus",)), Said(("dog", "bus")), Said((), None, ("dog",)), Said(("bus",)),
        Said(("cat",), None, ("animal",), "val"), Said(("animal",)), Said(), Said(("dog",), split="val")] * 2  # fmt: skip


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path / "files", len(SAID))


@pytest.fixture
def catalog(files, tmp_path):
    return catalog_of(SAID, files, tmp_path / "catalogs", tree=TREE)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("jftdata.plots.rank_frequency", lambda *_: None)


def ids_of(folder: Path) -> dict[int, bytes]:
    """Bytes of the exported files by the number in their name."""
    return {int(path.stem): path.read_bytes() for path in folder.rglob("*") if path.stem.isdigit()}


def metadata(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in out.glob("*/metadata.jsonl") for line in path.read_text().split("\n") if line]


@pytest.mark.parametrize("format", export.FORMATS)
def test_checksums_are_those_of_sha256sum_and_name_every_file(catalog, tmp_path, format):
    made = export.run(catalog, format=format, out=tmp_path / "out")
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    there = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    named = {line[66:] for line in (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()}
    assert named == there - {"SHA256SUMS", "artefact.json"}
    assert storage.verify(tmp_path / "out").fingerprint == made.fingerprint
    assert not [name for name in there if name.startswith(".")]


def test_bytes_are_untouched_and_named_by_their_id(catalog, files, tmp_path):
    export.to_folder(catalog, out=tmp_path / "out")
    written = ids_of(tmp_path / "out")
    assert set(written) == set(catalog.images().tolist())
    assert set(written.values()) == {path.read_bytes() for path in files.iterdir()}
    for image, data in written.items():
        assert image == int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def test_shards_follow_each_other_by_id_and_end_at_their_size(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "SHARD_BYTES", 3000)
    export.to_webdataset(catalog, out=tmp_path / "out", workers=3)
    rows = catalog.rows(catalog.images(), columns=("image", "split", "length"))
    for split in ("train", "val"):
        expected, size = [[]], 0
        for image, length in rows.filter(pl.col("split") == split).select("image", "length").iter_rows():
            if size >= 3000:
                expected.append([])
                size = 0
            expected[-1].append(image)
            size += length
        found = []
        for path in sorted((tmp_path / "out" / "data").glob(f"{split}-*.tar")):
            with tarfile.open(path) as tar:
                found.append([int(name.split(".")[0]) for name in tar.getnames() if not name.endswith("json")])
        assert len(found) > 1
        assert found == expected


def test_neither_threads_windows_nor_where_bytes_lie_change_what_is_written(files, catalog, tmp_path, monkeypatch):
    packed = catalog_of(SAID, files, tmp_path / "catalogs", tree=TREE, pack=True)
    export.to_webdataset(catalog, out=tmp_path / "one", workers=1)
    monkeypatch.setattr(driver, "_WINDOW", 2000)
    export.to_webdataset(packed, out=tmp_path / "two", workers=4)
    for path in (tmp_path / "one" / "data").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "data" / path.name).read_bytes()


def test_a_run_that_stopped_goes_on_with_the_shards_that_are_missing(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "SHARD_IMAGES", 3)
    whole = export.to_webdataset(catalog, out=tmp_path / "a" / "out")
    real, opened, stop_at = webdataset.tar.create, [], 3

    def create(path):
        opened.append(path.name)
        if len(opened) == stop_at:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(webdataset.tar, "create", create)
    with pytest.raises(KeyboardInterrupt):
        export.to_webdataset(catalog, out=tmp_path / "b" / "out", workers=1)
    assert not (tmp_path / "b" / "out").exists()
    done = opened[: stop_at - 1]
    opened.clear()
    stop_at = 0
    resumed = export.to_webdataset(catalog, out=tmp_path / "b" / "out", workers=1)
    assert not set(done) & set(opened)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.facts == whole.facts


@pytest.mark.parametrize("format", export.FORMATS)
def test_missing_and_damaged_images_are_counted_refused_and_tried_again(catalog, files, tmp_path, format):
    first, second = sorted(files.iterdir())[:2]
    kept = first.read_bytes(), second.read_bytes()
    first.unlink()
    second.write_bytes(kept[1][:-1] + b"?")
    with pytest.raises(TooManyRejects, match=r"2 of 16 images could not be read \(1 damaged, 1 missing\)"):
        export.run(catalog, format=format, out=tmp_path / "out", max_rejected=0.1)
    if format in ("parquet", "coco"):  # mended
        first.write_bytes(kept[0])
        second.write_bytes(kept[1])
        facts = export.run(catalog, format=format, out=tmp_path / "out").facts
        assert (facts["num_asked"], facts["num_images"], facts["num_rejected"]) == (16, 16, 0)
        return
    facts = export.run(catalog, format=format, out=tmp_path / "out", max_rejected=0.2).facts
    assert (facts["num_asked"], facts["num_images"], facts["rejected"]) == (16, 14, {"damaged": 1, "missing": 1})
    listed = pl.read_csv(tmp_path / "out" / "rejected.csv")
    assert set(listed["source"]) == {first.name, second.name}
    assert "2 of 16 images could not be read" in (tmp_path / "out" / "README.md").read_text()


def test_files_that_a_stopped_run_left_behind_do_not_go_out(catalog, files, tmp_path):
    def full(*_):
        raise OSError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "_counted", full)
        with pytest.raises(OSError, match="full"):
            export.to_coco(catalog, out=tmp_path / "out")
    for part in (tmp_path / "out.partial" / ".parts").iterdir():
        part.unlink()
    min(files.iterdir()).unlink()
    facts = export.to_coco(catalog, out=tmp_path / "out", max_rejected=0.1).facts
    assert facts["num_images"] == len(ids_of(tmp_path / "out")) == 15


def test_all_images_gone_is_an_error_whatever_is_allowed(catalog, files, tmp_path):
    for path in files.iterdir():
        path.unlink()
    with pytest.raises(TooManyRejects, match="16 of 16"):
        export.to_folder(catalog, out=tmp_path / "out", max_rejected=1.0)


def test_a_file_that_grew_is_not_listed(catalog, files, tmp_path):
    path = min(files.iterdir())
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(TooManyRejects, match="holds more than the image"):
        export.to_list(catalog, out=tmp_path / "out")


def test_filled_labels_are_those_with_all_ancestors_and_keep_scores(catalog, tmp_path):
    made = export.to_folder(catalog, out=tmp_path / "out", labels="filled")
    rows = metadata(tmp_path / "out")
    given = {
        image: ([TREE.labels[i] for i in labels], negatives)
        for image, labels, negatives in catalog.scan().select("image", "labels", "negatives").collect().iter_rows()
    }
    conflicts = 0
    for row in rows:
        labels, negatives = given[row["image_id"]]
        expected = set(labels).union(*(TREE.ancestors(label) for label in labels))
        assert set(row["labels"]) == expected
        against = {TREE.labels[i] for i in negatives}
        assert set(row["negatives"]) == against - expected
        conflicts += len(against & expected)
    assert made.facts["num_conflicts"] == conflicts == 2
    scored = next(row for row in rows if row["scores"])
    assert {x: s for x, s in zip(scored["labels"], scored["scores"], strict=True) if s is not None} == {"cat": 0.5}


def test_size_makes_larger_images_smaller_and_leaves_the_others(catalog, tmp_path):
    made = export.to_folder(catalog, out=tmp_path / "out", size=56)
    rows = catalog.rows(catalog.images(), columns=("image", "width", "sha256"))
    written = ids_of(tmp_path / "out")
    for image, width, sha256 in rows.iter_rows():
        assert (hashlib.sha256(written[image]).digest() == sha256) == (width <= 56)
        assert max(decode(written[image])[0].shape) == min(width, 56)
    assert made.facts["num_reencoded"] == int((rows["width"] > 56).sum()) > 0
    told = metadata(tmp_path / "out")
    assert all(max(row["width"], row["height"]) <= 56 for row in told)


def test_a_subset_goes_out_alone_with_its_weights(catalog, tmp_path):
    ids = catalog.images()[[1, 4, 5, 9]]
    weights = np.array([1.0, 2.5, 0.5, 3.0])
    weighted = Subset(catalog, ids, Step("only", {}), weights)
    made = export.to_folder(weighted, out=tmp_path / "out")
    rows = metadata(tmp_path / "out")
    assert {row["image_id"]: row["weight"] for row in rows} == dict(zip(ids.tolist(), weights.tolist(), strict=True))
    assert made.facts["num_asked"] == 4
    assert made.inputs == {"catalog": catalog.fingerprint, "images": weighted.fingerprint}
    table = pl.read_csv(tmp_path / "out" / "labels.csv")
    assert set(table["image_id"]) == set(ids.tolist())
    assert "weight" in table.columns
    export.to_parquet(weighted, out=tmp_path / "parquet")
    column = pq.read_table(tmp_path / "parquet" / "data").sort_by("image_id").column("weight")
    assert column.to_pylist() == weights.tolist()


def test_an_output_of_another_run_is_refused_with_the_difference(catalog, tmp_path):
    made = export.to_coco(catalog, out=tmp_path / "out")
    assert export.to_coco(catalog, out=tmp_path / "out").fingerprint == made.fingerprint
    with pytest.raises(OutputExists, match='labels: there "given", now "filled"'):
        export.to_coco(catalog, out=tmp_path / "out", labels="filled")
    with pytest.raises(OutputExists, match="cc0"):
        export.to_coco(catalog, out=tmp_path / "out", card=export.Card(license="cc0-1.0"))
    with pytest.raises(OutputExists, match=r"inputs\.images"):
        export.to_coco(only(catalog, images=catalog.images()[:3]), out=tmp_path / "out")


def test_what_cannot_be_exported_is_said(catalog, files, labels_only, tmp_path):  # noqa: F811
    with pytest.raises(BadInput, match="labels but no pixels"):
        export.to_folder(Catalog.open(labels_only.path), out=tmp_path / "out")
    packed = catalog_of(SAID, files, tmp_path / "catalogs", tree=TREE, pack=True)
    with pytest.raises(BadInput, match="inside shards"):
        export.to_list(packed, out=tmp_path / "out")
    with pytest.raises(BadArgument, match="`size`"):
        export.run(catalog, format="list", out=tmp_path / "out", size=10)
    with pytest.raises(BadArgument, match="at least 1 pixel"):
        export.to_folder(catalog, out=tmp_path / "out", size=0)
    with pytest.raises(UnknownOption, match="Did you mean 'parquet'"):
        export.run(catalog, format="parqet", out=tmp_path / "out")
    with pytest.raises(UnknownOption, match="given or filled"):
        export.to_folder(catalog, out=tmp_path / "out", labels="full")
    with pytest.raises(BadArgument, match="max_rejected"):
        export.to_folder(catalog, out=tmp_path / "out", max_rejected=2)
    assert not (tmp_path / "out").exists()


def test_image_folders_are_by_label_only_where_each_image_has_one(files, tmp_path):
    said = [Said(("cat",)), Said(("bus",), split="val"), Said(("dog",))]
    one = catalog_of(said, files, tmp_path / "catalogs", tree=TREE)
    export.to_folder(one, out=tmp_path / "one")
    found = {path.parent.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*/*/*.*")}
    assert found == {"train/cat", "val/bus", "train/dog"}
    several = catalog_of([*said, Said()], files, tmp_path / "catalogs", tree=TREE)
    export.to_folder(several, out=tmp_path / "several")
    assert not list((tmp_path / "several").glob("*/*/*"))
