"""Balance: rare labels more often than they come, by weights an image (repeat factors) or by drawing without replacement.

Cost: counts and one to three passes over ids and labels; memory is the result.
"""

import math
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadArgument, one_of
from jftdata.hashing import keyed_hash, uniform
from jftdata.progress import say
from jftdata.subset.build import Picked, builder
from jftdata.subset.core import Subset
from jftdata.subset.labels import given, num_images, streamed
from jftdata.subset.strata import by_rarity, stratum_sizes

Rule = Literal["square-root", "effective-number", "equal"]
RULES = ("square-root", "effective-number", "equal")
_STREAM = "balanced"
_SHIFT = np.uint64(44)
"""Bits of a key below those that find the bin in which the cut lies."""


def _why_repeat(source: Subset, image: int, *, threshold: float, ancestors: bool) -> str:
    tree, n = source.catalog.hierarchy, num_images(source, ancestors=ancestors)
    factor = _factors(n, len(source), threshold)
    labels = given(source, image)
    parts = ", ".join(f"{tree.labels[i]} ({n[i]:,} images, {factor[i]:.3g})" for i in labels)
    return f"weight {max((factor[i] for i in labels), default=1.0):.3g}, the largest of {parts or 'no label'}"


@builder(why=_why_repeat)
def repeat_factors(source: Subset, *, threshold: float = 0.001, ancestors: bool = False) -> Picked:
    """All images, those of rare labels several times an epoch: repeat factor sampling.

    A label on a share f of the images has the factor max(1, sqrt(threshold / f)); an image has the largest of its labels as
    its weight, 1 without labels. An epoch grows accordingly. Weights that the source had are replaced.

    Args:
        source: images with given labels.
        threshold: labels on a smaller share of the images are repeated.
        ancestors: whether images of labels below count for a label; inner labels are then less rare.

    Raises:
        BadArgument: a threshold that is not a share.

    Source: A. Gupta, P. Dollár, R. Girshick: *LVIS*. CVPR 2019, section 4.1, and its threshold of 0.001.
    """
    if not 0 < threshold <= 1:
        raise BadArgument(f"`threshold` must be a share of images in (0, 1]. Got {threshold}.")
    return _weighted(source, _factors(num_images(source, ancestors=ancestors), len(source), threshold), 1.0)


def _why_balanced(source: Subset, image: int, *, size: int | None, seed: int, rule: Rule, beta: float) -> str:
    labels = given(source, image)
    if not labels:
        return "it has no label"
    n = num_images(source, ancestors=False)
    rare = min(labels, key=lambda i: (n[i], i))
    chance = f"; drawn among the first {size:,} by a keyed hash" if size is not None else ""
    return (
        f"weight {_weights(n, rule, beta)[rare]:.3g} before scaling, of its rarest label "
        f"{source.catalog.hierarchy.labels[rare]} ({n[rare]:,} images){chance}"
    )


@builder(why=_why_balanced)
def balanced(
    source: Subset, *, size: int | None = None, seed: int, rule: Rule = "square-root", beta: float = 0.9999
) -> Picked:
    """So many images, those of rare labels more probably; or all of them with weights.

    An image has the weight of its rarest given label: 1 / sqrt(n) for a label on n images (`square-root`), 1 / n (`equal`),
    or (1 - beta) / (1 - beta**n) (`effective-number`). Images without a label are left out.

    Args:
        source: images with given labels.
        size: number of images drawn without replacement, each draw in proportion to the weights of those left; a smaller
            size lies within a larger one. None takes all, weighted, with a mean of 1; earlier weights are replaced.
        seed: of the keyed hash that draws.
        rule: how weight falls with the images of a label.
        beta: of `effective-number`, in [0, 1): 0 is no balance, towards 1 it becomes `equal`.

    Raises:
        UnknownOption: another rule.
        BadArgument: a size below 1 or above the number of labelled images, or a beta out of range.

    Source: square-root D. Mahajan et al.: *Exploring the Limits of Weakly Supervised Pretraining*. ECCV 2018, section 2.2;
    effective-number Y. Cui et al.: *Class-Balanced Loss Based on Effective Number of Samples*. CVPR 2019, equation 2; the draw
    P. Efraimidis, P. Spirakis: *Weighted random sampling with a reservoir*. Information Processing Letters 97, 2006.
    """
    if rule not in RULES:
        raise one_of("rule", rule, RULES)
    if not 0 <= beta < 1:
        raise BadArgument(f"`beta` must be in [0, 1). Got {beta}.")
    weights = _weights(num_images(source, ancestors=False), rule, beta)
    if size is not None:
        return _drawn(source, weights, size, seed)
    rank, label = by_rarity(source)
    n = stratum_sizes(source, rank, len(label))
    mean = math.fsum(n * weights[label]) / max(1, n.sum()) or 1.0  # rounded once, so in any order of rows
    ids, values = _weighted(source, weights / mean, 0.0)
    labelled = values > 0
    if not labelled.all():
        say(f"{(~labelled).sum():,} of {len(source):,} images have no label and are left out")
        ids, values = ids[labelled], values[labelled]
    return ids, values


