"""Plots as SVG or PNG files: images by rank, before and after a step, labels by depth, and what probabilities come true.

Equal inputs give equal SVG bytes. About 0.3 s a plot.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jftdata import storage, tail
from jftdata.errors import BadArgument, BadInput

COLORS = ("#0a6c8f", "#b4540a", "#5b6570", "#2a9d68")


def rank_frequency(counts: Mapping[str, pl.DataFrame], path: Path | str, *, column: str = "num_images") -> Path:
    """Images of each used label against its rank, both axes logarithmic; a line for each count.

    Args:
        counts: what `tail.label_counts` returns, by the name of its line: one, or before and after a step.
        path: a .svg or .png.
        column: `num_images` with ancestors filled in, or `num_given`.

    Raises:
        BadArgument: another ending.
        BadInput: no label with an image.
    """
    figure, axes = _axes()
    fewest = 1
    for (name, frame), color in zip(counts.items(), COLORS, strict=False):
        ranked = np.sort(frame.filter(pl.col(column) > 0)[column].to_numpy())[::-1]
        if not len(ranked):
            raise BadInput(f"no label of {name!r} has an image, so there is no tail to draw. Check the labels.")
        dot = "o" if len(ranked) < 60 else ""
        axes.plot(np.arange(1, len(ranked) + 1), ranked, color=color, lw=2.2, marker=dot, ms=4, label=name)
        fewest = min(fewest, int(ranked[-1]))
    axes.set(xscale="log", yscale="log", xlabel="label, by rank", ylabel="images")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for cut in tail.CUTS:
        axes.axhline(cut, color="#5b6570", lw=0.9, ls=(0, (2, 3)), zorder=1)
        axes.annotate(f"{cut} images", (1, cut), (4, 3), textcoords="offset points", color="#5b6570", fontsize=9)
    if len(counts) > 1:
        axes.legend(frameon=False)
    return save(figure, Path(path), "Images of each label against its rank")


def depths(counts: pl.DataFrame, path: Path | str) -> Path:
    """Used, rare (below 20 images) and unused labels by depth, as stacked bars.

    Raises:
        BadArgument: the path ends in neither .svg nor .png.
    """
    figure, axes = _axes()
    table = tail.by_depth(counts)
    x = table["depth"].to_numpy()
    unused = (table["num_labels"] - table["num_used"]).to_numpy()
    rare = table["num_below_20"].to_numpy() - unused
    bars = (
        ("20 images or more", table["num_used"].to_numpy() - rare, COLORS[0]),
        ("1 to 19 images", rare, COLORS[1]),
        ("no image", unused, "#c3c9cf"),
    )
    bottom = np.zeros(len(x))
    for name, heights, color in bars:
        axes.bar(x, heights, bottom=bottom, color=color, label=name)
        bottom += heights
    axes.set_ylim(0, bottom.max(initial=1) * 1.06)
    axes.set(xlabel="depth in the hierarchy", ylabel="labels")
    axes.set_xticks(x)
    axes.legend(frameon=False)
    return save(figure, Path(path), "Labels by depth")


def calibration(found: pl.DataFrame, path: Path | str) -> Path:
    """Share of judged pairs that hold, with its interval, against their mean probability; the diagonal is calibrated.

    Args:
        found: what `selection.Selection.calibration` holds: `probability`, `share_yes`, `low` and `high`.
        path: a .svg or .png.

    Raises:
        BadArgument: another ending.
    """
    figure, axes = _axes()
    x, share, low, high = (found[name].to_numpy() for name in ("probability", "share_yes", "low", "high"))
    axes.plot([0, 1], [0, 1], color=COLORS[2], lw=0.9, ls=(0, (2, 3)))
    axes.errorbar(
        x, share, yerr=np.abs([share - low, high - share]), color=COLORS[0], fmt="o-", lw=1.6, ms=4, capsize=2
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="share judged to hold")
    return save(figure, Path(path), "What probabilities come true")


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ec", lw=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, path: Path, title: str) -> Path:
    """Write a figure as .svg or .png, whole or not at all.

    Raises:
        BadArgument: another ending.
    """
    if path.suffix not in (".svg", ".png"):
        raise BadArgument(f"a plot must end in .svg or .png. Got {path}.")
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "jftdata", "font.family": "sans-serif"}
    dates = {"Date": None} if path.suffix == ".svg" else {}
    with matplotlib.rc_context(style), storage.atomic_path(path) as temp:
        figure.savefig(temp, format=path.suffix[1:], metadata={"Title": title, **dates})
    return path
