"""Pairs of detections and objects: which there are, how boxes overlap, and input that cannot be."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from jftdata.errors import BadInput
from jftdata.transfer import pairing
from jftdata.transfer.annotations.core import Objects
from jftdata.transfer.annotations.predictions import Detections


def some(seed: int, *, num_images: int = 4, num_classes: int = 3) -> tuple[Objects, Detections]:
    rng = np.random.default_rng(seed)
    starts, boxes, labels = [], [], []
    for most in (4, 9):
        starts.append(np.concatenate([[0], np.cumsum(rng.integers(0, most, num_images))]))
        corner = rng.random((starts[-1][-1], 2)) * 10
        boxes.append(np.concatenate([corner, corner + rng.random(corner.shape) * 10], axis=1))
        labels.append(rng.integers(0, num_classes, len(corner)))
    m, n = len(labels[0]), len(labels[1])
    never = np.zeros(m, bool)
    truth = Objects(starts[0], boxes[0], labels[0], np.ones(m), never, never, np.arange(m))
    return truth, Detections(starts[1], boxes[1], rng.integers(0, 4, n) / 4, labels[1])


@given(st.integers(0, 2**32), st.integers(0, 5), st.sampled_from([None, 1, 3]))
def test_pairs_are_those_of_one_image_and_class_with_the_best_detections(
    seed: int, num_images: int, most: int | None
) -> None:
    truth, found = some(seed, num_images=num_images)
    made = pairing.pair(truth, found, num_classes=3, most=most)
    expected, objects = [], []
    for row in range(num_images):
        for label in range(3):
            of, things = found.of(row), truth.of(row)
            here = [i for i in range(of.start, of.stop) if found.label[i] == label]
            for rank, i in enumerate(sorted(here, key=lambda i: (-found.score[i], i))[:most]):
                beside = [j for j in range(things.start, things.stop) if truth.label[j] == label]
                expected.append((i, row, label, rank))
                objects.extend((i, j) for j in beside)
    columns = (made.detection, made.image, made.label, made.rank)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    np.testing.assert_array_equal(made.group[:-1], [at for at, one in enumerate(expected) if one[3] == 0])
    seen: list[tuple[int, int]] = []

    def measure(detection: Any, item: Any) -> Any:
        seen.extend(zip(detection.tolist(), item.tolist(), strict=True))
        return detection * 100.0 + item

    values = pairing.similarities(made, measure)
    assert seen == objects
    np.testing.assert_array_equal(values, [i * 100.0 + j for i, j in objects])


def test_pairs_are_compared_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = some(1)
    made = pairing.pair(truth, found, num_classes=3)
    whole = pairing.similarities(made, lambda i, j: i * 100.0 + j)
    monkeypatch.setattr(pairing, "_CHUNK", 2)
    np.testing.assert_array_equal(pairing.similarities(made, lambda i, j: i * 100.0 + j), whole)
    assert len(whole) > 2


@given(st.integers(0, 2**32))
def test_overlaps_are_torchvision_s(seed: int) -> None:
    truth, found = some(seed)
    a = found.box[: len(truth)]
    b = truth.box[: len(a)]
    theirs = box_iou(torch.from_numpy(a), torch.from_numpy(b)).diagonal().numpy()
    np.testing.assert_allclose(pairing.overlaps(a, b), theirs, rtol=0, atol=1e-12)
    inside = pairing.overlaps(a, b, crowd=np.ones(len(a), bool)) * (a[:, 2:] - a[:, :2]).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - inside
    np.testing.assert_allclose(inside / union, theirs, rtol=0, atol=1e-12)


def test_boxes_without_area_or_that_touch_do_not_overlap() -> None:
    point, square = np.array([[1.0, 1, 1, 1]]), np.array([[0.0, 0, 2, 2]])
    assert pairing.overlaps(point, point)[0] == pairing.overlaps(point, square)[0] == 0
    assert pairing.overlaps(square, square + 2)[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": np.array([0, 1, 2])}, "detections of 2 images and objects of 1"),
        ({"start": np.array([0, 3])}, r"`start` of the detections must rise from 0 to their number, 2. Got \[0\] to \[3\]"),
        ({"start": np.array([], np.int64)}, "`start` of the detections must rise"),
        ({"label": np.array([0, 3])}, "label 3 of detections in image 0 is not a class; there are 3"),
        ({"label": np.array([0, -1])}, "label -1 of detections"),
        ({"score": np.array([0.5, np.nan])}, r"a score in image 0 is \[nan\], expected finite numbers"),
        ({"score": np.array([0.5])}, "there are 1 of `score` for 2"),
        ({"box": np.array([[0.0, 0, 1, 1], [0, 0, np.inf, 1]])}, r"a box in image 0 is \[0.0, 0.0, inf, 1.0\]"),
        ({"box": np.array([[0.0, 0, 1, 1], [2, 0, 1, 1]])}, r"box \[2.0, 0.0, 1.0, 1.0\] of detections in image 0 ends before"),
        ({"box": np.zeros((2, 5))}, r"the boxes of 2 detections must be \(2, 4\). Got \(2, 5\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(changes: dict[str, Any], message: str) -> None:
    one = np.array([[0.0, 0, 1, 1]])
    never = np.zeros(1, bool)
    truth = Objects(np.array([0, 1]), one, np.zeros(1, int), np.ones(1), never, never, np.arange(1))
    found = Detections(np.array([0, 2]), np.repeat(one, 2, axis=0), np.array([0.5, 0.25]), np.zeros(2, int))
    pairing.pair(truth, found, num_classes=3)
    with pytest.raises(BadInput, match=message):
        pairing.pair(truth, dataclasses.replace(found, **changes), num_classes=3)
