"""The report's plots, as SVG text to put inside a page: the long tail, loss curves, scores by number of images.

Colours are CSS variables with a fallback, so one figure serves a light and a dark page; text stays text in the page's
own font; ids are prefixed, so that several figures share a page. Nothing is in a `style` attribute, which a strict page forbids.
On each point lies a mark, an empty circle of class `mark` whose title says what the point is. Equal inputs give equal bytes.
About 0.1 s a figure.
"""

import html
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from jftdata import tail
from jftdata.study.curves import predict

INK, MUTED, GRID, ACCENT, SECOND, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
"""Stand-ins that are replaced by CSS variables once the SVG is written."""
SCALE = ("#0a0a0a", "#0b0b0b", "#0c0c0c", "#0d0d0d", "#0e0e0e", "#0f0f0f")
"""Stand-ins for the scale of sizes, smallest first."""
GROUPS = ((ACCENT, "o", "●"), (SECOND, "s", "■"), (SCALE[0], "^", "▲"), (SCALE[4], "D", "◆"), (MUTED, "v", "▼"))
"""Of curves on one figure in this order: the colour, Matplotlib's marker, and the character that stands for it in a key."""
_VARIABLES = {
    INK: "var(--ink, #1b2026)", MUTED: "var(--muted, #5b6570)", GRID: "var(--line, #dfe3e7)",
    ACCENT: "var(--accent, #0a6c8f)", SECOND: "var(--second, #b4540a)", PAPER: "var(--paper, #ffffff)",
    **{c: f"var(--s{i}, {f})" for i, (c, f) in enumerate(zip(
        SCALE, ("#472d7b", "#3b528b", "#2c728e", "#1f8f86", "#2a9d68", "#5a9b2f"), strict=True))},
}  # fmt: skip
Mark = tuple[float, float, str]
"""A point in the data's units, and what it is in words."""
IMAGES = "pretraining images"
AHEAD = 3
"""How far past the largest set the fitted line is drawn, as a factor."""
_WINDOWS = 150
_REACH = 7  # radius of a mark, in CSS pixels


class Drawn(str):
    """SVG text for inside a page, with the figure it was drawn from, for files of it (`figure_files.py`)."""

    figure: Figure

    def __html__(self) -> str:
        """Itself: its labels are escaped, and a template puts it into a page as it is."""
        return self


@dataclass(frozen=True, kw_only=True)
class RunCurve:
    """A number that a training run said of itself."""

    num_train_images: int
    images: Sequence[float]
    """Images seen so far."""
    value: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class ScoreCurve:
    """Scores of one task, mode and metric by number of pretraining images."""

    task: str
    mode: str
    metric: str
    points: pl.DataFrame
    """One row a run: `num_train_images` above 0, `seed`, `value` in 0..1."""
    means: pl.DataFrame
    """One row a size: `num_train_images`, `mean`, `half` (half the 95% interval over seeds, null for one seed)."""
    untrained: float | None
    """Mean score of untrained weights."""
    fit: dict[str, Any] | None
    """A row of `curves.fit_log`, None with fewer than two sizes."""


@dataclass(frozen=True, kw_only=True)
class ArmScores:
    """Scores of one arm of a study in one task."""

    name: str
    values: Mapping[int, float]
    """By seed, in 0..1."""
    mean: float
    half: float | None
    """Half the 95% interval over seeds; None for one seed."""


