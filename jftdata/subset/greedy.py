"""Greedy choices among unit-length vectors, compiled: farthest first, most alike to an earlier one, best served.

Similarities are float32 sums in the order of the dimensions, a tile of vectors at a time, each product rounded on its own. They
are the same numbers on every machine, with any threads and in any batch, and so are the choices that follow from them.
"""

import heapq
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata.progress import progress

_TILE = 64  # vectors side by side
_UNROLLED = 4  # dimensions a round
_NONE = np.float32(-2.0)  # below every similarity


def farthest_first(vectors: NDArray[np.float32], *, first: int, size: int) -> NDArray[np.int64]:
    """Positions chosen one by one, each the one whose most similar chosen vector is least similar; ties to the lower.

    Many are chosen among the few thousand that are farthest off before all are compared with them: as long as the farthest of
    these is farther than any other, the choice is the same as one by one.

    Args:
        vectors: (n, d) float32, unit length.
        first: the position to begin with.
        size: how many, 1 to n.

    Cost: n size d multiply-adds, about 10 G a second a core; memory is that of the vectors once more.
    """
    n, workers = len(vectors), os.cpu_count() or 1
    tiles = _tiled(vectors)
    nearest = np.full(tiles.shape[0] * _TILE, _NONE, np.float32)
    nearest[n:] = np.inf
    cuts = np.linspace(0, len(tiles), 4 * workers + 1).astype(int).tolist()
    chosen, new = np.empty(size, np.int64), np.array([first])
    found = 0
    with ThreadPoolExecutor(workers) as pool, progress("farthest first", total=size, unit="image") as bar:
        while True:
            chosen[found : found + len(new)] = new
            found += len(new)
            bar.update(len(new))
            if found == size:
                return chosen
            centres = _columns(tiles, new)
            jobs = [pool.submit(_raise, tiles, centres, nearest, a, b) for a, b in itertools.pairwise(cuts)]
            for job in jobs:
                job.result()
            nearest[chosen[:found]] = np.inf
            new = _next(tiles, nearest[:n], size - found)


