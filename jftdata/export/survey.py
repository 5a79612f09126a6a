"""One pass over the rows of what is to be exported, before anything is written: what formats must know to choose a layout."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from jftdata.catalog import label_arrays
from jftdata.errors import BadInput
from jftdata.hierarchy.targets import fill_in
from jftdata.ragged import Ragged
from jftdata.subset import Subset

if TYPE_CHECKING:
    from jftdata.hierarchy import Hierarchy


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is asked for."""

    num_images: int
    num_bytes: int
    splits: Mapping[str, int]
    """Images by split."""
    single: bool
    """Whether every image has exactly one label."""
    scores: bool
    """Whether any label has a score."""
    negatives: bool
    """Whether any image has a verified negative."""
    weights: bool
    whole_files: bool
    """Whether every image starts its file, so that a list of files can name it."""
    root: str
    """The folder that all source files lie in."""


def survey(subset: Subset, *, filled: bool) -> Survey:
    """Look at all rows of a subset.

    Args:
        subset: the images.
        filled: whether ancestors are filled in.

    Raises:
        BadInput: its catalog has no pixels.
    """
    catalog = subset.catalog
    if not catalog.has_pixels:
        raise BadInput(f"{catalog.path} has labels but no pixels, so there is nothing to export. Give one of images.")
    columns = ("shard", "offset", "length", "split", "labels", "scores", "negatives")

    def look(table: Any) -> dict[str, Any]:
        rows = pl.DataFrame(table)
        num_labels = np.diff(labels_of(rows, catalog.hierarchy, filled=filled)[0])
        shards = rows["shard"].unique()
        return {
            "num_images": len(rows),
            "num_bytes": int(rows["length"].sum()),
            "splits": dict(rows.group_by("split").len().iter_rows()),
            "single": bool((num_labels == 1).all()),
            "scores": bool(rows["scores"].list.drop_nulls().list.len().sum()),
            "negatives": bool(rows["negatives"].list.len().sum()),
            "whole_files": bool((rows["offset"] == 0).all() and shards.str.starts_with("/").all()),
            "root": {os.path.dirname(shard) or "." for shard in shards},
        }

    splits: dict[str, int] = {}
    root = ""
    parts = []
    for part in subset.map_rows(look, columns=columns):
        for name, num in part["splits"].items():
            splits[name] = splits.get(name, 0) + num
        found = part.pop("root") | ({root} if root else set())
        if all(os.path.isabs(x) for x in found) and found:
            root = os.path.commonpath(sorted(found))
        parts.append(part)
    return Survey(
        num_images=sum(part["num_images"] for part in parts),
        num_bytes=sum(part["num_bytes"] for part in parts),
        splits=dict(sorted(splits.items())),
        single=all(part["single"] for part in parts),
        scores=any(part["scores"] for part in parts),
        negatives=any(part["negatives"] for part in parts),
        weights=subset.weights is not None,
        whole_files=all(part["whole_files"] for part in parts),
        root=root,
    )


def labels_of(rows: pl.DataFrame, tree: "Hierarchy", *, filled: bool) -> Ragged:
    """Labels of some rows as they are exported, ascending within an image."""
    if not len(rows):
        return np.zeros(1, np.int64), np.zeros(0, np.int32)
    start, index = label_arrays(rows["labels"].rechunk())
    return fill_in(tree, start, index) if filled else (start, index)
