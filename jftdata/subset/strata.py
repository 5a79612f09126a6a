"""Strata: a size shared out among labels, where each image belongs to the rarest of its labels.

Cost: counts and two passes over ids and labels; memory is the result and what is near the cut of each stratum.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadArgument, one_of
from jftdata.hashing import keyed_hash
from jftdata.hierarchy import Hierarchy
from jftdata.progress import say
from jftdata.ragged import owners
from jftdata.subset.build import Picked, builder
from jftdata.subset.core import Subset
from jftdata.subset.labels import given, num_images, streamed

QUOTAS = ("proportional", "equal", "square-root", "tree")
_STREAM = "stratified"


def _why_stratified(
    source: Subset, image: int, *, size: int | None, seed: int, quota: str | Mapping[str, int], least: int
) -> str:
    tree = source.catalog.hierarchy
    rank, label = _ranks(source, quota)
    places = [int(rank[i]) for i in given(source, image) if rank[i] >= 0]
    if not places:
        return "it has no label with a quota"
    n = stratum_sizes(source, rank, len(label))
    wanted, at = _quotas(tree, label, n, size, quota, least), min(places)
    return f"it is of the stratum {tree.labels[label[at]]}: {wanted[at]:,} of {n[at]:,} images, by keyed hash"


@builder(why=_why_stratified)
def stratified(
    source: Subset, *, size: int | None = None, seed: int,
    quota: Literal["proportional", "equal", "square-root", "tree"] | Mapping[str, int] = "proportional", least: int = 1,
) -> Picked:  # fmt: skip
    """So many images, shared out among labels.

    An image is of the stratum of its rarest given label, so that strata do not overlap; those without a label are left out.
    Within a stratum images are drawn by keyed hash. A smaller size need not lie within a larger one.

    Args:
        source: images with given labels.
        size: number of images; None for the sum of given quotas.
        seed: of the keyed hash.
        quota: share of a stratum: `proportional` to its images or to their `square-root`; `equal`; `tree`, where every label
            hands equal shares to its children and to the images it has itself, and a label with several parents has its
            share of the first. What a stratum cannot use goes to the others. Or numbers of images by label, those below it
            included; an image counts for the rarest of its labels with a number.
        least: images of each stratum, or all of a smaller one, whatever its share; does not matter to given numbers.

    Raises:
        UnknownName: no such label; the nearest is suggested.
        UnknownOption: another quota.
        BadArgument: a size that is more than there are images or less than `least` asks for, a number below 1 or above the
            images of its stratum.
    """
    rank, label = _ranks(source, quota)
    n = stratum_sizes(source, rank, len(label))
    outside = len(source) - int(n.sum())
    if outside:
        say(f"{outside:,} of {len(source):,} images have no label with a quota and are left out")
    wanted = _quotas(source.catalog.hierarchy, label, n, size, quota, least)
    spare = wanted + 6 * np.sqrt(wanted) + 10
    share = np.divide(spare, n, out=np.ones(len(n)), where=n > spare)
    ids, stratum = _below(source, rank, share, seed)
    short = np.bincount(stratum, minlength=len(n)) < wanted
    if short.any():  # one stratum in a thousand million
        ids, stratum = _below(source, rank, np.where(short, 1.0, share), seed)
    order = np.lexsort((ids, keyed_hash(ids, seed=seed, stream=_STREAM), stratum))
    stratum = stratum[order]
    place = np.arange(len(order)) - np.searchsorted(stratum, stratum)
    return ids[order[place < wanted[stratum]]]


def by_rarity(source: Subset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(num_labels,) place of each label among all, fewest images given first; and the labels in that order."""
    label = np.argsort(num_images(source, ancestors=False), kind="stable")
    rank = np.empty(len(label), np.int64)
    rank[label] = np.arange(len(label))
    return rank, label


