"""`jftdata pretrain`: a ResNet on a subset."""

import dataclasses
from pathlib import Path

import click

from jftdata import recipes
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.override import override
from jftdata.plural import plural


@click.command()
@click.argument("subset", type=EXISTING)
@click.option("--recipe", default="tiny", show_default=True, help=f"One of {', '.join(recipes.RECIPES)}.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@click.option("--out", type=EXISTING, required=True, help="Folder of the checkpoint.")
@click.option("--init", type=EXISTING, help="Start from the weights of this checkpoint.")
@click.option("--validation", type=EXISTING, help="A subset or catalog with the same labels to compute mAP@100 on.")
@click.option("--validation-split", help="Only this split of it.")
@click.option("--validate-every", default=1.0, show_default=True, help="Epochs between validations.")
@click.option("--max-rejects", default=0.001, show_default=True, help="Share of images that may be gone or damaged.")
@click.option("--save-every", default=60.0, show_default=True, help="Seconds between saved states.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard files, too.")
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@dry_run
@answers
def command(
    subset: Path, recipe: str, assignments: tuple[str, ...], out: Path, init: Path | None, validation: Path | None,
    validation_split: str | None, validate_every: float, max_rejects: float, save_every: float, tensorboard: bool,
    workers: int | None, device: str, dry_run: bool,
) -> Answer:  # fmt: skip
    """Pretrain a ResNet on SUBSET (a subset, or a catalog for all of it).

    On several GPUs: `torchrun --nproc-per-node 8 -m jftdata pretrain ...`, nothing else changes.
    """
    config = override(recipes.get(recipe), assignments)
    from jftdata.cli.subjects import open_images, open_subset

    chosen = open_subset(subset)
    if dry_run:
        return plan("pretrain", num_images=len(chosen), out=out, **dataclasses.asdict(config))
    from jftdata import pretrain
    from jftdata.checkpoint import Checkpoint

    checkpoint = pretrain.run(
        chosen, config, out=out, init=None if init is None else Checkpoint.open(init),
        validation=None if validation is None else open_images(validation, split=validation_split),
        max_rejects=max_rejects, workers=workers,
        device=device,
        keeping=pretrain.Keeping(save_every=save_every, validate_every=validate_every, tensorboard=tensorboard),
    )  # fmt: skip
    last = ([row for row in checkpoint.metrics() if "loss" in row] or [{"loss": float("nan")}])[-1]
    facts = checkpoint.sidecar.facts
    text = (
        f"{out}: {plural(checkpoint.num_train_images, 'image')}, {plural(facts['num_steps'], 'step')}, "
        f"loss {last['loss']:.3f}, fingerprint {checkpoint.fingerprint[:16]}"
    )
    if facts["num_rejected"]:
        text += f"\n{plural(facts['num_rejected'], 'image')} could not be read: see {out / 'rejected.parquet'}"
    if "best_score" in facts:
        text += (
            f"\nbest mAP@100 {facts['best_score']:.4f} after step {facts['best_step']:,}: {out / 'best.safetensors'}"
        )
    return Answer(text, {"out": str(out), "fingerprint": checkpoint.fingerprint, "last": last, **facts})
