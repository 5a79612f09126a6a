"""`jftdata dedup`: near-duplicates in a set, or between a test and a training set."""

from pathlib import Path

import click

from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame
from jftdata.embeddings import Embeddings


@click.command()
@click.argument("embeddings", type=EXISTING)
@click.option("--test", type=EXISTING, help="Embeddings of a test set: find its images with a copy in EMBEDDINGS.")
@click.option("--min-similarity", type=float, help="Threshold in (0, 1]; the default suits `descriptor`.")
@click.option("--out", type=EXISTING, help="Write the pairs to a .parquet or .csv.")
@click.option("--rows", default=10, show_default=True, help="Pairs to print.")
@answers
def command(embeddings: Path, test: Path | None, min_similarity: float | None, out: Path | None, rows: int) -> Answer:
    """Find near-duplicates in a set, or between a test and a training set."""
    from jftdata import dedup

    base = Embeddings.open(embeddings)
    threshold = min_similarity if min_similarity is not None else dedup.MIN_SIMILARITY
    if test is None:
        pairs = dedup.find_pairs(base, min_similarity=threshold)
        groups = dedup.group_pairs(pairs)
        data: dict[str, float] = {"num_images": len(base), "num_pairs": len(pairs), "num_groups": groups["group"].n_unique(),
                "num_in_groups": len(groups)}  # fmt: skip
        told = f"{len(pairs):,} pairs among {len(base):,} images; {data['num_in_groups']:,} images in {data['num_groups']:,} groups"
    else:
        queries = Embeddings.open(test)
        pairs = dedup.find_overlap(queries, base, min_similarity=threshold)
        share = len(pairs) / len(queries)
        data = {"num_test": len(queries), "num_train": len(base), "num_overlap": len(pairs), "share": share}
        told = f"{len(pairs):,} of {len(queries):,} test images ({share:.2%}) have a near-duplicate among {len(base):,} images"
    if out is not None:
        write_frame(pairs, out)
    text = f"{told} (similarity at least {threshold:g})\n\n{table(pairs, rows=rows)}"
    return Answer(text, {**data, "min_similarity": threshold, "out": str(out) if out else None})
