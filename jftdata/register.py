"""Bring two images into register and say how well they agree: mirror, shifts, and scales of the two axes apart.

Everything is done on views of 32x32 pixels. First the luminance at 16x16 is correlated over a grid of 950 transforms
(five scales of each axis from 0.7 to 1.43, shifts up to a fifth of the frame, mirrored or not); the best three are
refined by robust Gauss-Newton steps on an affine transform with gain and offset, and the best of these is measured.
A pair is computed by itself, so results do not depend on order, batches or threads.
Cost a core: 0.1 ms for two images that are not alike, 0.3 ms for copies, and 0.3 ms for each different `left` image.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadInput
from jftdata.images import resize

SIZE = 32
"""Pixels a side of a view."""
FEATURES = ("overlap", "correlation", "detail", "tiles", "weak_tiles", "inner", "evidence", "colour", "move", "texture")
"""What `align` measures of a pair in register:
overlap: share of the frame that shows less which the other one covers;
correlation: zero-mean normalised correlation of luminance over it;
detail: the same of what is left when the mean of the 7x7 pixels around is taken away;
tiles: the same of 8x8 tiles, averaged by how much texture a tile has in either image, so that sky does not count;
weak_tiles: the same over the quarter of the texture that agrees least;
inner: the same over tiles that do not touch the border of the frame;
evidence: logarithm of how much texture agrees;
colour: cosine of the colours less their means, 1 where an image has hardly any;
move: how far the transform is from none;
texture: like detail, with the contrast around each pixel made the same, so that the outline of a thing on white counts no
more than what is inside of it."""
_HALF = SIZE // 2
_SCALES = (0.7, 0.84, 1.0, 1.19, 1.43)
_REACH = (0.36, 0.36, 0.4, 0.39, 0.43)  # largest shift at each scale, in halves of the frame
_SHIFTS = 5
_MAX_RATIO = 1.5  # of the scales of the two axes
_LANES = 8  # images b that are searched at once
_STARTS = 3
_MIN_SCORE = 0.6  # of hard planted copies 2 in 1,000 lie below, of neighbours that are no copies half
_MIN_START = 0.4  # detail at a start: 2 in 1,000, and three quarters
_MIN_DETAIL = 0.55  # detail after the coarse refinement: 3 in 1,000, and nine tenths
_QUIET = 4.0  # variance of luminance that counts as none, of 255^2
_CHUNK = 2048

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Alignment:
    """How n pairs agree, and under which transforms."""

    features: F64
    """(n, 10): the columns of `FEATURES`; all 0 where the search found nothing alike."""
    transforms: F64
    """(n, 6): pixel (u, v) of b shows a at (p0 u + p1 v + p2, p3 u + p4 v + p5); the frame is [-1, 1] both ways."""
    contrast: F64
    """(n, 2): contrast of b over that of a, of luminance and of colour."""


def view(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The (32, 32, 3) view of an (H, W, 3) image; its shape is given up, so only crops change the scale of one axis."""
    return resize(pixels, width=SIZE, height=SIZE)


def align(
    views_a: NDArray[np.uint8], views_b: NDArray[np.uint8], left: I64, right: I64, *, workers: int | None = None
) -> Alignment:
    """Register pairs of images.

    Args:
        views_a: (n, 32, 32, 3) uint8.
        views_b: (m, 32, 32, 3) uint8; may be `views_a`.
        left: (k,) positions in `views_a`; fastest when equal ones lie together.
        right: (k,) positions in `views_b`.
        workers: threads; None is one a core.

    Raises:
        BadInput: views of another shape, or positions out of range.

    >>> one = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    >>> pair = align(one, one[:, :, ::-1], np.array([0]), np.array([0]))
    >>> pair.features[0, :3].round(2).tolist(), (pair.transforms[0].round(2) + 0.0).tolist()
    ([1.0, 1.0, 1.0], [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    """
    for name, views, at in (("views_a", views_a, left), ("views_b", views_b, right)):
        if views.shape[1:] != (SIZE, SIZE, 3) or views.dtype != np.uint8:
            raise BadInput(f"`{name}` must be (n, {SIZE}, {SIZE}, 3) uint8. Got {views.shape} {views.dtype}.")
        if len(at) and not 0 <= at.min() <= at.max() < len(views):
            raise BadInput(f"positions in `{name}` must be in 0..{len(views) - 1}. Got {at.min()}..{at.max()}.")
    if len(left) != len(right):
        raise BadInput(f"expected as many positions on both sides. Got {len(left)} and {len(right)}.")
    found = Alignment(np.zeros((len(left), len(FEATURES))), np.zeros((len(left), 6)), np.ones((len(left), 2)))

    def run(first: int) -> None:
        part = slice(first, first + _CHUNK)
        _align(
            views_a, views_b, left[part].astype(np.int64), right[part].astype(np.int64), _LOW, _SHARE, _SPAN, _PLACE,
            found.features[part], found.transforms[part], found.contrast[part],
        )  # fmt: skip

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        list(pool.map(run, range(0, len(left), _CHUNK)))
    return found


