"""Two catalogs and two runs side by side; numbers against plain Python."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from jftdata import storage
from jftdata.checkpoint import FORMAT, Checkpoint
from jftdata.cli import run
from jftdata.results import Results
from jftdata.study import compare
from jftdata.study.section import Section
from tests.test_diff import catalog

EVIL = '<script>alert("x")</script>'


def table(found: list[Section], section: str, name: str) -> pl.DataFrame:
    (one,) = (t.frame for s in found if s.name == section for t in s.tables if t.name == name)
    return one


def trained(out: Path, *, steps: int, factor: float, seen: list[int], **config: object) -> Checkpoint:
    made_with = {"config": {"seed": 0, "architecture": "resnet10", **config}}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={"subset": "s"}) as build:
        assert build is not None
        rows = [{"images": 8 * i, "loss": factor / i, "images_per_second": 9.0} for i in range(1, steps + 1)]
        storage.write_text(build.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        storage.write_json(build.folder / "labels.json", ["a"])
        pl.DataFrame({"image": seen}).write_parquet(build.folder / "images.parquet")
        build.facts = {"num_train_images": len(seen), "num_steps": steps}
    return Checkpoint.open(out)


def scores(first: Checkpoint, second: Checkpoint) -> Results:
    rows = [(first, "knn", 0.5, 0.04), (second, "knn", 0.6, 0.03), (first, "probe", 0.5, 0.04), (second, "probe", 0.52, 0.03),
            (first, "pose", 0.1, 0.01)]  # fmt: skip
    return Results.of([
        {"checkpoint": c.fingerprint, "subset": "s", "num_train_images": 9, "seed": 0, "task": task, "mode": "frozen",
         "metric": "top-1", "value": value, "low": value - half, "high": value + half, "num_task_train": 5,
         "num_task_test": 5, "settings": "{}"}
        for c, task, value, half in rows
    ])  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    folder = tmp_path_factory.mktemp("runs")
    first = trained(folder / "first", steps=40, factor=4.0, seen=[1, 2, 3], batch_size=8)
    return first, trained(folder / "second", steps=20, factor=6.0, seen=[3, 4], batch_size=16, note=EVIL)


def test_catalogs_are_told_apart_by_images_labels_splits_and_tail(tmp_path: Path) -> None:
    before = catalog(tmp_path / "a", [(0, "train", "a"), (1, "train", "ab"), (2, "val", "b"), (3, "val", "b")])
    after = catalog(tmp_path / "b", [(0, "train", "a"), (1, "train", "a"), (3, "train", "b"), (4, "new", "b")])
    found = compare.catalogs(before, after)
    assert [section.name for section in found] == ["images", "labels", "tail"]
    assert found[0].text == [
        "3 images are in both; 1 only in the first, 1 only in the second. Of those in both, 1 have other labels and "
        "1 only another split."
    ]
    assert table(found, "images", "splits").rows() == [
        ("train", 2, 3, 1), ("val", 2, None, None), ("new", None, 1, None)
    ]  # fmt: skip
    assert {r[0]: r[1:] for r in table(found, "images", "numbers").iter_rows()}["num_given_labels"] == (5, 4, -1)
    assert table(found, "labels", "labels").rows() == [("b", 1, 2)]
    assert [plot.data["num_given"].to_list() for plot in found[2].plots] == [[2, 3], [2, 2]]
    assert "no label" not in found[2].text[0].lower()


def test_a_catalog_beside_itself_differs_in_nothing(tmp_path: Path) -> None:
    one = catalog(tmp_path / "a", [(0, "train", "a"), (1, "train", "ab")])
    found = compare.catalogs(one, one)
    assert table(found, "images", "numbers")["difference"].to_list() == [0] * len(table(found, "images", "numbers"))
    assert found[1].tables == []
    assert found[1].text == ["No label gained or lost an image."]


def test_runs_are_told_apart_by_settings_images_loss_and_scores(two: tuple[Checkpoint, Checkpoint]) -> None:
    found = compare.runs(*two, results=scores(*two))
    assert [section.name for section in found] == ["config", "images", "loss", "scores"]
    assert table(found, "config", "config").rows() == [("batch_size", "8", "16"), ("note", None, EVIL)]
    assert found[1].text[1] == "1 images were seen by both, 2 only by the first, 1 only by the second."
    rows = {row["task"]: row for row in table(found, "scores", "scores").iter_rows(named=True)}
    assert rows.keys() == {"knn", "probe"}
    assert (rows["knn"]["differ"], rows["probe"]["differ"]) == (True, False)
    assert rows["knn"]["difference"] == pytest.approx(0.1)
    assert rows["knn"]["low"] == pytest.approx(0.1 - math.sqrt(0.03**2 + 0.04**2))
    assert "2 scores are there of both, on the same data; 1 of one only are left out." in found[3].text


def test_losses_are_compared_at_equal_images_up_to_the_shorter_run(two: tuple[Checkpoint, Checkpoint]) -> None:
    loss = compare.loss_at_equal_images(*two)
    assert (loss["num_images"][0], loss["num_images"][-1]) == (8, 160)
    np.testing.assert_allclose(loss["second"][:3] / loss["first"][:3], 1.5)  # the same steps are near both
    steps = [i for i in range(1, 21) if 8 * i >= 160 / 1.25]
    assert loss["second"][-1] == pytest.approx(np.mean([6.0 / i for i in steps]))


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # 56 of 70 against 48 of 80: with Wilson's intervals 0.0524 to 0.3339 (Newcombe 1998, table II, contrast a)
    wilson = [stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((48, 80), (56, 70))]
    first, second = (48 / 80, wilson[0].low, wilson[0].high), (56 / 70, wilson[1].low, wilson[1].high)
    told = compare.difference(first, second)
    assert told[0] == pytest.approx(0.2)
    np.testing.assert_allclose(told[1:], (0.0524, 0.3339), atol=6e-5)
    np.testing.assert_allclose([-x for x in compare.difference(second, first)], [told[0], told[2], told[1]])


def test_the_verb_prints_writes_a_page_that_escapes_and_refuses_what_does_not_go_together(
    two: tuple[Checkpoint, Checkpoint], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (str(c.path) for c in two)
    scores(*two).save(tmp_path / "scores", made_with={}, inputs={})
    page = tmp_path / "page.html"
    assert run(["compare", first, second, "--scores", str(tmp_path / "scores"), "--out", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in told["sections"]] == ["config", "images", "loss", "scores"]
    text = page.read_text()
    assert EVIL not in text
    assert "&lt;script&gt;alert" in text
    assert "<caption>Scores, and the second less the first</caption>" in text
    assert "+10.0" in text
    assert run(["compare", first, second]) == 0
    assert "batch_size  8      16" in capsys.readouterr().out
    one = catalog(tmp_path / "a", [(0, "train", "a")])
    assert run(["compare", first, str(one.path)]) == 3
    assert run(["compare", str(one.path), str(one.path), "--scores", first]) == 2
    assert run(["compare", first, second, "--out", "x.txt"]) == 2
