"""`jftdata hierarchy`: what each of its commands prints, writes and refuses."""

import json

import polars as pl
import pytest

from jftdata.cli import run
from jftdata.hierarchy import Crosswalk, Hierarchy, formats, shipped


def answer(capsys, *args):
    capsys.readouterr()
    assert run(["hierarchy", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def told(capsys, *args):
    capsys.readouterr()
    assert run(["hierarchy", *map(str, args)]) == 0
    return capsys.readouterr().out


def refused(capsys, code, *args):
    capsys.readouterr()
    assert run(["hierarchy", *map(str, args)]) == code
    return capsys.readouterr().err


@pytest.fixture
def wordtree(tmp_path):
    (tmp_path / "9k.tree").write_text("n1 -1\nn2 0\nn3 0\n")
    (tmp_path / "9k.names").write_text("animal\ncat\nwild cat\n")
    return tmp_path / "9k.tree"


def test_list_tells_hierarchies_and_maps(capsys):
    found = answer(capsys, "list")
    assert set(found) == {*shipped(), "maps"}
    assert "voc20_to_coco80" in found["maps"]
    assert "toy: 12 labels, depth 3" in told(capsys, "list")


def test_show_takes_any_format(wordtree, capsys):
    assert answer(capsys, "show", wordtree, "--label", "n3")["label"]["ancestors"] == ["n1"]
    assert answer(capsys, "show", "toy")["num_labels"] == 12


@pytest.mark.parametrize("ending", ["tsv", "graphml"])
def test_convert_writes_what_reads_back_equal(wordtree, tmp_path, capsys, ending):
    out = tmp_path / "new" / f"tree.{ending}"
    names = tmp_path / "9k.names"
    assert answer(capsys, "convert", wordtree, "--names", names, "--out", out, "--dry-run")["dry_run"]
    assert not out.parent.exists()
    assert answer(capsys, "convert", wordtree, "--from", "wordtree", "--names", names, "--out", out)["num_labels"] == 3
    assert formats.read(out).names == ("animal", "cat", "wild cat")
    assert ".tsv or .graphml. Got x.csv" in refused(capsys, 2, "convert", wordtree, "--out", "x.csv")


def test_check_prints_notes_with_exit_0_and_errors_with_exit_3(tmp_path, capsys):
    path = tmp_path / "edges.tsv"
    path.write_text("parent\tchild\n" + "".join(f"r{i}\tx{i}\nr{i}\tx{i}\n" for i in range(7)))
    text = told(capsys, "check", path)
    assert "several roots: 1\n" in text
    assert "duplicate edge: 7\n" in text
    assert "... 2 more" in text
    assert answer(capsys, "check", path)["num_findings"] == 8
    assert told(capsys, "check", "cifar100") != "cifar100: nothing odd\n"  # twenty roots
    assert told(capsys, "check", "world") == "world: nothing odd\n"
    path.write_text("parent\tchild\na\tb\nb\ta\n")
    assert "2 labels form a cycle: " in refused(capsys, 3, "check", path)


@pytest.mark.parametrize("ending", ["html", "svg"])
def test_view_draws_with_counts(tmp_path, capsys, ending):
    tree = Hierarchy.load("toy")
    pl.DataFrame({"label": tree.labels, "num_images": range(500, 512)}).write_parquet(tmp_path / "counts.parquet")
    out = tmp_path / f"toy.{ending}"
    answer(capsys, "view", "toy", "--out", out, "--counts", tmp_path / "counts.parquet")
    assert "511" in out.read_text()
    assert "counts must end in" in refused(capsys, 3, "view", "toy", "--out", out, "--counts", __file__)
    assert "nowhere.csv does not exist" in refused(capsys, 3, "view", "toy", "--out", out, "--counts", "nowhere.csv")
    assert "must end in .html or .svg" in refused(capsys, 2, "view", "toy", "--out", tmp_path / "toy.pdf")


def test_match_and_accept_make_a_map(tmp_path, capsys):
    review, out = tmp_path / "review.tsv", tmp_path / "map.tsv"
    found = answer(capsys, "match", "voc20", "coco80", "--out", review)
    assert (found["num_labels"], found["num_matched"]) == (23, 23)
    assert "may hold judgements" in refused(capsys, 2, "match", "voc20", "coco80", "--out", review)
    assert "say neither keep nor drop" in refused(capsys, 3, "accept", review, "voc20", "coco80", "--out", out)
    review.write_text(review.read_text().replace("\n\t", "\nkeep\t"))
    assert answer(capsys, "accept", review, "voc20", "coco80", "--out", out)["num_mapped"] == 23
    shipped_map = Crosswalk.load("voc20_to_coco80").targets
    assert {label: Crosswalk.load(out).targets[label] for label in shipped_map} == shipped_map
