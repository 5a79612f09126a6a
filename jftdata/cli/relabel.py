"""`jftdata noise relabel`: a catalog without the labels that an audit calls wrong, or with others in their place."""

from pathlib import Path

import click
import polars as pl

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, read_table
from jftdata.errors import BadArgument
from jftdata.plural import plural


@click.command()
@click.argument("catalog", type=EXISTING)
@click.argument("scores", type=EXISTING)
@click.option("--above", default=0.5, show_default=True, help="Probability of being wrong from which a label goes.")
@click.option("--correct", is_flag=True, help="Put the likeliest other label in its place, where there is one.")
@click.option("--out", type=EXISTING, required=True, help="Folder of the new catalog.")
@answers
def relabel(catalog: Path, scores: Path, above: float, correct: bool, out: Path) -> Answer:
    """Take away the labels of CATALOG that SCORES, which `noise audit --out` wrote, call wrong."""
    from jftdata import noise
    from jftdata.relabel import relabel

    if not 0 < above <= 1:
        raise BadArgument(f"`--above` must be in (0, 1]. Got {above:g}.")
    wanted = {name: noise.AUDIT[name] for name in ("image", "label", "wrong", "other_label")}
    frame = read_table(scores, wanted, "what `noise audit --out` wrote")
    new = pl.col("other_label") if correct else pl.lit(None, pl.String)
    changes = frame.filter(pl.col("wrong") > above).select("image", "label", new_label=new)
    before = Catalog.open(catalog)
    made = relabel(before, changes, out=out)
    facts = made.sidecar.facts
    data = {
        "out": str(out), "num_images": len(made), "num_removed_labels": facts["num_removed_labels"],
        "num_replaced_labels": facts["num_replaced_labels"], "num_lost": len(before) - len(made),
    }  # fmt: skip
    return Answer(
        f"{out}: {plural(len(made), 'image')}; {plural(data['num_removed_labels'], 'label')} taken away, "
        f"{data['num_replaced_labels']:,} replaced; {plural(data['num_lost'], 'image')} left out, without a label now",
        data,
    )
