"""Figures of the report as files: each as .svg and .png on white, with its numbers as .csv. About half a second a figure."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from jftdata import plots, storage
from jftdata.study import figures
from jftdata.study.section import Section

COLORS = {
    figures.INK: "#1b2026", figures.MUTED: "#5b6570", figures.GRID: "#dfe3e7", figures.ACCENT: "#0a6c8f",
    figures.SECOND: "#b4540a", figures.PAPER: "#ffffff",
    **dict(zip(figures.SCALE, ("#472d7b", "#3b528b", "#2c728e", "#1f8f86", "#2a9d68", "#5a9b2f"), strict=True)),
}  # fmt: skip
"""What the stand-ins of `figures.py` are on white."""
_PARTS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
_DPI = 150


def write(sections: Iterable[Section], folder: Path | str) -> list[Path]:
    """Write the files of every figure of some sections, each whole or not at all.

    Args:
        sections: of `report_sections.sections` or `compare`.
        folder: to write into; made where there is none.

    Returns:
        What was written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in (plot for section in sections for plot in section.plots):
        base = folder / plot.name
        paint(plot.drawn.figure)
        for ending in (".svg", ".png"):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
                written.append(plots.save(plot.drawn.figure, base.with_name(plot.name + ending), plot.title))
        table = base.with_name(plot.name + ".csv")
        with storage.atomic_path(table) as temp:
            plot.data.write_csv(temp)
        written.append(table)
    return written


def paint(figure: Figure) -> None:
    """Put colours on white in place of the stand-ins, on everything that was drawn."""
    figure.set_dpi(_DPI)
    artists: list[Any] = figure.findobj()
    for artist in artists:
        for part in _PARTS:
            get, put = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
            if get is not None and put is not None and (painted := _painted(get())) is not None:
                put(painted)


def _painted(value: Any) -> Any:
    """A colour or an array of them with its opacity, stand-ins replaced; None where there is none."""
    if isinstance(value, str) and value in ("none", "auto"):
        return None
    several = isinstance(value, np.ndarray) and value.ndim == 2
    found = [to_rgba(one) for one in (value if several else [value])]
    if not any(to_hex(one) in COLORS for one in found):
        return None
    painted = [(*to_rgba(COLORS.get(to_hex(one), one))[:3], one[3]) for one in found]
    return painted if several else painted[0]
