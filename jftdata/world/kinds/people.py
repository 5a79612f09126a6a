"""People: a head, a body and limbs hung on the 17 COCO keypoints, in poses and costumes."""

import math

import numpy as np
from numpy.typing import NDArray

from jftdata.world.palette import BLACK, SKIN, STEEL, WHITE, WOOD, dark
from jftdata.world.pen import Look, Pen

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
# pairs of keypoints counted from 1, as in the COCO annotation files
SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)  # what each keypoint becomes in a mirrored image
HAIR = ((40, 28, 22), (92, 58, 30), (200, 160, 80), (120, 50, 30), (150, 150, 150))
Angles = tuple[float, float, float, float, float, float, float, float]


def person(p: Pen, k: Look) -> NDArray[np.float64]:
    """One person; the pose is the look's part. Returns (17, 2) float64 keypoints in the object's units."""
    skin, hair = k.rng.choice(SKIN), k.rng.choice(HAIR)
    trousers = k.second if k.part != "chef" else (70, 72, 80)
    wide = k.u(0.2, 0.27)
    drop = 0.14 if k.part == "sitter" else 0.0
    neck, hips = -0.5 + drop, 0.16 + drop
    # each limb's two angles from straight down, in degrees, towards the right of the picture: left arm, right arm, legs
    la, lb, ra, rb, lt, ls, rt, rs = _pose(k)
    shoulders = ((wide, neck + 0.06), (-wide, neck + 0.06))
    sides = ((wide * 0.6, hips), (-wide * 0.6, hips))
    arms = [_limb(s, a, b, 0.31, 0.29) for s, a, b in zip(shoulders, (la, ra), (lb, rb), strict=True)]
    legs = [_limb(s, a, b, 0.38, 0.38) for s, a, b in zip(sides, (lt, rt), (ls, rs), strict=True)]
    if k.part == "sitter":
        p.box(-0.4, hips + 0.02, 0.4, hips + 0.16, WOOD)
        for x in (-0.34, 0.34):
            p.line([(x, hips + 0.1), (x, 0.98)], 0.08, dark(WOOD, 0.8))
    for hip, (knee, foot) in zip(sides, legs, strict=True):
        p.line([hip, knee, foot], 0.17, trousers)
        p.line(
            [
                foot,
                (foot[0] + (0.1 if k.part in ("walker", "runner") else math.copysign(0.06, foot[0])), foot[1] + 0.03),
            ],
            0.13,
            BLACK,
        )
    p.smooth(
        [
            (0, neck - 0.02),
            (wide + 0.05, neck + 0.03),
            (wide * 0.85, hips - 0.1),
            (wide * 0.95, hips + 0.08),
            (-wide * 0.95, hips + 0.08),
            (-wide * 0.85, hips - 0.1),
            (-wide - 0.05, neck + 0.03),
        ],
        k,
    )
    for shoulder, (elbow, hand) in zip(shoulders, arms, strict=True):
        p.line([elbow, hand], 0.1, skin)
        p.line([shoulder, elbow], 0.14, dark(k.main, 0.85))
        p.disc(hand[0], hand[1], 0.075, skin)
    tilt = k.u(-0.05, 0.05)
    top = neck - 0.24
    p.line([(0, neck + 0.02), (tilt, top + 0.1)], 0.13, skin)
    if k.rng.random() < 0.45:
        p.smooth(
            [
                (tilt - 0.24, top),
                (tilt, top - 0.3),
                (tilt + 0.24, top),
                (tilt + 0.25, neck + 0.05),
                (tilt - 0.25, neck + 0.05),
            ],
            hair,
        )
    p.oval(tilt, top, 0.2, 0.24, skin)
    p.smooth(
        [
            (tilt - 0.21, top),
            (tilt - 0.17, top - 0.2),
            (tilt, top - 0.28),
            (tilt + 0.17, top - 0.2),
            (tilt + 0.21, top),
            (tilt, top - 0.12),
        ],
        hair,
    )
    for side in (-1, 1):
        p.disc(tilt + side * 0.08, top, 0.035, BLACK)
    p.arc(tilt, top + 0.06, 0.08, 20, 160, 0.03, (150, 50, 50))
    _wear(p, k, tilt, top)
    head = [
        (tilt, top + 0.06),
        (tilt + 0.08, top),
        (tilt - 0.08, top),
        (tilt + 0.19, top + 0.02),
        (tilt - 0.19, top + 0.02),
    ]
    rest = [shoulders[0], shoulders[1], arms[0][0], arms[1][0], arms[0][1], arms[1][1]]
    rest += [sides[0], sides[1], legs[0][0], legs[1][0], legs[0][1], legs[1][1]]
    return np.array(head + rest)


def _pose(k: Look) -> Angles:
    u = k.u
    if k.part == "walker":
        s = u(16, 32)
        return (-s, -s + 25, s, s + 25, s, s * 0.3, -s, -s - 15)
    if k.part == "runner":
        s = u(40, 62)
        return (-s, -s + 85, s, s + 85, s + 8, s - 65, -s * 0.4, -s - 35)
    if k.part == "waver":
        return (u(120, 150), u(160, 205), u(-25, -5), u(-15, 10), 6, 3, -6, -3)
    if k.part == "sitter":
        return (u(10, 35), u(-30, 10), u(-35, -10), u(-10, 30), u(48, 70), u(-8, 8), u(-70, -48), u(-8, 8))
    if k.part == "jumper":
        return (u(125, 160), u(140, 175), u(-160, -125), u(-175, -140), u(30, 50), u(-10, 25), u(-50, -30), u(-25, 10))
    return (u(8, 40), u(-5, 25), u(-40, -8), u(-25, 5), u(3, 10), u(-2, 6), u(-10, -3), u(-6, 2))


def _limb(
    start: tuple[float, float], first: float, second: float, upper: float, lower: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    a, b = math.radians(first), math.radians(second)
    middle = (start[0] + upper * math.sin(a), start[1] + upper * math.cos(a))
    return middle, (middle[0] + lower * math.sin(b), middle[1] + lower * math.cos(b))


def _wear(p: Pen, k: Look, x: float, top: float) -> None:
    if k.part == "chef":
        p.box(x - 0.2, top - 0.3, x + 0.2, top - 0.14, WHITE)
        for dx in (-0.16, 0.0, 0.16):
            p.disc(x + dx, top - 0.36, 0.15, WHITE)
    elif k.part == "king":
        gold = (250, 205, 50)
        points = [
            (-0.22, -0.12),
            (-0.26, -0.44),
            (-0.11, -0.28),
            (0, -0.48),
            (0.11, -0.28),
            (0.26, -0.44),
            (0.22, -0.12),
        ]
        p.shape([(x + a, top + b) for a, b in points], gold)
    elif k.part == "builder":
        p.smooth(
            [(x - 0.26, top - 0.1), (x - 0.2, top - 0.3), (x, top - 0.38), (x + 0.2, top - 0.3), (x + 0.26, top - 0.1)],
            (250, 200, 30),
        )
        p.line([(x - 0.26, top - 0.1), (x + 0.34, top - 0.1)], 0.06, (230, 175, 20))
        p.line([(-0.14, top + 0.4), (-0.14, top + 0.75)], 0.06, STEEL)
