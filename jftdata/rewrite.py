"""Write a catalog anew with some rows changed or left out; the bytes of images stay where they are.

Streams by row group. Cost: that of reading and writing the Parquet files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from jftdata import storage
from jftdata.catalog import SCHEMA, Catalog, read_row_group, row_groups
from jftdata.progress import progress

SAID = ("labels", "scores", "negatives")
"""Columns that may change."""


def rewrite(
    catalog: Catalog, changes: pl.DataFrame | Callable[[pl.DataFrame], pl.DataFrame], folder: Path, *, what: str
) -> dict[str, Any]:
    """Write the rows of a catalog.

    Args:
        catalog: the images.
        changes: `image` (ascending, each once), `kept`, and the columns of `SAID` with what a kept image says from now on;
            images that are not in it stay as they are. A function is given the rows of each row group and returns theirs.
        folder: of the Parquet files; made if it is not there.
        what: the name of the progress bar.

    Returns:
        `num_images`, `num_given_labels`, `num_unlabelled`, `num_negatives` and `splits` of what was written.
    """
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    oldest = pl.CompatLevel.oldest()
    schema = pl.DataFrame(schema=SCHEMA).to_arrow(compat_level=oldest).schema
    root = str(catalog.path.resolve())
    groups = row_groups(catalog)
    splits: dict[str, int] = {}
    total = {"num_images": 0, "num_given_labels": 0, "num_unlabelled": 0, "num_negatives": 0}
    with progress(what, total=len(catalog), unit="image") as bar:
        for path in catalog.files:
            with (
                storage.atomic_path(folder / path.name) as temp,
                pq.ParquetWriter(temp, schema, compression="zstd") as file,
            ):
                for _, group in (x for x in groups if x[0] == path):
                    rows = pl.DataFrame(read_row_group(path, group, columns=tuple(SCHEMA), split=None))
                    bar.update(len(rows))
                    if callable(changes):
                        here = changes(rows)
                    else:
                        here = changes.filter(pl.col("image").is_between(rows["image"].min(), rows["image"].max()))
                    rows = _changed(rows, here, root)
                    file.write_table(rows.to_arrow(compat_level=oldest).cast(schema))
                    total["num_images"] += len(rows)
                    total["num_given_labels"] += int(rows["labels"].list.len().cast(pl.Int64).sum())
                    total["num_unlabelled"] += int((rows["labels"].list.len() == 0).sum())
                    total["num_negatives"] += int(rows["negatives"].list.len().cast(pl.Int64).sum())
                    for split, num in rows.group_by("split").len().iter_rows():
                        splits[split] = splits.get(split, 0) + int(num)
    return {**total, "splits": dict(sorted(splits.items()))}


def _changed(rows: pl.DataFrame, changes: pl.DataFrame, root: str) -> pl.DataFrame:
    """Rows of a row group without those left out, with what the others say from now on."""
    changed = rows.join(
        changes.select("image", "kept", *SAID), on="image", how="left", suffix="_new", maintain_order="left"
    ).filter(pl.col("kept").fill_null(True))
    return changed.with_columns(
        *(pl.when("kept").then(f"{column}_new").otherwise(column).alias(column) for column in SAID),
        shard=pl.when(pl.col("shard").str.starts_with("/"))
        .then("shard")
        .otherwise(pl.lit(f"{root}/") + pl.col("shard")),
    ).select(*SCHEMA)
