import json
import shlex
import shutil
import sys

import polars as pl
import pytest

from jftdata import sources
from jftdata.cli import run
from tests.conftest import write_photos

STUDY = """
question = "Do more images help?"
catalog = "c.catalog"
set = ["total_epochs=1", "image_size=32", "resize=36", "batch_size=4"]
seeds = [0]
[[arm]]
name = "n"
sizes = [4, 8]
[[judge]]
task = "knn"
data = "photos"
"""


def answer(capsys, *args):
    capsys.readouterr()
    assert run([*map(str, args), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def folder(photo_catalog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(photo_catalog.path, folder / "c.catalog")
    write_photos(folder / "photos" / "train", per_label=4)
    write_photos(folder / "photos" / "val", per_label=2, seed=9)
    (folder / "s.toml").write_text(STUDY)
    return folder


def test_a_study_is_planned_run_and_shown(folder, capsys):
    spec = [folder / "s.toml", "--out", folder / "out"]
    planned = answer(capsys, "study", "plan", *spec)
    assert (planned["cells"][0]["cell"], planned["pretrainings_left"]) == ("runs/n-4-s0", 2)
    assert planned == answer(capsys, "study", "run", *spec, "--dry-run")
    assert not (folder / "out").exists()
    commands = answer(capsys, "study", "cells", *spec, "--device", "cpu")["commands"]
    assert [shlex.split(line)[-4] for line in commands] == [cell["cell"] for cell in planned["cells"]]
    python, flag, module, *rest = shlex.split(commands[3])
    assert (python, flag, module) == (sys.executable, "-m", "jftdata")
    assert run(rest) == 0
    assert answer(capsys, "study", "cells", *spec, "--device", "cpu")["commands"] == commands[:2]
    ran = answer(capsys, "study", "run", *spec, "--device", "cpu", "--workers", 1)
    assert ran == answer(capsys, "study", "table", *spec) | {"found": ""}
    assert pl.read_csv(folder / "out" / "study.csv").height == len(ran["rows"])
    assert run(["study", "plan", *map(str, spec)]) == 0
    assert "nothing left" in capsys.readouterr().out


def test_sizes_alone_need_no_file(folder, capsys):
    clean = sources.from_folder(folder / "photos", out=folder / "p.catalog", workers=1)
    small = [
        x for setting in ("total_epochs=1", "image_size=32", "resize=36", "batch_size=4") for x in ("--set", setting)
    ]
    arguments = ["study", "sizes", folder / "c.catalog", "--data", clean.path, "--size", 4, "--size", 8, "--task", "knn", *small,
                 "--fixed", "images-seen", "--out", folder / "sizes"]  # fmt: skip
    planned = answer(capsys, *arguments, "--dry-run")
    assert (planned["runs"], planned["image_passes"]) == (3, 16)
    found = answer(capsys, *arguments, "--device", "cpu")
    assert {row["num_train_images"] for row in found["results"]} == {0, 4, 8}


def test_an_unknown_study_is_named_with_those_that_are_known(folder, capsys):
    assert run(["study", "run", "figure4", "--out", str(folder / "x")]) == 2
    assert "Did you mean 'figure-4'" in capsys.readouterr().err
    assert run(["study", "plan", str(folder / "s.toml"), "--data", "x.toml", "--out", str(folder / "x")]) == 2
    assert "`--data` is for built-in studies" in capsys.readouterr().err
