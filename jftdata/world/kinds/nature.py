"""Food, plants and buildings."""

import math

from jftdata.world.palette import BLACK, GLASS, LEAF, STEEL, WHITE, WOOD, dark, light
from jftdata.world.pen import Look, Pen


def apple(p: Pen, k: Look) -> None:
    """Heart-topped round fruit with a stalk and one leaf."""
    dip = k.u(-0.42, -0.3)
    p.smooth(
        [
            (0, dip),
            (0.42, -0.6),
            (0.82, -0.2),
            (0.66, 0.5),
            (0.28, 0.86),
            (0, 0.78),
            (-0.28, 0.86),
            (-0.66, 0.5),
            (-0.82, -0.2),
            (-0.42, -0.6),
        ],
        k,
    )
    p.curve([(0, dip + 0.05), (0.03, -0.7), (0.14, -0.92)], 0.09, WOOD)
    p.smooth([(0.08, -0.66), (0.35, -0.98), (0.7, -0.86), (0.4, -0.62)], LEAF)
    p.oval(-0.42, -0.12, 0.1, 0.24, light(k.main, 0.5), turn=20)


def tomato(p: Pen, k: Look) -> None:
    """Squat and round with a green star on top."""
    p.smooth(
        [(0, -0.5), (0.5, -0.58), (0.92, -0.05), (0.66, 0.62), (0, 0.78), (-0.66, 0.62), (-0.92, -0.05), (-0.5, -0.58)],
        k,
    )
    points = []
    for i in range(10):
        r, t = (0.46, 0.12)[i % 2], math.radians(36 * i - 90)
        points.append((r * math.cos(t), -0.48 + 0.55 * r * math.sin(t)))
    p.shape(points, LEAF)
    p.line([(0, -0.5), (0.04, -0.8)], 0.08, LEAF)
    p.oval(-0.48, -0.1, 0.1, 0.18, light(k.main, 0.5), turn=25)


def pear(p: Pen, k: Look) -> None:
    """Narrow above, wide below, with a stalk."""
    p.curve([(0, -0.75), (0.02, -0.92), (0.12, -1.04)], 0.08, WOOD)
    p.smooth(
        [
            (0, -0.82),
            (0.26, -0.68),
            (0.34, -0.2),
            (0.64, 0.3),
            (0.45, 0.85),
            (0, 0.96),
            (-0.45, 0.85),
            (-0.64, 0.3),
            (-0.34, -0.2),
            (-0.26, -0.68),
        ],
        k,
    )
    p.smooth([(0.05, -0.82), (0.4, -1.05), (0.55, -0.84)], LEAF)


def banana(p: Pen, k: Look) -> None:
    """A crescent with dark tips."""
    bend = k.u(0.35, 0.6)
    p.smooth(
        [
            (-0.95, -0.4),
            (-0.5, bend * 0.5),
            (0.1, bend * 0.75),
            (0.7, bend * 0.1),
            (0.92, -0.55),
            (1.02, -0.5),
            (0.95, 0.2),
            (0.4, 0.75),
            (-0.4, 0.75),
            (-0.98, 0.1),
        ],
        k,
    )
    p.line([(0.96, -0.5), (0.98, -0.72)], 0.13, dark(k.main, 0.55))
    p.curve([(-0.85, -0.05), (-0.3, bend + 0.05), (0.4, bend), (0.85, 0.0)], 0.04, dark(k.main, 0.75))
    p.disc(-0.96, -0.32, 0.08, BLACK)


def cherries(p: Pen, k: Look) -> None:
    """A pair on joined stalks."""
    p.curve([(-0.45, 0.35), (-0.3, -0.3), (0.15, -0.9)], 0.07, LEAF)
    p.curve([(0.5, 0.45), (0.42, -0.2), (0.15, -0.9)], 0.07, LEAF)
    p.smooth([(0.12, -0.88), (0.5, -1.02), (0.95, -0.75), (0.5, -0.62)], LEAF)
    for x, y in ((-0.45, 0.5), (0.5, 0.58)):
        p.disc(x, y, 0.4, k)
        p.oval(x - 0.14, y - 0.14, 0.07, 0.1, WHITE, turn=30)