def _next(tiles: NDArray[np.float32], nearest: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """The next positions that one by one would be chosen too, at least one."""
    n = len(nearest)
    count = min(n, max(1024, n // 64))
    cut = np.partition(nearest, count - 1)[count - 1]
    below, ties = np.flatnonzero(nearest < cut), np.flatnonzero(nearest == cut)
    taken = count - len(below)
    pool = np.sort(np.concatenate([below, ties[:taken]]))
    outside = int(ties[taken]) if taken < len(ties) else n  # ties from here on are not in the pool
    own = _tiled(_columns(tiles, pool))
    inside = np.full(own.shape[0] * _TILE, np.inf, np.float32)
    inside[:count] = nearest[pool]
    picks: NDArray[np.int64] = pool[_pick(own, inside, pool, cut, outside, most)]
    return picks


def most_alike_before(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) similarity of each vector to the most similar one before it; -2 for the first.

    Args:
        vectors: (n, d) float32, unit length.

    Cost: n**2 d / 2 multiply-adds on one thread.
    """
    out = np.full(-(-len(vectors) // _TILE) * _TILE, _NONE, np.float32)
    _raise_by_earlier(_tiled(vectors), out)
    return out[: len(vectors)]


def best_served(
    start: NDArray[np.int64], served: NDArray[np.int32], value: NDArray[np.float64], *, num_served: int, size: int
) -> NDArray[np.int64]:
    """Candidates chosen one by one, each the one that raises the sum over the served of their best value most.

    Args:
        start, served, value: candidate i serves `served[start[i]:start[i + 1]]` with those values, at least 0; a ragged table.
        num_served: how many there are to serve; one that is not served has 0.
        size: how many candidates to choose.

    Returns:
        (size,) candidates in order of choice; of equals the lower one.

    Cost: lazy: a gain that was low is not computed again before it could be the highest.

    Source: Minoux 1978; Nemhauser et al. 1978 (at least 1 - 1/e of the best sum there is).
    """
    return np.asarray(_best_served(start, served, value, num_served, size))


def _tiled(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(tiles, d rounded up, tile) float32, zeros where there is nothing."""
    n, d = vectors.shape
    out = np.zeros((-(-n // _TILE), -(-d // _UNROLLED) * _UNROLLED, _TILE), np.float32)
    for tile, at in zip(out, range(0, n, _TILE), strict=True):
        part = vectors[at : at + _TILE]
        tile[:d, : len(part)] = part.T
    return out


def _columns(tiles: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """(k, d rounded up) vectors at some positions."""
    found: NDArray[np.float32] = tiles[positions // _TILE, :, positions % _TILE]
    return np.ascontiguousarray(found)


@numba.njit(cache=True, nogil=True)
def _similarities(tile: NDArray[Any], centre: NDArray[Any], out: NDArray[Any]) -> None:
    for b in range(_TILE):
        out[b] = 0
    for j in range(0, len(centre), _UNROLLED):
        c0, c1, c2, c3 = centre[j], centre[j + 1], centre[j + 2], centre[j + 3]
        for b in range(_TILE):
            out[b] = out[b] + tile[j, b] * c0 + tile[j + 1, b] * c1 + tile[j + 2, b] * c2 + tile[j + 3, b] * c3


@numba.njit(cache=True, nogil=True)
def _raise(tiles: NDArray[Any], centres: NDArray[Any], nearest: NDArray[Any], first: int, last: int) -> None:
    similar = np.empty(_TILE, np.float32)
    for t in range(first, last):
        own = nearest[t * _TILE : (t + 1) * _TILE]
        for c in range(len(centres)):
            _similarities(tiles[t], centres[c], similar)
            for b in range(_TILE):
                own[b] = max(own[b], similar[b])


@numba.njit(cache=True, nogil=True)
def _pick(
    tiles: NDArray[Any], nearest: NDArray[Any], positions: NDArray[Any], cut: Any, outside: int, most: int
) -> NDArray[Any]:
    """Places in the pool, as long as they come before (cut, outside), the first that is not in it."""
    picks = np.empty(min(most, len(positions)), np.int64)
    count = 0
    centre = np.empty((1, tiles.shape[1]), np.float32)
    while count < len(picks):
        best, value = -1, np.float32(np.inf)
        for i in range(len(positions)):
            if nearest[i] < value:
                best, value = i, nearest[i]
        if best < 0 or value > cut or (value == cut and positions[best] > outside):
            break
        picks[count] = best
        count += 1
        centre[0] = tiles[best // _TILE, :, best % _TILE]
        _raise(tiles, centre, nearest, 0, len(tiles))
        nearest[best] = np.inf
    return picks[:count]


@numba.njit(cache=True, nogil=True)
def _raise_by_earlier(tiles: NDArray[Any], out: NDArray[Any]) -> None:
    similar = np.empty(_TILE, np.float32)
    centre = np.empty(tiles.shape[1], np.float32)
    for t in range(len(tiles)):
        first = t * _TILE
        for c in range(first + _TILE):
            centre[:] = tiles[c // _TILE, :, c % _TILE]
            _similarities(tiles[t], centre, similar)
            for b in range(max(0, c - first + 1), _TILE):
                out[first + b] = max(out[first + b], similar[b])


@numba.njit(cache=True, nogil=True)
def _best_served(
    start: NDArray[Any], served: NDArray[Any], value: NDArray[Any], num_served: int, size: int
) -> NDArray[Any]:
    best = np.zeros(num_served)
    heap = [(-_gain(start, served, value, best, i), i) for i in range(len(start) - 1)]
    heapq.heapify(heap)
    chosen = np.empty(size, np.int64)
    count = 0
    while count < size:
        _, i = heapq.heappop(heap)
        now = (-_gain(start, served, value, best, i), i)
        if heap and now > heap[0]:
            heapq.heappush(heap, now)
            continue
        chosen[count] = i
        count += 1
        for e in range(start[i], start[i + 1]):
            best[served[e]] = max(best[served[e]], value[e])
    return chosen


@numba.njit(cache=True, nogil=True)
def _gain(start: NDArray[Any], served: NDArray[Any], value: NDArray[Any], best: NDArray[Any], i: int) -> float:
    gain = 0.0
    for e in range(start[i], start[i + 1]):
        gain += max(0.0, value[e] - best[served[e]])
    return gain
