"""`jftdata export`: formats, findings for the card, a dry run, and what a stranger gets wrong."""

import polars as pl
import pytest

from jftdata import subset
from jftdata.cli import run
from tests.test_cli import answer


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("jftdata.plots.rank_frequency", lambda *_: None)


@pytest.mark.parametrize("format", ["parquet", "folder", "webdataset", "coco", "list"])
def test_a_catalog_goes_out_in_every_format(photo_catalog, tmp_path, capsys, format):
    out = tmp_path / "out"
    made = answer(capsys, "export", photo_catalog.path, "--format", format, "--out", out, "--license", "cc0-1.0")
    assert (made["num_asked"], made["num_images"], made["splits"]) == (24, 24, {"train": 24})
    assert "license: cc0-1.0" in (out / "README.md").read_text()
    assert answer(capsys, "verify", out)["format"] == "jftdata.export/1"


def test_a_subset_with_findings(photo_catalog, tmp_path, capsys):
    subset.sample(photo_catalog, size=5, seed=0).save(tmp_path / "s")
    ids = photo_catalog.images()
    pl.DataFrame({"image": ids, "wrong": [0.9] * 24}).write_csv(tmp_path / "audit.csv")
    pl.DataFrame({"image_a": ids[:-1], "image_b": ids[1:]}).write_parquet(tmp_path / "pairs.parquet")
    capsys.readouterr()
    assert run([
        "export", str(tmp_path / "s"), "--format", "webdataset", "--out", str(tmp_path / "out"), "--quiet", "--labels", "filled",
        "--size", "48", "--noise", str(tmp_path / "audit.csv"), "--pairs", str(tmp_path / "pairs.parquet"),
    ]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "5 images (train 5)" in said
    assert "5 asked = 5 written + 0 rejected" in said
    text = (tmp_path / "out" / "README.md").read_text()
    assert "calls 5 of 5 given labels wrong" in text
    assert "Near-duplicates: not measured" not in text


def test_a_dry_run_counts_and_writes_nothing(photo_catalog, tmp_path, capsys):
    told = answer(capsys, "export", photo_catalog.path, "--format", "coco", "--out", tmp_path / "out", "--dry-run")
    assert (told["num_images"], told["splits"]) == (24, {"train": 24})
    assert not list(tmp_path.iterdir())


def test_wrong_input_is_one_sentence(photo_catalog, tmp_path, capsys):
    base = ["export", str(photo_catalog.path), "--format", "coco", "--out", str(tmp_path / "out"), "--quiet"]
    assert run([*base, "--noise", str(tmp_path / "none.csv")]) == 3
    assert "none.csv does not exist" in capsys.readouterr().err
    assert run(base) == 0
    assert run([*base, "--license", "mit"]) == 2
    assert "made otherwise" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "nowhere"), *base[2:]]) == 3
    assert "does not exist" in capsys.readouterr().err
