"""From evidence to the probability that a given label is wrong, by which labels are given in error for which.

Two scores, each the log of the heaviest evidence for another label over that for the given one. Where errors are even over all
labels, that for the other counts half, and the evidence for the label itself decides, as in a plain self-confidence. Where they are
uneven (`cat` for `dog` time and again) it counts whole, and times how much more often than others the label is given for it. How
uneven they are is told by how often pairs repeat, and mixes the two.
Pairs are counted on images whose evidence is for j and of these only the few with the least evidence for the given y, since among
the rest the model's own confusions pass for noise; as some of them still do, the root of a pair's excess is taken. All shrinks towards
even where images are few. Cost: sorting the sparse evidence; 10 million entries take about half a minute with all else.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.noise.evidence import Evidence
from jftdata.noise.given import Given

SHARES = (0.1, 0.2, 0.3)
"""Of the images of a label, those with the least evidence for another; the lowest rate among them counts."""
PSEUDO = 50.0
"""Images at the common rate that are added to what is counted."""
TEMPER = 0.5
"""Power of a pair's excess over even errors."""
UNEVEN = (2.1, 4.2)
"""Pairs repeat so many times as often as by even errors where the second score begins to count, and where it counts alone."""
FLOORS = (1e-4, 1e-2)
"""Added to evidence before the log is taken, in the two scores. All of these were chosen on CIFAR-10, Tiny ImageNet and the world with
planted noise (`benchmarks/bench_noise.py`)."""
_ENOUGH = 100
"""Images that tell a share of wrong labels."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Arrays parallel to the given labels."""

    wrong: NDArray[np.float64]
    """Probability that the label is wrong; NaN where nothing is known."""
    other: NDArray[np.int32]
    """The label most likely shown instead, -1 where there is none."""
    rate: float
    """Estimated share of wrong labels; with weak evidence it is too high."""
    less_specific: NDArray[np.bool_]
    """Where most of the evidence is for labels above."""


def score(given: Given, evidence: Evidence, *, counted: Evidence | None = None) -> Scores:
    """Probability that each given label is wrong.

    Their mean is the estimated share of wrong labels, which itself is counted where evidence for the given label is least. What
    other given labels say already, and labels above where they are most of the evidence, pull towards that mean.

    Args:
        given: the labels.
        evidence: what is said of each.
        counted: evidence to count errors on where it is not the same: of each image by itself, as neighbours err alike.
    """
    known = ~np.isnan(evidence.own)
    own = np.where(known, evidence.own, 0.0)
    entry = ragged.owners(evidence.start)
    _, heaviest = _heaviest(evidence.start, evidence.weight)
    rates = _Rates(given, evidence if counted is None else counted)
    likely = evidence.weight * rates.excess(evidence.label, given.index[entry])
    which, most = _heaviest(evidence.start, likely)
    even, uneven = (np.log(own + floor) for floor in FLOORS)
    even = 0.5 * np.log(heaviest + FLOORS[0]) - even
    uneven = np.log(most + FLOORS[1]) - uneven
    odds = (1 - rates.uneven) * even + rates.uneven * uneven
    odds[known] += _shift(odds[known], rates.overall)
    p = 1 / (1 + np.exp(-odds.clip(-50, 50)))
    less_specific = evidence.above > 0.5
    silent = (evidence.aside + np.where(less_specific, evidence.above, 0.0)).clip(0, 1)
    p = (1 - silent) * p + silent * rates.overall
    p[~known] = np.nan
    other = np.where((most > 0) & known, evidence.label[which] if len(evidence.label) else -1, -1)
    return Scores(p, other.astype(np.int32), rates.overall if known.any() else float("nan"), less_specific)


