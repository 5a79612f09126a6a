"""`jftdata compare`: two catalogs or two runs side by side."""

from pathlib import Path

import click

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.cli import report_forms
from jftdata.cli.verb import EXISTING, Answer, answers, table
from jftdata.errors import BadArgument, BadInput
from jftdata.results import Results

ROWS = 15


@click.command()
@click.argument("first", type=EXISTING)
@click.argument("second", type=EXISTING)
@click.option("--scores", type=EXISTING, multiple=True, help="Of runs: results of `transfer`, or a study's folder.")
@click.option("--out", type=EXISTING, help="Write one .html page.")
@report_forms.forms
@answers
def command(
    first: Path, second: Path, scores: tuple[Path, ...], out: Path | None, markdown: Path | None, data: Path | None,
    figures: Path | None,
) -> Answer:  # fmt: skip
    """Compare FIRST and SECOND, two catalogs or two checkpoints. `jftdata catalog diff` lists the images that differ."""
    from jftdata.study import compare, report_json
    from jftdata.study.section import heading

    if out is not None and out.suffix != ".html":
        raise BadArgument(f"`--out` must end in .html. Got {out}.")
    kinds = [storage.read_sidecar(path).format.split("/")[0] for path in (first, second)]
    if kinds == ["jftdata.catalog"] * 2:
        if scores:
            raise BadArgument("`--scores` has no effect on catalogs. Leave it out.")
        found = compare.catalogs(Catalog.open(first), Catalog.open(second))
    elif kinds == ["jftdata.checkpoint"] * 2:
        results = [Results.open(path) for path in results_in(scores)]
        found = compare.runs(
            Checkpoint.open(first), Checkpoint.open(second), results=Results.concat(results) if results else None
        )
    else:
        raise BadInput(f"{first} is a {kinds[0]}, {second} a {kinds[1]}. Give two catalogs or two checkpoints.")
    title = f"{first} and {second}"
    if out is not None:
        compare.write(title, found, out)
    report_forms.write(title, found, markdown=markdown, data=data, figures=figures)
    text = []
    for section in found:
        text += [section.title, *(f"  {line}" for line in section.text)]
        for one in section.tables:
            shown = one.shown().rename({name: heading(name) for name in one.frame.columns})
            text += [f"  {line}" for line in table(shown, rows=ROWS).splitlines()]
    return Answer("\n".join(text), report_json.document(title, found))


def results_in(paths: tuple[Path, ...]) -> list[Path]:
    """Folders of results; a study's stands for all of its own."""
    found = []
    for path in paths:
        found += storage.inside(path / "transfer") or [path]
    return found
