"""Draw one image of the world: which objects, where, how they look, and what can be seen of each.

A scene is planned first (labels and places, 0.1 ms) and drawn second (2 ms at 64 px), so that questions about labels
need no drawing. Everything is a pure function of (seed, stream, index).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jftdata.errors import BadArgument
from jftdata.world.backdrop import PLACES, backdrop, finish
from jftdata.world.clean import clean_labels
from jftdata.world.dice import Dice, dice
from jftdata.world.kinds import kinds
from jftdata.world.kinds.people import MIRROR
from jftdata.world.labels import draw_leaf
from jftdata.world.leaves import Leaf, leaves, leaves_of
from jftdata.world.palette import contrasting, dark, paint
from jftdata.world.pen import Look, Pen

Stream = Literal["main", "eval", "clean-train", "clean-test", "detection-train", "detection-test"]
MIN_SIZE, MAX_SIZE = 32, 340
MIN_VISIBLE = 0.25  # an object of which less is seen is no true label
OVER = 2  # canvas pixels an image pixel


@dataclass(frozen=True)
class Thing:
    """One object as planned: leaf, centre and half size as shares of the image's side."""

    leaf: Leaf
    x: float
    y: float
    r: float


@dataclass(frozen=True)
class SceneObject:
    """One object as drawn."""

    label: str
    """Its leaf label."""
    kind: str
    """Its base kind."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels around what is visible; x1 and y1 are exclusive."""
    mask: NDArray[np.bool_]
    """(H, W) bool, what is visible."""
    keypoints: NDArray[np.float32] | None
    """(17, 3) float32 of x, y, visibility (0 outside the image, 1 hidden, 2 visible) for people, else None."""
    visible_share: float
    """How much of it other things leave visible, 0..1."""


@dataclass(frozen=True)
class Scene:
    """One image and its truth."""

    image: NDArray[np.uint8]
    """(H, W, 3) uint8."""
    objects: tuple[SceneObject, ...]
    """Front-most last."""

    @property
    def labels(self) -> tuple[str, ...]:
        """True leaf labels of what can be made out, the main object's first, none twice, at least one."""
        seen = [thing.label for thing in reversed(self.objects) if thing.visible_share >= MIN_VISIBLE]
        return tuple(dict.fromkeys(seen)) or (self.objects[-1].label,)


def check_size(size: int, *, name: str = "size") -> None:
    """Raise `BadArgument` unless the size can be drawn."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise BadArgument(f"`{name}` must be in [{MIN_SIZE}, {MAX_SIZE}] pixels. Got {size}.")


def check_stream(stream: str) -> None:
    """Raise `BadArgument` unless the stream is one of `Stream`."""
    if stream not in get_args(Stream):
        raise BadArgument(f"`stream` must be one of {', '.join(get_args(Stream))}. Got {stream!r}.")


def plan(seed: int, index: int, *, stream: Stream) -> tuple[Thing, ...]:
    """Which objects the scene holds and where, front-most last, before any of it is drawn.

    >>> plan(0, 4, stream="main") == plan(0, 4, stream="main")
    True
    """
    rng = dice(seed, f"{stream}/plan", index)
    if stream.startswith("clean"):
        entry = clean_labels()[index % len(clean_labels())]
        main = rng.choice(leaves_of(rng.choice(entry.kinds)))
        num, big, small = rng.choice((0, 0, 0, 1)), (0.30, 0.47), (0.10, 0.15)
    elif stream == "main":
        main = leaves()[draw_leaf(rng)]
        num = rng.choice((0, 0, 0, 1, 1, 2, 3))
        big, small = ((0.26, 0.46), (0.12, 0.22)) if num < 2 else ((0.22, 0.34), (0.11, 0.19))
    else:
        main = _any_leaf(rng)
        num, big, small = (rng.randint(5, 9), (0.14, 0.22), (0.09, 0.17))
        if stream.startswith("detection"):
            num, big, small = rng.randint(1, 5), (0.17, 0.36), (0.11, 0.26)
    r = rng.uniform(*big)
    edge = min(0.5, 0.86 * r)
    placed = [Thing(main, rng.uniform(edge, 1 - edge), rng.uniform(edge, 1 - edge), r)]
    for _ in range(num):
        leaf = _any_leaf(rng)
        r = rng.uniform(*small)
        for _ in range(14):
            edge = 0.7 * r
            x, y = rng.uniform(edge, 1 - edge), rng.uniform(edge, 1 - edge)
            if all(math.hypot(x - t.x, y - t.y) > 0.82 * (r + t.r) for t in placed):
                placed.append(Thing(leaf, x, y, r))
                break
    return tuple(reversed(placed))


def draw(seed: int, index: int, *, size: int, stream: Stream) -> Scene:
    """The planned scene as an image, before it is taken for a copy of another."""
    things = plan(seed, index, stream=stream)
    rng = dice(seed, f"{stream}/look", index)
    main = things[-1]
    places = kinds()[main.leaf.kind].places
    place = rng.choice(places) if rng.random() < 0.6 else rng.choice(PLACES)
    canvas = backdrop(rng, place, size * OVER)
    owners = Image.new("L", (size, size))
    alone: list[int] = []
    points: list[NDArray[np.float64] | None] = []
    for number, thing in enumerate(things, start=1):
        points.append(_draw_thing(rng, canvas, owners, thing, number=number, size=size))
        alone.append(owners.histogram()[number])
    if rng.random() < 0.3:
        _obstacle(rng, canvas, owners, size)
    image = finish(rng, canvas, size)
    seen = np.asarray(owners)
    return Scene(image, tuple(_seen(things, points, alone, seen)))


def _any_leaf(rng: Dice) -> Leaf:
    """Half by frequency, half evenly, so that rare things turn up beside frequent ones."""
    return leaves()[draw_leaf(rng)] if rng.random() < 0.5 else rng.choice(list(leaves().values()))


def _draw_thing(
    rng: Dice, canvas: Image.Image, owners: Image.Image, thing: Thing, *, number: int, size: int
) -> NDArray[np.float64] | None:
    """Draws one object and returns its keypoints in image pixels, (17, 2), if it has any."""
    leaf, kind = thing.leaf, kinds()[thing.leaf.kind]
    main = paint(rng, leaf.colour)
    second = paint(rng, leaf.second) if leaf.second else contrasting(rng, main)
    texture = rng.choice(leaf.texture.split("/"))
    look = Look(main=main, second=second, texture=texture, part=rng.choice(leaf.part.split("/")), rng=rng)
    t = math.radians(rng.uniform(-kind.turn, kind.turn))
    flip = rng.choice((-1.0, 1.0))
    stretch, shear = rng.uniform(0.84, 1.16), rng.uniform(-0.16, 0.16)
    turn = np.array(((math.cos(t), -math.sin(t)), (math.sin(t), math.cos(t))))
    matrix = turn @ np.array(((flip * stretch, shear), (0.0, 1 / stretch))) * (thing.r * size * OVER)
    ink = dark(main, rng.uniform(0.1, 0.45)) if rng.random() < 0.55 else None
    centre = np.array((thing.x, thing.y)) * size * OVER
    pen = Pen(canvas, owners, number=number, matrix=matrix, centre=centre, over=OVER, ink=ink)
    points = kind.draw(pen, look)
    if points is None:
        return None
    points = pen.place(points) / OVER
    return points[list(MIRROR)] if flip < 0 else points


def _obstacle(rng: Dice, canvas: Image.Image, owners: Image.Image, size: int) -> None:
    """Something nameless in front of everything: a pole, a twig or a pane's corner."""
    side = size * OVER
    pen = Pen(canvas, owners, number=0, matrix=np.eye(2) * side, centre=np.zeros(2), over=OVER, ink=None)
    colour = paint(rng, rng.choice(("grey", "brown", "green", "any")))
    u = rng.uniform
    if rng.random() < 0.6:
        pen.line([(u(0, 1), u(-0.1, 0.3)), (u(0, 1), u(0.7, 1.1))], u(0.02, 0.07), colour)
    else:
        x, y = rng.choice((0.0, 1.0)), rng.choice((0.0, 1.0))
        pen.disc(x, y, u(0.1, 0.28), colour)


def _seen(
    things: tuple[Thing, ...], points: list[NDArray[np.float64] | None], alone: list[int], seen: NDArray[np.uint8]
) -> list[SceneObject]:
    height, width = seen.shape
    out = []
    for number, (thing, point, whole) in enumerate(zip(things, points, alone, strict=True), start=1):
        mask = seen == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (0.0, 0.0, 0.0, 0.0)
        if len(rows):
            box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        keypoints = None
        if point is not None:
            keypoints = np.zeros((17, 3), dtype=np.float32)
            for i, (x, y) in enumerate(point.tolist()):
                if 0 <= x < width and 0 <= y < height:
                    keypoints[i] = (x, y, 2 if mask[int(y), int(x)] else 1)
        share = float(mask.sum()) / whole if whole else 0.0
        out.append(SceneObject(thing.leaf.label, thing.leaf.kind, box, mask, keypoints, min(1.0, share)))
    return out
