"""`jftdata export`: a catalog or a subset as a folder for other tools."""

from pathlib import Path

import click
import polars as pl

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, read_table
from jftdata.plural import plural
from jftdata.subset import Subset, everything


@click.command()
@click.argument("data", type=EXISTING)
@click.option("--format", type=click.Choice(["parquet", "folder", "webdataset", "coco", "list"]), required=True)
@click.option("--out", type=EXISTING, required=True, help="Folder to write.")
@click.option("--labels", type=click.Choice(["given", "filled"]), default="given", show_default=True,
              help="`filled`: with all ancestors.")  # fmt: skip
@click.option(
    "--size", type=int, help="Re-encode larger images: longest side in pixels. Bytes stay untouched without it."
)
@click.option("--license", default="unknown", show_default=True, help="For the card, for example cc-by-4.0.")
@click.option("--title", help="For the card; default is the folder's name.")
@click.option("--noise", type=EXISTING, help="For the card: what `noise audit --out` wrote.")
@click.option("--pairs", type=EXISTING, help="For the card: near-duplicates that `dedup --out` wrote.")
@click.option("--max-rejected", default=0.0, show_default=True,
              help="Largest share of images that may be missing or damaged.")  # fmt: skip
@click.option("--workers", type=int, help="Threads; one a core by default.")
@dry_run
@answers
def command(
    data: Path, format: str, out: Path, labels: str, size: int | None, license: str, title: str | None,
    noise: Path | None, pairs: Path | None, max_rejected: float, workers: int | None, dry_run: bool,
) -> Answer:  # fmt: skip
    """Write the images and labels of DATA, a catalog or a subset, for other tools, with a dataset card."""
    from jftdata import export
    from jftdata.export.survey import survey

    is_catalog = storage.read_sidecar(data).format.startswith("jftdata.catalog/")
    images = everything(Catalog.open(data)) if is_catalog else Subset.open(data)
    if dry_run:
        found = survey(images, filled=labels == "filled")
        return plan(f"export {format}", data=data, out=out, num_images=found.num_images, num_bytes=found.num_bytes,
                    splits=dict(found.splits))  # fmt: skip
    audit = None if noise is None else read_table(noise, {"image": pl.Int64(), "wrong": pl.Float64()}, "an audit")
    known = {"image_a": pl.Int64(), "image_b": pl.Int64()}
    card = export.Card(
        license=license, title=title, noise=audit, pairs=None if pairs is None else read_table(pairs, known, "pairs")
    )
    made = export.run(
        images, format=format, out=out, labels=labels, size=size, card=card, max_rejected=max_rejected, workers=workers  # type: ignore[arg-type]
    )  # fmt: skip
    facts = made.facts
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in facts["rejected"].items())
    text = [
        f"{out}: {plural(facts['num_images'], 'image')} ({', '.join(f'{n} {c:,}' for n, c in facts['splits'].items())}), "
        f"{facts['num_bytes'] / 1e6:,.1f} MB",
        f"  {facts['num_asked']:,} asked = {facts['num_images']:,} written + {facts['num_rejected']:,} rejected"
        + (f" ({rejected})" if rejected else ""),
        f"  {plural(facts['num_labels'], 'label')}, {plural(facts['num_unlabelled'], 'image')} without one; "
        f"{plural(facts['num_negatives'], 'verified negative')}",
        f"  fingerprint {made.fingerprint[:16]}",
    ]
    if facts["num_reencoded"]:
        text.insert(2, f"  {facts['num_reencoded']:,} made smaller")
    return Answer("\n".join(text), {"out": str(out), "fingerprint": made.fingerprint, **facts})
