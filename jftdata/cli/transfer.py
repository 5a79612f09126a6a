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
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@dry_run
@answers
def command(
    checkpoint: Path, task: str, mode: str | None, data: Path, seed: int, out: Path, workers: int | None, device: str,
    dry_run: bool,
) -> Answer:  # fmt: skip
    """Judge a checkpoint on another task."""
    from jftdata import transfer

    judged, images = Checkpoint.open(checkpoint), Catalog.open(data)
    if dry_run:
        return plan("judge", checkpoint=checkpoint, task=task, data=data, num_images=len(images), out=out)
    results = transfer.run(
        judged, task=task, data=images, out=out, mode=mode, seed=seed, workers=workers, device=device
    )  # fmt: skip
    shown = results.rows.select("task", "mode", "metric", "value", "low", "high", "num_task_train", "num_task_test")
    return Answer(table(shown, rows=20), {"out": str(out), "results": results.rows.to_dicts()})
