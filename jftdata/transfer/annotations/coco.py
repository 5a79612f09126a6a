"""COCO: `annotations/instances_<split>.json` or `person_keypoints_<split>.json`, and folders of images.

Images lie in `<split>/`, `images/<split>/` or `images/`. Crowds stay, as crowds; the shape of a segment is not used,
its area is. Classes are the categories by their number.
Cost: 30 MB of JSON a second, 1.1 GB for 860,000 annotations, and a read of every image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jftdata.errors import BadInput, MissingInput, UnknownName, one_of
from jftdata.sources.coco import by_id, parts_of
from jftdata.sources.ingest import place
from jftdata.storage import sha256_file
from jftdata.transfer.annotations import files, rules
from jftdata.transfer.annotations.core import Annotated, Annotations, Skeleton

KINDS = {False: "instances", True: "person_keypoints"}
TEST_SPLITS = ("test", "val", "minival")
"""What the name of a test split begins with, the first there is."""


def read(
    folder: Path | str, *, keypoints: bool = False, train_split: str | None = None, test_split: str | None = None,
    workers: int | None = None,
) -> Annotations:  # fmt: skip
    """Read a COCO folder.

    Args:
        folder: the one with `annotations/` in it.
        keypoints: read people with keypoints rather than instances.
        train_split: such as `train2017`; None takes the only one that begins with `train`.
        test_split: such as `val2017`; None takes the only one that begins with test, else val, else minival.
        workers: threads; None is one a core.

    Raises:
        MissingInput: no such folder, or images that are not there.
        UnknownName: no such split.
        BadInput: no split or several to choose from; what `read_split` refuses; splits with other categories.
    """
    root, kind = Path(folder), KINDS[keypoints]
    there = splits(root, keypoints=keypoints)
    chosen = []
    for what, name, begins in (("train", train_split, ("train",)), ("test", test_split, TEST_SPLITS)):
        if name is not None and name not in there:
            raise one_of(f"{kind} split", name, there, error=UnknownName)
        chosen.append(name if name is not None else _only(there, begins, what, root / "annotations"))
    parts = []
    for split in chosen:
        path = root / "annotations" / f"{kind}_{split}.json"
        parts.append(read_split(path, images=_images(root, split), keypoints=keypoints, workers=workers))
    return rules.both(*parts)


def splits(root: Path, *, keypoints: bool) -> list[str]:
    """Splits with annotations of a kind, for example `train2017`."""
    kind = KINDS[keypoints]
    return sorted(path.stem.removeprefix(f"{kind}_") for path in (root / "annotations").glob(f"{kind}_*.json"))


def _only(there: Sequence[str], begins: Sequence[str], what: str, where: Path) -> str:
    for start in begins:
        fitting = [name for name in there if name.startswith(start)]
        if len(fitting) > 1:
            raise BadInput(f"{where} has several splits to {what} on: {', '.join(fitting)}. Give `{what}_split`.")
        if fitting:
            return fitting[0]
    raise BadInput(f"{where} has no split to {what} on, only: {', '.join(there) or 'none'}. Give `{what}_split`.")


def _images(root: Path, split: str) -> list[Path]:
    return [root / split, root / "images" / split, root / "images"]


def read_split(
    annotations: Path | str, *, images: Path | str | Sequence[Path], keypoints: bool = False, workers: int | None = None
) -> Annotated:
    """Read one COCO file.

    Args:
        annotations: a JSON in the layout of `instances_val2017.json` or `person_keypoints_val2017.json`.
        images: folder that `file_name` starts from; of several the first that has the first image.
        keypoints: whether the objects have keypoints.
        workers: threads; None is one a core.

    Returns:
        Images by their number; objects of an image by theirs. For keypoints the classes are those categories that have some.

    Raises:
        MissingInput: no such file, or images that are not there.
        Damaged: not JSON.
        BadInput: an id twice; an annotation of an unknown image or category; an image whose file has another size or leaves
            its folder; a box, area or list of keypoints that is none; no keypoints where they are wanted.
    """
    path = Path(annotations)
    parts = parts_of(path)
    categories = dict(sorted(by_id(parts["categories"], "category", path).items()))
    images_of = dict(sorted(by_id(parts["images"], "image", path).items()))
    skeleton = _skeleton(categories, path) if keypoints else None
    names = tuple(str(category.get("name", number)) for number, category in categories.items())
    if twice := files.twice(names):
        raise BadInput(f"{path}: two categories are called {twice[0]!r}. Rename one.")
    paths = _paths(list(images_of.values()), images, path)
    given = _given(parts["annotations"], list(images_of), list(categories), skeleton, path)
    looked = files.look_at(paths, what=path.stem, workers=workers)
    files.check_sizes(
        looked, paths, *([image.get(side) for image in images_of.values()] for side in ("width", "height"))
    )
    objects, found = rules.checked(given, looked.width, looked.height)
    return Annotated(
        image=looked.image, path=paths, width=looked.width, height=looked.height,
        number=np.array(list(images_of), np.int64), classes=names, class_number=np.array(list(categories), np.int64),
        fingerprint=files.fingerprint(["coco", str(keypoints), sha256_file(path), *looked.sha256]),
        objects=objects, skeleton=skeleton, layout="coco", found=found,
    )  # fmt: skip


def _paths(images: Sequence[dict[str, Any]], folders: Path | str | Sequence[Path], path: Path) -> list[str]:
    names = []
    for image in images:
        name = image.get("file_name")
        if not isinstance(name, str) or not name:
            raise BadInput(f"{path}: image {image['id']} has no `file_name`. Add one.")
        if "refused" in place("", name):
            raise BadInput(f"{path}: image {image['id']} has the file {name!r}, which leaves its folder. Mend it.")
        names.append(name)
    if twice := files.twice(names):
        raise BadInput(f"{path}: {len(twice)} files are of two images, for example {twice[0]!r}. Remove one.")
    choices: list[Path] = [Path(folders)] if isinstance(folders, str | Path) else list(folders)
    fitting = [folder for folder in choices if names and (folder / names[0]).is_file()]
    fitting += [folder for folder in choices if folder.is_dir()]
    if not fitting:
        raise MissingInput(f"none of the folders {', '.join(map(str, choices))} exists. Bring the images of {path}.")
    return [str(fitting[0] / name) for name in names]


def _skeleton(categories: dict[int, dict[str, Any]], path: Path) -> Skeleton:
    """Keypoints of the categories; those without any are taken away."""
    for number in [number for number, category in categories.items() if not category.get("keypoints")]:
        del categories[number]
    lists = {tuple(map(str, category["keypoints"])) for category in categories.values()}
    if not lists:
        raise BadInput(f"{path} has no category with `keypoints`. Give a file such as person_keypoints_val2017.json.")
    if len(lists) > 1:
        raise BadInput(f"{path}: categories have other keypoints than each other. Give a file of one kind.")
    names = lists.pop()
    swapped = [name.replace("left", "\0").replace("right", "left").replace("\0", "right") for name in names]
    mirrored = tuple(names.index(other) if other in names else i for i, other in enumerate(swapped))
    pairs = next(iter(categories.values())).get("skeleton") or []
    if not all(_numbers(pair, 2) and 1 <= min(pair) <= max(pair) <= len(names) for pair in pairs):
        raise BadInput(f"{path}: the `skeleton` is not of pairs of keypoints 1..{len(names)}. Mend it.")
    return Skeleton(names, mirrored, tuple((int(a) - 1, int(b) - 1) for a, b in pairs))


def _given(
    items: Sequence[dict[str, Any]], images: Sequence[int], categories: Sequence[int], skeleton: Skeleton | None,
    path: Path,
) -> rules.Given:  # fmt: skip
    """Annotations as columns."""
    rows, labels = ({number: i for i, number in enumerate(numbers)} for numbers in (images, categories))

    def name(i: int) -> str:
        return f"{path.name} annotation {items[i].get('id', f'number {i}')}"

    def refuse(i: int, what: str, remedy: str = "Mend or remove it.") -> BadInput:
        return BadInput(f"{path}: {name(i).removeprefix(f'{path.name} ')} {what}. {remedy}")

    ids: dict[int, int] = {}
    for i, item in enumerate(items):
        if not isinstance(item.get("id"), int):
            raise refuse(i, "has no whole number as id")
        if ids.setdefault(item["id"], i) != i:
            raise BadInput(f"{path}: the annotation id {item['id']} is there twice. Remove one.")
        if not _known(item.get("image_id"), rows):
            raise refuse(i, f"is of the unknown image {item.get('image_id')!r}", "Add the image or remove it.")
        if not _known(item.get("category_id"), labels):
            which = "without keypoints" if skeleton is not None else "that is not there"
            raise refuse(i, f"has the category {item.get('category_id')!r} {which}", "Add it or remove the annotation.")
        if not _numbers(item.get("bbox"), 4):
            raise refuse(i, f"has the box {item.get('bbox')!r}, not four numbers")
        if "area" in item and not _numbers([item["area"]], 1):
            raise refuse(i, f"has the area {item['area']!r}, not a number")
        if skeleton is not None and not _numbers(item.get("keypoints"), 3 * len(skeleton.names)):
            has = item.get("keypoints")
            what = f"{len(has)} values" if isinstance(has, list) else repr(has)
            raise refuse(i, f"has as keypoints {what}, not {3 * len(skeleton.names)} numbers")
    corner = np.array([item["bbox"] for item in items], np.float64).reshape(-1, 4)
    area = np.array([item.get("area", item["bbox"][2] * item["bbox"][3]) for item in items], np.float64)
    points = None
    if skeleton is not None:
        points = np.array([item["keypoints"] for item in items], np.float32).reshape(-1, len(skeleton.names), 3)
    return rules.Given(
        row=np.array([rows[item["image_id"]] for item in items], np.int64),
        box=np.concatenate([corner[:, :2], corner[:, :2] + corner[:, 2:]], 1),
        label=np.array([labels[item["category_id"]] for item in items], np.int64),
        area=area,
        crowd=np.array([bool(item.get("iscrowd", 0)) for item in items], np.bool_),
        difficult=np.zeros(len(items), np.bool_),
        id=np.array([item["id"] for item in items], np.int64),
        name=name,
        keypoints=points,
    )


def _known(value: Any, numbers: dict[int, int]) -> bool:
    return isinstance(value, int) and value in numbers


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(v, int | float) for v in value)
