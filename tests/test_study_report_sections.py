"""The report as plain data, and what is written of it: Markdown, JSON and files of figures."""

import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from markdown_it import MarkdownIt
from matplotlib.colors import to_hex
from PIL import Image

from jftdata import sources, storage
from jftdata.cli import report_forms
from jftdata.errors import BadArgument
from jftdata.images import encode_jpeg
from jftdata.study import figure_files, figures, report_json, report_markdown, report_sections
from jftdata.study.report import Overlap, Report
from jftdata.study.section import Plot, Section, Table
from tests.strategies import picture
from tests.test_study_report import checkpoint, results

EVIL = "<b>|`x`\n\n# y"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """12 images under two labels, a pair, a test set, a run and scores."""
    folder = tmp_path_factory.mktemp("sections")
    for at, label in enumerate(("a", "b<*")):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(6 + 2 * at):
            (folder / "photos" / label / f"{i}.jpg").write_bytes(encode_jpeg(picture(10 * at + i, width=16, height=16)))
    catalog = sources.from_folder(folder / "photos", out=folder / "c", pack=True, workers=1)
    first, second = catalog.images()[:2]
    pairs = pl.DataFrame({"image_a": [first], "image_b": [second], "similarity": [0.95]})
    found = pl.DataFrame({"test_image": [5], "train_image": [first], "similarity": [0.9]})
    return Report(
        title=EVIL, catalog=catalog, pairs=pairs, overlap={"clean": Overlap(found=found, num_test_images=40)},
        checkpoints=[checkpoint(folder / "run", size=300, seed=0, steps=5)], results=results(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(report: Report) -> list[Section]:
    return report_sections.sections(report)


def table(found: list[Section], section: str, name: str) -> pl.DataFrame:
    (one,) = (t.frame for s in found if s.name == section for t in s.tables if t.name == name)
    return one


def test_sections_hold_the_numbers_of_what_was_given(report: Report, found: list[Section]) -> None:
    assert [section.name for section in found] == ["catalog", "tail", "duplicates", "training", "scores"]
    assert dict(table(found, "catalog", "numbers").iter_rows())["num_images"] == 14
    assert table(found, "duplicates", "overlap").rows() == [("clean", 1, 40, 1 / 40)]
    assert dict(table(found, "duplicates", "numbers").iter_rows())["num_pairs"] == 1
    assert report.results is not None
    assert len(table(found, "scores", "scores")) == len(report.results)
    (line,) = table(found, "scores", "lines").rows(named=True)
    assert line["slope_low"] < 0.08 < line["slope_high"]  # what the scores were made with
    plots = {plot.name: plot.data for section in found for plot in section.plots}
    assert plots.keys() == {"tail", "loss", "scores-linear-probe"}
    assert plots["tail"]["num_given"].to_list() == [8, 6]
    assert plots["loss"]["loss"].to_list() == [5.0 / i for i in range(1, 6)]
    main = report.results.rows.filter(pl.col("num_train_images") > 0, metric="top-1")
    assert plots["scores-linear-probe"]["value"].to_list() == main["value"].to_list()


def test_a_report_of_nothing_has_no_section() -> None:
    assert report_sections.sections(Report(title="x")) == []


def test_markdown_has_a_heading_a_section_a_row_a_row_and_shows_labels_as_they_are(found: list[Section]) -> None:
    text = report_markdown.markdown(EVIL, found, figures="out/figures")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert not [t for t in tokens if t.type in ("html_block", "code_block", "fence")]
    inline = [t for t in tokens if t.type == "inline"]
    assert not [p for t in inline for p in t.children or [] if p.type in ("html_inline", "code_inline", "em_open")]
    headings = [after.content for t, after in itertools.pairwise(tokens) if t.type == "heading_open"]
    assert len(headings) == 1 + len(found)
    shown = ["".join(p.content for p in t.children or []) for t in inline]
    assert "<b>|`x` # y" in shown
    assert "b<*" in shown
    links = [p.attrs["src"] for t in inline for p in t.children or [] if p.type == "image"]
    assert links == [f"out/figures/{plot.name}.png" for section in found for plot in section.plots]
    rows = sum(t.type == "tr_open" for t in tokens)
    assert rows == sum(1 + len(one.frame) for section in found for one in section.tables)


def test_a_long_table_says_how_many_rows_are_left_out() -> None:
    long = Table(name="t", title="T", frame=pl.DataFrame({"x": range(report_markdown.MOST + 7)}))
    text = report_markdown.markdown("t", [Section(name="s", title="S", tables=[long])])
    assert text.endswith("7 more rows are left out here.\n")


def test_json_holds_every_number_and_null_for_what_is_none(found: list[Section], tmp_path: Path) -> None:
    odd = Table(name="odd", title="", frame=pl.DataFrame({"x": [1.5, float("nan"), float("inf"), None]}))
    made = report_json.document("t", [*found, Section(name="odd", title="", tables=[odd])])
    storage.write_json(tmp_path / "x.json", made)
    read = json.loads((tmp_path / "x.json").read_text())
    assert read["format"] == "jftdata.sections/1"
    assert read["sections"][-1]["tables"][0]["rows"] == [[1.5], [None], [None], [None]]
    (scores,) = (t for s in read["sections"] for t in s["tables"] if s["name"] == "scores" and t["name"] == "scores")
    assert pl.DataFrame(scores["rows"], schema=scores["columns"], orient="row")["value"].to_list() == (
        table(found, "scores", "scores")["value"].to_list()
    )
    assert [f["name"] for s in read["sections"] for f in s["figures"]] == [p.name for s in found for p in s.plots]


def test_every_figure_is_three_files_on_white_without_a_stand_in(found: list[Section], tmp_path: Path) -> None:
    written = figure_files.write(found, tmp_path / "figures")
    names = [plot.name for section in found for plot in section.plots]
    assert [path.name for path in written] == [f"{name}{end}" for name in names for end in (".svg", ".png", ".csv")]
    for name in names:
        svg = (tmp_path / "figures" / f"{name}.svg").read_text()
        ElementTree.fromstring(svg)
        assert "var(" not in svg
        assert not [color for color in figure_files.COLORS if color in svg]
        assert figure_files.COLORS[figures.INK if name == "tail" else figures.MUTED] in svg
        pixels = np.asarray(Image.open(tmp_path / "figures" / f"{name}.png").convert("RGB"))
        assert pixels[0, 0].tolist() == [255, 255, 255]
        seen = {to_hex(c / 255) for c in np.unique(pixels.reshape(-1, 3), axis=0)}
        assert not seen & figure_files.COLORS.keys()
        own = next(plot.data for section in found for plot in section.plots if plot.name == name)
        assert pl.read_csv(tmp_path / "figures" / f"{name}.csv").shape == own.shape


def test_a_figure_written_again_has_the_same_bytes_and_a_label_may_be_in_any_script(tmp_path: Path) -> None:
    counts = pl.DataFrame({"label": ["犬", "a$b"], "name": ["犬", "a$b"], "num_given": [9, 2], "num_images": [9, 2]})
    for folder in ("one", "two"):
        plot = Plot(name="tail", title="Tail", drawn=figures.rank_frequency(counts), data=counts)
        figure_files.write([Section(name="s", title="S", plots=[plot])], tmp_path / folder)
    assert (tmp_path / "one" / "tail.svg").read_bytes() == (tmp_path / "two" / "tail.svg").read_bytes()
    assert "犬" in (tmp_path / "one" / "tail.svg").read_text()


def test_forms_are_written_where_asked_and_figures_are_linked_from_there(found: list[Section], tmp_path: Path) -> None:
    one = [section for section in found if section.name == "tail"]
    paths = {"markdown": tmp_path / "a" / "x.md", "data": tmp_path / "x.json", "figures": tmp_path / "f"}
    told = report_forms.write("t", one, **paths)
    assert told == {name: str(path) for name, path in paths.items()}
    assert "](<../f/tail.png>)" in paths["markdown"].read_text()
    assert (tmp_path / "f" / "tail.png").exists()
    assert report_forms.write("t", one, markdown=None, data=None, figures=None) == {}
    with pytest.raises(BadArgument, match=r"`--data` must end in \.json"):
        report_forms.write("t", one, markdown=None, data=tmp_path / "x.txt", figures=None)
