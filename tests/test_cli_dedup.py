import json

import polars as pl
import pytest

from jftdata import copies, judge
from jftdata.catalog import Catalog
from jftdata.changes import change
from jftdata.cli import run
from jftdata.images import encode_jpeg
from jftdata.sources import from_folder
from tests.strategies import picture


def answer(capsys, *args):
    capsys.readouterr()
    assert run([*map(str, args), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def catalog(folder, images):
    for name, pixels in images.items():
        (folder / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "p" / name).write_bytes(encode_jpeg(pixels, quality=95))
    return from_folder(folder / "p", out=folder / "c", workers=1).path


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Twelve pictures under two labels, of two a cropped copy under the other one."""
    images = {f"{'ab'[i % 2]}/{i}.jpg": picture(i, width=64, height=64) for i in range(12)}
    for i in (0, 1):
        images[f"{'ba'[i]}/copy{i}.jpg"] = change(picture(i, width=64, height=64), kind="cropped_75", image=i, seed=0)
    return catalog(tmp_path_factory.mktemp("train"), images)


@pytest.fixture(scope="module")
def tests(tmp_path_factory):
    """Two test sets: one with a mirrored picture of training, one without."""
    folder = tmp_path_factory.mktemp("tests")
    new = {f"n/{i}.jpg": picture(100 + i, width=64, height=64) for i in range(3)}
    return [
        catalog(folder / "leaky", new | {"n/old.jpg": picture(5, width=64, height=64)[:, ::-1]}),
        catalog(folder / "fresh", {f"n/{i}.jpg": picture(200 + i, width=64, height=64) for i in range(3)}),
    ]


def test_copies_of_a_catalog_are_told_shown_dropped_and_merged(train, tmp_path, capsys):
    to = {name: tmp_path / name for name in ("pairs.csv", "drop.csv", "p.html", "s.png", "g.png", "merged", "kept")}
    found = answer(
        capsys, "dedup", train, "--out", to["pairs.csv"], "--drop", to["drop.csv"], "--page", to["p.html"], "--sheet", to["s.png"],
        "--groups", to["g.png"], "--merge", to["merged"], "--keep", to["kept"],
    )  # fmt: skip
    assert (found["num_pairs"], found["num_groups"], found["num_conflicts"]) == (2, 2, 2)
    assert len(pl.read_csv(to["pairs.csv"])) == len(pl.read_csv(to["drop.csv"])) == 2
    assert to["p.html"].read_text().count("data:image/jpeg") == 4
    assert to["s.png"].read_bytes()[:4] == to["g.png"].read_bytes()[:4] == b"\x89PNG"
    merged = Catalog.open(to["merged"])
    assert len(merged) == 12
    assert merged.scan().select(pl.col("labels").list.len().sum()).collect().item() == 14
    again = answer(capsys, "dedup", train, "--calibration", to["kept"], "--keep", tmp_path / "other")
    assert again["num_pairs"] == 2
    kept, other = copies.open_copies(to["kept"]), copies.open_copies(tmp_path / "other")
    assert kept.pairs.equals(other.pairs)


def test_answers_saved_from_a_page_correct_what_is_found(train, tmp_path, capsys):
    page = tmp_path / "p.html"
    answer(capsys, "dedup", train, "--page", page, "--out", tmp_path / "pairs.csv")
    text = page.read_text()
    block = json.loads(text[text.index("{", text.index("application/json")) : text.index("</script>")])
    marks = tmp_path / "marks.json"
    items = [item["id"] for item in block["items"]]
    saved = {"format": judge.FORMAT, "page": block["fingerprint"], "answers": dict.fromkeys(items, "no")}
    marks.write_text(json.dumps(saved))
    found = answer(capsys, "dedup", train, "--marks", marks)
    assert (found["num_marks"], found["num_pairs"]) == (2, 0)


def test_test_sets_are_compared_once_and_lists_are_written_for_either_side(train, tests, tmp_path, capsys):
    lists = ["--drop-train", tmp_path / "train.csv", "--drop-test", tmp_path / "test.csv"]
    command = ["overlap", train, "--test", tests[0], "--test", tests[1], "--registry", tmp_path / "r"]
    found = answer(capsys, *command, *lists, "--out", tmp_path / "pairs.parquet")
    assert [(t["num_with_copy"], t["num_images"]) for t in found["tests"]] == [(1, 4), (0, 3)]
    pairs = pl.read_parquet(tmp_path / "pairs.parquet")
    assert pairs["mirror"].to_list() == [True]
    assert pl.read_csv(tmp_path / "train.csv")["image"].to_list() == pairs["train_image"].to_list()
    assert pl.read_csv(tmp_path / "test.csv")["image"].to_list() == pairs["test_image"].to_list()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.parquet")}
    assert answer(capsys, *command)["tests"] == found["tests"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.parquet")}


def test_embeddings_are_compared_by_similarity(train, tests, tmp_path, capsys):
    vectors = []
    for i, images in enumerate((train, *tests)):
        answer(capsys, "embed", images, "--out", tmp_path / f"e{i}")
        vectors.append(tmp_path / f"e{i}")
    found = answer(capsys, "overlap", vectors[0], "--test", vectors[1], "--test", vectors[2], "--min-similarity", 0.999)
    assert [t["num_with_copy"] for t in found["tests"]] == [0, 0]
    inside = answer(capsys, "dedup", vectors[0], "--min-similarity", 0.01, "--out", tmp_path / "all.csv")
    frame = pl.read_csv(tmp_path / "all.csv")
    assert inside["num_pairs"] == len(frame) > 2
    assert frame["similarity"].min() >= 0.01


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("dedup", ["--min-probability", "0.9"], "`--min-probability` goes with a catalog"),
        ("dedup", ["-k", "3"], "`-k` goes with a catalog"),
        ("dedup", ["--page", "p.html"], "`--page` goes with a catalog"),
        ("dedup", ["--drop", "d.csv"], "needs `--catalog`"),
        ("overlap", ["--registry", "r"], "`--registry` goes with catalogs"),
    ],
)
def test_options_of_catalogs_are_refused_for_embeddings(train, tmp_path, capsys, verb, options, message):
    answer(capsys, "embed", train, "--out", tmp_path / "e")
    test = ["--test", tmp_path / "e"] if verb == "overlap" else []
    assert run([verb, str(tmp_path / "e"), *map(str, test), *options]) == 2
    assert message in capsys.readouterr().err


def test_options_of_embeddings_are_refused_for_catalogs(train, tests, capsys):
    assert run(["dedup", str(train), "--min-similarity", "0.9"]) == 2
    assert "go with embeddings" in capsys.readouterr().err
    assert run(["overlap", str(train), "--test", str(tests[0]), "--test", str(tests[1]), "--page", "p.html"]) == 2
    assert "one by one" in capsys.readouterr().err