def _axis() -> tuple[I64, F32, I64, F64]:
    """Resampling of one axis for each scale and shift: left source pixel, share of the right one, span, (scale, shift)."""
    u = (np.arange(_HALF) + 0.5) / _HALF * 2 - 1
    place = [(s, t) for s, reach in zip(_SCALES, _REACH, strict=True) for t in np.linspace(-reach, reach, _SHIFTS)]
    x = np.array([s * u + t for s, t in place])  # (25, 16)
    at = np.clip((x + 1) / 2 * _HALF - 0.5, 0, _HALF - 1)
    low = np.minimum(at.astype(np.int64), _HALF - 2)
    inside = np.abs(x) <= 1
    first = inside.argmax(axis=1)
    return low, (at - low).astype(np.float32), np.stack([first, first + inside.sum(axis=1)], axis=1), np.array(place)


_LOW, _SHARE, _SPAN, _PLACE = _axis()


@numba.njit(cache=True, nogil=True)
def _align(
    views_a: NDArray[np.uint8], views_b: NDArray[np.uint8], left: I64, right: I64, low: I64, share: F32, span: I64,
    place: F64, features: F64, transforms: F64, contrast: F64,
) -> None:  # fmt: skip
    num = len(place)
    warps = np.zeros((2 * num * num, _HALF * _HALF), np.float32)
    sums = np.zeros((2 * num * num, 2), np.float32)
    dots = np.empty((_LANES, 2 * num * num), np.float32)
    lanes = np.zeros((_LANES, _HALF * _HALF), np.float32)
    planes = np.empty((_LANES, 3, SIZE, SIZE), np.float32)
    smalls = np.empty((_LANES, _HALF, _HALF), np.float32)
    plane = np.empty((3, SIZE, SIZE), np.float32)
    small = np.empty((_HALF, _HALF), np.float32)
    starts = np.empty((_STARTS, 3), np.int64)
    scores = np.empty(_STARTS)
    at = 0
    before = -1
    while at < len(left):
        if left[at] != before:
            before = left[at]
            _planes(views_a[before], plane, small)
            _warps(small, low, share, span, place, warps, sums)
        stop = at
        lanes[:] = 0
        while stop < len(left) and stop - at < _LANES and left[stop] == before:
            _planes(views_b[right[stop]], planes[stop - at], smalls[stop - at])
            for y in range(_HALF):
                for x in range(_HALF):
                    lanes[stop - at, y * _HALF + x] = smalls[stop - at, y, x]
            stop += 1
        _dots(warps, lanes, place, dots)
        for pair in range(at, stop):
            _search(dots[pair - at], sums, smalls[pair - at], span, place, starts, scores)
            if scores[0] >= _MIN_SCORE:
                _finish(
                    plane, small, planes[pair - at], smalls[pair - at], place, starts, scores, features[pair],
                    transforms[pair], contrast[pair],
                )  # fmt: skip
        at = stop