def rank_frequency(counts: pl.DataFrame, *, prefix: str = "tail") -> Drawn:
    """Images of each label against its rank, both axes logarithmic.

    Args:
        counts: what `tail.label_counts` returns.
        prefix: put before every id.

    Returns:
        SVG text.
    """
    figure, axes = _axes(470, 350)
    filled = _ranked(counts, "num_images")
    given = _ranked(counts, "num_given")
    longest = max(len(filled), len(given), 2)
    fewest = min([*given["num_given"].to_list(), *filled["num_images"].to_list(), 12])
    axes.set(xscale="log", yscale="log", xlim=(0.85, longest * 1.3))
    axes.set_ylim(fewest * 0.5, max([*filled["num_images"].to_list(), 200]) * 1.8)
    for cut in tail.CUTS:
        axes.axhline(cut, color=MUTED, lw=0.9, ls=(0, (2, 3)), zorder=1)
        axes.annotate(
            f"{cut} images", (0.85, cut), (4, -4), va="top", textcoords="offset points", color=MUTED, fontsize=11
        )
    style: dict[str, Any] = {"lw": 2.2, "solid_capstyle": "round", "marker": "o" if longest < 60 else "", "ms": 3.5}
    axes.plot(np.arange(1, len(filled) + 1), filled["num_images"], color=SECOND, zorder=2, **style)
    axes.plot(np.arange(1, len(given) + 1), given["num_given"], color=ACCENT, zorder=3, **style)
    for rank in _examples(len(given)):
        row = given.row(rank, named=True)
        at = (rank + 1, row["num_given"])
        axes.plot(*at, marker="o", ms=7, mfc=PAPER, mec=ACCENT, mew=1.8, zorder=4)
        place: dict[str, Any] = (
            {"xytext": (8, 5), "ha": "left"} if rank == 0 else {"xytext": (-5, -7), "ha": "right", "va": "top"}
        )
        name = shorten(row["name"], 22)
        axes.annotate(name, at, textcoords="offset points", color=INK, fontsize=11, parse_math=False, **place)
    axes.set_xlabel("label, by rank", color=MUTED)
    axes.set_ylabel("images", color=MUTED)
    _log_ticks(axes.xaxis)
    _log_ticks(axes.yaxis)
    marks: list[Mark] = []
    for ranked, what in ((filled, "with ancestors"), (given, "given")):
        for rank in _marked(len(ranked)):
            name, count = ranked.row(rank - 1)
            marks.append((rank, count, f"{shorten(name, 60)}: {count:,} images {what}, rank {rank:,}"))
    return _svg(figure, prefix, "Images of each label against its rank on logarithmic axes", marks)


def run_curves(curves: Sequence[RunCurve], *, what: str = "loss", prefix: str = "loss") -> Drawn:
    """What runs said while they trained against images seen, a line a run, coloured by the size of its training set.

    Each line is averaged in windows of equal width on the logarithmic axis.

    Args:
        curves: runs with at least one step each.
        what: is drawn, `loss` or `mAP@100`.
        prefix: put before every id.

    Returns:
        SVG text.
    """
    figure, axes = _axes(470, 350)
    axes.set_xscale("log")
    colors = size_colors([c.num_train_images for c in curves])
    marks: list[Mark] = []
    for curve in curves:
        x, y = _windows(np.asarray(curve.images, float), np.asarray(curve.value, float))
        dot = "o" if len(x) == 1 else ""
        axes.plot(x, y, color=colors[curve.num_train_images], lw=1.3, alpha=0.85, marker=dot, ms=4)
        of = f"{curve.num_train_images:,} images"
        marks += [
            (x[i - 1], y[i - 1], f"{of}: {what} {y[i - 1]:.3g} at {short(x[i - 1])} seen") for i in _marked(len(x), 8)
        ]
    axes.set_xlabel("images seen", color=MUTED)
    axes.set_ylabel(what, color=MUTED)
    _log_ticks(axes.xaxis)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    return _svg(figure, prefix, f"{what} against images seen, one line a run", marks)


