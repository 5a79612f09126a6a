"""The pen one object is drawn with: parts in the object's own units, put on the canvas turned, sheared and scaled.

An object fills about [-1, 1] x [-1, 1], x to the right and y down. Each part goes twice: in colour on a canvas drawn
larger than the image (so that edges come out smooth) and as the object's number on a map of the image's own size.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from jftdata.world.dice import Dice
from jftdata.world.palette import BLACK, RGB, WHITE, dark
from jftdata.world.textures import TILE, UNIT, shading, surface

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one object is painted: two colours, a surface, and which parts it has."""

    main: RGB
    second: RGB
    texture: str
    part: str
    rng: Dice

    def u(self, low: float, high: float) -> float:
        """A number drawn for this object, uniform in low..high."""
        return self.rng.uniform(low, high)


Fill = RGB | Look


class Pen:
    """Draws one object.

    Args:
        canvas: "RGB" image, `over` times as large as the image to make.
        owners: "L" image of the image's own size: which object each pixel shows.
        number: the object's number on `owners`, 1..255.
        matrix: (2, 2) float, from the object's units to canvas pixels.
        centre: (2,) float, where the object's origin is, in canvas pixels.
        over: how many canvas pixels make one image pixel.
        ink: colour of the outline, or None for none.
    """

    def __init__(
        self,
        canvas: Image.Image,
        owners: Image.Image,
        *,
        number: int,
        matrix: NDArray[np.float64],
        centre: NDArray[np.float64],
        over: int,
        ink: RGB | None,
    ) -> None:
        self.canvas = canvas
        self.draw = ImageDraw.Draw(canvas)
        self.map = ImageDraw.Draw(owners)
        self.number = number
        self.turned = matrix.T.copy()
        self.centre = centre
        self.over = over
        self.ink = ink
        self.scale = math.sqrt(abs(float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])))

    def place(self, points: Points | NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) points in the object's units to (n, 2) canvas pixels."""
        return np.asarray(points, dtype=np.float64) @ self.turned + self.centre

    def shape(self, points: Points | NDArray[np.float64], fill: Fill) -> None:
        """A filled polygon with straight sides; a `Look` as fill brings its surface and shading."""
        placed = self.place(points)
        flat = placed.ravel().tolist()
        colour = fill.main if isinstance(fill, Look) else fill
        self.draw.polygon(flat, fill=colour)
        if isinstance(fill, Look):
            self._dress(placed, fill)
        if self.ink is not None:
            width = max(1, round(0.035 * self.scale))
            self.draw.line(flat + flat[:2], fill=self.ink, width=width)
        self.map.polygon((placed / self.over).ravel().tolist(), fill=self.number)

    def smooth(self, points: Points, fill: Fill) -> None:
        """A filled closed curve through the points."""
        self.shape(_closed(len(points)) @ np.asarray(points, dtype=np.float64), fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Fill, turn: float = 0.0) -> None:
        """An ellipse; `turn` in degrees, clockwise as seen."""
        points = _circle() * (rx, ry)
        if turn:
            cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            points = points @ np.array(((cos, sin), (-sin, cos)))
        self.shape(points + np.array((x, y)), fill)

    def disc(self, x: float, y: float, r: float, fill: Fill) -> None:
        """A circle."""
        self.shape(_circle() * r + (x, y), fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Fill) -> None:
        """A rectangle along the object's axes."""
        self.shape(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), fill)

    def line(self, points: Points | NDArray[np.float64], width: float, colour: RGB) -> None:
        """A thick line through the points with round ends; width in the object's units."""
        placed = self.place(points)
        thick = max(1.0, width * self.scale)
        self.draw.line(placed.ravel().tolist(), fill=colour, width=round(thick), joint="curve")
        small = placed / self.over
        self.map.line(small.ravel().tolist(), fill=self.number, width=max(1, round(thick / self.over)), joint="curve")
        if thick >= 4:
            r = thick / 2 - 0.5
            for x, y in (placed[0].tolist(), placed[-1].tolist()):
                self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def curve(self, points: Points, width: float, colour: RGB) -> None:
        """A thick smooth line through the points."""
        self.line(_open(len(points)) @ np.asarray(points, dtype=np.float64), width, colour)

    def arc(self, x: float, y: float, r: float, start: float, stop: float, width: float, colour: RGB) -> None:
        """Part of a ring, from `start` to `stop` degrees, clockwise from the right."""
        turn = np.radians(np.linspace(start, stop, 14))
        self.line(np.stack((x + r * np.cos(turn), y + r * np.sin(turn)), axis=1), width, colour)

    def eye(self, x: float, y: float, r: float, *, white: bool = True) -> None:
        """A round eye looking ahead."""
        if white:
            self.disc(x, y, r, WHITE)
        self.disc(x + 0.2 * r, y, r * (0.55 if white else 0.9), BLACK)

    def _dress(self, placed: NDArray[np.float64], look: Look) -> None:
        """The surface and the shading of a part, in the object's own coordinates so that they turn with it."""
        width, height = self.canvas.size
        x0, y0 = (max(0, int(v)) for v in placed.min(axis=0))
        x1, y1 = (int(v) + 2 for v in placed.max(axis=0))
        x1, y1 = min(width, x1), min(height, y1)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0))
        ImageDraw.Draw(mask).polygon((placed - (x0, y0)).ravel().tolist(), fill=255)
        inverse = np.linalg.inv(self.turned).astype(np.float64)
        if look.texture != "plain":
            cut = self._cut(surface(look.texture), inverse, mask.size, (x0, y0))
            self.canvas.paste(look.second, (x0, y0), ImageChops.multiply(mask, cut))
        cut = self._cut(shading(), inverse, mask.size, (x0, y0))
        self.canvas.paste(dark(look.main, 0.25), (x0, y0), ImageChops.multiply(mask, cut))

    def _cut(
        self, tile: Image.Image, inverse: NDArray[np.float64], size: tuple[int, int], corner: tuple[int, int]
    ) -> Image.Image:
        """The tile as it lies on the object, over a box of the canvas; the object's origin is the tile's middle."""
        origin = ((np.array(corner) - self.centre) @ inverse) * UNIT + TILE / 2
        a, b = (inverse[0] * UNIT).tolist()
        c, d = (inverse[1] * UNIT).tolist()
        data = (a, c, float(origin[0]), b, d, float(origin[1]))
        return tile.transform(size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST)


@functools.cache
def _circle(sides: int = 22) -> NDArray[np.float64]:
    turn = np.arange(sides) * (2 * np.pi / sides)
    return np.stack((np.cos(turn), np.sin(turn)), axis=1)


@functools.cache
def _closed(num: int, steps: int = 5) -> NDArray[np.float64]:
    """(num * steps, num): what turns control points into a closed Catmull-Rom curve."""
    out = np.zeros((num * steps, num))
    for i in range(num):
        for s in range(steps):
            for offset, weight in zip((-1, 0, 1, 2), _weights(s / steps), strict=True):
                out[i * steps + s, (i + offset) % num] += weight
    return out


@functools.cache
def _open(num: int, steps: int = 5) -> NDArray[np.float64]:
    """(num * steps - steps + 1, num): the same for a curve with two ends."""
    out = np.zeros(((num - 1) * steps + 1, num))
    for i in range(num - 1):
        for s in range(steps):
            for offset, weight in zip((-1, 0, 1, 2), _weights(s / steps), strict=True):
                out[i * steps + s, min(max(i + offset, 0), num - 1)] += weight
    out[-1, -1] = 1.0
    return out


def _weights(t: float) -> tuple[float, float, float, float]:
    return (
        0.5 * (-t + 2 * t**2 - t**3),
        0.5 * (2 - 5 * t**2 + 3 * t**3),
        0.5 * (t + 4 * t**2 - 3 * t**3),
        0.5 * (-(t**2) + t**3),
    )
