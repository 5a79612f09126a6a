"""`jftdata validate`: how well a checkpoint ranks the labels of images it has not seen."""

from pathlib import Path

import click

from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame
from jftdata.plural import plural


@click.command()
@click.argument("checkpoint", type=EXISTING)
@click.argument("subset", type=EXISTING)
@click.option("--split", help="Only this split of SUBSET.")
@click.option(
    "--train", type=EXISTING, help="What it was trained on: head, medium and tail by its counts, and weights."
)
@click.option("-k", default=100, show_default=True, help="Labels kept an image.")
@click.option("--intervals", is_flag=True, help="95% intervals over images, by 200 resamples.")
@click.option("--labels", type=EXISTING, help="Write the AP of every label to a .parquet or .csv.")
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@answers
def command(
    checkpoint: Path, subset: Path, split: str | None, train: Path | None, k: int, intervals: bool, labels: Path | None,
    workers: int | None, device: str,
) -> Answer:  # fmt: skip
    """Score CHECKPOINT on SUBSET: a subset or catalog with the same labels, all of them given."""
    import polars as pl

    from jftdata.checkpoint import Checkpoint
    from jftdata.cli.subjects import open_images, open_subset
    from jftdata.pretrain import validate

    chosen = open_images(subset, split=split)
    found = validate.of_checkpoint(Checkpoint.open(checkpoint), chosen, k=k, workers=workers, device=device)
    counts = None if train is None else open_subset(train).counts["num_images"].to_numpy()
    result = found.result(train_counts=counts)
    spans = {}
    if intervals:
        spans = found.ranking.intervals(seed=0, train_counts=counts, classes=found.classes)
    if labels is not None:
        names = pl.DataFrame({"label": chosen.catalog.hierarchy.labels})
        write_frame(names.hstack(result.labels.drop("label")), labels)
    known = {name: score for name, score in result.scores.items() if score is not None}
    rows = [{"score": name, "value": score, **_span(spans.get(name))} for name, score in known.items()]
    lines = [f"{plural(result.num_images, 'image')}, {plural(result.num_labels, 'label')} with a positive"]
    if len(found.unread):
        lines.append(f"{plural(len(found.unread), 'image')} could not be read, for example {found.unread['image'][0]}")
    lines.append(table(pl.DataFrame(rows), rows=len(rows)))
    data = {
        "num_images": result.num_images,
        "num_labels": result.num_labels,
        "num_unread": len(found.unread),
        "scores": known,
    }
    return Answer("\n".join(lines), {**data, **({"intervals": spans} if spans else {})})


def _span(span: tuple[float, float] | None) -> dict[str, float]:
    return {} if span is None else {"low": span[0], "high": span[1]}
