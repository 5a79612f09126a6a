"""Markdown as GitHub reads it: text that is shown as it is, and tables."""

import re
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """Text on one line that Markdown shows as it is.

    >>> plain("a*b|c")
    'a\\\\*b\\\\|c'
    >>> plain("two\\nlines, <b>")
    'two lines, \\\\<b\\\\>'
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str | int]], *, text: Sequence[int] = (0,)) -> str:
    """A table whose columns are ranged right.

    Args:
        head: names of the columns, as Markdown.
        rows: cells, as Markdown, or whole numbers.
        text: positions of columns that are ranged left.

    >>> print(table(("label", "images"), [("cat", 1200)]))
    | label | images |
    | --- | ---: |
    | cat | 1,200 |
    """
    cells = [head, ["---" if i in text else "---:" for i in range(len(head))]]
    cells += [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
