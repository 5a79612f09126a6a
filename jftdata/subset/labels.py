"""Subsets by label: images with some labels or without them, and those of the head, the middle and the tail.

Labels of another set come through a crosswalk: give the frame of `hierarchy.match`, thinned out to the candidates you trust,
or `crosswalk.apply(labels)`. Cost: one pass over ids and labels; 300M images with 375M labels take some 10 s on two cores,
memory is the result and a few batches of rows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.catalog import label_arrays
from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.hierarchy import Hierarchy
from jftdata.ragged import Ragged, from_keys, owners
from jftdata.subset.build import Picked, builder
from jftdata.subset.core import Subset
from jftdata.tail import CUTS

Labels = Sequence[str] | pl.DataFrame
"""Labels: a list, or a frame with a column `candidate` (of `hierarchy.match`; nulls do not matter) or `label`."""
_T = TypeVar("_T")


def _why_labels(source: Subset, image: int, *, labels: Labels, descendants: bool, **_: str) -> str:
    tree = source.catalog.hierarchy
    asked = _indexes(tree, labels)
    start, index = _covered(tree, asked, descendants)
    parts = []
    for label in given(source, image):
        above = [tree.labels[asked[i]] for i in index[start[label] : start[label + 1]]]
        own = tree.labels[label]
        parts.append(own if not above else f"{own} (asked for{'' if own in above else ' as ' + ', '.join(above)})")
    return f"its labels are {', '.join(parts)}" if parts else "it has no label"


@builder(why=_why_labels)
def with_labels(
    source: Subset, *, labels: Labels, descendants: bool = True, any_or_all: Literal["any", "all"] = "any"
) -> Picked:
    """Images that have any, or all, of some labels.

    Args:
        source: images with given labels.
        labels: the labels asked for.
        descendants: an image with a label below one has that one too.
        any_or_all: whether one of the labels is enough.

    Raises:
        UnknownName: no such label; the nearest is suggested.
        BadArgument: no label at all.

    Source: Sun et al. 2017, section 4.1 (941 of ImageNet's labels found in JFT-300M).
    """
    if any_or_all not in ("any", "all"):
        raise one_of("any_or_all", any_or_all, ("any", "all"))
    asked = _indexes(source.catalog.hierarchy, labels)
    start, index = _covered(source.catalog.hierarchy, asked, descendants)
    need = 1 if any_or_all == "any" else len(asked)
    return _where(source, lambda s, i: _reaches(s, i, start, index, len(asked), need))


@builder(why=_why_labels)
def without_labels(source: Subset, *, labels: Labels, descendants: bool = True) -> Picked:
    """Images that have none of some labels; the rest of `with_labels`.

    Args:
        source: images with given labels.
        labels: the labels to be without.
        descendants: an image with a label below one has that one too.

    Raises:
        UnknownName: no such label; the nearest is suggested.
        BadArgument: no label at all.
    """
    asked = _indexes(source.catalog.hierarchy, labels)
    start, index = _covered(source.catalog.hierarchy, asked, descendants)
    return _where(source, lambda s, i: ~_reaches(s, i, start, index, len(asked), 1))


def _why_part(source: Subset, image: int, *, cuts: Sequence[int], only: bool) -> str:
    tree, n = source.catalog.hierarchy, num_images(source, ancestors=True)
    few, many = cuts
    parts = [
        f"{tree.labels[i]} ({n[i]:,} images, {'tail' if n[i] < few else 'head' if n[i] > many else 'medium'})"
        for i in given(source, image)
    ]
    return f"its labels are {', '.join(parts)}" if parts else "it has no label"


@builder(why=_why_part)
def head(source: Subset, *, cuts: Sequence[int] = CUTS, only: bool = False) -> Picked:
    """Images with a common label: more than `cuts[1]` of the source's images have it.

    Args:
        source: images with given labels; those given are looked at, their images are counted with ancestors filled in.
        cuts: fewer images than the first are the tail, more than the second the head.
        only: whether all of an image's labels must be of this part.

    Raises:
        BadArgument: cuts that are not two ascending numbers.

    Source: the cuts at 20 and 100 are those of Sun et al. 2017, section 3.
    """
    return _part(source, cuts, only, lambda n, few, many: n > many)


@builder(why=_why_part)
def medium(source: Subset, *, cuts: Sequence[int] = CUTS, only: bool = False) -> Picked:
    """Images with a label that is neither of the head nor of the tail; arguments are those of `head`."""
    return _part(source, cuts, only, lambda n, few, many: (n >= few) & (n <= many))


@builder(why=_why_part)
def tail(source: Subset, *, cuts: Sequence[int] = CUTS, only: bool = False) -> Picked:
    """Images with a rare label: fewer than `cuts[0]` of the source's images have it; arguments are those of `head`."""
    return _part(source, cuts, only, lambda n, few, many: n < few)


def _part(
    source: Subset, cuts: Sequence[int], only: bool, inside: Callable[[NDArray[np.int64], int, int], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    if len(cuts) != 2 or not 0 <= cuts[0] <= cuts[1]:
        raise BadArgument(f"`cuts` must be two numbers, ascending. Got {list(cuts)}. Customary are {list(CUTS)}.")
    of_part = inside(num_images(source, ancestors=True), *cuts)
    return _where(
        source, lambda start, index: _all_in(start, index, of_part) if only else _any_in(start, index, of_part)
    )


# ---- what builders by label share ----------------------------------------------------------------------------------


def streamed(
    source: Subset, work: Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]], _T]
) -> Iterator[_T]:
    """Apply a function to (ids, start, index) of given labels, a batch of rows at a time, on threads, in image-id order."""
    return source.map_rows(
        lambda rows: work(rows.column("image").to_numpy(), *label_arrays(rows.column("labels"))), columns=["labels"]
    )


