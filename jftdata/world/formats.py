"""The detection sets on disk: COCO instances and person keypoints, and the PASCAL VOC 2012 layout."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from jftdata.world.copies import scene
from jftdata.world.kinds import kinds
from jftdata.world.kinds.people import KEYPOINTS, SKELETON
from jftdata.world.leaves import CLEAN_ONLY
from jftdata.world.scene import Scene, SceneObject, Stream

Row = dict[str, Any]
Rows = Callable[[Callable[..., list[Row]], Stream, int], Iterator[Row]]
MIN_AREA = 12  # visible pixels; anything smaller is left out of the annotations
# the 20 labels of the VOC layout in the order of their numbers 1..20, and their kinds; other kinds are background
VOC: dict[str, tuple[str, ...]] = {
    "aircraft": ("aeroplane", "helicopter"),
    "ball": ("ball",),
    "balloon": ("hot-air balloon",),
    "bird": ("bird", "owl", "penguin", "duck"),
    "boat": ("sailing boat", "ship"),
    "bottle": ("bottle",),
    "building": ("house", "castle", "lighthouse", "windmill", "tent"),
    "bus": ("bus",),
    "car": ("car",),
    "cat": ("cat",),
    "chair": ("chair",),
    "cup": ("mug", "bucket", "teapot"),
    "dog": ("dog",),
    "fish": ("fish", "shark"),
    "flower": ("flower", "tulip"),
    "fruit": ("apple", "pear", "tomato", "banana", "cherries", "strawberry"),
    "horse": ("horse", "zebra"),
    "insect": ("butterfly", "ladybird", "bee"),
    "person": ("person",),
    "tree": ("broadleaf tree", "fir", "palm"),
}


def write_detection(folder: Path, rows: Rows, *, num_images: int, size: int) -> dict[str, int]:
    """Both layouts of the same images; four in five are for training. Returns how many images and objects there are.

    COCO segmentations are uncompressed run lengths, column by column, as the format describes for masks. Both layouts
    hold the same JPEG bytes. Of the images for training, VOC's own split puts the last fifth into "val".
    """
    num_test = max(1, num_images // 5) if num_images > 1 else 0
    voc = folder / "voc" / "VOC2012"
    parts = ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation")
    for made in (folder / "images", folder / "annotations", *(voc / name for name in parts)):
        made.mkdir(parents=True)
    (voc / "classes.txt").write_text("".join(f"{name}\n" for name in VOC), encoding="utf-8")
    facts = {"detection_images": num_images, "detection_objects": 0}
    names: dict[str, list[str]] = {}
    streams: tuple[tuple[Stream, str, int], ...] = (
        ("detection-train", "train", num_images - num_test),
        ("detection-test", "test", num_test),
    )
    for stream, split, num in streams:
        coco = Coco()
        names[split] = []
        for row in rows(make_rows, stream, num):
            name = row["name"]
            (folder / "images" / f"{name}.jpg").write_bytes(row["jpeg"])
            (voc / "JPEGImages" / f"{name}.jpg").write_bytes(row["jpeg"])
            (voc / "Annotations" / f"{name}.xml").write_text(row["xml"], encoding="utf-8")
            (voc / "SegmentationClass" / f"{name}.png").write_bytes(row["png"])
            coco.add(row["coco"], name=name, size=size)
            names[split].append(name)
        coco.write(folder / "annotations", split)
        facts["detection_objects"] += len(coco.objects)
    cut = len(names["train"]) * 4 // 5
    lists = {
        "train": names["train"][:cut],
        "val": names["train"][cut:],
        "trainval": names["train"],
        "test": names["test"],
    }
    for subset in ("Main", "Segmentation"):
        for split, chosen in lists.items():
            path = voc / "ImageSets" / subset / f"{split}.txt"
            path.write_text("".join(f"{name}\n" for name in chosen), encoding="utf-8")
    return facts


def make_rows(seed: int, stream: Stream, start: int, stop: int, *, size: int, quality: int) -> list[Row]:
    """Images start..stop of a detection stream with their annotations; runs in worker processes."""
    out = []
    for index in range(start, stop):
        drawn = scene(seed, index, size=size, stream=stream)
        name = f"{stream.removeprefix('detection-')}_{index:06d}"
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(drawn.image), quality=quality)
        objects = [t for t in drawn.objects if t.mask.sum() >= MIN_AREA and t.visible_share >= 0.1]
        coco = [_coco_object(thing) for thing in objects]
        out.append(
            {"name": name, "jpeg": jpeg, "coco": coco, "xml": _xml(name, objects, size), "png": _png(drawn, objects)}
        )
    return out


def categories() -> dict[str, int]:
    """COCO category numbers by base kind, from 1.

    >>> categories()["person"]
    1
    """
    return {name: i for i, name in enumerate((k for k in kinds() if k not in CLEAN_ONLY), start=1)}


class Coco:
    """Collects the annotations of one split."""

    def __init__(self) -> None:
        self.images: list[Row] = []
        self.objects: list[Row] = []
        self.people: list[Row] = []

    def add(self, objects: list[Row], *, name: str, size: int) -> None:
        """One image and its objects; numbers them."""
        image = len(self.images) + 1
        self.images.append({"id": image, "file_name": f"{name}.jpg", "width": size, "height": size})
        for thing in objects:
            entry = {"id": len(self.objects) + 1, "image_id": image, **thing}
            points = entry.pop("keypoints")
            self.objects.append(entry)
            if points is not None:
                num = sum(v > 0 for v in points[2::3])
                self.people.append({**entry, "keypoints": points, "num_keypoints": num})

    def write(self, folder: Path, split: str) -> None:
        """instances_<split>.json and person_keypoints_<split>.json."""
        kinds_of = [{"id": number, "name": name, "supercategory": ""} for name, number in categories().items()]
        body = {"keypoints": list(KEYPOINTS), "skeleton": [list(pair) for pair in SKELETON]}
        info = {"description": "jftdata world", "version": "1"}
        for name, objects, kind in (
            ("instances", self.objects, kinds_of),
            ("person_keypoints", self.people, [{**kinds_of[0], "supercategory": "person", **body}]),
        ):
            whole = {"info": info, "licenses": [], "images": self.images, "annotations": objects, "categories": kind}
            (folder / f"{name}_{split}.json").write_text(json.dumps(whole), encoding="utf-8")


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths of a (H, W) mask, column by column, starting with zeros.

    >>> run_lengths(np.array([[False, True], [True, True]]))
    [1, 3]
    """
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return [0, *runs] if flat[0] else [int(run) for run in runs]


