"""Things of the house, the toy box and the workshop."""

import math

from jftdata.world.palette import BLACK, GLASS, STEEL, WHITE, WOOD, dark, light
from jftdata.world.pen import Look, Pen

BRASS = (214, 172, 66)


def mug(p: Pen, k: Look) -> None:
    """A straight cup with one handle at the side; steam now and then."""
    p.arc(0.52, 0.12, 0.34, -90, 90, 0.15, dark(k.main, 0.88))
    p.smooth(
        [(-0.66, -0.55), (0, -0.55), (0.58, -0.55), (0.55, 0.1), (0.5, 0.75), (0, 0.84), (-0.58, 0.75), (-0.62, 0.1)], k
    )
    p.oval(-0.04, -0.52, 0.61, 0.16, light(k.main, 0.45))
    p.oval(-0.04, -0.5, 0.5, 0.1, (84, 52, 32))
    if k.rng.random() < 0.4:
        for x in (-0.25, 0.1):
            p.curve([(x, -0.7), (x + 0.1, -0.82), (x, -0.92), (x + 0.08, -1.02)], 0.05, (225, 225, 228))


def bucket(p: Pen, k: Look) -> None:
    """Wider at the top, with a wire handle over it."""
    p.arc(0, -0.42, 0.68, 190 + k.u(-6, 6), 350, 0.06, STEEL)
    p.shape([(-0.72, -0.42), (0.72, -0.42), (0.5, 0.88), (-0.5, 0.88)], k)
    p.oval(0, 0.86, 0.5, 0.1, dark(k.main, 0.8))
    p.oval(0, -0.42, 0.72, 0.16, light(k.main, 0.4))
    p.oval(0, -0.4, 0.6, 0.1, (90, 150, 190) if k.part == "water" else dark(k.main, 0.45))
    p.line([(-0.62, 0.1), (0.62, 0.1)], 0.06, dark(k.main, 0.7))


def teapot(p: Pen, k: Look) -> None:
    """A round belly with a spout, a handle and a lid."""
    p.arc(-0.62, 0.12, 0.36, 90, 270, 0.13, k.main)
    p.smooth([(0.45, 0.4), (0.75, 0.05), (0.85, -0.4), (1.08, -0.45), (0.98, 0.1), (0.6, 0.58)], dark(k.main, 0.88))
    p.oval(0, 0.2, 0.68, 0.58, k)
    p.oval(0, -0.34, 0.36, 0.13, light(k.main, 0.2))
    p.disc(0, -0.54, 0.13, k.second)
    p.box(-0.4, 0.74, 0.4, 0.84, dark(k.main, 0.7))


def bottle(p: Pen, k: Look) -> None:
    """A body, a narrow neck and a label; milk is white, wine has a long neck."""
    neck = 0.1 if k.part == "wine" else 0.15
    p.smooth(
        [
            (-neck, -0.9),
            (neck, -0.9),
            (neck, -0.5),
            (0.36, -0.1),
            (0.38, 0.5),
            (0.34, 0.96),
            (-0.34, 0.96),
            (-0.38, 0.5),
            (-0.36, -0.1),
            (-neck, -0.5),
        ],
        k,
    )
    p.box(-neck - 0.03, -1.02, neck + 0.03, -0.84, (200, 50, 50) if k.part != "wine" else WOOD)
    p.box(-0.36, 0.15, 0.36, 0.6, (244, 236, 214) if k.part != "milk" else (90, 140, 220))
    p.line([(-0.2, 0.38), (0.2, 0.38)], 0.07, k.second)
    p.line([(-0.24, -0.05), (-0.24, 0.1)], 0.05, light(k.main, 0.7))


