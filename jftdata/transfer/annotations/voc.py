"""PASCAL VOC: `ImageSets/*/<split>.txt`, `JPEGImages`, `Annotations/*.xml` for boxes, `SegmentationClass` for masks.

A split is a list, `trainval`, or several, `VOC2007/trainval+VOC2012/trainval`, below a folder that holds several years.
Left out, the splits are those of Sun et al. 2017: `trainaug` and `val` where there is such a list for masks (Hariharan et
al. 2011; its masks lie in `SegmentationClassAug`), else `trainval` and `test` where that is annotated, else `train` and `val`.

Classes are the lines of `classes.txt` beside ImageSets, else VOC's 20 where all names are among them, else the names that
occur, for masks the numbers that do; number 0 of masks is `background`, whether the list has it or not. A box of pixels
counted from 1, both ends included, begins one lower. XML with a document type, and so with entities, is refused unread.
Cost: 10,000 annotations a second and a read of every image; of every mask also a decoding.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jftdata.errors import BadInput, MissingInput, UnknownName, one_of
from jftdata.sources.ingest import place
from jftdata.sources.voc import read_xml
from jftdata.transfer.annotations import files, masks, rules
from jftdata.transfer.annotations.core import Annotated, Annotations

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Everingham et al. 2010, in the order of their numbers 1..20."""
BACKGROUND = "background"
"""The class of number 0 in masks."""
OTHER_SIZE = "XML with another size than its image, which counts"
MAX_OTHER_SIZE = 0.01
"""Share of images whose XML may have another size: published sets have a few such slips."""

_BOX = ("bndbox.xmin", "bndbox.ymin", "bndbox.xmax", "bndbox.ymax")
_Lists = Literal["Main", "Segmentation"]


@dataclass(frozen=True)
class _Item:
    """An image of a list."""

    root: Path
    name: str

    @property
    def image(self) -> str:
        return str(self.root / "JPEGImages" / f"{self.name}.jpg")

    @property
    def xml(self) -> Path:
        return self.root / "Annotations" / f"{self.name}.xml"

    def mask(self, *, augmented: bool) -> Path:
        folders = ("SegmentationClassAug", "SegmentationClass")
        choices = [self.root / folder / f"{self.name}.png" for folder in (folders if augmented else folders[::-1])]
        return next((path for path in choices if path.is_file()), choices[-1 if augmented else 0])


def read_boxes(
    folder: Path | str, *, train_split: str | None = None, test_split: str | None = None, workers: int | None = None
) -> Annotations:
    """Read the boxes of a VOC folder.

    Args:
        folder: with ImageSets in it, or with one folder a year that has it, for example `VOCdevkit`.
        train_split: lists in `ImageSets/Main`, joined by `+`; see above for None.
        test_split: the same, to be judged on.
        workers: threads; None is one a core.

    Returns:
        Images in the order of their names, numbered from 1; objects by their place in the XML.

    Raises:
        MissingInput: no such folder; images or annotations that are not there.
        UnknownName: no such list; a class that `classes.txt` does not have.
        BadInput: an image twice in a split; XML that cannot be read, has a document type or an object without a box; a box that
            is none; more than 1% of the images of a split with another size than their XML says.
    """
    chosen = _chosen(folder, "Main", train_split, test_split)
    sheets = [_sheets(items, split, workers) for split, items in chosen.items()]
    occurring = {name for _, names in sheets for name in names}
    classes = _known_classes([item for items in chosen.values() for item in items], occurring) or tuple(
        sorted(occurring)
    )
    parts = []
    for (split, items), (sheet, names) in zip(chosen.items(), sheets, strict=True):
        looked = files.look_at([item.image for item in items], what=split, workers=workers)
        label = {name: i for i, name in enumerate(classes)}
        if unknown := sorted(names - label.keys()):
            raise one_of(f"{split}: class", unknown[0], classes, error=UnknownName)
        parts.append(_with_boxes(items, split, sheet, label, looked))
    return rules.both(*parts)


@dataclass(frozen=True)
class _Sheet:
    """What one XML says."""

    sha256: str
    size: tuple[int, int] | None
    objects: list[tuple[str, tuple[float, ...], bool]]
    """Name, box as written, difficult."""