@numba.njit(cache=True, nogil=True)
def _planes(image: NDArray[np.uint8], plane: F32, small: F32) -> None:
    """Luminance, red less it and blue less it; and luminance at half the size, less its mean."""
    small[:] = 0
    mean = np.float32(0)
    for y in range(SIZE):
        for x in range(SIZE):
            red = np.float32(image[y, x, 0])
            blue = np.float32(image[y, x, 2])
            value = np.float32(0.299) * red + np.float32(0.587) * np.float32(image[y, x, 1]) + np.float32(0.114) * blue
            plane[0, y, x] = value
            plane[1, y, x] = red - value
            plane[2, y, x] = blue - value
            small[y // 2, x // 2] += value / 4
            mean += value / 4
    small -= mean / (_HALF * _HALF)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _warps(a: F32, low: I64, share: F32, span: I64, place: F64, warps: F32, sums: F32) -> None:
    """Every transform of a coarse image, 0 outside of it; with its mean, and what its products count."""
    num = len(place)
    wide = np.empty((_HALF, _HALF), np.float32)
    for mirror in range(2):
        for i in range(num):
            wide[:] = 0
            for y in range(_HALF):
                for x in range(span[i, 0], span[i, 1]):
                    k, f = low[i, x], share[i, x]
                    if mirror:
                        wide[y, x] = a[y, _HALF - 1 - k] * (1 - f) + a[y, _HALF - 2 - k] * f
                    else:
                        wide[y, x] = a[y, k] * (1 - f) + a[y, k + 1] * f
            for j in range(num):
                ratio = place[i, 0] / place[j, 0]
                if ratio > _MAX_RATIO or ratio < 1 / _MAX_RATIO:
                    continue
                at = (mirror * num + i) * num + j
                warps[at] = 0
                total = np.float32(0)
                square = np.float32(0)
                for y in range(span[j, 0], span[j, 1]):
                    k, f = low[j, y], share[j, y]
                    above, below, to = wide[k], wide[k + 1], warps[at, y * _HALF : (y + 1) * _HALF]
                    for x in range(_HALF):
                        value = above[x] * (1 - f) + below[x] * f
                        to[x] = value
                        total += value
                        square += value * value
                count = (span[i, 1] - span[i, 0]) * (span[j, 1] - span[j, 0])
                whole = (
                    _HALF * _HALF / (max(place[i, 0], 1.0) * max(place[j, 0], 1.0))
                )  # what a can cover at these scales
                sums[at, 0] = total / count
                quiet = max(square - total * total / count, np.float32(0)) + _QUIET * count
                sums[at, 1] = math.sqrt(math.sqrt(count / whole) / quiet)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dots(warps: F32, lanes: F32, place: F64, dots: F32) -> None:
    """Inner products of every warp with every image of the block."""
    num = len(place)
    for i in range(num):
        for j in range(num):
            ratio = place[i, 0] / place[j, 0]
            if ratio > _MAX_RATIO or ratio < 1 / _MAX_RATIO:
                continue
            for mirror in range(2):
                at = (mirror * num + i) * num + j
                warp = warps[at]
                d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = np.float32(0)
                for k in range(_HALF * _HALF):  # eight sums in registers: four times as fast as an array of them
                    value = warp[k]
                    d0 += value * lanes[0, k]
                    d1 += value * lanes[1, k]
                    d2 += value * lanes[2, k]
                    d3 += value * lanes[3, k]
                    d4 += value * lanes[4, k]
                    d5 += value * lanes[5, k]
                    d6 += value * lanes[6, k]
                    d7 += value * lanes[7, k]
                dots[0, at], dots[1, at], dots[2, at], dots[3, at] = d0, d1, d2, d3
                dots[4, at], dots[5, at], dots[6, at], dots[7, at] = d4, d5, d6, d7


@numba.njit(cache=True, nogil=True)
def _search(dots: F32, sums: F32, b: F32, span: I64, place: F64, starts: I64, scores: F64) -> None:
    """The best transforms of the grid, each of another mirror or other scales, best first."""
    num = len(place)
    total = np.zeros((_HALF + 1, _HALF + 1))
    square = np.zeros((_HALF + 1, _HALF + 1))
    for y in range(_HALF):
        row = row2 = 0.0
        for x in range(_HALF):
            row += b[y, x]
            row2 += b[y, x] * b[y, x]
            total[y + 1, x + 1] = total[y, x + 1] + row
            square[y + 1, x + 1] = square[y, x + 1] + row2
    part, quiet = np.empty((num, num), np.float32), np.empty((num, num), np.float32)
    for i in range(num):
        x0, x1 = span[i, 0], span[i, 1]
        for j in range(num):
            y0, y1 = span[j, 0], span[j, 1]
            count = (x1 - x0) * (y1 - y0)
            sb = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
            vb = square[y1, x1] - square[y0, x1] - square[y1, x0] + square[y0, x0] - sb * sb / count
            part[i, j] = sb
            quiet[i, j] = 1 / math.sqrt(max(vb, 0.0) + _QUIET * count)
    scores[:] = -2
    for group in range(2 * len(_SCALES) * len(_SCALES)):
        mirror, si, sj = group // 25, group // 5 % 5 * _SHIFTS, group % 5 * _SHIFTS
        ratio = place[si, 0] / place[sj, 0]
        if ratio > _MAX_RATIO or ratio < 1 / _MAX_RATIO:
            continue
        best, best_i, best_j = np.float32(-2), 0, 0
        for i in range(si, si + _SHIFTS):
            for j in range(sj, sj + _SHIFTS):
                at = (mirror * num + i) * num + j
                r = (dots[at] - sums[at, 0] * part[i, j]) * sums[at, 1] * quiet[i, j]
                if r > best:
                    best, best_i, best_j = r, i, j
        k = _STARTS - 1
        if best > scores[k]:
            while k > 0 and best > scores[k - 1]:
                scores[k] = scores[k - 1]
                starts[k] = starts[k - 1]
                k -= 1
            scores[k] = best
            starts[k, 0], starts[k, 1], starts[k, 2] = mirror, best_i, best_j


@numba.njit(cache=True, nogil=True)
def _finish(
    plane: F32, small: F32, plane_b: F32, small_b: F32, place: F64, starts: I64, scores: F64, features: F64,
    transform: F64, contrast: F64,
) -> None:  # fmt: skip
    """Refine the starts, take the best and measure it; leaves zeros where no detail agrees."""
    there = np.empty((_HALF, _HALF), np.bool_)
    warped = np.empty((_HALF, _HALF), np.float32)
    best = detail = -2.0
    p, chosen = np.empty(6), np.zeros(6)
    for k in range(_STARTS):
        if scores[k] < scores[0] - 0.12 or best > 0.97:
            break
        sign = -1.0 if starts[k, 0] == 1 else 1.0
        for attempt in range(2):
            p[:] = 0
            p[0] = sign * place[starts[k, 1], 0]
            p[2] = sign * place[starts[k, 1], 1]
            p[4] = place[starts[k, 2], 0]
            p[5] = place[starts[k, 2], 1]
            if attempt == 0:
                _sample(small, p, warped, there, False)
                if _agreement(warped, small_b, there, 2)[1] < _MIN_START:
                    break
            if attempt == 1 or _refine(small, small_b, p, 4):
                count = _sample(small, p, warped, there, False)
                r, d = _agreement(warped, small_b, there, 2)
                shown = max(math.hypot(p[0], p[3]), 1.0) * max(math.hypot(p[1], p[4]), 1.0)
                r *= math.sqrt(math.sqrt(count * shown / (_HALF * _HALF)))
                if r > best:
                    best, detail = r, d
                    chosen[:] = p
                break
    if detail < _MIN_DETAIL:
        return
    swapped = (
        abs(chosen[0] * chosen[4] - chosen[1] * chosen[3]) > 1.02
    )  # b shows more than a: measured on a's frame, which b covers, and without its own border
    if swapped:
        plane, plane_b = plane_b, plane
        _invert(chosen)
    there = np.empty((SIZE, SIZE), np.bool_)
    warped = np.empty((SIZE, SIZE), np.float32)
    p[:] = chosen
    _sample(plane[0], p, warped, there, True)
    before = _agreement(warped, plane_b[0], there, 3)[1]
    if _refine(plane[0], plane_b[0], p, 5):
        _sample(plane[0], p, warped, there, True)
        if _agreement(warped, plane_b[0], there, 3)[1] >= before:
            chosen[:] = p
    _sample(plane[0], chosen, warped, there, True)
    features[1], features[2] = _agreement(warped, plane_b[0], there, 3)
    _tiles(warped, plane_b[0], there, features, contrast)
    _colour(plane, plane_b, chosen, features, contrast)
    wide, high = math.hypot(chosen[0], chosen[3]), math.hypot(chosen[1], chosen[4])
    features[8] = abs(math.log(wide)) + abs(math.log(high)) + (abs(chosen[2]) + abs(chosen[5])) / 2
    features[8] += abs(chosen[1]) + abs(chosen[3])
    if swapped:
        _invert(chosen)
        contrast[0], contrast[1] = 1 / contrast[0], 1 / contrast[1]
    transform[:] = chosen


@numba.njit(cache=True, nogil=True)
def _invert(p: F64) -> None:
    """The transform the other way, in place."""
    size = p[0] * p[4] - p[1] * p[3]
    a, b, c, d = p[4] / size, -p[1] / size, -p[3] / size, p[0] / size
    x, y = -(a * p[2] + b * p[5]), -(c * p[2] + d * p[5])
    p[0], p[1], p[2], p[3], p[4], p[5] = a, b, x, c, d, y


@numba.njit(cache=True, nogil=True)
def _sample(a: F32, p: F64, out: F32, there: NDArray[np.bool_], inside: bool) -> int:
    """a where the pixels of b come from, and which of them lie in it; `inside`: by a pixel, where its edge is in b."""
    size = len(a)
    half = size / 2
    count = 0
    wide, high = math.hypot(p[0], p[3]), math.hypot(p[1], p[4])
    last_x = 1 - wide / half if inside and wide > 1.03 else 1.0
    last_y = 1 - high / half if inside and high > 1.03 else 1.0
    for y in range(size):
        v = (y + 0.5) / half - 1
        for x in range(size):
            u = (x + 0.5) / half - 1
            sx = p[0] * u + p[1] * v + p[2]
            sy = p[3] * u + p[4] * v + p[5]
            there[y, x] = abs(sx) <= last_x and abs(sy) <= last_y
            out[y, x] = 0
            if there[y, x]:
                fx = min(max((sx + 1) * half - 0.5, 0.0), size - 1.001)
                fy = min(max((sy + 1) * half - 0.5, 0.0), size - 1.001)
                ix, iy = int(fx), int(fy)
                fx -= ix
                fy -= iy
                above = a[iy, ix] * (1 - fx) + a[iy, ix + 1] * fx
                out[y, x] = above * (1 - fy) + (a[iy + 1, ix] * (1 - fx) + a[iy + 1, ix + 1] * fx) * fy
                count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _refine(a: F32, b: F32, p: F64, steps: int) -> bool:
    """Gauss-Newton on transform, gain and offset, far residuals weighed down; changes p, False where it ran away."""
    size = len(a)
    half = size / 2
    gain, offset, spread = 1.0, 0.0, 1e9
    normal, right = np.empty((8, 8)), np.empty(8)
    row, sums = np.zeros((6, size), np.float32), np.empty(26)
    for x in range(size):
        row[5, x] = (x + 0.5) / half - 1
    for step in range(steps + 1):
        normal[:] = 0
        right[:] = 0
        away = weight = 0.0
        for y in range(size):
            v = np.float32((y + 0.5) / half - 1)
            away += _slopes(a, b[y], p, v, np.float32(gain), np.float32(offset), np.float32(spread), row)
            _row_sums(row, sums)
            xx0, xx1, xx2, xy0, xy1, xy2, yy0, yy1, yy2 = sums[:9]
            xv0, xv1, yv0, yv1, x10, x11, y10, y11, vv, v1, n1 = sums[9:20]
            rx0, rx1, ry0, ry1, rv, r1 = sums[20:]
            weight += n1
            for i, (s0, s1, s2) in enumerate(((xx0, xx1, xx2), (xy0, xy1, xy2), (yy0, yy1, yy2))):
                top, side = (0 if i < 2 else 3), (0 if i < 1 else 3)
                normal[top, side] += s2
                normal[top, side + 1] += s1 * v
                normal[top, side + 2] += s1
                normal[top + 1, side] += s1 * v
                normal[top + 1, side + 1] += s0 * v * v
                normal[top + 1, side + 2] += s0 * v
                normal[top + 2, side] += s1
                normal[top + 2, side + 1] += s0 * v
                normal[top + 2, side + 2] += s0
            for top, (g0, g1, o0, o1, e0, e1) in (
                (0, (xv0, xv1, x10, x11, rx0, rx1)), (3, (yv0, yv1, y10, y11, ry0, ry1)),
            ):  # fmt: skip
                normal[top, 6] += g1
                normal[top + 1, 6] += g0 * v
                normal[top + 2, 6] += g0
                normal[top, 7] += o1
                normal[top + 1, 7] += o0 * v
                normal[top + 2, 7] += o0
                right[top] += e1
                right[top + 1] += e0 * v
                right[top + 2] += e0
            normal[6, 6] += vv
            normal[6, 7] += v1
            normal[7, 7] += n1
            right[6] += rv
            right[7] += r1
        if weight < 0.3 * size * size:
            return False
        if step == 0:  # gain and offset alone: the gradients above have gain 1
            divisor = normal[6, 6] * normal[7, 7] - normal[6, 7] * normal[6, 7] + 1e-3
            gain = max(1 + (right[6] * normal[7, 7] - right[7] * normal[6, 7]) / divisor, 0.2)
            offset = (right[7] + (1 - gain) * normal[6, 7]) / normal[7, 7]
            continue
        for i in range(6):  # turns and shears are held back, and flat images stay where they are
            normal[i, i] += (0.02 if i in (1, 3) else 0.005) * normal[i, i] + 30.0 * size
        normal[6, 6] += 1e-3
        _solve(normal, right)
        far = 0.0
        for i in range(6):
            p[i] += min(max(right[i], -0.15), 0.15)
            far = max(far, abs(right[i]))
        gain = max(gain + right[6], 0.2)
        offset += right[7]
        spread = 2.0 * max(away / weight, 3.0)
        if far < 0.004:
            break
    wide, high = math.hypot(p[0], p[3]), math.hypot(p[1], p[4])
    sound = 0.6 < wide < 1.65 and 0.6 < high < 1.65 and p[4] > 0
    return sound and abs(p[1]) < 0.25 and abs(p[3]) < 0.25 and abs(p[2]) < 0.75 and abs(p[5]) < 0.75


@numba.njit(cache=True, nogil=True, fastmath=True)
def _slopes(a: F32, b: F32, p: F64, v: Any, gain: Any, offset: Any, spread: Any, row: F32) -> float:
    """Warped values of a row of b, their slopes, residuals and weights; returns the weighed sum of the residuals.

    v, gain, offset and spread are float32, or all of it would be computed in float64.
    """
    size = len(a)
    half = np.float32(size / 2)
    away = np.float32(0)
    x0, y0 = np.float32(p[1] * v + p[2]), np.float32(p[4] * v + p[5])
    for x in range(size):
        sx = np.float32(p[0]) * row[5, x] + x0
        sy = np.float32(p[3]) * row[5, x] + y0
        inside = abs(sx) <= 1 and abs(sy) <= 1
        fx = min(max((sx + 1) * half - np.float32(0.5), np.float32(0)), np.float32(size - 1.001))
        fy = min(max((sy + 1) * half - np.float32(0.5), np.float32(0)), np.float32(size - 1.001))
        ix, iy = int(fx), int(fy)
        fx -= np.float32(ix)
        fy -= np.float32(iy)
        p00, p01, p10, p11 = a[iy, ix], a[iy, ix + 1], a[iy + 1, ix], a[iy + 1, ix + 1]
        above, below = p00 + (p01 - p00) * fx, p10 + (p11 - p10) * fx
        value = above + (below - above) * fy
        r = b[x] - gain * value - offset
        far = r / spread
        w = np.float32(1) / (1 + far * far) if inside else np.float32(0)
        away += w * abs(r)
        row[0, x] = value
        row[1, x] = ((p01 - p00) + (p11 - p10 - p01 + p00) * fy) * half * gain
        row[2, x] = (below - above) * half * gain
        row[3, x] = r
        row[4, x] = w
    return float(away)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _row_sums(row: F32, sums: F64) -> None:
    """The sums over a row that the normal equations need; v is the same in all of it."""
    zero = np.float32(0)
    xx0 = xx1 = xx2 = xy0 = xy1 = xy2 = yy0 = yy1 = yy2 = zero
    xv0 = xv1 = yv0 = yv1 = x10 = x11 = y10 = y11 = vv = v1 = n1 = zero
    rx0 = rx1 = ry0 = ry1 = rv = r1 = zero
    for x in range(row.shape[1]):
        value, gx, gy, r, w, u = row[0, x], row[1, x], row[2, x], row[3, x], row[4, x], row[5, x]
        wx, wy, wr = w * gx, w * gy, w * r
        wxu, wyu = wx * u, wy * u
        xx0 += wx * gx
        xx1 += wxu * gx
        xx2 += wxu * gx * u
        xy0 += wx * gy
        xy1 += wxu * gy
        xy2 += wxu * gy * u
        yy0 += wy * gy
        yy1 += wyu * gy
        yy2 += wyu * gy * u
        xv0 += wx * value
        xv1 += wxu * value
        yv0 += wy * value
        yv1 += wyu * value
        x10 += wx
        x11 += wxu
        y10 += wy
        y11 += wyu
        vv += w * value * value
        v1 += w * value
        n1 += w
        rx0 += gx * wr
        rx1 += gx * wr * u
        ry0 += gy * wr
        ry1 += gy * wr * u
        rv += value * wr
        r1 += wr
    sums[:9] = (xx0, xx1, xx2, xy0, xy1, xy2, yy0, yy1, yy2)
    sums[9:20] = (xv0, xv1, yv0, yv1, x10, x11, y10, y11, vv, v1, n1)
    sums[20:] = (rx0, rx1, ry0, ry1, rv, r1)


@numba.njit(cache=True, nogil=True)
def _solve(matrix: F64, right: F64) -> None:
    """Cholesky on the upper triangle, in place; the answer is left in `right`."""
    size = len(right)
    for i in range(size):
        for j in range(i, size):
            value = matrix[i, j]
            for k in range(i):
                value -= matrix[k, i] * matrix[k, j]
            matrix[i, j] = math.sqrt(max(value, 1e-9)) if i == j else value / matrix[i, i]
    for i in range(size):
        for k in range(i):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]


