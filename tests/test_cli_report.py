"""`jftdata report` takes any set of artefacts and tables, and says what it cannot take."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jftdata import copies, dedup, noise, subset
from jftdata.catalog import Catalog
from jftdata.cli import run
from jftdata.results import Results


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert run(["report", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def pairs_of(catalog: Catalog, names: tuple[str, str]) -> pl.DataFrame:
    """Two pairs as `copies` gives them, the less probable one first and more alike."""
    ids = catalog.images()
    rows = [
        dict(zip(copies.PAIRS, (int(a), int(b), p, s, "cropped", False, 1.0, 1.0, 0.0, 0.0), strict=True))
        for a, b, p, s in ((ids[0], ids[1], 0.6, 0.9), (ids[2], ids[3], 0.8, 0.7))
    ]
    return pl.DataFrame(rows, schema=copies.PAIRS).rename(
        dict(zip(("image_a", "image_b"), names, strict=True)), strict=False
    )


@pytest.fixture
def tables(photo_catalog: Catalog, tmp_path: Path) -> Path:
    """A folder with what the verbs write: pairs, overlap, an audit, a subset."""
    pairs_of(photo_catalog, ("image_a", "image_b")).write_csv(tmp_path / "pairs.csv")
    pairs_of(photo_catalog, ("test_image", "train_image")).write_parquet(tmp_path / "overlap.parquet")
    ids = photo_catalog.images()
    audit = pl.DataFrame(
        {"image": ids, "label": ["cat"] * len(ids), "wrong": np.linspace(0, 1, len(ids)), "verdict": ["fits"] * len(ids),
         "distance": np.linspace(0.1, 0.5, len(ids)), "bin": [0] * len(ids)}
    )  # fmt: skip
    lacking = [pl.lit(None, kind).alias(name) for name, kind in noise.AUDIT.items() if name not in audit.columns]
    audit.with_columns(lacking).write_parquet(tmp_path / "audit.parquet")
    subset.sample(photo_catalog, size=10, seed=0).save(tmp_path / "ten")
    return tmp_path


def test_tables_and_subsets_have_their_sections(
    photo_catalog: Catalog, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tables / name for name in ("pairs.csv", "overlap.parquet", "audit.parquet", "ten")]
    said(capsys, *files, photo_catalog.path, "--test", photo_catalog.path, "--out", tables / "r.html")
    page = (tables / "r.html").read_text()
    for section in ("catalog", "tree", "tail", "duplicates", "noise", "subsets"):
        assert f'<section id="{section}">' in page
    assert "copies with a probability of 0.60 or more" in page
    assert page.index("probability 0.800") < page.index("probability 0.600")
    assert "sample(size=10, seed=0)" in page
    assert ">8.33%<" in page  # 2 of 24 test images


def test_a_study_s_folder_gives_its_section_its_runs_and_its_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"checkpoint": "c", "subset": "s", "num_train_images": 9, "seed": 0, "task": "knn", "mode": "frozen", "metric": "top-1",
           "value": 0.5, "low": 0.4, "high": 0.6, "num_task_train": 4, "num_task_test": 4, "settings": "{}"}  # fmt: skip
    own = {"study": "s", "arm": "a", "cell": "transfer/a-s0-knn"}
    pl.DataFrame([{**own, **Results.of([row]).rows.row(0, named=True)}]).write_csv(tmp_path / "study.csv")
    about = {"name": "s", "question": "Does it hold?", "notes": "", "x": "num_train_images", "by": [], "finding": "", "verdict": "",
             "paper": [], "num_done": 1, "num_cells": 1}  # fmt: skip
    (tmp_path / "study.json").write_text(json.dumps(about))
    told = said(capsys, tmp_path, "--dry-run", "--out", tmp_path / "r.html")
    assert f"study: {tmp_path}" in told
    said(capsys, tmp_path, "--out", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert '<section id="study-1">' in page
    assert '<section id="scores">' not in page  # scores of unlike arms are no curve by images


def test_what_is_missing_or_too_much_is_said(
    photo_catalog: Catalog, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tables / "r.html")
    assert "Give the test set's catalog with `--test`" in said(capsys, tables / "overlap.parquet", *out, code=3)
    (tables / "other.csv").write_text("a,b\n1,2\n")
    assert "is no table that a report shows" in said(capsys, tables / "other.csv", *out, code=3)
    assert "Run `jftdata overlap` first" in said(capsys, photo_catalog.path, "--test", photo_catalog.path, *out, code=3)
    assert "needs the catalog" in said(capsys, tables / "ten", "--test", photo_catalog.path, *out, code=3)
    twice = said(capsys, photo_catalog.path, tables / "pairs.csv", tables / "pairs.csv", *out, code=3)
    assert "a report is of one table of pairs. Got 2" in twice
    assert not (tables / "r.html").exists()
    assert dedup.PAIRS.keys() < copies.PAIRS.keys()  # so that either table has what a page needs
