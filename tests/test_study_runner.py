"""Cells are run once, in any number of goes, and the table tells them apart."""

import dataclasses
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from jftdata import recipes, storage, subset
from jftdata.catalog import Catalog
from jftdata.errors import Locked, OutputExists, UnknownOption
from jftdata.study import runner
from jftdata.study.plan import Arm, Cell, Judge, Study
from jftdata.subset import Subset


@pytest.fixture(scope="session")
def split_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs as train/ and val/ folders."""
    folder = tmp_path_factory.mktemp("split") / "photos"
    for at, source in enumerate(sorted(photos.rglob("*.jpg"))):
        target = folder / ("val" if at % 4 == 0 else "train") / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return folder


def _study(images: Subset, data: Path, **changes: object) -> Study:
    recipe = recipes.tiny(total_epochs=1.0, image_size=32)
    small = dataclasses.replace(recipe, batch_size=8)
    arms = [
        Arm(name="first", subset=lambda _: images, num_images=len(images), recipe=small, judged=False),
        Arm(name="second", subset=lambda _: images, num_images=len(images), recipe=small, init="first",
            factors={"steps": 2, "start": "first"}),
        Arm(name="fresh", subset=lambda _: images, num_images=len(images), factors={"steps": 0},
            recipe=dataclasses.replace(small, total_epochs=0.0, warmup_epochs=0.0)),
    ]  # fmt: skip
    settings = {
        "name": "start", "question": "Does a start help?", "arms": arms, "seeds": [0],
        "judges": [Judge(task="knn", data=lambda: data)], "verdict": lambda table: f"{len(table)} rows", **changes,
    }  # fmt: skip
    return Study(**settings)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def images(photo_catalog: Catalog) -> Subset:
    return subset.everything(photo_catalog)


@pytest.fixture(scope="session")
def done(images: Subset, split_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    runner.run(_study(images, split_photos), out=out, workers=1, device="cpu")
    return out


def test_the_table_has_a_row_a_score_with_its_factors(done: Path, images: Subset, split_photos: Path) -> None:
    study = _study(images, split_photos)
    table = runner.table(study, done)
    assert table.columns[:5] == ["study", "arm", "cell", "steps", "start"]
    assert table["arm"].unique(maintain_order=True).to_list() == ["second", "fresh"]
    assert table.filter(arm="fresh")["start"].unique().to_list() == [None]
    assert table.filter(arm="second")["cell"].unique().to_list() == ["transfer/second-s0-knn"]
    assert pl.read_csv(done / "study.csv", infer_schema=False).shape == table.shape
    about = json.loads((done / "study.json").read_text())
    assert (about["num_cells"], about["num_done"], about["verdict"]) == (5, 5, f"{len(table)} rows")
    begun_with = storage.read_sidecar(done / "runs" / "second-s0").inputs["init"]
    assert begun_with == storage.read_sidecar(done / "runs" / "first-s0").fingerprint


def test_a_second_run_makes_nothing(done: Path, images: Subset, split_photos: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.rglob("artefact.json")}
    times = (done / "times.jsonl").read_text()
    runner.run(_study(images, split_photos), out=done, workers=1, device="cpu")
    assert {p: p.stat().st_mtime_ns for p in done.rglob("artefact.json")} == before
    assert (done / "times.jsonl").read_text() == times


def test_one_cell_runs_with_what_it_needs(images: Subset, split_photos: Path, tmp_path: Path) -> None:
    study = _study(images, split_photos)
    with pytest.raises(UnknownOption, match="runs/second-s0"):
        runner.run(study, out=tmp_path, only=["runs/secnd-s0"])
    runner.run(study, out=tmp_path, only=["runs/second-s0"], workers=1, device="cpu")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir() if p.is_dir()) == ["first-s0", "second-s0"]
    states = runner.progress_of(study, tmp_path)
    assert states["state"].to_list() == ["done", "done", "missing", "missing", "missing"]
    assert states["passes"].to_list() == [24, 24, None, 0, None]
    assert states["seconds"].is_null().to_list() == [False, False, True, False, True]  # no task has run


def test_cells_made_otherwise_are_refused(done: Path, images: Subset, split_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(done, out)
    study = _study(images, split_photos)
    arms = [dataclasses.replace(arm, recipe=dataclasses.replace(arm.recipe, weight_decay=0.1)) for arm in study.arms]
    with pytest.raises(OutputExists, match=r"weight_decay=0\.05, the study says 0\.1"):
        runner.table(dataclasses.replace(study, arms=arms), out)
    shutil.rmtree(out / "runs" / "second-s0")
    shutil.copytree(out / "runs" / "first-s0", out / "runs" / "second-s0")
    with pytest.raises(OutputExists, match="made of another checkpoint"):
        runner.table(study, out)


def test_what_needs_a_cell_that_is_made_elsewhere_waits_for_it(
    images: Subset, split_photos: Path, tmp_path: Path
) -> None:
    study = _study(images, split_photos)
    with storage.lock(tmp_path / "runs" / "first-s0"), pytest.raises(Locked, match="first-s0"):
        runner.run(study, out=tmp_path, workers=1, device="cpu")
    assert [p.name for p in storage.inside(tmp_path / "runs")] == ["fresh-s0"]
    assert [p.name for p in storage.inside(tmp_path / "transfer")] == ["fresh-s0-knn"]


def test_what_another_process_makes_is_left_to_it(images: Subset, split_photos: Path, tmp_path: Path) -> None:
    study = _study(images, split_photos)
    told: list[str] = []

    def tell(cell: Cell) -> None:
        told.append(cell.name)

    with storage.lock(tmp_path / "transfer" / "second-s0-knn"), pytest.raises(Locked, match="second-s0-knn"):
        runner.run(study, out=tmp_path, workers=1, device="cpu", on_cell=tell)
    assert (tmp_path / "transfer" / "fresh-s0-knn").exists()  # the others were made all the same
    assert told.count("transfer/second-s0-knn") == 2
