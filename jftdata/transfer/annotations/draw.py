"""Boxes, masks and skeletons over images, and truth beside prediction on one sheet.

A class has the same colour in every picture of every set: colours are picked one after another, each as far as can be in
CIELAB from those before it. Small images are enlarged before anything is drawn, so that lines and names stay clear.
Cost: 3 ms a picture of 640x480 pixels with boxes, 40 ms with a mask of two classes.
"""

import functools
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from jftdata import storage
from jftdata.errors import BadArgument
from jftdata.images import resize
from jftdata.transfer.annotations.core import Skeleton

LEAST_SIDE = 480
"""A picture whose longer side is shorter is enlarged by the smallest whole number that helps."""

_OPACITY = 0.55
_LEAST_REGION = 0.002  # share of the picture that a class needs to be named
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_SIDES = {"left": 1, "right": 0}
_SKELETON = ((255, 64, 64), (64, 128, 255), (255, 216, 0))  # of the right, the left, and what is on neither
_GAP = 8

Colour = tuple[int, int, int]
_Rectangle = tuple[float, float, float, float]


@functools.cache
def colours() -> tuple[Colour, ...]:
    """256 colours that are told apart on a photograph: neither near black nor white nor grey.

    >>> colours()[:2], len(set(colours()))
    (((255, 0, 0), (34, 34, 255)), 256)
    """
    levels = np.linspace(0, 255, 16).round()
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _lab(rgb)
    strong = (lab[:, 0] > 35) & (lab[:, 0] < 92) & (np.hypot(lab[:, 1], lab[:, 2]) > 45)
    rgb, lab = rgb[strong], lab[strong]
    first = int(np.flatnonzero((rgb == (255, 0, 0)).all(1))[0])
    picked, distance = [first], np.full(len(lab), np.inf)
    while len(picked) < 256:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[picked[-1]], axis=1))
        picked.append(int(distance.argmax()))
    return tuple((int(r), int(g), int(b)) for r, g, b in rgb[picked])


