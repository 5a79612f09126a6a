"""Object keypoint similarity: how close two poses are, for the size of the person.

Source: COCO's keypoint evaluation, with its sigmas; NMS on it: Papandreou et al. 2017 (1701.01779), section 3.3.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadArgument

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
"""How far apart people put each of COCO's 17 keypoints, in square roots of the area."""


def sigmas_of(num_keypoints: int, given: Sequence[float] | NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """One sigma a keypoint: those given, or COCO's for 17 keypoints.

    Raises:
        BadArgument: none given for another number of keypoints; another number of them; one that is not above 0.

    >>> sigmas_of(2, [0.1, 0.2])
    array([0.1, 0.2])
    """
    if given is None and num_keypoints != len(SIGMAS):
        raise BadArgument(
            f"there are {num_keypoints} keypoints, and COCO has sigmas for {len(SIGMAS)} only. Give `sigmas`, one a keypoint."
        )
    sigmas = SIGMAS if given is None else np.asarray(given, np.float64)
    if sigmas.shape != (num_keypoints,) or not (sigmas > 0).all() or not np.isfinite(sigmas).all():
        raise BadArgument(
            f"`sigmas` must be {num_keypoints} numbers above 0, one a keypoint. Got {sigmas.tolist()}. Measure them on your keypoints."
        )
    return sigmas


def oks(
    squared: NDArray[np.float64], area: NDArray[np.float64], sigmas: NDArray[np.float64],
    counted: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Mean over keypoints of exp(-squared / (2 area (2 sigma)^2)).

    Args:
        squared: (n, K) squared distance of each keypoint in pixels.
        area: (n,) pixels.
        sigmas: (K,).
        counted: (n, K) which keypoints the mean is over, at least one of each row; None is all.

    >>> oks(np.array([[0.0, 2.0]]), np.array([1.0]), np.array([0.5, 0.5]), np.array([[True, False]]))
    array([1.])
    """
    closeness = np.exp(-(squared / (sigmas * 2) ** 2 / (area[:, None] + np.spacing(1)) / 2))
    if counted is None:
        counted = np.ones(squared.shape, np.bool_)
    mean: NDArray[np.float64] = np.where(counted, closeness, 0.0).sum(axis=1) / counted.sum(axis=1)
    return mean


def oks_nms(
    keypoints: NDArray[np.floating], score: NDArray[np.floating], area: NDArray[np.floating], *, threshold: float = 0.5,
    sigmas: Sequence[float] | NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:  # fmt: skip
    """Which poses of an image to keep: the best, then the best that is not too similar to one kept, and so on.

    Args:
        keypoints: (n, K, 2) or (n, K, 3) x, y and anything; all keypoints count.
        score: (n,) equal scores are taken as they come.
        area: (n,) of each person's box in pixels. Of two poses the mean of both counts, which is ours.
        threshold: poses of a greater similarity go.
        sigmas: (K,); None is COCO's.

    Returns:
        Places of those kept, best first.

    Raises:
        BadArgument: sigmas that do not fit; scores, keypoints or areas that are not finite or not one a pose.

    Cost: 1 ms for 20 poses.

    >>> oks_nms(np.zeros((2, 17, 2)), np.array([0.1, 0.2]), np.array([9.0, 9.0]))
    array([1])
    """
    place = np.asarray(keypoints, np.float64)[..., :2]
    score, area = np.asarray(score, np.float64), np.asarray(area, np.float64)
    if place.ndim != 3 or score.shape != place.shape[:1] or area.shape != place.shape[:1]:
        raise BadArgument(
            f"keypoints must be (n, K, 2 or 3), scores and areas (n,). Got {np.shape(keypoints)}, {score.shape}, {area.shape}."
        )
    if not (np.isfinite(place).all() and np.isfinite(score).all() and np.isfinite(area).all() and (area >= 0).all()):
        raise BadArgument(
            f"keypoints, scores and areas of {len(score)} poses must be finite, areas at least 0. Mend the network."
        )
    scale = sigmas_of(place.shape[1], sigmas)
    left = np.argsort(-score, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        squared = ((place[left] - place[best]) ** 2).sum(axis=2)
        left = left[oks(squared, (area[left] + area[best]) / 2, scale) <= threshold]
    return np.array(kept, np.int64)
