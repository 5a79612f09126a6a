"""What lies behind the objects, and the light the finished picture is seen in."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from jftdata.world.dice import Dice
from jftdata.world.palette import RGB, dark, light, mix, paint
from jftdata.world.textures import TILE, grain, sensor, surface

PLACES = ("field", "street", "sea", "underwater", "sky", "snow", "desert", "night", "room", "table", "plain", "pattern")

# place: (colours above the horizon, colours below it)
_TONES: dict[str, tuple[tuple[RGB, ...], tuple[RGB, ...]]] = {
    "field": (((150, 200, 240), (190, 215, 235), (230, 190, 160)), ((110, 160, 70), (140, 150, 80), (80, 130, 70))),
    "street": (((170, 190, 205), (200, 200, 205), (150, 185, 230)), ((120, 120, 122), (95, 96, 102), (150, 145, 138))),
    "sea": (((160, 205, 240), (225, 200, 190), (140, 160, 180)), ((50, 110, 160), (40, 130, 150), (70, 100, 120))),
    "underwater": (((60, 150, 190), (40, 120, 160), (80, 160, 160)), ((30, 80, 120), (25, 90, 110), (170, 160, 120))),
    "sky": (((110, 170, 230), (150, 200, 245), (90, 140, 210)), ((200, 225, 245), (235, 220, 210), (180, 210, 235))),
    "snow": (((190, 210, 230), (160, 180, 205), (210, 200, 215)), ((236, 241, 247), (222, 230, 240), (230, 228, 235))),
    "desert": (
        ((150, 200, 235), (240, 205, 150), (180, 205, 220)),
        ((225, 190, 130), (210, 165, 110), (235, 210, 165)),
    ),
    "night": (((20, 24, 50), (35, 30, 70), (15, 30, 60)), ((40, 45, 60), (30, 40, 45), (50, 40, 60))),
    "room": (((225, 215, 195), (190, 205, 200), (215, 190, 180)), ((150, 110, 75), (120, 95, 80), (170, 150, 130))),
    "table": (((215, 210, 200), (170, 180, 190), (120, 110, 105)), ((170, 120, 75), (200, 165, 125), (225, 222, 215))),
}


def backdrop(rng: Dice, place: str, side: int) -> Image.Image:
    """A (side, side) "RGB" canvas of one place with nameless clutter in it."""
    if place in _TONES:
        above, below = (rng.choice(tones) for tones in _TONES[place])
        above, below = (mix(tone, paint(rng, "any"), rng.uniform(0.0, 0.22)) for tone in (above, below))
    else:
        above = paint(rng, rng.choice(("any", "white", "grey", "tan", "black", "any")))
        below = mix(above, paint(rng, "any"), rng.uniform(0.1, 0.5))
    horizon = {"sky": 1.0, "underwater": 0.85, "table": 0.45, "plain": 1.0, "pattern": 1.0}.get(place, 0.55)
    line = side * min(1.0, horizon + rng.uniform(-0.12, 0.15))
    canvas = _gradient(above, light(above, rng.uniform(0, 0.5)) if place != "plain" else below, side)
    draw = ImageDraw.Draw(canvas)
    if line < side:
        draw.rectangle((0, line, side, side), fill=below)
    _features(rng, draw, place, side, line, above, below)
    for _ in range(rng.choice((0, 2, 4, 7, 10))):
        _blob(rng, draw, side, mix(rng.choice((above, below)), paint(rng, "any"), rng.uniform(0.1, 0.75)))
    strength = rng.uniform(0.1, 0.6)
    _grain(rng, canvas, dark(below, 0.35), strength)
    if place == "pattern":
        _tile(rng, canvas, mix(above, paint(rng, "any"), rng.uniform(0.3, 0.8)))
    return canvas


def finish(rng: Dice, canvas: Image.Image, size: int) -> NDArray[np.uint8]:
    """The canvas brought to (size, size, 3) uint8 and lit: exposure, cast, a gradient of light, blur, noise."""
    over = canvas.size[0] // size
    image = canvas.reduce(over) if over > 1 else canvas
    if rng.random() < 0.12:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8) * size / 64))
    pixels = np.asarray(image, dtype=np.float32)
    gain, contrast = rng.uniform(0.8, 1.3), rng.uniform(0.7, 1.15)
    cast = np.array([rng.uniform(0.86, 1.12) for _ in range(3)], dtype=np.float32) * np.float32(gain * contrast)
    turn, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.5)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    field = 1 + np.float32(slope) * (ramp[None, :] * math.cos(turn) + ramp[:, None] * math.sin(turn)).astype(np.float32)
    pixels = pixels * (field[:, :, None] * cast) + np.float32(128 * gain * (1 - contrast) * 0.8)
    x, y = int(rng.random() * (512 - size)), int(rng.random() * (512 - size))
    pixels += sensor()[y : y + size, x : x + size] * np.float32(rng.choice((1.0, 2.0, 4.0, 8.0)))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _gradient(top: RGB, bottom: RGB, side: int) -> Image.Image:
    strip = Image.new("RGB", (1, 8))
    strip.putdata([mix(top, bottom, i / 7) for i in range(8)])
    return strip.resize((side, side), Image.Resampling.BILINEAR)


def _features(rng: Dice, draw: ImageDraw.ImageDraw, place: str, side: int, line: float, above: RGB, below: RGB) -> None:
    """The few things a place is known by: hills, house fronts, waves, stars, clouds, floorboards, window frames."""
    u = rng.uniform
    if place in ("field", "desert", "snow"):
        for _ in range(rng.choice((0, 1, 2, 3))):
            x, w, h = u(0, side), u(0.3, 0.8) * side, u(0.08, 0.3) * side
            draw.ellipse((x - w, line - h, x + w, line + h), fill=mix(above, below, u(0.3, 0.9)))
        draw.rectangle((0, line, side, side), fill=below)
    elif place == "street":
        x = 0.0
        while x < side:
            w, h = u(0.12, 0.35) * side, u(0.15, 0.5) * side
            draw.rectangle((x, line - h, x + w, line), fill=mix(above, paint(rng, "any"), u(0.1, 0.5)))
            for i in range(3):
                draw.rectangle(
                    (x + w * (0.15 + 0.28 * i), line - h * 0.8, x + w * (0.3 + 0.28 * i), line - h * 0.5),
                    fill=dark(above, 0.6),
                )
            x += w * u(1.0, 1.3)
    elif place in ("sea", "underwater"):
        for _ in range(6):
            x, y = u(0, side), u(line if place == "sea" else 0, side)
            draw.line((x, y, x + u(0.05, 0.3) * side, y), fill=light(below, u(0.1, 0.4)), width=max(1, side // 90))
        if place == "underwater":
            for _ in range(rng.choice((0, 2, 5))):
                x, y, r = u(0, side), u(0, side), u(0.01, 0.04) * side
                draw.ellipse((x - r, y - r, x + r, y + r), outline=light(above, 0.6))
    elif place == "night":
        for _ in range(14):
            x, y = u(0, side), u(0, line)
            draw.ellipse((x, y, x + side / 90, y + side / 90), fill=(250, 245, 210))
    elif place in ("room", "table"):
        if rng.random() < 0.5:
            x, y, w = u(0, side), u(0, 0.3 * side), u(0.15, 0.4) * side
            draw.rectangle(
                (x, y, x + w, y + w * u(0.7, 1.3)), fill=mix(above, paint(rng, "any"), 0.4), outline=dark(above, 0.6)
            )
        for i in range(rng.choice((0, 4, 8))):
            draw.line(
                (side * (i / 7 * 2 - 0.5), side, side * i / 7, line), fill=dark(below, 0.8), width=max(1, side // 120)
            )
    if place in ("sky", "field", "sea"):
        for _ in range(rng.choice((0, 1, 2, 3))):
            x, y, r = u(0, side), u(0, 0.5 * side), u(0.04, 0.11) * side
            for dx in (-1, 0, 1):
                draw.ellipse((x + dx * r - r, y - r * 0.7, x + dx * r + r, y + r * 0.7), fill=light(above, 0.6))


def _blob(rng: Dice, draw: ImageDraw.ImageDraw, side: int, colour: RGB) -> None:
    x, y, r = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0.03, 0.14) * side
    shape = rng.random()
    if shape < 0.35:
        draw.ellipse((x - r, y - r * rng.uniform(0.3, 1), x + r, y + r), fill=colour)
    elif shape < 0.75:
        corners = [
            (x + r * math.cos(t) * rng.uniform(0.5, 1.3), y + r * math.sin(t)) for t in (0.3, 1.6, 2.9, 4.4, 5.5)
        ]
        draw.polygon(corners, fill=colour)
    else:
        t = rng.uniform(0, math.pi)
        end = (x + 2 * r * math.cos(t), y + 2 * r * math.sin(t))
        draw.line((x, y, *end), fill=colour, width=max(1, round(r * rng.uniform(0.1, 0.5))))


def _grain(rng: Dice, canvas: Image.Image, colour: RGB, strength: float) -> None:
    side, cut = canvas.size[0], rng.uniform(60, 220)
    x, y = rng.uniform(0, TILE - cut), rng.uniform(0, TILE - cut)
    tile = grain(rng.randrange(6)).transform(
        canvas.size, Image.Transform.AFFINE, (cut / side, 0, x, 0, cut / side, y), Image.Resampling.NEAREST
    )
    canvas.paste(colour, (0, 0), tile.point([int(v * strength) for v in range(256)]))


def _tile(rng: Dice, canvas: Image.Image, colour: RGB) -> None:
    name = rng.choice(("stripes", "bands", "checks", "dots", "spots", "patches"))
    side, cut, t = canvas.size[0], rng.uniform(90, 200), rng.uniform(0, math.pi)
    c, s = math.cos(t) * cut / side, math.sin(t) * cut / side
    middle = TILE / 2 - (c - s) * side / 2, TILE / 2 - (c + s) * side / 2
    data = (c, -s, middle[0], s, c, middle[1])
    canvas.paste(colour, (0, 0), surface(name).transform(canvas.size, Image.Transform.AFFINE, data))
