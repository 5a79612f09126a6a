"""`jftdata noise`: which given labels are wrong, what they are confused with, what is missing, and a picture of a label."""

from pathlib import Path
from typing import Any

import click
import polars as pl

from jftdata.catalog import Catalog
from jftdata.cli import precision, relabel
from jftdata.cli.verb import EXISTING, Answer, PathFirst, answers, table, write_frame
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.plural import plural


@click.group(cls=PathFirst, instead="audit")
def command() -> None:
    """Find wrong and missing labels, show them, and measure how many there are."""


for _one in (precision.sample, precision.precision, precision.power, relabel.relabel):
    command.add_command(_one)


@command.command()
@click.argument("catalog", type=EXISTING)
@click.argument("embeddings", type=EXISTING, required=False)
@click.option(
    "--probabilities", type=EXISTING, help="Out-of-sample ones: a .parquet or .csv of image, label, probability."
)
@click.option("--sigmoid", is_flag=True, help="The probabilities are each for itself, not of a softmax.")
@click.option(
    "--signal", "signals", multiple=True, help="centroids, neighbours, probabilities; by default all there are."
)
@click.option("--groups", type=EXISTING, help="Copies: a .parquet or .csv of image, group, kept in one fold.")
@click.option("--split", help="Only this split.")
@click.option("--num-centroids", default=3, show_default=True, help="At most so many a label.")
@click.option("--num-neighbours", default=25, show_default=True, help="Nearest images asked for.")
@click.option("--min-images", default=5, show_default=True, help="No model of labels given to fewer images.")
@click.option("--min-probability", default=0.5, show_default=True, help="Of a label to be called missing.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=EXISTING, help="Write all scores to a .parquet or .csv.")
@click.option("--labels", type=EXISTING, help="Write labels ranked by noise to a .parquet or .csv.")
@click.option("--confusions", type=EXISTING, help="Write confused pairs to a .parquet, or without examples to a .csv.")
@click.option("--missing", type=EXISTING, help="Write likely missing labels to a .parquet or .csv.")
@click.option("--rows", default=10, show_default=True, help="Rows of each to print.")
@answers
def audit(
    catalog: Path, embeddings: Path | None, probabilities: Path | None, sigmoid: bool, signals: tuple[Any, ...],
    groups: Path | None, split: str | None, num_centroids: int, num_neighbours: int, min_images: int,
    min_probability: float, seed: int, out: Path | None, labels: Path | None, confusions: Path | None,
    missing: Path | None, rows: int,
) -> Answer:  # fmt: skip
    """Score every given label of CATALOG by its EMBEDDINGS, by probabilities of a model, or both."""
    from jftdata import noise

    if embeddings is None and probabilities is None:
        raise BadArgument(
            "`noise audit` needs embeddings or --probabilities. Give `jftdata embed`'s folder after the catalog."
        )
    if sigmoid and probabilities is None:
        raise BadArgument("`--sigmoid` goes with --probabilities. Leave it out.")
    for path in (out, labels, confusions, missing):
        if path is not None and path.suffix not in (".parquet", ".csv"):
            raise BadArgument(f"findings must end in .parquet or .csv. Got {path}.")
    images = Catalog.open(catalog)
    given = noise.read(images, split=split)
    vectors = None if embeddings is None else Embeddings.open(embeddings)
    copies = None if groups is None else _read(groups)
    found = None
    if probabilities is not None:
        found = noise.Probabilities.of(_read(probabilities), images.hierarchy, exclusive=not sigmoid)
    elif vectors is not None and (not signals or "probabilities" in signals):
        found = noise.cross_validated(given, vectors, min_images=min_images, groups=copies, seed=seed)
    # where images have several labels, sigmoids tell what is missing, and the audit fits a softmax for what is wrong
    shared = found if probabilities is not None or (found is not None and found.exclusive) else None
    scores = noise.audit(
        given, vectors, signals=signals or None, probabilities=shared, groups=copies, num_neighbours=num_neighbours,
        num_centroids=num_centroids, min_images=min_images, seed=seed,
    )  # fmt: skip
    ranked, pairs = noise.by_label(scores, images.hierarchy), noise.confusions(scores, images.hierarchy)
    lost = None
    if found is not None:
        lost = noise.missing(images, found, min_probability=min_probability, split=split)
    elif missing is not None:
        raise BadArgument("`--missing` needs probabilities. Give them, or leave --signal out.")
    for frame, to in ((scores, out), (ranked, labels), (lost, missing)):
        if frame is not None and to is not None:
            write_frame(frame, to)
    if confusions is not None:
        write_frame(pairs.drop("examples") if confusions.suffix == ".csv" else pairs, confusions)
    verdicts = dict(scores["verdict"].value_counts().iter_rows())
    unscored = verdicts.get("not scored", 0)
    num_wrong = verdicts.get("wrong", 0)
    expected = float(scores["wrong"].sum())
    lines = [f"{plural(len(scores), 'given label')}, {len(scores) - unscored:,} scored: {num_wrong:,} more likely wrong than right,",
             f"about {expected:,.0f} wrong in all ({expected / max(len(scores) - unscored, 1):.1%}); "
             f"{verdicts.get('less specific', 0):,} say more than is known"]  # fmt: skip
    if num_wrong > 0.5 * (len(scores) - unscored):
        lines += [
            "The model is too weak for such numbers: trust the order, and ask `jftdata noise precision` how many are wrong."
        ]
    lines += ["", "most suspicious", table(scores.select("image", "label", "wrong", "other_label"), rows=rows)]
    lines += ["", "labels by noise", table(ranked.select(pl.exclude("name")), rows=rows)]
    lines += ["", "given in error for", table(pairs.select(pl.exclude("examples")), rows=rows)]
    if lost is not None:
        lines += ["", f"{plural(len(lost), 'label is', 'labels are')} likely missing", table(lost, rows=rows)]
    data = {
        "num_given": len(scores), "num_scored": len(scores) - unscored, "num_wrong": num_wrong, "expected_wrong": expected,
        "num_less_specific": verdicts.get("less specific", 0), "num_missing": None if lost is None else len(lost),
        "labels": ranked.head(rows).to_dicts(), "confusions": pairs.head(rows).to_dicts(),
        "out": str(out) if out else None,
    }  # fmt: skip
    return Answer("\n".join(lines), data)


@command.command()
@click.argument("catalog", type=EXISTING)
@click.argument("scores", type=EXISTING)
@click.option("--label", "labels", multiple=True, help="A label to show; by default those with most noise.")
@click.option("--num-labels", default=6, show_default=True, help="How many to take by default.")
@click.option("--num-images", default=8, show_default=True, help="Images of each distance.")
@click.option("--out", type=EXISTING, required=True, help="The .html page or .png picture to write.")
@click.option("--workers", type=int, help="Threads; one a core by default.")
@answers
def figure(
    catalog: Path, scores: Path, labels: tuple[str, ...], num_labels: int, num_images: int, out: Path, workers: int | None
) -> Answer:  # fmt: skip
    """Show images of a label of CATALOG by distance to its centroids, from SCORES that `noise audit --out` wrote."""
    from jftdata.noise import figure as drawing

    made = drawing.write(
        Catalog.open(catalog), _read(scores), out=out, labels=labels or None, num_labels=num_labels, num_images=num_images,
        workers=workers,
    )  # fmt: skip
    unread = f"; {plural(made.num_unread, 'image')} could not be read" if made.num_unread else ""
    return Answer(
        f"{out}: {plural(made.num_labels, 'label')}, {plural(made.num_images, 'image')}{unread}",
        {"out": str(out), "num_labels": made.num_labels, "num_images": made.num_images, "num_unread": made.num_unread},
    )


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Check the path.")
    if path.suffix not in (".parquet", ".csv"):
        raise BadInput(f"a table must end in .parquet or .csv. Got {path}.")
    return (
        pl.read_csv(path, schema_overrides={"label": pl.String})
        if path.suffix == ".csv"
        else pl.read_parquet(path, glob=False)
    )
