"""Mammals and birds. Each function draws one, facing right unless it looks at the viewer."""

from jftdata.world.palette import BLACK, WHITE, dark, light
from jftdata.world.pen import Look, Pen

PINK = (236, 150, 160)
BEAK = (240, 160, 40)


def cat(p: Pen, k: Look) -> None:
    """Sitting, seen from the front, with pointed ears, whiskers and a long tail."""
    tail = k.u(0.5, 0.9)
    p.curve([(0.35, 0.85), (tail, 0.8), (tail + 0.05, 0.3), (tail - 0.1, k.u(-0.1, 0.2))], 0.17, k.main)
    p.smooth([(0, -0.1), (0.32, 0.1), (0.5, 0.65), (0.4, 0.97), (-0.4, 0.97), (-0.5, 0.65), (-0.32, 0.1)], k)
    p.line([(-0.14, 0.55), (-0.16, 0.9)], 0.2, light(k.main, 0.25))
    p.line([(0.14, 0.55), (0.16, 0.9)], 0.2, light(k.main, 0.25))
    lean = k.u(-0.08, 0.08)
    for side in (-1, 1):
        p.shape([(lean + side * 0.52, -0.98), (lean + side * 0.54, -0.45), (lean + side * 0.08, -0.68)], k.main)
        p.shape([(lean + side * 0.44, -0.82), (lean + side * 0.44, -0.52), (lean + side * 0.2, -0.64)], PINK)
    p.oval(lean, -0.38, 0.56, 0.42, k)
    iris = k.rng.choice(((150, 200, 70), (230, 190, 60), (110, 180, 210)))
    for side in (-1, 1):
        p.oval(lean + side * 0.24, -0.42, 0.13, 0.13, iris)
        p.oval(lean + side * 0.24, -0.42, 0.05, 0.12, BLACK)
        for tip in (-0.3, -0.16):
            p.line([(lean + side * 0.2, -0.2), (lean + side * 0.78, tip)], 0.025, light(k.main, 0.7))
    p.shape([(lean - 0.07, -0.26), (lean + 0.07, -0.26), (lean, -0.18)], PINK)


def dog(p: Pen, k: Look) -> None:
    """Standing, from the side, with a square muzzle, a hanging ear and a raised tail."""
    far, low = dark(k.main, 0.72), k.u(0.12, 0.26)
    long = k.part == "long"
    ground, body = (0.62, 0.2) if long else (0.92, 0.26)
    step = k.u(-0.12, 0.12)
    for x in (-0.55, 0.3):
        p.line([(x + 0.12, 0.25), (x + 0.14 + step, ground)], 0.15, far)
    p.curve([(-0.68, 0.0), (-0.9, -0.25), (-0.86, k.u(-0.65, -0.35))], 0.12, k.main)
    p.smooth([(-0.75, -0.1), (0, 0.26 - body - 0.3), (0.5, -0.2), (0.52, 0.2), (0, low + body), (-0.7, 0.3)], k)
    for x in (-0.55, 0.3):
        p.line([(x, 0.22), (x - step, ground)], 0.17, k.main)
        p.oval(x - step + 0.06, ground, 0.14, 0.08, k.main)
    p.shape([(0.25, -0.2), (0.5, -0.75), (0.75, -0.4), (0.55, 0.1)], k.main)
    p.smooth([(0.4, -0.85), (0.72, -0.88), (0.78, -0.68), (1.08, -0.6), (1.08, -0.38), (0.7, -0.3), (0.42, -0.45)], k)
    p.oval(1.06, -0.58, 0.09, 0.08, BLACK)
    p.eye(0.7, -0.68, 0.07)
    if k.rng.random() < 0.5:
        p.oval(0.9, -0.28, 0.06, 0.13, PINK)
    if k.part == "pricked":
        p.shape([(0.36, -0.7), (0.4, -1.12), (0.62, -0.8)], far)
    else:
        p.oval(0.42, -0.55, 0.14, 0.32, far, turn=8)
    p.line([(0.32, -0.22), (0.62, -0.12)], 0.08, k.second)


def rabbit(p: Pen, k: Look) -> None:
    """Crouching, from the side, with two long ears and a tuft of a tail."""
    flop = k.u(-0.25, 0.2)
    p.disc(-0.82, 0.5, 0.17, WHITE)
    p.oval(-0.25, 0.45, 0.62, 0.46, k)
    p.oval(-0.4, 0.62, 0.34, 0.3, light(k.main, 0.15))
    p.oval(0.1, 0.88, 0.3, 0.1, k.main)
    for lean in (0.0, 0.22):
        p.oval(0.2 + lean + flop * 0.6, -0.6, 0.11, 0.4, k.main, turn=-12 + 55 * flop + lean * 60)
        p.oval(0.2 + lean + flop * 0.6, -0.6, 0.055, 0.3, PINK, turn=-12 + 55 * flop + lean * 60)
    p.oval(0.4, 0.02, 0.36, 0.3, k)
    p.eye(0.5, -0.06, 0.08, white=False)
    p.disc(0.75, 0.04, 0.06, PINK)


