"""What probabilities or neighbours say of each given label: for it, of nothing it says, or for which other label.

Ancestors are used right: evidence for a label at or below the given one is for it (`fruit` on an apple is no noise); evidence for
a label above it says nothing of it (`apple` on a fruit of unknown kind is more than is known, not an error), nor does evidence
for what another given label of the image says already. Cost: compiled loops over sparse rows.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.noise.given import Given
from jftdata.noise.probabilities import Probabilities

NUM_KEPT = 100
"""Labels an image keeps when its neighbours' probabilities are added to its own, beside its given ones."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Shares of 0..1 parallel to the given labels; they and the weights of an entry sum to at most 1."""

    own: NDArray[np.float64]
    """For the label; NaN where nothing is known, as for a label that the model does not have."""
    above: NDArray[np.float64]
    """For labels above it, which says nothing of it."""
    aside: NDArray[np.float64]
    """For what other given labels of the image say already."""
    start: NDArray[np.int64]
    """(m + 1,) where the other labels of each entry begin."""
    label: NDArray[np.int32]
    weight: NDArray[np.float64]

    @property
    def support(self) -> NDArray[np.float64]:
        """The share for the label among what says something of it; NaN where nothing does."""
        told = 1 - self.above - self.aside
        share = np.divide(self.own, told, out=np.full(len(told), np.nan), where=told > 1e-9)
        return np.asarray(np.minimum(share, 1.0))


def of_probabilities(given: Given, found: Probabilities) -> Evidence:
    """Evidence of probabilities whose rows are the images of `given`."""
    known = np.zeros(given.tree.num_labels, np.bool_)
    known[found.index] = True
    lengths = np.diff(found.start)[given.owner]
    return _compact(
        given, known[given.index], lengths, _weigh_probabilities, found.start, found.index, found.value, found.exclusive
    )


def of_neighbours(given: Given, positions: NDArray[np.int64], weights: NDArray[np.float64]) -> Evidence:
    """Evidence of the labels of each image's neighbours.

    Args:
        given: the labels.
        positions: (n, k) rows of neighbours.
        weights: (n, k) of their votes; 0 for those that do not count.
    """
    votes = np.where(np.diff(given.start)[positions] > 0, weights, 0.0)
    total = votes.sum(axis=1, keepdims=True)
    votes = np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)
    lengths = np.diff(given.start)[positions].sum(axis=1)[given.owner]
    return _compact(given, (total[:, 0] > 0)[given.owner], lengths, _weigh_neighbours, positions, votes)


def smoothed(
    found: Probabilities,
    given: Given,
    positions: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    share: NDArray[np.float64],
) -> Probabilities:
    """Probabilities with a share, (n,), of the weighted mean of the neighbours'; the most probable and the given are kept."""
    total = weights.sum(axis=1, keepdims=True)
    votes = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    shares = np.where(total[:, 0] > 0, share, 0.0)
    kept = NUM_KEPT + np.diff(given.start)
    start = np.concatenate([[0], np.cumsum(kept)])
    index, value = np.full(start[-1], -1, np.int32), np.zeros(start[-1], np.float32)
    _smooth(
        found.start, found.index, found.value, given.start, given.index, positions, votes, shares, start, index, value,
        np.full(given.tree.num_labels, -1, np.int64), np.zeros(given.tree.num_labels),
    )  # fmt: skip
    keep = index >= 0
    row = ragged.owners(start)[keep]
    order = np.lexsort((index[keep], row))
    begins = np.searchsorted(row, np.arange(len(found.images) + 1))
    return Probabilities(found.tree, found.images, begins, index[keep][order], value[keep][order], found.exclusive)


def _compact(given: Given, known: NDArray[np.bool_], lengths: NDArray[np.int64], weigh: Any, *source: Any) -> Evidence:
    """Run a loop that fills the other labels of each entry, and close the gaps it leaves."""
    m = len(given.index)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    label, weight = np.full(start[-1], -1, np.int32), np.zeros(start[-1])
    own, above, aside = np.zeros(m), np.zeros(m), np.zeros(m)
    tree = given.tree
    weigh(
        given.start, given.index, tree.ancestor_start, tree.ancestor_index, *source, start, label, weight, own, above, aside
    )  # fmt: skip
    keep = label >= 0
    row = ragged.owners(start)[keep]
    own[~known] = np.nan
    return Evidence(own, above, aside, np.searchsorted(row, np.arange(m + 1)), label[keep], weight[keep])


@numba.njit(cache=True, nogil=True)
def is_above(upper: Any, lower: Any, start: NDArray[Any], index: NDArray[Any]) -> bool:
    """Whether a label is an ancestor of another."""
    first, last = start[lower], start[lower + 1]
    while first < last:
        middle = (first + last) // 2
        if index[middle] < upper:
            first = middle + 1
        else:
            last = middle
    return bool(first < start[lower + 1] and index[first] == upper)


