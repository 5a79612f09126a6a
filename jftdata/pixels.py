"""Decode the images of a catalog in a given order, on threads, a bounded number ahead.

Reading, JPEG decoding and resizing all release the GIL, so threads fill the cores without processes, pickling or shared
memory.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import polars as pl

from jftdata.catalog import Catalog
from jftdata.errors import ImageRejected
from jftdata.hashing import image_id

_T = TypeVar("_T")
PLACE = ("shard", "offset", "length")
"""Columns that say where the bytes of an image are."""
UNREAD = {"image": pl.Int64(), "reason": pl.String(), "message": pl.String()}
"""Columns of a list of images that could not be read."""
_GROUP = 16


def map_images(
    catalog: Catalog, places: pl.DataFrame, function: Callable[[int, bytes], _T], *, workers: int | None = None,
    ahead: int = 1024, on_reject: Callable[[int, ImageRejected], _T] | None = None,
) -> Iterator[_T]:  # fmt: skip
    """Apply a function to the bytes of each image; results come in the order of `places`.

    Args:
        catalog: where the bytes are.
        places: a row an image with the columns of `PLACE`.
        function: called on a thread with the row number and the bytes.
        workers: threads; None is one a core.
        ahead: how many images may wait to be taken.
        on_reject: called on the thread with the row number and the error of an image whose bytes are gone or that
            `function` rejects; what it returns is that image's result. None raises the error.

    Raises:
        ImageRejected: bytes that are gone; and whatever `function` raises.
    """
    shards = places["shard"]
    offsets, lengths = places["offset"].to_numpy(), places["length"].to_numpy()

    def one(i: int) -> _T:
        try:
            return function(i, catalog.read(shards[i], int(offsets[i]), int(lengths[i])))
        except ImageRejected as error:
            if on_reject is None:
                raise
            return on_reject(i, error)

    def group(first: int) -> Sequence[_T]:
        return [one(i) for i in range(first, min(first + _GROUP, len(places)))]

    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    waiting: deque[Future[Sequence[_T]]] = deque()
    try:
        for first in range(0, len(places), _GROUP):
            waiting.append(pool.submit(group, first))
            if len(waiting) * _GROUP > ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check_unchanged(image: int, data: bytes) -> None:
    """Raise ImageRejected, reason `damaged`, unless the bytes are those the catalog was made of."""
    if image_id(hashlib.sha256(data).digest()) != image:
        raise ImageRejected("damaged", f"the bytes of image {image} have changed since the catalog was made")