def _heaviest(start: NDArray[np.int64], weight: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Position and weight of the heaviest item of each row, the first of equals; position 0 and weight 0 for an empty row."""
    rows = np.flatnonzero(np.diff(start) > 0)
    at, most = np.zeros(len(start) - 1, np.int64), np.zeros(len(start) - 1)
    if len(rows):
        most[rows] = np.maximum.reduceat(weight, start[rows])
        top = np.flatnonzero(weight == np.repeat(most, np.diff(start)))
        at[rows] = top[np.searchsorted(top, start[rows])]
    return at, most


def _least(evidence: Evidence) -> NDArray[np.float64]:
    """The least weight each entry keeps of another label; 0 where it keeps them all."""
    some = np.diff(evidence.start) > 0
    out = np.zeros(len(some))
    if some.any():
        rows = evidence.start[:-1][some]
        out[some] = np.minimum.reduceat(evidence.weight, rows)
        told = evidence.own + evidence.above + evidence.aside
        told[some] += np.add.reduceat(evidence.weight, rows)
        out[told > 0.999] = 0.0
    return out


class _Rates:
    """How often each label is given in error for each other one."""

    def __init__(self, given: Given, evidence: Evidence) -> None:
        known = ~np.isnan(evidence.own)
        own = np.where(known, evidence.own, 0.0)
        entry = ragged.owners(evidence.start)
        best, heaviest = _heaviest(evidence.start, evidence.weight)
        shown = np.where(own >= heaviest, given.index, evidence.label[best] if len(evidence.label) else -1)
        shown = np.where(known, shown, -1)
        tree = given.tree
        used = given.counts > 0
        self._share = used / used.sum()
        """Of each label among even errors."""
        self._size = np.bincount(shown[shown >= 0], minlength=tree.num_labels)
        self._parent = np.array([parents[0] if parents else -1 for parents in tree.parent_lists], np.int64)
        """The first of each label's parents: siblings have the same."""
        apart = np.flatnonzero((shown >= 0) & (shown != given.index))
        pair = self._key(shown[apart], given.index[apart])
        self._pairs = ragged.unique(pair)
        self._lift = np.ones(len(self._pairs))
        self._sibling_lift = 1.0
        self.overall = 0.5 / max(len(own), 1)
        self.uneven = 0.0
        if len(pair):
            # rows are cut short: less than what they keep is as good as none
            own = np.where(own >= _least(evidence), own, 0.0)
            entries = self._entries(evidence, shown, entry, own, given)
            rank, tied = _rank(pair, own[apart], entries, self._size, tree.num_labels)
            self._count(np.searchsorted(self._pairs, pair), rank, tied)

    def _count(self, at: NDArray[np.int64], rank: NDArray[np.int64], tied: NDArray[np.int64]) -> None:
        j, y = np.divmod(self._pairs, len(self._share))
        siblings = self._siblings(j, y)
        family = np.bincount(self._parent + 1, self._share)
        sibling_share = np.where(self._parent >= 0, family[self._parent + 1] - self._share, 0.0)
        lifts = []
        for part in SHARES:
            images = part * self._size.astype(np.float64)
            inside = ((images[j[at]] - rank) / tied).clip(0, 1)
            count = np.bincount(at, inside, minlength=len(j))
            expected = float((images * (1 - self._share)).sum())
            common = min(max(float(count.sum()), 0.5) / max(expected, 1e-12), 1.0)
            of_siblings = float((images * sibling_share).sum())
            self._sibling_lift = (float(count[siblings].sum()) / common + PSEUDO) / (of_siblings + PSEUDO)
            prior = common * self._share[y] * np.where(siblings, self._sibling_lift**TEMPER, 1.0)
            lifts.append((count / prior + PSEUDO) / (images[j] + PSEUDO))
        self._lift = np.minimum.reduce(lifts)
        by_chance = float(((images * common) ** 2).sum() * (self._share**2).sum())
        repeats = float((count**2).sum() - (inside**2).sum()) / max(by_chance, 1e-12)
        low, high = UNEVEN
        self.uneven = min(max((repeats - low) / (high - low), 0.0), 1.0)
        self.overall = max(self.overall, self._overall(at, rank, tied))

    def _overall(self, at: NDArray[np.int64], rank: NDArray[np.int64], tied: NDArray[np.int64]) -> float:
        """Share of wrong labels, by the smallest share of images that is enough of them."""
        total = self._size.sum()
        part = min((part for part in SHARES if part * total >= _ENOUGH), default=1.0)
        j = self._pairs // len(self._share)
        images = part * self._size.astype(np.float64)
        count = np.bincount(at, ((images[j[at]] - rank) / tied).clip(0, 1), minlength=len(j))
        return min(float(count.sum() / (part * total)), 0.99)

    def excess(self, shown: NDArray[np.int32], given: NDArray[np.int32]) -> NDArray[np.float64]:
        """How many times as often as by even errors images that show a label are given another; tempered."""
        lift = PSEUDO / (max(SHARES) * self._size[shown] + PSEUDO)
        keys = self._key(shown, given)
        if len(self._pairs):
            at = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
            lift = np.where(self._pairs[at] == keys, self._lift[at], lift)
        return np.asarray(np.where(self._siblings(shown, given), self._sibling_lift, 1.0) * lift**TEMPER)

    def _entries(
        self, evidence: Evidence, shown: NDArray[np.int32], entry: NDArray[np.int64], own: NDArray[np.float64], given: Given
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # fmt: skip
        """(label shown, label) and evidence for the latter of all entries, for the pairs that matter."""
        pair = self._key(shown[entry], evidence.label)
        keep = self._among(pair) & (shown[entry] >= 0)
        mine = self._key(shown, given.index)
        own_keep = self._among(mine) & (shown >= 0) & (own > 0)
        return np.concatenate([pair[keep], mine[own_keep]]), np.concatenate([evidence.weight[keep], own[own_keep]])

    def _among(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        at = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
        return np.asarray(self._pairs[at] == keys)

    def _key(self, shown: NDArray[np.int32], given: NDArray[np.int32]) -> NDArray[np.int64]:
        return shown.astype(np.int64) * len(self._share) + given

    def _siblings(self, j: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((self._parent[j] >= 0) & (self._parent[j] == self._parent[y]))


def _rank(
    pair: NDArray[np.int64], own: NDArray[np.float64], entries: tuple[NDArray[np.int64], NDArray[np.float64]],
    size: NDArray[np.int64], num_labels: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """How many images that show the same label have less evidence for the label that each of these was given, and how many
    have as little: none at all."""
    keys, values = entries
    order = np.lexsort((values, keys))
    keys, values = keys[order], values[order]
    first, last = np.searchsorted(keys, pair), np.searchsorted(keys, pair, side="right")
    silent = size[pair // num_labels] - (last - first)  # not in the sparse rows: no evidence at all
    below = _lower_bound(values, own, first, last) - first
    return np.where(own > 0, silent + below, 0), np.where(own > 0, 1, np.maximum(silent, 1))


@numba.njit(cache=True, nogil=True)
def _lower_bound(values: NDArray[Any], wanted: NDArray[Any], first: NDArray[Any], last: NDArray[Any]) -> NDArray[Any]:
    """Position of each value in its own sorted stretch."""
    out = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        out[i] = first[i] + np.searchsorted(values[first[i] : last[i]], wanted[i])
    return out


def _shift(odds: NDArray[np.float64], rate: float) -> float:
    """What to add to log odds so that the mean probability is `rate`."""
    low, high = -60.0, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        mean = (1 / (1 + np.exp(-(odds + middle).clip(-50, 50)))).mean() if len(odds) else rate
        low, high = (middle, high) if mean < rate else (low, middle)
    return (low + high) / 2
