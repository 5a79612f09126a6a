"""Sets with boxes, keypoints or masks in whatever published layout they lie: the first of these that a folder fits.

Boxes: COCO, VOC. Keypoints: COCO. Masks: VOC, PNG folders, Parquet. In a written world the sets lie in `detection/`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jftdata.errors import BadInput, MissingInput
from jftdata.transfer.annotations import coco, voc
from jftdata.transfer.annotations import masks as folders
from jftdata.transfer.annotations.core import Annotations

_COCO = "annotations/{}_<split>.json (COCO)"
_VOC = "ImageSets/{} with {} (VOC, also one folder a year)"


def boxes(
    data: Any, *, train_split: str | None = None, test_split: str | None = None, workers: int | None = None
) -> Annotations:
    """Read a set with boxes.

    Args:
        data: a folder in the layout of COCO (`coco.read`) or VOC (`voc.read_boxes`), or a written world; a set that has been
            read is taken as it is.
        train_split: split to learn from, as the layout calls it; None takes the usual one.
        test_split: split to be judged on; None takes the usual one.
        workers: threads; None is one a core.

    Raises:
        MissingInput: no such folder, or one in none of these layouts.
        BadInput: no path and no set; what the layout's function refuses.
    """
    layouts: list[_Layout] = [
        (_COCO.format("instances"), lambda folder: bool(coco.splits(folder, keypoints=False)), coco.read),
        (_VOC.format("Main", "Annotations"), lambda folder: voc.is_voc(folder, "Main"), voc.read_boxes),
    ]
    return _read(data, "boxes", layouts, train_split, test_split, workers)


def keypoints(
    data: Any, *, train_split: str | None = None, test_split: str | None = None, workers: int | None = None
) -> Annotations:
    """Read a set with keypoints, in the layout of COCO; see `boxes`."""

    def read(folder: Path, **options: Any) -> Annotations:
        return coco.read(folder, keypoints=True, **options)

    layouts: list[_Layout] = [
        (_COCO.format("person_keypoints"), lambda folder: bool(coco.splits(folder, keypoints=True)), read)
    ]
    return _read(data, "keypoints", layouts, train_split, test_split, workers)


def masks(
    data: Any, *, train_split: str | None = None, test_split: str | None = None, cache: Path | None = None,
    workers: int | None = None,
) -> Annotations:  # fmt: skip
    """Read a set with masks: VOC (`voc.read_masks`), PNG folders or Parquet files (`masks.read`, also for `cache`); see `boxes`."""

    def read(folder: Path, **options: Any) -> Annotations:
        return folders.read(folder, cache=cache, **options)

    layouts: list[_Layout] = [
        (_VOC.format("Segmentation", "SegmentationClass"), lambda f: voc.is_voc(f, "Segmentation"), voc.read_masks),
        ("images/<split> with masks/<split> or annotations/<split>", lambda f: bool(folders.splits(f)), read),
        ("*.parquet with bytes in `image` and `mask` or `annotation`", folders.is_parquet, read),
    ]
    return _read(data, "masks", layouts, train_split, test_split, workers)


_Layout = tuple[str, Callable[[Path], bool], Callable[..., Annotations]]
"""What is looked for, whether a folder has it, and how it is read."""


def _read(
    data: Any, what: str, layouts: list[_Layout], train_split: str | None, test_split: str | None, workers: int | None
) -> Annotations:
    if isinstance(data, Annotations):
        return data
    if not isinstance(data, str | Path):
        raise BadInput(f"{what} are read from a folder. Got a {type(data).__name__}. Give its path.")
    folder = Path(data)
    if not folder.is_dir():
        raise MissingInput(f"folder {folder} does not exist. Check the path.")
    for root in (folder, folder / "detection"):
        for _, fits, read in layouts:
            if fits(root):
                return read(root, train_split=train_split, test_split=test_split, workers=workers)
    looked_for = "; ".join(name for name, _, _ in layouts)
    raise MissingInput(f"{folder} has no {what} in a known layout. Looked for, also in detection/: {looked_for}.")