def clock(p: Pen, k: Look) -> None:
    """A round face with hands; bells and feet make it an alarm clock, a strap a watch."""
    r = 0.72 if k.part == "alarm" else 0.9
    if k.part == "alarm":
        for side in (-1, 1):
            p.line([(side * 0.4, 0.6), (side * 0.62, 0.96)], 0.13, STEEL)
            p.oval(side * 0.48, -0.72, 0.28, 0.18, k.second, turn=side * 38)
        p.line([(0, -0.7), (0, -0.98)], 0.07, STEEL)
    if k.part == "watch":
        r = 0.6
        p.shape([(-0.34, -1.05), (0.34, -1.05), (0.4, -0.3), (-0.4, -0.3)], k.second)
        p.shape([(-0.34, 1.05), (0.34, 1.05), (0.4, 0.3), (-0.4, 0.3)], k.second)
    p.disc(0, 0, r, k)
    p.disc(0, 0, r * 0.8, WHITE)
    for i in range(12):
        t = math.radians(30 * i)
        p.disc(r * 0.68 * math.cos(t), r * 0.68 * math.sin(t), 0.045 if i % 3 else 0.07, BLACK)
    for reach, width in ((0.42, 0.1), (0.6, 0.06)):
        t = k.u(0, 6.28)
        p.line([(0, 0), (r * reach * math.cos(t), r * reach * math.sin(t))], width, BLACK)


def lamp(p: Pen, k: Look) -> None:
    """A shade on a stand with a round foot."""
    p.line([(0, -0.1), (0, 0.85)], 0.1, BRASS)
    p.oval(0, 0.88, 0.45, 0.12, BRASS)
    p.shape([(-0.36, -0.9), (0.36, -0.9), (0.76, 0.0), (-0.76, 0.0)], k)
    p.oval(0, 0.0, 0.7, 0.1, (255, 238, 160))
    p.line([(0.3, 0.05), (0.3, 0.35)], 0.03, BRASS)


def chair(p: Pen, k: Look) -> None:
    """A back, a seat and four legs, seen a little from the side; padded it is an armchair."""
    if k.part == "arm":
        p.smooth([(-0.6, 0.5), (-0.62, -0.6), (0, -0.85), (0.62, -0.6), (0.6, 0.5)], k)
        p.smooth([(-0.6, 0.25), (0.6, 0.25), (0.62, 0.6), (-0.62, 0.6)], light(k.main, 0.25))
        for side in (-1, 1):
            p.oval(side * 0.74, 0.3, 0.24, 0.42, dark(k.main, 0.85))
            p.line([(side * 0.55, 0.75), (side * 0.55, 0.95)], 0.12, WOOD)
        return
    back = dark(k.main, 0.75)
    p.line([(0.55, 0.15), (0.6, 0.8)], 0.1, back)
    p.line([(-0.2, 0.15), (-0.2, 0.8)], 0.1, back)
    for x in (-0.5, 0.1):
        p.line([(x, 0.2), (x - 0.05, -0.98)], 0.11, k.main)
    for y in (-0.8, -0.5, -0.2):
        p.line([(-0.52, y), (0.06, y)], 0.12, k.main)
    p.shape([(-0.6, 0.25), (-0.25, 0.02), (0.68, 0.02), (0.4, 0.25)], k)
    p.line([(-0.52, 0.25), (-0.54, 0.98)], 0.11, k.main)
    p.line([(0.36, 0.25), (0.38, 0.98)], 0.11, k.main)


def umbrella(p: Pen, k: Look) -> None:
    """An open scalloped dome over a hooked stick."""
    p.line([(0, -0.5), (0, 0.75)], 0.08, WOOD)
    p.arc(0.17, 0.75, 0.17, 0, 180, 0.08, WOOD)
    rim = [(0.95, 0.05), (0.63, -0.1), (0.32, 0.05), (0, -0.1), (-0.32, 0.05), (-0.63, -0.1), (-0.95, 0.05)]
    dome = [(math.cos(math.radians(t)) * 0.95, 0.05 - 0.95 * math.sin(math.radians(t))) for t in range(180, -1, -15)]
    p.shape(dome + rim[1:-1], k)
    if k.texture == "plain":
        p.smooth([(0, -0.9), (0.26, -0.5), (0.32, 0.02), (0, -0.12), (-0.32, 0.02), (-0.26, -0.5)], k.second)
    p.line([(0, -0.88), (0, -1.03)], 0.07, STEEL)