def _factors(n: NDArray[np.int64], num_images: int, threshold: float) -> NDArray[np.float64]:
    """The repeat factor of each label."""
    return np.maximum(1.0, np.sqrt(threshold * num_images / np.maximum(n, 1)))


def _weights(n: NDArray[np.int64], rule: Rule, beta: float) -> NDArray[np.float64]:
    """The weight of each label; it falls with the number of images."""
    used = np.maximum(n, 1).astype(np.float64)
    if rule == "effective-number":
        return (1 - beta) / (1 - beta**used)
    return 1 / np.sqrt(used) if rule == "square-root" else 1 / used


def _weighted(
    source: Subset, weights: NDArray[np.float64], none: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All ids, and the largest weight of each image's labels."""
    ids, values, end = np.empty(len(source), np.int64), np.empty(len(source), np.float64), 0
    for some, own in streamed(source, lambda ids, start, index: (ids, _largest(start, index, weights, none))):
        ids[end : end + len(some)], values[end : end + len(some)] = some, own
        end += len(some)
    return ids, values


def _drawn(source: Subset, weights: NDArray[np.float64], size: int, seed: int) -> NDArray[np.int64]:
    """The ids with the lowest keys -log(u) / weight; a histogram of their leading bits finds the bin to sort."""

    def keyed(ids: NDArray[np.int64], start: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.uint64]:
        own = _largest(start, index, weights, 0.0)
        exponential = -np.log1p(-uniform(keyed_hash(ids, seed=seed, stream=_STREAM)))
        keys: NDArray[Any] = np.divide(exponential, own, out=np.full(len(own), np.inf), where=own > 0)
        return keys.view(np.uint64)  # the bits of floats above 0 sort as they do

    bins = np.zeros(1 << (64 - int(_SHIFT)), np.int64)
    last = int(np.array(np.inf).view(np.uint64) >> _SHIFT)
    for filled in streamed(source, lambda *rows: np.bincount((keyed(*rows) >> _SHIFT).astype(np.int64))):
        bins[: len(filled)] += filled
    labelled = int(bins[:last].sum())
    if not 1 <= size <= labelled:
        raise BadArgument(f"`size` must be in 1..{labelled}, the images with a label. Got {size}.")
    cut = np.uint64(np.searchsorted(np.cumsum(bins), size))

    def pick(
        ids: NDArray[np.int64], start: NDArray[np.int64], index: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
        keys = keyed(ids, start, index)
        at = keys >> _SHIFT
        return ids[at < cut], ids[at == cut], keys[at == cut]

    below, edge, keys = (np.concatenate(part) for part in zip(*streamed(source, pick), strict=True))
    return np.concatenate([below, edge[np.lexsort((edge, keys))][: size - len(below)]])


@numba.njit(cache=True, nogil=True)
def _largest(start: NDArray[Any], index: NDArray[Any], weights: NDArray[Any], none: float) -> NDArray[Any]:
    """(n,) the largest weight of each image's labels; `none` without any."""
    out = np.full(len(start) - 1, none)
    for i in range(len(start) - 1):
        for at in range(start[i], start[i + 1]):
            if at == start[i] or weights[index[at]] > out[i]:
                out[i] = weights[index[at]]
    return out