def _sheets(items: Sequence[_Item], split: str, workers: int | None) -> tuple[list[_Sheet], set[str]]:
    """The annotations of a split, and the classes that occur."""
    files.check_there([str(item.xml) for item in items], what=f"annotations of {split}")
    sheets = files.mapped(lambda item: _sheet(item.xml), items, what=f"annotations of {split}", workers=workers)
    return sheets, {name for sheet in sheets for name, _, _ in sheet.objects}


def _sheet(path: Path) -> _Sheet:
    data = path.read_bytes()
    image, things = read_xml(data, path)
    try:
        width, height = (int(image.get(f"size.{side}") or 0) for side in ("width", "height"))
        difficult = [int(thing.get("difficult") or 0) for thing in things]
    except ValueError as error:
        raise BadInput(f"{path} has a size or `difficult` that is no whole number ({error}). Mend it.") from error
    objects = []
    for i, thing in enumerate(things):
        try:
            box = tuple(float(thing[side]) for side in _BOX)
        except (KeyError, ValueError):
            given = ", ".join(f"{side.split('.')[1]} {thing.get(side)!r}" for side in _BOX)
            raise BadInput(
                f"{path}: object {i + 1} has the box {given}, not four numbers. Mend or remove it."
            ) from None
        objects.append((thing["name"], box, difficult[i] != 0))
    return _Sheet(hashlib.sha256(data).hexdigest(), (width, height) if width and height else None, objects)


def _with_boxes(
    items: Sequence[_Item], split: str, sheets: Sequence[_Sheet], label: dict[str, int], looked: files.Files
) -> Annotated:
    other = [
        i for i, sheet in enumerate(sheets)
        if sheet.size is not None and sheet.size != (looked.width[i], looked.height[i])
    ]  # fmt: skip
    if len(other) > MAX_OTHER_SIZE * len(items):
        claimed = [sheet.size or (None, None) for sheet in sheets]
        paths = [item.image for item in items]
        files.check_sizes(looked, paths, [width for width, _ in claimed], [height for _, height in claimed])
    rows = np.repeat(np.arange(len(items)), [len(sheet.objects) for sheet in sheets])
    ids = np.array([i + 1 for sheet in sheets for i in range(len(sheet.objects))], np.int64)
    things = [thing for sheet in sheets for thing in sheet.objects]
    box = np.array([box for _, box, _ in things], np.float64).reshape(-1, 4) - (1, 1, 0, 0)
    given = rules.Given(
        row=rows, box=box, label=np.array([label[name] for name, _, _ in things], np.int64),
        area=(box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]), crowd=np.zeros(len(things), np.bool_),
        difficult=np.array([difficult for _, _, difficult in things], np.bool_), id=ids,
        name=lambda i: f"{items[rows[i]].name}.xml object {ids[i]}",
    )  # fmt: skip
    objects, found = rules.checked(given, looked.width, looked.height)
    if other:
        found[OTHER_SIZE] = [f"{items[i].name}.xml" for i in other]
    return Annotated(
        image=looked.image, path=[item.image for item in items], width=looked.width, height=looked.height,
        number=np.arange(1, len(items) + 1), classes=tuple(label), class_number=np.arange(1, len(label) + 1),
        fingerprint=files.fingerprint(["voc boxes", *label, *(s.sha256 for s in sheets), *looked.sha256]),
        objects=objects, layout="voc", found=found,
    )  # fmt: skip


def read_masks(
    folder: Path | str, *, train_split: str | None = None, test_split: str | None = None, workers: int | None = None
) -> Annotations:
    """Read the masks of a VOC folder.

    Args:
        folder: with ImageSets in it, or with one folder a year that has it, for example `VOCdevkit`.
        train_split: lists in `ImageSets/Segmentation`, joined by `+`; see above for None.
        test_split: the same, to be judged on.
        workers: threads; None is one a core.

    Returns:
        Images in the order of their names, numbered from 1; pixels of value 255 do not count.

    Raises:
        MissingInput: no such folder; images or masks that are not there.
        UnknownName: no such list.
        BadInput: an image twice in a split; what `masks.split_of` refuses.
    """
    chosen = _chosen(folder, "Segmentation", train_split, test_split)
    everything = [item for items in chosen.values() for item in items]
    annotated = [item.xml for item in everything if item.xml.is_file()]
    sheets = files.mapped(lambda path: read_xml(path.read_bytes(), path)[1], annotated, what="names", workers=workers)
    paths = [[str(item.mask(augmented="trainaug" in split)) for item in items] for split, items in chosen.items()]
    seen = [
        masks.look_at(some, f"masks of {split}", workers=workers) for split, some in zip(chosen, paths, strict=True)
    ]
    known = _known_classes(everything, {thing["name"] for things in sheets for thing in things})
    classes = masks.numbers(seen) if known is None else (BACKGROUND, *known)
    parts = []
    for (split, items), some, found in zip(chosen.items(), paths, seen, strict=True):
        images = [item.image for item in items]
        parts.append(masks.split_of(images, some, found, classes=classes, what=split, first=0, workers=workers))
    return rules.both(*parts)


