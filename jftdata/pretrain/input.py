"""Batches of a subset: order and augmentation of every image are functions of (seed, step), for any number of threads.

Each epoch is a keyed-hash permutation of the subset, cut into full batches; the rest, less than a batch and another one every
epoch, is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import images
from jftdata.catalog import Catalog
from jftdata.hashing import keyed_hash, keyed_order
from jftdata.pixels import PLACE, map_images


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
    catalog: Catalog, table: pl.DataFrame, augmentation: Augmentation, *, batch_size: int, first_step: int, num_steps: int,
    seed: int, workers: int | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """The batches of steps `first_step` to `num_steps`.

    Args:
        catalog: where the bytes are.
        table: a row an image with `image` and the columns of `pixels.PLACE`.
        augmentation: resize, crop and mirror.
        batch_size: images a batch.
        first_step: resuming here gives what an undisturbed run would have given.
        num_steps: step to end before.
        seed: of order, crop and mirror.
        workers: decoding threads; None is one a core.
    """
    ids = table["image"].to_numpy()
    places = table.select(PLACE)
    batch_size = min(batch_size, len(ids))
    for epoch, order in _orders(ids, batch_size, first_step, num_steps, seed):
        draw = keyed_hash(ids[order], seed=seed, stream=f"augmentation {epoch}")
        yield from _cut(catalog, places, order, draw, augmentation, batch_size, workers)


def seen(images: NDArray[np.int64], *, batch_size: int, num_steps: int, seed: int) -> NDArray[np.int64]:
    """The images in the batches of `num_steps` steps, ascending: fewer than all when a run ends within its first epochs.

    Args:
        images: (n,) ids.
        batch_size: images a batch.
        num_steps: of the whole run.
        seed: of the order.

    Cost: an epoch's permutation for each epoch until all are seen.

    >>> [len(seen(np.arange(10), batch_size=4, num_steps=n, seed=0)) for n in (0, 1, 2, 100)]
    [0, 4, 8, 10]
    """
    met = np.zeros(len(images), np.bool_)
    for _, order in _orders(images, min(batch_size, len(images)), 0, num_steps, seed):
        met[order] = True
        if met.all():
            break
    return np.sort(images[met])


def _orders(
    ids: NDArray[np.int64], batch_size: int, first_step: int, num_steps: int, seed: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each epoch's number and the rows of its batches, one after another."""
    in_epoch = steps_per_epoch(len(ids), batch_size)
    step = first_step
    while step < num_steps:
        epoch, skipped = divmod(step, in_epoch)
        stop = min(in_epoch, num_steps - epoch * in_epoch)
        yield epoch, keyed_order(ids, seed=seed, stream=f"epoch {epoch}")[skipped * batch_size : stop * batch_size]
        step += stop - skipped


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
        if len(ready) == batch_size:
            yield Batch(np.stack(ready), order[done : done + batch_size])
            done += batch_size
            ready = []