@numba.njit(cache=True, nogil=True)
def _agreement(x: F32, y: F32, there: NDArray[np.bool_], reach: int) -> tuple[float, float]:
    """Correlation, and correlation less the mean of the pixels up to `reach` away."""
    size = len(x)
    t = np.zeros((5, size + 1, size + 1))
    _integrals(x, y, there, t)
    n = max(t[0, size, size], 1.0)
    sx, sy = t[1, size, size] / n, t[2, size, size] / n
    xx = yy = xy = dxx = dyy = dxy = 0.0
    for i in range(size):
        top, bottom = max(i - reach, 0), min(i + reach + 1, size)
        for j in range(size):
            if there[i, j]:
                first, stop = max(j - reach, 0), min(j + reach + 1, size)
                m = _box(t[0], top, bottom, first, stop)
                dx = x[i, j] - _box(t[1], top, bottom, first, stop) / m
                dy = y[i, j] - _box(t[2], top, bottom, first, stop) / m
                dxx += dx * dx
                dyy += dy * dy
                dxy += dx * dy
                xx += (x[i, j] - sx) ** 2
                yy += (y[i, j] - sy) ** 2
                xy += (x[i, j] - sx) * (y[i, j] - sy)
    quiet = _QUIET * n
    return xy / math.sqrt((xx + quiet) * (yy + quiet)), dxy / math.sqrt((dxx + quiet) * (dyy + quiet))


