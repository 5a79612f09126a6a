"""Images with what is on them: boxes, crowds, keypoints, masks. Arrays, not an object for each box."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jftdata import images
from jftdata.errors import BadInput, ImageRejected, MissingInput


@dataclass(frozen=True, eq=False)
class Objects:
    """What is on n images; those of image i are `start[i]:start[i + 1]`."""

    start: NDArray[np.int64]
    """(n + 1,)."""
    box: NDArray[np.float64]
    """(m, 4) x0, y0, x1, y1 in pixels from the image's upper left corner, inside the image, with an area."""
    label: NDArray[np.int64]
    """(m,) index of the class."""
    area: NDArray[np.float64]
    """(m,) pixels; of the segment where there is one."""
    crowd: NDArray[np.bool_]
    """(m,) a box around many."""
    difficult: NDArray[np.bool_]
    """(m,) VOC's mark; no miss counts."""
    id: NDArray[np.int64]
    """(m,) the set's own number, or the object's place in it."""
    keypoints: NDArray[np.float32] | None = None
    """(m, K, 3) x, y and 0 not labelled, 1 hidden, 2 visible."""

    def __len__(self) -> int:
        return len(self.label)

    def of(self, row: int) -> slice:
        """Places of an image's objects."""
        return slice(int(self.start[row]), int(self.start[row + 1]))


@dataclass(frozen=True)
class Skeleton:
    """What the keypoints of a class are."""

    names: tuple[str, ...]
    mirrored: tuple[int, ...]
    """Which keypoint each one is in a mirrored image."""
    edges: tuple[tuple[int, int], ...] = ()
    """Pairs to draw a line between, from 0."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """The images of one split."""

    image: NDArray[np.int64]
    """(n,) content id: what a catalog of the same files calls them."""
    path: list[str]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    number: NDArray[np.int64]
    """(n,) the set's own id of each image, ascending; 1..n where it has names only."""
    classes: tuple[str, ...]
    class_number: NDArray[np.int64]
    """(c,) the set's own id of each class."""
    fingerprint: str
    """SHA-256 of the annotations and the bytes of the images."""
    objects: Objects | None = None
    mask: list[str] | None = None
    """Files with the class of each pixel."""
    ignore: int | None = None
    """Value in `labels` of pixels that do not count."""
    skeleton: Skeleton | None = None
    layout: Literal["coco", "voc"] | None = None
    """Of the set that the objects were read from."""
    found: dict[str, list[str]] = field(default_factory=dict)
    """What was clipped or left out, and where, by rule."""

    def __len__(self) -> int:
        return len(self.image)

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) of an image.

        Raises:
            MissingInput: the file has gone.
            ImageRejected: it is damaged.
        """
        return _decoded(self.path[row], lambda data: images.decode(data)[0])

    def labels(self, row: int) -> NDArray[np.uint8]:
        """(H, W) index of the class of each pixel of an image that has a mask; `ignore` where none counts.

        Raises:
            MissingInput: the file has gone.
            ImageRejected: it is damaged.
        """
        if self.mask is None:
            raise BadInput(f"{self.path[row]} has no mask. Read the set with `read.masks`.")
        index = np.full(256, 255 if self.ignore is None else self.ignore, np.uint8)
        index[self.class_number] = np.arange(len(self.class_number))
        return index[_decoded(self.mask[row], images.decode_labels)]


def _decoded(path: str, decode: Callable[[bytes], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    try:
        return decode(Path(path).read_bytes())
    except FileNotFoundError:
        raise MissingInput(f"{path} has gone since its set was read. Bring it back.") from None
    except ImageRejected as error:
        raise ImageRejected(error.reason, f"{path}: {error}") from None


@dataclass(frozen=True, eq=False)
class Annotations:
    """A set's images to learn from and to be judged on."""

    train: Annotated
    test: Annotated
    fingerprint: str

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def num_train(self) -> int:
        return len(self.train)

    @property
    def num_test(self) -> int:
        return len(self.test)

    @property
    def test_images(self) -> NDArray[np.int64]:
        """(num_test,) content ids."""
        return self.test.image

    @property
    def found(self) -> dict[str, list[str]]:
        """What was clipped or left out in either split, by rule."""
        rules = [*self.train.found, *self.test.found]
        return {rule: [*self.train.found.get(rule, ()), *self.test.found.get(rule, ())] for rule in rules}