def _lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3) CIELAB of sRGB 0..255 under D65 (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb <= 0.04045 * 255, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x = linear @ to_xyz.T / (0.9505, 1.0, 1.089)
    f = np.where(x > (6 / 29) ** 3, np.cbrt(x), x / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def boxes(
    pixels: NDArray[np.uint8], box: NDArray[Any], label: NDArray[Any], classes: Sequence[str], *,
    score: NDArray[Any] | None = None, crowd: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """An image with boxes and the names of their classes.

    Args:
        pixels: (H, W, 3) uint8.
        box: (k, 4) x0, y0, x1, y1 in pixels of the image.
        label: (k,) index of the class.
        classes: names.
        score: (k,) in 0..1, written behind the name as a percentage; the surest lie on top.
        crowd: (k,) boxes around many, with dashed lines.

    Returns:
        (H', W', 3) uint8, enlarged if small. Where names would cover each other, a class that has been named is left unnamed.
    """
    canvas, scale = _enlarged(pixels)
    pen = ImageDraw.Draw(canvas)
    width, font = _line(canvas), _font(canvas)
    extent = box[:, 2:] - box[:, :2]
    order = np.argsort(extent.prod(1), kind="stable")[::-1] if score is None else np.argsort(score, kind="stable")
    corners = {int(i): tuple(float(v) * scale for v in box[i]) for i in order}
    for i, (x0, y0, x1, y1) in corners.items():
        around = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
        dashed = crowd is not None and bool(crowd[i])
        _outline(pen, around, colours()[int(label[i]) % 256], width, dashed=dashed)
    taken: list[_Rectangle] = []
    named = set()
    for i, (x0, y0, x1, y1) in reversed(corners.items()):  # the one on top is the first to choose its place
        name = classes[int(label[i])] + ("" if score is None else f" {100 * float(score[i]):.0f}")
        wide, high = _text_size(pen, name, font)
        places = [(x0, y0 - high), (x0, y1), (x0, y0), (x1 - wide, y0 - high), (x1 - wide, y0), (x0, y1 - high)]
        must = int(label[i]) not in named
        _tag(pen, name, places, font, colours()[int(label[i]) % 256], canvas.size, taken, must=must)
        named.add(int(label[i]))
    return np.asarray(canvas)


def mask(
    pixels: NDArray[np.uint8], labels: NDArray[np.uint8], classes: Sequence[str], *, ignore: int | None = 255,
    background: int | None = 0,
) -> NDArray[np.uint8]:  # fmt: skip
    """An image under the colours of its pixels' classes, each named where it is thickest.

    Args:
        pixels: (H, W, 3) uint8.
        labels: (H, W) index of the class.
        classes: names.
        ignore: value of pixels that do not count, drawn in white; None is none.
        background: a class that is neither coloured nor named; None is none.

    Returns:
        (H', W', 3) uint8, enlarged if small.

    Raises:
        BadArgument: labels of another size.
    """
    if labels.shape != pixels.shape[:2]:
        raise BadArgument(f"`labels` has the shape {labels.shape}, the image {pixels.shape[:2]}. Resize it.")
    canvas, scale = _enlarged(pixels)
    whole = labels.repeat(scale, 0).repeat(scale, 1)
    shown = np.ones(whole.shape, np.bool_) if background is None else whole != background
    palette = np.full((256, 3), 255.0)
    palette[: len(classes)] = colours()[: len(classes)]
    mixed = np.asarray(canvas).astype(np.float64)
    mixed[shown] += _OPACITY * (palette[whole[shown]] - mixed[shown])
    edge = np.zeros(whole.shape, np.bool_)
    edge[:-1] |= whole[:-1] != whole[1:]
    edge[:, :-1] |= whole[:, :-1] != whole[:, 1:]
    mixed[edge] = 255
    canvas = Image.fromarray(mixed.round().astype(np.uint8))
    pen, font, taken = ImageDraw.Draw(canvas), _font(canvas), list[_Rectangle]()
    counts = np.bincount(labels.ravel(), minlength=256)
    for index in np.argsort(-counts, kind="stable").tolist():
        if index in (ignore, background) or index >= len(classes) or counts[index] < _LEAST_REGION * labels.size:
            continue
        x, y = (scale * (v + 0.5) for v in _thickest(labels == index))
        wide, high = _text_size(pen, classes[index], font)
        places = [(x - wide / 2, y + shift * high - high / 2) for shift in (0, 1, -1, 2, -2)]
        _tag(pen, classes[index], places, font, colours()[index], canvas.size, taken, must=True)
    return np.asarray(canvas)


def _thickest(region: NDArray[np.bool_]) -> tuple[int, int]:
    """x, y of the pixel that is farthest from what is outside; the picture's edge counts as outside."""
    depth = distance_transform_edt(np.pad(region, 1))
    y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return int(x) - 1, int(y) - 1


def skeleton(
    pixels: NDArray[np.uint8], keypoints: NDArray[Any], shape: Skeleton, *, least: float = 0.0
) -> NDArray[np.uint8]:
    """An image with people: red on their right, blue on their left, yellow between; a ring where a keypoint is hidden.

    Args:
        pixels: (H, W, 3) uint8.
        keypoints: (k, K, 3) x, y in pixels of the image, and 0 not labelled, 1 hidden, 2 visible, or how sure of it.
        shape: names and lines.
        least: keypoints with no more than this as third value are left out.

    Returns:
        (H', W', 3) uint8, enlarged if small.
    """
    canvas, scale = _enlarged(pixels)
    pen = ImageDraw.Draw(canvas)
    sides = [next((at for side, at in _SIDES.items() if side in name), 2) for name in shape.names]
    for person in keypoints:
        place = [(float(x) * scale, float(y) * scale) for x, y, _ in person]
        there = person[:, 2] > least
        if not there.any():
            continue
        tall = float(np.ptp(person[there, :2], 0).max()) * scale
        width = int(np.clip(tall / 40, 2, _line(canvas)))
        lines = [
            (a, b, _SKELETON[sides[a] if sides[a] == sides[b] else 2]) for a, b in shape.edges if there[a] and there[b]
        ]
        for dark in (True, False):
            for a, b, colour in lines:
                pen.line([place[a], place[b]], fill=_BLACK if dark else colour, width=width + 2 * dark)
        for k in np.flatnonzero(there):
            (x, y), radius, colour = place[k], 0.5 + width, _SKELETON[sides[k]]
            inside, ring = (_WHITE, colour) if person[k, 2] == 1 else (colour, _BLACK)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=inside, outline=ring)
    return np.asarray(canvas)


def sheet(
    rows: Iterable[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]], *, out: Path | str, title: str, side: int = 480,
    num_columns: int = 2,
) -> Path:  # fmt: skip
    """Write a PNG of truth beside prediction.

    Args:
        rows: name, truth and prediction of each image, as drawn by the functions above; one is held at a time.
        out: a .png, written whole or not at all.
        title: a line above all.
        side: pixels of the longer side of each picture.
        num_columns: pairs beside each other.

    Returns:
        The path.

    Raises:
        BadArgument: another ending; no rows.
    """
    out = Path(out)
    if out.suffix != ".png":
        raise BadArgument(f"`out` must end in .png. Got {out}.")
    pairs = [(name, (_fitted(truth, side), _fitted(found, side))) for name, truth, found in rows]
    if not pairs:
        raise BadArgument("there is no row to draw. Give at least one.")
    num_columns = min(num_columns, len(pairs))
    line, large, small = 24, ImageFont.load_default(18), ImageFont.load_default(14)
    lines = [pairs[i : i + num_columns] for i in range(0, len(pairs), num_columns)]
    heights = [max(picture.height for _, two in some for picture in two) for some in lines]
    wide = 2 * side + 3 * _GAP
    whole = Image.new("RGB", (num_columns * wide, 2 * line + sum(heights) + len(lines) * (line + _GAP)), "white")
    pen = ImageDraw.Draw(whole)
    pen.text((_GAP, _GAP), _cut(pen, title, large, whole.width - 2 * _GAP), fill="black", font=large)
    top = 2 * line
    for some, high in zip(lines, heights, strict=True):
        for i, (name, two) in enumerate(some):
            for j, (picture, what) in enumerate(zip(two, (f"{name}: truth", "prediction"), strict=True)):
                left = i * wide + _GAP + j * (side + _GAP)
                pen.text((left, top), _cut(pen, what, small, side), fill=(90, 90, 90), font=small)
                whole.paste(picture, (left, top + line - 4))
        top += high + line + _GAP
    with storage.atomic_path(out) as temp:
        whole.save(temp, "PNG")
    return out


def _fitted(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    scale = side / max(pixels.shape[:2])
    size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]
    return Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _enlarged(pixels: NDArray[np.uint8]) -> tuple[Image.Image, int]:
    """The image to draw on, and by how much it is enlarged."""
    scale = max(1, -(-LEAST_SIDE // max(pixels.shape[:2])))
    height, width = pixels.shape[:2]
    return Image.fromarray(resize(pixels, width=width * scale, height=height * scale).copy()), scale


def _line(canvas: Image.Image) -> int:
    return max(2, round(max(canvas.size) / 240))


def _font(canvas: Image.Image) -> Any:
    return ImageFont.load_default(max(12, round(max(canvas.size) / 44)))


def _outline(pen: ImageDraw.ImageDraw, box: _Rectangle, colour: Colour, width: int, *, dashed: bool) -> None:
    """A coloured rectangle in a thin dark one, so that it shows on any ground."""
    x0, y0, x1, y1 = box
    if not dashed:
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_BLACK)
        pen.rectangle(box, outline=colour, width=width)
        return
    step = 3 * width
    for x in np.arange(x0, x1, 2 * step):
        for y in (y0, y1):
            pen.line([(x, y), (min(x + step, x1), y)], fill=colour, width=width)
    for y in np.arange(y0, y1, 2 * step):
        for x in (x0, x1):
            pen.line([(x, y), (x, min(y + step, y1))], fill=colour, width=width)


def _text_size(pen: ImageDraw.ImageDraw, text: str, font: Any) -> tuple[float, float]:
    return pen.textlength(text, font=font) + 0.5 * font.size, 1.25 * font.size


def _tag(
    pen: ImageDraw.ImageDraw, text: str, places: Sequence[tuple[float, float]], font: Any, colour: Colour,
    size: tuple[int, int], taken: list[_Rectangle], *, must: bool,
) -> None:  # fmt: skip
    """A name on its colour, at the first place that is free, moved inside the picture; where none is, the first if it must."""
    text = _cut(pen, text, font, size[0] - 0.5 * font.size)
    wide, high = _text_size(pen, text, font)
    inside = []
    for x, y in places:
        left, top = max(0.0, min(x, size[0] - wide)), max(0.0, min(y, size[1] - high))
        inside.append((left, top, left + wide, top + high))
    rectangle = next((r for r in inside if not any(_meet(r, other) for other in taken)), inside[0] if must else None)
    if rectangle is None:
        return
    taken.append(rectangle)
    pen.rectangle(rectangle, fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    fill = _BLACK if bright > 140 else _WHITE
    pen.text((rectangle[0] + 0.25 * font.size, rectangle[1]), text, fill=fill, font=font)


def _meet(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _cut(pen: ImageDraw.ImageDraw, text: str, font: Any, width: float) -> str:
    if pen.textlength(text, font=font) <= width:
        return text
    too_long = bisect_right(range(len(text)), width, key=lambda k: pen.textlength(f"{text[:k]}…", font=font))
    return f"{text[: max(1, too_long - 1)]}…"
