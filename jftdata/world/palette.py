"""Colours by name, each a range of hue, saturation and value, so that no two red apples are the same red."""

import colorsys

from jftdata.world.dice import Dice

RGB = tuple[int, int, int]

# name: (lowest hue, highest hue, lowest saturation, highest saturation, lowest value, highest value), hue in turns
RANGES: dict[str, tuple[float, float, float, float, float, float]] = {
    "red": (-0.03, 0.02, 0.70, 0.95, 0.60, 0.95),
    "orange": (0.055, 0.095, 0.75, 0.98, 0.85, 1.00),
    "yellow": (0.125, 0.165, 0.65, 0.95, 0.85, 1.00),
    "green": (0.24, 0.38, 0.50, 0.85, 0.40, 0.80),
    "teal": (0.46, 0.53, 0.50, 0.85, 0.45, 0.80),
    "blue": (0.56, 0.66, 0.55, 0.90, 0.50, 0.90),
    "purple": (0.72, 0.80, 0.40, 0.75, 0.45, 0.80),
    "pink": (0.88, 0.96, 0.30, 0.60, 0.85, 1.00),
    "brown": (0.04, 0.09, 0.45, 0.75, 0.32, 0.60),
    "tan": (0.07, 0.12, 0.30, 0.55, 0.65, 0.88),
    "black": (0.00, 1.00, 0.00, 0.25, 0.08, 0.22),
    "grey": (0.50, 0.70, 0.03, 0.18, 0.42, 0.70),
    "white": (0.00, 1.00, 0.00, 0.07, 0.90, 1.00),
    "any": (0.00, 1.00, 0.45, 0.95, 0.45, 0.98),
}
COAT = ("brown", "tan", "grey", "black", "white", "orange")
SKIN: tuple[RGB, ...] = ((255, 219, 187), (240, 190, 150), (205, 150, 105), (150, 100, 65), (100, 65, 45))
WHITE: RGB = (250, 250, 246)
BLACK: RGB = (22, 22, 26)
GLASS: RGB = (196, 226, 240)
WOOD: RGB = (139, 92, 52)
LEAF: RGB = (52, 130, 58)
STEEL: RGB = (168, 174, 184)


def paint(rng: Dice, name: str) -> RGB:
    """One colour of a named range; `coat` is an animal's colour, `a/b` is one of several names.

    >>> red = paint(Dice(0), "red")
    >>> red[0] > 2 * red[2]
    True
    """
    if name == "coat":
        name = rng.choice(COAT)
    elif "/" in name:
        name = rng.choice(name.split("/"))
    h0, h1, s0, s1, v0, v1 = RANGES[name]
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(h0, h1) % 1.0, rng.uniform(s0, s1), rng.uniform(v0, v1))
    return round(red * 255), round(green * 255), round(blue * 255)


def dark(colour: RGB, share: float = 0.7) -> RGB:
    """The colour with `share` of its light left.

    >>> dark((200, 100, 50), 0.5)
    (100, 50, 25)
    """
    return int(colour[0] * share), int(colour[1] * share), int(colour[2] * share)


def light(colour: RGB, share: float = 0.4) -> RGB:
    """The colour moved by `share` towards white.

    >>> light((155, 55, 255), 0.5)
    (205, 155, 255)
    """
    return mix(colour, (255, 255, 255), share)


def mix(one: RGB, two: RGB, share: float) -> RGB:
    """The colour `share` of the way from one to two.

    >>> mix((0, 0, 0), (100, 200, 50), 0.5)
    (50, 100, 25)
    """
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(one, two, strict=True))
    return red, green, blue


def luma(colour: RGB) -> float:
    """How light the colour looks, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def contrasting(rng: Dice, colour: RGB) -> RGB:
    """A colour well apart from the given one in lightness, for stripes, spots and trimmings."""
    for _ in range(4):
        other = paint(rng, rng.choice(("white", "black", "any", "yellow", "any")))
        if abs(luma(other) - luma(colour)) > 60:
            return other
    return BLACK if luma(colour) > 120 else WHITE
