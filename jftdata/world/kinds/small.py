"""Sea creatures, insects and other small animals."""

import math

import numpy as np

from jftdata.world.palette import BLACK, WHITE, dark, light
from jftdata.world.pen import Look, Pen


def fish(p: Pen, k: Look) -> None:
    """From the side: oval body, forked tail, fins; a fan tail is the goldfish's, whiskers the catfish's."""
    tall, tail = k.u(0.36, 0.56), k.u(0.32, 0.5)
    fin = dark(k.main, 0.78) if k.texture == "plain" else k.second
    if k.part == "fan":
        p.smooth(
            [(-0.45, 0), (-0.9, -0.65), (-1.08, -0.3), (-0.85, 0), (-1.08, 0.35), (-0.9, 0.7)], light(k.main, 0.25)
        )
    else:
        p.shape([(-0.45, 0), (-1.0, -tail), (-0.82, 0), (-1.0, tail)], fin)
    p.smooth([(0.25, -tall * 0.8), (0.05, -tall - 0.3), (-0.45, -tall - 0.12), (-0.4, -tall * 0.5)], fin)
    p.smooth([(0.1, tall * 0.7), (-0.12, tall + 0.25), (-0.35, tall * 0.6)], fin)
    p.smooth(
        [
            (0.9, 0),
            (0.5, -tall * 0.8),
            (0, -tall),
            (-0.4, -0.6 * tall),
            (-0.65, 0),
            (-0.4, 0.6 * tall),
            (0, tall),
            (0.5, tall * 0.8),
        ],
        k,
    )
    p.arc(0.35, 0, tall * 0.8, -60, 60, 0.04, dark(k.main, 0.6))
    p.shape([(0.1, 0.02), (-0.22, 0.26), (-0.25, 0.02)], fin)
    p.eye(0.6, -0.13, 0.11)


def shark(p: Pen, k: Look) -> None:
    """Long and grey with a tall fin, a split tail, gill slits and teeth."""
    p.shape([(-0.75, 0.02), (-1.08, -0.55), (-0.86, -0.02), (-1.05, 0.3)], dark(k.main, 0.85))
    p.shape([(0.2, -0.25), (-0.12, k.u(-0.9, -0.7)), (-0.25, -0.2)], dark(k.main, 0.85))
    p.smooth([(1.05, -0.02), (0.5, -0.32), (-0.2, -0.26), (-0.85, -0.02), (-0.2, 0.26), (0.6, 0.28)], k)
    p.smooth([(0.85, 0.12), (0.3, 0.12), (-0.5, 0.08), (-0.1, 0.24), (0.5, 0.27)], light(k.main, 0.75))
    p.shape([(0.25, 0.15), (-0.1, 0.65), (-0.05, 0.2)], dark(k.main, 0.75))
    for x in (0.28, 0.36, 0.44):
        p.line([(x, -0.1), (x - 0.04, 0.1)], 0.03, dark(k.main, 0.45))
    p.line([(0.62, 0.14), (0.95, 0.08)], 0.05, (150, 40, 40))
    p.eye(0.7, -0.12, 0.06)


def whale(p: Pen, k: Look) -> None:
    """A great round head, a raised fluke and a spout."""
    spout = (190, 225, 245)
    p.curve([(0.35, -0.35), (0.35, -0.75), (0.12, -0.9)], 0.08, spout)
    p.curve([(0.35, -0.35), (0.35, -0.75), (0.6, -0.92)], 0.08, spout)
    p.smooth([(-0.72, 0.1), (-1.08, -0.2), (-1.0, -0.5), (-0.8, -0.32), (-0.55, -0.55), (-0.5, -0.25)], k.main)
    p.smooth([(0.95, 0.1), (0.7, -0.3), (0.2, -0.4), (-0.35, -0.1), (-0.8, -0.3), (-0.6, 0.3), (0, 0.6), (0.7, 0.5)], k)
    p.smooth([(0.95, 0.25), (0.4, 0.28), (-0.1, 0.3), (-0.3, 0.45), (0.1, 0.6), (0.7, 0.5)], light(k.main, 0.7))
    p.smooth([(0.15, 0.3), (-0.2, 0.75), (0.35, 0.5)], dark(k.main, 0.8))
    p.eye(0.62, 0.08, 0.07)


def octopus(p: Pen, k: Look) -> None:
    """A round head on eight curling arms."""
    for i in range(8):
        x = -0.78 + i * 0.223
        sway = k.u(-0.16, 0.16)
        p.curve([(x * 0.45, 0.1), (x * 0.9, 0.5), (x + sway, 0.8), (x + sway + 0.14, 0.95)], 0.15, dark(k.main, 0.88))
    p.smooth([(0, -0.95), (0.5, -0.7), (0.55, -0.2), (0.35, 0.3), (-0.35, 0.3), (-0.55, -0.2), (-0.5, -0.7)], k)
    for side in (-1, 1):
        p.eye(side * 0.22, -0.15, 0.14)
    p.arc(0, 0.05, 0.12, 20, 160, 0.04, BLACK)


