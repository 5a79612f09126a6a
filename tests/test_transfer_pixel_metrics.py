"""Pixel metrics against scikit-learn's confusion matrix, of all images one after another."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from jftdata.errors import BadArgument, BadInput
from jftdata.transfer.pixel_metrics import Confusion, merge

IGNORE = 255
Masks = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@st.composite
def sets(draw: st.DrawFn) -> tuple[int, Masks, NDArray[np.float64]]:
    """Classes, true and predicted mask of each image, how often each counts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_classes, num = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    masks = []
    for _ in range(num):
        shape = rng.integers(1, 7, 2)
        truth, predicted = rng.integers(0, num_classes, (2, *shape)).astype(np.uint8)
        truth[rng.random(shape) < 0.2] = IGNORE
        predicted[truth == IGNORE] = rng.integers(0, 256)  # does not count either
        masks.append((truth, predicted))
    return num_classes, masks, rng.integers(0, 4, num).astype(np.float64)


def confusion_of(num_classes: int, masks: Masks) -> Confusion:
    confusion = Confusion(num_images=len(masks), num_classes=num_classes, ignore=IGNORE)
    for row, (truth, predicted) in enumerate(masks):
        confusion.add(row, truth, predicted)
    return confusion


def pixels(masks: Masks, weights: NDArray[np.float64]) -> Any:
    """True and predicted class of all pixels that count, images repeated."""
    counted = [(t[t != IGNORE], p[t != IGNORE]) for t, p in masks]
    repeated = [pair for pair, weight in zip(counted, weights, strict=True) for _ in range(int(weight))]
    return [np.concatenate([np.zeros(0, np.uint8), *part]) for part in zip(*repeated, strict=True)] or [[], []]


@given(sets())
def test_scores_are_those_of_scikit_learn_with_images_repeated(case: tuple[int, Masks, NDArray[np.float64]]) -> None:
    num_classes, masks, weights = case
    confusion, names = confusion_of(num_classes, masks), [str(i) for i in range(num_classes)]
    truth, predicted = pixels(masks, weights)
    found = {score.metric: score.statistic(weights) for score in confusion.scores(names)}
    if not len(truth):
        assert np.isnan(list(found.values())).all()
        assert not confusion.matrix(weights).any()
        return
    theirs = confusion_matrix(truth, predicted, labels=range(num_classes))
    np.testing.assert_array_equal(confusion.matrix(weights), theirs)
    assert found["pixel accuracy"] == pytest.approx(np.mean(truth == predicted), abs=1e-12)
    right, either = theirs.diagonal(), theirs.sum(0) + theirs.sum(1) - theirs.diagonal()
    iou = {i: right[i] / either[i] for i in range(num_classes) if either[i]}
    assert found["mean IoU"] == pytest.approx(np.mean(list(iou.values())), abs=1e-12)
    for i in range(num_classes):
        assert found[f"IoU ({i})"] == pytest.approx(iou.get(i, np.nan), abs=1e-12, nan_ok=True)


@given(sets(), st.randoms(use_true_random=False))
def test_order_and_processes_change_nothing(case: tuple[int, Masks, NDArray[np.float64]], random: Any) -> None:
    num_classes, masks, weights = case
    parts = [Confusion(num_images=len(masks), num_classes=num_classes, ignore=IGNORE) for _ in range(3)]
    rows = list(range(len(masks)))
    random.shuffle(rows)
    for row in rows:
        random.choice(parts).add(row, *masks[row])
    whole = merge(pickle.loads(pickle.dumps(parts)))
    names = [str(i) for i in range(num_classes)]
    for ours, expected in zip(whole.scores(names), confusion_of(num_classes, masks).scores(names), strict=True):
        np.testing.assert_array_equal(ours.statistic(weights), expected.statistic(weights))


def test_a_class_that_is_only_predicted_counts_and_one_in_neither_does_not() -> None:
    confusion = confusion_of(3, [(np.array([[0, 0]], np.uint8), np.array([[0, 1]], np.uint8))])
    found = {score.metric: score.statistic(np.ones(1)) for score in confusion.scores(["sky", "cat", "dog"])}
    assert (found["mean IoU"], found["IoU (sky)"], found["IoU (cat)"]) == (0.25, 0.5, 0.0)
    assert np.isnan(found["IoU (dog)"])


def test_what_cannot_be_counted_is_named() -> None:
    confusion = Confusion(num_images=3, num_classes=2, ignore=IGNORE)
    mask = np.zeros((2, 2), np.uint8)
    confusion.add(1, mask, mask)
    with pytest.raises(BadInput, match="image 1 was added already"):
        confusion.add(1, mask, mask)
    with pytest.raises(BadInput, match=r"image 3 is not in 0\.\.2"):
        confusion.add(3, mask, mask)
    with pytest.raises(BadInput, match=r"the mask of image 0 is \(2, 2\), the prediction \(2, 3\)"):
        confusion.add(0, mask, np.zeros((2, 3), np.uint8))
    with pytest.raises(
        BadInput, match=r"a pixel of image 0 has the class 0 and is predicted as 2. Classes must be in 0\.\.1"
    ):
        confusion.add(0, mask, mask + 2)
    with pytest.raises(BadInput, match="has the class -1"):
        confusion.add(0, mask.astype(np.int16) - 1, mask)
    with pytest.raises(BadInput, match="2 of 3 images were not added, the first is 0"):
        confusion.scores(["a", "b"])
    with pytest.raises(BadInput, match="image 1 is in two"):
        merge([confusion, confusion])
    with pytest.raises(BadInput, match="must have one"):
        merge([])
    with pytest.raises(BadArgument, match="1 names for 2 classes"):
        confusion.scores(["a"])
    with pytest.raises(BadArgument, match="`ignore` must not be one of the 2 classes"):
        Confusion(num_images=1, num_classes=2, ignore=1)
    with pytest.raises(BadArgument, match="`num_classes` must be in"):
        Confusion(num_images=1, num_classes=5000)
