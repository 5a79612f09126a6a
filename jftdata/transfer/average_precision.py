"""Average precision of detections as a function of how often each test image counts.

Detections lie by class and falling score. At an overlap few of them are right or, though they count elsewhere, do not count; a set
of weights is summed up over all detections once, and then each overlap takes a look at those few only.
An image that counts k times is k copies of it, one after another; of two of its detections with the same score all copies of
the first come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_OUT, _RIGHT, _ADDED = range(3)


@dataclass(frozen=True, eq=False)
class Ranked:
    """n detections of c classes that count unless something is said of them, and e of which something is at one of t overlaps."""

    start: NDArray[np.int64]
    """(c + 1,) where each class begins."""
    image: NDArray[np.int32]
    """(n,) row of each one's image."""
    special: NDArray[np.int64]
    """(t * c + 1,) where those of each overlap and class begin."""
    what: NDArray[np.int32]
    """(e,) 4 times the row of its image, and 0 for one that does not count, 1 for a right one, 2 for a right one not among the n."""
    place: NDArray[np.int32]
    """(e,) how many of the n are up to it."""


def ranked(
    image: NDArray[np.int64], label: NDArray[np.int64], *, usual: NDArray[np.bool_], right: Sequence[NDArray[np.bool_]],
    aside: Sequence[NDArray[np.bool_]], num_classes: int,
) -> Ranked:  # fmt: skip
    """Detections as `average_precision` takes them.

    Args:
        image: (n,) row of each one's image, below 2^29.
        label: (n,) its class, ascending; by falling score within a class.
        usual: (n,) whether it is wrong where nothing else is said.
        right: for each overlap (n,) whether it is right.
        aside: for each overlap (n,) whether it does not count; never one that is right.
        num_classes: labels are below it.
    """
    up_to = np.cumsum(usual)
    starts, what, place = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for is_right, is_aside in zip(right, aside, strict=True):
        rows = np.flatnonzero(is_right | (usual & is_aside))
        kind = np.where(is_right[rows], np.where(usual[rows], _RIGHT, _ADDED), _OUT)
        starts.append(starts[-1][-1] + np.searchsorted(label[rows], np.arange(1, num_classes + 1)))
        what.append((image[rows] * 4 + kind).astype(np.int32))
        place.append(up_to[rows].astype(np.int32))
    start = np.searchsorted(label[usual], np.arange(num_classes + 1))
    return Ranked(
        start, image[usual].astype(np.int32), np.concatenate(starts), np.concatenate(what), np.concatenate(place)
    )


def average_precision(
    detections: Ranked, weights: NDArray[np.float64], positives: NDArray[np.float64], recalls: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average precision at each overlap of each class; the precision at a recall is the best at it or any greater one.

    Args:
        detections: of c classes at t overlaps.
        weights: (num_images,) how often each image counts.
        positives: (c,) objects to be found of each class, counted as their images.
        recalls: (r,) evenly from 0 to 1, at which precisions are averaged; if empty, the area under precision over recall.

    Returns:
        (t, c), nan without positives.

    Cost: 3 ms for 500,000 detections at ten overlaps, and 300,000 of which something is said.

    >>> one = np.ones(1, bool)
    >>> only = ranked(np.array([0]), np.array([0]), usual=one, right=[one], aside=[~one], num_classes=2)
    >>> average_precision(only, np.ones(1), np.array([2.0, 0.0]), np.zeros(0))
    array([[0.5, nan]])
    """
    d = detections
    out: NDArray[np.float64] = _average(d.start, d.image, d.special, d.what, d.place, weights, positives, recalls)
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _average(
    start: NDArray[Any], image: NDArray[Any], special: NDArray[Any], what: NDArray[Any], place: NDArray[Any],
    weights: NDArray[Any], positives: NDArray[Any], recalls: NDArray[Any],
) -> NDArray[Any]:  # fmt: skip
    num_classes, num_recalls = len(positives), len(recalls)
    seen = np.zeros(len(image) + 1)
    for i in range(len(image)):
        seen[i + 1] = seen[i] + weights[image[i]]
    out = np.full(len(special) - 1, np.nan)
    room = num_recalls
    for k in range(len(out)):
        room = max(room, special[k + 1] - special[k])
    best, gain = np.zeros(room), np.zeros(room)  # precision at each recall, or right detection, and what it counts
    for k in range(len(out)):
        c = k % num_classes
        if positives[c] == 0:
            continue
        best[:num_recalls], gain[:num_recalls] = 0.0, 1.0 / max(1, num_recalls)
        at, right, total = min(num_recalls, 1) - 1, 0.0, -seen[start[c]]
        for i in range(special[k], special[k + 1]):
            weight, kind = weights[what[i] >> 2], what[i] & 3
            total += weight * ((kind == _ADDED) - (kind == _OUT))
            gained = weight * (kind != _OUT)
            right += gained
            precision = right / (seen[place[i]] + total + 1e-300)  # 0 as long as nothing counts
            if num_recalls:
                recall = right / positives[c]
                at = min(int(recall * (num_recalls - 1) + 1e-9), num_recalls - 1)
                at -= recall < recalls[at]
                best[at] = max(best[at], precision)
            else:
                at += 1
                best[at], gain[at] = precision, gained / positives[c]
        highest = average = 0.0
        for i in range(at, -1, -1):
            highest = max(highest, best[i])
            average += highest * gain[i]
        out[k] = average
    return out.reshape(-1, num_classes)
