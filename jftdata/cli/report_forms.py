"""Other forms of the report: what the options `--markdown`, `--data` and `--figures` of `jftdata report` write."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jftdata import storage
from jftdata.cli.verb import EXISTING
from jftdata.errors import BadArgument

if TYPE_CHECKING:
    from jftdata.study.section import Section

_F = TypeVar("_F", bound=Callable[..., Any])


def forms(function: _F) -> _F:
    """Add `--markdown`, `--data` and `--figures` to a verb that writes a page."""
    for option in (
        click.option(
            "--figures", type=EXISTING, help="Folder for every figure as .svg and .png, with its numbers as .csv."
        ),
        click.option("--data", type=EXISTING, help="Also write the findings as .json."),
        click.option("--markdown", type=EXISTING, help="Also write the findings as .md, with links to --figures."),
    ):
        function = option(function)
    return function


def write(
    title: str, sections: "Sequence[Section]", *, markdown: Path | None, data: Path | None, figures: Path | None
) -> dict[str, str]:
    """Write the forms that were asked for.

    Returns:
        Path by option.

    Raises:
        BadArgument: a path with another ending.
    """
    from jftdata.study import figure_files, report_json, report_markdown

    for name, path, ending in (("--markdown", markdown, ".md"), ("--data", data, ".json")):
        if path is not None and path.suffix != ending:
            raise BadArgument(f"`{name}` must end in {ending}. Got {path}.")
    if figures is not None:
        figure_files.write(sections, figures)
    if markdown is not None:
        folder = "" if figures is None else Path(os.path.relpath(figures, markdown.parent)).as_posix()
        storage.write_text(markdown, report_markdown.markdown(title, sections, figures=folder))
    if data is not None:
        storage.write_json(data, report_json.document(title, sections))
    return {k: str(v) for k, v in (("markdown", markdown), ("data", data), ("figures", figures)) if v is not None}
