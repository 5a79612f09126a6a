"""Batches of a subset: order and augmentation of every image are functions of (seed, step), for any number of threads.

The order is that of a `jftdata.subset.stream`; a copy of an image is augmented otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import images
from jftdata.catalog import Catalog
from jftdata.pixels import PLACE, map_images
from jftdata.subset.stream import Stream


@dataclass(frozen=True)
class Augmentation:
    """Resize to a square, random crop, random mirror."""

    resize: int
    image_size: int


@dataclass(frozen=True)
class Batch:
    """One step's images."""

    pixels: NDArray[np.uint8]
    """(B, size, size, 3)."""
    rows: NDArray[np.int64]
    """(B,) row of each image in the table the batches were made from."""


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Full batches in an epoch; a subset smaller than a batch is one batch.

    >>> steps_per_epoch(300, 64), steps_per_epoch(10, 64)
    (4, 1)
    """
    return max(1, num_images // batch_size)


def batches(
    catalog: Catalog, table: pl.DataFrame, augmentation: Augmentation, *, stream: Stream, first_step: int, num_steps: int,
    workers: int | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """The batches of steps `first_step` to `num_steps`.

    Args:
        catalog: where the bytes are.
        table: a row an image with the columns of `pixels.PLACE`, in the order of `stream.images`.
        augmentation: resize, crop and mirror.
        stream: order, batch size and seed.
        first_step: resuming here gives what an undisturbed run would have given.
        num_steps: step to end before.
        workers: decoding threads; None is one a core.
    """
    places = table.select(PLACE)
    for _, epoch, first, last in stream.spans(first_step, num_steps):
        rows, draw = stream.rows(epoch, first, last), stream.draw(epoch, np.arange(first, last))
        yield from _cut(catalog, places, rows, draw, augmentation, stream.batch_size, workers)


def _cut(
    catalog: Catalog, places: pl.DataFrame, order: NDArray[np.int64], draw: NDArray[np.uint64], augmentation: Augmentation,
    batch_size: int, workers: int | None,
) -> Iterator[Batch]:  # fmt: skip
    resize, size = augmentation.resize, augmentation.image_size
    room = np.uint64(resize - size + 1)
    top = (draw >> np.uint64(40)) % room
    left = ((draw >> np.uint64(16)) & np.uint64(0xFFFFFF)) % room
    mirror = (draw & np.uint64(1)).astype(bool)

    def load(i: int, data: bytes) -> NDArray[np.uint8]:
        pixels = images.resize(images.decode(data)[0], width=resize, height=resize)
        y, x = int(top[i]), int(left[i])
        crop = pixels[y : y + size, x : x + size]
        return crop[:, ::-1] if mirror[i] else crop

    ready: list[NDArray[np.uint8]] = []
    done = 0
    for pixels in map_images(catalog, places[order], load, workers=workers, ahead=4 * batch_size):
        ready.append(pixels)
        if len(ready) == min(batch_size, len(order) - done):
            yield Batch(np.stack(ready), order[done : done + len(ready)])
            done += len(ready)
            ready = []