def strawberry(p: Pen, k: Look) -> None:
    """A pointed heart with seeds and a leafy cap."""
    p.smooth(
        [(0, -0.5), (0.5, -0.62), (0.78, -0.2), (0.45, 0.5), (0, 0.98), (-0.45, 0.5), (-0.78, -0.2), (-0.5, -0.62)], k
    )
    for x, y in ((-0.4, -0.2), (0, -0.22), (0.4, -0.2), (-0.22, 0.1), (0.22, 0.1), (0, 0.4), (-0.2, 0.55), (0.2, 0.5)):
        p.oval(x, y, 0.05, 0.08, (250, 225, 130))
    p.smooth(
        [
            (0, -0.9),
            (0.2, -0.72),
            (0.66, -0.74),
            (0.3, -0.45),
            (0, -0.28),
            (-0.3, -0.45),
            (-0.66, -0.74),
            (-0.2, -0.72),
        ],
        LEAF,
    )


def mushroom(p: Pen, k: Look) -> None:
    """A domed cap on a pale stalk; with white spots a fly agaric."""
    cap = k.u(0.55, 0.85)
    p.smooth([(-0.22, -0.1), (0.22, -0.1), (0.2, 0.5), (0.34, 0.94), (-0.34, 0.94), (-0.2, 0.5)], (240, 228, 205))
    p.smooth([(-0.92, 0.05), (-0.7, -cap * 0.7), (0, -cap - 0.15), (0.7, -cap * 0.7), (0.92, 0.05), (0, 0.16)], k)
    if k.part == "spots":
        for x, y, r in (
            (-0.5, -0.2, 0.13),
            (-0.1, -0.5, 0.14),
            (0.12, -0.08, 0.12),
            (0.5, -0.3, 0.14),
            (-0.2, -0.1, 0.08),
        ):
            p.oval(x, y * cap / 0.7, r, r * 0.85, WHITE)
    p.line([(-0.28, 0.22), (0.28, 0.22)], 0.09, (225, 208, 180))


def carrot(p: Pen, k: Look) -> None:
    """A long cone with a feathery top."""
    for x in (-0.35, -0.1, 0.15, 0.38):
        p.curve([(0, -0.45), (x * 0.6, -0.75), (x, k.u(-1.05, -0.9))], 0.12, LEAF)
    p.smooth([(-0.34, -0.45), (0, -0.55), (0.34, -0.45), (0.26, 0.1), (0, 1.0), (-0.26, 0.1)], k)
    for y, x0, x1 in ((-0.2, -0.28, 0.0), (0.1, 0.02, 0.22), (0.35, -0.18, 0.02)):
        p.line([(x0, y), (x1, y + 0.03)], 0.05, dark(k.main, 0.72))


def ice_cream(p: Pen, k: Look) -> None:
    """A wafer cone with one or two scoops."""
    p.shape([(-0.42, 0.0), (0.42, 0.0), (0.0, 1.0)], (222, 170, 96))
    for x in (-0.2, 0.0, 0.2):
        p.line([(x, 0.05), (x * 0.3 + 0.1, 0.6)], 0.03, (170, 115, 55))
    p.disc(0, -0.22, 0.46, k)
    if k.part == "double":
        p.disc(k.u(-0.06, 0.06), -0.66, 0.38, k.second)
    p.disc(0.05, -1.0 if k.part == "double" else -0.7, 0.11, (205, 30, 50))
    for x in (-0.3, 0.0, 0.3):
        p.disc(x, 0.06, 0.16, k.main)


def pizza(p: Pen, k: Look) -> None:
    """A slice with a crust, or the whole disc."""
    top = (215, 60, 45)
    spots: tuple[tuple[float, float], ...]
    if k.part == "slice":
        p.shape([(-0.75, -0.62), (0.75, -0.62), (0.0, 1.0)], (248, 208, 90))
        p.curve([(-0.8, -0.62), (0, -0.78), (0.8, -0.62)], 0.25, (196, 130, 60))
        spots = ((-0.3, -0.3), (0.3, -0.35), (0.0, 0.1), (0.05, 0.55))
    else:
        p.disc(0, 0, 0.98, (196, 130, 60))
        p.disc(0, 0, 0.82, (248, 208, 90))
        spots = ((-0.4, -0.35), (0.3, -0.45), (0.05, 0.05), (-0.5, 0.25), (0.5, 0.2), (0.0, 0.55))
    for x, y in spots:
        p.disc(x, y, 0.16, top)
        p.oval(x + 0.2, y + 0.13, 0.08, 0.05, LEAF, turn=k.u(0, 90))
    if k.part != "slice":
        p.line([(-0.9, 0.1), (0.9, -0.1)], 0.04, (150, 95, 40))


