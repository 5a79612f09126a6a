"""Sections as Markdown that GitHub shows, with links to the files of their figures."""

from collections.abc import Sequence

from jftdata.markdown import plain, table
from jftdata.study.section import Section, Table, heading

MOST = 100
"""Rows of a table that are shown."""


def markdown(title: str, sections: Sequence[Section], *, figures: str = "") -> str:
    """The document; labels and paths in it are shown as they are.

    Args:
        title: the first heading.
        sections: what to write.
        figures: folder of the files that `figure_files.write` made, relative to the document; without it no figure is shown.
    """
    parts = [f"# {plain(title)}"]
    for section in sections:
        parts += [f"## {plain(section.title)}", *map(plain, section.text)]
        if figures:
            parts += [f"![{plain(plot.title)}](<{figures}/{plot.name}.png>)" for plot in section.plots]
        for one in section.tables:
            parts += [f"**{plain(one.title)}**", table_of(one)]
            if len(one.frame) > MOST:
                parts.append(f"{len(one.frame) - MOST:,} more rows are left out here.")
    return "\n\n".join(part for part in parts if part) + "\n"


def table_of(found: Table) -> str:
    """A table's first rows."""
    columns = found.frame.columns
    rows = Table(**{**vars(found), "frame": found.frame.head(MOST)}).shown().rows()
    text = [at for at, name in enumerate(columns) if not found.is_number(name)]
    return table([plain(heading(name)) for name in columns], [[plain(cell) for cell in row] for row in rows], text=text)
