"""What changed from one catalog to another: images added, removed, relabelled or moved to another split.

Images are compared by id, so by their bytes; labels by name, so the hierarchies may differ. Scores and negatives are not
compared. Cost: two streaming joins over three columns.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from jftdata.catalog import Catalog

DIFF = {
    "image": pl.Int64(),
    "change": pl.String(),
    "split_before": pl.String(),
    "split_after": pl.String(),
    "labels_before": pl.List(pl.String()),
    "labels_after": pl.List(pl.String()),
}
"""`change` is added, removed, relabelled, or moved when only the split differs; what an added image was before is null."""
CHANGES = ("added", "removed", "relabelled", "moved")


def catalogs(before: Catalog, after: Catalog) -> pl.DataFrame:
    """Every image that differs.

    Args:
        before: the older catalog.
        after: the newer one.

    Returns:
        Columns of `DIFF`, sorted by image; labels are sorted by name.
    """
    names = sorted({*before.hierarchy.labels, *after.hierarchy.labels})
    old, new = _rows(before, names, "before"), _rows(after, names, "after")
    both = old.join(new, on="image", how="full", coalesce=True)
    change = (
        pl.when(pl.col("split_before").is_null())
        .then(pl.lit("added"))
        .when(pl.col("split_after").is_null())
        .then(pl.lit("removed"))
        .when(pl.col("labels_before") != pl.col("labels_after"))
        .then(pl.lit("relabelled"))
        .when(pl.col("split_before") != pl.col("split_after"))
        .then(pl.lit("moved"))
    )
    found = both.with_columns(change=change).filter(pl.col("change").is_not_null()).collect(engine="streaming")
    text = pl.Series(names, dtype=pl.String)
    for column in ("labels_before", "labels_after"):
        found = found.with_columns(_named(found[column], text))
    return found.select(*DIFF).sort("image")


def by_split(changes: pl.DataFrame) -> pl.DataFrame:
    """How many images of each split changed in which way.

    Args:
        changes: what `catalogs` returns.

    Returns:
        Columns split, change, num_images, sorted by split and change; a moved image counts where it is now, as a
        removed one counts where it was.
    """
    split = pl.coalesce("split_after", "split_before").alias("split")
    return changes.group_by(split, "change").agg(num_images=pl.len().cast(pl.Int64)).sort("split", "change")


def by_label(changes: pl.DataFrame) -> pl.DataFrame:
    """How many images gained and lost each given label.

    Args:
        changes: what `catalogs` returns.

    Returns:
        Columns label, num_gained, num_lost, most changes first, then by label; labels without changes are left out.
    """
    empty = pl.lit([], dtype=pl.List(pl.String()))
    old, new = pl.col("labels_before").fill_null(empty), pl.col("labels_after").fill_null(empty)
    parts = []
    for gained, labels in ((True, new.list.set_difference(old)), (False, old.list.set_difference(new))):
        each = changes.select(label=labels).explode("label", empty_as_null=False, keep_nulls=False)
        parts.append(each.with_columns(gained=pl.lit(gained)))
    counted = pl.concat(parts).group_by("label").agg(
        num_gained=pl.col("gained").cast(pl.Int64).sum(), num_lost=(~pl.col("gained")).cast(pl.Int64).sum()
    )  # fmt: skip
    order = [pl.col("num_gained") + pl.col("num_lost"), pl.col("label")]
    return counted.sort(order, descending=[True, False])


def summary(changes: pl.DataFrame) -> dict[str, Any]:
    """Number of images by kind of change, all four kinds."""
    counts = dict(changes.group_by("change").len().iter_rows())
    return {kind: int(counts.get(kind, 0)) for kind in CHANGES}


def _rows(catalog: Catalog, names: Sequence[str], when: str) -> pl.LazyFrame:
    """Image, split and labels as ascending indexes into `names`."""
    position = {name: i for i, name in enumerate(names)}
    shared = [position[label] for label in catalog.hierarchy.labels]
    number = (
        pl.element().replace_strict(list(range(len(shared))), shared, return_dtype=pl.Int32) if shared else pl.element()
    )
    return catalog.scan().select(
        "image", pl.col("split").alias(f"split_{when}"), pl.col("labels").list.eval(number).list.sort().alias(f"labels_{when}")
    )  # fmt: skip


def _named(lists: pl.Series, names: pl.Series) -> pl.Series:
    return lists.to_frame().select(
        pl.col(lists.name).list.eval(
            pl.element().replace_strict(list(range(len(names))), names, return_dtype=pl.String)
        )
    )[lists.name]
