"""`jftdata takedown`: what holds some images, and new versions without them."""

from pathlib import Path

import click
import polars as pl

from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.plural import plural


@click.command()
@click.argument("images", type=EXISTING)
@click.option(
    "--among", type=EXISTING, multiple=True, required=True, help="Folder of artefacts; give it as often as you like."
)
@click.option("--copies", type=EXISTING, help="Pairs of copies (.parquet or .csv): copies of the images go too.")
@click.option("--out", type=EXISTING, help="Write new versions here, with `takedown.csv` and `places.csv`.")
@click.option("--rows", default=30, show_default=True, help="Artefacts to print.")
@answers
def command(images: Path, among: tuple[Path, ...], copies: Path | None, out: Path | None, rows: int) -> Answer:
    """Find what holds IMAGES, and with `--out` write catalogs, embeddings and subsets without them.

    IMAGES is a .csv or .parquet with a column `image` (ids), `sha256` or `file`, or one image file. Nothing is edited in place;
    what has to be trained, exported or deleted by hand is listed.
    """
    from jftdata import takedown

    asked = _read(images) if images.suffix in (".csv", ".parquet") else [images]
    ids = takedown.identify(asked)
    said = plural(len(ids), "image")
    if copies is not None:
        if copies.suffix not in (".csv", ".parquet"):
            raise BadArgument(f"`--copies` must end in .parquet or .csv. Got {copies}.")
        ids = takedown.with_copies(ids, _read(copies))
        said += f", {len(ids):,} with their copies"
    if out is None:
        found = takedown.find(ids, among=among)
    else:
        found = takedown.without(ids, among=among, out=out)
        write_frame(found.drop("images"), out / "takedown.csv")
        write_frame(takedown.places(ids, among=among), out / "places.csv")
    counts = ", ".join(f"{num:,} {how}" for how, num in found.group_by("how", maintain_order=True).len().iter_rows())
    text = f"{said}; artefacts: {counts or 'none holds them'}\n{table(found.drop('images'), rows=rows)}"
    if out is not None:
        text += f"\n{out}: takedown.csv says what is left to do, places.csv where the bytes still lie"
    data = {"num_asked": len(ids), "artefacts": found.to_dicts(), "out": None if out is None else str(out)}
    return Answer(text, data)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Give a table.")
    try:
        return pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} cannot be read ({error}). Write it anew.") from error