@numba.njit(cache=True, nogil=True)
def _integrals(x: F32, y: F32, there: NDArray[np.bool_], t: F64) -> None:
    """Sums of 1, x, y (and of xx, yy, xy when there is room) over all rectangles that start at the corner."""
    size = len(x)
    for i in range(size):
        count = sx = sy = sxx = syy = sxy = 0.0
        for j in range(size):
            if there[i, j]:
                count += 1
                sx += x[i, j]
                sy += y[i, j]
                sxx += x[i, j] * x[i, j]
                syy += y[i, j] * y[i, j]
                sxy += x[i, j] * y[i, j]
            t[0, i + 1, j + 1] = t[0, i, j + 1] + count
            t[1, i + 1, j + 1] = t[1, i, j + 1] + sx
            t[2, i + 1, j + 1] = t[2, i, j + 1] + sy
            if len(t) == 6:
                t[3, i + 1, j + 1] = t[3, i, j + 1] + sxx
                t[4, i + 1, j + 1] = t[4, i, j + 1] + syy
                t[5, i + 1, j + 1] = t[5, i, j + 1] + sxy


@numba.njit(cache=True, nogil=True)
def _box(t: F64, top: int, bottom: int, first: int, stop: int) -> float:
    value: float = t[bottom, stop] - t[top, stop] - t[bottom, first] + t[top, first]
    return value