@numba.njit(cache=True, nogil=True)
def _says(
    j: Any, entry: Any, first: Any, last: Any, index: NDArray[Any], up: NDArray[Any], over: NDArray[Any]
) -> int:  # fmt: skip
    """What label `j` says of a given label: 0 it holds, 1 nothing as it is above, 2 nothing as told already, 3 another."""
    given = index[entry]
    if j == given or is_above(given, j, up, over):
        return 0
    if is_above(j, given, up, over):
        return 1
    for other in range(first, last):
        if other != entry and (j == index[other] or is_above(j, index[other], up, over)):
            return 2
    return 3


@numba.njit(cache=True, nogil=True)
def _weigh_probabilities(
    given_start: NDArray[Any], given_index: NDArray[Any], up: NDArray[Any], over: NDArray[Any], row_start: NDArray[Any],
    row_index: NDArray[Any], row_value: NDArray[Any], exclusive: bool, start: NDArray[Any], label: NDArray[Any],
    weight: NDArray[Any], own: NDArray[Any], above: NDArray[Any], aside: NDArray[Any],
) -> None:  # fmt: skip
    for i in range(len(given_start) - 1):
        first, last = given_start[i], given_start[i + 1]
        for entry in range(first, last):
            out = start[entry]
            others = 0.0
            for at in range(row_start[i], row_start[i + 1]):
                j, value = row_index[at], float(row_value[at])
                what = _says(j, entry, first, last, given_index, up, over)
                if what == 0:
                    own[entry] = own[entry] + value if exclusive else max(own[entry], value)
                elif what == 3:
                    label[out], weight[out] = j, value
                    others += value
                    out += 1
                elif exclusive and what == 1:
                    above[entry] += value
                elif exclusive:
                    aside[entry] += value
            if not exclusive:  # what is left beside the label's own, shared out among the others
                scale = (1.0 - own[entry]) / max(others, 1.0)
                for at in range(start[entry], out):
                    weight[at] *= scale


@numba.njit(cache=True, nogil=True)
def _weigh_neighbours(
    given_start: NDArray[Any], given_index: NDArray[Any], up: NDArray[Any], over: NDArray[Any], positions: NDArray[Any],
    votes: NDArray[Any], start: NDArray[Any], label: NDArray[Any], weight: NDArray[Any], own: NDArray[Any],
    above: NDArray[Any], aside: NDArray[Any],
) -> None:  # fmt: skip
    for i in range(len(given_start) - 1):
        first, last = given_start[i], given_start[i + 1]
        for entry in range(first, last):
            out = start[entry]
            for k in range(positions.shape[1]):
                vote = votes[i, k]
                begin, end = given_start[positions[i, k]], given_start[positions[i, k] + 1]
                if vote == 0.0 or begin == end:
                    continue
                least = 3
                for at in range(begin, end):
                    what = _says(given_index[at], entry, first, last, given_index, up, over)
                    if what < least:
                        least = what
                if least == 0:
                    own[entry] += vote
                elif least == 1:
                    above[entry] += vote
                elif least == 2:
                    aside[entry] += vote
                else:
                    for at in range(begin, end):
                        seen = start[entry]
                        while seen < out and label[seen] != given_index[at]:
                            seen += 1
                        label[seen] = given_index[at]
                        weight[seen] += vote / (end - begin)
                        out = max(out, seen + 1)


@numba.njit(cache=True, nogil=True)
def _smooth(
    row_start: NDArray[Any], row_index: NDArray[Any], row_value: NDArray[Any], given_start: NDArray[Any],
    given_index: NDArray[Any], positions: NDArray[Any], votes: NDArray[Any], shares: NDArray[Any], start: NDArray[Any],
    index: NDArray[Any], value: NDArray[Any], stamp: NDArray[Any], sums: NDArray[Any],
) -> None:  # fmt: skip
    """The labels of an image are gathered in `sums`, where `stamp` is the image last counted for."""
    touched = np.empty(len(sums), np.int32)
    for i in range(len(row_start) - 1):
        num = 0
        for k in range(-1, positions.shape[1]):
            source = i if k < 0 else positions[i, k]
            factor = 1.0 - shares[i] if k < 0 else shares[i] * votes[i, k]
            if factor == 0.0:
                continue
            for at in range(row_start[source], row_start[source + 1]):
                j = row_index[at]
                if stamp[j] != i:
                    stamp[j] = i
                    sums[j] = 0.0
                    touched[num] = j
                    num += 1
                sums[j] += factor * row_value[at]
        labels = np.sort(touched[:num])
        values = np.empty(num)
        for at in range(num):
            values[at] = -sums[labels[at]]
        order = np.argsort(values, kind="mergesort")
        out = start[i]
        for at in order[:NUM_KEPT]:
            index[out], value[out] = labels[at], -values[at]
            stamp[labels[at]] = -2 - i
            out += 1
        for at in range(given_start[i], given_start[i + 1]):
            j = given_index[at]
            if stamp[j] == i:
                index[out], value[out] = j, sums[j]
                stamp[j] = -2 - i
                out += 1