def scores(curves: Sequence[ScoreCurve], *, x: str = IMAGES, prefix: str = "score") -> Drawn:
    """Score against number of pretraining images for one task, a colour and a shape for each curve.

    Small dots are runs, large ones means with their 95% interval; the line is the fit with its 95% band for one more
    run, dotted out to three times the largest set, or where there is no fit joins the means; the dashed line is untrained weights.

    Args:
        curves: one for each mode of the task, or group of arms; at most as many as `GROUPS`.
        x: what lies on the axis, if it is another number than that of images.
        prefix: put before every id.

    Returns:
        SVG text.
    """
    figure, axes = _axes(380, 300)
    sizes = sorted({value for c in curves for value in c.means["num_train_images"]})
    last = sizes[-1] * (AHEAD if any(c.fit for c in curves) else 1)
    if sizes[0] > 0:
        axes.set_xscale("log")
        axes.set_xlim(sizes[0] / 1.35, last * 1.35)
    axes.set_ylim(*_score_limits(curves, last))
    marks: list[Mark] = []
    for curve, (color, shape, _) in zip(curves, GROUPS, strict=False):
        marks += _score_curve(axes, curve, color, shape, last, x)
    ticks = sizes if len(sizes) <= 6 else sizes[:: math.ceil(len(sizes) / 5)]
    ticks = sorted({*ticks, last})
    axes.set_xticks(ticks, [short(value) for value in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.set_xlabel(x, color=MUTED)
    what = " and ".join(f"{c.task}, {c.mode}, {c.metric}" for c in curves)
    return _svg(figure, prefix, f"Score against {'number of ' if x == IMAGES else ''}{x}: {what}", marks)


def arms(scored: Sequence[ArmScores], *, prefix: str = "arms") -> Drawn:
    """Scores of arms below each other: small dots are runs, large ones means with their 95% interval.

    Args:
        scored: at least one arm, the first on top.
        prefix: put before every id.

    Returns:
        SVG text.
    """
    figure, axes = _axes(380, 52 + 30 * len(scored))
    axes.grid(False, axis="y")
    axes.grid(axis="x", color=GRID, lw=0.8)
    marks: list[Mark] = []
    for row, arm in enumerate(scored):
        below, values = row + 0.28, [100 * value for value in arm.values.values()]
        axes.scatter(values, [below] * len(values), s=20, color=ACCENT, alpha=0.55, lw=0, zorder=4)
        half = 100 * (arm.half or 0.0)
        axes.errorbar(100 * arm.mean, row, xerr=half, fmt="none", ecolor=ACCENT, elinewidth=1.4, capsize=3, zorder=4)
        axes.plot(100 * arm.mean, row, ls="", marker="o", ms=7, mfc=ACCENT, mec=PAPER, mew=1.2, zorder=6)
        marks += [(100 * v, below, f"{arm.name}, seed {seed}: {v:.1%}") for seed, v in arm.values.items()]
        interval = "" if arm.half is None else f" ± {half:.1f}"
        marks.append((100 * arm.mean, row, f"{arm.name}, mean: {100 * arm.mean:.1f}{interval}%"))
    axes.set_ylim(len(scored) - 0.4, -0.5)
    axes.set_yticks(range(len(scored)), [shorten(arm.name, 30) for arm in scored], color=INK, parse_math=False)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_percent))
    return _svg(figure, prefix, f"Score of {len(scored)} arms: {', '.join(arm.name for arm in scored)}", marks)


def size_colors(sizes: Sequence[int]) -> dict[int, str]:
    """A stand-in colour of `SCALE` for each size, spread evenly from the smallest to the largest."""
    distinct = sorted(set(sizes))
    steps = max(len(distinct) - 1, 1)
    return {size: SCALE[round(i * (len(SCALE) - 1) / steps)] for i, size in enumerate(distinct)}


def name_of(color: str) -> str:
    """The name of the colour that a stand-in becomes, a class of the page's style, for the key beside a figure.

    >>> name_of(ACCENT)
    'accent'
    """
    return _VARIABLES[color].removeprefix("var(--").split(",")[0]


def short(number: float) -> str:
    """A count in a few characters.

    >>> [short(x) for x in (7, 999, 1500, 34_997, 3e8)]
    ['7', '999', '1.5k', '35k', '300M']
    """
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit * 0.9995:
            return f"{float(f'{number / unit:.3g}'):g}{name}"
    return f"{number:.3g}"


