"""`jftdata transfer`: judge a checkpoint on another task."""

from pathlib import Path

import click

from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, table


@click.command()
@click.argument("checkpoint", type=EXISTING)
@click.option("--task", required=True, help="knn, linear-probe or classification.")
@click.option("--mode", help="frozen or finetune; default is the task's own.")
@click.option("--data", type=EXISTING, required=True, help="Catalog with a train and a test split, one label an image.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=EXISTING, required=True, help="Folder of the results.")
@click.option(
    "--overlap", default="auto", show_default=True,
    help="Where copies of the test images in training are kept: auto, none or a folder.",
)  # fmt: skip
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@dry_run
@answers
def command(
    checkpoint: Path, task: str, mode: str | None, data: Path, seed: int, out: Path, overlap: str, workers: int | None,
    device: str, dry_run: bool,
) -> Answer:  # fmt: skip
    """Judge a checkpoint on another task.

    Where the copies of the data's images in the checkpoint's training catalog are registered, scores are also given on the
    test images without one, as `value_clean`, with the difference.
    """
    from jftdata import transfer
    from jftdata.transfer.metrics import CLEAN

    judged, images = Checkpoint.open(checkpoint), Catalog.open(data)
    if dry_run:
        return plan("judge", checkpoint=checkpoint, task=task, data=data, num_images=len(images), out=out)
    results = transfer.run(
        judged, task=task, data=images, out=out, mode=mode, seed=seed, overlap=None if overlap == "none" else overlap,
        workers=workers, device=device,
    )  # fmt: skip
    scores = ["task", "mode", "metric", "value", "low", "high", "num_task_train", "num_task_test"]
    told = table(results.rows.select(scores), rows=20)
    if results.rows["overlap"].is_null().all():
        told += "\n\ncopies of the test images in training are not known; `overlap.register` finds them"
    else:
        beside = table(results.rows.select("task", "metric", "num_copies", "value", *CLEAN), rows=20)
        told += f"\n\nwithout the test images that have a copy in training\n{beside}"
    return Answer(told, {"out": str(out), "results": results.rows.to_dicts()})