def is_voc(folder: Path, lists: _Lists) -> bool:
    """Whether there are lists of boxes or of masks in a folder."""
    return bool(_roots(folder, lists))


def _roots(folder: Path, lists: _Lists) -> dict[str, Path]:
    """Folders with ImageSets and annotations, by name: the folder itself, or those of the years."""
    part = "Annotations" if lists == "Main" else "SegmentationClass"
    for paths in ([folder], *(sorted(folder.glob(f"{inside}VOC*")) for inside in ("", "VOCdevkit/", "voc/"))):
        found = {path.name: path for path in paths if (path / "ImageSets" / lists).is_dir() and (path / part).is_dir()}
        if found:
            return found
    return {}


def _chosen(
    folder: Path | str, lists: _Lists, train_split: str | None, test_split: str | None
) -> dict[str, list[_Item]]:
    """The images of the two splits, by name; the key is the split's name, of the test split with `test ` before it if equal."""
    roots = _roots(Path(folder), lists)
    if not roots:
        part = "Annotations" if lists == "Main" else "SegmentationClass"
        raise MissingInput(f"{folder} has no ImageSets/{lists} and {part}. Give a folder such as VOCdevkit/VOC2012.")
    there = {
        f"{name}/{path.stem}" if len(roots) > 1 else path.stem: (root, path)
        for name, root in roots.items()
        for path in sorted((root / "ImageSets" / lists).glob("*.txt"))
        if not re.fullmatch(r".+_(train|val|trainval|test)", path.stem)  # lists of one class
    }
    train, test = _splits(there, lists)
    train, test = train_split or train, test_split or test
    if not train or not test:
        raise BadInput(
            f"{folder} has no lists to {'learn from' if not train else 'be judged on'} in ImageSets/{lists}, only "
            f"{', '.join(there) or 'none'}. Give `{'train' if not train else 'test'}_split`."
        )
    chosen = {}
    for split in (train, test):
        items = []
        for name in split.split("+"):
            if name not in there:
                raise one_of("list", name, there, error=UnknownName)
            items += _listed(*there[name])
        if again := files.twice(item.name for item in items):
            raise BadInput(f"{again[0]} is twice in {split}. Remove it once.")
        chosen[split if split not in chosen else f"test {split}"] = sorted(items, key=lambda item: item.name)
    return chosen


def _splits(there: dict[str, tuple[Path, Path]], lists: _Lists) -> tuple[str | None, str | None]:
    """The lists to learn from and to be judged on that there are."""

    def named(name: str) -> list[str]:
        return [key for key in there if key.split("/")[-1] == name]

    def annotated(key: str) -> bool:
        first = next(iter(_listed(*there[key])), None)
        return first is not None and (first.xml if lists == "Main" else first.mask(augmented=False)).is_file()

    test = [] if named("trainaug") else [key for key in named("test") if annotated(key)]
    by_choice = ("trainaug", "trainval", "train") if test else ("trainaug", "train")
    train = next((keys for name in by_choice if (keys := named(name))), [])
    return "+".join(train) or None, "+".join(test or named("val")) or None


def _listed(root: Path, path: Path) -> list[_Item]:
    """The images of a list: the first word of a line, without folder and ending."""
    items = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if words := line.split():
            if "refused" in place("", words[0].lstrip("/")):
                raise BadInput(f"{path} lists {words[0]!r}, which leaves its folder. Mend it.")
            items.append(_Item(root, words[0].split("/")[-1].removesuffix(".jpg")))
    return items


def _known_classes(items: Sequence[_Item], names: set[str]) -> tuple[str, ...] | None:
    """The classes by their number from 1 on, or None where nothing says so."""
    for root in sorted({item.root for item in items}):
        if (listed := masks.class_names(root)) is not None:
            return listed[1:] if listed[0] == BACKGROUND else listed
    return CLASSES if names <= set(CLASSES) else None
