import re

import polars as pl
import pytest
from PIL import Image

from jftdata import noise
from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.noise import figure
from tests.noise_cases import build

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    tree = Hierarchy.from_edges((), labels=["cat", "glasses"], names={"glasses": EVIL})
    plan = [("cat", "cat")] * 20 + [("glasses", "glasses")] * 20 + [("cat", "glasses")] * 2
    catalog, embeddings, _ = build(tmp_path_factory.mktemp("figure"), plan, hierarchy=tree)
    return catalog, noise.audit(catalog, embeddings, signals=["centroids"])


def test_the_page_names_the_confusion_on_far_images_and_escapes_names(case, tmp_path):
    catalog, audit = case
    made = figure.write(catalog, audit, out=tmp_path / "f.html", labels=["cat"], num_images=3)
    text = made.path.read_text()
    assert (made.num_labels, made.num_unread) == (1, 0)
    assert text.count("<img ") == made.num_images
    assert EVIL not in text
    assert "<figcaption>&lt;script&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    last = text.rsplit('<div class="row">', 1)[1]
    assert "&lt;script&gt;" in last


def test_rows_run_from_near_to_far_and_equal_inputs_give_equal_pages(case, tmp_path):
    catalog, audit = case
    first = figure.write(catalog, audit, out=tmp_path / "a.html", workers=1).path.read_text()
    second = figure.write(catalog, audit.sample(fraction=1.0, shuffle=True, seed=1), out=tmp_path / "b.html", workers=2)
    assert first == second.path.read_text()
    low = [float(x) for x in re.findall(r"distance (\d\.\d+) to", first.split("<section>")[1])]
    assert low == sorted(low)


def test_a_picture_has_a_row_for_each_distance(case, tmp_path):
    catalog, audit = case
    figure.write(catalog, audit, out=tmp_path / "f.png", labels=["cat"], num_images=2)
    with Image.open(tmp_path / "f.png") as one:
        height = one.height
    figure.write(catalog, audit, out=tmp_path / "g.png", labels=["cat", "glasses"], num_images=2)
    with Image.open(tmp_path / "g.png") as two:
        assert two.height > 1.7 * height


def test_an_image_that_cannot_be_read_is_shown_as_such_and_counted(case, tmp_path):
    catalog, embeddings, _ = build(tmp_path, [("cat", "cat")] * 6 + [("dog", "dog")] * 6)
    audit = noise.audit(catalog, embeddings, signals=["centroids"])
    row = catalog.scan().select("shard", "source").collect().row(0, named=True)
    (catalog.path / row["shard"]).unlink()
    made = figure.write(catalog, audit, out=tmp_path / "f.html")
    assert made.num_unread == 1
    assert "could not be read" in made.path.read_text()
    figure.write(catalog, audit, out=tmp_path / "f.png")


def test_arguments_without_sense_are_refused(case, tmp_path):
    catalog, audit = case
    with pytest.raises(BadArgument, match=r"end in .html or .png"):
        figure.write(catalog, audit, out=tmp_path / "f.jpg")
    with pytest.raises(BadArgument, match="`num_images` must be at least 1"):
        figure.write(catalog, audit, out=tmp_path / "f.png", num_images=0)
    with pytest.raises(UnknownName, match="Did you mean 'cat'"):
        figure.write(catalog, audit, out=tmp_path / "f.png", labels=["catt"])
    with pytest.raises(BadInput, match="no distances"):
        figure.write(catalog, audit.with_columns(distance=pl.lit(None, pl.Float64)), out=tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []
