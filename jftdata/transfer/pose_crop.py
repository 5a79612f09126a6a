"""The picture of one person: a box brought to one shape and cut out at a fixed size, and the way back to the image.

Places are in pixels from the upper left corner, so that the centre of the first pixel is (0.5, 0.5). What lies outside the image is
grey. Cost: 1.4 ms a picture of 353x257, beside decoding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jftdata.pretrain.augment import GREY

_LEAST = 1.0
"""Pixels of the image a side of a box has at least."""


@dataclass(frozen=True)
class Window:
    """A piece of an image and the size it is shown at."""

    left: float
    """Of the piece, in the image; may lie outside."""
    top: float
    scale: float
    """Pixels of the image to one of the picture, on both axes."""
    height: int
    """Of the picture."""
    width: int
    mirrored: bool = False

    def to_picture(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 2) x, y in the image to x, y in the picture.

        >>> around((0, 0, 10, 20), height=40, width=20, mirrored=True).to_picture(np.array([1.0, 3.0])).tolist()
        [18.0, 6.0]
        """
        found = (points - (self.left, self.top)) / self.scale
        if self.mirrored:
            found[..., 0] = self.width - found[..., 0]
        return found

    def to_image(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 2) x, y in the picture to x, y in the image."""
        there = np.array(points, np.float64)
        if self.mirrored:
            there[..., 0] = self.width - there[..., 0]
        return there * self.scale + (self.left, self.top)

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture, sampled once with antialiasing (Pillow, bilinear).

        Args:
            pixels: (H, W, 3) of the image.

        Returns:
            (height, width, 3).
        """
        out = np.full((self.height, self.width, 3), GREY, np.uint8)
        rows = _Span.of(self.top, self.scale, self.height, pixels.shape[0])
        columns = _Span.of(self.left, self.scale, self.width, pixels.shape[1])
        if rows.last > rows.first and columns.last > columns.first:
            there = np.full((rows.size, columns.size, 3), GREY, np.uint8)
            inside = pixels[rows.begin : rows.end, columns.begin : columns.end]
            there[rows.pad :, columns.pad :][: inside.shape[0], : inside.shape[1]] = inside
            size = (columns.last - columns.first, rows.last - rows.first)
            box = (columns.box[0], rows.box[0], columns.box[1], rows.box[1])
            part = Image.fromarray(there).resize(size, Image.Resampling.BILINEAR, box=box)
            out[rows.first : rows.last, columns.first : columns.last] = np.asarray(part)
        return np.ascontiguousarray(out[:, ::-1]) if self.mirrored else out


def around(
    box: Sequence[float] | NDArray[np.float64], *, height: int, width: int, enlarge: float = 1.0, mirrored: bool = False
) -> Window:
    """The window around a box: the box made higher or wider to the picture's shape and enlarged, its middle kept.

    Args:
        box: x0, y0, x1, y1; a side below one pixel counts as one.
        height: of the picture.
        width: of the picture.
        enlarge: times both sides.
        mirrored: show it left to right.

    >>> around((10, 10, 20, 30), height=40, width=40, enlarge=2.0)
    Window(left=-5.0, top=0.0, scale=1.0, height=40, width=40, mirrored=False)
    """
    x0, y0, x1, y1 = map(float, box)
    scale = max(max(x1 - x0, _LEAST) / width, max(y1 - y0, _LEAST) / height) * enlarge
    left, top = (x0 + x1 - scale * width) / 2, (y0 + y1 - scale * height) / 2
    return Window(left, top, scale, height, width, mirrored)


@dataclass(frozen=True)
class _Span:
    """One axis of a cut: which pixels of the picture show some of the image, and what of the image they need."""

    first: int
    """Pixels `first` to `last` of the picture."""
    last: int
    begin: int
    """Pixels `begin` to `end` of the image, `pad` grey ones before them, and `size` with those behind."""
    end: int
    pad: int
    size: int
    box: tuple[float, float]
    """Where pixels `first` to `last` of the picture lie among these."""

    @classmethod
    def of(cls, start: float, scale: float, num: int, length: int) -> "_Span":
        first = min(max(math.floor(-start / scale), 0), num)
        last = min(max(math.ceil((length - start) / scale), 0), num)
        low, high = start + first * scale, start + last * scale
        reach = math.ceil(max(scale, 1.0)) + 1  # of the filter
        begin, end = (min(max(at, 0), length) for at in (math.floor(low) - reach, math.ceil(high) + reach))
        pad = max(0, math.ceil(-low))
        size = pad + end - begin + max(0, math.ceil(high - length))
        return cls(first, last, begin, end, pad, size, (low - begin + pad, min(high - begin + pad, float(size))))
