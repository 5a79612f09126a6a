"""`jftdata embed`: one vector an image."""

from pathlib import Path

import click

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan


@click.command()
@click.argument("catalog", type=EXISTING)
@click.option("--embedder", default="descriptor", show_default=True, help="`descriptor`, or the path of a checkpoint.")
@click.option("--split", help="Only this split.")
@click.option("--out", type=EXISTING, required=True, help="Folder of the embeddings.")
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@dry_run
@answers
def command(
    catalog: Path, embedder: str, split: str | None, out: Path, workers: int | None, device: str, dry_run: bool
) -> Answer:
    """Embed the images of a catalog."""
    from jftdata import embed

    images = Catalog.open(catalog)
    if dry_run:
        return plan("embed", num_images=len(images), embedder=embedder, out=out)
    found = embed.run(images, embedder=embedder, out=out, split=split, workers=workers, device=device)
    n, d = found.vectors.shape
    return Answer(f"{out}: {n:,} vectors of {d} dimensions", {"out": str(out), "num_images": n, "dimensions": d,
                                                             "fingerprint": found.fingerprint})  # fmt: skip