def horse(p: Pen, k: Look) -> None:
    """From the side, with a long neck, a mane and slim legs; the zebra is this one in stripes."""
    far, step, nod = dark(k.main, 0.7), k.u(-0.18, 0.18), k.u(-0.1, 0.15)
    mane = BLACK if k.part == "zebra" else k.second
    for x in (-0.5, 0.22):
        p.line([(x + 0.12, 0.2), (x + 0.16 + step, 0.6), (x + 0.1 + step, 0.98)], 0.12, far)
    p.curve([(-0.68, -0.1), (-0.9, 0.1), (-0.88, 0.6)], 0.14, mane)
    p.smooth([(-0.72, -0.12), (-0.3, -0.2), (0.2, -0.2), (0.5, -0.1), (0.42, 0.3), (-0.1, 0.34), (-0.7, 0.3)], k)
    for x in (-0.52, 0.26):
        p.line([(x, 0.2), (x - step, 0.6), (x - step * 0.8, 0.98)], 0.13, light(k.main, 0.1))
    p.shape([(0.08, -0.12), (0.45, -0.85 + nod), (0.72, -0.72 + nod), (0.52, 0.15)], k)
    p.curve([(0.05, -0.2), (0.25, -0.6 + nod * 0.5), (0.45, -0.95 + nod)], 0.16, mane)
    p.smooth([(0.45, -0.9 + nod), (0.66, -0.9 + nod), (1.0, -0.5 + nod), (0.92, -0.38 + nod), (0.6, -0.55 + nod)], k)
    p.shape([(0.48, -0.85 + nod), (0.52, -1.08 + nod), (0.62, -0.88 + nod)], k.main)
    p.eye(0.66, -0.74 + nod, 0.05, white=False)


def giraffe(p: Pen, k: Look) -> None:
    """From the side: a very long neck, two knobs on the head, patches."""
    far, reach = dark(k.main, 0.75), k.u(0.25, 0.55)
    for x in (-0.42, 0.05):
        p.line([(x + 0.08, 0.4), (x + 0.1, 0.98)], 0.09, far)
    p.smooth([(-0.55, 0.2), (-0.2, 0.12), (0.2, 0.05), (0.25, 0.42), (-0.1, 0.5), (-0.5, 0.48)], k)
    for x in (-0.46, 0.14):
        p.line([(x, 0.4), (x + 0.02, 0.98)], 0.1, k.main)
    p.shape([(-0.02, 0.14), (reach - 0.08, -0.85), (reach + 0.1, -0.8), (0.27, 0.3)], k)
    p.smooth([(reach - 0.1, -0.92), (reach + 0.1, -0.95), (reach + 0.42, -0.72), (reach + 0.3, -0.62)], k.main)
    for x in (0.0, 0.1):
        p.line([(reach + x, -0.9), (reach + x - 0.03, -1.08)], 0.05, k.second)
    p.eye(reach + 0.12, -0.82, 0.04, white=False)
    p.curve([(-0.54, 0.25), (-0.66, 0.45), (-0.62, 0.65)], 0.05, k.second)


def elephant(p: Pen, k: Look) -> None:
    """From the side, with a large ear, a trunk and a tusk."""
    far, up = dark(k.main, 0.75), k.u(-0.35, 0.45)
    for x in (-0.5, 0.15):
        p.box(x + 0.1, 0.3, x + 0.32, 0.92, far)
    p.smooth([(-0.8, 0.0), (-0.4, -0.5), (0.2, -0.5), (0.4, 0), (0.25, 0.5), (-0.4, 0.52), (-0.78, 0.4)], k)
    for x in (-0.72, -0.02):
        p.box(x, 0.3, x + 0.25, 0.95, k.main)
    p.curve([(0.7, -0.2), (0.95, 0.15), (0.92, 0.5 - up * 0.4), (1.08, 0.75 - up)], 0.2, k.main)
    p.disc(0.5, -0.25, 0.38, k)
    p.line([(0.68, 0.1), (0.9, 0.28)], 0.08, WHITE)
    p.smooth([(0.1, -0.55), (0.42, -0.45), (0.4, 0.0), (0.2, 0.25), (-0.05, -0.1)], far)
    p.eye(0.62, -0.32, 0.05)
    p.line([(-0.8, 0.05), (-0.92, 0.4)], 0.05, far)


