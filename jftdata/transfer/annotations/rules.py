"""Which boxes and keypoints are refused, clipped or left out, the same for every layout.

Refused: what is no finite number, a size or area below 0, a visibility other than 0, 1 or 2. Left out: a box without
area, or with none inside its image. Clipped: a box partly outside. A labelled keypoint outside its image becomes not
labelled. All but what is refused is named in `found`; a box outside by less than a thousandth of a pixel is rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadInput
from jftdata.transfer.annotations.core import Annotated, Annotations, Objects
from jftdata.transfer.annotations.files import fingerprint

CLIPPED = "box partly outside its image, clipped"
OUTSIDE = "box wholly outside its image, left out"
NO_AREA = "box without area, left out"
POINT_OUTSIDE = "keypoint outside its image, not labelled"

_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Given:
    """Objects as a set gives them, in any order; see `Objects`."""

    row: NDArray[np.int64]
    """(m,) the image of each."""
    box: NDArray[np.float64]
    label: NDArray[np.int64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    id: NDArray[np.int64]
    name: Callable[[int], str]
    """What an error calls an object."""
    keypoints: NDArray[np.float32] | None = None


def checked(given: Given, width: NDArray[np.int64], height: NDArray[np.int64]) -> tuple[Objects, dict[str, list[str]]]:
    """The objects that follow the rules, by image and then by id, and what was changed or left out, by rule.

    Args:
        given: m objects.
        width: (n,) pixels.
        height: (n,) pixels.

    Raises:
        BadInput: an object that is refused; says how many.
    """
    _refuse(given, ~np.isfinite(given.box).all(1), given.box, "the box", "four finite numbers")
    negative = (given.box[:, 2:] < given.box[:, :2]).any(1)
    _refuse(given, negative, given.box, "the box", "x0, y0, x1, y1 with a width and height of at least 0")
    bad = ~(np.isfinite(given.area) & (given.area >= 0))
    _refuse(given, bad, given.area, "the area", "a number of at least 0")
    edge = np.stack([width[given.row], height[given.row]] * 2, 1).astype(np.float64)
    box = np.clip(given.box, 0.0, edge)
    no_area = (given.box[:, 2:] == given.box[:, :2]).any(1)
    outside = ~no_area & (box[:, 2:] <= box[:, :2]).any(1)
    clipped = ~no_area & ~outside & (np.abs(box - given.box) > _ROUNDING).any(1)
    found = {NO_AREA: no_area, OUTSIDE: outside, CLIPPED: clipped}
    keypoints = given.keypoints
    if keypoints is not None:
        _refuse(given, ~np.isfinite(keypoints).all((1, 2)), keypoints, "keypoints", "finite numbers")
        strange = ~np.isin(keypoints[:, :, 2], (0, 1, 2)).all(1)
        _refuse(given, strange, keypoints[:, :, 2], "the visibilities", "0, 1 or 2")
        point, size = keypoints[:, :, :2], edge[:, None, 2:]
        beyond = (keypoints[:, :, 2] > 0) & ((point < 0) | (point > size)).any(2)
        keypoints = np.where(beyond[:, :, None], np.float32(0), keypoints)
        found[POINT_OUTSIDE] = beyond.any(1) & ~no_area & ~outside
    order = np.lexsort((given.id, given.row))
    kept = order[~(no_area | outside)[order]]
    start = np.concatenate([[0], np.cumsum(np.bincount(given.row[kept], minlength=len(width)))])
    objects = Objects(
        start.astype(np.int64), box[kept], given.label[kept], given.area[kept], given.crowd[kept],
        given.difficult[kept], given.id[kept], None if keypoints is None else keypoints[kept],
    )  # fmt: skip
    return objects, {rule: [given.name(int(i)) for i in order[hit[order]]] for rule, hit in found.items() if hit.any()}


def _refuse(
    given: Given, bad: NDArray[np.bool_] | np.bool_, values: NDArray[np.floating], what: str, expected: str
) -> None:
    at = np.flatnonzero(bad)
    if len(at):
        more = f"; {len(at)} objects have such" if len(at) > 1 else ""
        raise BadInput(
            f"{given.name(int(at[0]))} has {what} {values[at[0]].tolist()}, not {expected}{more}. Mend or remove it."
        )


def both(train: Annotated, test: Annotated) -> Annotations:
    """Two splits of one set.

    Raises:
        BadInput: a split without images; classes that are not the same.
    """
    for split, part in (("train", train), ("test", test)):
        if not len(part):
            raise BadInput(f"the {split} split has no image. Give another split.")
    one, other = ([*zip(part.class_number.tolist(), part.classes, strict=True)] for part in (train, test))
    if one != other:
        here, there = next(
            (a, b) for a, b in zip([*one, ("no", "class")], [*other, ("no", "class")], strict=False) if a != b
        )
        raise BadInput(
            f"the splits have other classes: {here[0]} {here[1]!r} in train, {there[0]} {there[1]!r} in test. "
            "Give both the same list of classes."
        )
    return Annotations(train, test, fingerprint([train.fingerprint, test.fingerprint]))
