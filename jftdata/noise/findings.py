"""What an audit adds up to: labels by their noise, which is given in error for which, and labels that are missing."""

from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.catalog import Catalog, label_arrays
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy, evaluation
from jftdata.noise import given as given_labels
from jftdata.noise.evidence import is_above
from jftdata.noise.given import Given
from jftdata.noise.probabilities import Probabilities, check_tree

LABELS = {
    "label": pl.String(),
    "name": pl.String(),
    "num_given": pl.Int64(),
    "num_scored": pl.Int64(),
    "num_wrong": pl.Float64(),  # sum of the probabilities
    "rate": pl.Float64(),  # num_wrong / num_scored
    "low": pl.Float64(),
    "high": pl.Float64(),
    "num_less_specific": pl.Int64(),
    "most_for": pl.String(),  # the label it is given in error for most often
}
CONFUSIONS = {
    "given": pl.String(),
    "shown": pl.String(),  # what the images more likely show
    "num_wrong": pl.Float64(),  # sum of the probabilities
    "num_likely": pl.Int64(),  # images at which the probability is above 0.5
    "mean_wrong": pl.Float64(),  # mean of the probabilities, over the images at which `shown` is the other label
    "rate": pl.Float64(),  # num_wrong over all images scored for the given label
    "distance": pl.Int32(),  # edges between the two in the hierarchy; -1 without a common ancestor
    "examples": pl.List(pl.Int64()),  # images, most suspicious first
}
MISSING = {
    "image": pl.Int64(),
    "label": pl.String(),
    "probability": pl.Float64(),
    "kind": pl.String(),  # more specific: below a given label; besides: unrelated to all of them
}
_Z = 1.959963984540054


def by_label(audit: pl.DataFrame, tree: Hierarchy) -> pl.DataFrame:
    """Given labels ranked by their estimated noise.

    Args:
        audit: what `audit` returns.
        tree: the hierarchy of its labels.

    Returns:
        Columns of `LABELS`, most noise that is sure first (by `low`). `low` and `high` are Wilson's 95% interval for the
        rate: they say how far the label's images, as a sample of those it could have been given to, pin its rate down. They
        say nothing of errors of the audit itself; for that, have some judged (`jftdata.precision`). Null for a label of which
        nothing was scored.
    """
    _check(audit)
    wrong, scored = pl.col("wrong"), pl.col("wrong").count().cast(pl.Int64)
    found = audit.group_by("label").agg(
        num_given=pl.len().cast(pl.Int64), num_scored=scored, num_wrong=wrong.sum(),
        num_less_specific=(pl.col("verdict") == "less specific").sum().cast(pl.Int64),
    )  # fmt: skip
    n, p, z2 = pl.col("num_scored"), pl.col("rate"), _Z**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * (p * (1 - p) / n + z2 / (4 * n**2)).sqrt() / (1 + z2 / n)
    some = n > 0
    most = confusions(audit, tree).unique("given", keep="first", maintain_order=True)
    names = pl.DataFrame({"label": tree.labels, "name": tree.names}, schema={"label": pl.String(), "name": pl.String()})
    return (
        found.with_columns(rate=pl.when(some).then(pl.col("num_wrong") / n))
        .with_columns(
            low=pl.when(some).then((middle - half).clip(0)), high=pl.when(some).then((middle + half).clip(None, 1))
        )
        .join(names, on="label", how="left")
        .join(most.select("given", most_for="shown"), left_on="label", right_on="given", how="left")
        .select(pl.col(name).cast(dtype) for name, dtype in LABELS.items())
        .sort("low", "label", descending=[True, False], nulls_last=True)
    )


def confusions(audit: pl.DataFrame, tree: Hierarchy, *, num_examples: int = 3) -> pl.DataFrame:
    """Which label is given in error for which.

    Args:
        audit: what `audit` returns.
        tree: the hierarchy of its labels.
        num_examples: images of each pair.

    Returns:
        Columns of `CONFUSIONS`, first the pairs in which many labels are wrong and nearly all of them are: by `num_wrong` times
        the square of `mean_wrong`, then the labels. By `num_wrong` alone labels given often would come first, right or wrong.

    Raises:
        BadArgument: `num_examples` below 0.
    """
    _check(audit)
    if num_examples < 0:
        raise BadArgument(f"`num_examples` must be at least 0. Got {num_examples}.")
    scored = audit.filter(pl.col("wrong").is_not_null()).group_by("label").agg(of=pl.len())
    found = (
        audit.filter(pl.col("wrong").is_not_null() & pl.col("other_label").is_not_null())
        .sort("wrong", "image", descending=[True, False])
        .group_by("label", "other_label", maintain_order=True)
        .agg(
            num_wrong=pl.col("wrong").sum(), num_likely=(pl.col("wrong") > 0.5).sum(), mean_wrong=pl.col("wrong").mean(),
            examples=pl.col("image").head(num_examples),
        )
        .join(scored, on="label")
        .rename({"label": "given", "other_label": "shown"})
    )  # fmt: skip
    one, other = (np.array([tree.index(x) for x in found[c].to_list()], np.int64) for c in ("given", "shown"))
    return (
        found.with_columns(
            rate=pl.col("num_wrong") / pl.col("of"), distance=pl.Series(evaluation.distances(tree, other, one))
        )
        .sort(pl.col("num_wrong") * pl.col("mean_wrong") ** 2, "given", "shown", descending=[True, False, False])
        .select(pl.col(name).cast(dtype) for name, dtype in CONFUSIONS.items())
    )


