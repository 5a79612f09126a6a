"""`jftdata card`: a model card for a checkpoint."""

from pathlib import Path

import click

from jftdata import storage
from jftdata.checkpoint import Checkpoint
from jftdata.cli.compare import results_in
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.errors import OutputExists
from jftdata.results import Results


@click.command()
@click.argument("checkpoint", type=EXISTING)
@click.option("--scores", type=EXISTING, multiple=True, help="Results of `transfer`, or a study's folder.")
@click.option("--title", help="Default is the folder's name.")
@click.option("--license", default="unknown", show_default=True, help="Of the weights, for example apache-2.0.")
@click.option("--out", type=EXISTING, required=True, help="The .md to write, outside the checkpoint.")
@dry_run
@answers
def command(
    checkpoint: Path, scores: tuple[Path, ...], title: str | None, license: str, out: Path, dry_run: bool
) -> Answer:
    """Write a model card for CHECKPOINT. `jftdata export` writes that of a data set."""
    from jftdata.study.model_card import model_card

    model = Checkpoint.open(checkpoint)
    if dry_run:
        return plan("write a model card", checkpoint=checkpoint, out=out)
    results = [Results.open(path) for path in results_in(scores)]
    text = model_card(model, results=Results.concat(results) if results else None, title=title, license=license)
    if out.exists() and out.read_text(encoding="utf-8") != text:
        raise OutputExists(f"{out} exists with other text. Remove it or give another `--out`.")
    storage.write_text(out, text)
    return Answer(str(out), {"out": str(out), "checkpoint": model.fingerprint})
