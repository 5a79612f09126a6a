"""Things that carry people: on wheels, on water, in the air."""

from jftdata.world.palette import BLACK, GLASS, STEEL, WHITE, WOOD, dark, light
from jftdata.world.pen import Look, Pen

TYRE = (38, 38, 42)
LAMP = (255, 225, 130)


def _wheel(p: Pen, x: float, y: float, r: float) -> None:
    p.disc(x, y, r, TYRE)
    p.disc(x, y, r * 0.5, STEEL)


def car(p: Pen, k: Look) -> None:
    """From the side; a roof sign makes it a taxi, a blue lamp a police car, a key in the back a toy."""
    roof, nose = k.u(-0.55, -0.38), k.u(0.5, 0.68)
    if k.part == "toy":
        p.line([(-0.95, 0.0), (-1.12, 0.0)], 0.08, STEEL)
        p.disc(-1.14, -0.1, 0.12, LAMP)
        p.disc(-1.14, 0.1, 0.12, LAMP)
    if k.part == "sports":
        cabin = [(-0.55, 0.0), (-0.3, roof + 0.15), (0.15, roof + 0.15), (0.45, 0.0)]
        p.line([(-0.98, -0.2), (-0.75, -0.2)], 0.07, BLACK)
    else:
        cabin = [(-0.62, 0.0), (-0.42, roof), (0.22, roof), (nose, 0.0)]
    p.shape(cabin, k.main)
    p.smooth(
        [(-0.98, 0.3), (-0.95, -0.02), (-0.4, -0.06), (0.6, -0.04), (0.98, 0.08), (1.0, 0.4), (0, 0.46), (-0.95, 0.42)],
        k,
    )
    top = cabin[1][1]
    p.shape([(-0.5, 0.0), (-0.36, top + 0.08), (-0.1, top + 0.08), (-0.1, 0.0)], GLASS)
    p.shape([(-0.02, 0.0), (-0.02, top + 0.08), (cabin[2][0] - 0.04, top + 0.08), (cabin[3][0] - 0.14, 0.0)], GLASS)
    p.oval(0.92, 0.12, 0.07, 0.07, LAMP)
    if k.part == "taxi":
        p.box(-0.25, roof - 0.16, 0.08, roof, WHITE)
        for i in range(7):
            p.box(-0.8 + i * 0.22, 0.12, -0.69 + i * 0.22, 0.22, BLACK)
    elif k.part == "police":
        p.box(-0.2, roof - 0.14, 0.02, roof, (40, 80, 230))
        p.box(-0.95, 0.12, 0.95, 0.28, (30, 60, 160))
    big = 0.32 if k.part == "toy" else 0.24
    for x in (-0.55, 0.55):
        _wheel(p, x, 0.45, big)


def bus(p: Pen, k: Look) -> None:
    """A long box with a row of windows; the double-decker has two rows."""
    rows = (-0.72, -0.15) if k.part == "double" else (-0.3,)
    top = rows[0] - 0.16
    p.smooth([(-0.98, top), (-0.5, top - 0.04), (0.5, top - 0.04), (0.98, top), (1.0, 0.5), (0, 0.56), (-1.0, 0.5)], k)
    for y in rows:
        for i in range(5):
            x = -0.86 + i * 0.36
            p.box(x, y, x + 0.28, y + 0.34, GLASS)
    p.line([(-0.96, 0.26), (0.96, 0.26)], 0.07, BLACK if k.part == "school" else light(k.main, 0.6))
    p.disc(0.92, 0.4, 0.06, LAMP)
    for x in (-0.58, 0.58):
        _wheel(p, x, 0.55, 0.22)