def sheep(p: Pen, k: Look) -> None:
    """A woolly cloud of a body on thin legs, with a dark face."""
    face = BLACK if k.part != "goat" else light(k.main, 0.2)
    for x in (-0.45, -0.2, 0.2, 0.42):
        p.line([(x, 0.3), (x + k.u(-0.05, 0.05), 0.9)], 0.11, face)
    for x, y, r in ((-0.5, 0, 0.34), (0.4, 0, 0.34), (-0.2, -0.2, 0.36), (0.15, -0.22, 0.36), (-0.2, 0.2, 0.36)):
        p.disc(x, y, r, k.main)
    p.oval(0, 0.05, 0.6, 0.38, k)
    p.oval(0.72, -0.2, 0.2, 0.3, face, turn=-20)
    p.oval(0.5, -0.32, 0.16, 0.08, face, turn=20)
    p.disc(0.62, -0.46, 0.18, k.main)
    p.eye(0.76, -0.26, 0.06)


def bird(p: Pen, k: Look) -> None:
    """Perched or in flight, from the side, with a beak, a wing and a fan of a tail."""
    flying = k.part == "gull" or k.rng.random() < 0.3
    wing = dark(k.main, 0.7) if k.part != "robin" else (110, 80, 60)
    p.shape([(-0.4, 0.1), (-1.0, k.u(-0.05, 0.35)), (-0.92, 0.5), (-0.35, 0.35)], wing)
    if k.part == "parrot":
        p.shape([(-0.3, 0.2), (-0.95, 0.85), (-0.75, 0.98), (-0.1, 0.4)], k.second)
    if not flying:
        for x in (-0.02, 0.14):
            p.line([(x, 0.45), (x + 0.02, 0.85), (x + 0.16, 0.85)], 0.06, BEAK)
    p.smooth([(-0.5, 0.15), (0, -0.25), (0.35, -0.3), (0.5, 0.05), (0.25, 0.45), (-0.15, 0.48)], k)
    if k.part == "robin":
        p.oval(0.3, 0.12, 0.2, 0.28, (215, 80, 40), turn=25)
    p.disc(0.42, -0.36, 0.29, k.main)
    if k.part == "parrot":
        p.smooth([(0.6, -0.52), (0.86, -0.4), (0.8, -0.1), (0.62, -0.24)], (60, 55, 50))
        p.disc(0.5, -0.4, 0.13, WHITE)
    else:
        p.shape([(0.66, -0.46), (0.66, -0.24), (1.0, -0.32)], BEAK)
    p.eye(0.5, -0.42, 0.08)
    if flying:
        tip = k.u(-1.05, -0.75)
        p.smooth([(-0.2, 0.05), (-0.5, tip), (-0.2, tip + 0.12), (0.25, -0.05)], wing)
    else:
        p.smooth([(-0.62, 0.3), (-0.15, -0.12), (0.2, 0.08), (-0.05, 0.3)], wing)


def owl(p: Pen, k: Look) -> None:
    """Upright, facing the viewer, with two large round eyes and tufts."""
    for side in (-1, 1):
        p.shape([(side * 0.5, -0.98), (side * 0.52, -0.5), (side * 0.1, -0.72)], k.main)
    p.smooth([(0, -0.82), (0.55, -0.6), (0.58, 0.4), (0.3, 0.85), (-0.3, 0.85), (-0.58, 0.4), (-0.55, -0.6)], k)
    p.smooth([(0, 0.0), (0.32, 0.2), (0.25, 0.7), (-0.25, 0.7), (-0.32, 0.2)], light(k.main, 0.55))
    for side in (-1, 1):
        p.smooth([(side * 0.5, -0.2), (side * 0.72, 0.3), (side * 0.5, 0.75), (side * 0.36, 0.2)], dark(k.main, 0.7))
        p.disc(side * 0.26, -0.4, 0.25, light(k.main, 0.7))
        p.disc(side * 0.26, -0.4, 0.16, (245, 180, 30))
        p.disc(side * 0.26, -0.4, 0.085, BLACK)
        p.oval(side * 0.2, 0.88, 0.14, 0.07, BEAK)
    p.shape([(-0.09, -0.3), (0.09, -0.3), (0, -0.08)], BEAK)


