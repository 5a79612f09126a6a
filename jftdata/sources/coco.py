"""COCO instances: one JSON with images, annotations and categories, and a folder of images. Files stay where they are.

An image has the label of every annotation on it, boxes of crowds too, so an image with nothing but a crowd of people is
still given `person`; one without annotations is unlabelled. Of a label's annotations the highest `score` counts, where they
have one; categories in an image's `neg_category_ids` are verified negatives. A JSON that contradicts itself is refused as a
whole; an image whose file is gone is rejected as `missing`, one whose name leaves the folder as `unsafe`.
Cost: the JSON is read into memory but for its segments, at 30 MB a second.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.errors import BadInput, Damaged, MissingInput, nearest
from jftdata.hierarchy import Hierarchy
from jftdata.sources.ingest import Record, digest_of_files, ingest, listed, place, scores_of


def from_coco(
    annotations: Path | str,
    *,
    images: Path | str,
    out: Path | str,
    hierarchy: Hierarchy | None = None,
    label: str = "name",
    split: str = "train",
    pack: bool = False,
    shorter_side: int | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of COCO annotations.

    Args:
        annotations: JSON in the layout of `instances_val2017.json`.
        images: folder that `file_name` starts from.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of all categories.
        label: field of a category that is its label, for example `name` or `id`.
        split: split of all images.
        pack: copy the bytes into tar shards inside the catalog.
        shorter_side: see `from_folder`.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Returns:
        The catalog; the same call again returns it at once, and continues where a killed one stopped.

    Raises:
        MissingInput: no such file or folder.
        Damaged: not JSON.
        BadInput: a field that is not there; an id twice; an annotation of an unknown image or category; a score outside 0..1.
        UnknownName: a category that is not a label of the hierarchy.
        TooManyRejects: more rejects than allowed.
    """
    coco = read_coco(annotations, label=label)
    return ingest_coco(
        coco, images, _name, source="coco", out=out, hierarchy=hierarchy, split=split,
        pack=pack, shorter_side=shorter_side, max_rejected=max_rejected, workers=workers,
    )  # fmt: skip


def _name(image: dict[str, Any]) -> str:
    if not image.get("file_name"):
        raise BadInput(f"image {image['id']} has no `file_name`. Add one.")
    return str(image["file_name"])


@dataclass(frozen=True)
class Coco:
    """What a COCO-like JSON says."""

    path: Path
    label: str
    images: list[dict[str, Any]]
    labels: dict[int, str]
    """Label of each category."""
    given: dict[int, list[str]]
    """Labels of each image's annotations."""
    scores: dict[int, list[float | None]]
    """Their scores."""
    negatives: dict[int, list[str]]
    """Labels that each image was looked through for, and has not."""

    def label_of(self, category: Any, where: str) -> str:
        """Label of a category.

        Raises:
            BadInput: no such category.
        """
        if category not in self.labels:
            raise BadInput(f"{self.path}: {where} has the unknown category {category!r}. Add it or remove {where}.")
        return self.labels[category]


def read_coco(annotations: Path | str, *, label: str) -> Coco:
    """Read and check a COCO-like JSON; see `from_coco` for what is raised."""
    path = Path(annotations)
    parts = parts_of(path)
    images = by_id(parts["images"], "image", path)
    labels = {}
    for number, category in by_id(parts["categories"], "category", path).items():
        if label not in category:
            raise BadInput(f"{path}: category {number} has no field {label!r}.{nearest(label, category)}")
        labels[number] = str(category[label])
    coco = Coco(path, label, list(images.values()), labels, {i: [] for i in images}, {i: [] for i in images}, {})
    for i, annotation in enumerate(parts["annotations"]):
        where = f"annotation {annotation.get('id', f'number {i}')}"
        image = annotation.get("image_id")
        if image not in coco.given:
            raise BadInput(f"{path}: {where} is of the unknown image {image!r}. Add it or remove {where}.")
        coco.given[image].append(coco.label_of(annotation.get("category_id"), where))
        coco.scores[image].append(annotation.get("score"))
    for number, item in images.items():
        coco.negatives[number] = [coco.label_of(c, f"image {number}") for c in item.get("neg_category_ids", ())]
    return coco


def ingest_coco(
    coco: Coco,
    images: Path | str,
    name_of: Callable[[dict[str, Any]], str],
    *,
    source: str,
    out: Path | str,
    hierarchy: Hierarchy | None,
    split: str,
    pack: bool,
    shorter_side: int | None,
    max_rejected: float,
    workers: int | None,
) -> Catalog:
    """The half that COCO and LVIS share: a record an image, then `ingest`."""
    root = Path(images).resolve()
    if not root.is_dir():
        raise MissingInput(f"folder {images} does not exist. Check the path.")
    records, names = [], set()
    for image in coco.images:
        name = name_of(image)
        if name in names:
            raise BadInput(f"{coco.path}: two images have the file {name!r}. Remove one.")
        names.add(name)
        number, labels = image["id"], tuple(coco.given[image["id"]])
        records.append(
            Record(
                source=name, labels=labels, split=split, negatives=tuple(coco.negatives[number]),
                scores=scores_of(coco.scores[number], labels, f"{coco.path}: image {number}"), **place(str(root), name),
            )
        )  # fmt: skip
    return ingest(
        listed(records),
        out=out,
        hierarchy=hierarchy,
        made_with={
            "source": source, "label": coco.label, "split": split, "pack": pack, "shorter_side": shorter_side
        },
        inputs={"annotations": storage.sha256_file(coco.path), "listing": digest_of_files(records)},
        labels=coco.labels.values(),
        max_rejected=max_rejected,
        workers=workers,
    )  # fmt: skip


def parts_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The lists `images`, `annotations` and `categories` of a COCO-like JSON, without segments.

    Raises:
        MissingInput: no such file.
        Damaged: not JSON.
        BadInput: one of the lists is not there.
    """
    if not path.is_file():
        raise MissingInput(f"annotations {path} do not exist. Check the path.")
    try:
        content = json.loads(path.read_bytes(), object_hook=_without_segment)
    except ValueError as error:
        raise Damaged(f"{path} is not readable JSON ({error}). Get it again.") from error
    return {part: _part(content, part, path) for part in ("images", "annotations", "categories")}


def _without_segment(item: dict[str, Any]) -> dict[str, Any]:
    """Nine tenths of the memory go, while the file is read."""
    item.pop("segmentation", None)
    return item


def _part(content: Any, part: str, path: Path) -> list[dict[str, Any]]:
    value = content.get(part) if isinstance(content, dict) else None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadInput(f"{path} has no list of {part}. Give an instances file in the COCO layout.")
    return value


def by_id(items: Sequence[dict[str, Any]], what: str, path: Path) -> dict[int, dict[str, Any]]:
    """Items by their number.

    Raises:
        BadInput: an item without a number, or two with the same.
    """
    found: dict[int, dict[str, Any]] = {}
    for item in items:
        number = item.get("id")
        if not isinstance(number, int):
            raise BadInput(
                f"{path}: the {what} {item.get('file_name') or item.get('name')!r} has no whole number as id."
            )
        if number in found:
            raise BadInput(f"{path}: the {what} id {number} is there twice. Remove one.")
        found[number] = item
    return found
