"""The report's section on what was predicted."""

import polars as pl
import pytest
from PIL import Image

from jftdata.results import Results
from jftdata.study.report import Report, render
from jftdata.study.report_predictions import predictions

NASTY = "<b>sofa & co</b>"


def made(
    folder, *, task="segmentation", mode="finetune", num=1000, seed=0, metrics=("mean IoU", "IoU (cat)"), picture=True
):
    rows = [
        {"checkpoint": "c", "subset": "s", "num_train_images": num, "seed": seed, "task": task, "mode": mode,
         "metric": metric, "value": 0.5 - i / 10, "low": 0.1, "high": 0.9, "num_task_train": 40, "num_task_test": 10,
         "settings": "{}"}
        for i, metric in enumerate(metrics)
    ]  # fmt: skip
    Results.of(rows).save(folder, made_with={"n": num, "seed": seed}, inputs={"data": "d"})
    if picture:
        Image.new("RGB", (80, 120), (200, 40, 40)).save(folder / "pictures.png")
    return folder


def test_one_folder_a_task_and_mode_is_shown_that_of_most_images_and_lowest_seed(tmp_path):
    folders = [
        made(tmp_path / "a", num=100),
        made(tmp_path / "b", num=1000, seed=1),
        made(tmp_path / "c", num=1000, seed=0),
        made(tmp_path / "d", num=1000, mode="frozen"),
        made(tmp_path / "e", num=9999, picture=False),
        made(tmp_path / "f", task="detection", metrics=("AP", "AP (cat)", "AP (dog)", "AP.5")),
    ]
    views = predictions(folders)
    assert [(v["task"], v["mode"], v["images"]) for v in views] == [
        ("detection", "fine-tuned", 1000), ("segmentation", "fine-tuned", 1000), ("segmentation", "frozen", 1000)
    ]  # fmt: skip
    assert views[0]["metric"] == "AP"
    assert [(c["name"], c["value"]) for c in views[0]["classes"]] == [("dog", "30.0%"), ("cat", "40.0%")]
    assert predictions([tmp_path / "e"]) == []


def test_names_are_escaped_and_the_picture_is_inside(tmp_path):
    folder = made(tmp_path / "r", metrics=("mean IoU", f"IoU ({NASTY})"))
    pl.DataFrame({"truth": [NASTY], "predicted": ["cat"], "pixels": [9], "share": [0.25]}).write_csv(
        folder / "confused.csv"
    )
    page = render(Report(title="t", results=Results.open(folder), transfers=[folder]))
    assert NASTY not in page
    assert page.count("&lt;b&gt;sofa &amp; co&lt;/b&gt;") >= 2
    assert "25.0%" in page
    assert 'src="data:image/jpeg;base64,' in page
    assert 'href="#predictions"' in page


def test_without_pictures_there_is_no_section(tmp_path):
    folder = made(tmp_path / "r", picture=False)
    assert "What was predicted" not in render(Report(title="t", results=Results.open(folder), transfers=[folder]))


@pytest.mark.parametrize(("metrics", "main"), [(("AR 1", "AP", "AP (x)"), "AP"), (("IoU (a)", "mean IoU"), "mean IoU")])
def test_the_main_metric_stands_for_a_task(tmp_path, metrics, main):
    assert predictions([made(tmp_path / "r", metrics=metrics)])[0]["metric"] == main