def _coco_object(thing: SceneObject) -> Row:
    x0, y0, x1, y1 = thing.box
    points = None
    if thing.keypoints is not None:
        points = [int(v) if i % 3 == 2 else round(float(v), 2) for i, v in enumerate(thing.keypoints.ravel().tolist())]
    return {
        "category_id": categories()[thing.kind],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(thing.mask.sum()),
        "iscrowd": 0,
        "segmentation": {"counts": run_lengths(thing.mask), "size": list(thing.mask.shape)},
        "keypoints": points,
    }


def _xml(name: str, objects: list[SceneObject], size: int) -> str:
    merged = {kind: label for label, parts in VOC.items() for kind in parts}
    lines = [
        "<annotation>",
        "<folder>VOC2012</folder>",
        f"<filename>{escape(name)}.jpg</filename>",
        "<source><database>jftdata world</database></source>",
        f"<size><width>{size}</width><height>{size}</height><depth>3</depth></size>",
        "<segmented>1</segmented>",
    ]
    for thing in objects:
        if thing.kind not in merged:
            continue
        x0, y0, x1, y1 = (int(v) for v in thing.box)
        cut = int(x0 == 0 or y0 == 0 or x1 == size or y1 == size)
        hard = int(thing.visible_share < 0.35)
        lines += [
            "<object>",
            f"<name>{merged[thing.kind]}</name>",
            "<pose>Unspecified</pose>",
            f"<truncated>{cut}</truncated>",
            f"<difficult>{hard}</difficult>",
            f"<bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>",
            "</object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])


def _png(drawn: Scene, objects: list[SceneObject]) -> bytes:
    """A palette PNG of label numbers, 0 background, 255 on the border of every object."""
    numbers = {kind: i for i, parts in enumerate(VOC.values(), start=1) for kind in parts}
    out = np.zeros(drawn.image.shape[:2], dtype=np.uint8)
    border = np.zeros(out.shape, dtype=bool)
    for thing in objects:
        if thing.kind not in numbers:
            continue
        out[thing.mask] = numbers[thing.kind]
        mask = Image.fromarray(thing.mask.astype(np.uint8) * 255)
        wide, thin = (np.asarray(mask.filter(f(3))) > 0 for f in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
        border |= wide & ~thin
    out[border] = 255
    image = Image.fromarray(out)
    image.putpalette(voc_palette())  # makes it a palette image of the same numbers
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def voc_palette() -> list[int]:
    """The palette of the VOC development kit: the bits of a label's number, dealt out to red, green and blue."""
    out = []
    for number in range(256):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit) if 3 * bit + channel < 8 else 0
        out += rgb
    return out
