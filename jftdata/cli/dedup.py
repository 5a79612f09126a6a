"""`jftdata dedup`: near-duplicates in a set, or between a test and a training set."""

from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument


@click.command()
@click.argument("subject", type=EXISTING)
@click.option("--test", type=EXISTING, help="A test set of the same kind: find its images with a copy in SUBJECT.")
@click.option("--min-probability", type=float, help="Catalogs: least probability of a copy, 0.5 by default.")
@click.option("--min-similarity", type=float, help="Embeddings: threshold in (0, 1]; the default suits `descriptor`.")
@click.option("--out", type=EXISTING, help="Write the pairs to a .parquet or .csv.")
@click.option("--keep", type=EXISTING, help="Catalogs: folder for the result with its calibration.")
@click.option("--drop", type=EXISTING, help="Write the images to leave out of training to a .parquet or .csv.")
@click.option("--catalog", type=EXISTING, help="Embeddings: their catalog, which says what copy is worth keeping.")
@click.option("--rows", default=10, show_default=True, help="Pairs to print.")
@click.option("--workers", type=int, help="Threads; one a core by default.")
@answers
def command(
    subject: Path, test: Path | None, min_probability: float | None, min_similarity: float | None, out: Path | None,
    keep: Path | None, drop: Path | None, catalog: Path | None, rows: int, workers: int | None,
) -> Answer:  # fmt: skip
    """Find near-duplicates in SUBJECT, or between it and a test set.

    SUBJECT is a catalog: candidates are verified on the pixels and each pair gets a probability. Or it is embeddings:
    pairs are those above one similarity, which is faster and less exact.

    `--drop` lists every image of a group but the best one or, with `--test`, every training image that has a copy in the
    test set; `subset` and `study` take the list as `--without`.
    """
    if storage.read_sidecar(subject).format.startswith("jftdata.catalog"):
        if min_similarity is not None or catalog is not None:
            raise BadArgument(
                "`--min-similarity` and `--catalog` go with embeddings, not with a catalog. Leave them out."
            )
        images: Catalog | None = Catalog.open(subject)
        pairs, num, num_test, data, how = _verified(subject, test, min_probability, keep, workers)
    else:
        if min_probability is not None or keep is not None:
            raise BadArgument(
                "`--min-probability` and `--keep` go with a catalog, not with embeddings. Leave them out."
            )
        images = Catalog.open(catalog) if catalog is not None else None
        pairs, num, num_test, data, how = _by_similarity(subject, test, min_similarity)
    from jftdata import dedup, tail

    if test is None:
        groups = dedup.group_pairs(pairs)
        links = dedup.chains(groups, pairs)
        num_chains = len(links.filter(pl.col("longest") > 2))
        data |= {
            "num_images": num, "num_pairs": len(pairs), "num_groups": len(links), "num_in_groups": len(groups),
            "num_chains": num_chains,
        }  # fmt: skip
        told = f"{len(pairs):,} pairs ({how}) among {num:,} images; {len(groups):,} images in {len(links):,} groups"
        if num_chains:
            told += f", {num_chains:,} of them chains whose ends need not be alike"
        if drop is not None and images is None:
            raise BadArgument("`--drop` needs `--catalog`, which says what copy of a group is worth keeping.")
    else:
        num_overlap = pairs["test_image"].n_unique()
        data |= {"num_test": num_test, "num_train": num, "num_overlap": num_overlap, "share": num_overlap / num_test}
        share = data["share"]
        told = f"{num_overlap:,} of {num_test:,} test images ({share:.2%}) have a near-duplicate ({how}) among {num:,} images"
    if drop is not None:
        if test is not None or images is None:
            extra = pairs["train_image"].unique().sort()
        else:
            settled = dedup.resolve(groups, images)
            extra = settled.filter(~pl.col("kept"))["image"]
            data["num_conflicts"] = len(settled.filter(pl.col("conflicts").list.len() > 0))
            told += f"\n{data['num_conflicts']:,} groups have labels that contradict each other"
        if images is not None:
            kept = np.setdiff1d(images.images(), extra.to_numpy())
            data["tail"] = tail.compare(tail.label_counts(images), tail.label_counts(images, images=kept))
            told += f"\nwithout the {len(extra):,} images to drop: {tail.describe_change(data['tail'])}"
        write_frame(extra.alias("image").to_frame(), drop)
    if out is not None:
        write_frame(pairs, out)
    data |= {"out": str(out) if out else None, "drop": str(drop) if drop else None}
    return Answer(f"{told}\n\n{table(pairs, rows=rows)}", data)


_Found = tuple[pl.DataFrame, int, int, dict[str, Any], str]
"""Pairs, numbers of images and test images, what a program wants to know of them, and how they were told."""


def _verified(subject: Path, test: Path | None, least: float | None, keep: Path | None, workers: int | None) -> _Found:
    from jftdata import copies

    least = copies.MIN_PROBABILITY if least is None else least
    base = Catalog.open(subject)
    if test is None:
        found = copies.find(base, min_probability=least, out=keep, workers=workers)
        queries = base
    else:
        queries = Catalog.open(test)
        found = copies.find_between(queries, base, min_probability=least, out=keep, workers=workers)
    data = {"min_probability": least, "num_candidates": found.num_candidates, "num_rejected": len(found.rejected)}
    unread = f", {len(found.rejected):,} images could not be read" if len(found.rejected) else ""
    how = f"probability at least {least:g}, {found.num_candidates:,} candidates verified{unread}"
    return found.pairs, len(base), len(queries), data, how


def _by_similarity(subject: Path, test: Path | None, least: float | None) -> _Found:
    from jftdata import dedup

    least = dedup.MIN_SIMILARITY if least is None else least
    base = Embeddings.open(subject)
    how, data = f"similarity at least {least:g}", {"min_similarity": least}
    if test is None:
        return dedup.find_pairs(base, min_similarity=least), len(base), len(base), data, how
    queries = Embeddings.open(test)
    return dedup.find_overlap(queries, base, min_similarity=least), len(base), len(queries), data, how
