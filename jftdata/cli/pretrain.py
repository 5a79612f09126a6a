"""`jftdata pretrain`: a ResNet on a subset."""

import dataclasses
from pathlib import Path

import click

from jftdata import recipes
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.pretrain.config import override


@click.command()
@click.argument("subset", type=EXISTING)
@click.option("--recipe", default="tiny", show_default=True, help=f"One of {', '.join(recipes.RECIPES)}.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@click.option("--out", type=EXISTING, required=True, help="Folder of the checkpoint.")
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@dry_run
@answers
def command(
    subset: Path, recipe: str, assignments: tuple[str, ...], out: Path, workers: int | None, device: str, dry_run: bool
) -> Answer:
    """Pretrain a ResNet on SUBSET (a subset, or a catalog for all of it)."""
    config = override(recipes.get(recipe), assignments)
    from jftdata.cli.subjects import open_subset

    chosen = open_subset(subset)
    if dry_run:
        return plan("pretrain", num_images=len(chosen), out=out, **dataclasses.asdict(config))
    from jftdata import pretrain

    checkpoint = pretrain.run(chosen, config, out=out, workers=workers, device=device)
    last = (checkpoint.metrics() or [{"loss": float("nan")}])[-1]
    text = (
        f"{out}: {checkpoint.num_train_images:,} images, {checkpoint.sidecar.facts['num_steps']:,} steps, "
        f"loss {last['loss']:.3f}, fingerprint {checkpoint.fingerprint[:16]}"
    )
    return Answer(
        text, {"out": str(out), "fingerprint": checkpoint.fingerprint, "last": last, **checkpoint.sidecar.facts}
    )
