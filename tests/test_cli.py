"""Exit codes, JSON and sentences of the command line; every verb answers help."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jftdata.cli import VERBS, run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    return tmp_path / "photos"


def answer(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, object]:
    capsys.readouterr()
    assert run([*map(str, args), "--json", "--quiet"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_answers_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_photos_become_catalog_tail_embeddings_pairs_and_subsets(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, vectors = tmp_path / "c", tmp_path / "e"
    made = answer(capsys, "catalog", "folder", photos, "--out", catalog)
    assert (made["num_images"], made["num_rejected"]) == (12, 0)
    assert answer(capsys, "tail", catalog)["summary"]["num_used"] == 2  # type: ignore[index]
    assert answer(capsys, "embed", catalog, "--out", vectors)["num_images"] == 12
    assert answer(capsys, "dedup", vectors, "--out", tmp_path / "pairs.csv")["num_pairs"] == 0
    assert (tmp_path / "pairs.csv").read_text().startswith("image_a,image_b,similarity")
    assert answer(capsys, "noise", "audit", catalog, vectors)["num_scored"] == 12
    subsets = answer(
        capsys, "subset", "nested", catalog, "--size", 3, "--size", 6, "--seed", 0, "--out", tmp_path / "s"
    )
    assert set(subsets["subsets"]) == {"3", "6"}  # type: ignore[call-overload]
    assert answer(capsys, "verify", tmp_path / "s" / "3")["format"] == "jftdata.subset/2"
    answer(capsys, "report", catalog, vectors, "--out", tmp_path / "r.html")
    assert "<html" in (tmp_path / "r.html").read_text()


def test_a_dry_run_writes_nothing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "catalog", "folder", photos, "--out", tmp_path / "c", "--dry-run")["dry_run"] is True
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["tial"], 2, "Did you mean 'tail'?"),
        (["tail", "nowhere"], 3, "nowhere does not exist"),
        (["hierarchy", "show", "wrld"], 3, "Did you mean 'world'?"),
        (["hierarchy", "show", "toy", "--label", "dgo"], 3, "Did you mean 'dog'?"),
        (["pretrain", "nowhere", "--recipe", "tiney", "--out", "x"], 2, "Did you mean 'tiny'?"),
        (["pretrain", "nowhere", "--set", "batch_sise=3", "--out", "x"], 2, "Did you mean 'batch_size'?"),
        (["pretrain", "nowhere", "--set", "batch_size=many", "--out", "x"], 2, "must be a whole number"),
        (["pretrain", "nowhere", "--set", "momentum=0.9", "--out", "x"], 2, "adamw does not use it"),
    ],
)
def test_an_error_names_the_value_and_has_its_exit_code(
    args: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == code
    assert sentence in capsys.readouterr().err


def test_a_changed_argument_on_an_existing_output_is_exit_2_and_shows_the_difference(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(capsys, "catalog", "folder", photos, "--out", tmp_path / "c")
    assert run(["catalog", "folder", str(photos), "--out", str(tmp_path / "c"), "--pack"]) == 2
    assert "pack: there false, now true" in capsys.readouterr().err


def test_a_flipped_byte_is_exit_4(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "catalog", "folder", photos, "--out", tmp_path / "c")
    file = tmp_path / "c" / "hierarchy.tsv"
    file.write_text(file.read_text().replace("cat", "cut"))
    assert run(["verify", str(tmp_path / "c")]) == 4
    assert "hierarchy.tsv has changed bytes" in capsys.readouterr().err


def test_too_many_rejects_is_exit_6(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "cat" / "bad.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    assert run(["catalog", "folder", str(photos), "--out", str(tmp_path / "c")]) == 6
    assert "cat/bad.jpg" in capsys.readouterr().err


def test_doctor_tells_versions_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, "doctor")
    assert "torch" in data["packages"]  # type: ignore[operator]
    assert data["memory_gib"] > 0  # type: ignore[operator]
