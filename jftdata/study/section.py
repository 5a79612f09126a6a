"""What is told, as plain data: sections of sentences, tables and figures, for every form it is written in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from jftdata.study.figures import Drawn
from jftdata.study.report_scores import percent, points


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Numbers as they are, and how people read them."""

    name: str
    """Letters and _."""
    title: str
    frame: pl.DataFrame
    """Columns of text, numbers and truth values."""
    percent: Sequence[str] = ()
    """Columns of shares, for people in percent."""
    points: Sequence[str] = ()
    """Columns of differences of shares, for people in percentage points."""
    words: Sequence[str] = ()
    """Columns of names such as num_images, for people in words."""

    def shown(self) -> pl.DataFrame:
        """The table as people read it: every cell is text, and of what is not known it is empty.

        >>> Table(name="t", title="", frame=pl.DataFrame({"num_images": [1200], "value": [0.5]}), percent=["value"]).shown().rows()
        [('1,200', '50.0%')]
        """
        return pl.DataFrame({name: [self._cell(name, x) for x in self.frame[name]] for name in self.frame.columns})

    def is_number(self, column: str) -> bool:
        return self.frame.schema[column].is_numeric()

    def _cell(self, name: str, value: Any) -> str:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return ""
        if name in self.percent:
            return percent(value)
        if name in self.points:
            return points(value, sign=True)
        if isinstance(value, bool):
            return "yes" if value else "no"
        if name in self.words:
            return heading(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """A figure and the numbers that it is drawn from."""

    name: str
    """Of its files, without the ending."""
    title: str
    drawn: Drawn
    data: pl.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """What belongs under one heading."""

    name: str
    """Letters and _."""
    title: str
    text: Sequence[str] = ()
    """Paragraphs of plain text."""
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()


def heading(column: str) -> str:
    """The name of a column for people.

    >>> heading("num_images"), heading("low_clean")
    ('images', 'low clean')
    """
    return column.removeprefix("num_").replace("_", " ")