def penguin(p: Pen, k: Look) -> None:
    """Upright, black with a white front, flippers and orange feet."""
    lift = k.u(0.0, 0.3)
    for side in (-1, 1):
        p.oval(side * 0.22, 0.92, 0.2, 0.08, BEAK)
        p.smooth([(side * 0.36, -0.2), (side * (0.62 + lift), 0.4 - lift), (side * 0.42, 0.3)], dark(k.main, 0.8))
    p.smooth([(0, -0.5), (0.38, -0.2), (0.48, 0.5), (0.25, 0.9), (-0.25, 0.9), (-0.48, 0.5), (-0.38, -0.2)], k.main)
    p.disc(0, -0.58, 0.33, k.main)
    p.smooth([(0, -0.3), (0.27, 0), (0.34, 0.5), (0.15, 0.84), (-0.15, 0.84), (-0.34, 0.5), (-0.27, 0)], WHITE)
    for side in (-1, 1):
        p.disc(side * 0.13, -0.6, 0.13, WHITE)
        p.disc(side * 0.11, -0.6, 0.06, BLACK)
    p.shape([(-0.1, -0.5), (0.1, -0.5), (0, -0.32)], BEAK)
    if k.part == "scarf":
        p.line([(-0.32, -0.3), (0, -0.2), (0.32, -0.3)], 0.16, k.second)
        p.line([(0.2, -0.24), (0.28, 0.15)], 0.13, k.second)


def duck(p: Pen, k: Look) -> None:
    """Floating, from the side: a boat of a body, an upturned tail and a flat bill. The toy is plain and yellow."""
    head = (24, 110, 70) if k.part == "mallard" else k.main
    p.smooth(
        [(-1.0, -0.25), (-0.6, 0.0), (0, 0.0), (0.4, -0.1), (0.62, 0.3), (0.3, 0.68), (-0.5, 0.68), (-0.85, 0.3)], k
    )
    p.line([(0.38, 0.15), (0.4, -0.3)], 0.34, head)
    if k.part == "mallard":
        p.line([(0.24, 0.0), (0.56, 0.0)], 0.08, WHITE)
    p.disc(0.42, -0.45, 0.36, head)
    p.smooth([(0.7, -0.52), (1.1, -0.42), (1.1, -0.3), (0.7, -0.28)], BEAK if k.part != "mallard" else (220, 200, 60))
    p.eye(0.52, -0.55, 0.1)
    p.smooth([(-0.6, 0.15), (-0.1, 0.1), (0.25, 0.3), (-0.1, 0.52), (-0.45, 0.45)], dark(k.main, 0.8))


def teddy(p: Pen, k: Look) -> None:
    """A toy bear, sitting, arms out, round ears."""
    for side in (-1, 1):
        p.disc(side * 0.4, -0.85, 0.2, k.main)
        p.disc(side * 0.4, -0.85, 0.11, light(k.main, 0.45))
        p.oval(side * 0.55, 0.15, 0.36, 0.17, k.main, turn=side * k.u(10, 40))
        p.oval(side * 0.42, 0.8, 0.26, 0.2, k.main)
    p.oval(0, 0.35, 0.48, 0.52, k)
    for side in (-1, 1):
        p.disc(side * 0.45, 0.82, 0.13, light(k.main, 0.45))
    p.oval(0, -0.48, 0.52, 0.46, k)
    p.oval(0, -0.32, 0.25, 0.2, light(k.main, 0.55))
    p.oval(0, -0.42, 0.1, 0.07, BLACK)
    for side in (-1, 1):
        p.disc(side * 0.2, -0.58, 0.065, BLACK)
    if k.part == "bow":
        p.shape([(0, 0), (-0.25, -0.12), (-0.25, 0.14), (0, 0), (0.25, -0.12), (0.25, 0.14)], k.second)
    else:
        p.arc(0, -0.3, 0.1, 20, 160, 0.03, BLACK)


def frog(p: Pen, k: Look) -> None:
    """Crouching, facing the viewer, wide mouth and eyes on top."""
    for side in (-1, 1):
        p.oval(side * 0.62, 0.45, 0.32, 0.42, dark(k.main, 0.85), turn=side * -20)
        p.oval(side * 0.72, 0.85, 0.3, 0.1, dark(k.main, 0.75))
        p.disc(side * 0.38, -0.5, 0.24, k.main)
    p.smooth([(0, -0.5), (0.6, -0.25), (0.62, 0.2), (0.4, 0.85), (-0.4, 0.85), (-0.62, 0.2), (-0.6, -0.25)], k)
    p.oval(0, 0.5, 0.36, 0.34, light(k.main, 0.55))
    p.curve([(-0.48, 0.0), (0, k.u(0.1, 0.22)), (0.48, 0.0)], 0.05, dark(k.main, 0.35))
    for side in (-1, 1):
        p.disc(side * 0.38, -0.52, 0.16, (250, 240, 170))
        p.oval(side * 0.38, -0.52, 0.11, 0.06, BLACK)
        p.line([(side * 0.22, 0.6), (side * 0.24, 0.92)], 0.14, dark(k.main, 0.85))
