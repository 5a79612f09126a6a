"""`jftdata transfer`: judge a checkpoint on another task."""

from pathlib import Path

import click

from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, table
from jftdata.errors import BadArgument
from jftdata.override import override

NAMES = ("knn", "few-shot", "linear-probe", "classification", "detection", "segmentation", "pose")


@click.command()
@click.argument("checkpoint", type=EXISTING)
@click.option("--task", required=True, help=f"One of {', '.join(NAMES)}.")
@click.option("--mode", help="frozen or finetune; default is the task's own.")
@click.option("--data", type=EXISTING, required=True, help="A catalog, or a folder in a published layout; see below.")
@click.option("--recipe", help="Name of one of the task's recipes; default is its first.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=EXISTING, required=True, help="Folder of the results.")
@click.option(
    "--overlap", default="auto", show_default=True,
    help="Where copies of the test images in training are kept: auto, none or a folder.",
)  # fmt: skip
@click.option("--test-catalog", type=EXISTING, help="Catalog of the test files to look copies up by, if DATA is none.")
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@dry_run
@answers
def command(
    checkpoint: Path, task: str, mode: str | None, data: Path, recipe: str | None, assignments: tuple[str, ...], seed: int,
    out: Path, overlap: str, test_catalog: Path | None, workers: int | None, device: str, dry_run: bool,
) -> Answer:  # fmt: skip
    """Judge CHECKPOINT on another task.

    \b
    knn, few-shot, linear-probe   frozen features; a catalog with one label an image and the
    classification                splits train and test or val, a folder train/LABEL/*.jpg with
                                  the same, or a folder of Parquet files with image and label
    detection                     COCO (annotations/*.json and images) or VOC (VOCdevkit/VOC2012)
    segmentation                  VOC, or folders of images and of PNGs with the class of each pixel
    pose                          COCO person keypoints

    On several GPUs: `torchrun --nproc-per-node 8 -m jftdata transfer ...`. Where the copies of the data's images in the
    checkpoint's training catalog are registered, scores are also given on the test images without one, as `value_clean`,
    with the difference.
    """
    from jftdata import transfer
    from jftdata.transfer.metrics import CLEAN

    judged = Checkpoint.open(checkpoint)
    chosen = transfer.recipe_of(task, recipe)
    if assignments and chosen is None:
        raise BadArgument(f"task {task!r} trains nothing; --set has no field to change. Leave it out.")
    chosen = override(chosen, assignments) if assignments else chosen
    if dry_run:
        settings = {} if chosen is None else vars(chosen)
        return plan("judge", checkpoint=checkpoint, task=task, data=data, out=out, **settings)
    results = transfer.run(
        judged, task=task, data=data, out=out, mode=mode, recipe=chosen, seed=seed,
        overlap=None if overlap == "none" else overlap,
        test_catalog=None if test_catalog is None else Catalog.open(test_catalog), workers=workers, device=device,
    )  # fmt: skip
    scores = ["task", "mode", "metric", "value", "low", "high", "num_task_train", "num_task_test"]
    told = table(results.rows.select(scores), rows=20)
    if results.rows["overlap"].is_null().all():
        told += "\n\ncopies of the test images in training are not known; `overlap.register` finds them"
    else:
        beside = table(results.rows.select("task", "metric", "num_copies", "value", *CLEAN), rows=20)
        told += f"\n\nwithout the test images that have a copy in training\n{beside}"
    return Answer(told, {"out": str(out), "results": results.rows.to_dicts()})
