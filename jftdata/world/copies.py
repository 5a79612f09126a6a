"""Planted near-duplicates: which images are transformed copies of which, and the transformations.

Of the noisy images 3% are near-duplicates of an earlier one and 0.3% are byte-identical; of the evaluation and clean
test images about 3% are near-duplicates of one of the first 1000 noisy images. Two copies of one original are alike
too, at times to the byte. The rates are ours.
"""

import functools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from jftdata.errors import BadArgument
from jftdata.world.clean import clean_label_of_kind, clean_labels
from jftdata.world.dice import Dice, dice
from jftdata.world.kinds.people import MIRROR
from jftdata.world.scene import MIN_SIZE, Scene, SceneObject, Stream, check_size, check_stream, draw, plan

CopyKind = Literal["identical", "recompressed", "resized", "cropped", "recoloured", "flipped", "text"]
NEAR: tuple[CopyKind, ...] = ("recompressed", "resized", "cropped", "recoloured", "flipped", "text")
NEAR_SHARE, IDENTICAL_SHARE = 0.03, 0.003
MAX_TEST_SHARE = 0.06  # no clean label has more copies, however few labels have an original
REACH = 1000  # test images copy from the first so many noisy images
WORDS = ("SALE", "HELLO", "copy", "photo", "2016", "(c) me", "WOW", "no. 7")


@dataclass(frozen=True)
class Copy:
    """Image `original` of the stream "main" is what this image is a copy of."""

    original: int
    kind: CopyKind


def copy_of(seed: int, index: int, *, stream: Stream = "main") -> Copy | None:
    """Which image of the stream "main" this one is a copy of, or None; 10 microseconds.

    >>> [i for i in range(200) if copy_of(0, i) is not None] == [i for i in range(200) if copy_of(0, i) is not None]
    True
    """
    if stream not in ("main", "eval", "clean-test"):
        return None
    rng = dice(seed, f"{stream}/copy", index)
    roll = rng.random()
    if stream == "main":
        if roll >= NEAR_SHARE + IDENTICAL_SHARE or index == 0:
            return None
        kind: CopyKind = rng.choice(NEAR) if roll < NEAR_SHARE else "identical"
        for _ in range(8):
            original = int(rng.random() * index)
            if copy_of(seed, original) is None:
                return Copy(original, kind)
        return None
    if roll >= MAX_TEST_SHARE:
        return None
    kind = rng.choice(NEAR)
    originals, labels = _originals(seed), [entry.label for entry in clean_labels()]
    found, share = originals[""], NEAR_SHARE
    if stream == "clean-test":
        # the labels that have an original make up for those that have none
        covered = sum(label in originals for label in labels)
        found, share = originals.get(labels[index % len(labels)], ()), NEAR_SHARE * len(labels) / max(1, covered)
    if roll >= share or not found:
        return None
    return Copy(found[int(rng.random() ** 2 * len(found))], kind)


@functools.lru_cache(maxsize=4)
def _originals(seed: int) -> dict[str, tuple[int, ...]]:
    """Which of the first noisy images can be copied as which clean label, and under "" all that are no copies."""
    out: dict[str, list[int]] = {"": []}
    for index in range(REACH):
        if copy_of(seed, index) is not None:
            continue
        out[""].append(index)
        things = plan(seed, index, stream="main")
        label = clean_label_of_kind().get(things[-1].leaf.kind)
        if label is not None and len(things) <= 2:
            out.setdefault(label, []).append(index)
    return {label: tuple(found) for label, found in out.items()}


