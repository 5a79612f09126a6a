"""The page: complete, escaped, alone, the same each time, and its numbers are those of the findings."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from jftdata import dedup, noise, sources, storage
from jftdata.catalog import Catalog
from jftdata.checkpoint import FORMAT, Checkpoint
from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.results import Results
from jftdata.study import report, report_catalog, report_findings, report_scores
from jftdata.study.curves import fit_log, predict
from jftdata.study.report import Overlap, Report
from tests.browser import CHROMIUM, Browser, browser
from tests.strategies import picture

EVIL = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"
VOID = {"meta", "img", "br", "link", "input", "hr"}
SECTIONS = ("catalog", "tree", "tail", "duplicates", "noise", "training", "scores")


class Page(HTMLParser):
    """Tags of a page; fails on one that is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.tags if "id" in attrs]


def results(
    slope: float = 0.08, *, noise: float = 0.002, sizes: Sequence[int] = (0, 100, 300, 1000), seeds: int = 3,
    tasks: Sequence[tuple[str, str, Sequence[str]]] = (("linear-probe", "frozen", ("top-1", "top-5")),),
) -> Results:  # fmt: skip
    rng = np.random.default_rng(0)
    rows = []
    for task, mode, metrics in tasks:
        for size in sizes:
            for seed in range(seeds):
                for at, metric in enumerate(metrics):
                    value = 0.3 + 0.01 * at + (slope * math.log10(size) if size else 0.0) + noise * rng.normal()
                    rows.append({
                        "checkpoint": f"{size}-{seed}", "subset": "s", "num_train_images": size, "seed": seed,
                        "task": task, "mode": mode, "metric": metric, "value": value,
                        "low": value - 0.01, "high": value + 0.01,
                        "num_task_train": 500, "num_task_test": 100, "settings": "{}",
                    })  # fmt: skip
    return Results.of(rows)


