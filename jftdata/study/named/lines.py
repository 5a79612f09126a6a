"""One plot of several lines, for the paper's Figures 1 and 3."""

from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from jftdata.plots import COLORS, save


def lines(
    points: pl.DataFrame, path: Path | str, *, x: str, y: str, by: str, title: str, log: bool = False, runs: str = ""
) -> Path:
    """Draw y over x, a line for each value of `by`.

    Args:
        points: columns `x`, `y`, `by` and `runs`, at most four values of `by`.
        path: a .svg or .png.
        x: column and label of the horizontal axis.
        y: column and label of the vertical axis.
        by: column that names the lines.
        title: of the file.
        log: whether y is logarithmic.
        runs: column of repeated runs: each is drawn thin, and their mean on top.

    Raises:
        BadArgument: another ending.
    """
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ec", lw=0.8)
    for color, ((name,), rows) in zip(
        COLORS, points.partition_by(by, as_dict=True, maintain_order=True).items(), strict=False
    ):
        for run in rows.partition_by(runs) if runs else ():
            axes.plot(run[x], run[y], color=color, lw=0.8, alpha=0.5)
        mean = rows.group_by(x).agg(pl.col(y).mean()).sort(x)
        axes.plot(mean[x], mean[y], color=color, lw=2.2, marker="o", ms=4, label=str(name))
    axes.set(xlabel=x, ylabel=y, yscale="log" if log else "linear")
    axes.legend(frameon=False)
    return save(figure, Path(path), title)
