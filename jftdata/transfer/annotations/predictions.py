"""What a model says of a set's images, and the files it is handed in as: COCO results, VOC's lists, label PNGs.

Cost: 180,000 boxes a second to write, 130,000 to read.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jftdata import storage
from jftdata.errors import BadArgument, BadInput, Damaged, MissingInput
from jftdata.transfer.annotations import files
from jftdata.transfer.annotations.core import Annotated
from jftdata.world.formats import voc_palette


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found on n images; on image i it is `start[i]:start[i + 1]`."""

    start: NDArray[np.int64]
    """(n + 1,)."""
    box: NDArray[np.float64]
    """(m, 4) x0, y0, x1, y1 in pixels from the image's upper left corner."""
    score: NDArray[np.float64]
    """(m,) higher is surer."""
    label: NDArray[np.int64]
    """(m,) index of the class."""
    keypoints: NDArray[np.float64] | None = None
    """(m, K, 3) x, y and how sure of it."""
    num_left_out: int = 0
    """Detections of a file that were not taken, being of classes the set does not have."""

    def __len__(self) -> int:
        return len(self.score)

    def of(self, row: int) -> slice:
        """Places of an image's detections."""
        return slice(int(self.start[row]), int(self.start[row + 1]))


def write_coco(path: Path | str, annotated: Annotated, detections: Detections) -> Path:
    """Write detections in the COCO results format; those with keypoints as keypoints, the others as boxes.

    Args:
        path: a .json, written whole or not at all.
        annotated: the images they are of.
        detections: boxes are written as given, not clipped or rounded.

    Returns:
        The path.

    Raises:
        BadArgument: detections of another number of images or classes; a NaN.
    """
    check(detections, annotated)
    path = Path(path)
    numbers = np.repeat(annotated.number, np.diff(detections.start)).tolist()
    categories = annotated.class_number[detections.label].tolist()
    corner, size = detections.box[:, :2], detections.box[:, 2:] - detections.box[:, :2]
    what = "bbox" if detections.keypoints is None else "keypoints"
    values = np.concatenate([corner, size], 1) if detections.keypoints is None else detections.keypoints
    with storage.atomic_path(path) as temp, temp.open("w", encoding="utf-8") as file:
        for i in range(len(detections)):
            record = {"image_id": numbers[i], "category_id": categories[i], what: values[i].ravel().tolist()}
            record["score"] = float(detections.score[i])
            file.write(f"{',' if i else '['}\n{json.dumps(record)}")
        file.write("\n]\n" if len(detections) else "[]\n")
    return path


def write_voc(
    folder: Path | str, annotated: Annotated, detections: Detections, *, split: str = "test", competition: str = "comp3"
) -> list[Path]:
    """Write detections as VOC's lists, a file a class, also where nothing was found.

    Args:
        folder: gets `<competition>_det_<split>_<class>.txt`, with an image, a score and a box on each line.
        annotated: the images they are of; each is called by its file's name without the ending.
        detections: boxes as pixels counted from 1, both ends included.
        split: part of the files' names.
        competition: part of the files' names; `comp3` is trained on VOC alone, `comp4` on anything.

    Returns:
        The paths, in the order of the classes.

    Raises:
        BadArgument: detections of another number of images or classes; a NaN.
    """
    check(detections, annotated)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stems = np.repeat(np.array([Path(path).stem for path in annotated.path]), np.diff(detections.start))
    first_pixel = detections.box + np.array([1, 1, 0, 0])
    paths = []
    for label, name in enumerate(annotated.classes):
        lines = [
            f"{stems[i]} {detections.score[i]:.9g} " + " ".join(f"{value:.6f}" for value in first_pixel[i]) + "\n"
            for i in np.flatnonzero(detections.label == label)
        ]
        paths.append(folder / f"{competition}_det_{split}_{quote(name, safe=' ')}.txt")
        storage.write_text(paths[-1], "".join(lines))
    return paths


