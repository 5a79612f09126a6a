"""Transfer: every task on a checkpoint, and what copies of test images in training do to its scores."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jftdata import export, overlap, pretrain, recipes, sources, storage, study, subset, transfer
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.cli import run
from jftdata.cli.transfer import NAMES
from jftdata.errors import BadArgument, BadInput, MissingInput, OutputExists, UnknownOption
from jftdata.results import FILE, LATER, Results
from jftdata.transfer.classification import RECIPES
from jftdata.transfer.labelled import Labelled
from jftdata.transfer.metrics import CLEAN
from jftdata.transfer.probe import Knn, Probe
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.task import Inputs, Score


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("transfer")
    rng = np.random.default_rng(0)
    for split, count in {"train": 64, "test": 8}.items():
        for label, colour in {"dark": 60, "light": 190}.items():
            (root / "photos" / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(colour - 50, colour + 50, (20, 20, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / "photos" / split / label / f"{i}.png")
    return sources.from_folder(root / "photos", out=root / "catalog", workers=1)


@pytest.fixture(scope="module")
def checkpoint(data: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    out = tmp_path_factory.mktemp("run") / "run"
    return pretrain.run(subset.everything(data, split="train"), recipes.tiny(total_epochs=8.0, image_size=32), out=out)


@pytest.mark.parametrize("task", ["knn", "few-shot", "linear-probe", "classification"])
def test_a_task_learns_light_from_dark_and_returns_the_same_again(
    task: str, data: Catalog, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    first = transfer.run(checkpoint, task=task, data=data, out=tmp_path / "r")
    top = first.rows.filter(first.rows["metric"].str.starts_with("top-1"))
    assert top["value"].min() > 0.8  # type: ignore[operator]
    assert set(first.rows["num_task_test"]) == {16}
    assert transfer.run(checkpoint, task=task, data=data, out=tmp_path / "r").rows.equals(first.rows)
    assert Results.open(tmp_path / "r").rows.equals(first.rows)


def test_unknown_tasks_and_modes_are_named(data: Catalog, checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(UnknownOption, match="Did you mean 'knn'"):
        transfer.run(checkpoint, task="knnn", data=data, out=tmp_path / "r")
    with pytest.raises(BadArgument, match="'knn' has the mode frozen"):
        transfer.run(checkpoint, task="knn", mode="finetune", data=data, out=tmp_path / "r")
    with pytest.raises(UnknownOption, match="Did you mean 'tiny'"):
        transfer.run(checkpoint, task="classification", recipe="tin", data=data, out=tmp_path / "r")
    other = Recipe(batch_size=1, learning_rate=1.0, steps=1)
    with pytest.raises(BadArgument, match=r"must be a ClassificationRecipe\. Got a Recipe"):
        transfer.run(checkpoint, task="classification", recipe=other, data=data, out=tmp_path / "r")
    with pytest.raises(BadArgument, match=r"trains nothing; `recipe` must be left out\. Got 'tiny'"):
        transfer.run(checkpoint, task="knn", recipe="tiny", data=data, out=tmp_path / "r")


def test_a_recipe_is_part_of_what_results_were_made_with(data: Catalog, checkpoint: Checkpoint, tmp_path: Path) -> None:
    short = dataclasses.replace(RECIPES["tiny"], epochs=1)
    arguments = {"task": "classification", "data": data, "out": tmp_path / "r"}
    transfer.run(checkpoint, **arguments, recipe=short)  # type: ignore[arg-type]
    assert storage.read_sidecar(tmp_path / "r").made_with["recipe"]["epochs"] == 1
    with pytest.raises(OutputExists, match=r"epochs: there 1, now 6\)"):
        transfer.run(checkpoint, **arguments)  # type: ignore[arg-type]


def test_folders_and_parquet_files_are_data_like_a_catalog(
    data: Catalog, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = Path(data.scan().select("shard").collect()["shard"][0]).parents[2]
    parquet = tmp_path / "parquet"
    export.to_parquet(subset.everything(data), out=parquet)
    scores = [
        transfer.run(checkpoint, task="knn", data=given, out=tmp_path / str(i)).rows["value"].to_list()
        for i, given in enumerate((data, folder, data.path, parquet))
    ]
    assert scores[1:] == [scores[0]] * 3
    assert (tmp_path / "cache" / f"{folder.name}.catalog").is_dir()
    with pytest.raises(MissingInput, match="nowhere does not exist"):
        transfer.run(checkpoint, task="knn", data=tmp_path / "nowhere", out=tmp_path / "r")


def test_data_that_is_no_catalog_finds_its_copies_through_one(leaky: "Leaky", tmp_path: Path) -> None:
    folder = leaky.data.path.parent / "data"
    with_it = transfer.run(leaky.checkpoint, task="knn", data=folder, out=tmp_path / "a", test_catalog=leaky.data).rows
    assert set(with_it["num_copies"]) == {len(leaky.leaked)}
    registry = leaky.train.path.with_name("train.catalog.overlaps")
    given = transfer.run(
        leaky.checkpoint, task="knn", data=folder, out=tmp_path / "b", overlap=registry, test_catalog=leaky.data
    )
    assert given.rows.equals(with_it)
    others = subset.everything(leaky.data, split="train")
    export.to_folder(others, out=tmp_path / "others")
    fewer = sources.from_folder(tmp_path / "others", out=tmp_path / "fewer", workers=1)
    overlap.register(leaky.train, [fewer], workers=1)
    with pytest.raises(BadInput, match=r"10 of the 10 test images are not in .*fewer"):
        transfer.run(leaky.checkpoint, task="knn", data=folder, out=tmp_path / "c", test_catalog=fewer)


def test_a_study_runs_every_cell_once_and_reads_untrained_as_size_0(data: Catalog, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    arguments = {"data": data, "sizes": [4, 16], "seeds": [0, 1], "tasks": ["knn"], "split": "train", "out": tmp_path}
    recipe = recipes.tiny(total_epochs=1.0, image_size=32)
    results = study.data_size(data, recipe, **arguments, on_cell=lambda *cell: told.append(cell))  # type: ignore[arg-type]
    assert sorted(set(results.rows["num_train_images"])) == [0, 4, 16]
    assert told[0] == ("pretrain", 0, 0)
    assert len(told) == 12
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    assert study.data_size(data, recipe, **arguments).rows.equals(results.rows)  # type: ignore[arg-type]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == before


# ---- copies of test images in training -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Leaky:
    """A task, and a checkpoint that saw some of the training images that are copies of its test images."""

    data: Catalog
    """Ten test images."""
    train: Catalog
    """23 images: the pixels of seven test images in other bytes, and others."""
    checkpoint: Checkpoint
    """Twelve of the training images were in its one batch."""
    leaked: set[str]
    """Names of the test images it saw a copy of."""


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Leaky:
    root = tmp_path_factory.mktemp("leaky")
    rng = np.random.default_rng(4)

    def draw(name: str, copy: str | None = None) -> None:
        colour = 190 if "light" in name else 60
        image = Image.fromarray(rng.integers(colour - 50, colour + 50, (20, 20, 3)).astype(np.uint8))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
        if copy is not None:
            (root / copy).parent.mkdir(parents=True, exist_ok=True)
            image.save(root / copy, compress_level=0)

    for label in ("dark", "light"):
        for i in range(12):
            draw(f"data/train/{label}/{i}.png")
            if i < 8:
                draw(f"train/{label}/other{i}.png")
        for i in range(5):
            name = f"{label}{i}.png"
            draw(f"data/test/{label}/{name}", f"train/{label}/{name}" if i < 4 - (label == "dark") else None)
    data = sources.from_folder(root / "data", out=root / "data.catalog", workers=1)
    train = sources.from_folder(root / "train", out=root / "train.catalog", workers=1)
    config = dataclasses.replace(recipes.tiny(total_epochs=1.0, image_size=32, seed=1), batch_size=12)
    checkpoint = pretrain.run(subset.everything(train), config, out=root / "run")
    seen = train.rows(checkpoint.images(), columns=["source"])["source"]
    leaked = {Path(s).name for s in seen} & {Path(p).name for p in (root / "data/test").rglob("*.png")}
    assert 0 < len(leaked) < 7
    overlap.register(train, [data], workers=1)
    return Leaky(data, train, checkpoint, leaked)


@pytest.mark.parametrize("task", ["knn", "linear-probe"])
def test_scores_without_copies_equal_those_on_data_without_them(task: str, leaky: Leaky, tmp_path: Path) -> None:
    found = transfer.run(leaky.checkpoint, task=task, data=leaky.data, out=tmp_path / "all").rows
    shutil.copytree(leaky.data.path.parent / "data", tmp_path / "data")
    for name in leaked_files(leaky, tmp_path / "data"):
        name.unlink()
    rest = sources.from_folder(tmp_path / "data", out=tmp_path / "rest", workers=1)
    clean = transfer.run(leaky.checkpoint, task=task, data=rest, out=tmp_path / "clean").rows
    assert set(found["num_copies"]) == {len(leaky.leaked)}
    assert set(clean["num_task_test"]) == {10 - len(leaky.leaked)}
    assert found["value_clean"].to_list() == pytest.approx(clean["value"].to_list())
    assert (found["value"] - found["value_clean"]).to_list() == pytest.approx(found["difference"].to_list())
    assert clean.select(*list(LATER)[1:]).null_count().sum_horizontal()[0] == len(clean) * (len(LATER) - 1)


def leaked_files(leaky: Leaky, root: Path) -> list[Path]:
    return [path for path in (root / "test").rglob("*.png") if path.name in leaky.leaked]


class Told(Probe):
    """A task whose score is which of the test images are in a list of names."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def __call__(self, inputs: Inputs[Labelled, None]) -> list[Score]:
        images = inputs.data.test["image"].to_numpy()
        names = inputs.data.catalog.rows(images, columns=["source"])["source"]
        return [Score.of_mean("told", np.array([float(Path(name).name in self._names) for name in names]))]