@numba.njit(cache=True, nogil=True)
def _tiles(x: F32, y: F32, there: NDArray[np.bool_], features: F64, contrast: F64) -> None:
    """Overlap and agreement of tiles of 8x8 pixels every 4, weighed by the texture of the one that has more."""
    side = 8
    t = np.zeros((6, SIZE + 1, SIZE + 1))
    _integrals(x, y, there, t)
    n = max(t[0, SIZE, SIZE], 1.0)
    vx = max(t[3, SIZE, SIZE] / n - (t[1, SIZE, SIZE] / n) ** 2, 0.0) + _QUIET
    vy = max(t[4, SIZE, SIZE] / n - (t[2, SIZE, SIZE] / n) ** 2, 0.0) + _QUIET
    gain = math.sqrt(vy / vx)
    values, weights = np.empty(64), np.empty(64)
    count = 0
    whole = inner = good = good_inner = evidence = 0.0
    for i in range(0, SIZE - side + 1, 4):
        for j in range(0, SIZE - side + 1, 4):
            m = _box(t[0], i, i + side, j, j + side)
            if m < 0.7 * side * side:
                continue
            mx, my = _box(t[1], i, i + side, j, j + side) / m, _box(t[2], i, i + side, j, j + side) / m
            wx = max(_box(t[3], i, i + side, j, j + side) / m - mx * mx, 0.0)
            wy = max(_box(t[4], i, i + side, j, j + side) / m - my * my, 0.0)
            r = (_box(t[5], i, i + side, j, j + side) / m - mx * my) / math.sqrt((wx + 9) * (wy + 9))
            strong = min(max(math.sqrt(wx) * gain, math.sqrt(wy)), 30.0)
            if strong < 4:
                continue
            k = count  # kept in ascending order of agreement
            while k > 0 and values[k - 1] > r:
                values[k], weights[k] = values[k - 1], weights[k - 1]
                k -= 1
            values[k], weights[k] = r, strong
            count += 1
            whole += strong
            good += strong * max(r, 0.0)
            evidence += min(min(math.sqrt(wx) * gain, math.sqrt(wy)), 30.0) * max(r, 0.0) ** 4
            if 0 < i < SIZE - side and 0 < j < SIZE - side:
                inner += strong
                good_inner += strong * max(r, 0.0)
    low, left = 0.0, whole / 4
    for k in range(count):
        low += min(weights[k], left) * values[k]
        left -= min(weights[k], left)
    features[0] = n / (SIZE * SIZE)
    features[3] = good / max(whole, 1e-9)
    features[4] = low / max(whole / 4, 1e-9)
    features[5] = good_inner / max(inner, 1e-9)
    features[6] = math.log1p(evidence / 30)
    contrast[0] = gain
    xx = yy = xy = 1e-9
    for i in range(SIZE):
        top, bottom = max(i - 2, 0), min(i + 3, SIZE)
        for j in range(SIZE):
            if there[i, j]:
                first, stop = max(j - 2, 0), min(j + 3, SIZE)
                m = _box(t[0], top, bottom, first, stop)
                mx, my = _box(t[1], top, bottom, first, stop) / m, _box(t[2], top, bottom, first, stop) / m
                wx = max(_box(t[3], top, bottom, first, stop) / m - mx * mx, 0.0)
                wy = max(_box(t[4], top, bottom, first, stop) / m - my * my, 0.0)
                dx, dy = (x[i, j] - mx) / math.sqrt(wx + 16), (y[i, j] - my) / math.sqrt(wy + 16)
                xx += dx * dx
                yy += dy * dy
                xy += dx * dy
    features[9] = xy / math.sqrt((xx + 0.02 * n) * (yy + 0.02 * n))