def given(source: Subset, image: int) -> list[int]:
    """Indexes of the labels given to an image."""
    labels: list[int] = source.catalog.rows(np.array([image]), columns=["labels"])["labels"].to_list()[0]
    return labels


def num_images(source: Subset, *, ancestors: bool) -> NDArray[np.int64]:
    """(num_labels,) images each label is given to, or that have it with ancestors filled in."""
    counts: NDArray[np.int64] = source.counts["num_images" if ancestors else "num_given"].to_numpy()
    return counts


def _where(
    source: Subset, keep: Callable[[NDArray[np.int64], NDArray[np.int32]], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """Ids of the images whose labels a function keeps; pages of the array that are not reached take no memory."""
    out, end = np.empty(len(source), np.int64), 0
    for ids in streamed(source, lambda ids, start, index: ids[keep(start, index)]):
        out[end : end + len(ids)] = ids
        end += len(ids)
    return out[:end]


def _indexes(tree: Hierarchy, labels: Labels) -> NDArray[np.int64]:
    """Index of each label, each once."""
    if isinstance(labels, pl.DataFrame):
        column = next((name for name in ("candidate", "label") if name in labels.columns), None)
        if column is None:
            raise BadInput(f"a table of labels needs a column `candidate` or `label`. Got columns {labels.columns}.")
        labels = labels[column].drop_nulls().cast(pl.String).to_list()
    if isinstance(labels, str):
        raise BadArgument(f"`labels` must be a list. Got {labels!r}. Write [{labels!r}].")
    if not len(labels):
        raise BadArgument("`labels` must name at least one label. Got none.")
    return np.array([tree.index(label) for label in dict.fromkeys(labels)], np.int64)


def _covered(tree: Hierarchy, asked: NDArray[np.int64], descendants: bool) -> Ragged:
    """For each label, which of those asked for it stands for."""
    place = np.full(tree.num_labels, -1, np.int64)
    place[asked] = np.arange(len(asked))
    keys = asked * len(asked) + place[asked]
    if descendants:
        hit = place[tree.ancestor_index] >= 0
        below = owners(tree.ancestor_start)[hit]
        keys = np.concatenate([keys, below * len(asked) + place[tree.ancestor_index[hit]]])
    return from_keys(keys, num_rows=tree.num_labels, width=len(asked))


@numba.njit(cache=True, nogil=True)
def _reaches(
    start: NDArray[Any], index: NDArray[Any], covered_start: NDArray[Any], covered: NDArray[Any], num: int, need: int
) -> NDArray[Any]:
    """Which images stand for at least `need` of the `num` labels asked for."""
    out = np.zeros(len(start) - 1, np.bool_)
    stamp = np.full(num, -1, np.int64)
    for i in range(len(start) - 1):
        found = 0
        for at in range(start[i], start[i + 1]):
            for c in range(covered_start[index[at]], covered_start[index[at] + 1]):
                if stamp[covered[c]] != i:
                    stamp[covered[c]] = i
                    found += 1
        out[i] = found >= need
    return out


@numba.njit(cache=True, nogil=True)
def _any_in(start: NDArray[Any], index: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Which images have a wanted label."""
    out = np.zeros(len(start) - 1, np.bool_)
    for i in range(len(start) - 1):
        for at in range(start[i], start[i + 1]):
            out[i] |= wanted[index[at]]
    return out


@numba.njit(cache=True, nogil=True)
def _all_in(start: NDArray[Any], index: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Which images have labels, all of them wanted."""
    out = np.zeros(len(start) - 1, np.bool_)
    for i in range(len(start) - 1):
        out[i] = start[i + 1] > start[i]
        for at in range(start[i], start[i + 1]):
            out[i] &= wanted[index[at]]
    return out
