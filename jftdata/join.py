"""All similar pairs of large sets of unit-length vectors: block against block, exactly, or list against list.

Products are taken in bfloat16 where the hardware is faster at it; all that comes within its rounding of the threshold is
computed again in float64, so that no pair that was compared is missed or made up. Large sets are cut into lists by
k-means and every list is compared with itself and with the vectors that have it among their nearest lists. How many
lists a vector visits follows from pairs that an exact search of a sample finds, so that a wanted recall is met.
"""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jftdata import neighbors, ragged
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput
from jftdata.hashing import keyed_order
from jftdata.progress import progress

EXACT_PRODUCTS = 5e11
"""Multiply-adds up to which a CPU compares everything with everything; about five seconds on two cores."""
MAX_PAIRS = 100_000_000
"""More pairs than this are refused: 2.4 GB of answers."""
_ROUNDING = 1e-6  # copies of one float32 vector reach a similarity of 1 up to this
_SLACK = 2.0**-8 + 2.0**-9 + 1e-4  # inputs and result rounded to bfloat16: by Cauchy-Schwarz no product is further off
_SAMPLE, _ENOUGH = 1024, 400  # sampled queries, and true pairs among them that make a recall worth the name
_VISITS = 64  # lists a vector may visit
_BLOCK = 1 << 23  # products at a time


