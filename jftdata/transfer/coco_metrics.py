"""COCO's metrics of boxes and keypoints, as functions of how often each test image counts.

Detections are matched with objects once, at ten overlaps and for each range of areas; what is kept of each is whether it is right,
wrong or does not count. A set of weights then costs one pass over the detections. With all weights 1 the metrics are those of
pycocotools; with other whole numbers those of a set that has each image so many times, one after another (see
`average_precision` for equal scores). A metric without objects is nan, where pycocotools says -1.
Memory: some 100 bytes a detection, and 8 a pair of detection and object of one image and class.

Source: COCO's detection and keypoint evaluation, cocodataset.org.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jftdata.errors import BadArgument, BadInput
from jftdata.ragged import owners
from jftdata.transfer import together
from jftdata.transfer.annotations.core import Objects
from jftdata.transfer.annotations.predictions import Detections
from jftdata.transfer.average_precision import Ranked, average_precision, ranked
from jftdata.transfer.oks import oks, sigmas_of
from jftdata.transfer.pairing import Pairing, overlaps, pair, similarities
from jftdata.transfer.task import Score

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Pixels, both ends included."""
MOST_BOXES, MOST_POSES = 100, 20
"""Detections that count of an image and class, the best."""
_EVERY, _HALF, _THREE_QUARTERS = range(10), range(1), range(5, 6)  # of OVERLAPS


@dataclass(frozen=True)
class _Metric:
    """A mean over classes and some overlaps."""

    overlaps: range = _EVERY
    area: str = "all"
    most: int = MOST_BOXES