def checkpoint(out: Path, *, size: int, seed: int, steps: int) -> Checkpoint:
    made_with = {"config": {"seed": seed, "architecture": "resnet10"}}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={"subset": "s"}) as build:
        assert build is not None
        rows = [{"step": i, "images": 8 * i, "loss": 5.0 / i, "images_per_second": 100.0} for i in range(1, steps + 1)]
        (build.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (build.folder / "labels.json").write_text("[]")
        build.facts = {"num_train_images": size, "num_steps": steps, "num_images_seen": 8 * steps}
    return Checkpoint.open(out)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """30 images under three labels; one label's name is an attack, and two labels have the same parent."""
    folder = tmp_path_factory.mktemp("report")
    for at, label in enumerate(("a", "b", "evil\"'")):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(10):
            pixels = picture(100 * at + i, width=130, height=60)
            (folder / "photos" / label / f"{i}.jpg").write_bytes(encode_jpeg(pixels))
    (folder / "photos" / "a" / "empty.jpg").write_bytes(b"")
    tree = Hierarchy.from_edges([("top", "a"), ("top", "b")], labels=["evil\"'"], names={"evil\"'": EVIL})
    return sources.from_folder(
        folder / "photos", out=folder / "c", hierarchy=tree, pack=True, workers=1, max_rejected=0.5
    )


@pytest.fixture(scope="module")
def audit(catalog: Catalog) -> pl.DataFrame:
    rows = []
    given = catalog.scan().select("image", "labels").collect().explode("labels", empty_as_null=False, keep_nulls=False)
    for at, (image, label) in enumerate(given.iter_rows()):
        other = catalog.hierarchy.index("b" if catalog.hierarchy.labels[label] == "a" else "a")
        names = catalog.hierarchy.labels
        wrong = 0.5 + (0.01 * at - 0.1)
        verdict = "wrong" if wrong > 0.5 else "fits"
        distances = (0.1 + 0.01 * at, at % 3, names[other], 0.2)
        rows.append((image, names[label], wrong, verdict, names[other], None, None, *distances))
    return pl.DataFrame(rows, schema=noise.AUDIT, orient="row").sort("wrong", "image", descending=[True, False])


@pytest.fixture(scope="module")
def pairs(catalog: Catalog) -> pl.DataFrame:
    ids = catalog.images()
    return pl.DataFrame({"image_a": ids[:-1], "image_b": ids[1:], "similarity": np.linspace(1, 0.9, len(ids) - 1)},
                        schema=dedup.PAIRS)  # fmt: skip


@pytest.fixture(scope="module")
def full(
    catalog: Catalog, audit: pl.DataFrame, pairs: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """A report with everything."""
    folder = tmp_path_factory.mktemp("runs")
    ids = catalog.images()
    found = pl.DataFrame(
        {"test_image": ids[:2], "train_image": ids[2:4], "similarity": [0.99, 0.95]}, schema=dedup.OVERLAP
    )
    runs = [checkpoint(folder / f"{n}", size=n, seed=0, steps=s) for n, s in ((0, 0), (100, 12), (300, 40))]
    tasks = [("linear-probe", "frozen", ("top-1", "top-5")), ("classification", "finetune", ("top-1",)),
             ("classification", "frozen", ("top-1",)), ("knn", "frozen", ("top-1 (k=10)", "top-1 (k=20)"))]  # fmt: skip
    return Report(
        title=f"A set {EVIL}", catalog=catalog, pairs=pairs, audit=audit, wrong_labels=audit.head(5), checkpoints=runs,
        overlap={f"test {EVIL}": Overlap(found=found, num_test_images=50, test=catalog)}, results=results(tasks=tasks),
        judged_on="toys", command=f"jftdata report '{EVIL}'", seconds=75.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(full: Report) -> Page:
    return Page(report.render(full))


def test_a_page_with_everything_has_every_section_and_unique_ids(page: Page) -> None:
    assert set(SECTIONS) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    targets = {str(a["href"])[1:] for tag, a in page.tags if tag == "a" and str(a["href"]).startswith("#")}
    assert targets == {"main", *SECTIONS}


def test_labels_titles_and_commands_are_escaped(page: Page) -> None:
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(attrs.get("src") == "x" for _, attrs in page.tags)
    assert EVIL in page.text
    assert not any(name.startswith("on") or name == "style" for _, attrs in page.tags for name in attrs)


def test_a_page_loads_nothing(page: Page) -> None:
    for tag, attrs in page.tags:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert str(attrs.get(name, "data:")).startswith("data:"), (tag, attrs)
        if tag == "use":
            assert str(attrs["href"]).startswith("#")
    assert {"link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)


def test_headings_go_down_one_level_at_a_time_and_tables_say_what_they_are(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 5
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in page.tags if tag == "th")


def test_every_picture_and_figure_says_what_it_is(page: Page) -> None:
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) >= 24
    assert all(attrs.get("alt") for attrs in pictures)
    figures = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("aria-hidden") != "true"]
    assert len(figures) == 6
    assert all(attrs.get("aria-label") for attrs in figures)


def test_written_twice_the_page_is_the_same_bytes(full: Report, tmp_path: Path) -> None:
    one, two = (report.write(full, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert one == two
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


@pytest.mark.parametrize(
    ("kept", "sections"),
    [
        ((), set()), (("catalog",), {"catalog", "tree", "tail"}), (("results", "judged_on"), {"scores"}),
        (("checkpoints",), {"training"}), (("overlap",), {"duplicates"}),
        (("catalog", "pairs"), {"catalog", "tree", "tail", "duplicates"}),
        (("catalog", "audit"), {"catalog", "tree", "tail", "noise"}),
    ],
)  # fmt: skip
def test_a_section_is_there_only_with_its_artefact(full: Report, kept: tuple[str, ...], sections: set[str]) -> None:
    given = {name: getattr(full, name) for name in kept}
    assert set(SECTIONS) & set(Page(report.render(Report(title="t", **given))).ids) == sections


def test_the_headline_is_the_fit_in_words(page: Page) -> None:
    rows = results().rows.filter(pl.col("metric") == "top-1")
    fit = fit_log(rows, by=[]).row(0, named=True)
    first, rest = report_scores.headline(report_scores.score_curves(results()), judged_on="toys")
    slope, low, high = (f"{100 * fit[k]:.1f}" for k in ("slope", "slope_low", "slope_high"))
    assert (
        first
        == f"Ten times the images adds {slope} points (95% interval {low} to {high}) to linear probe top-1 on toys."
    )
    assert f"3,000 images, would add about {100 * fit['slope'] * math.log10(3):.1f} points" in rest
    value, least, most = (f"{100 * v:.1f}%" for v in predict(fit, x=3000))
    assert f"{value}, and between {least} and {most}" in rest
    assert first in page.text.replace("\u2060", "")


@pytest.mark.parametrize(
    ("given", "first", "rest"),
    [
        (results(0.0, noise=0.05), "do not show that more images help linear probe top-1", "includes zero"),
        (results(-0.05), "takes 5.", "No set here does better than untrained weights"),
        (results(sizes=(100, 300), seeds=1), "goes with", "Two runs draw a line but give it no interval"),
        (results(sizes=(100,)), "With 100 images", "One size says nothing"),
    ],
)
def test_the_headline_says_what_the_runs_do_not_show(given: Results, first: str, rest: str) -> None:
    said = report_scores.headline(report_scores.score_curves(given))
    assert first in said[0]
    assert rest in said[1]
    Page(report.render(Report(title="t", results=given)))


def test_only_untrained_weights_give_no_curve_and_still_a_page() -> None:
    page = Page(report.render(Report(title="t", results=results(sizes=(0,)))))
    assert "Only untrained weights were judged so far" in page.text


def test_scores_without_the_copies_stand_beside_those_on_all_test_images() -> None:
    given = results()
    assert "without copies of its training images" not in Page(report.render(Report(title="t", results=given))).text
    said = {"num_copies": 7, "value_clean": 0.25, "difference": 0.02, "difference_low": 0.01, "difference_high": 0.03}
    kinds = [pl.lit(value).cast(given.rows.schema[name]).alias(name) for name, value in said.items()]
    text = Page(report.render(Report(title="t", results=Results(given.rows.with_columns(kinds))))).text
    assert "without copies of its training images" in text
    assert "25.0% (7 left out, copies add +2.0 (1.0 to 3.0))" in text
    gone = given.rows.with_columns(kinds).with_columns(value_clean=pl.lit(None, pl.Float64))
    assert "none left of" in Page(report.render(Report(title="t", results=Results(gone)))).text


def test_of_several_numbers_of_neighbours_the_best_on_average_is_shown() -> None:
    knn = results(tasks=[("knn", "frozen", ("top-1 (k=10)", "top-1 (k=20)"))])
    assert [c.metric for c in report_scores.score_curves(knn)] == ["top-1 (k=20)"]


def test_interval_over_seeds_is_students_t() -> None:
    (curve,) = report_scores.score_curves(results(noise=0.01))
    values = curve.points.filter(pl.col("num_train_images") == 300)["value"].to_numpy()
    half = 4.302652729749462 * values.std(ddof=1) / math.sqrt(3)  # t(0.975, 2)
    row = curve.means.filter(pl.col("num_train_images") == 300).row(0, named=True)
    assert (row["mean"], row["half"]) == pytest.approx((values.mean(), half))


def test_overlap_stands_beside_the_papers_numbers(page: Page) -> None:
    assert "2 50 4.00%" in page.text
    assert "890 50,000 1.78%" in page.text


def test_planted_errors_are_counted_among_the_most_suspicious(catalog: Catalog, audit: pl.DataFrame) -> None:
    view = report_findings.noise(catalog, audit, label="a", wrong_labels=audit.head(6).select("image", "label"))
    assert view["truth"] == {"top": 30, "hits": 6, "share": pytest.approx(20.0)}


def test_the_confusions_count_images_nearer_to_another_label(catalog: Catalog, audit: pl.DataFrame) -> None:
    view = report_findings.noise(catalog, audit, label=None, wrong_labels=None)
    assert (
        sum(row["num"] for row in view["confusions"]) == view["num_nearer"] == int((audit["verdict"] == "wrong").sum())
    )


def test_a_label_that_was_not_audited_is_an_error(catalog: Catalog, audit: pl.DataFrame) -> None:
    with pytest.raises(UnknownName, match="'c' is not known"):
        report.render(Report(title="t", catalog=catalog, audit=audit, noise_label="c"))


def test_a_label_and_its_ancestor_do_not_contradict_each_other(tmp_path: Path) -> None:
    for at, label in enumerate(("pet", "cat", "bus")):
        (tmp_path / "p" / label).mkdir(parents=True)
        (tmp_path / "p" / label / "x.jpg").write_bytes(encode_jpeg(picture(at)))
    tree = Hierarchy.from_edges([("pet", "cat")], labels=["bus"])
    catalog = sources.from_folder(tmp_path / "p", out=tmp_path / "c", hierarchy=tree, workers=1)
    image = {tree.labels[labels[0]]: i for i, labels in catalog.scan().select("image", "labels").collect().iter_rows()}
    for other, conflicts in (("pet", 0), ("bus", 1)):
        a, b = sorted((image["cat"], image[other]))
        found = pl.DataFrame([(a, b, 1.0)], schema=dedup.PAIRS, orient="row")
        assert report_findings.duplicates(catalog, found)["num_conflicts"] == conflicts


def test_no_pairs_are_said_to_be_none(catalog: Catalog) -> None:
    page = Page(report.render(Report(title="t", catalog=catalog, pairs=pl.DataFrame(schema=dedup.PAIRS))))
    assert "No two images are near-duplicates." in page.text


def test_an_image_that_is_gone_is_named_and_not_skipped(tmp_path: Path) -> None:
    photo = tmp_path / "p" / "cat" / "x.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(encode_jpeg(picture(0)))
    catalog = sources.from_folder(tmp_path / "p", out=tmp_path / "c", workers=1)
    photo.unlink()
    page = Page(report.render(Report(title="t", catalog=catalog)))
    assert "1 image could not be shown" in page.text
    assert "cat/x.jpg: missing" in page.text


def test_pictures_are_small_and_the_sheet_does_not_depend_on_anything_but_the_seed(catalog: Catalog) -> None:
    sheet = report_catalog.contact_sheet(catalog, seed=0)
    assert len(sheet) == report_catalog.SHEET
    assert [t.image for t in sheet] == [t.image for t in report_catalog.contact_sheet(catalog, seed=0)]
    assert [t.image for t in sheet] != [t.image for t in report_catalog.contact_sheet(catalog, seed=1)]
    assert max(len(t.uri or "") for t in sheet) < 12_000


def test_a_small_tree_is_whole_and_a_chain_shares_a_row() -> None:
    tree = Hierarchy.from_edges([("a", "b"), ("b", "c"), ("c", "d"), ("c", "e")])
    counts = pl.DataFrame({"num_given": [0, 0, 0, 2, 1], "num_images": [3, 3, 3, 2, 1]})
    rows = report_catalog.tree(tree, counts, num_images=3)["rows"]
    assert [(r["kind"], r.get("names")) for r in rows] == [
        ("open", ["a", "b", "c"]), ("leaf", ["d"]), ("leaf", ["e"]), ("close", None)
    ]  # fmt: skip


def test_a_large_tree_shows_its_top_and_accounts_for_every_label() -> None:
    edges = [(f"t{i % 3}", f"m{i}") for i in range(60)] + [(f"m{i % 60}", f"l{i}") for i in range(2000)]
    tree = Hierarchy.from_edges([*edges, ("m1", "l0")])
    ones = [1] * tree.num_labels
    view = report_catalog.tree(tree, pl.DataFrame({"num_given": ones, "num_images": ones}), num_images=10)
    assert not view["whole"]
    assert len(view["rows"]) < 600
    shown = sum(len(r["names"]) for r in view["rows"] if "names" in r)
    hidden = sum(r["count"] for r in view["rows"] if r["kind"] == "more") + sum(
        r.get("hidden", 0) for r in view["rows"]
    )
    assert shown + hidden == tree.num_labels == 2063
    assert [level["labels"] for level in view["levels"]] == [3, 60, 2000]


def test_a_deep_tree_is_no_deeper_call() -> None:
    edges = [(f"n{i:04d}", f"n{i + 1:04d}") for i in range(590)]
    tree = Hierarchy.from_edges(edges)
    falling = list(range(591, 0, -1))
    view = report_catalog.tree(tree, pl.DataFrame({"num_given": [1] * 591, "num_images": falling}), num_images=591)
    assert [r["kind"] for r in view["rows"]].count("open") == 590


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pairs": pl.DataFrame(schema=dedup.PAIRS)}, "`pairs` needs `catalog`"),
        ({"noise_label": "cat"}, "`noise_label` has no effect without `audit`"),
        ({"judged_on": "x"}, "`judged_on` has no effect without `results`"),
    ],
)
def test_a_piece_that_would_have_no_effect_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        Report(title="t", **given)


def test_a_test_set_smaller_than_its_copies_is_an_error() -> None:
    found = pl.DataFrame([(1, 2, 1.0)], schema=dedup.OVERLAP, orient="row")
    with pytest.raises(BadInput, match="test set 't' has 0 images"):
        report.render(Report(title="t", overlap={"t": Overlap(found=found, num_test_images=0)}))


# ---- the page in a browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(full: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page with everything, hostile labels among it, in a tab."""
    if CHROMIUM is None:
        pytest.skip("needs chromium, which is not installed here")
    folder = tmp_path_factory.mktemp("browser")
    with browser(folder) as tab:
        tab.open(report.write(full, folder / "r.html").as_uri())
        yield tab
        assert tab.problems == []
        assert {url.split(":")[0] for url in tab.requests} == {"file", "data"}


def test_hostile_labels_are_text_and_nothing_else_may_run(opened: Browser) -> None:
    assert opened.value("document.title").startswith("A set <img")
    assert EVIL in opened.value("document.querySelector('.tree').textContent")
    opened.value(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))"
    )
    opened.value(
        "document.body.insertAdjacentHTML('beforeend', `<p id=p style='display:none' onclick='document.title = 2'>x</p>`)"
    )
    opened.value("document.getElementById('p').click()")
    assert opened.value("document.title").startswith("A set <img")
    assert opened.value("document.getElementById('p').offsetHeight") > 0
    refused, opened.problems[:] = list(opened.problems), []
    assert len(refused) == 3  # a script, a handler and a style
    assert all("Content Security Policy" in problem for problem in refused)


