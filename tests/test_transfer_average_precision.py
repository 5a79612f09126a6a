"""Average precision with weights of any size against NumPy, from all detections that count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.transfer.average_precision import average_precision, ranked


@given(
    st.integers(0, 2**32), st.integers(0, 30), st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 2, 11, 101])
)
def test_each_class_and_overlap_is_numpy_s(
    seed: int, num: int, num_classes: int, num_overlaps: int, points: int
) -> None:
    rng = np.random.default_rng(seed)
    image, label = rng.integers(0, 5, num), np.sort(rng.integers(0, num_classes, num))
    usual, right, aside = rng.random(num) < 0.8, *(rng.random((2, num_overlaps, num)) < 0.4)
    aside &= ~right
    counts = right | (usual & ~aside)
    weights = rng.choice([0.0, 1.0, 2.0, 0.3], 5)
    hits = np.array([np.bincount(label, one * weights[image], minlength=num_classes) for one in right])
    positives = hits.max(axis=0) + rng.integers(0, 2, num_classes)
    recalls = np.linspace(0, 1, points) if points else np.zeros(0)
    made = ranked(image, label, usual=usual, right=list(right), aside=list(aside), num_classes=num_classes)
    found = average_precision(made, weights, positives, recalls)
    for t in range(num_overlaps):
        for c in range(num_classes):
            if positives[c] == 0:
                assert np.isnan(found[t, c])
                continue
            at = np.flatnonzero(counts[t] & (label == c))
            weight = weights[image[at]]
            gain = np.where(right[t, at], weight, 0.0)
            precision = gain.cumsum() / np.maximum(weight.cumsum(), 1e-300)
            recall = gain.cumsum() / positives[c]
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            if points:
                # a recall just at a point may fall to either side of it with weights that are not whole
                low, high = (
                    np.mean([envelope[recall >= r + by].max(initial=0.0) for r in recalls]) for by in (1e-12, -1e-12)
                )
                assert low - 1e-12 <= found[t, c] <= high + 1e-12
            else:
                assert found[t, c] == pytest.approx((gain / positives[c] * envelope).sum(), abs=1e-12)


def test_a_recall_that_is_just_below_a_point_in_floating_point_does_not_reach_it() -> None:
    recalls = np.linspace(0, 1, 101)  # 35/100 < recalls[35]
    for num in range(1, 101):
        image, right = np.zeros(num, np.int64), np.ones(num, np.bool_)
        made = ranked(image, image, usual=right, right=[right], aside=[~right], num_classes=1)
        reached = (recalls <= num / 100).sum()
        assert average_precision(made, np.ones(1), np.full(1, 100.0), recalls)[0, 0] == pytest.approx(reached / 101)
