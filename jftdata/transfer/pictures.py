"""Truth beside prediction of a few test images, on one sheet."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jftdata import images
from jftdata.hashing import keyed_order
from jftdata.transfer.annotations import draw
from jftdata.transfer.annotations.core import Annotated
from jftdata.transfer.annotations.predictions import Detections

FILE = "pictures.png"
NUM = 8
"""Test images on a sheet."""
LEAST_SCORE = 0.3
"""Of boxes and poses that are drawn; the best is drawn in any case."""
_Drawn = tuple[str, NDArray[np.uint8], NDArray[np.uint8]]


def chosen(test: Annotated, *, seed: int) -> NDArray[np.int64]:
    """Rows of the test images that are drawn: those with objects first, in an order of their ids' own."""
    order = keyed_order(test.image, seed=seed, stream="pictures")
    if test.objects is None:
        return order[:NUM]
    empty = np.diff(test.objects.start)[order] == 0
    return order[np.argsort(empty, kind="stable")][:NUM]


def boxes(test: Annotated, found: Detections, *, folder: Path, seed: int) -> None:
    """Write the sheet of a detector.

    Args:
        test: images with objects.
        found: on all of them.
        folder: gets `pictures.png`.
        seed: chooses the images.
    """
    truth = test.objects
    assert truth is not None

    def rows() -> Iterator[_Drawn]:
        for row in chosen(test, seed=seed):
            pixels, there, shown = test.pixels(row), truth.of(row), _sure(found, row)
            given = draw.boxes(pixels, truth.box[there], truth.label[there], test.classes, crowd=truth.crowd[there])
            predicted = draw.boxes(
                pixels, found.box[shown], found.label[shown], test.classes, score=found.score[shown]
            )  # fmt: skip
            yield Path(test.path[row]).name, given, predicted

    _sheet(rows, folder, test, f"boxes with a score of at least {LEAST_SCORE:.0%}")


def poses(test: Annotated, found: Detections, *, folder: Path, seed: int) -> None:
    """Write the sheet of a pose network; see `boxes`."""
    truth, shape = test.objects, test.skeleton
    assert truth is not None
    assert truth.keypoints is not None
    assert found.keypoints is not None
    assert shape is not None
    points, guesses = truth.keypoints, found.keypoints

    def rows() -> Iterator[_Drawn]:
        for row in chosen(test, seed=seed):
            pixels, shown = test.pixels(row), _sure(found, row)
            given = draw.skeleton(pixels, points[truth.of(row)], shape)
            yield Path(test.path[row]).name, given, draw.skeleton(pixels, guesses[shown], shape)

    _sheet(rows, folder, test, f"poses with a score of at least {LEAST_SCORE:.0%}")


def masks(test: Annotated, predictions: Path, *, folder: Path, seed: int) -> None:
    """Write the sheet of a segmentation.

    Args:
        test: images with masks.
        predictions: folder of `predictions.write_masks`.
        folder: gets `pictures.png`.
        seed: chooses the images.
    """
    index = np.full(256, 255, np.uint8)
    index[test.class_number] = np.arange(len(test.classes))

    def rows() -> Iterator[_Drawn]:
        for row in chosen(test, seed=seed):
            pixels, path = test.pixels(row), Path(test.path[row])
            labels = index[images.decode_labels((predictions / f"{path.stem}.png").read_bytes())]
            given, predicted = (draw.mask(pixels, mask, test.classes) for mask in (test.labels(row), labels))
            yield path.name, given, predicted

    _sheet(rows, folder, test, "classes of pixels; the first class is left out")


def _sure(found: Detections, row: int) -> NDArray[np.int64]:
    """Places of an image's detections that are drawn."""
    there = np.arange(found.start[row], found.start[row + 1])
    if not len(there):
        return there
    score = found.score[there]
    sure: NDArray[np.bool_] = (score >= LEAST_SCORE) | (score == score.max())
    return there[sure]


def _sheet(rows: Callable[[], Iterator[_Drawn]], folder: Path, test: Annotated, what: str) -> None:
    """Nothing where there is no test image."""
    if len(test):
        draw.sheet(rows(), out=folder / FILE, title=f"{min(NUM, len(test))} of {len(test):,} test images, {what}")