def truck(p: Pen, k: Look) -> None:
    """A cab in front of a load; red with a ladder it is a fire engine."""
    if k.part == "fire":
        p.box(-1.0, -0.25, 0.4, 0.4, k)
        p.line([(-0.98, -0.5), (0.4, -0.5)], 0.06, STEEL)
        p.line([(-0.98, -0.35), (0.4, -0.35)], 0.06, STEEL)
        for i in range(6):
            p.line([(-0.9 + i * 0.22, -0.5), (-0.9 + i * 0.22, -0.35)], 0.05, STEEL)
    elif k.part == "tipper":
        p.shape([(-1.0, -0.4), (0.42, -0.4), (0.3, 0.3), (-0.85, 0.3)], k)
        p.smooth([(-0.9, -0.4), (-0.3, -0.75), (0.32, -0.4)], (120, 90, 60))
    else:
        p.box(-1.0, -0.62, 0.4, 0.4, k)
    p.smooth([(0.44, 0.4), (0.44, -0.38), (0.75, -0.4), (0.96, 0.0), (1.0, 0.42)], k.second if not k.part else k.main)
    p.shape([(0.54, -0.02), (0.54, -0.28), (0.72, -0.28), (0.86, -0.02)], GLASS)
    p.box(-1.0, 0.36, 1.0, 0.48, (60, 60, 66))
    for x in (-0.7, -0.28, 0.68):
        _wheel(p, x, 0.55, 0.21)


def train(p: Pen, k: Look) -> None:
    """A steam locomotive: boiler, chimney with smoke, cab and a row of wheels."""
    for i, r in enumerate((0.12, 0.17, 0.22)):
        p.disc(0.55 - 0.32 * i, -0.72 - 0.1 * i, r, (225, 225, 228))
    p.box(0.44, -0.6, 0.64, -0.15, BLACK)
    p.box(-0.3, -0.42, -0.12, -0.15, k.second)
    p.smooth([(-0.4, -0.22), (0.7, -0.24), (0.82, 0.05), (0.7, 0.34), (-0.4, 0.34)], k)
    p.box(-0.95, -0.6, -0.38, 0.36, k)
    p.box(-1.02, -0.7, -0.3, -0.58, dark(k.main, 0.5))
    p.box(-0.82, -0.45, -0.5, -0.12, GLASS)
    p.box(-0.98, 0.32, 0.85, 0.45, BLACK)
    p.shape([(0.82, 0.4), (1.05, 0.75), (0.7, 0.75)], STEEL)
    for x, r in ((-0.68, 0.28), (-0.1, 0.22), (0.35, 0.22)):
        _wheel(p, x, 0.8 - r, r)
    p.line([(-0.68, 0.55), (0.35, 0.58)], 0.06, (220, 60, 50))


def bicycle(p: Pen, k: Look) -> None:
    """Two open wheels, a diamond frame, saddle and handlebar."""
    for x in (-0.58, 0.58):
        p.arc(x, 0.35, 0.4, 0, 360, 0.09, TYRE)
        for turn in ((0.0, 0.38), (0.38, 0.0), (0.27, 0.27), (-0.27, 0.27)):
            p.line([(x - turn[0], 0.35 - turn[1]), (x + turn[0], 0.35 + turn[1])], 0.025, STEEL)
    frame = [(-0.58, 0.35), (-0.22, -0.25), (0.4, -0.3), (-0.08, 0.35), (-0.58, 0.35)]
    p.line(frame, 0.1, k.main)
    p.line([(-0.08, 0.35), (-0.26, -0.42)], 0.09, k.main)
    p.line([(0.58, 0.35), (0.36, -0.5)], 0.09, k.main)
    p.oval(-0.3, -0.46, 0.2, 0.07, BLACK)
    p.curve([(0.36, -0.52), (0.5, -0.62), (0.68, -0.55)], 0.08, BLACK)
    p.disc(-0.08, 0.35, 0.11, STEEL)
    if k.part == "basket":
        p.shape([(0.5, -0.45), (0.95, -0.45), (0.86, -0.1), (0.56, -0.1)], WOOD)


