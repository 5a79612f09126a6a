"""Scores of test images and their intervals."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CLEAN = ("value_clean", "low_clean", "high_clean", "difference", "difference_low", "difference_high")
"""Columns of Results on what copies of test images in training do to a score."""


def top_k(scores: NDArray[np.float64], target: NDArray[np.int64], *, k: int) -> NDArray[np.float64]:
    """Whether the right class is among the k best, one 0 or 1 an image; ties count against.

    Args:
        scores: (n, num_classes).
        target: (n,) right class.

    >>> top_k(np.array([[0.1, 0.9], [0.5, 0.5]]), np.array([1, 0]), k=1)
    array([1., 0.])
    """
    right = scores[np.arange(len(target)), target][:, None]
    better = (scores >= right).sum(axis=1) - 1  # not the right class itself
    result: NDArray[np.float64] = (better < k).astype(np.float64)
    return result


def bootstrap(values: NDArray[np.float64], *, seed: int, num_resamples: int = 1000) -> tuple[float, float]:
    """95% percentile interval of the mean over resampled test images.

    Args:
        values: (n,) one value a test image.
        seed: of the resampling.

    Cost: about 10 ms for 1,000 images.

    >>> bootstrap(np.ones(10), seed=0)
    (1.0, 1.0)
    """
    return _interval([values[rows].mean() for rows in _resamples(len(values), seed, num_resamples)])


def without_copies(
    values: NDArray[np.float64], is_copy: NDArray[np.bool_], *, seed: int, num_resamples: int = 1000
) -> dict[str, float | None]:
    """The mean over test images that are no copies, and what the copies add to the mean over all.

    Args:
        values: (n,) one value a test image.
        is_copy: (n,) whether the image has a copy in training.
        seed: of the resampling; the resamples are those of `bootstrap`.

    Returns:
        `value_clean` with `low_clean` and `high_clean`, and `difference` (all less clean) with `difference_low` and
        `difference_high`: 95% percentile intervals over the same resamples of the test images. All are None when every
        image is a copy; without copies the difference is 0. A resample that has copies only says nothing of the others and
        is left out, which happens with fewer than some ten of them.

    Cost: that of two `bootstrap`.

    >>> found = without_copies(np.array([1.0, 1.0, 0.0, 1.0]), np.array([True, True, False, False]), seed=0)
    >>> found["value_clean"], found["difference"]
    (0.5, 0.25)
    """
    clean = ~is_copy
    if not clean.any():
        return dict.fromkeys(CLEAN)
    means, differences = [], []
    for rows in _resamples(len(values), seed, num_resamples):
        kept = rows[clean[rows]]
        if len(kept):
            means.append(values[kept].mean())
            differences.append(values[rows].mean() - means[-1])
    value = values[clean].mean()
    numbers = (value, *_interval(means), values.mean() - value, *_interval(differences))
    return dict(zip(CLEAN, map(float, numbers), strict=True))


def _resamples(num: int, seed: int, num_resamples: int) -> Iterator[NDArray[np.int64]]:
    """Rows drawn with replacement, as many as there are."""
    draw = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield draw.integers(0, num, num)


def _interval(means: list[np.float64]) -> tuple[float, float]:
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
