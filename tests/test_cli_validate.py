import dataclasses
import json

import polars as pl
import pytest

from jftdata import pretrain, recipes, subset
from jftdata.cli import run


@pytest.fixture(scope="module")
def paths(photo_catalog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("validate")
    for name, part in subset.split(photo_catalog, shares={"train": 0.7, "val": 0.3}, seed=0).items():
        part.save(folder / name)
    config = dataclasses.replace(recipes.tiny(total_epochs=1.0, image_size=32), batch_size=4)
    pretrain.run(subset.Subset.open(folder / "train"), config, out=folder / "run")
    return folder


def answer(capsys, *args):
    capsys.readouterr()
    assert run([*map(str, args), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_checkpoint_is_scored_on_other_images(paths, capsys, tmp_path):
    out = tmp_path / "labels.csv"
    said = answer(
        capsys, "validate", paths / "run", paths / "val", "--train", paths / "train", "--intervals", "--labels", out
    )
    assert said["num_images"] == len(subset.Subset.open(paths / "val"))
    assert {"mAP@100", "weighted mAP@100", "image mAP@100", "top-1"} <= set(said["scores"])
    low, high = said["intervals"]["mAP@100"]
    assert low <= said["scores"]["mAP@100"] <= high
    assert pl.read_csv(out)["label"].to_list() == ["bus", "cat", "dog"]


def test_images_it_was_trained_on_are_refused(paths, capsys):
    assert run(["validate", str(paths / "run"), str(paths / "train")]) == 3
    assert "train" in capsys.readouterr().err
