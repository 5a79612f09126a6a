"""Several metrics that come out of one pass over the test images."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadArgument
from jftdata.transfer.task import Score


def scores(
    compute: Callable[[NDArray[np.float64]], NDArray[np.float64]], metrics: Sequence[str], *, num_images: int,
    settings: Mapping[str, Any] | None = None,
) -> list[Score]:  # fmt: skip
    """A score for each metric; asked for the same weights one after another, they compute once.

    Args:
        compute: (num_images,) how often each test image counts, to (len(metrics),) values, nan where undefined.
        metrics: names.
        num_images: test images.
        settings: of all of them.

    Cost: that of `compute`, and 5 µs a metric to see that the weights of 5,000 images are the same.

    >>> both = scores(lambda weights: np.array([weights.sum(), weights.max()]), ["sum", "most"], num_images=2)
    >>> [(score.metric, score.statistic(np.array([1.0, 2.0]))) for score in both]
    [('sum', 3.0), ('most', 2.0)]
    """
    last = _Last(compute, num_images)
    return [Score(metric, partial(last.value, at), dict(settings or {})) for at, metric in enumerate(metrics)]


class _Last:
    """Keeps the values of the last weights."""

    def __init__(self, compute: Callable[[NDArray[np.float64]], NDArray[np.float64]], num_images: int) -> None:
        self._compute, self._num_images = compute, num_images
        self._kept: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def value(self, at: int, weights: NDArray[np.float64]) -> float:
        """Raises BadArgument for weights of another length, negative or not finite."""
        kept = self._kept
        if kept is None or not np.array_equal(kept[0], weights):
            if np.shape(weights) != (self._num_images,) or not np.isfinite(weights).all() or (weights < 0).any():
                raise BadArgument(
                    f"weights must be {self._num_images} finite numbers of at least 0, one a test image. Got shape "
                    f"{np.shape(weights)}, the least {np.min(weights, initial=np.inf)}."
                )
            kept = self._kept = np.array(weights, np.float64), self._compute(np.asarray(weights, np.float64))
        return float(kept[1][at])
