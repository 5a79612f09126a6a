"""VOC's average precision against its definition, in whole numbers and fractions, with images repeated."""

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jftdata.errors import BadArgument
from jftdata.transfer import voc_metrics
from jftdata.transfer.annotations.core import Objects
from jftdata.transfer.annotations.predictions import Detections

Case = tuple[Objects, Detections, int]
"""Objects, detections, classes."""


def case_of(seed: int, *, num_images: int, num_classes: int, ties: bool) -> Case:
    """Few places and sizes of boxes, so that overlaps of just a half and detections of the same object are common."""
    rng = np.random.default_rng(seed)
    num_objects, num_found = rng.integers(0, 4, num_images), rng.integers(0, 9, num_images)
    start, found_start = (np.concatenate([[0], np.cumsum(num)]) for num in (num_objects, num_found))
    m, n = start[-1], found_start[-1]
    box, found_box = (
        np.concatenate([corner, corner + rng.choice([2, 3, 4, 6], corner.shape)], axis=1).astype(np.float64)
        for corner in (rng.integers(0, 4, (m, 2)), rng.integers(0, 4, (n, 2)))
    )
    score = np.concatenate([np.zeros(0), *(rng.permutation(9)[:num] / 8 for num in num_found)])
    if ties:
        score = rng.integers(0, 3, n) / 4
    label, found_label = rng.integers(0, num_classes, m), rng.integers(0, num_classes, n)
    never = np.zeros(m, bool)
    truth = Objects(start, box, label, np.ones(m), never, rng.random(m) < 0.2, np.arange(m))
    return truth, Detections(found_start, found_box, score, found_label), num_classes


def overlap_in_pixels(a: NDArray[np.float64], b: NDArray[np.float64]) -> Fraction:
    """Boxes as the pixels they cover."""
    pixels = [{(x, y) for x in range(int(c[0]), int(c[2])) for y in range(int(c[1]), int(c[3]))} for c in (a, b)]
    return Fraction(len(pixels[0] & pixels[1]), len(pixels[0] | pixels[1]))


def defined(case: Case, times: NDArray[np.int64], label: int, rule: str) -> float:
    """AP of a class as the definition reads."""
    truth, found, _ = case
    shown = [row for row, num in enumerate(times) for _ in range(num)]  # an image seen again is another image
    of = [[i for i in range(truth.start[r], truth.start[r + 1]) if truth.label[i] == label] for r in shown]
    positives = sum(not truth.difficult[i] for items in of for i in items)
    if not positives:
        return float("nan")
    candidates = [
        (-found.score[d], number, d)
        for number, r in enumerate(shown)
        for d in range(found.start[r], found.start[r + 1])
        if found.label[d] == label
    ]
    taken: set[tuple[int, int]] = set()
    precision, recall, right, wrong = [], [], 0, 0
    for _, number, d in sorted(candidates):
        best = max(of[number], key=lambda i: (overlap_in_pixels(found.box[d], truth.box[i]), -i), default=None)
        hit = best is not None and overlap_in_pixels(found.box[d], truth.box[best]) >= Fraction(1, 2)
        if hit and truth.difficult[best]:
            continue
        if hit and (number, best) not in taken:
            taken.add((number, best))
            right += 1
        else:
            wrong += 1
        precision.append(Fraction(right, right + wrong))
        recall.append(Fraction(right, positives))

    def best_from(least: Fraction) -> Fraction:
        return max((p for p, r in zip(precision, recall, strict=True) if r >= least), default=Fraction(0))

    if rule == "11-point":
        return float(sum(best_from(Fraction(k, 10)) for k in range(11)) / 11)
    return float(sum(best_from(Fraction(k, positives)) for k in range(1, positives + 1)) / positives)


def found_of(case: Case, weights: NDArray[Any], **options: float) -> dict[str, float]:
    truth, found, num_classes = case
    matches = voc_metrics.boxes(truth, found, num_classes=num_classes, **options)
    names = [str(i) for i in range(num_classes)]
    return {s.metric: s.statistic(weights.astype(np.float64)) for s in voc_metrics.scores(matches, names)}


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.data())
def test_ap_is_the_definition_s_with_images_repeated(
    seed: int, num_images: int, num_classes: int, ties: bool, data: st.DataObject
) -> None:
    case = case_of(seed, num_images=num_images, num_classes=num_classes, ties=ties)
    times = np.array([1 if ties else data.draw(st.integers(0, 3)) for _ in range(num_images)])
    found = found_of(case, times)
    for rule in voc_metrics.RULES:
        expected = [defined(case, times, label, rule) for label in range(num_classes)]
        ours = [found[f"AP {rule} ({label})"] for label in range(num_classes)]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
        there = [value for value in expected if not np.isnan(value)]
        mean = np.mean(there) if there else np.nan
        assert found[f"mAP ({rule})"] == pytest.approx(mean, abs=1e-12, nan_ok=True)


def example() -> Case:
    """Three cats, one of them difficult; found are the first two, the first a second time, and the difficult one."""
    box = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    truth = Objects(
        np.array([0, 3]), box, np.zeros(3, np.int64), np.full(3, 100.0), np.zeros(3, bool), np.array([False, False, True]),
        np.arange(3),
    )  # fmt: skip
    found = Detections(np.array([0, 4]), box[[0, 0, 1, 2]], np.array([0.9, 0.8, 0.7, 0.95]), np.zeros(4, np.int64))
    return truth, found, 1


def test_difficult_ones_do_not_count_and_double_detections_are_wrong() -> None:
    found = found_of(example(), np.ones(1))
    # right, wrong, right: precision 1 up to recall 1/2, then 2/3
    assert found["AP 11-point (0)"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert found["AP all-point (0)"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_recall_of_exactly_three_tenths_reaches_the_point() -> None:
    num = 10
    box = np.array([[20.0 * i, 0, 20 * i + 10, 10] for i in range(num)])
    never = np.zeros(num, bool)
    truth = Objects(np.array([0, num]), box, np.zeros(num, np.int64), np.ones(num), never, never, np.arange(num))
    for right in range(1, num + 1):
        found = Detections(np.array([0, right]), box[:right], np.linspace(1, 0, right), np.zeros(right, np.int64))
        assert found_of((truth, found, 1), np.ones(1))["mAP (11-point)"] == pytest.approx((right + 1) / 11)


def test_the_overlap_asked_for_counts_and_crowds_are_difficult() -> None:
    truth, found, _ = example()
    shifted = dataclasses.replace(found, box=found.box + np.array([5, 0, 5, 0]))  # a third of both
    assert found_of((truth, shifted, 1), np.ones(1))["mAP (all-point)"] == 0
    assert found_of((truth, shifted, 1), np.ones(1), overlap=1 / 3)["mAP (all-point)"] == pytest.approx(5 / 6)
    crowds = dataclasses.replace(truth, difficult=truth.crowd, crowd=truth.difficult)
    assert found_of((crowds, found, 1), np.ones(1)) == found_of((truth, found, 1), np.ones(1))


def test_what_cannot_be_is_refused() -> None:
    truth, found, _ = example()
    with pytest.raises(BadArgument, match=r"`overlap` must be in \(0, 1\]. Got 0"):
        voc_metrics.boxes(truth, found, num_classes=1, overlap=0)
    with pytest.raises(BadArgument, match="2 names for 1 classes"):
        voc_metrics.scores(voc_metrics.boxes(truth, found, num_classes=1), ["a", "b"])
