"""`jftdata select`: labels from candidate pairs at a target precision."""

from pathlib import Path
from typing import Any

import click
import polars as pl

from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, table
from jftdata.hierarchy import Hierarchy


@click.command()
@click.argument("candidates", type=EXISTING, nargs=-1, required=True)
@click.option(
    "--judged", type=EXISTING, required=True, help="A .csv or .parquet of image, label, answer, maybe weight."
)
@click.option("--rising", multiple=True, help="A column of numbers: higher is better; give several.")
@click.option("--falling", multiple=True, help="A column of numbers: higher is worse; give several.")
@click.option(
    "--category", "categories", multiple=True, help="A column of words, the source for example; give several."
)
@click.option("--hierarchy", help="A shipped name or a .tsv: labels borrow from their ancestors in it.")
@click.option("--target", type=float, required=True, help="Expected precision of what is kept, in (0, 1).")
@click.option("--per", default="all", show_default=True, help="What must reach the target: all, or each label.")
@click.option("--floor", default=0, show_default=True, help="Pairs to keep of each label even if below the target.")
@click.option("--confidence", type=float, help="Hold the target with this confidence, 0.95 for example.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=EXISTING, required=True, help="Folder for the selection.")
@click.option("--plot", type=EXISTING, help="Draw what probabilities come true to a .svg or .png.")
@click.option("--tail-plot", type=EXISTING, help="Draw pairs by label, before and after, to a .svg or .png.")
@click.option("--rows", default=10, show_default=True, help="Labels to print.")
@click.option("--workers", type=int, help="Threads; one a core by default.")
@dry_run
@answers
def command(
    candidates: tuple[Path, ...], judged: Path, rising: tuple[str, ...], falling: tuple[str, ...],
    categories: tuple[str, ...], hierarchy: str | None, target: float, per: Any, floor: int, confidence: float | None,
    seed: int, out: Path, plot: Path | None, tail_plot: Path | None, rows: int, workers: int | None, dry_run: bool,
) -> Answer:  # fmt: skip
    """Choose labels from CANDIDATES, .parquet files with a row an image and label and a column a signal.

    A model of the signals is fitted to the judged pairs and calibrated; the most probable pairs are kept as long as their
    expected precision reaches the target. `jftdata catalog table 'OUT/table/*.parquet'` makes a catalog of them.
    """
    from jftdata import selection

    signals = selection.Signals(rising=rising, falling=falling, categories=categories)
    pairs = selection.Candidates.open(candidates, signals=signals)
    tree = None if hierarchy is None else Hierarchy.load(hierarchy)
    if dry_run:
        return plan("select labels", num_candidates=pairs.num_pairs, target=target, per=per, floor=floor, out=out)
    fusion = selection.fit(pairs, judged, hierarchy=tree, seed=seed)
    made = selection.select(
        pairs, fusion, target=target, per=per, floor=floor, confidence=confidence, workers=workers, out=out
    )
    if plot is not None or tail_plot is not None:
        from jftdata import plots

        if plot is not None:
            plots.calibration(made.calibration, plot)
        if tail_plot is not None:
            plots.rank_frequency(
                dict(zip(("candidates", "kept"), selection.label_counts(made.by_label), strict=True)), tail_plot
            )
    lost = made.by_label.filter(pl.col("num_candidates") > 0).sort("expected_recall", "label")
    shown = lost.select(
        "label", "num_candidates", "num_kept", "num_below_target", "expected_precision", "expected_recall"
    )
    told = f"{out}: {selection.describe(made)}\n\nlabels with the lowest expected recall\n{table(shown, rows=rows)}"
    return Answer(told, {"out": str(out), **made.sidecar.facts})
