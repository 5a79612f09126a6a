"""From evidence to the probability that a given label is wrong, by which labels are given in error for which.

An image that shows j may be given y by error at a rate T(j, y); a given label is right with odds own * T(y, y) to the sum of
weight * T(j, y) over the other labels j. With equal rates everywhere that ranks as the model's own probability of the label does;
where y is often given for j, an image that may be j counts for less. The rate is read off images whose evidence is for j and of these
only the few with the least evidence for y, since among the rest the model's own confusions pass for noise; and as some of them still
do, the root of its excess over the common rate is taken. All shrinks towards the common rate where images are few.
Cost: sorting the sparse evidence; 12 million entries take about ten seconds.
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
"""Power of a rate's excess over the common one. The three were chosen on CIFAR-10, Tiny ImageNet and the world with planted noise."""
_LEAST = 1e-6


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


def score(given: Given, evidence: Evidence) -> Scores:
    """Probability that each given label is wrong.

    Their mean is the estimated share of wrong labels, which itself is counted where evidence for the given label is least.
    """
    m = len(given.index)
    known = ~np.isnan(evidence.own)
    own = np.where(known, evidence.own, 0.0)
    entry = ragged.owners(evidence.start)
    best, heaviest = _heaviest(evidence.start, evidence.weight)
    shown = np.where(own >= heaviest, given.index, evidence.label[best] if len(evidence.label) else -1)
    shown = np.where(known, shown, -1)

    share = (given.counts > 0) / max(int((given.counts > 0).sum()), 1)  # of wrong labels: all that are used alike
    rates = _Rates(given, evidence, own, shown, entry, share)
    likely = evidence.weight * rates.of(evidence.label, given.index[entry])
    right = (own + _LEAST) * (1 - min(rates.common, 0.8))
    told = own + evidence.above + evidence.aside + np.bincount(entry, evidence.weight, minlength=m)
    rest = np.maximum(1 - told, 0) * rates.common * share[given.index]
    wrong = np.bincount(entry, likely, minlength=m) + rest
    odds = np.log(np.maximum(wrong, 1e-30)) - np.log(right)
    odds[known] += _shift(odds[known], rates.overall)
    p = 1 / (1 + np.exp(-odds.clip(-50, 50)))
    silent = (evidence.above + evidence.aside).clip(0, 1)
    p = (1 - silent) * p + silent * rates.overall
    p[~known] = np.nan
    which, most = _heaviest(evidence.start, likely)
    other = np.where((most > 0) & known, evidence.label[which] if len(evidence.label) else -1, -1)
    return Scores(p, other.astype(np.int32), rates.overall if known.any() else float("nan"), evidence.above > 0.5)


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

    def __init__(
        self, given: Given, evidence: Evidence, own: NDArray[np.float64], shown: NDArray[np.int32],
        entry: NDArray[np.int64], share: NDArray[np.float64],
    ) -> None:  # fmt: skip
        tree = given.tree
        self._share = share
        self._size = np.bincount(shown[shown >= 0], minlength=tree.num_labels)
        self._parent = np.array([parents[0] if parents else -1 for parents in tree.parent_lists], np.int64)
        """The first of each label's parents: siblings have the same."""
        apart = np.flatnonzero((shown >= 0) & (shown != given.index))
        pair = self._key(shown[apart], given.index[apart])
        self._pairs = ragged.unique(pair)
        self._lift = np.ones(len(self._pairs))
        self._sibling_lift = 1.0
        self.common = self.overall = 0.5 / max(len(own), 1)
        if len(pair):
            own = np.where(
                own >= _least(evidence), own, 0.0
            )  # rows are cut short: less than what they keep is as good as none
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
            images = np.ceil(part * self._size)
            count = np.bincount(at, ((images[j[at]] - rank) / tied).clip(0, 1), minlength=len(j))
            expected = float((images * (1 - self._share)).sum())
            self.common = min(max(float(count.sum()), 0.5) / max(expected, 1e-12), 1.0)
            of_siblings = float((images * sibling_share).sum())
            self._sibling_lift = (float(count[siblings].sum()) / self.common + PSEUDO) / (of_siblings + PSEUDO)
            prior = self.common * self._share[y] * np.where(siblings, self._sibling_lift**TEMPER, 1.0)
            lifts.append((count / prior + PSEUDO) / (images[j] + PSEUDO))
        self._lift = np.minimum.reduce(lifts)
        self.overall = max(self.overall, self._overall(at, rank, tied))

    def _overall(self, at: NDArray[np.int64], rank: NDArray[np.int64], tied: NDArray[np.int64]) -> float:
        """Share of wrong labels, from the largest share of images that does not tell significantly more than the smallest."""
        j = self._pairs // len(self._share)
        found = []
        for part in (*SHARES, 1.0):
            images = np.ceil(part * self._size)
            count = np.bincount(at, ((images[j[at]] - rank) / tied).clip(0, 1), minlength=len(j))
            wrong = min(float((count / images[j] * self._size[j]).sum() / self._size.sum()), 0.99)
            n = images.sum() + 2
            p = (wrong * n + 1) / (n + 2)
            found.append((wrong, wrong + 2 * (p * (1 - p) / n) ** 0.5))
        return max(wrong for wrong, _ in found if wrong <= found[0][1])

    def of(self, shown: NDArray[np.int32], given: NDArray[np.int32]) -> NDArray[np.float64]:
        """Rate at which images that show a label are given another."""
        lift = PSEUDO / (np.ceil(max(SHARES) * self._size[shown]) + PSEUDO)
        keys = self._key(shown, given)
        if len(self._pairs):
            at = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
            lift = np.where(self._pairs[at] == keys, self._lift[at], lift)
        prior = np.where(self._siblings(shown, given), self._sibling_lift**TEMPER, 1.0)
        return np.asarray(self.common * self._share[given] * prior * lift**TEMPER)

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