def crab(p: Pen, k: Look) -> None:
    """A wide shell, stalked eyes, six legs and two raised claws."""
    for side in (-1, 1):
        for y in (0.1, 0.3, 0.5):
            p.line([(side * 0.4, y), (side * 0.82, y - 0.05), (side * 0.98, y + 0.28)], 0.09, dark(k.main, 0.8))
        up = k.u(-0.7, -0.45)
        p.line([(side * 0.45, 0), (side * 0.8, -0.15), (side * 0.72, up + 0.1)], 0.14, k.main)
        p.oval(side * 0.68, up - 0.08, 0.22, 0.27, k.main)
        p.shape([(side * 0.68, up - 0.4), (side * 0.62, up - 0.02), (side * 0.78, up - 0.36)], BLACK)
        p.line([(side * 0.18, 0), (side * 0.2, -0.35)], 0.07, k.main)
    p.smooth([(0, -0.15), (0.5, -0.05), (0.65, 0.25), (0.3, 0.6), (-0.3, 0.6), (-0.65, 0.25), (-0.5, -0.05)], k)
    for side in (-1, 1):
        p.eye(side * 0.2, -0.38, 0.1)
    p.arc(0, 0.2, 0.16, 20, 160, 0.05, dark(k.main, 0.5))


def starfish(p: Pen, k: Look) -> None:
    """Five thick arms with rows of pale dots."""
    thin, spokes = k.u(0.36, 0.46), [math.radians(-90 + 36 * i) for i in range(10)]
    p.smooth([((1.0, thin)[i % 2] * math.cos(t), (1.0, thin)[i % 2] * math.sin(t)) for i, t in enumerate(spokes)], k)
    for t in spokes[::2]:
        for r in (0.25, 0.48, 0.7):
            p.disc(r * math.cos(t), r * math.sin(t), 0.06, light(k.main, 0.55))


def snail(p: Pen, k: Look) -> None:
    """A spiral shell on a soft foot, with two feelers."""
    flesh = k.rng.choice(((205, 180, 130), (150, 130, 100), (190, 190, 120)))
    for x in (0.72, 0.92):
        p.line([(0.72, 0.3), (x + 0.03, -0.2)], 0.06, flesh)
        p.disc(x + 0.03, -0.22, 0.07, BLACK)
    p.smooth([(-1.0, 0.78), (-0.4, 0.55), (0.4, 0.5), (0.6, 0.2), (0.88, 0.2), (0.92, 0.5), (0.7, 0.8)], flesh)
    p.disc(-0.12, 0.05, 0.62, k)
    turns = [(0.55 - 0.05 * i) for i in range(10)]
    spiral = [(-0.12 + r * math.cos(i * 0.95), 0.05 + r * math.sin(i * 0.95)) for i, r in enumerate(turns)]
    p.curve(spiral, 0.08, dark(k.main, 0.5))


def butterfly(p: Pen, k: Look) -> None:
    """Four open wings, a thin body and two feelers."""
    up, low, edge = k.u(0.8, 1.0), k.u(0.6, 0.9), dark(k.main, 0.35)
    for side in (-1, 1):
        p.smooth(
            [(side * 0.05, 0.0), (side * 0.3, 0.1), (side * 0.8, 0.25), (side * 0.7, low), (side * 0.3, low)], edge
        )
        p.smooth(
            [(side * 0.05, 0.05), (side * 0.1, -0.4), (side * 0.65, -up), (side * 1.02, -0.75), (side * 0.85, 0)], edge
        )
        p.smooth(
            [
                (side * 0.1, 0.1),
                (side * 0.3, 0.18),
                (side * 0.7, 0.3),
                (side * 0.6, low * 0.88),
                (side * 0.32, low * 0.88),
            ],
            k,
        )
        p.smooth(
            [
                (side * 0.1, 0.0),
                (side * 0.18, -0.35),
                (side * 0.65, -up * 0.85),
                (side * 0.9, -0.66),
                (side * 0.75, -0.05),
            ],
            k,
        )
        p.curve([(0, -0.4), (side * 0.1, -0.7), (side * 0.26, -0.85)], 0.04, BLACK)
        if k.part == "eyed":
            p.disc(side * 0.62, -0.42, 0.16, WHITE)
            p.disc(side * 0.62, -0.42, 0.09, BLACK)
    p.oval(0, 0.08, 0.09, 0.52, BLACK)


