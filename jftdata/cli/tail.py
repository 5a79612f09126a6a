"""`jftdata tail`: images by label and what the tail looks like."""

from pathlib import Path

import click
import polars as pl

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame


@click.command()
@click.argument("catalog", type=EXISTING)
@click.option("--split", help="Only this split.")
@click.option("--out", type=EXISTING, help="Write all counts to a .parquet or .csv.")
@click.option("--plot", type=EXISTING, help="Draw images by rank to a .svg or .png.")
@click.option("--depth-plot", type=EXISTING, help="Draw labels by depth to a .svg or .png.")
@click.option("--pairs", type=EXISTING, help="Write labels that meet on the same images to a .parquet or .csv.")
@click.option("--before", type=EXISTING, help="A catalog before a step: tell what the step did to the tail.")
@click.option("--rows", default=10, show_default=True, help="Labels to print.")
@click.option("--workers", type=int, help="Threads; one a core by default.")
@answers
def command(
    catalog: Path, split: str | None, out: Path | None, plot: Path | None, depth_plot: Path | None, pairs: Path | None,
    before: Path | None, rows: int, workers: int | None,
) -> Answer:  # fmt: skip
    """Count images by label, ancestors filled in."""
    from jftdata import tail

    images = Catalog.open(catalog)
    found = tail.count(images, split=split, workers=workers)
    counts = found.labels
    numbers = tail.summary(counts)
    used = counts.filter(pl.col("num_images") > 0)
    fits = tail.fit(counts) if len(used) > 2 else None
    subtrees = tail.by_subtree(counts, images.hierarchy)
    earlier = None if before is None else tail.label_counts(Catalog.open(before), split=split, workers=workers)
    change = None if earlier is None else tail.compare(earlier, counts, hierarchy=images.hierarchy)
    if out is not None:
        write_frame(counts, out)
    if pairs is not None:
        write_frame(tail.co_occurrence(images, split=split), pairs)
    if plot is not None or depth_plot is not None:
        from jftdata import plots

        if plot is not None:
            plots.rank_frequency({"after": counts} if earlier is None else {"before": earlier, "after": counts}, plot)
        if depth_plot is not None:
            plots.depths(counts, depth_plot)
    ranked = counts.sort("num_images", "label", descending=[True, False])
    rarest = used.sort("num_images", "label")
    spread = ", ".join(f"{n:,} with {k}" for k, n in found.an_image.head(5).iter_rows())
    parts = [
        f"{tail.describe(numbers)}\nhead {numbers['head']:,} ({numbers['head_share']:.0%}), medium {numbers['medium']:,} "
        f"({numbers['medium_share']:.0%}), tail {numbers['tail']:,} ({numbers['tail_share']:.0%}) labels\n"
        f"labels an image: {spread}{', ...' if len(found.an_image) > 5 else ''}",
        f"most images\n{table(ranked, rows=rows)}",
        f"fewest images\n{table(rarest.head(5), rows=min(rows, 5))}",
    ]
    if len(subtrees):
        parts.append(f"by subtree\n{table(subtrees, rows=rows)}")
    if change is not None:
        parts.append(
            f"since {before}\n{tail.describe_change(change)}\n{table(pl.DataFrame(change['subtrees']), rows=rows)}"
        )
    if fits is not None:
        parts.append(f"fit of the curve by rank\n{table(fits, rows=2)}")
    data = {
        "summary": numbers, "labels_an_image": found.an_image.to_dicts(), "most": ranked.head(rows).to_dicts(),
        "by_depth": tail.by_depth(counts).to_dicts(), "subtrees": subtrees.to_dicts(),
        "fits": [] if fits is None else fits.to_dicts(), "change": change, "num_never_used": len(tail.unused(counts)),
        "out": str(out) if out else None,
    }  # fmt: skip
    return Answer("\n\n".join(parts), data)