_SIZES = {size: _Metric(area=size) for size in ("small", "medium", "large")}
_BOX_PRECISIONS = {
    "AP": _Metric(), "AP.5": _Metric(_HALF), "AP.75": _Metric(_THREE_QUARTERS),
    **{f"AP {size}": metric for size, metric in _SIZES.items()},
}  # fmt: skip
_BOX_RECALLS = {
    **{f"AR {most}": _Metric(most=most) for most in (1, 10, MOST_BOXES)},
    **{f"AR {size}": metric for size, metric in _SIZES.items()},
}
_POSE_METRICS = {
    "": _Metric(), ".5": _Metric(_HALF), ".75": _Metric(_THREE_QUARTERS), " medium": _SIZES["medium"], " large": _SIZES["large"],
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Matches:
    """What the matching found; `scores` makes metrics of it."""

    num_images: int
    num_classes: int
    precisions: Mapping[str, _Metric]
    recalls: Mapping[str, _Metric]
    detections: Mapping[str, Ranked]
    """By range of areas, at all overlaps."""
    found: sparse.csr_array
    """(recalls x classes, images) objects found, each as the share of the metric's overlaps at which it is."""
    objects: sparse.csr_array
    """(ranges of areas x classes, images) objects to be found."""


def boxes(truth: Objects, found: Detections, *, num_classes: int) -> Matches:
    """Match boxes by intersection over union.

    Args:
        truth: objects of the test images; detections that lie in crowds do not count.
        found: boxes of the same images in the same order, any number; the best 100 of an image and class count, equal scores as
            they come.
        num_classes: labels are below it.

    Raises:
        BadInput: other numbers of images, starts that do not fit, labels out of range, numbers that are not finite, boxes that end
            before they begin.

    Cost: 0.7 s for 500,000 detections of 5,000 images of 80 classes.
    """
    pairing = pair(truth, found, num_classes=num_classes, most=MOST_BOXES)

    def measure(detection: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        return overlaps(found.box[detection], truth.box[item], crowd=truth.crowd[item])

    width, height = (found.box[pairing.detection, 2:] - found.box[pairing.detection, :2]).T
    return _matches(
        pairing, similarities(pairing, measure), truth, truth.crowd, width * height, num_classes, _BOX_PRECISIONS, _BOX_RECALLS
    )  # fmt: skip


def keypoints(
    truth: Objects, found: Detections, *, num_classes: int, sigmas: Sequence[float] | NDArray[np.float64] | None = None
) -> Matches:
    """Match poses by object keypoint similarity, over the keypoints that are labelled.

    Args:
        truth: objects of the test images with keypoints; detections of those without a labelled one, and of crowds, do not count.
        found: poses of the same images in the same order, any number; the best 20 of an image and class count. The area of one
            is that of the smallest box around its keypoints, as in COCO's results format.
        num_classes: labels are below it.
        sigmas: (K,) of the keypoints; None is COCO's for 17.

    Raises:
        BadArgument: another number of keypoints than 17 and no sigmas for it.
        BadInput: no keypoints, or another number of them; and what `boxes` raises.

    Cost: 1.2 s for 100,000 poses on 5,000 images with 4 people each.
    """
    if truth.keypoints is None or found.keypoints is None:
        what = "objects" if truth.keypoints is None else "detections"
        raise BadInput(f"the {what} have no keypoints. Give a set and a model of poses.")
    if np.shape(truth.keypoints)[1:] != np.shape(found.keypoints)[1:] or len(found.keypoints) != len(found.score):
        raise BadInput(
            f"keypoints of objects are {np.shape(truth.keypoints)}, of {len(found.score)} detections {np.shape(found.keypoints)}. "
            "Give (detections, K, 3) with the K of the objects."
        )
    if not np.isfinite(found.keypoints).all():
        at = int(np.flatnonzero(~np.isfinite(found.keypoints).all(axis=(1, 2)))[0])
        raise BadInput(f"a keypoint of image {owners(found.start)[at]} is no finite number. Mend the network.")
    places, labelled = truth.keypoints[..., :2].astype(np.float64), truth.keypoints[..., 2] > 0
    none = labelled.sum(axis=1) == 0
    labelled |= none[:, None]
    size = truth.box[:, 2:] - truth.box[:, :2]
    low, high = truth.box[:, :2] - size, truth.box[:, 2:] + size  # around a person without labels
    poses = np.asarray(found.keypoints, np.float64)[..., :2]
    scale = sigmas_of(poses.shape[1], sigmas)
    pairing = pair(truth, found, num_classes=num_classes, most=MOST_POSES)

    def measure(detection: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        pose = poses[detection]
        away = pose - places[item]
        far = none[item]
        lower, upper = low[item[far], None], high[item[far], None]
        away[far] = np.maximum(0, lower - pose[far]) + np.maximum(0, pose[far] - upper)
        return oks((away**2).sum(axis=2), truth.area[item], scale, labelled[item])

    kept = poses[pairing.detection]
    extent = (kept.max(axis=1) - kept.min(axis=1)).prod(axis=1) if len(kept) else np.zeros(0)
    return _matches(
        pairing, similarities(pairing, measure), truth, truth.crowd | none, extent, num_classes,
        {f"AP{name}": metric for name, metric in _POSE_METRICS.items()},
        {f"AR{name}": metric for name, metric in _POSE_METRICS.items()},
    )  # fmt: skip


def scores(matches: Matches, classes: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[Score]:
    """COCO's metrics, and `AP (<class>)` of each class where there are several.

    For boxes `AP`, `AP.5`, `AP.75`, `AP small`, `AP medium`, `AP large`, `AR 1`, `AR 10`, `AR 100`, `AR small`, `AR medium`,
    `AR large`; for poses `AP`, `AP.5`, `AP.75`, `AP medium`, `AP large` and the same of `AR`.

    Args:
        matches: of all test images.
        classes: names.
        settings: of the scores.

    Raises:
        BadArgument: another number of classes.

    Cost: 8 ms for all 92 of one set of weights, with 500,000 detections of 80 classes.
    """
    if len(classes) != matches.num_classes:
        raise BadArgument(f"there are {len(classes)} names for {matches.num_classes} classes. Give one each.")
    of_classes = [f"AP ({name})" for name in classes] if len(classes) > 1 else []
    metrics = [*matches.precisions, *matches.recalls, *of_classes]
    return together.scores(partial(_values, matches), metrics, num_images=matches.num_images, settings=settings)


def _values(matches: Matches, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = (matches.objects @ weights).reshape(len(matches.detections), -1)
    positives = dict(zip(matches.detections, counts, strict=True))
    ap = {
        area: average_precision(detections, weights, positives[area], RECALLS)
        for area, detections in matches.detections.items()
    }
    out = [_mean(ap[metric.area][list(metric.overlaps)]) for metric in matches.precisions.values()]
    hits = (matches.found @ weights).reshape(len(matches.recalls), -1)
    for metric, hit in zip(matches.recalls.values(), hits, strict=True):
        there = positives[metric.area] > 0
        out.append(_mean(hit[there] / positives[metric.area][there]))
    if matches.num_classes > 1:
        out.extend(ap["all"].mean(axis=0))
    return np.array(out)


def _mean(values: NDArray[np.float64]) -> float:
    """Over what is defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _matches(
    pairing: Pairing, similarity: NDArray[np.float64], truth: Objects, ignored: NDArray[np.bool_],
    extent: NDArray[np.float64], num_classes: int, precisions: Mapping[str, _Metric], recalls: Mapping[str, _Metric],
) -> Matches:  # fmt: skip
    """Match, and keep what metrics need.

    Args:
        ignored: (objects,) which do not count.
        extent: (detections of the pairing,) their areas.
    """
    areas = list(dict.fromkeys(metric.area for metric in precisions.values()))
    low, high = np.array([AREAS[area] for area in areas]).T[:, None]
    beside = ignored[:, None] | (truth.area[:, None] < low) | (truth.area[:, None] > high)
    outside = (extent[:, None] < low) | (extent[:, None] > high)
    right, aside = np.zeros((2, *outside.shape), np.uint16)
    pairs, crowd = (pairing.group, pairing.pair, pairing.first, similarity), truth.crowd[pairing.object]
    _match(*pairs, crowd, beside[pairing.object], right, aside)
    num_images = len(truth.start) - 1
    by_score = np.lexsort((-pairing.score, pairing.label))
    image, label, rank = pairing.image[by_score], pairing.label[by_score], pairing.rank[by_score]
    right, aside = right[by_score], aside[by_score]
    detections = {}
    for a, area in enumerate(areas):
        bits = [[(of[:, a] >> at & 1).astype(np.bool_) for at in _EVERY] for of in (right, aside)]
        usual = ~outside[by_score, a]
        detections[area] = ranked(image, label, usual=usual, right=bits[0], aside=bits[1], num_classes=num_classes)
    hits = []
    for metric in recalls.values():
        taken = right[:, areas.index(metric.area)]
        share = np.mean([taken >> at & 1 for at in metric.overlaps], axis=0)
        hits.append(_by_image(image, label, np.where(rank < metric.most, share, 0.0), (num_classes, num_images)))
    there = [
        _by_image(owners(truth.start), truth.label, (~beside[:, a]).astype(np.float64), (num_classes, num_images))
        for a in range(len(areas))
    ]
    return Matches(
        num_images, num_classes, precisions, recalls, detections, sparse.vstack(hits, "csr"), sparse.vstack(there, "csr")
    )  # fmt: skip


def _by_image(
    image: NDArray[np.int64], label: NDArray[np.int64], value: NDArray[np.float64], shape: tuple[int, int]
) -> sparse.csr_array:
    """(classes, images) sums."""
    rows = np.flatnonzero(value)
    return sparse.csr_array((value[rows], (label[rows], image[rows])), shape=shape)


@numba.njit(cache=True, nogil=True)
def _match(
    group: NDArray[Any], pair: NDArray[Any], first: NDArray[Any], similarity: NDArray[Any], crowd: NDArray[Any],
    beside: NDArray[Any], right: NDArray[Any], aside: NDArray[Any],
) -> None:  # fmt: skip
    """Set a bit an overlap in `right` or, for an object that does not count, in `aside`; (detections, ranges of areas).

    Detections choose in turn, the best first: the most similar object that is free and similar enough, of equal ones the last; one that
    does not count only where there is no other. Crowds stay free.
    """
    for g in range(len(group) - 1):
        begin, end = group[g], group[g + 1]
        base, num = first[begin], pair[begin + 1] - pair[begin]
        taken = np.empty(num, np.bool_)
        for a in range(beside.shape[1]):
            for t in range(len(OVERLAPS)):
                bit = np.uint16(1 << t)
                taken[:] = False
                for d in range(begin, end):
                    best, match = OVERLAPS[t], -1
                    for kind in (False, True):
                        if match >= 0:
                            break
                        for j in range(num):
                            free = beside[base + j, a] == kind and (not taken[j] or crowd[base + j])
                            if free and similarity[pair[d] + j] >= best:
                                best, match = similarity[pair[d] + j], j
                    if match >= 0:
                        taken[match] = True
                        if beside[base + match, a]:
                            aside[d, a] |= bit
                        else:
                            right[d, a] |= bit
