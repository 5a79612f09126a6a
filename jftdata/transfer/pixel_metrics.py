"""How well pixels are labelled: mean IoU, the IoU of each class and pixel accuracy, from the confusions of each image.

An image's confusions are kept as triplets (true class, predicted class, pixels), so that each metric is a function of how often
each image counts. The IoU of a class is its pixels that are right, over all pixels that are of it or predicted as it. Mean IoU is
the mean over classes that occur in truth or prediction; a class without either in the images that count is left out of it.
Memory: 8 bytes a triplet; an image has some 10 to 100.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jftdata.errors import BadArgument, BadInput
from jftdata.transfer import together
from jftdata.transfer.task import Score

_MOST_CLASSES = 1 << 12
"""So that an image's table of all pairs of classes takes 64 MB at most."""


class Confusion:
    """Confusions of the test images, added one by one; pickles, so that processes can exchange it.

    >>> confusion = Confusion(num_images=1, num_classes=2, ignore=255)
    >>> confusion.add(0, np.array([[0, 1, 255]]), np.array([[0, 0, 1]]))
    >>> confusion.matrix().tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    >>> confusion.scores(["sky", "cat"])[0].statistic(np.ones(1))
    0.25
    """

    def __init__(self, *, num_images: int, num_classes: int, ignore: int | None = None) -> None:
        """An empty one.

        Args:
            num_images: test images.
            num_classes: classes are below it, 4,096 at most.
            ignore: value of the truth where a pixel does not count, whatever is predicted there.

        Raises:
            BadArgument: a number of classes or a value to ignore that is out of range.
        """
        if not 1 <= num_classes <= _MOST_CLASSES:
            raise BadArgument(f"`num_classes` must be in 1..{_MOST_CLASSES}. Got {num_classes}.")
        if ignore is not None and 0 <= ignore < num_classes:
            raise BadArgument(f"`ignore` must not be one of the {num_classes} classes. Got {ignore}. Renumber them.")
        self.num_images, self.num_classes, self.ignore = num_images, num_classes, ignore
        self._images: dict[int, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}

    def add(self, row: int, truth: NDArray[Any], predicted: NDArray[Any]) -> None:
        """Count an image.

        Args:
            row: of the image among the test images, each once.
            truth: (H, W) integers, class of each pixel.
            predicted: (H, W) integers.

        Raises:
            BadInput: a row out of range or for the second time; masks of different size; a class out of range.

        Cost: 0.3 ms for 500x375 pixels.
        """
        if not 0 <= row < self.num_images or row in self._images:
            wrong = "was added already" if row in self._images else f"is not in 0..{self.num_images - 1}"
            raise BadInput(f"image {row} {wrong}. Add each test image once.")
        if truth.shape != predicted.shape:
            raise BadInput(
                f"the mask of image {row} is {truth.shape}, the prediction {predicted.shape}. Give both in the mask's size."
            )
        table = np.zeros((self.num_classes, self.num_classes), np.int32)
        ignore = -1 if self.ignore is None else self.ignore
        at = _count(np.ravel(truth), np.ravel(predicted), ignore, table)
        if at >= 0:
            raise BadInput(
                f"a pixel of image {row} has the class {truth.flat[at]} and is predicted as {predicted.flat[at]}. Classes must be "
                f"in 0..{self.num_classes - 1}; a true pixel of {self.ignore} does not count."
            )
        pairs = np.flatnonzero(table)
        self._images[row] = pairs.astype(np.int32), table.ravel()[pairs]

    def matrix(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Pixels by true class and predicted class, (c, c), with each image counted `weights` times, once by default."""
        rows, pairs, pixels = self._triplets()
        if weights is not None:
            pixels = pixels * weights[rows]
        counts = np.bincount(pairs, pixels, minlength=self.num_classes**2)
        return counts.reshape(self.num_classes, self.num_classes).astype(np.float64)

    def scores(self, classes: Sequence[str], settings: dict[str, Any] | None = None) -> list[Score]:
        """`mean IoU`, `pixel accuracy` and `IoU (<class>)` of each class.

        Args:
            classes: names.
            settings: of the scores.

        Raises:
            BadArgument: another number of classes.
            BadInput: a test image that was not added.

        Cost: 0.8 ms for all 152 of one set of weights, with 5,000 images of 150 classes, some 10 an image.
        """
        c = self.num_classes
        if len(classes) != c:
            raise BadArgument(f"there are {len(classes)} names for {c} classes. Give one each.")
        missing = sorted(set(range(self.num_images)) - set(self._images))
        if missing:
            raise BadInput(
                f"{len(missing)} of {self.num_images} images were not added, the first is {missing[0]}. Add all."
            )
        rows, pairs, pixels = self._triplets()
        true, predicted = pairs // c, pairs % c
        right = true == predicted
        columns = np.concatenate([true, c + predicted, 2 * c + true[right]])  # an image's pixels by class, of each kind
        entries = np.concatenate([pixels, pixels, pixels[right]])
        places = np.concatenate([rows, rows, rows[right]])
        table = sparse.csr_array((entries, (columns, places)), shape=(3 * c, self.num_images))
        metrics = ["mean IoU", "pixel accuracy", *(f"IoU ({name})" for name in classes)]
        return together.scores(partial(_values, table), metrics, num_images=self.num_images, settings=settings)

    def _triplets(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Image, pair of classes and pixels of each triplet, by image."""
        rows = sorted(self._images)
        parts = [self._images[row] for row in rows]
        pairs = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
        pixels = np.concatenate([np.zeros(0), *(part[1] for part in parts)])
        return np.repeat(np.array(rows, np.int64), [len(part[0]) for part in parts]), pairs, pixels


def merge(confusions: Iterable[Confusion]) -> Confusion:
    """One of the images of all, as when every process has its share of them.

    Raises:
        BadInput: none, or other numbers of images or classes, or another value to ignore; an image that is in two.
    """
    parts = list(confusions)
    kinds = {(one.num_images, one.num_classes, one.ignore) for one in parts}
    if len(kinds) != 1:
        raise BadInput(
            f"confusions to merge must have one (num_images, num_classes, ignore). Got {kinds}. Make all alike."
        )
    out = Confusion(num_images=parts[0].num_images, num_classes=parts[0].num_classes, ignore=parts[0].ignore)
    for one in parts:
        twice = out._images.keys() & one._images.keys()
        if twice:
            raise BadInput(f"image {min(twice)} is in two confusions to merge. Give each image to one process.")
        out._images |= one._images
    return out


def _values(table: Any, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    true, predicted, right = (table @ weights).reshape(3, -1)
    either = true + predicted - right
    with np.errstate(invalid="ignore"):
        iou = np.where(either > 0, right / either, np.nan)
        accuracy = right.sum() / true.sum()
    there = iou[either > 0]
    return np.array([there.mean() if len(there) else np.nan, accuracy, *iou])


@numba.njit(cache=True, nogil=True)
def _count(truth: NDArray[Any], predicted: NDArray[Any], ignore: int, table: NDArray[Any]) -> int:
    """Count pairs; the first pixel with a class out of range, or -1."""
    for at in range(len(truth)):
        true, guess = np.int64(truth[at]), np.int64(predicted[at])
        if true == ignore:
            continue
        if not (0 <= true < len(table) and 0 <= guess < len(table)):
            return at
        table[true, guess] += 1
    return -1
