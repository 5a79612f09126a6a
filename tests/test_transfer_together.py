"""Scores of one pass: they compute once for the same weights, and anew for others."""

import numpy as np
import pytest
from numpy.typing import NDArray

from jftdata.errors import BadArgument
from jftdata.transfer import together


def test_metrics_of_the_same_weights_are_computed_once_and_never_mixed_up() -> None:
    calls = []

    def compute(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        calls.append(1)
        return np.array([weights.sum(), weights @ [1.0, 2.0, 3.0]])

    total, mean = together.scores(compute, ["sum", "dot"], num_images=3, settings={"k": 1})
    assert (total.settings, mean.settings) == ({"k": 1}, {"k": 1})
    weights = np.array([1.0, 0.0, 2.0])
    assert (total.statistic(weights), mean.statistic(weights.copy()), len(calls)) == (3.0, 7.0, 1)
    weights[1] = 5.0  # the same array with other values
    assert (mean.statistic(weights), total.statistic(weights), len(calls)) == (17.0, 8.0, 2)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, -1.0, 0.0], [1.0, np.nan, 0.0]])
def test_weights_that_cannot_be_are_refused(weights: list[float]) -> None:
    score = together.scores(lambda w: w, ["a", "b", "c"], num_images=3)[0]
    with pytest.raises(BadArgument, match="must be 3 finite numbers of at least 0"):
        score.statistic(np.array(weights))
