"""The order of images in training: a pure function of seed and step, the same for any number of ranks and workers.

An epoch is a permutation that is computed at any place (`jftdata.permute`), cut into batches; nothing is shuffled in memory,
and going on at a step is starting there. With weights an image comes floor(w) or floor(w) + 1 times an epoch, the one more
drawn by a keyed hash of its id and the epoch, so that epochs differ in length and the mean is w.

Cost: at 300M images 60 ns an image and core, 1 to 2 us with weights. Memory is what is asked for and, with weights, 8 bytes for
every 64 images; ids, weights and disk order may be memory maps. With weights that are not whole, the first use of an epoch is a
pass over ids and weights (1 s; with blocks a minute, as it goes in disk order), and so is that of each epoch before the first
step asked for.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadArgument
from jftdata.hashing import keyed_hash, stream_key
from jftdata.permute import ROUNDS, mix, permuted, side_of
from jftdata.subset.disk import Blocks

_EVERY = 64
"""Images whose counts are added up anew for each place, so that one sum in so many is kept."""
_PIECE = 1 << 16
"""About so many places are computed at a time."""
_LONGEST = 1 << 50


@dataclass(frozen=True)
class Batch:
    """A rank's share of one batch."""

    step: int
    """Number of the batch, over all epochs."""
    epoch: int
    positions: NDArray[np.int64]
    """(b,) places in the epoch."""
    rows: NDArray[np.int64]
    """(b,) rows of `Stream.images`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Stream:
    """Endless epochs of some images, in batches.

    Raises:
        BadArgument: a batch of no image or more than there are in an epoch, other numbers of images, weights and places, weights
            that are not above 0, a disk order that is not one.
    """

    images: NDArray[np.int64]
    """(n,) ids, ascending; may be a memory map."""
    seed: int
    batch_size: int
    """Of all ranks together."""
    weights: NDArray[np.float64] | None = None
    """(n,) above 0: how often each image comes in an epoch, on average; None is once."""
    blocks: Blocks | None = None
    """Shuffle within blocks of neighbours on disk; copies of an image then lie within a window. None shuffles fully."""
    drop_last: bool = True
    """Leave out an epoch's last batch if it is not full, other images every epoch."""

    def __post_init__(self) -> None:
        num = len(self.images)
        if not num:
            raise BadArgument("a stream needs at least 1 image. Got none.")
        given = {"weights": self.weights, "blocks.order": None if self.blocks is None else self.blocks.order}
        for name, values in given.items():
            if values is not None and len(values) != num:
                raise BadArgument(f"`{name}` must have one value an image, {num:,}. Got {len(values):,}.")
        if self.weights is not None:
            wrong, _ = self._weighed
            if wrong >= 0:
                raise BadArgument(
                    f"`weights` must be above 0 and their sum at most {_LONGEST:,}. Got {self.weights[wrong]} for image "
                    f"{self.images[wrong]}. Leave it out of the subset, or weigh it otherwise."
                )
        if self.blocks is not None and not _is_permutation(self._order):
            raise BadArgument(f"`blocks.order` must hold each row of 0..{num - 1} once. Make it with `disk_order`.")
        most = int(self.mean_length) if self.drop_last else _LONGEST
        if not 1 <= self.batch_size <= most:
            raise BadArgument(
                f"`batch_size` must be in 1..{most:,}, the images of an epoch. Got {self.batch_size}. Lower it or give "
                "`drop_last=False`."
            )
        stream_key(self.seed, "")

    @cached_property
    def mean_length(self) -> float:
        """Images an epoch, on average."""
        return float(len(self.images) if self.weights is None else self._arrays[1].sum())

    def num_positions(self, epoch: int) -> int:
        """Images of an epoch, copies counted."""
        if self.weights is None:
            return len(self.images)
        epoch = self._drawn(epoch)
        if epoch not in self._lengths:
            self._starts(epoch)
        return self._lengths[epoch]

    def num_steps(self, epoch: int) -> int:
        """Batches of an epoch."""
        num = self.num_positions(epoch)
        return num // self.batch_size if self.drop_last else -(-num // self.batch_size)

    def rows(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        """Rows of `images` at positions `first` to `last` of an epoch; releases the GIL.

        Raises:
            BadArgument: positions outside the epoch.
        """
        num = self.num_positions(epoch)
        if not 0 <= first <= last <= num:
            raise BadArgument(f"positions of epoch {epoch} are in 0..{num:,}. Got {first} to {last}.")
        rows = np.empty(last - first, np.int64)
        size, window = (0, 0) if self.blocks is None else (self.blocks.size, self.blocks.window)
        drawn = self._drawn(epoch)
        starts = np.empty(0, np.int64) if self.weights is None else self._starts(drawn)
        key = np.uint64(stream_key(self.seed, f"stream order {epoch}"))
        _fill_rows(rows, first, num, key, size, window, self._order, starts, *self._arrays, self._copies_key(drawn))
        return rows

    def ids(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        """Image ids at positions `first` to `last` of an epoch.

        Raises:
            BadArgument: positions outside the epoch.
        """
        return self._arrays[0][self.rows(epoch, first, last)]

    def draw(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.uint64]:
        """(n,) uniform hash of each position of an epoch, for augmentation: copies of an image draw differently."""
        return keyed_hash(positions, seed=self.seed, stream=f"stream draw {epoch}")

    def locate(self, step: int) -> tuple[int, int]:
        """Epoch of a step and its number within it.

        Raises:
            BadArgument: a step below 0.
        """
        if step < 0:
            raise BadArgument(f"a step must be at least 0. Got {step}.")
        if self._whole:
            return divmod(step, self.num_steps(0))
        epoch = 0
        while step >= self.num_steps(epoch):
            step -= self.num_steps(epoch)
            epoch += 1
        return epoch, step

    def spans(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, int, int]]:
        """Steps `start` to `stop` as (step, epoch, first, last): some whole batches at positions first to last.

        Args:
            start: number of a step, over all epochs.
            stop: step to end before; None goes on for ever.
        """
        step, size = start, self.batch_size
        most = max(1, _PIECE // size)
        epoch, at = self.locate(step)
        while stop is None or step < stop:
            count = min(most, self.num_steps(epoch) - at, most if stop is None else stop - step)
            if count:
                yield step, epoch, at * size, min((at + count) * size, self.num_positions(epoch))
            step, at = step + count, at + count
            if at == self.num_steps(epoch):
                epoch, at = epoch + 1, 0

    def batches(
        self, start: int = 0, stop: int | None = None, *, world_size: int = 1, rank: int = 0
    ) -> Iterator[Batch]:
        """A rank's share of steps `start` to `stop`: every `world_size`-th image of each batch, from the `rank`-th on.

        Args:
            start: number of a step, over all epochs; starting here gives what an undisturbed run would have given.
            stop: step to end before; None goes on for ever.
            world_size: ranks; a last batch that is not full may give some of them one image less, or none.
            rank: which, 0..world_size - 1.

        Raises:
            BadArgument: ranks that do not share a batch evenly, or a rank that is none of them.
        """
        if world_size < 1 or self.batch_size % world_size:
            nearest = max(1, round(self.batch_size / max(1, world_size))) * max(1, world_size)
            raise BadArgument(
                f"`world_size` must divide the batch of {self.batch_size}, or ranks differ. Got {world_size}. Give a batch of "
                f"{nearest}, say."
            )
        if not 0 <= rank < world_size:
            raise BadArgument(f"`rank` must be in 0..{world_size - 1}. Got {rank}.")
        return self._batches(start, stop, world_size, rank)

    def seen(self, num_steps: int) -> NDArray[np.int64]:
        """The images of the first `num_steps` steps, ascending.

        Cost: each epoch's order until all are seen; 1 byte an image.

        >>> stream = Stream(images=np.arange(10), seed=0, batch_size=4)
        >>> [len(stream.seen(n)) for n in (0, 1, 2, 100)]
        [0, 4, 8, 10]
        """
        met = np.zeros(len(self.images), np.bool_)
        for _, epoch, first, last in self.spans(0, num_steps):
            met[self.rows(epoch, first, last)] = True
            if met.all():
                break
        return np.asarray(self.images[met])

    def _batches(self, start: int, stop: int | None, world_size: int, rank: int) -> Iterator[Batch]:
        for step, epoch, first, last in self.spans(start, stop):
            rows, positions = self.rows(epoch, first, last), np.arange(first, last)
            for i, at in enumerate(range(0, last - first, self.batch_size)):
                own = slice(at + rank, min(at + self.batch_size, last - first), world_size)
                yield Batch(step + i, epoch, positions[own], rows[own])

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        weights = np.empty(0) if self.weights is None else self.weights
        return _read_only(self.images, np.int64), _read_only(weights, np.float64)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return _read_only(np.empty(0) if self.blocks is None else self.blocks.order, np.int64)

    @cached_property
    def _weighed(self) -> tuple[int, bool]:
        wrong, whole = _weigh(self._arrays[1], _LONGEST)
        return int(wrong), bool(whole)

    @property
    def _whole(self) -> bool:
        """Whether all epochs have the same images."""
        return self.weights is None or self._weighed[1]

    def _drawn(self, epoch: int) -> int:
        """The epoch whose hashes draw the copies of this one."""
        return 0 if self._whole else epoch

    def _copies_key(self, epoch: int) -> np.uint64:
        return np.uint64(stream_key(self.seed, f"stream copies {epoch}"))

    @cached_property
    def _lengths(self) -> dict[int, int]:
        return {}

    @cached_property
    def _last_starts(self) -> dict[int, NDArray[np.int64]]:
        return {}

    def _starts(self, epoch: int) -> NDArray[np.int64]:
        """Position-to-be of the first copy of every 64th image, before the shuffle; kept for one epoch at a time."""
        known = self._last_starts.get(epoch)
        if known is not None:
            return known
        self._last_starts.clear()
        starts = np.zeros(-(-len(self.images) // _EVERY) + 1, np.int64)
        key = self._copies_key(epoch)

        def count(first: int) -> None:
            _count_copies(starts[1:][first : first + _PIECE], first, self._order, *self._arrays, key)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(count, range(0, len(starts) - 1, _PIECE)))
        np.cumsum(starts, out=starts)
        self._lengths[epoch] = int(starts[-1])
        self._last_starts[epoch] = starts
        return starts


def _read_only(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """A view that the compiled functions know, of a memory map too."""
    view = np.ascontiguousarray(values, dtype).view(np.ndarray)
    view.flags.writeable = False
    return view


@numba.njit(cache=True, nogil=True)
def _weigh(weights: NDArray[Any], most: Any) -> Any:
    """The first weight that is none or makes too many copies, or -1; and whether all are whole numbers."""
    total, whole = 0.0, True
    for i in range(len(weights)):
        total += weights[i]
        if not (weights[i] > 0.0 and total <= most):
            return i, True
        whole &= weights[i] == np.floor(weights[i])
    return -1, whole


@numba.njit(cache=True, nogil=True)
def _is_permutation(order: NDArray[Any]) -> Any:
    """Whether the sum of hashes is that of 0..n - 1, which another list has with a probability of 2**-64."""
    total = np.uint64(0)
    for i in range(len(order)):
        if not 0 <= order[i] < len(order):
            return False
        total += mix(np.uint64(order[i]) + np.uint64(1)) - mix(np.uint64(i) + np.uint64(1))
    return total == 0


@numba.njit(cache=True, inline="always")
def _copies(image: Any, weight: Any, key: Any) -> Any:
    """How often an image comes in an epoch; the hash is `hashing.keyed_hash`. Without branches, which would be guessed wrong."""
    whole = np.int64(weight)
    golden = np.uint64(0x9E3779B97F4A7C15)
    drawn = mix(mix((np.uint64(image) ^ key) + golden) + (golden + golden + key))
    return whole + np.int64(np.int64(drawn >> np.uint64(11)) < np.int64(np.ceil((weight - whole) * 2.0**53)))


@numba.njit(cache=True, nogil=True)
def _count_copies(
    out: NDArray[Any], first: Any, order: NDArray[Any], images: NDArray[Any], weights: NDArray[Any], key: Any
) -> None:
    """Copies of each 64 images, from the `first` 64 on."""
    for i in range(len(out)):
        begin = (first + i) * _EVERY
        for at in range(begin, min(begin + _EVERY, len(images))):
            row = order[at] if len(order) else at
            out[i] += _copies(images[row], weights[row], key)


@numba.njit(cache=True)
def _in_blocks(position: Any, num: Any, key: Any, size: Any, window: Any) -> Any:
    """What comes at a position when blocks are shuffled, and images within windows of blocks.

    The list is turned by a random distance first, so that other images fill the last block, which is short and comes last.
    """
    span = size * window
    first = position // span * span
    mixed = min(span, num - first)
    inside = mix(key + np.uint64(first) + np.uint64(1))
    position = first + permuted(position - first, mixed, side_of(mixed), inside, ROUNDS)
    block, full = position // size, num // size
    if block < full:
        block = permuted(block, full, side_of(full), key, ROUNDS)
    turned = block * size + position % size + np.int64(mix(key) % np.uint64(num))
    return turned - num if turned >= num else turned


@numba.njit(cache=True, nogil=True)
def _fill_rows(
    rows: NDArray[Any], first: Any, num: Any, key: Any, size: Any, window: Any, order: NDArray[Any], starts: NDArray[Any],
    images: NDArray[Any], weights: NDArray[Any], copies_key: Any,
) -> None:  # fmt: skip
    side = side_of(num)
    for i in range(len(rows)):
        if size:
            at = _in_blocks(first + i, num, key, size, window)
        else:
            at = permuted(first + i, num, side, key, ROUNDS)
        if len(starts):
            at = _place(at, starts, order, images, weights, copies_key)
        rows[i] = order[at] if len(order) else at


@numba.njit(cache=True)
def _place(
    copy: Any, starts: NDArray[Any], order: NDArray[Any], images: NDArray[Any], weights: NDArray[Any], key: Any
) -> Any:
    """The image that a copy is of, when copies lie one after another."""
    block, blocks = 0, len(starts)
    while blocks > 1:
        half = blocks >> 1
        block += half if starts[block + half] <= copy else 0
        blocks -= half
    at, left = block * _EVERY - 1, copy - starts[block]
    while left >= 0:
        at += 1
        row = order[at] if len(order) else at
        left -= _copies(images[row], weights[row], key)
    return at
