"""`jftdata embed`: one vector an image."""

from pathlib import Path

import click

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.plural import plural


@click.command()
@click.argument("catalog", type=EXISTING)
@click.option(
    "--embedder",
    default="descriptor",
    show_default=True,
    help="`descriptor`, `copies`, torchvision:NAME, timm:NAME, hf:NAME or a path.",
)
@click.option("--split", help="Only this split.")
@click.option("--out", type=EXISTING, required=True, help="Folder of the embeddings.")
@click.option("--max-rejected", default=1.0, show_default=True, help="Largest share of images that may be unreadable.")
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@dry_run
@answers
def command(
    catalog: Path, embedder: str, split: str | None, out: Path, max_rejected: float, workers: int | None, device: str,
    dry_run: bool,
) -> Answer:  # fmt: skip
    """Embed the images of a catalog.

    `descriptor` needs no weights and finds plain copies; `copies` learns from the catalog first, minutes, and finds mirrored
    and cropped ones too; networks trained elsewhere put images of the same thing near each other. A path is a checkpoint or a
    trained `copies`, which lies beside its output as OUT.net. An image that cannot be read is counted and listed in
    OUT/rejected.parquet.
    """
    from jftdata import embed

    images = Catalog.open(catalog)
    if dry_run:
        return plan("embed", num_images=len(images), embedder=embedder, out=out)
    found = embed.run(
        images, embedder=embedder, out=out, split=split, max_rejected=max_rejected, workers=workers, device=device
    )
    n, d = found.vectors.shape
    num_rejected = storage.read_sidecar(out).facts.get("num_rejected", 0)
    unread = f"; {plural(num_rejected, 'image')} could not be read ({out / 'rejected.parquet'})" if num_rejected else ""
    data = {"out": str(out), "embedder": found.embedder, "num_images": n, "dimensions": d, "num_rejected": num_rejected,
            "fingerprint": found.fingerprint}  # fmt: skip
    return Answer(f"{out}: {plural(n, 'vector')} of {d} dimensions{unread}", data)