def sailing_boat(p: Pen, k: Look) -> None:
    """A hull with a mast and two sails."""
    tilt = k.u(0.0, 0.12)
    p.line([(0.0, 0.5), (0.0, -0.98)], 0.06, WOOD)
    p.smooth([(0.06, -0.92), (0.5, -0.4 + tilt), (0.78, 0.32), (0.06, 0.36)], k)
    if k.part != "dinghy":
        p.shape([(-0.06, -0.85), (-0.06, 0.32), (-0.7, 0.3)], light(k.main, 0.45) if k.texture == "plain" else k.second)
    p.shape([(0.0, -0.98), (0.26, -0.9), (0.0, -0.84)], (220, 50, 50))
    p.shape([(-0.92, 0.45), (0.98, 0.45), (0.7, 0.88), (-0.68, 0.88)], WOOD if k.part != "yacht" else WHITE)
    p.line([(-0.84, 0.58), (0.88, 0.58)], 0.06, k.second)


def ship(p: Pen, k: Look) -> None:
    """A long hull with a white deckhouse and funnels; containers make it a cargo ship."""
    if k.part == "cargo":
        for i in range(5):
            for j in range(k.rng.choice((1, 2, 2))):
                c = k.rng.choice(((200, 70, 50), (50, 110, 180), (230, 180, 60), (70, 150, 90)))
                p.box(-0.45 + i * 0.26, -0.05 - j * 0.2, -0.22 + i * 0.26, 0.13 - j * 0.2, c)
        p.box(-0.86, -0.5, -0.5, 0.15, WHITE)
        p.box(-0.8, -0.42, -0.56, -0.3, GLASS)
    else:
        p.box(-0.7, -0.12, 0.62, 0.15, WHITE)
        p.box(-0.5, -0.36, 0.42, -0.1, WHITE)
        for x in (-0.36, 0.02):
            p.shape([(x, -0.36), (x + 0.02, -0.8), (x + 0.24, -0.8), (x + 0.26, -0.36)], k.main)
            p.box(x + 0.01, -0.8, x + 0.25, -0.66, BLACK)
        for i in range(6):
            p.disc(-0.58 + i * 0.22, 0.02, 0.06, (70, 110, 160))
    p.smooth([(-0.98, 0.15), (0, 0.17), (1.05, 0.08), (0.8, 0.66), (0, 0.7), (-0.85, 0.66)], k)
    p.line([(-0.86, 0.6), (0.78, 0.6)], 0.1, (170, 50, 45))


def submarine(p: Pen, k: Look) -> None:
    """A long capsule with a tower, a periscope, portholes and a screw."""
    p.line([(0.12, -0.4), (0.12, -0.85), (0.34, -0.85)], 0.08, STEEL)
    p.smooth([(-0.22, -0.2), (-0.16, -0.55), (0.28, -0.55), (0.34, -0.2)], k.main)
    p.shape([(-0.85, 0.1), (-1.1, -0.25), (-1.1, 0.5)], dark(k.main, 0.7))
    p.smooth([(-0.9, 0.12), (-0.5, -0.25), (0.5, -0.28), (0.98, 0.1), (0.5, 0.5), (-0.5, 0.48)], k)
    for x in (-0.35, 0.08, 0.5):
        p.disc(x, 0.08, 0.15, STEEL)
        p.disc(x, 0.08, 0.1, GLASS)


def balloon(p: Pen, k: Look) -> None:
    """A hot-air balloon: a striped envelope over a basket."""
    for x in (-0.2, 0.2):
        p.line([(x * 1.7, 0.15), (x * 0.8, 0.7)], 0.03, (90, 70, 50))
    p.smooth(
        [
            (0, -1.0),
            (0.55, -0.8),
            (0.72, -0.3),
            (0.4, 0.18),
            (0.16, 0.42),
            (-0.16, 0.42),
            (-0.4, 0.18),
            (-0.72, -0.3),
            (-0.55, -0.8),
        ],
        k,
    )
    if k.texture == "plain":
        p.smooth(
            [(0, -1.0), (0.2, -0.6), (0.22, -0.2), (0.1, 0.42), (-0.1, 0.42), (-0.22, -0.2), (-0.2, -0.6)], k.second
        )
    p.shape([(-0.2, 0.66), (0.2, 0.66), (0.16, 0.98), (-0.16, 0.98)], WOOD)


