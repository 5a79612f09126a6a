import json

import polars as pl
import pytest

from jftdata import subset
from jftdata.cli import run


def answer(capsys, *args):
    capsys.readouterr()
    assert run([*map(str, args), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def text(capsys, *args, code=0):
    capsys.readouterr()
    assert run([*map(str, args), "--quiet"]) == code
    out = capsys.readouterr()
    return out.out if code == 0 else out.err


@pytest.fixture
def recipe(tmp_path, photo_catalog):
    pl.DataFrame({"image": photo_catalog.images()[:4]}).write_csv(tmp_path / "copies.csv")
    path = tmp_path / "recipe.toml"
    path.write_text(
        '[[steps]]\nbuilder = "without"\nimages = { file = "copies.csv" }\n'
        '[[steps]]\nbuilder = "sample"\nsize = 10\nseed = 0\n'
    )
    return path


def test_a_recipe_is_run_shown_run_again_and_explained(tmp_path, photo_catalog, recipe, capsys):
    catalog, out = photo_catalog.path, tmp_path / "s"
    assert answer(capsys, "subset", "make", catalog, recipe, "--out", out, "--dry-run")["images"] == 10
    assert not out.exists()
    made = answer(capsys, "subset", "make", catalog, recipe, "--out", out)
    assert made["num_images"] == 10
    again = answer(capsys, "subset", "make", catalog, out / "recipe.json", "--out", tmp_path / "again")
    assert again["fingerprint"] == made["fingerprint"]
    shown = answer(capsys, "subset", "show", out)
    assert [step["builder"] for step in shown["steps"]] == ["everything", "without", "sample"]
    assert f"{out}: 10 of 24 images of {catalog}" in text(capsys, "subset", "show", out)
    ids = photo_catalog.images()
    assert answer(capsys, "subset", "explain", out, ids[0])["in"] is False
    source = photo_catalog.rows(subset.Subset.open(out).images[:1], columns=["source"])["source"][0]
    told = answer(capsys, "subset", "explain", out, source)
    assert told["in"] is True
    assert "of 20; the first 10 are drawn" in told["steps"][2]["why"]
    assert "is not in" in text(capsys, "subset", "explain", out, ids[0]).splitlines()[0]
    assert "no image of" in text(capsys, "subset", "explain", out, "nowhere.jpg", code=3)


def test_subsets_are_combined_and_compared(tmp_path, photo_catalog, capsys):
    answer(
        capsys, "subset", "nested", photo_catalog.path, "--size", 4, "--size", 9, "--seed", 1, "--out", tmp_path / "s"
    )
    few, many = tmp_path / "s" / "4", tmp_path / "s" / "9"
    found = answer(capsys, "subset", "diff", many, few, "--out", tmp_path / "d.csv")
    assert (found["both"], found["only_old"], found["only_new"]) == (4, 5, 0)
    listed = pl.read_csv(tmp_path / "d.csv")
    assert listed["only_in"].to_list() == ["old"] * 5
    made = answer(capsys, "subset", "combine", many, few, "--with", "difference", "--out", tmp_path / "rest")
    assert made["num_images"] == 5
    assert sorted(listed["image"]) == subset.Subset.open(tmp_path / "rest").images.tolist()
    assert answer(capsys, "subset", "diff", photo_catalog.path, many)["only_old"] == 15
    within = answer(capsys, "subset", "nested", many, "--size", 4, "--seed", 1, "--out", tmp_path / "t")
    assert within["subsets"] == {"4": str(tmp_path / "t" / "4")}
    assert subset.Subset.open(tmp_path / "t" / "4").fingerprint == subset.Subset.open(few).fingerprint
    assert "two subsets or more" in text(
        capsys, "subset", "combine", many, "--with", "union", "--out", tmp_path / "x", code=2
    )


def test_the_builders_are_listed(capsys):
    assert set(answer(capsys, "subset", "builders")) == set(subset.BUILDERS)
    assert "sample(size, seed)\n    So many images at random." in text(capsys, "subset", "builders")


def test_mistakes_have_one_sentence(tmp_path, photo_catalog, recipe, capsys):
    catalog = photo_catalog.path
    said = text(capsys, "subset", "nested", catalog, "--size", 99, "--seed", 0, "--out", tmp_path / "s", code=2)
    assert "must be in 1..24" in said
    recipe.write_text('[[steps]]\nbuilder = "smaple"\n')
    said = text(capsys, "subset", "make", catalog, recipe, "--out", tmp_path / "s", code=2)
    assert "Did you mean 'sample'" in said
    said = text(capsys, "subset", catalog, "--size", 3, "--seed", 0, code=2)
    assert f"Run `jftdata subset nested {catalog} --size 3 --seed 0" in said


def test_parts_and_folds_are_written(tmp_path, photo_catalog, capsys):
    ids = photo_catalog.images()
    pl.DataFrame({"group": [1, 1, 1], "image": ids[:3]}).write_csv(tmp_path / "groups.csv")
    shares = [x for text in ("train=0.6", "val=0.2", "test=0.2") for x in ("--share", text)]
    made = answer(
        capsys, "subset", "split", photo_catalog.path, *shares, "--seed", 0, "--groups", tmp_path / "groups.csv", "--stratify",
        "size", "--out", tmp_path / "parts",
    )  # fmt: skip
    parts = {name: subset.Subset.open(path) for name, path in made["subsets"].items()}
    assert sorted(i for part in parts.values() for i in part.images.tolist()) == ids.tolist()
    assert sum(bool(set(ids[:3].tolist()) & set(part.images.tolist())) for part in parts.values()) == 1
    folds = answer(
        capsys, "subset", "split", photo_catalog.path, "--folds", 3, "--seed", 0, "--out", tmp_path / "folds"
    )
    assert list(folds["subsets"]) == ["1/train", "1/val", "2/train", "2/val", "3/train", "3/val"]
    assert sum(folds["images"][f"{i}/val"] for i in (1, 2, 3)) == 24
    said = text(capsys, "subset", "split", photo_catalog.path, "--seed", 0, "--out", tmp_path / "x", code=2)
    assert "or `--folds`" in said
    said = text(
        capsys, "subset", "split", photo_catalog.path, "--share", "a", "--seed", 0, "--out", tmp_path / "x", code=2
    )
    assert "NAME=NUMBER" in said
