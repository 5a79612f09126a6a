"""`jftdata subset`: nested random subsets."""

from pathlib import Path

import click

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, read_images, without


@click.command()
@click.argument("catalog", type=EXISTING)
@click.option("--size", "sizes", type=int, multiple=True, required=True, help="Number of images; give several.")
@click.option("--seed", type=int, required=True)
@click.option("--split", help="Only this split.")
@click.option("--out", type=EXISTING, required=True, help="Folder for the subsets, one folder a size in it.")
@without
@dry_run
@answers
def command(
    catalog: Path, sizes: tuple[int, ...], seed: int, split: str | None, out: Path, without: tuple[Path, ...],
    dry_run: bool,
) -> Answer:  # fmt: skip
    """Choose nested random subsets: each within the next larger one."""
    from jftdata import subset, tail

    images = Catalog.open(catalog)
    chosen = subset.nested(images, sizes=sizes, seed=seed, split=split, without=read_images(without))
    if dry_run:
        return plan("write subsets", sizes=list(sizes), out=out)
    paths = [str(s.save(out / str(len(s)))) for s in chosen]
    before = tail.label_counts(images, split=split)
    changes = [tail.compare(before, tail.label_counts(images, images=s.images)) for s in chosen]
    lines = [
        f"{path}: {len(s):,} images, {s.fingerprint[:16]}\n  {tail.describe_change(change)}"
        for path, s, change in zip(paths, chosen, changes, strict=True)
    ]
    named = dict(zip(map(str, sizes), paths, strict=True))
    return Answer("\n".join(lines), {"subsets": named, "tail": dict(zip(named, changes, strict=True))})
