"""From maps to keypoints: every pixel of a picture votes, as much as it believes to be near, for the place it points to.

Votes are spread over four pixels bilinearly and summed: f(x) = sum over pixels j of bilinear(x_j + F(x_j) - x) h(x_j) / (pi R^2). A
keypoint lies at the highest pixel of f, moved to the centre of mass of the 3x3 pixels about it (the move is ours); its score is f
there, and a pose's score is the mean over its keypoints. Maps are interpolated to the pixels while they are read. Votes that leave
the picture by more than a pixel are lost.

Cost: 30 ms a picture of 353x257 with 17 keypoints, on one core; half a minute for a thousand.

Source: Papandreou et al. 2017 (1701.01779), section 3.2.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from jftdata.transfer.pose_net import STRIDE


def decode(
    heat: NDArray[np.float32], offset: NDArray[np.float32], *, radius: float, workers: int | None = None
) -> NDArray[np.float64]:
    """The keypoints of some pictures.

    Args:
        heat: (n, K, h, w) log-odds of being near each keypoint, at every eighth pixel of the picture.
        offset: (n, K, 2, h, w) the offset to it, x and y in pixels; a vote that is not finite does not count.
        radius: R, of the disks, in pixels.
        workers: threads; None is one a core.

    Returns:
        (n, K, 3) x and y in the picture, and the score; the middle of the picture and 0 where nothing voted.
    """

    def one(i: int) -> NDArray[np.float64]:
        return _peaks(votes(heat[i], offset[i], radius=radius))

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        found = list(pool.map(one, range(len(heat))))
    return np.stack(found) if found else np.zeros((0, heat.shape[1], 3))


def votes(heat: NDArray[np.float32], offset: NDArray[np.float32], *, radius: float) -> NDArray[np.float32]:
    """f of one picture.

    Args:
        heat: (K, h, w), see `decode`.
        offset: (K, 2, h, w).
        radius: R.

    Returns:
        (K, 8 h - 5, 8 w - 5): the picture with a margin of one pixel around, for what votes for its edge.
    """
    num, height, width = heat.shape
    out = np.zeros((num, (height - 1) * STRIDE + 3, (width - 1) * STRIDE + 3), np.float32)
    _vote(np.ascontiguousarray(heat), np.ascontiguousarray(offset), out)
    out /= np.float32(math.pi * radius**2)
    return out


@numba.njit(cache=True, nogil=True)
def _vote(heat: NDArray[Any], offset: NDArray[Any], out: NDArray[Any]) -> None:
    num, height, width = heat.shape
    rows, columns = (height - 1) * STRIDE + 1, (width - 1) * STRIDE + 1
    line = np.empty((3, width), np.float32)
    for k in range(num):
        for y in range(rows):
            i, share = y // STRIDE, np.float32(y % STRIDE) / np.float32(STRIDE)
            below = min(i + 1, height - 1)
            for j in range(width):
                line[0, j] = heat[k, i, j] + share * (heat[k, below, j] - heat[k, i, j])
                line[1, j] = offset[k, 0, i, j] + share * (offset[k, 0, below, j] - offset[k, 0, i, j])
                line[2, j] = offset[k, 1, i, j] + share * (offset[k, 1, below, j] - offset[k, 1, i, j])
            for x in range(columns):
                j, part = x // STRIDE, np.float32(x % STRIDE) / np.float32(STRIDE)
                right = min(j + 1, width - 1)
                to_x = x + 1 + line[1, j] + part * (line[1, right] - line[1, j])
                to_y = y + 1 + line[2, j] + part * (line[2, right] - line[2, j])
                if not (0 <= to_x < columns + 1 and 0 <= to_y < rows + 1):
                    continue
                weight = 1 / (1 + math.exp(-(line[0, j] + part * (line[0, right] - line[0, j]))))
                if not weight > 0:  # NaN
                    continue
                u, v = int(to_x), int(to_y)
                a, b = to_x - u, to_y - v
                out[k, v, u] += weight * (1 - a) * (1 - b)
                out[k, v, u + 1] += weight * a * (1 - b)
                out[k, v + 1, u] += weight * (1 - a) * b
                out[k, v + 1, u + 1] += weight * a * b


@numba.njit(cache=True, nogil=True)
def _peaks(maps: NDArray[Any]) -> NDArray[np.float64]:
    num, rows, columns = maps.shape
    out = np.zeros((num, 3))
    for k in range(num):
        at = np.argmax(maps[k])
        v, u = at // columns, at % columns
        best = maps[k, v, u]
        if not best > 0:
            out[k, 0], out[k, 1] = (columns - 2) / 2, (rows - 2) / 2
            continue
        total, sum_x, sum_y = 0.0, 0.0, 0.0
        for i in range(max(v - 1, 0), min(v + 2, rows)):
            for j in range(max(u - 1, 0), min(u + 2, columns)):
                total += maps[k, i, j]
                sum_x += maps[k, i, j] * j
                sum_y += maps[k, i, j] * i
        out[k, 0], out[k, 1] = sum_x / total - 0.5, sum_y / total - 0.5  # less the margin, at a pixel's centre
        out[k, 2] = best
    return out
