"""Plots are inline SVG: themed by CSS, prefixed ids, nothing from outside, the same bytes each time."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from jftdata import tail
from jftdata.study import figures
from jftdata.study.curves import fit_log
from jftdata.study.figures import ArmScores, RunCurve, ScoreCurve


def counts(given: list[int], names: list[str] | None = None) -> pl.DataFrame:
    names = names or [f"label {i}" for i in range(len(given))]
    columns = {"label": names, "name": names, "depth": [0] * len(given), "num_given": given, "num_images": given}
    return pl.DataFrame(columns, schema=tail.COUNTS)


def score_curve(*, seeds: int = 3, sizes: tuple[int, ...] = (100, 300, 1000), mode: str = "frozen") -> ScoreCurve:
    rows = [
        {"num_train_images": n, "seed": s, "value": 0.1 + 0.1 * np.log10(n) + 0.01 * ((n * 7 + s * 3) % 5)}
        for n in sizes
        for s in range(seeds)
    ]
    points = pl.DataFrame(rows)
    means = points.group_by("num_train_images", maintain_order=True).agg(mean=pl.col("value").mean(), half=pl.lit(0.01))
    fit = fit_log(points, by=[]).row(0, named=True) if len(sizes) > 1 else None
    return ScoreCurve(task="knn", mode=mode, metric="top-1", points=points, means=means, untrained=0.12, fit=fit)


DRAW: list[Callable[[str], str]] = [
    lambda prefix: figures.rank_frequency(counts([500, 120, 30, 4, 1]), prefix=prefix),
    lambda prefix: figures.run_curves(
        [RunCurve(num_train_images=n, images=range(10, 10 * n, 10), value=[1.0] * (n - 1)) for n in (30, 300)],
        prefix=prefix,
    ),
    lambda prefix: figures.scores([score_curve(), score_curve(mode="fine-tuned")], prefix=prefix),
    lambda prefix: figures.arms(
        [ArmScores(name=f"arm {i}", values={0: 0.1 * i, 1: 0.2}, mean=0.15, half=0.02) for i in range(3)], prefix=prefix
    ),
]


@pytest.mark.parametrize("draw", DRAW)
def test_a_figure_is_well_formed_and_named_for_those_who_cannot_see_it(draw: Callable[[str], str]) -> None:
    root = ElementTree.fromstring(draw("a"))
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("width") is None  # the page decides


@pytest.mark.parametrize("draw", DRAW)
def test_a_figure_is_the_same_bytes_each_time(draw: Callable[[str], str]) -> None:
    assert draw("a") == draw("a")


@pytest.mark.parametrize("draw", DRAW)
def test_two_figures_on_a_page_share_no_id_and_every_reference_is_met(draw: Callable[[str], str]) -> None:
    one, two = draw("one"), draw("two")
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, two)]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])
    assert set(re.findall(r'(?:href="|url\()#([\w.-]+)', one)) == ids[0]


@pytest.mark.parametrize("draw", DRAW)
def test_colours_follow_the_page_and_nothing_points_outside(draw: Callable[[str], str]) -> None:
    text = draw("a")
    assert "var(--" in text
    assert not re.search(r"(?<![, ])#0[0-9a-f]0[0-9a-f]0[0-9a-f]\b", text.replace("url(#", "").replace('href="#', ""))
    assert "http" not in text
    assert "font-family" not in text
    assert "<style" not in text
    assert " style=" not in text


@pytest.mark.parametrize("draw", DRAW)
def test_every_attribute_is_one_that_svg_has(draw: Callable[[str], str]) -> None:
    known = {
        "viewBox", "role", "aria-label", "id", "d", "x", "y", "cx", "cy", "r", "width", "height", "href", "transform", "class",
        "clip-path", "fill", "fill-opacity", "font-size", "opacity", "stroke", "stroke-dasharray", "stroke-dashoffset",
        "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor",
    }  # fmt: skip
    assert {name for part in ElementTree.fromstring(draw("a")).iter() for name in part.keys()} <= known  # noqa: SIM118


def test_a_mark_lies_on_the_point_it_speaks_of() -> None:
    """The mark of a mean lies where Matplotlib put the mean's own dot."""
    root = ElementTree.fromstring(figures.scores([score_curve(sizes=(100, 300))]))
    marks = {m[0].text: m for m in root.iter("circle")}
    dots = {(float(u.get("x", "nan")), float(u.get("y", "nan"))) for u in root.iter("use")}
    means = [text for text in marks if text and "mean" in text]
    assert len(means) == 2
    for text in means:
        at = [float(marks[text].get(c, "nan")) for c in ("cx", "cy")]
        assert any(np.allclose(at, dot, atol=0.06) for dot in dots)
    assert "100 images, frozen, mean: 31.3 ± 1.0%" in means


def test_a_label_that_looks_like_markup_mathematics_or_a_colour_is_drawn_as_it_is() -> None:
    names = ['<script>alert("$x^$")</script>', "#010101", '漢字 id="x" url(#y)']
    text = figures.rank_frequency(counts([500, 120, 30], names))
    assert "<script" not in text
    drawn = "".join(ElementTree.fromstring(text).itertext())
    assert '<script>alert("$x^$")…' in drawn
    assert "#010101" in drawn
    assert '漢字 id="x" url(#y)' in drawn


@pytest.mark.parametrize("given", [[5], [1, 1], [175] * 200, [0, 0]])
def test_any_tail_can_be_drawn(given: list[int]) -> None:
    ElementTree.fromstring(figures.rank_frequency(counts(given)))


@pytest.mark.parametrize(
    ("seeds", "sizes"), [(1, (100,)), (1, (100, 300)), (3, (100, 300)), (1, tuple(range(10, 90, 10)))]
)
def test_any_number_of_sizes_and_seeds_can_be_drawn(seeds: int, sizes: tuple[int, ...]) -> None:
    ElementTree.fromstring(figures.scores([score_curve(seeds=seeds, sizes=sizes)]))


def test_sizes_are_coloured_from_one_end_of_the_scale_to_the_other() -> None:
    colors = figures.size_colors([300, 10, 30, 100, 300])
    assert list(colors) == [10, 30, 100, 300]
    assert (colors[10], colors[300]) == (figures.SCALE[0], figures.SCALE[-1])


def test_a_long_run_is_averaged_in_windows_that_keep_its_level() -> None:
    x = np.arange(1, 5001, dtype=float)
    means, level = figures._windows(x, np.full(5000, 2.5))
    assert len(means) <= 150
    assert np.allclose(level, 2.5)
    assert (np.diff(means) > 0).all()
