"""Small sets with boxes, keypoints and masks, written as their layouts say."""

import contextlib
import copy
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from jftdata import pretrain, recipes, sources, subset, world
from jftdata.checkpoint import Checkpoint
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.ragged import ranges
from jftdata.transfer.annotations.core import Annotated, Objects
from tests.strategies import picture

POINTS = ["nose", "left_hand", "right_hand"]


def put_image(path: Path, seed: int, *, width: int = 40, height: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(picture(seed, width=width, height=height)))


def coco_json(split: str = "train") -> dict[str, Any]:
    """Three images of 40x24 pixels, the last one without objects; a crowd; two categories, of which one has keypoints."""
    first = {"train": 1, "test": 11}[split]
    objects = [
        (first + 1, 7, [4, 2, 10, 8], 0, [5, 3, 2, 6, 4, 1, 0, 0, 0]),
        (first, 3, [0, 0, 40, 24], 1, [0] * 9),
        (first, 7, [1.5, 2.25, 3, 4], 0, [2, 3, 2, 0, 0, 0, 4, 5, 2]),
    ]
    return {
        "images": [
            {"id": first + i, "file_name": f"{split}{i}.jpg", "width": 40, "height": 24} for i in (2, 0, 1)
        ],
        "annotations": [
            {"id": 90 - i, "image_id": image, "category_id": category, "bbox": box, "area": 5.5 + i, "iscrowd": crowd,
             "segmentation": [[1, 2, 3, 4, 5, 6]], "keypoints": points, "num_keypoints": 2}
            for i, (image, category, box, crowd, points) in enumerate(objects)
        ],
        "categories": [
            {"id": 7, "name": "cup", "keypoints": POINTS, "skeleton": [[1, 2], [1, 3]]},
            {"id": 3, "name": "bus", "keypoints": POINTS, "skeleton": [[1, 2], [1, 3]]},
        ],
    }  # fmt: skip


def write_coco(
    folder: Path, change: Callable[[dict[str, Any]], Any] = lambda _: None, *, kind: str = "instances", images: str = "images"
) -> Path:  # fmt: skip
    """Both splits; `change` is applied to the one for training."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        content = copy.deepcopy(coco_json(split))
        for i in range(3):
            put_image(folder / images.format(split) / f"{split}{i}.jpg", i if split == "train" else 10 + i)
        if split == "train":
            change(content)
        (folder / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(content))
    return folder


def write_world(folder: Path, *, num_images: int) -> Path:
    """A world of nothing but detection images."""
    nothing = {"num_eval": 0, "num_clean_train": 0, "num_clean_test": 0}
    made = world.write(folder / "world", num_images=1, seed=3, num_detection=num_images, workers=1, **nothing)
    return Path(made.folder)


def same_as_pycocotools(path: Path, split: Annotated) -> None:
    """Compare a split with what pycocotools loads from its JSON."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
    objects = split.objects
    assert split.number.tolist() == sorted(truth.getImgIds())
    assert split.class_number.tolist() == sorted(truth.getCatIds())
    assert list(split.classes) == [category["name"] for category in truth.loadCats(split.class_number.tolist())]
    for row, number in enumerate(split.number.tolist()):
        image = truth.loadImgs([number])[0]
        assert split.path[row].endswith(f"/{image['file_name']}")
        assert (split.width[row], split.height[row]) == (image["width"], image["height"])
        given = sorted(truth.loadAnns(truth.getAnnIds(imgIds=[number])), key=lambda a: a["id"])
        at = objects.of(row)
        assert objects.id[at].tolist() == [a["id"] for a in given]
        boxes = np.array([a["bbox"] for a in given], np.float64).reshape(-1, 4)
        assert np.array_equal(objects.box[at][:, :2], boxes[:, :2])
        assert np.allclose(objects.box[at][:, 2:] - objects.box[at][:, :2], boxes[:, 2:], atol=1e-9)
        assert objects.area[at].tolist() == [a["area"] for a in given]
        assert objects.crowd[at].tolist() == [bool(a["iscrowd"]) for a in given]
        assert split.class_number[objects.label[at]].tolist() == [a["category_id"] for a in given]
        if objects.keypoints is not None:
            points = np.array([a["keypoints"] for a in given], np.float32).reshape(-1, len(split.skeleton.names), 3)
            assert np.array_equal(objects.keypoints[at], points)


def fresh_checkpoint(folder: Path) -> Checkpoint:
    """A network with fresh weights for 32 pixels and the labels of a written world, made beside it."""
    tree = Hierarchy.load("world")
    catalog = sources.from_hub(
        folder / "train.parquet", label="labels", hierarchy=tree, out=folder.parent / "catalog", workers=1
    )
    recipe = recipes.tiny(total_epochs=0.0, image_size=32)
    return pretrain.run(subset.everything(catalog), recipe, out=folder.parent / "run")


def some(split: Annotated, rows: NDArray[np.int64]) -> Annotated:
    """Some images of a split with what is on them, in ascending order."""
    objects = split.objects
    assert objects is not None
    num = np.diff(objects.start)[rows]
    at = ranges(objects.start[rows], num)
    per_object = {name: getattr(objects, name)[at] for name in ("box", "label", "area", "crowd", "difficult", "id")}
    per_image = {name: getattr(split, name)[rows] for name in ("image", "width", "height", "number")}
    keypoints = None if objects.keypoints is None else objects.keypoints[at]
    return dataclasses.replace(
        split, path=[split.path[row] for row in rows], **per_image,
        objects=Objects(np.concatenate([[0], np.cumsum(num)]), **per_object, keypoints=keypoints),
    )  # fmt: skip