def shorten(text: str, length: int) -> str:
    """Text cut to `length` characters, the last of them an ellipsis.

    >>> shorten("a long label", 7)
    'a long…'
    """
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _percent(value: float, _: object = None) -> str:
    return f"{value:g}%".replace("-", "−")


def _score_curve(axes: Axes, curve: ScoreCurve, color: str, shape: str, last: float, what: str) -> list[Mark]:
    if curve.untrained is not None:
        axes.axhline(100 * curve.untrained, color=color, lw=1.1, ls=(0, (5, 4)), alpha=0.8, zorder=1)
    if curve.fit is not None:
        seen = np.geomspace(curve.fit["x_min"], curve.fit["x_max"], 40)
        beyond = np.geomspace(curve.fit["x_max"], last, 16)
        line = np.array([predict(curve.fit, x=x) for x in (*seen, *beyond[1:])]) * 100
        if np.isfinite(line).all():
            axes.fill_between([*seen, *beyond[1:]], line[:, 1], line[:, 2], color=color, alpha=0.13, lw=0, zorder=1)
        axes.plot(seen, line[: len(seen), 0], color=color, lw=2, zorder=3)
        axes.plot(
            beyond, line[len(seen) - 1 :, 0], color=color, lw=2, ls=(0, (0.1, 2.2)), dash_capstyle="round", zorder=3
        )
        axes.plot(last, line[-1, 0], marker="D", ms=7, mfc=PAPER, mec=color, mew=1.8, zorder=5)
    points, means = curve.points, curve.means
    x, y = means["num_train_images"].to_numpy(), means["mean"].to_numpy() * 100
    if curve.fit is None:
        axes.plot(x, y, color=color, lw=1.4, alpha=0.6, zorder=3)
    # runs stand a little to the right of their mean, clear of its interval
    beside = (
        points["num_train_images"].to_numpy() * 1.09
        if x[0] > 0
        else points["num_train_images"].to_numpy() + 0.02 * last
    )
    axes.scatter(beside, points["value"] * 100, s=20, color=color, alpha=0.55, lw=0, zorder=4)
    half = means["half"].fill_null(0.0) * 100
    axes.errorbar(x, y, yerr=half, fmt="none", ecolor=color, elinewidth=1.4, capsize=3, zorder=4)
    axes.plot(x, y, ls="", marker=shape, ms=6.5, mfc=color, mec=PAPER, mew=1.2, zorder=6)
    marks: list[Mark] = []
    for at, (size, seed, value) in zip(
        beside, points.select("num_train_images", "seed", "value").iter_rows(), strict=True
    ):
        marks.append((at, 100 * value, f"{_where(size, what)}, {curve.mode}, seed {seed}: {value:.1%}"))
    for size, mean, width in means.select("num_train_images", "mean", "half").iter_rows():
        interval = "" if width is None else f" ± {100 * width:.1f}"
        marks.append((size, 100 * mean, f"{_where(size, what)}, {curve.mode}, mean: {100 * mean:.1f}{interval}%"))
    if curve.fit is not None:
        ahead = predict(curve.fit, x=last)[0]
        marks.append((last, 100 * ahead, f"{_where(last, what)}, {curve.mode}, if the line goes on: {ahead:.1%}"))
    return marks


def _where(value: float, what: str) -> str:
    return f"{value:,.0f} images" if what == IMAGES else f"{what} {value:g}"


def _score_limits(curves: Sequence[ScoreCurve], last: float) -> tuple[float, float]:
    """Around what was measured and foreseen; a band wider than that is cut off, not zoomed to."""
    values: list[float] = []
    for c in curves:
        half = c.means["half"].fill_null(0.0)
        values += [*c.points["value"], *(c.means["mean"] - half), *(c.means["mean"] + half)]
        values += [c.untrained] if c.untrained is not None else []
        values += [predict(c.fit, x=last)[0]] if c.fit is not None else []
    low, high = 100 * min(values), 100 * max(values)
    room = max(0.12 * (high - low), 1.0)
    return low - room, high + room