def glasses(p: Pen, k: Look) -> None:
    """Two rims, a bridge and the ends of the side pieces; dark lenses for the sun."""
    lens = (44, 46, 58) if k.part == "sun" else GLASS
    w = k.u(0.38, 0.46)
    for side in (-1, 1):
        p.line([(side * 0.9, -0.08), (side * 1.06, -0.36)], 0.12, k.main)
        p.oval(side * 0.5, 0, w + 0.1, 0.48, k)
        p.oval(side * 0.5, 0, w - 0.05, 0.34, lens)
        p.line([(side * 0.5 - 0.16, -0.06), (side * 0.5 + 0.02, -0.22)], 0.06, light(lens, 0.6))
    p.arc(0, 0.05, 0.15, 200, 340, 0.12, k.main)


def guitar(p: Pen, k: Look) -> None:
    """A waisted body with a round hole, a long neck and a head; the electric one has horns."""
    p.line([(0, 0.1), (0, -0.85)], 0.14, (86, 56, 36))
    p.shape([(-0.12, -1.05), (0.12, -1.05), (0.09, -0.78), (-0.09, -0.78)], (60, 38, 26))
    if k.part == "electric":
        p.smooth(
            [
                (-0.42, -0.12),
                (-0.2, 0.12),
                (0.12, 0.06),
                (0.36, -0.05),
                (0.34, 0.3),
                (0.52, 0.75),
                (0, 0.95),
                (-0.5, 0.75),
                (-0.36, 0.3),
            ],
            k,
        )
        p.box(-0.16, 0.3, 0.16, 0.4, BLACK)
        p.box(-0.16, 0.52, 0.16, 0.62, BLACK)
    else:
        p.smooth(
            [
                (0, -0.18),
                (0.34, -0.05),
                (0.3, 0.24),
                (0.54, 0.6),
                (0.3, 0.94),
                (-0.3, 0.94),
                (-0.54, 0.6),
                (-0.3, 0.24),
                (-0.34, -0.05),
            ],
            k,
        )
        p.disc(0, 0.26, 0.16, (44, 28, 20))
    p.box(-0.2, 0.68, 0.2, 0.76, (60, 38, 26))
    for x in (-0.03, 0.03):
        p.line([(x, -0.9), (x, 0.72)], 0.015, (230, 225, 210))


def drum(p: Pen, k: Look) -> None:
    """A short barrel with laces and two sticks."""
    p.box(-0.8, -0.25, 0.8, 0.6, k)
    p.oval(0, 0.6, 0.8, 0.26, k.main)
    zigzag = [(-0.8 + 0.2 * i, -0.15 if i % 2 else 0.6) for i in range(9)]
    p.line(zigzag, 0.05, WHITE)
    p.oval(0, -0.25, 0.83, 0.3, BRASS)
    p.oval(0, -0.27, 0.74, 0.24, (246, 240, 226))
    for x0, x1 in ((-0.8, 0.05), (0.85, 0.1)):
        p.line([(x0, -0.98), (x1, -0.35)], 0.07, WOOD)
        p.disc(x1, -0.33, 0.08, WOOD)


def key(p: Pen, k: Look) -> None:
    """A ring, a shaft and two teeth."""
    p.line([(-0.2, 0), (0.95, 0)], 0.16, k.main)
    for x in (0.62, 0.88):
        p.line([(x, 0), (x, k.u(0.28, 0.42))], 0.15, k.main)
    p.arc(-0.56, 0, 0.34, 0, 360, 0.2, k.main)
    p.line([(-0.14, -0.1), (-0.14, 0.1)], 0.1, dark(k.main, 0.7))