def cake(p: Pen, k: Look) -> None:
    """A round layered cake with icing and candles, or a cupcake in its paper."""
    if k.part == "cupcake":
        p.shape([(-0.62, 0.1), (0.62, 0.1), (0.42, 0.92), (-0.42, 0.92)], k.second)
        for x in (-0.35, -0.12, 0.12, 0.35):
            p.line([(x * 1.2, 0.15), (x, 0.88)], 0.05, dark(k.second, 0.75))
        for y, r in ((0.0, 0.72), (-0.28, 0.56), (-0.52, 0.36)):
            p.oval(0, y, r, 0.26, k.main)
        p.disc(0, -0.8, 0.16, (215, 30, 50))
        return
    for x in (-0.45, 0.0, 0.45):
        p.box(x - 0.05, -0.75, x + 0.05, -0.3, (90, 150, 220))
        p.oval(x, -0.86, 0.06, 0.11, (255, 190, 50))
    p.box(-0.85, -0.2, 0.85, 0.75, k)
    p.oval(0, 0.75, 0.85, 0.16, dark(k.main, 0.85))
    p.line([(-0.83, 0.3), (0.83, 0.3)], 0.1, k.second)
    p.oval(0, -0.22, 0.85, 0.2, k.second)
    for i in range(6):
        p.disc(-0.7 + i * 0.28, -0.06 + 0.08 * (i % 2), 0.15, k.second)


def tree(p: Pen, k: Look) -> None:
    """A trunk under a round crown; with red dots an apple tree."""
    p.shape([(-0.14, 0.98), (-0.1, 0.1), (0.1, 0.1), (0.14, 0.98)], WOOD)
    p.line([(0, 0.35), (0.3, 0.0)], 0.09, WOOD)
    if k.part == "bare":
        for x0, y0, x1, y1 in (
            (0, 0.3, -0.7, -0.5),
            (0, 0.1, 0.7, -0.6),
            (0, 0.1, -0.1, -0.95),
            (-0.4, -0.15, -0.75, -0.1),
        ):
            p.line([(x0, y0), (x1, y1)], 0.08, WOOD)
        for x0, y0, x1, y1 in ((0.4, -0.3, 0.3, -0.85), (-0.05, -0.4, -0.4, -0.85), (0.5, -0.4, 0.9, -0.3)):
            p.line([(x0, y0), (x1, y1)], 0.05, WOOD)
        return
    for x, y, r in ((-0.45, -0.1, 0.38), (0.45, -0.12, 0.38), (-0.25, -0.5, 0.4), (0.28, -0.52, 0.4)):
        p.disc(x + k.u(-0.06, 0.06), y, r, k.main)
    p.oval(0, -0.32, 0.58, 0.5, k)
    if k.part == "fruit":
        for x, y in ((-0.5, -0.1), (0.1, -0.6), (0.4, -0.2), (-0.15, -0.2), (-0.35, -0.55), (0.15, 0.05)):
            p.disc(x, y, 0.09, (215, 40, 40))


def fir(p: Pen, k: Look) -> None:
    """Stacked triangles on a short trunk; with baubles a Christmas tree."""
    p.box(-0.12, 0.6, 0.12, 0.98, WOOD)
    wide = k.u(0.6, 0.85)
    for y, w in ((0.7, 1.0), (0.25, 0.8), (-0.2, 0.58)):
        p.shape([(-wide * w, y), (wide * w, y), (0, y - 0.78)], k)
    if k.part == "snow":
        for y, w in ((0.02, 0.3), (-0.43, 0.25), (-0.9, 0.2)):
            p.shape([(-w, y + 0.16), (0, y + 0.08), (w, y + 0.16), (0, y - 0.1)], WHITE)
    if k.part == "baubles":
        p.shape(
            [(0, -1.12), (0.08, -0.95), (0.22, -0.93), (0.0, -0.82), (-0.22, -0.93), (-0.08, -0.95)], (255, 215, 60)
        )
        for i, (x, y) in enumerate(((-0.4, 0.55), (0.1, 0.5), (0.4, 0.6), (-0.2, 0.1), (0.25, 0.05), (0.0, -0.35))):
            p.disc(x, y, 0.09, ((220, 40, 50), (250, 200, 60), (90, 130, 230))[i % 3])


