"""Reading in blocks: a shuffle that is kind to disks, and what it costs in randomness.

Images lie on disk in some order. An epoch takes blocks of neighbours in random order, several blocks at a time, and mixes the
images of those. A block is read in one piece, and only the images of one window need be at hand. The price is that a batch
comes from few blocks: where neighbours on disk are alike, its labels vary more from batch to batch.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadArgument

if TYPE_CHECKING:
    from jftdata.subset.core import Subset


@dataclass(frozen=True, eq=False)
class Blocks:
    """How an epoch is shuffled within blocks."""

    order: NDArray[np.int64]
    """(n,) rows of the subset as they lie on disk, from `disk_order`; may be a memory map."""
    size: int
    """Images of a block, read in one piece."""
    window: int
    """Blocks whose images are mixed together, and should fit in memory together."""

    def __post_init__(self) -> None:
        for name in ("size", "window"):
            if getattr(self, name) < 1:
                raise BadArgument(f"`{name}` of blocks must be at least 1. Got {getattr(self, name)}.")


def disk_order(subset: "Subset") -> NDArray[np.int64]:
    """Rows of a subset in the order in which their bytes lie on disk: by shard, then by offset.

    Returns:
        (n,) int64; `subset.images[order]` are the ids in that order. Save it with `np.save` and open it with
        `np.load(..., mmap_mode="r")` to train from it without holding it.

    Raises:
        BadInput: a catalog without pixels.

    Cost: one pass over the catalog's shards and offsets; 28 bytes an image and the name of each shard while it sorts.
    """
    subset.catalog.need_pixels()
    codes: dict[str, int] = {}
    shard, offset = np.empty(len(subset), np.int32), np.empty(len(subset), np.int64)
    last = 0
    for rows in subset.map_rows(lambda rows: rows, columns=["shard", "offset"]):
        first, last = last, last + len(rows)
        names = rows.column("shard").combine_chunks().dictionary_encode()
        code = [codes.setdefault(name, len(codes)) for name in names.dictionary.to_pylist()]
        shard[first:last] = np.array(code, np.int32)[names.indices.to_numpy()]
        offset[first:last] = rows.column("offset").to_numpy()
    rank = np.empty(len(codes), np.int32)
    rank[[codes[name] for name in sorted(codes)]] = np.arange(len(codes), dtype=np.int32)
    return np.lexsort((offset, rank[shard])).astype(np.int64, copy=False)


def design_effect(num_images: int, *, batch_size: int, size: int, window: int) -> float:
    """By what factor the variance of a label's share of a batch grows against a full shuffle, at worst.

    The worst is that all images of a block have the same labels. Where they only resemble each other, with a correlation r of
    a label within blocks, the factor is about 1 + r (design_effect - 1).

    Args:
        num_images: of an epoch.
        batch_size: images a batch.
        size: images of a block.
        window: blocks mixed together.

    Returns:
        At least 1; about 1 + (batch_size - 1) / window while the window is a small part of all and a batch a small
        part of the window. Exact where blocks fill windows, windows the epoch and batches windows (or the other way round).

    Source: ours, from the variance of two-stage samples (Cochran 1977, chapter 10): a window is a sample of the blocks, a batch one
    of the window.

    >>> [round(design_effect(300_000_000, batch_size=256, size=128, window=m), 2) for m in (16, 256, 1024)]
    [16.82, 1.99, 1.25]
    """
    _check(num_images, batch_size, size, window)
    mixed = min(num_images, max(size * window, batch_size))
    blocks, drawn = num_images / size, mixed / size
    if mixed == num_images:
        return 1.0
    between = (blocks - drawn) / ((blocks - 1) * drawn)
    within = (mixed - batch_size) / ((mixed - 1) * batch_size)
    return (between + (1 - between) * within) * batch_size * (num_images - 1) / (num_images - batch_size)


def blocks_touched(num_images: int, *, batch_size: int, size: int, window: int | None = None) -> float:
    """From how many blocks a batch comes, on average; a window of None is a full shuffle.

    >>> [round(blocks_touched(300_000_000, batch_size=256, size=128, window=m), 1) for m in (16, 256, None)]
    [16.0, 162.4, 256.0]
    """
    _check(num_images, batch_size, size, 1 if window is None else window)
    mixed = num_images if window is None else min(num_images, max(size * window, batch_size))
    if mixed - size < batch_size:
        return mixed / size
    none_of_a_block = float(np.log1p(-size / (mixed - np.arange(batch_size))).sum())
    return -math.expm1(none_of_a_block) * mixed / size


def _check(num_images: int, batch_size: int, size: int, window: int) -> None:
    for name, value in (("batch_size", batch_size), ("size", size), ("window", window)):
        if value < 1:
            raise BadArgument(f"`{name}` must be at least 1. Got {value}.")
    if num_images <= max(batch_size, size):
        raise BadArgument(
            f"`num_images` must be more than a batch ({batch_size}) and a block ({size}). Got {num_images}. Lower those."
        )