def scissors(p: Pen, k: Look) -> None:
    """Two crossed blades with ring handles."""
    wide = k.u(0.2, 0.42)
    for side in (-1, 1):
        p.shape(
            [(side * 0.1, 0.15), (-side * wide, -1.0), (-side * 0.12, 0.1)], STEEL if side > 0 else dark(STEEL, 0.85)
        )
        p.line([(0, 0.05), (side * 0.28, 0.42)], 0.14, k.main)
        p.arc(side * 0.4, 0.66, 0.24, 0, 360, 0.14, k.main)
    p.disc(0, 0.06, 0.07, BLACK)


def hammer(p: Pen, k: Look) -> None:
    """A wooden handle and a steel head with a claw."""
    p.line([(0, -0.5), (0, 0.92)], 0.2, k.main)
    p.shape([(-0.12, -0.85), (0.55, -0.85), (0.55, -0.42), (-0.12, -0.42)], STEEL)
    p.smooth([(-0.1, -0.84), (-0.55, -0.72), (-0.85, -0.32), (-0.5, -0.45), (-0.1, -0.42)], STEEL)
    p.box(0.5, -0.9, 0.68, -0.37, dark(STEEL, 0.75))


def hat(p: Pen, k: Look) -> None:
    """A top hat, a broad-brimmed hat, a bobble hat or a peaked cap."""
    if k.part == "top":
        p.smooth([(-0.95, 0.55), (0, 0.75), (0.95, 0.55), (0.6, 0.48), (0, 0.58), (-0.6, 0.48)], k.main)
        p.shape([(-0.56, 0.55), (-0.62, -0.8), (0.62, -0.8), (0.56, 0.55)], k)
        p.oval(0, -0.8, 0.62, 0.14, light(k.main, 0.25))
        p.shape([(-0.58, 0.2), (0.58, 0.2), (0.57, 0.48), (-0.57, 0.48)], k.second)
    elif k.part == "straw":
        p.oval(0, 0.35, 1.0, 0.3, k)
        p.smooth([(-0.52, 0.3), (-0.45, -0.35), (0, -0.52), (0.45, -0.35), (0.52, 0.3), (0, 0.4)], k)
        p.curve([(-0.52, 0.18), (0, 0.3), (0.52, 0.18)], 0.17, k.second)
    elif k.part == "bobble":
        p.disc(0, -0.72, 0.27, k.second)
        p.smooth([(-0.66, 0.45), (-0.6, -0.2), (0, -0.62), (0.6, -0.2), (0.66, 0.45)], k)
        p.line([(-0.6, 0.5), (0.6, 0.5)], 0.3, k.second)
    else:
        p.smooth([(0.35, 0.2), (0.75, 0.15), (1.08, 0.38), (0.6, 0.42), (0.2, 0.4)], dark(k.main, 0.75))
        p.smooth([(-0.75, 0.38), (-0.7, -0.2), (-0.1, -0.58), (0.45, -0.3), (0.6, 0.3), (0, 0.42)], k)
        p.disc(-0.08, -0.56, 0.08, k.second)


def shirt(p: Pen, k: Look) -> None:
    """A T-shirt laid flat."""
    half = [(0.22, -0.8), (0.5, -0.72), (1.0, -0.3), (0.76, 0.05), (0.54, -0.15), (0.54, 0.9)]
    p.shape(half + [(-x, y) for x, y in reversed(half)], k)
    p.smooth([(-0.24, -0.82), (0.24, -0.82), (0.12, -0.62), (-0.12, -0.62)], dark(k.main, 0.55))


def boot(p: Pen, k: Look) -> None:
    """A tall rubber boot, or a low shoe with laces."""
    if k.part == "shoe":
        p.smooth([(-0.9, 0.4), (-0.85, -0.35), (-0.4, -0.4), (-0.1, -0.05), (0.6, 0.05), (0.98, 0.4)], k)
        p.box(-0.92, 0.38, 1.0, 0.56, WHITE)
        for x in (-0.3, -0.1, 0.1):
            p.line([(x, -0.18 + (x + 0.3) * 0.4), (x + 0.14, 0.02 + (x + 0.3) * 0.4)], 0.06, k.second)
        return
    p.shape([(-0.55, -0.95), (0.12, -0.95), (0.12, 0.2), (-0.55, 0.4)], k)
    p.smooth([(-0.6, 0.82), (-0.56, 0.15), (0.1, 0.1), (0.45, 0.3), (0.88, 0.45), (0.92, 0.82)], k)
    p.line([(-0.52, -0.9), (0.1, -0.9)], 0.14, k.second)
    p.box(-0.62, 0.78, 0.95, 0.95, dark(k.main, 0.5))


