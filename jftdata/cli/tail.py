"""`jftdata tail`: images by label and what the tail looks like."""

from pathlib import Path

import click
import polars as pl

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame


@click.command()
@click.argument("catalog", type=EXISTING)
@click.option("--split", help="Only this split.")
@click.option("--out", type=EXISTING, help="Write all counts to a .parquet or .csv.")
@click.option("--rows", default=10, show_default=True, help="Labels to print.")
@answers
def command(catalog: Path, split: str | None, out: Path | None, rows: int) -> Answer:
    """Count images by label, ancestors filled in."""
    from jftdata import tail

    counts = tail.label_counts(Catalog.open(catalog), split=split)
    numbers = tail.summary(counts)
    if out is not None:
        write_frame(counts, out)
    ranked = counts.sort("num_images", "label", descending=[True, False])
    used = ranked.filter(pl.col("num_images") > 0)
    text = (
        f"{tail.describe(numbers)}\n\n{table(ranked, rows=rows)}\n\nrarest\n{table(used.reverse(), rows=min(rows, 5))}"
    )
    return Answer(text, {"summary": numbers, "most": ranked.head(rows).to_dicts(), "out": str(out) if out else None})