def palm(p: Pen, k: Look) -> None:
    """A curved bare trunk with a star of long leaves."""
    lean = k.u(-0.3, 0.3)
    p.curve([(0, 0.98), (lean * 0.2, 0.5), (lean, -0.4)], 0.15, WOOD)
    for x, y in ((-0.9, -0.1), (-0.75, -0.65), (0.9, -0.1), (0.75, -0.65), (-0.1, -1.0), (-0.5, 0.25), (0.5, 0.25)):
        p.smooth([(lean, -0.42), (lean + x * 0.5, y - 0.22), (lean + x, y), (lean + x * 0.5, y - 0.02)], k.main)
    for x in (-0.1, 0.1):
        p.disc(lean + x, -0.34, 0.1, (110, 70, 40))


def flower(p: Pen, k: Look) -> None:
    """Petals round a disc on a stalk; many thin petals and a dark disc make a sunflower."""
    p.curve([(0, -0.3), (k.u(-0.1, 0.1), 0.4), (0, 1.0)], 0.09, LEAF)
    p.smooth([(0, 0.7), (0.3, 0.4), (0.6, 0.4), (0.3, 0.7)], LEAF)
    num = 14 if k.part == "sun" else k.rng.choice((5, 6, 7))
    for i in range(num):
        t = 2 * math.pi * i / num
        wide = 0.13 if k.part == "sun" else 0.24 - 0.012 * num
        p.oval(0.45 * math.cos(t), -0.4 + 0.45 * math.sin(t), 0.27, wide, k.main, turn=math.degrees(t))
    p.disc(0, -0.4, 0.32 if k.part == "sun" else 0.22, (96, 62, 30) if k.part == "sun" else (250, 205, 60))


def tulip(p: Pen, k: Look) -> None:
    """A closed cup of three points on a stalk between two long leaves."""
    p.line([(0, -0.1), (0, 1.0)], 0.1, LEAF)
    for side in (-1, 1):
        p.smooth([(0, 0.98), (side * 0.32, 0.5), (side * 0.55, 0.0), (side * 0.2, 0.45)], LEAF)
    p.smooth(
        [(-0.46, -0.98), (-0.2, -0.6), (0, -1.0), (0.2, -0.6), (0.46, -0.98), (0.42, -0.25), (0, 0.02), (-0.42, -0.25)],
        k,
    )
    p.smooth([(0, -0.95), (0.2, -0.45), (0, -0.02), (-0.2, -0.45)], light(k.main, 0.2))


def cactus(p: Pen, k: Look) -> None:
    """A thick ribbed column with two bent arms, in a pot or in flower."""
    for side, y in ((-1, 0.15), (1, -0.1)):
        p.line([(0, y), (side * 0.55, y), (side * 0.55, y - 0.45)], 0.26, k.main)
    p.smooth([(-0.26, 0.85), (-0.28, -0.6), (0, -0.95), (0.28, -0.6), (0.26, 0.85)], k)
    for x in (-0.12, 0.0, 0.12):
        p.line([(x, -0.7), (x, 0.7)], 0.03, light(k.main, 0.45))
    if k.part == "pot":
        p.shape([(-0.5, 0.55), (0.5, 0.55), (0.38, 1.0), (-0.38, 1.0)], (190, 96, 56))
    else:
        p.disc(0, -0.95, 0.14, (240, 90, 150))


def house(p: Pen, k: Look) -> None:
    """Walls, a gable roof, a door, windows and a chimney."""
    roof = k.u(-0.98, -0.75)
    p.box(0.38, roof - 0.02, 0.58, -0.2, (130, 70, 60))
    p.box(-0.75, -0.2, 0.75, 0.92, k)
    p.shape([(-0.95, -0.15), (0, roof), (0.95, -0.15)], k.second)
    p.box(-0.16, 0.3, 0.16, 0.92, WOOD)
    for x in (-0.6, 0.3):
        p.box(x, 0.08, x + 0.3, 0.4, GLASS)
        p.line([(x + 0.15, 0.08), (x + 0.15, 0.4)], 0.04, WHITE)
    p.disc(0.08, 0.62, 0.04, (240, 210, 80))