@dataclass(frozen=True)
class Joined:
    """Pairs of positions with their similarity, sorted by (left, right)."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float64]
    recall: float
    """Share of the pairs of an exact search that were found, measured on a sample; 1 for an exact join."""
    plan: str
    """How it was done, for the log."""


def self_join(
    vectors: Embeddings, *, min_similarity: float, recall: float = 0.99, device: str = "auto", seed: int = 0
) -> Joined:
    """All pairs (left < right) of a set that are at least so similar.

    Args:
        vectors: (n, d) embeddings.
        min_similarity: in (0, 1]; less 1e-6 for the rounding of float32 vectors.
        recall: share of the pairs that must be found; 1 compares everything with everything.
        device: `auto`, `cpu` or `cuda`.
        seed: of the k-means and the sample.

    Raises:
        BadArgument: an argument out of range.
        BadInput: more than `MAX_PAIRS` pairs.

    Cost: n**2 d multiply-adds for an exact join; list by list about 2 n**1.5 d times the square root of the visits.
    """
    return _join(vectors, None, min_similarity, recall, device, seed)


def join(
    left: Embeddings, right: Embeddings, *, min_similarity: float, recall: float = 0.99, device: str = "auto",
    seed: int = 0,
) -> Joined:  # fmt: skip
    """All pairs of a vector of one set and one of another that are at least so similar; else as `self_join`.

    Raises:
        BadInput: vectors of two embedders.
    """
    neighbors.check_comparable(left, right)
    return _join(left, right, min_similarity, recall, device, seed)


def _join(
    left: Embeddings, right: Embeddings | None, min_similarity: float, recall: float, device: str, seed: int
) -> Joined:
    if not 0 < min_similarity <= 1:
        raise BadArgument(f"`min_similarity` must be in (0, 1]. Got {min_similarity}.")
    if not 0 < recall <= 1:
        raise BadArgument(f"`recall` must be in (0, 1]. Got {recall}.")
    base = left if right is None else right
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    found = _Pairs(left, base, min_similarity, same=right is None)
    products = float(len(left)) * len(base) * left.vectors.shape[1] / (2 if right is None else 1)
    if recall == 1 or device != "cpu" or products <= EXACT_PRODUCTS:
        _compare_all(left, base, found, device)
        return found.joined(1.0, f"exact, {len(left):,} by {len(base):,} vectors on {device}")
    lists = _Lists(left, right, min_similarity, recall, seed)
    lists.compare(found)
    return found.joined(lists.recall, lists.plan)


class _Pairs:
    """Candidates, each computed again in float64 and kept if it is similar enough."""

    def __init__(self, left: Embeddings, right: Embeddings, min_similarity: float, *, same: bool) -> None:
        self._left, self._right, self.min_similarity, self.same = left.vectors, right.vectors, min_similarity, same
        self._keys: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.float64]] = []
        self._count = 0

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        if self.same:
            left, right = np.minimum(left, right), np.maximum(left, right)
            once = left != right
            left, right = left[once], right[once]
        value = neighbors.similarities(self._left, self._right, left, right)
        keep = value >= self.min_similarity - _ROUNDING
        self._keys.append(left[keep] * len(self._right) + right[keep])
        self._values.append(value[keep])
        self._count += int(keep.sum())
        if self._count > 2 * MAX_PAIRS:
            raise BadInput(
                f"more than {MAX_PAIRS:,} pairs have a similarity of at least {self.min_similarity:g}. Raise `min_similarity`, or "
                "drop the images that are all alike."
            )

    def joined(self, recall: float, plan: str) -> Joined:
        keys = np.concatenate([np.empty(0, np.int64), *self._keys])
        keys, first = np.unique(keys, return_index=True)
        value = np.concatenate([np.empty(0), *self._values])[first]
        return Joined(keys // len(self._right), keys % len(self._right), value, recall, plan)


class _Rounded:
    """Vectors as the products take them: bfloat16 where that is faster, and the threshold that misses nothing."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.dtype = torch.bfloat16 if device != "cpu" or _bfloat16_is_faster() else torch.float32

    def __call__(self, vectors: NDArray[np.float32]) -> Tensor:
        out = torch.empty(vectors.shape, dtype=self.dtype, device=self.device)
        for first in range(0, len(vectors), 1 << 17):
            out[first : first + (1 << 17)] = torch.from_numpy(np.ascontiguousarray(vectors[first : first + (1 << 17)]))
        return out

    def hits(self, left: Tensor, right: Tensor, min_similarity: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the products that may reach the threshold."""
        low = min_similarity - (_SLACK if self.dtype == torch.bfloat16 else 1e-5)
        products = left @ right.T
        if self.device != "cpu":
            rows = (products.amax(dim=1) >= low).nonzero()[:, 0]
            row, column = (products[rows] >= low).nonzero(as_tuple=True)
            return rows[row].cpu().numpy(), column.cpu().numpy()
        if self.dtype == torch.bfloat16 and low > 0:  # as integers, positive bfloat16 sort as they do as numbers
            low = int(np.float32(low).view(np.uint32) >> 16)
            flat = products.view(torch.int16).numpy().ravel()
        else:
            flat = products.float().numpy().ravel()
        at = _reaching(flat, flat.dtype.type(low))
        return at // products.shape[1], at % products.shape[1]


def _bfloat16_is_faster() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones; the answers are the same."""
    x = torch.ones(512, 512)
    spans = []
    for y in (x, x.bfloat16()):
        _ = y @ y
        began = time.perf_counter()
        for _ in range(4):
            _ = y @ y
        spans.append(time.perf_counter() - began)
    return spans[1] < spans[0]


def _compare_all(left: Embeddings, base: Embeddings, found: _Pairs, device: str) -> None:
    rounded = _Rounded(device)
    wide = rounded(base.vectors)
    height = 4096 if device == "cpu" else 16384
    with progress("compare", total=len(left), unit="vector") as bar:
        for first in range(0, len(left), height):
            block = rounded(left.vectors[first : first + height])
            for at in range(first if found.same else 0, len(base), height):
                row, column = rounded.hits(block, wide[at : at + height], found.min_similarity)
                found.add(row + first, column + at)
            bar.update(len(block))


class _Lists:
    """k-means lists, and in how many of them each vector of the left side is compared."""

    def __init__(
        self, left: Embeddings, right: Embeddings | None, min_similarity: float, recall: float, seed: int
    ) -> None:
        self._left, self._base = left, left if right is None else right
        self._same = right is None
        self._rounded = _Rounded("cpu")
        self._wide = self._rounded(self._base.vectors)
        self._narrow = self._wide if self._same else self._rounded(left.vectors)
        asked, pairs = self._sampled_pairs(min_similarity, seed)
        # about as many products to find the lists as to compare them
        num_lists = round(((8 if self._same else 16) * min(len(left), len(self._base))) ** 0.5)
        num_lists = max(1, min(num_lists, len(self._base)))
        while True:
            sample = keyed_order(self._base.images, seed=seed, stream="join lists")[: 16 * num_lists]
            centroids = neighbors.kmeans(self._base.vectors[np.sort(sample)], k=num_lists, seed=seed, iterations=6)
            self._centroids = self._rounded(centroids).T.contiguous()
            needed = self._visits_needed(*pairs)
            wanted = recall + 1.64 * (recall * (1 - recall) / len(needed)) ** 0.5
            visits = int(np.sort(needed)[min(len(needed) - 1, int(np.ceil(wanted * len(needed))) - 1)]) + 1
            if visits <= min(_VISITS, num_lists) or num_lists < 4:
                break
            num_lists //= 4
        self._visits = min(visits, num_lists)
        self._num_lists = num_lists
        self.recall = float((needed < self._visits).mean())
        self.plan = (
            f"{num_lists:,} lists, {self._visits} visited by each vector; recall {self.recall:.4f} measured on "
            f"{len(needed):,} {asked}"
        )

    def compare(self, found: _Pairs) -> None:
        """Compare every list with the vectors that visit it."""
        home = _nearest_lists(self._wide, self._centroids, 1)[:, 0]
        visited = _nearest_lists(self._narrow, self._centroids, self._visits)
        members_start, members = ragged.transpose(np.arange(len(home) + 1), home, self._num_lists)
        per_row = np.arange(0, visited.size + 1, self._visits)
        visitors_start, visitors = ragged.transpose(per_row, visited.ravel(), self._num_lists)
        with progress("compare lists", total=len(home), unit="vector") as bar:
            for i in range(self._num_lists):
                own = members[members_start[i] : members_start[i + 1]]
                guests = visitors[visitors_start[i] : visitors_start[i + 1]]
                if len(own) and len(guests):
                    block = self._wide[torch.from_numpy(own)]
                    step = max(1, _BLOCK // len(own))
                    for first in range(0, len(guests), step):
                        part = guests[first : first + step]
                        row, column = self._rounded.hits(
                            self._narrow[torch.from_numpy(part)], block, found.min_similarity
                        )
                        found.add(part[row].astype(np.int64), own[column].astype(np.int64))
                bar.update(len(own))

    def _sampled_pairs(self, min_similarity: float, seed: int) -> tuple[str, tuple[Tensor, Tensor]]:
        """True pairs of a sample, or pairs made up at the threshold where there are too few true ones."""
        order = keyed_order(self._left.images, seed=seed, stream="join sample")
        found = _Pairs(self._left, self._base, min_similarity, same=self._same)
        for first in range(0, 4 * _SAMPLE, _SAMPLE):
            rows = np.sort(order[first : first + _SAMPLE])
            for at in range(0, len(self._base), 1 << 14):
                row, column = self._rounded.hits(
                    self._narrow[torch.from_numpy(rows)], self._wide[at : at + (1 << 14)], min_similarity
                )
                found.add(rows[row], column + at)
            pairs = found.joined(1.0, "")
            if len(pairs.left) >= _ENOUGH:
                break
        if len(pairs.left) >= _ENOUGH:
            return "true pairs", (self._narrow[pairs.left], self._wide[pairs.right])
        rows = np.sort(order[: 4 * _SAMPLE])
        one = self._left.vectors[rows].astype(np.float64)
        noise = np.random.default_rng(seed).normal(size=one.shape)
        noise -= (noise * one).sum(axis=1, keepdims=True) * one
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        other = min_similarity * one + (1 - min_similarity**2) ** 0.5 * noise
        return "pairs made up at the threshold", (self._narrow[rows], self._rounded(other.astype(np.float32)))

    def _visits_needed(self, left: Tensor, right: Tensor) -> NDArray[np.int64]:
        """How many lists the left (or, in one set, either) vector of each pair must visit to meet the other."""
        most = min(_VISITS, self._centroids.shape[1])
        there = _nearest_lists(right, self._centroids, most)
        here = _nearest_lists(left, self._centroids, most)
        needed = _rank_of(here, there[:, 0])
        return np.minimum(needed, _rank_of(there, here[:, 0])) if self._same else needed


def _rank_of(lists: NDArray[np.int32], wanted: NDArray[np.int32]) -> NDArray[np.int64]:
    """Column of each row where the wanted list stands; beyond the last where it does not."""
    match = lists == wanted[:, None]
    return np.where(match.any(axis=1), match.argmax(axis=1), _VISITS + 1)


def _nearest_lists(vectors: Tensor, centroids: Tensor, count: int) -> NDArray[np.int32]:
    """(n, count) the nearest centroids of each vector, nearest first."""
    out = np.empty((len(vectors), count), np.int32)
    height = max(1, _BLOCK // centroids.shape[1])

    def rank(products: NDArray[Any], first: int, last: int, at: int) -> None:
        _highest(products[first:last], out[at + first : at + last])

    workers = torch.get_num_threads()
    with ThreadPoolExecutor(workers) as pool:
        for at in range(0, len(vectors), height):
            products = (vectors[at : at + height] @ centroids).float().numpy()
            cuts = np.linspace(0, len(products), workers + 1).astype(int).tolist()
            jobs = [pool.submit(rank, products, a, b, at) for a, b in itertools.pairwise(cuts)]
            for job in jobs:
                job.result()
    return out


@numba.njit(cache=True, nogil=True)
def _highest(values: NDArray[Any], out: NDArray[Any]) -> None:
    """Columns of the highest values of each row, highest first; of equal ones the lower column first."""
    count = out.shape[1]
    best = np.empty(count, values.dtype)
    for i in range(len(values)):
        best[:] = -np.inf
        for j in range(values.shape[1]):
            value = values[i, j]
            if value > best[count - 1]:
                at = count - 1
                while at > 0 and value > best[at - 1]:
                    best[at] = best[at - 1]
                    out[i, at] = out[i, at - 1]
                    at -= 1
                best[at] = value
                out[i, at] = j


@numba.njit(cache=True, nogil=True)
def _reaching(values: NDArray[Any], low: Any) -> NDArray[Any]:
    """Positions of all values at or above `low`; whole blocks below it are passed over."""
    out = np.empty(1024, np.int64)
    found = 0
    for first in range(0, len(values), 256):
        last = min(first + 256, len(values))
        most = values[first]
        for j in range(first, last):
            most = max(most, values[j])
        if most >= low:
            if found + 256 > len(out):
                out = np.concatenate((out, np.empty(len(out) + 256, np.int64)))
            for j in range(first, last):
                if values[j] >= low:
                    out[found] = j
                    found += 1
    return out[:found]