def ball(p: Pen, k: Look) -> None:
    """A football, a beach ball, a basketball or a tennis ball by its seams."""
    p.disc(0, 0, 0.92, k)
    if k.part == "football":
        p.shape(
            [(0.32 * math.cos(t), 0.32 * math.sin(t)) for t in (math.radians(72 * i - 90) for i in range(5))], BLACK
        )
        for i in range(5):
            t = math.radians(72 * i - 90)
            c, s = math.cos(t), math.sin(t)
            p.line([(0.3 * c, 0.3 * s), (0.62 * c, 0.62 * s)], 0.05, BLACK)
            p.shape(
                [
                    (0.62 * c - 0.2 * s, 0.62 * s + 0.2 * c),
                    (0.62 * c + 0.2 * s, 0.62 * s - 0.2 * c),
                    (0.9 * c, 0.9 * s),
                ],
                BLACK,
            )
    elif k.part == "beach":
        for i in range(3):
            t = math.radians(120 * i)
            a, b = math.radians(120 * i + 60), 0.92
            p.smooth(
                [
                    (0, 0),
                    (b * math.cos(t), b * math.sin(t)),
                    (b * math.cos((t + a) / 2), b * math.sin((t + a) / 2)),
                    (b * math.cos(a), b * math.sin(a)),
                ],
                (k.second, (240, 200, 60), (60, 120, 210))[i],
            )
        p.disc(0, 0, 0.14, WHITE)
    elif k.part == "basketball":
        p.line([(-0.9, 0), (0.9, 0)], 0.06, BLACK)
        p.line([(0, -0.9), (0, 0.9)], 0.06, BLACK)
        for side in (-1, 1):
            p.arc(side * 1.05, 0, 0.72, 90 + (0 if side > 0 else -150), 270 + (0 if side > 0 else -210), 0.06, BLACK)
    else:
        for side in (-1, 1):
            p.curve([(side * 0.82, -0.4), (side * 0.35, -0.2), (side * 0.35, 0.2), (side * 0.82, 0.4)], 0.08, WHITE)


def kite(p: Pen, k: Look) -> None:
    """A diamond with a cross and a tail of bows."""
    p.curve([(0, 0.35), (0.2, 0.6), (-0.1, 0.8), (0.15, 1.05)], 0.04, BLACK)
    for x, y in ((0.14, 0.58), (-0.04, 0.8)):
        p.shape([(x - 0.16, y - 0.08), (x + 0.16, y + 0.08), (x + 0.16, y - 0.08), (x - 0.16, y + 0.08)], k.second)
    p.shape([(0, -1.0), (0.62, -0.4), (0, 0.4), (-0.62, -0.4)], k)
    p.shape([(0, -1.0), (0.62, -0.4), (0, -0.4)], k.second)
    p.shape([(0, 0.4), (-0.62, -0.4), (0, -0.4)], k.second)