def castle(p: Pen, k: Look) -> None:
    """Two towers and a wall with battlements, a gate and flags."""
    for x in (-0.72, 0.72):
        p.box(x - 0.26, -0.55, x + 0.26, 0.92, k)
        if k.part == "roofs":
            p.shape([(x - 0.34, -0.52), (x, -1.05), (x + 0.34, -0.52)], k.second)
        else:
            for i in range(3):
                p.box(x - 0.28 + i * 0.21, -0.72, x - 0.14 + i * 0.21, -0.5, k.main)
        p.box(x - 0.07, -0.3, x + 0.07, -0.02, BLACK)
    p.box(-0.48, -0.05, 0.48, 0.92, k)
    for i in range(4):
        p.box(-0.46 + i * 0.25, -0.22, -0.3 + i * 0.25, -0.02, k.main)
    p.smooth([(-0.22, 0.92), (-0.22, 0.45), (0, 0.22), (0.22, 0.45), (0.22, 0.92)], (70, 48, 34))
    p.line([(0, -0.2), (0, -0.75)], 0.05, STEEL)
    p.shape([(0.02, -0.75), (0.32, -0.64), (0.02, -0.52)], (215, 40, 50))


def lighthouse(p: Pen, k: Look) -> None:
    """A tapering banded tower with a lantern and a beam."""
    p.smooth([(-0.8, 0.98), (-0.5, 0.76), (0.5, 0.76), (0.8, 0.98)], (120, 112, 105))
    p.shape([(0.1, -0.72), (1.05, -0.98), (1.05, -0.45)], (255, 240, 170))
    p.shape([(-0.36, 0.85), (-0.22, -0.5), (0.22, -0.5), (0.36, 0.85)], WHITE)
    for y in (-0.35, 0.1, 0.52):
        w = 0.22 + (y + 0.5) * 0.104
        p.shape([(-w, y), (w, y), (w + 0.02, y + 0.2), (-w - 0.02, y + 0.2)], k.main)
    p.box(-0.32, -0.56, 0.32, -0.46, BLACK)
    p.box(-0.16, -0.82, 0.16, -0.54, (255, 225, 110))
    p.shape([(-0.24, -0.8), (0, -1.05), (0.24, -0.8)], k.main)
    p.box(-0.09, 0.6, 0.09, 0.85, WOOD)


def windmill(p: Pen, k: Look) -> None:
    """A tower with a cap and four latticed sails at any angle."""
    p.shape([(-0.44, 0.98), (-0.26, -0.25), (0.26, -0.25), (0.44, 0.98)], k)
    p.smooth([(-0.32, -0.22), (0, -0.6), (0.32, -0.22)], k.second)
    p.box(-0.11, 0.62, 0.11, 0.98, WOOD)
    p.box(-0.09, 0.15, 0.09, 0.36, GLASS)
    start = k.u(0, math.pi / 2)
    for i in range(4):
        c, s = math.cos(start + i * math.pi / 2), math.sin(start + i * math.pi / 2)
        at = [(a * c - b * s, -0.3 + a * s + b * c) for a, b in ((0.22, 0.0), (0.95, 0.0), (0.95, 0.24), (0.22, 0.24))]
        p.shape(at, (238, 230, 210))
        p.line([(0, -0.3), at[1]], 0.06, WOOD)
    p.disc(0, -0.3, 0.08, BLACK)


def tent(p: Pen, k: Look) -> None:
    """A ridge tent with an open flap; the tall striped one is a circus tent."""
    if k.part == "circus":
        p.line([(0, -0.7), (0, -1.08)], 0.04, WOOD)
        p.shape([(0.0, -1.08), (0.3, -0.98), (0.0, -0.9)], (240, 200, 50))
        p.box(-0.75, 0.1, 0.75, 0.9, k)
        p.shape([(-0.98, 0.18), (0, -0.8), (0.98, 0.18)], k)
    else:
        p.shape([(-1.0, 0.8), (-0.15, -0.75), (0.3, -0.75), (1.0, 0.8)], k)
        p.shape([(-0.9, 0.8), (-0.15, -0.75), (0.55, 0.8)], light(k.main, 0.2))
    p.shape([(-0.42, 0.88), (-0.12, -0.15 if k.part != "circus" else 0.25), (0.18, 0.88)], (50, 40, 38))