def test_points_of_a_figure_say_what_they_are_under_the_pointer_and_by_arrow_keys(opened: Browser) -> None:
    said = "document.querySelector('.tip').textContent"
    opened.value("document.querySelector('.hero svg').focus()")
    opened.press("ArrowRight")
    assert re.fullmatch(r"100 images, frozen, seed 0: \d\d\.\d%", opened.value(said))
    opened.press("ArrowLeft")
    assert re.fullmatch(r"3,000 images, frozen, if the line goes on: \d\d\.\d%", opened.value(said))
    opened.press("Escape")
    assert opened.value(said) == ""
    opened.click(".hero svg .mark:last-of-type")
    assert opened.value(said).startswith("3,000 images")


def test_a_heading_sorts_its_table_by_number_and_back(opened: Browser) -> None:
    table = "document.querySelector('#training details table')"
    opened.value(f"{table}.closest('details').open = true")
    column = f"[...{table}.tBodies[0].rows].map(row => row.cells[1].textContent)"
    for order, found in (("ascending", ["untrained", "100", "300"]), ("descending", ["300", "100", "untrained"])):
        opened.value(f"{table}.tHead.rows[0].cells[1].querySelector('button').click()")
        assert opened.value(f"{table}.tHead.rows[0].cells[1].getAttribute('aria-sort')") == order
        assert opened.value(column) == found