def scene(seed: int, index: int, *, size: int = 64, stream: Stream = "main") -> Scene:
    """One image with its truth, the same for ever for (seed, stream, index, size).

    Args:
        seed: the seed of the world.
        index: which image, from 0; an image depends on no other unless it is a planted copy of it.
        size: pixels a side, 32 to 340. A planted copy of kind "resized" has another size.
        stream: which of the world's sets: main, eval, clean-train, clean-test, detection-train, detection-test.

    Raises:
        BadArgument: size or stream or index is out of range.

    >>> one = scene(7, 3)
    >>> one.image.shape, one.image.dtype
    ((64, 64, 3), dtype('uint8'))
    >>> bool((one.image == scene(7, 3).image).all())
    True
    """
    check_size(size)
    check_stream(stream)
    if index < 0:
        raise BadArgument(f"`index` must not be negative. Got {index}.")
    copied = copy_of(seed, index, stream=stream)
    if copied is None:
        return draw(seed, index, size=size, stream=stream)
    original = draw(seed, copied.original, size=size, stream="main")
    return transform(original, copied.kind, dice(seed, f"{stream}/transform", index))


def transform(original: Scene, kind: CopyKind, rng: Dice) -> Scene:
    """The scene as a near-duplicate of the given kind, its masks, boxes and keypoints moved with it."""
    image = Image.fromarray(original.image)
    width, height = image.size
    if kind == "identical":
        return original
    if kind == "recompressed":
        data = simplejpeg.encode_jpeg(original.image, quality=rng.randint(18, 45))
        return replace(original, image=simplejpeg.decode_jpeg(data))
    if kind == "recoloured":
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.75, 1.3))
        image = ImageEnhance.Color(image).enhance(rng.uniform(0.3, 1.7))
        cast = np.array([rng.uniform(0.85, 1.15) for _ in range(3)])
        return replace(original, image=np.clip(np.asarray(image) * cast, 0, 255).astype(np.uint8))
    if kind == "text":
        big = max(9, round(height * rng.uniform(0.13, 0.22)))
        at = (width * rng.uniform(0.02, 0.4), height * rng.choice((0.04, 0.75)))
        font, colour = ImageFont.load_default(big), rng.choice(("white", "yellow", "black"))
        ImageDraw.Draw(image).text(at, rng.choice(WORDS), fill=colour, font=font)
        return replace(original, image=np.asarray(image))
    if kind == "flipped":
        return _moved(original, (width, 0.0, -1.0, 1.0), (width, height))
    if kind == "resized":
        share = rng.uniform(0.6, 0.9)
        if min(width, height) * share < MIN_SIZE:
            share = rng.uniform(1.1, 1.5)
        return _moved(original, (0.0, 0.0, share, share), (round(width * share), round(height * share)))
    share = rng.uniform(0.8, 0.93)
    x, y = width * (1 - share) * rng.random(), height * (1 - share) * rng.random()
    return _moved(original, (-x / share, -y / share, 1 / share, 1 / share), (width, height))


def _moved(original: Scene, move: tuple[float, float, float, float], size: tuple[int, int]) -> Scene:
    """The scene under x' = dx + sx * x, y' = dy + sy * y, on an image of another size."""
    dx, dy, sx, sy = move
    data = (1 / sx, 0.0, -dx / sx, 0.0, 1 / sy, -dy / sy)
    shrunk = Image.fromarray(original.image)
    if abs(sx) < 1:
        image = shrunk.resize(size, Image.Resampling.BILINEAR)
    else:
        image = shrunk.transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    objects = []
    for thing in original.objects:
        moved = Image.fromarray(thing.mask.astype(np.uint8) * 255).transform(size, Image.Transform.AFFINE, data)
        mask = np.asarray(moved) > 127
        points = None if thing.keypoints is None else _move_points(thing.keypoints, move, size)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (0.0, 0.0, 0.0, 0.0)
        if len(rows):
            box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        objects.append(SceneObject(thing.label, thing.kind, box, mask, points, thing.visible_share))
    return Scene(np.asarray(image), tuple(objects))


def _move_points(
    points: NDArray[np.float32], move: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.float32]:
    dx, dy, sx, sy = move
    out = points.copy()
    out[:, 0], out[:, 1] = dx + sx * points[:, 0], dy + sy * points[:, 1]
    if sx < 0:
        out = out[list(MIRROR)]
    inside = (out[:, 0] >= 0) & (out[:, 0] < size[0]) & (out[:, 1] >= 0) & (out[:, 1] < size[1]) & (out[:, 2] > 0)
    out[~inside] = 0
    return out