def write_masks(
    folder: Path | str, annotated: Annotated, labels: Iterable[NDArray[np.uint8]], *, rows: Sequence[int] | None = None
) -> list[Path]:
    """Write a label PNG an image, with VOC's colours.

    Args:
        folder: gets `<image>.png`, called as the image's file.
        annotated: the images they are of.
        labels: (H, W) index of the class of each pixel, image after image; only one is held at a time.
        rows: which images they are of; None is all.

    Returns:
        The paths, in the order of the rows.

    Raises:
        BadArgument: too few or too many; one of another size than its image; a class that is not there; two images with the
            same name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if twice := files.twice(Path(path).stem for path in annotated.path):
        raise BadArgument(f"two images would be written to {folder / twice[0]}.png. Give their files different names.")
    if len(annotated) and annotated.class_number.max() > 255:
        raise BadArgument(f"a label PNG holds numbers up to 255. Got a class {annotated.class_number.max()}.")
    number, palette = annotated.class_number.astype(np.uint8), voc_palette()
    wanted, paths = range(len(annotated)) if rows is None else rows, []
    for row, mask in zip_longest(wanted, labels):
        if row is None or mask is None:
            raise BadArgument(f"there are {'fewer' if mask is None else 'more'} masks than {len(wanted)} images.")
        name, size = annotated.path[row], (int(annotated.height[row]), int(annotated.width[row]))
        if mask.shape != size:
            raise BadArgument(f"the mask of {name} has the shape {mask.shape}, the image {size}. Resize it.")
        if mask.max() >= len(number):
            raise BadArgument(
                f"the mask of {name} has the class {mask.max()} of {len(number)}. Give indexes of classes."
            )
        image = Image.fromarray(number[mask])
        image.putpalette(palette)
        paths.append(folder / f"{Path(name).stem}.png")
        with storage.atomic_path(paths[-1]) as temp:
            image.save(temp, "PNG")
    return paths


def check(detections: Detections, annotated: Annotated) -> None:
    """Raise a BadArgument unless the detections can be of these images."""
    if len(detections.start) != len(annotated) + 1 or detections.start[-1] != len(detections):
        raise BadArgument(
            f"there are detections of {len(detections.start) - 1} images for {len(annotated)}. Give those of all."
        )
    if len(detections) and not 0 <= detections.label.min() <= detections.label.max() < len(annotated.classes):
        raise BadArgument(
            f"detections have classes {detections.label.min()} to {detections.label.max()}, there are "
            f"{len(annotated.classes)}. Give indexes of classes."
        )
    for name, values in (
        ("boxes", detections.box),
        ("scores", detections.score),
        ("keypoints", detections.keypoints),
    ):
        if values is not None and not np.isfinite(values).all():
            count = int((~np.isfinite(values)).reshape(len(values), -1).any(1).sum())
            raise BadArgument(f"{count} of {len(values)} detections have {name} that are no numbers. Mend the model.")


def read_coco(path: Path | str, annotated: Annotated) -> Detections:
    """Read detections in the COCO results format.

    Args:
        path: a .json with a list of `image_id`, `category_id`, `bbox` or `keypoints`, and `score`.
        annotated: the images they are of, which must hold all images of the file.

    Returns:
        Detections of each image by falling score, equal ones in the order of the file; boxes as they are, of keypoints alone
        the smallest box around them. Detections of classes that `annotated` does not have are counted in `num_left_out`, as
        a file of all classes may be given where only people matter.

    Raises:
        MissingInput: no such file.
        Damaged: not JSON.
        BadInput: no list of results; an image that is not there; a field that is missing or no number; a box of negative size;
            no detection of any class that is there.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"detections {path} do not exist. Check the path.")
    try:
        records = json.loads(path.read_bytes())
    except ValueError as error:
        raise Damaged(f"{path} is not readable JSON ({error}). Get it again.") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise BadInput(f"{path} has no list of results. Give a file in the COCO results format.")
    rows = {int(number): row for row, number in enumerate(annotated.number)}
    labels = {int(number): label for label, number in enumerate(annotated.class_number)}
    what = "keypoints" if records and "bbox" not in records[0] else "bbox"
    taken = [i for i, record in enumerate(records) if _known(record.get("category_id"), labels)]
    if records and not taken:
        there = sorted({str(record.get("category_id")) for record in records})
        raise BadInput(
            f"{path} has no detection of a class of the set: its categories are {', '.join(there[:10])}, those of the set "
            f"{', '.join(map(str, annotated.class_number[:10]))}. Give detections of this set."
        )
    size = 4 if what == "bbox" else len(records[taken[0]].get("keypoints") or [])
    image, values, score = np.zeros(len(taken), np.int64), np.zeros((len(taken), size)), np.zeros(len(taken))
    for at, i in enumerate(taken):
        record = records[i]
        if not _known(record.get("image_id"), rows):
            raise BadInput(f"{path}: result {i} is of the unknown image {record.get('image_id')!r}. Remove it.")
        image[at], score[at] = rows[record["image_id"]], _number(record.get("score"))
        numbers = record.get(what)
        if not isinstance(numbers, list) or len(numbers) != size or size == 0 or (what == "keypoints" and size % 3):
            expected = "4 numbers" if what == "bbox" else "3 numbers a keypoint, as many as the others"
            raise BadInput(f"{path}: result {i} has the {what} {numbers!r}, not {expected}. Mend or remove it.")
        values[at] = [_number(number) for number in numbers]
    bad = ~(np.isfinite(score) & np.isfinite(values).all(1))
    if what == "bbox":
        bad |= (values[:, 2:] < 0).any(1)
    if bad.any():
        i = taken[int(np.argmax(bad))]
        raise BadInput(
            f"{path}: result {i} has the {what} {records[i][what]} and score {records[i].get('score')}, not finite numbers "
            f"and a size of at least 0; so have {int(bad.sum())} in all. Mend or remove them."
        )
    points = None if what == "bbox" else values.reshape(len(taken), -1, 3)
    if points is None:
        box = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], 1)
    else:
        box = np.concatenate([points[:, :, :2].min(1), points[:, :, :2].max(1)], 1) if len(points) else values[:, :4]
    order = np.lexsort((np.arange(len(taken)), -score, image))
    start = np.concatenate([[0], np.cumsum(np.bincount(image, minlength=len(annotated)))]).astype(np.int64)
    label = np.array([labels[records[i]["category_id"]] for i in taken], np.int64)
    return Detections(
        start, box[order], score[order], label[order], None if points is None else points[order],
        len(records) - len(taken),
    )  # fmt: skip


def _known(value: Any, numbers: dict[int, int]) -> bool:
    return isinstance(value, int) and value in numbers


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
