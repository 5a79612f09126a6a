"""Scores of test images, their intervals, and what copies of test images in training do to them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jftdata.transfer.task import Statistic

CLEAN = ("value_clean", "low_clean", "high_clean", "difference", "difference_low", "difference_high")
"""Columns of Results on what copies of test images in training do to a score."""
NUM_RESAMPLES = 1000


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


@dataclass(frozen=True)
class Judged:
    """A metric with its interval, and without the test images that have a copy in training."""

    value: float
    low: float
    high: float
    clean: dict[str, float | None]
    """Columns of `CLEAN`; empty where copies are not known."""


def judge(
    statistics: Sequence[Statistic], num_test: int, *, seed: int, is_copy: NDArray[np.bool_] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> list[Judged | None]:  # fmt: skip
    """Values with 95% percentile intervals over resampled test images.

    Args:
        statistics: metrics as functions of how often each test image counts; all are asked for the same resamples.
        num_test: test images.
        seed: of the resampling.
        is_copy: (num_test,) whether an image has a copy in training; None where that is not known.
        num_resamples: how often the test images are drawn anew, with replacement.

    Returns:
        None for a metric that is undefined on the test images. Resamples in which a metric is undefined are left out. In `clean`,
        `value_clean` is the metric on the images that are no copies, `difference` what the copies add to it, both with intervals
        over the same resamples; all None where it is undefined on them.

    Cost: num_resamples times that of the statistics, twice with copies.

    >>> from jftdata.transfer.task import Score
    >>> mean = Score.of_mean("top-1", np.array([1.0, 1.0, 0.0, 1.0])).statistic
    >>> found = judge([mean], 4, seed=0, is_copy=np.array([True, True, False, False]))[0]
    >>> found.value, found.clean["value_clean"], found.clean["difference"]
    (0.75, 0.5, 0.25)
    """
    everyone = np.ones(num_test)
    whole = _ask(statistics, everyone)
    drawn = np.empty((num_resamples, len(statistics)))
    clean = np.empty((num_resamples, len(statistics)))
    known = is_copy is not None
    for i, weights in enumerate(_resamples(num_test, seed, num_resamples)):
        drawn[i] = _ask(statistics, weights)
        if is_copy is not None:
            clean[i] = drawn[i] if not is_copy.any() else _ask(statistics, np.where(is_copy, 0.0, weights))
    alone = _ask(statistics, everyone if is_copy is None else np.where(is_copy, 0.0, everyone))
    out: list[Judged | None] = []
    for j, value in enumerate(whole):
        if np.isnan(value):
            out.append(None)
            continue
        without: dict[str, float | None] = {}
        if known and np.isnan(alone[j]):
            without = dict.fromkeys(CLEAN)
        elif known:
            added = drawn[:, j] - clean[:, j]
            numbers = (alone[j], *_interval(clean[:, j]), value - alone[j], *_interval(added))
            without = dict(zip(CLEAN, map(float, numbers), strict=True))
        out.append(Judged(float(value), *_interval(drawn[:, j]), without))
    return out


def _ask(statistics: Sequence[Statistic], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([statistic(weights) for statistic in statistics])


def _resamples(num: int, seed: int, num_resamples: int) -> Iterator[NDArray[np.float64]]:
    """How often each row is drawn, with replacement, as many as there are."""
    draw = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield np.bincount(draw.integers(0, num, num), minlength=num).astype(np.float64)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    return float(np.quantile(defined, 0.025)), float(np.quantile(defined, 0.975))
