"""`jftdata noise`: given labels by distance to their label's centroids."""

from pathlib import Path

import click
import polars as pl

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame
from jftdata.embeddings import Embeddings


@click.command()
@click.argument("catalog", type=EXISTING)
@click.argument("embeddings", type=EXISTING)
@click.option("--split", help="Only this split.")
@click.option("--num-centroids", default=3, show_default=True, help="At most so many a label.")
@click.option("--min-images", default=5, show_default=True, help="Leave out labels given to fewer images.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=EXISTING, help="Write all scores to a .parquet or .csv.")
@click.option("--rows", default=10, show_default=True, help="Labels to print.")
@answers
def command(
    catalog: Path, embeddings: Path, split: str | None, num_centroids: int, min_images: int, seed: int, out: Path | None,
    rows: int,
) -> Answer:  # fmt: skip
    """Score given labels by distance to their label's centroids, most suspicious first."""
    from jftdata import noise

    audit = noise.audit(
        Catalog.open(catalog), Embeddings.open(embeddings), num_centroids=num_centroids, min_images=min_images, seed=seed,
        split=split,
    )  # fmt: skip
    if out is not None:
        write_frame(audit, out)
    nearer = int((audit["score"] > 0).sum())
    text = (
        f"{len(audit):,} given labels scored; {nearer:,} ({nearer / len(audit):.1%}) lie nearer to another label\n\n"
        f"{table(audit.select(pl.exclude('bin')), rows=rows)}"
    )
    return Answer(text, {"num_scored": len(audit), "num_nearer_to_another": nearer, "out": str(out) if out else None})