def book(p: Pen, k: Look) -> None:
    """Open, two pages of lines in a coloured cover, or closed and standing."""
    if k.part == "closed":
        p.shape([(-0.6, -0.85), (0.62, -0.85), (0.62, 0.85), (-0.6, 0.85)], k)
        p.box(0.58, -0.8, 0.7, 0.8, (240, 234, 215))
        p.box(-0.6, -0.85, -0.42, 0.85, dark(k.main, 0.6))
        p.box(-0.2, -0.5, 0.4, -0.2, k.second)
        return
    p.shape([(0, -0.5), (0.98, -0.65), (0.98, 0.6), (0, 0.78), (-0.98, 0.6), (-0.98, -0.65)], k)
    for side in (-1, 1):
        p.smooth(
            [(0, -0.5), (side * 0.45, -0.72), (side * 0.9, -0.62), (side * 0.9, 0.5), (side * 0.45, 0.45), (0, 0.66)],
            (248, 244, 232),
        )
        for y in (-0.35, -0.12, 0.1, 0.3):
            p.line([(side * 0.16, y), (side * 0.74, y - 0.06)], 0.045, (120, 120, 125))
    p.line([(0, -0.5), (0, 0.7)], 0.05, (150, 140, 120))


def candle(p: Pen, k: Look) -> None:
    """A wax column with a flame on a saucer."""
    p.oval(0, 0.86, 0.62, 0.14, BRASS)
    p.arc(0.66, 0.76, 0.16, -120, 150, 0.07, BRASS)
    p.box(-0.24, -0.3, 0.24, 0.84, k)
    p.oval(0, -0.3, 0.24, 0.08, light(k.main, 0.5))
    p.line([(0, -0.3), (0, -0.46)], 0.05, BLACK)
    p.smooth([(0, -1.02), (0.17, -0.6), (0, -0.4), (-0.17, -0.6)], (255, 170, 40))
    p.smooth([(0, -0.8), (0.08, -0.58), (0, -0.45), (-0.08, -0.58)], (255, 240, 150))


def snowman(p: Pen, k: Look) -> None:
    """Two balls of snow with a carrot nose, buttons, stick arms and a hat."""
    for side in (-1, 1):
        p.line([(side * 0.3, 0.05), (side * 0.85, k.u(-0.4, -0.05))], 0.06, WOOD)
    p.disc(0, 0.48, 0.5, (244, 248, 252))
    p.disc(0, -0.28, 0.36, (250, 252, 255))
    p.line([(-0.28, 0.02), (0.28, 0.02)], 0.15, k.main)
    p.line([(0.18, 0.05), (0.24, 0.36)], 0.13, k.main)
    for y in (0.3, 0.52, 0.74):
        p.disc(0, y, 0.06, BLACK)
    for side in (-1, 1):
        p.disc(side * 0.13, -0.36, 0.055, BLACK)
    p.shape([(0, -0.3), (0.42, -0.2), (0, -0.16)], (245, 130, 30))
    p.box(-0.42, -0.66, 0.42, -0.56, BLACK)
    p.box(-0.26, -1.02, 0.26, -0.6, BLACK)


def anchor(p: Pen, k: Look) -> None:
    """A ring, a stock, a shank and two flukes. Only the clean set has it."""
    p.line([(0, -0.6), (0, 0.85)], 0.17, k.main)
    p.arc(0, -0.76, 0.18, 0, 360, 0.11, k.main)
    p.line([(-0.42, -0.42), (0.42, -0.42)], 0.15, k.main)
    p.arc(0, 0.12, 0.72, 10, 170, 0.17, k.main)
    for side in (-1, 1):
        p.shape([(side * 0.95, 0.35), (side * 0.72, -0.1), (side * 0.45, 0.3)], k.main)


def padlock(p: Pen, k: Look) -> None:
    """A body with a keyhole under a shackle. Only the clean set has it."""
    p.line([(-0.42, 0.0), (-0.42, -0.4)], 0.18, STEEL)
    p.line([(0.42, 0.0), (0.42, -0.4)], 0.18, STEEL)
    p.arc(0, -0.4, 0.42, 180, 360, 0.18, STEEL)
    p.smooth([(-0.72, -0.1), (0, -0.14), (0.72, -0.1), (0.72, 0.85), (0, 0.92), (-0.72, 0.85)], k)
    p.disc(0, 0.28, 0.15, BLACK)
    p.shape([(0, 0.25), (0.12, 0.65), (-0.12, 0.65)], BLACK)
