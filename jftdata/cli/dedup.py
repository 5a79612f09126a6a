"""`jftdata dedup`: near-duplicates in a set, or between a test and a training set."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument


@click.command()
@click.argument("embeddings", type=EXISTING)
@click.option("--test", type=EXISTING, help="Embeddings of a test set: find its images with a copy in EMBEDDINGS.")
@click.option("--min-similarity", type=float, help="Threshold in (0, 1]; the default suits `descriptor`.")
@click.option("--out", type=EXISTING, help="Write the pairs to a .parquet or .csv.")
@click.option("--drop", type=EXISTING, help="Write the images to leave out of training to a .parquet or .csv.")
@click.option("--catalog", type=EXISTING, help="Catalog of EMBEDDINGS: says which copy of a group is worth keeping.")
@click.option("--rows", default=10, show_default=True, help="Pairs to print.")
@answers
def command(
    embeddings: Path, test: Path | None, min_similarity: float | None, out: Path | None, drop: Path | None,
    catalog: Path | None, rows: int,
) -> Answer:  # fmt: skip
    """Find near-duplicates in a set, or between a test and a training set.

    `--drop` lists every image of a group but the best one or, with `--test`, every training image that has a copy in the
    test set; `subset` and `study` take the list as `--without`.
    """
    from jftdata import dedup, tail

    base = Embeddings.open(embeddings)
    threshold = min_similarity if min_similarity is not None else dedup.MIN_SIMILARITY
    if test is None:
        pairs = dedup.find_pairs(base, min_similarity=threshold)
        groups = dedup.group_pairs(pairs)
        data: dict[str, float] = {
            "num_images": len(base), "num_pairs": len(pairs), "num_groups": groups["group"].n_unique(),
            "num_in_groups": len(groups),
        }  # fmt: skip
        if drop is not None:
            if catalog is None:
                raise BadArgument("`--drop` needs `--catalog`, which says what copy of a group is worth keeping.")
            extra = dedup.extra_copies(groups, Catalog.open(catalog))
        told = (
            f"{len(pairs):,} pairs (similarity at least {threshold:g}) among {len(base):,} images; "
            f"{data['num_in_groups']:,} images in {data['num_groups']:,} groups"
        )
    else:
        queries = Embeddings.open(test)
        pairs = dedup.find_overlap(queries, base, min_similarity=threshold)
        extra = pairs["train_image"].unique().sort()
        num_overlap = pairs["test_image"].n_unique()
        share = num_overlap / len(queries)
        data = {"num_test": len(queries), "num_train": len(base), "num_overlap": num_overlap, "share": share}
        told = (
            f"{num_overlap:,} of {len(queries):,} test images ({share:.2%}) have a near-duplicate "
            f"(similarity at least {threshold:g}) among {len(base):,} images"
        )
    if out is not None:
        write_frame(pairs, out)
    change: dict[str, Any] | None = None
    if drop is not None:
        if catalog is not None:
            images = Catalog.open(catalog)
            kept = np.setdiff1d(base.images, extra.to_numpy())
            before, after = (tail.label_counts(images, images=ids) for ids in (base.images, kept))
            change = tail.compare(before, after)
            told += f"\nwithout the {len(extra):,} images to drop: {tail.describe_change(change)}"
        write_frame(extra.alias("image").to_frame(), drop)
    text = f"{told}\n\n{table(pairs, rows=rows)}"
    files = {"out": str(out) if out else None, "drop": str(drop) if drop else None, "tail": change}
    return Answer(text, {**data, "min_similarity": threshold, **files})