def _ranked(counts: pl.DataFrame, column: str) -> pl.DataFrame:
    return counts.filter(pl.col(column) > 0).sort(column, "label", descending=[True, False]).select("name", column)


def _marked(count: int, most: int = 40) -> list[int]:
    """Up to `most` ranks from 1 to `count`, about evenly apart on a logarithmic axis."""
    return sorted({round(x) for x in np.geomspace(1, count, min(count, most)).tolist()}) if count else []


def _examples(count: int) -> list[int]:
    """Positions of a head, a middle and a tail label; the middle one is halfway along a logarithmic axis."""
    return sorted({0, round(math.sqrt(count)) - 1, count - 1}) if count else []


def _windows(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of x and y in windows of equal width in log x; as they are when there are few points."""
    keep = np.isfinite(y) & (x > 0)
    x, y = x[keep], y[keep]
    if len(x) <= _WINDOWS:
        return x, y
    edges = np.geomspace(x.min(), x.max(), _WINDOWS + 1)[1:-1]
    window = np.searchsorted(edges, x, side="right")
    count = np.bincount(window)
    full = count > 0
    return np.bincount(window, x)[full] / count[full], np.bincount(window, y)[full] / count[full]


def _axes(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure whose units are CSS pixels when shown at `width`."""
    with _style():
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.tick_params(colors=MUTED, length=0, pad=6, labelsize=11.5)
    axes.tick_params(axis="x", length=4, color=GRID)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    return figure, axes


def _log_ticks(axis: Any) -> None:
    axis.set_major_locator(LogLocator(10, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _style() -> AbstractContextManager[None]:
    """Settings matplotlib reads while it draws, for the block only."""
    return matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "jftdata", "font.size": 12, "text.usetex": False}
    )


def _svg(figure: Figure, prefix: str, label: str, marks: Sequence[Mark]) -> Drawn:
    """SVG for inside a page: no prolog, no outside names, prefixed ids, CSS colours, the page's font; marks above all."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with _style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")  # only measured with it, not drawn
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    view = re.search(r'viewBox="([^"]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|clip-path="url\()#([\w.-]+)', body))
    body = re.sub(r"<[^>]*>", lambda m: _tag(m[0], prefix, used), body)  # tags only: text may look like anything
    box = view[1] if view else "0 0 1 1"
    start = f'<svg viewBox="{box}" role="img" aria-label="{html.escape(label)}" stroke-linejoin="round">'
    circles = "\n".join(_circle(figure, mark) for mark in marks)
    drawn = Drawn(f"{start}{body.strip().removesuffix('</svg>')}{circles}\n</svg>\n")
    drawn.figure = figure
    return drawn


def _circle(figure: Figure, mark: Mark) -> str:
    """A mark where its point was drawn."""
    x, y = figure.axes[0].transData.transform(mark[:2])
    place = f'cx="{x:.1f}" cy="{figure.bbox.height - y:.1f}" r="{_REACH}"'
    return f'<circle class="mark" {place} fill="none"><title>{html.escape(mark[2])}</title></circle>'


def _tag(tag: str, prefix: str, used: set[str]) -> str:
    tag = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", tag)
    tag = tag.replace('clip-path="url(#', f'clip-path="url(#{prefix}-').replace('xlink:href="#', f'href="#{prefix}-')
    tag = re.sub(r" ?font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", tag)
    tag = re.sub(r' style="([^"]*)"', lambda m: _attributes(m[1]), tag)
    tag = re.sub("|".join(_VARIABLES), lambda m: _VARIABLES[m[0]], tag)
    return re.sub(r"\s*\n\s*", " ", tag)


def _attributes(style: str) -> str:
    """CSS declarations as attributes; SVG has one of the same name for all that Matplotlib writes."""
    pairs = (one.split(":", 1) for one in style.split(";") if one.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs)
