import json

import numpy as np
import polars as pl
import pytest

from jftdata import storage
from jftdata.cli import run
from tests.noise_cases import build


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    plan = [(x, x) for x in ("cat", "dog") for _ in range(12)] + [("cat", "dog")]
    catalog, embeddings, _ = build(folder, plan)
    made_with = {"embedder": "made up", "split": None}
    with storage.building(folder / "e", format="jftdata.embeddings/1", made_with=made_with, inputs={}) as making:
        np.save(making.folder / "vectors.npy", embeddings.vectors)
        np.save(making.folder / "images.npy", embeddings.images)
    return folder, str(catalog.path), str(folder / "e")


def answer(capsys, *args):
    capsys.readouterr()
    assert run([*map(str, args), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_audit_writes_its_findings_and_the_figure_reads_them(paths, capsys, tmp_path):
    _, catalog, embeddings = paths
    to = {name: tmp_path / f"{name}.parquet" for name in ("out", "labels", "confusions", "missing")}
    options = [x for name, path in to.items() for x in (f"--{name}", path)]
    data = answer(capsys, "noise", "audit", catalog, embeddings, *options)
    assert (data["num_given"], data["num_scored"]) == (25, 25)
    assert pl.read_parquet(to["out"])["other_label"][0] == "dog"
    assert all(path.exists() for path in to.values())
    made = answer(capsys, "noise", "figure", catalog, to["out"], "--label", "cat", "--out", tmp_path / "f.html")
    assert made["num_labels"] == 1
    assert made["num_unread"] == 0


def test_probabilities_of_another_model_are_read_and_checked(paths, capsys, tmp_path):
    _, catalog, embeddings = paths
    images = np.load(f"{embeddings}/images.npy")
    frame = pl.DataFrame({"image": np.repeat(images, 2), "label": ["cat", "dog"] * len(images), "probability": 0.5})
    frame.write_csv(tmp_path / "p.csv")
    assert answer(capsys, "noise", "audit", catalog, "--probabilities", tmp_path / "p.csv")["num_scored"] == 25
    frame.with_columns(probability=1.5).write_csv(tmp_path / "bad.csv")
    assert run(["noise", "audit", catalog, "--probabilities", str(tmp_path / "bad.csv")]) == 3
    assert "must be in 0..1. Got 1.5" in capsys.readouterr().err


def test_the_old_way_to_call_it_is_an_error_that_names_the_new_one(paths, capsys):
    _, catalog, embeddings = paths
    assert run(["noise", catalog, embeddings]) == 2
    assert f"Run `jftdata noise audit {catalog} {embeddings}`" in capsys.readouterr().err
    assert run(["noise", "audit", catalog]) == 2
    assert "needs embeddings or --probabilities" in capsys.readouterr().err