def test_every_image_without_a_copy_counts_and_no_other(
    leaky: Leaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(transfer.TASKS, "knn", Told(leaky.leaked))
    row = transfer.run(leaky.checkpoint, task="knn", data=leaky.data, out=tmp_path / "r").rows.row(0, named=True)
    share = len(leaky.leaked) / 10
    assert (row["value"], row["value_clean"], row["difference"]) == pytest.approx((share, 0.0, share))
    assert (row["low_clean"], row["high_clean"]) == (0.0, 0.0)
    assert row["difference_low"] < share < row["difference_high"]
    assert row["data"] == leaky.data.fingerprint
    at = overlap.where(leaky.train, leaky.data)
    assert at is not None
    assert row["overlap"] == storage.read_sidecar(at).fingerprint


def test_a_checkpoint_that_saw_every_test_image_has_no_score_without_copies(
    leaky: Leaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(transfer.TASKS, "knn", Told(set()))
    itself = subset.everything(leaky.data, split="test")
    config = recipes.tiny(total_epochs=1.0, image_size=32)
    cheat = pretrain.run(itself, config, out=tmp_path / "cheat")
    overlap.register(leaky.data, [leaky.data], registry=tmp_path / "r", workers=1)
    row = transfer.run(cheat, task="knn", data=leaky.data, out=tmp_path / "o", overlap=tmp_path / "r").rows.row(
        0, named=True
    )
    assert (row["num_copies"], row["num_task_test"]) == (10, 10)
    assert [row[name] for name in CLEAN] == [None] * 6


def test_untrained_weights_saw_no_copy(leaky: Leaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transfer.TASKS, "knn", Told(leaky.leaked))
    config = dataclasses.replace(recipes.tiny(image_size=32), total_epochs=0.0, warmup_epochs=0.0)
    fresh = pretrain.run(subset.everything(leaky.train), config, out=tmp_path / "fresh")
    row = transfer.run(fresh, task="knn", data=leaky.data, out=tmp_path / "o").rows.row(0, named=True)
    assert row["num_copies"] == 0
    assert row["value_clean"] == row["value"]
    assert [row[name] for name in CLEAN[3:]] == [0.0, 0.0, 0.0]


def test_what_was_made_before_the_copies_were_registered_stays_unless_they_are_asked_for(
    leaky: Leaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"task": "knn", "data": leaky.data, "out": tmp_path / "r"}
    before = transfer.run(leaky.checkpoint, **arguments, overlap=None)  # type: ignore[arg-type]
    assert before.rows["num_copies"].is_null().all()
    monkeypatch.setattr(Knn, "__call__", None)
    assert transfer.run(leaky.checkpoint, **arguments).rows.equals(before.rows)  # type: ignore[arg-type]
    registry = leaky.train.path.with_name("train.catalog.overlaps")
    with pytest.raises(OutputExists, match="overlap: there nothing, now"):
        transfer.run(leaky.checkpoint, **arguments, overlap=registry)  # type: ignore[arg-type]


def test_results_of_version_1_are_returned_and_not_made_again(leaky: Leaky, tmp_path: Path) -> None:
    row = transfer.run(leaky.checkpoint, task="knn", data=leaky.data, out=tmp_path / "new").rows.row(0, named=True)
    inputs = {"checkpoint": leaky.checkpoint.fingerprint, "data": leaky.data.fingerprint}
    made_with = {"task": "knn", "mode": "frozen", "seed": 0}
    old = {name: value for name, value in row.items() if name not in LATER} | {"value": 0.125}
    with storage.building(tmp_path / "old", format="jftdata.results/1", made_with=made_with, inputs=inputs) as build:
        assert build is not None
        storage.write_text(build.folder / FILE, json.dumps(old) + "\n")
    for choice in ("auto", None):
        again = transfer.run(leaky.checkpoint, task="knn", data=leaky.data, out=tmp_path / "old", overlap=choice)
        assert again.rows.select("value", "data").rows() == [(0.125, leaky.data.fingerprint)]


def test_a_folder_without_these_copies_and_a_checkpoint_without_images_are_errors(leaky: Leaky, tmp_path: Path) -> None:
    arguments = {"task": "knn", "data": leaky.data, "out": tmp_path / "r"}
    with pytest.raises(MissingInput, match=r"has nothing about .* Call `overlap\.register`"):
        transfer.run(leaky.checkpoint, **arguments, overlap=tmp_path)  # type: ignore[arg-type]
    files = {name: info for name, info in leaky.checkpoint.sidecar.files.items() if name != "images.parquet"}
    old = Checkpoint(leaky.checkpoint.path, dataclasses.replace(leaky.checkpoint.sidecar, files=files, facts={}))
    with pytest.raises(MissingInput, match="does not know which images it saw"):
        transfer.run(old, **arguments, overlap=leaky.train.path.with_name("train.catalog.overlaps"))  # type: ignore[arg-type]


def test_the_command_line_shows_scores_without_copies(
    leaky: Leaky, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transfer", leaky.checkpoint.path, "--task", "knn", "--data", leaky.data.path, "--quiet", "--out"]
    assert run([*map(str, command), str(tmp_path / "with")]) == 0
    assert "without the test images that have a copy in training" in capsys.readouterr().out
    assert run([*map(str, command), str(tmp_path / "none"), "--overlap", "none"]) == 0
    assert "copies of the test images in training are not known" in capsys.readouterr().out


def test_the_command_line_knows_the_tasks_and_changes_recipes(
    leaky: Leaky, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(NAMES) == transfer.TASKS.keys()
    command = ["transfer", str(leaky.checkpoint.path), "--data", str(leaky.data.path), "--quiet", "--json", "--dry-run"]
    chosen = ["--task", "classification", "--recipe", "paper", "--set", "epochs=3", "--out", str(tmp_path / "r")]
    assert run([*command, *chosen]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["epochs"], shown["learning_rate"], shown["milestones"]) == (3.0, 1e-3, [0.3, 0.6, 0.9])
    assert run([*command, "--task", "knn", "--set", "epochs=3", "--out", str(tmp_path / "r")]) == 2
    assert "--set has no field to change" in capsys.readouterr().err
