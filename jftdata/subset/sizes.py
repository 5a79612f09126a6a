"""Subsets by size: all, so many at random, a share at random, given images or all but them, a split.

What is drawn at random is drawn by a keyed hash of the image id: a subset does not depend on row order, smaller ones lie within
larger ones, and images added to the catalog later change no earlier decision.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import tail
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, UnknownName, one_of
from jftdata.hashing import keyed_hash, keyed_order
from jftdata.ragged import in_sorted
from jftdata.subset.build import BUILDERS, ROOT, Builder, Ids, Picked, all_of, builder, ids_of, members
from jftdata.subset.core import Subset, in_order
from jftdata.subset.recipe import Step

_STREAM = "nested"
_PIECE = 1 << 20
_BITS = 16
_SPAN = 2.0**64
_T = TypeVar("_T")


def everything(catalog: Catalog, *, split: str | None = None) -> Subset:
    """All images of a catalog, or of one split.

    Raises:
        UnknownName: no such split.
    """
    if split is None:
        return all_of(catalog)
    return Subset(catalog, catalog.images(split=split), Step(ROOT, {"split": split}))


BUILDERS[ROOT] = Builder(everything, many=False, why=None)


def nested(source: Catalog | Subset, *, sizes: Sequence[int], seed: int) -> list[Subset]:
    """Random subsets, each within the next larger one.

    Args:
        source: where to draw from.
        sizes: numbers of images.
        seed: of the keyed hash that orders the images.

    Returns:
        One subset a size, in the order of `sizes`; each is what `sample` gives for it.

    Raises:
        BadArgument: a size below one or above the number of images.

    Cost: one pass over the ids; memory is 8 bytes an image of the largest size and of the others.

    Source: Sun et al. 2017, section 5.2 (10M within 30M within 100M within 300M images).
    """
    source = source if isinstance(source, Subset) else all_of(source)
    for size in sizes:
        if not 1 <= size <= len(source):
            raise BadArgument(f"`sizes` must be in 1..{len(source)}, the images there are to draw from. Got {size}.")
    found: dict[int, Subset] = {}
    within = source
    for size in sorted(set(sizes), reverse=True):
        within = sample(source, size=size, seed=seed) if within is source else _smaller(source, within, size, seed)
        found[size] = within
    drawn = [found[size] for size in sizes]
    together = cache(lambda: tail.count_each(source.catalog, [one.chosen for one in drawn]))
    return [replace(one, counted=partial(_labels, together, i)) for i, one in enumerate(drawn)]


def _labels(together: Callable[[], list[tail.Counts]], i: int) -> pl.DataFrame:
    return together()[i].labels


def _smaller(source: Subset, within: Subset, size: int, seed: int) -> Subset:
    """What `sample` would draw from the source, known to lie within a larger one."""
    drawn = sample(within, size=size, seed=seed)
    return Subset(source.catalog, drawn.chosen, Step("sample", drawn.recipe.arguments, (source.recipe,)), drawn.weights)


def _why_sample(source: Subset, image: int, *, size: int, seed: int) -> str:
    own = keyed_hash(np.array([image]), seed=seed, stream=_STREAM)[0]
    before = sum(_mapped(source, lambda ids: int((keyed_hash(ids, seed=seed, stream=_STREAM) < own).sum())))
    return f"its keyed hash is number {before + 1:,} of {len(source):,}; the first {size:,} are drawn"


@builder(why=_why_sample)
def sample(source: Subset, *, size: int, seed: int) -> Picked:
    """So many images at random.

    Args:
        source: where to draw from.
        size: number of images.
        seed: of the keyed hash; the images with the smallest are drawn, so that a smaller size lies within a larger.

    Raises:
        BadArgument: a size below one or above the number of images.
    """
    if not 1 <= size <= len(source):
        raise BadArgument(f"`size` must be in 1..{len(source)}, the images there are to draw from. Got {size}.")
    return _smallest(source, seed, size)


def _why_fraction(source: Subset, image: int, *, share: float, seed: int) -> str:
    own = float(keyed_hash(np.array([image]), seed=seed, stream=_STREAM)[0]) / _SPAN
    return f"its keyed hash is {own:.4f} of 1; those below {share} are drawn"


@builder(why=_why_fraction)
def fraction(source: Subset, *, share: float, seed: int) -> Picked:
    """About a share of the images at random, each decided on its own: no other image, added or gone, matters.

    Args:
        source: where to draw from.
        share: in (0, 1]; a smaller one lies within a larger, and within `nested` of the same seed.
        seed: of the keyed hash.

    Raises:
        BadArgument: a share out of range.
    """
    if not 0 < share <= 1:
        raise BadArgument(f"`share` must be in (0, 1]. Got {share}.")
    bound = np.uint64(min(int(share * _SPAN), 2**64 - 1))
    out, end = np.empty(len(source), np.int64), 0  # memory that is not written to is not taken
    for kept in _mapped(
        source, lambda ids: ids if share == 1 else ids[keyed_hash(ids, seed=seed, stream=_STREAM) < bound]
    ):
        out[end : end + len(kept)] = kept
        end += len(kept)
    return out[:end]


@builder()
def without(source: Subset, *, images: Ids) -> Picked:
    """All but given images (copies of test images, say); ids that are not among them do not matter."""
    return source.images[~in_sorted(source.images, ids_of(images))]


@builder()
def only(source: Subset, *, images: Ids) -> Picked:
    """Given images.

    Raises:
        BadInput: one that is not in the source.
    """
    return members(source, images)


@builder()
def in_split(source: Subset, *, split: str) -> Picked:
    """The images of one split.

    Raises:
        UnknownName: no such split.
    """
    if split not in source.catalog.splits:
        raise one_of("split", split, source.catalog.splits, error=UnknownName)
    return source.images[in_sorted(source.images, source.catalog.images(split=split))]


def _mapped(source: Subset, function: Callable[[NDArray[np.int64]], _T]) -> Iterator[_T]:
    """Apply a function to the ids, ascending and some at a time, on threads, without holding those of a whole catalog."""
    chosen = source.chosen
    if chosen is None:
        return source.map_rows(lambda rows: function(np.asarray(rows.column("image"))), columns=["image"])
    return in_order(lambda i: function(chosen[i : i + _PIECE]), range(0, len(source), _PIECE))


def _smallest(source: Subset, seed: int, size: int) -> NDArray[np.int64]:
    """The `size` ids with the smallest keyed hashes, ties to the smaller id, ascending.

    One pass counts hashes in bins, which tells the bin of the cut; a second one takes what lies below. Only that bin is sorted, and
    nothing is as long as the source.
    """
    ends = np.cumsum(sum(_mapped(source, lambda ids: np.bincount(_bin(ids, seed), minlength=1 << _BITS))))
    cut = int(np.searchsorted(ends, size))
    below = int(ends[cut - 1]) if cut else 0

    def parts(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        which = _bin(ids, seed)
        return ids[which < cut], ids[which == cut]

    out, end, edge = np.empty(size, np.int64), 0, []
    for kept, others in _mapped(source, parts):
        out[end : end + len(kept)] = kept
        end += len(kept)
        edge.append(others)
    of_cut = np.concatenate(edge)
    out[below:] = of_cut[keyed_order(of_cut, seed=seed, stream=_STREAM)][: size - below]
    out.sort()
    return out


def _bin(ids: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The highest bits of each keyed hash."""
    return (keyed_hash(ids, seed=seed, stream=_STREAM) >> np.uint64(64 - _BITS)).astype(np.int64)