def rocket(p: Pen, k: Look) -> None:
    """Upright, with a pointed nose, fins, a porthole and a flame."""
    flame = k.u(0.75, 1.05)
    p.smooth([(-0.2, 0.55), (0.2, 0.55), (0.14, 0.8), (0, flame), (-0.14, 0.8)], (250, 160, 40))
    p.smooth([(-0.1, 0.55), (0.1, 0.55), (0, flame - 0.15)], (255, 235, 120))
    for side in (-1, 1):
        p.shape([(side * 0.26, 0.1), (side * 0.62, 0.5), (side * 0.58, 0.75), (side * 0.22, 0.55)], k.second)
    p.smooth([(0, -1.0), (0.22, -0.65), (0.33, -0.1), (0.25, 0.58), (-0.25, 0.58), (-0.33, -0.1), (-0.22, -0.65)], k)
    p.smooth([(0, -1.0), (0.2, -0.62), (0, -0.56), (-0.2, -0.62)], k.second)
    p.disc(0, -0.25, 0.17, STEEL)
    p.disc(0, -0.25, 0.11, (90, 160, 220))


def aeroplane(p: Pen, k: Look) -> None:
    """From the side: a tube with wings, a tail fin and windows; the biplane has two wings and a propeller."""
    if k.part == "biplane":
        p.line([(0.98, -0.4), (0.98, 0.45)], 0.07, WOOD)
        p.smooth([(0.92, 0), (0.7, -0.22), (-0.6, -0.12), (-0.95, -0.02), (-0.6, 0.14), (0.7, 0.24)], k)
        p.shape([(-0.62, -0.05), (-0.98, -0.5), (-0.98, 0.0)], k.second)
        for x in (0.05, 0.45):
            p.line([(x, -0.5), (x, 0.34)], 0.05, WOOD)
        p.box(-0.15, -0.6, 0.7, -0.48, k.second)
        p.box(-0.15, 0.26, 0.7, 0.38, k.second)
        _wheel(p, 0.35, 0.62, 0.16)
        return
    p.shape([(-0.1, -0.05), (-0.42, -0.6), (-0.22, -0.6), (0.3, -0.05)], dark(k.main, 0.72))
    p.shape([(-0.62, -0.05), (-1.0, -0.6), (-0.82, -0.6), (-0.42, -0.1)], k.second)
    p.smooth([(1.0, 0.06), (0.8, -0.16), (-0.6, -0.18), (-1.0, -0.06), (-0.7, 0.16), (0.75, 0.2)], k)
    for i in range(6):
        p.disc(-0.45 + i * 0.2, -0.02, 0.055, (60, 90, 140))
    p.shape([(0.76, -0.1), (0.94, -0.02), (0.72, 0.0)], GLASS)
    p.shape([(0.22, 0.08), (-0.28, 0.72), (-0.5, 0.72), (-0.2, 0.08)], dark(k.main, 0.85))
    p.oval(-0.1, 0.4, 0.16, 0.09, STEEL)


def helicopter(p: Pen, k: Look) -> None:
    """A glass-nosed body, a tail boom, rotor and skids."""
    p.line([(-0.2, 0.0), (-1.0, -0.18)], 0.13, k.main)
    p.shape([(-0.95, -0.12), (-1.12, -0.5), (-0.9, -0.4)], k.second)
    p.line([(0.2, -0.3), (0.2, -0.62)], 0.08, STEEL)
    p.line([(-0.75, k.u(-0.72, -0.6)), (1.1, k.u(-0.72, -0.6))], 0.07, (70, 70, 76))
    p.smooth([(-0.4, 0.0), (-0.1, -0.35), (0.5, -0.35), (0.9, 0.05), (0.7, 0.4), (0, 0.42)], k)
    p.smooth([(0.36, -0.26), (0.56, -0.26), (0.82, 0.05), (0.4, 0.08)], GLASS)
    for x in (0.0, 0.48):
        p.line([(x, 0.38), (x - 0.04, 0.68)], 0.05, STEEL)
    p.line([(-0.3, 0.7), (0.75, 0.7), (0.86, 0.62)], 0.07, STEEL)
