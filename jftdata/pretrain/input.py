"""Batches of a subset: order and augmentation of every image are functions of (seed, step), for any number of threads.

The order is that of a `jftdata.subset.stream`; a copy of an image is augmented otherwise. Threads read, decode, resize and
write into the batch's array, a bounded number of batches ahead; lists of images are never copied.

Threads reach what decoding and resizing alone reach (`benchmarks/bench_loader.py`), so there are no worker processes.
"""

import math
import os
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, ImageRejected, TooManyRejects
from jftdata.pretrain.augment import Augmentation
from jftdata.pretrain.places import Places
from jftdata.subset.stream import Batch as Drawn
from jftdata.subset.stream import Stream

ALWAYS_ALLOWED = 10
"""Bad images that do not stop a run that allows any."""
_GROUP = 16
_GROUPS_AHEAD = 4
"""Of a worker."""

__all__ = ["Augmentation", "Batch", "batches", "steps_per_epoch"]


@dataclass(frozen=True)
class Batch:
    """One step's images."""

    pixels: NDArray[np.uint8] | Tensor
    """(B, size, size, 3); a uint8 tensor where a device was given."""
    rows: NDArray[np.int64]
    """(B,) row of each image in the table the batches were made from; of what stands in for a bad one, not of the bad one."""
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    """Images of the batch that could not be read, as rows of `pixels.UNREAD`."""


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Full batches in an epoch; a subset smaller than a batch is one batch.

    >>> steps_per_epoch(300, 64), steps_per_epoch(10, 64)
    (4, 1)
    """
    return max(1, num_images // batch_size)


def batches(
    catalog: Catalog, table: Places | pl.DataFrame, augmentation: Augmentation, *, stream: Stream, first_step: int,
    num_steps: int, workers: int | None = None, device: torch.device | None = None, world_size: int = 1, rank: int = 0,
    max_rejects: float = 0.0,
) -> Iterator[Batch]:  # fmt: skip
    """The batches of steps `first_step` to `num_steps`.

    Args:
        catalog: where the bytes are.
        table: a row an image, in the order of `stream.images`: places, or a frame with the columns of `pixels.PLACE`.
        augmentation: resize, crop, mirror and more.
        stream: order, batch size and seed.
        first_step: resuming here gives what an undisturbed run would have given.
        num_steps: step to end before.
        workers: decoding threads; None is one a core.
        device: threads only read and decode, and all else is done here; None does all on threads.
        world_size: ranks that share each batch.
        rank: whose share to give.
        max_rejects: an image that is gone or damaged is replaced by the one before it in the batch (the first good one after it, if
            there is none), until more than this share of the stream's images and more than 10 are bad. 0 allows none. Bytes that
            have changed into those of another image are not noticed.

    Raises:
        BadArgument: another number of rows than the stream has images, ranks that do not share a batch evenly.
        ImageRejected: a bad image where none is allowed.
        TooManyRejects: more bad images than allowed, or no good one in a batch.
    """
    places = table if isinstance(table, Places) else Places.of_rows(catalog, table)
    if len(places) != len(stream.images):
        raise BadArgument(f"`table` must have a row for each of the {len(stream.images)} images. Got {len(places)}.")
    drawn = stream.batches(first_step, num_steps, world_size=world_size, rank=rank)
    return _batches(places, augmentation, stream, drawn, workers or os.cpu_count() or 1, device, max_rejects)


def _batches(
    places: Places, augmentation: Augmentation, stream: Stream, drawn: Iterator[Drawn], workers: int,
    device: torch.device | None, max_rejects: float,
) -> Iterator[Batch]:  # fmt: skip
    rejects = _Rejects(stream, max_rejects)
    ahead = 1 + math.ceil(workers * _GROUPS_AHEAD * _GROUP / stream.batch_size)
    waiting: deque[_Work] = deque()
    memory = _Memory()
    pool = ThreadPoolExecutor(workers)
    try:
        for batch in drawn:
            draws = stream.draw(batch.epoch, batch.positions)
            waiting.append(_Work(places, augmentation, batch, draws, memory, pool, device))
            if len(waiting) > ahead:
                yield waiting.popleft().result(rejects)
        while waiting:
            yield waiting.popleft().result(rejects)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Work:
    """A batch being made."""

    def __init__(
        self, places: Places, augmentation: Augmentation, batch: Drawn, draws: NDArray[np.uint64],
        memory: "_Memory", pool: ThreadPoolExecutor, device: torch.device | None,
    ) -> None:  # fmt: skip
        self._places, self._augmentation, self._device = places, augmentation, device
        self._rows, self._draws = batch.rows, draws
        size = augmentation.image_size
        self._pixels = memory.array((0 if device else len(draws), size, size, 3))
        self._parts: list[Tensor | None] = [None] * len(draws)
        self._errors: dict[int, ImageRejected] = {}
        self._futures: list[Future[None]] = [
            pool.submit(self._make, first, first + _GROUP) for first in range(0, len(draws), _GROUP)
        ]

    def _make(self, first: int, last: int) -> None:
        for i, draw in enumerate(self._draws[first:last], first):
            try:
                part = self._augmentation.load(self._places.read(int(self._rows[i])), draw)
            except ImageRejected as error:
                self._errors[i] = error
                continue
            if self._device is None:
                self._pixels[i] = self._augmentation.finish(part, draw)
            else:
                tensor = torch.from_numpy(np.array(part))
                self._parts[i] = tensor.pin_memory() if self._device.type == "cuda" else tensor

    def result(self, rejects: "_Rejects") -> Batch:
        """Wait for the images; put others in the place of bad ones."""
        for future in self._futures:
            future.result()
        bad = sorted(self._errors)
        rows = self._rows
        pixels: Any = self._pixels if self._device is None else self._on_device(self._device)
        rejected = [rejects.add(int(rows[i]), self._errors[i]) for i in bad]
        if bad:
            good = np.setdiff1d(np.arange(len(rows)), bad)
            if not len(good):
                raise TooManyRejects(
                    f"none of the {len(rows)} images of a batch can be read; the first: {self._errors[0]}. Bring the files "
                    "back."
                )
            instead = good[np.maximum(np.searchsorted(good, bad) - 1, 0)]
            rows = rows.copy()
            rows[bad], pixels[bad] = rows[instead], pixels[instead]
        return Batch(pixels, rows, rejected)

    def _on_device(self, device: torch.device) -> Tensor:
        size = self._augmentation.image_size
        pixels = torch.empty((len(self._draws), size, size, 3), dtype=torch.uint8, device=device)
        for i, (part, draw) in enumerate(zip(self._parts, self._draws, strict=True)):
            if part is not None:
                pixels[i] = self._augmentation.finish_on(part.to(device, non_blocking=True), draw)
        return pixels


class _Memory:
    """Arrays whose memory is used again once nobody holds them or a part of them: new memory costs 0.2 ms an image of 299."""

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def array(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Uninitialised."""
        size = math.prod(shape)
        block = self._free.pop() if self._free and len(self._free[-1]) >= size else np.empty(size, np.uint8)
        whole = np.frombuffer(block.data, np.uint8)  # every view holds it, none holds the block alone
        weakref.finalize(whole, self._free.append, block).atexit = False
        return whole[:size].reshape(shape)


class _Rejects:
    """Bad images so far, each counted once."""

    def __init__(self, stream: Stream, share: float) -> None:
        self._images, self._share, self._seen = stream.images, share, set[int]()

    def add(self, row: int, error: ImageRejected) -> tuple[int, str, str]:
        if not self._share:
            raise error
        image = int(self._images[row])
        self._seen.add(image)
        check_rejects(len(self._seen), len(self._images), self._share, image, str(error))
        return image, error.reason, str(error)


def check_rejects(num: int, num_images: int, share: float, image: int, message: str) -> None:
    """Raise TooManyRejects when more images cannot be read than may: a share of them, and `ALWAYS_ALLOWED` at least.

    Args:
        num: images that cannot be read.
        num_images: in all.
        share: that may be so.
        image: the last of them.
        message: what is wrong with it.
    """
    if num > max(ALWAYS_ALLOWED, share * num_images):
        raise TooManyRejects(
            f"{num} of {num_images} images cannot be read, more than {share:.2%} and {ALWAYS_ALLOWED}; the last, image {image}: "
            f"{message}. Bring the files back, or make a subset without them."
        )