def test_a_picture_opens_larger_by_keyboard_and_closes(opened: Browser) -> None:
    opened.value("document.querySelector('.sheet button.open').focus()")
    opened.press("Enter")
    assert opened.value("document.querySelector('dialog').open")
    source = "document.querySelector('dialog .quiet').textContent"
    first = opened.value(source)
    assert first.endswith(".jpg")
    opened.press("ArrowRight")
    assert opened.value(source) != first
    opened.press("ArrowLeft")
    assert opened.value(source) == first
    opened.press("Escape")
    assert not opened.value("document.querySelector('dialog').open")
    assert opened.value("document.activeElement === document.querySelector('.sheet button.open')")


def test_a_search_keeps_the_labels_that_match_and_what_lies_above(opened: Browser) -> None:
    rows = "[...document.querySelectorAll('.tree .label')].filter(e => e.checkVisibility()).map(e => e.textContent)"
    every = opened.value(rows)
    opened.value("document.querySelector('.search input').focus()")
    opened.press("b")
    assert opened.value(rows) == ["top", "b"]
    assert opened.value("document.querySelector('.search [role=status]').textContent") == "1 label found"
    opened.value("document.querySelector('.search input').select()")
    opened.press("Backspace")
    assert opened.value(rows) == every


def test_without_scripts_and_on_paper_the_page_is_whole(opened: Browser) -> None:
    opened("Emulation.setScriptExecutionDisabled", value=True)
    opened("Emulation.setEmulatedMedia", media="print")
    opened("Page.reload")
    while opened.hear().get("method") != "Page.loadEventFired":
        pass
    opened("Emulation.setScriptExecutionDisabled", value=False)  # to ask; the page's own script has not run
    assert opened.value("document.querySelectorAll('button, dialog, input').length") == 0
    assert opened.value("document.querySelectorAll('svg .mark > title').length") > 20
    hidden = "[...document.querySelectorAll('details td')].filter(e => !e.checkVisibility() || !e.offsetHeight).length"
    assert opened.value("document.querySelectorAll('details:not([open]) td').length") > 20
    assert opened.value(hidden) == 0


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_width_makes_the_page_scroll_sideways(opened: Browser, width: int) -> None:
    opened("Emulation.setEmulatedMedia", media="screen")
    opened("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    assert opened.value("document.documentElement.scrollWidth") <= width
