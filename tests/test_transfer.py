"""Transfer: probes against scikit-learn, tasks on a checkpoint, data a task cannot use."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from jftdata import pretrain, recipes, sources, study, subset, transfer
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.results import Results
from jftdata.transfer.metrics import bootstrap, top_k
from jftdata.transfer.probe import solve
from jftdata.transfer.task import single_label


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
    return pretrain.run(subset.everything(data, split="train"), recipes.tiny(total_epochs=1.0, image_size=32), out=out)


def test_the_probe_finds_scikit_learns_optimum() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 5)), rng.integers(0, 3, 120)
    x[np.arange(120), y] += 1.0
    w, b = solve(x, y, num_classes=3, penalty=0.05)
    theirs = LogisticRegression(C=1 / (0.05 * 120), tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(w, theirs.coef_.T, atol=2e-3)
    np.testing.assert_allclose(b - b.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)


def test_top_k_counts_ties_against_the_right_class() -> None:
    assert top_k(np.array([[0.5, 0.5, 0.1]]), np.array([0]), k=1).tolist() == [0.0]
    assert top_k(np.array([[0.5, 0.5, 0.1]]), np.array([0]), k=2).tolist() == [1.0]


def test_a_bootstrap_interval_covers_a_coin_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for i in range(200):
        low, high = bootstrap((rng.random(200) < 0.7).astype(float), seed=i, num_resamples=300)
        hits += low <= 0.7 <= high
    assert 180 <= hits <= 199


@pytest.mark.parametrize("task", transfer.TASKS)
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


def test_data_without_a_test_split_is_refused(data: Catalog, tmp_path: Path) -> None:
    folder = Path(data.scan().select("shard").collect()["shard"][0]).parents[2] / "train"
    catalog = sources.from_folder(folder, out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match="no split 'test'"):
        single_label(catalog)


def test_an_image_without_a_label_is_refused(data: Catalog, tmp_path: Path) -> None:
    folder = Path(data.scan().select("shard").collect()["shard"][0]).parents[2]
    catalog = sources.from_folder(folder, layout="none", out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match="do not have just one label"):
        single_label(catalog, test_split="train")


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