def missing(
    catalog: Catalog | Given, probabilities: Probabilities, *, min_probability: float = 0.5, split: str | None = None
) -> pl.DataFrame:
    """Labels that an image probably shows and was not given.

    Left out are ancestors of given labels, which are filled in, and labels verified not to hold, with all below them. Where
    an image's only given label is wrong, the right one is here too.

    Args:
        catalog: images with given labels, or what `noise.read` returns, which knows no verified negatives.
        probabilities: out-of-sample ones.
        min_probability: in (0, 1]; smoothed ones of rare labels are low, so a lower one finds more of them.
        split: only this split.

    Returns:
        Columns of `MISSING`, the most probable first, then by image and label.

    Raises:
        BadArgument: `min_probability` out of range.
        BadInput: an image without probabilities.
    """
    if not 0 < min_probability <= 1:
        raise BadArgument(f"`min_probability` must be in (0, 1]. Got {min_probability}.")
    given = catalog if isinstance(catalog, Given) else given_labels.read(catalog, split=split)
    tree = given.tree
    check_tree(probabilities.tree, tree)
    rows = probabilities.rows(given.images)
    negative = _negatives(catalog, given, split) if isinstance(catalog, Catalog) else _none(given)
    kind = _missing(
        given.start, given.index, *negative, tree.ancestor_start, tree.ancestor_index, rows.start, rows.index, rows.value,
        np.float32(min_probability),
    )  # fmt: skip
    at = np.flatnonzero(kind)
    frame = pl.DataFrame({
        "image": np.repeat(given.images, np.diff(rows.start))[at], "label": given.names(rows.index[at]),
        "probability": rows.value[at],
        "kind": pl.Series(kind[at] == 2).replace_strict({True: "more specific", False: "besides"}, return_dtype=pl.String),
    })  # fmt: skip
    frame = frame.select(pl.col(name).cast(dtype) for name, dtype in MISSING.items())
    return frame.sort("probability", "image", "label", descending=[True, False, False])


def _check(audit: pl.DataFrame) -> None:
    for column in ("image", "label", "wrong", "verdict", "other_label"):
        if column not in audit.columns:
            raise BadInput(f"the audit has no column {column!r}. Give what noise.audit returns.")


def _none(given: Given) -> ragged.Ragged:
    return np.zeros(len(given.images) + 1, np.int64), np.empty(0, np.int32)


def _negatives(catalog: Catalog, given: Given, split: str | None) -> ragged.Ragged:
    """Labels verified not to hold of each image."""
    if not catalog.has_pixels:
        return _none(given)
    rows = catalog.scan(split=split).select("image", pl.col("negatives").fill_null([])).collect().sort("image")
    return label_arrays(rows["negatives"].rechunk())


@numba.njit(cache=True, nogil=True)
def _missing(
    start: NDArray[Any], index: NDArray[Any], no_start: NDArray[Any], no_index: NDArray[Any], up: NDArray[Any],
    over: NDArray[Any], row_start: NDArray[Any], row_index: NDArray[Any], row_value: NDArray[Any], least: Any,
) -> NDArray[Any]:  # fmt: skip
    """Of each probability 0, or 1 where the label is missing, 2 where it is below a given one."""
    out = np.zeros(len(row_index), np.int8)
    for i in range(len(start) - 1):
        for at in range(row_start[i], row_start[i + 1]):
            if row_value[at] < least:
                continue
            j = row_index[at]
            what = 1
            for k in range(start[i], start[i + 1]):
                if j == index[k] or is_above(j, index[k], up, over):
                    what = 0
                    break
                if is_above(index[k], j, up, over):
                    what = 2
            for k in range(no_start[i], no_start[i + 1]):
                if j == no_index[k] or is_above(no_index[k], j, up, over):
                    what = 0
            out[at] = what
    return out