@numba.njit(cache=True, nogil=True)
def _colour(a: F32, b: F32, p: F64, features: F64, contrast: F64) -> None:
    there = np.empty((SIZE, SIZE), np.bool_)
    red, blue = np.empty((SIZE, SIZE), np.float32), np.empty((SIZE, SIZE), np.float32)
    n = max(_sample(a[1], p, red, there, True), 1)
    _sample(a[2], p, blue, there, True)
    red_a = blue_a = red_b = blue_b = aa = bb = ab = 0.0
    for i in range(SIZE):
        for j in range(SIZE):
            if there[i, j]:
                red_a += red[i, j] / n
                blue_a += blue[i, j] / n
                red_b += b[1, i, j] / n
                blue_b += b[2, i, j] / n
                aa += (red[i, j] ** 2 + blue[i, j] ** 2) / n
                bb += (b[1, i, j] ** 2 + b[2, i, j] ** 2) / n
                ab += (red[i, j] * b[1, i, j] + blue[i, j] * b[2, i, j]) / n
    aa = max(aa - red_a**2 - blue_a**2, 0.0)
    bb = max(bb - red_b**2 - blue_b**2, 0.0)
    ab -= red_a * red_b + blue_a * blue_b
    features[7] = ab / math.sqrt(aa * bb) if min(aa, bb) > 25 else 1.0
    contrast[1] = math.sqrt((bb + _QUIET) / (aa + _QUIET))