def stratum_sizes(source: Subset, rank: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """(num,) images of each stratum."""
    out = np.zeros(num + 1, np.int64)
    for part in streamed(
        source, lambda _, start, index: np.bincount(rarest(start, index, rank) + 1, minlength=num + 1)
    ):
        out += part
    return out[1:]


@numba.njit(cache=True, nogil=True)
def rarest(start: NDArray[Any], index: NDArray[Any], rank: NDArray[Any]) -> NDArray[Any]:
    """(n,) the lowest rank of each image's labels; -1 for images with none, or none of rank 0 and above."""
    out = np.full(len(start) - 1, -1, np.int64)
    for i in range(len(start) - 1):
        for at in range(start[i], start[i + 1]):
            own = rank[index[at]]
            if own >= 0 and (out[i] < 0 or own < out[i]):
                out[i] = own
    return out


def allot(
    total: int, weights: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Whole numbers in proportion to weights within bounds, by largest remainders; ties go to the first.

    Args:
        total: their sum, between those of the bounds.
        weights: (n,) above 0.
        low: (n,) least of each.
        high: (n,) most of each.

    >>> allot(10, np.array([1.0, 1.0, 8.0]), np.array([2, 0, 0]), np.array([9, 9, 5]))
    array([3, 2, 5])
    """
    turns = np.concatenate([low / weights, high / weights])
    order = np.argsort(turns, kind="stable")
    turns, slopes = turns[order], np.cumsum(np.concatenate([weights, -weights])[order])
    sums = low.sum() + np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(turns))])
    exact = np.clip(np.interp(total, sums, turns) * weights, low, high)
    out: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    out[np.argsort(out - exact, kind="stable")[: total - int(out.sum())]] += 1
    return out


def _ranks(source: Subset, quota: str | Mapping[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(num_labels,) the stratum of images whose rarest label this is, -1 for none; and the label of each stratum."""
    tree = source.catalog.hierarchy
    if not isinstance(quota, Mapping):
        if quota not in QUOTAS:
            raise one_of("quota", quota, QUOTAS)
        return by_rarity(source)
    asked = np.array([tree.index(name) for name in quota], np.int64)
    label = asked[np.lexsort((asked, num_images(source, ancestors=True)[asked]))]
    own = np.full(tree.num_labels, len(label), np.int64)
    own[label] = np.arange(len(label))
    rank = own.copy()
    np.minimum.at(rank, owners(tree.ancestor_start), own[tree.ancestor_index])
    rank[rank == len(label)] = -1
    return rank, label


def _quotas(
    tree: Hierarchy, label: NDArray[np.int64], n: NDArray[np.int64], size: int | None, quota: str | Mapping[str, int],
    least: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Images wanted of each stratum."""
    if isinstance(quota, Mapping):
        wanted = np.array([quota[tree.labels[i]] for i in label], np.int64)
        for at in np.flatnonzero((wanted < 1) | (wanted > n))[:1]:
            raise BadArgument(
                f"the quota of {tree.labels[label[at]]!r} must be in 1..{n[at]}, the images that count for it. Got {wanted[at]}."
            )
        if size not in (None, int(wanted.sum())):
            raise BadArgument(f"`size` must be {wanted.sum()}, the sum of the quotas, or be left out. Got {size}.")
        return wanted
    low = np.minimum(n, least)
    if least < 0 or size is None or not max(1, low.sum()) <= size <= n.sum():
        raise BadArgument(
            f"`size` must be in {max(1, low.sum())}..{n.sum()}, from {least} for each label to all labelled images. Got {size}."
        )
    if quota == "tree":
        return _along_tree(tree, label, n, low, size)
    weights = {"proportional": n.astype(np.float64), "equal": np.ones(len(n)), "square-root": np.sqrt(n)}[quota]
    wanted = np.zeros(len(n), np.int64)
    used = n > 0
    wanted[used] = allot(size, weights[used], low[used], n[used])
    return wanted


def _along_tree(
    tree: Hierarchy, label: NDArray[np.int64], n: NDArray[np.int64], low: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Equal shares at every label, from the roots down; place `num_labels` stands above the roots."""
    top = tree.num_labels
    parent = [parents[0] if parents else top for parents in tree.parent_lists]
    own = np.zeros((2, top + 1), np.int64)
    own[:, label] = low, n
    below = own.copy()
    for i in reversed(range(top)):
        below[:, parent[i]] += below[:, i]
    children: list[list[int]] = [[] for _ in range(top + 1)]
    for i in range(top):
        if below[1, i]:
            children[parent[i]].append(i)
    budget = np.zeros(top + 1, np.int64)
    budget[top] = size
    for i in (top, *range(top)):
        if children[i] and budget[i]:
            bounds = np.concatenate([own[:, [i]], below[:, children[i]]], axis=1)
            budget[[i, *children[i]]] = allot(int(budget[i]), np.ones(bounds.shape[1]), *bounds)
    return budget[label]


def _below(
    source: Subset, rank: NDArray[np.int64], share: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and strata of images whose keyed hash is in the lowest share of their stratum."""
    bound = np.append(np.minimum(share * 2.0**64, 2.0**64 - 2048).astype(np.uint64), np.uint64(0))
    bound[:-1][share >= 1] = np.uint64(2**64 - 1)

    def pick(
        ids: NDArray[np.int64], start: NDArray[np.int64], index: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        stratum = rarest(start, index, rank)
        inside = (stratum >= 0) & (keyed_hash(ids, seed=seed, stream=_STREAM) <= bound[stratum])
        return ids[inside], stratum[inside]

    parts = list(streamed(source, pick))
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([stratum for _, stratum in parts])