def ladybird(p: Pen, k: Look) -> None:
    """From above: a domed back with black dots and a parting line."""
    for side in (-1, 1):
        for y in (-0.25, 0.1, 0.45):
            p.line([(side * 0.5, y), (side * 0.92, y - 0.1 + 0.3 * y)], 0.07, BLACK)
        p.line([(side * 0.12, -0.75), (side * 0.3, -1.0)], 0.05, BLACK)
    p.oval(0, -0.6, 0.38, 0.28, BLACK)
    p.oval(0, 0.12, 0.7, 0.75, k)
    p.line([(0, -0.6), (0, 0.85)], 0.06, BLACK)
    for x, y in ((0.32, -0.25), (0.42, 0.2), (0.22, 0.55))[: 1 if k.part == "two" else 3]:
        for side in (-1, 1):
            p.disc(side * x, y, 0.22 if k.part == "two" else 0.14, BLACK)
    for side in (-1, 1):
        p.disc(side * 0.18, -0.66, 0.08, WHITE)


def bee(p: Pen, k: Look) -> None:
    """From the side: a striped oval body, clear wings, a sting."""
    for turn in (-30, 10):
        p.oval(-0.05 + turn * 0.006, -0.55, 0.26, 0.46, (215, 232, 245), turn=turn)
    p.shape([(-0.7, 0.05), (-1.02, 0.15), (-0.7, 0.25)], BLACK)
    p.oval(-0.1, 0.15, 0.7, 0.42, k.main)
    for x in (-0.5, -0.22, 0.06):
        half = 0.4 * math.sqrt(max(0.0, 1 - ((x + 0.17) / 0.7) ** 2))
        p.box(x, 0.15 - half, x + 0.14, 0.15 + half, BLACK)
    p.disc(0.6, 0.08, 0.32, dark(k.main, 0.85))
    p.eye(0.68, 0.0, 0.11)
    p.curve([(0.62, -0.2), (0.72, -0.5), (0.9, -0.55)], 0.05, BLACK)


def spider(p: Pen, k: Look) -> None:
    """From above: two round parts and eight bent legs."""
    for side in (-1, 1):
        for knee, foot in ((-0.75, -0.95), (-0.35, -0.3), (0.05, 0.35), (0.4, 0.95)):
            out = k.u(0.85, 1.0)
            p.line([(0, -0.2), (side * 0.55, knee), (side * out, foot)], 0.07, dark(k.main, 0.8))
    p.oval(0, 0.3, 0.4, 0.48, k)
    p.disc(0, -0.3, 0.26, k.main)
    for side in (-1, 1):
        p.disc(side * 0.1, -0.42, 0.07, WHITE)


def tortoise(p: Pen, k: Look) -> None:
    """A domed, plated shell over four stumpy legs and a small head."""
    skin = k.rng.choice(((150, 160, 90), (120, 140, 80), (170, 150, 100)))
    for x in (-0.5, 0.35):
        p.line([(x, 0.35), (x + k.u(-0.1, 0.1), 0.72)], 0.24, skin)
    p.line([(0.55, 0.25), (0.85, -0.02)], 0.26, skin)
    p.oval(0.9, -0.08, 0.2, 0.18, skin)
    p.eye(0.96, -0.13, 0.06)
    p.shape([(-0.7, 0.3), (-1.0, 0.45), (-0.7, 0.45)], skin)
    p.smooth([(-0.8, 0.4), (-0.72, -0.15), (-0.3, -0.6), (0.2, -0.6), (0.58, -0.2), (0.68, 0.4)], k)
    rim = dark(k.main, 0.5)
    p.line([(-0.76, 0.36), (0.66, 0.36)], 0.14, rim)
    for points in ([(-0.3, -0.55), (-0.38, 0.3)], [(0.18, -0.55), (0.22, 0.3)], [(-0.72, 0.0), (0.6, 0.0)]):
        p.line(points, 0.06, rim)


def snake(p: Pen, k: Look) -> None:
    """A long winding body in rings with a forked tongue."""
    bend = k.u(0.26, 0.4)
    steps = np.linspace(0, 1, 25)
    path = np.stack((-1 + 1.62 * steps, 0.3 - bend * np.sin(steps * 11) - 0.7 * steps**6), axis=1)
    p.line(path[:6], 0.16, k.main)
    p.line(path[3:], 0.26, k.main)
    for x, y in path[2:-2:3].tolist():
        p.disc(x, y, 0.09, k.second)
    x, y = path[-1].tolist()
    p.line([(x + 0.2, y - 0.02), (x + 0.5, y - 0.1)], 0.04, (210, 30, 50))
    p.oval(x + 0.1, y, 0.27, 0.19, k.main, turn=-12)
    p.eye(x + 0.14, y - 0.08, 0.07)
