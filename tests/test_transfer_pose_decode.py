"""Votes against the sum they stand for, and keypoints that come back from maps that are right."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from jftdata.transfer.pose_decode import decode, votes

STRIDE = 8


def maps(seed: int, *, num: int, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    heat = rng.normal(-1, 2, (num, height, width)).astype(np.float32)
    return heat, rng.normal(0, 6, (num, 2, height, width)).astype(np.float32)


def summed(heat: NDArray[np.float32], offset: NDArray[np.float32], *, radius: float) -> NDArray[np.float64]:
    """f at each pixel of the picture and of a margin of 1, by its definition."""
    num, height, width = heat.shape
    rows, columns = (height - 1) * STRIDE + 1, (width - 1) * STRIDE + 1

    def large(given: NDArray[np.float32]) -> NDArray[np.float64]:
        tensor = torch.from_numpy(given)[None].double()
        return F.interpolate(tensor, (rows, columns), mode="bilinear", align_corners=True)[0].numpy()

    found = np.zeros((num, rows + 2, columns + 2))
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    for k in range(num):
        share = 1 / (1 + np.exp(-large(heat[k : k + 1])[0]))
        to_x, to_y = np.stack([x, y]) + large(offset[k])
        for i in range(rows + 2):
            for j in range(columns + 2):
                near_x = np.maximum(0, 1 - np.abs(to_x - (j - 0.5)))
                near_y = np.maximum(0, 1 - np.abs(to_y - (i - 0.5)))
                found[k, i, j] = (near_x * near_y * share).sum() / (math.pi * radius**2)
    return found


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 4))
def test_votes_are_the_sum_over_all_pixels(seed: int, height: int, width: int) -> None:
    heat, offset = maps(seed, num=2, height=height, width=width)
    found, expected = votes(heat, offset, radius=5.0), summed(heat, offset, radius=5.0)
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=2e-6)
    assert (found <= expected + 2e-6).all()  # the margin lacks what points beyond it


@given(st.integers(0, 2**32 - 1), st.floats(-12, -3))
def test_right_maps_give_the_keypoints_back(seed: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    height, width, radius = 9, 7, 9.0
    size = np.array([(width - 1) * STRIDE + 1, (height - 1) * STRIDE + 1])
    points = rng.uniform(0, 1, (3, 2)) * size
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height))) * STRIDE + 0.5  # (2, h, w)
    offset = (points[:, :, None, None] - places).astype(np.float32)
    heat = np.where((offset**2).sum(1) <= max(radius, STRIDE) ** 2, 6.0, floor).astype(np.float32)
    found = decode(heat[None], offset[None], radius=radius, workers=1)[0]
    assert np.abs(found[:, :2] - points).max() < 0.1
    assert (found[:, 2] > 0).all()


def test_threads_and_batches_change_nothing() -> None:
    pairs = [maps(seed, num=3, height=4, width=5) for seed in range(5)]
    heat, offset = (np.stack(part) for part in zip(*pairs, strict=True))
    whole = decode(heat, offset, radius=5.0, workers=3)
    np.testing.assert_array_equal(whole, np.concatenate([decode(h[None], w[None], radius=5.0) for h, w in pairs]))


def test_what_is_no_number_does_not_vote() -> None:
    heat, offset = maps(0, num=1, height=3, width=3)
    assert decode(np.full_like(heat, np.nan)[None], offset[None], radius=5.0).tolist() == [[[8.5, 8.5, 0.0]]]
    assert decode(heat[None], np.full_like(offset, np.inf)[None], radius=5.0).tolist() == [[[8.5, 8.5, 0.0]]]


def test_no_picture_gives_no_pose() -> None:
    empty = decode(np.zeros((0, 17, 3, 3), np.float32), np.zeros((0, 17, 2, 3, 3), np.float32), radius=5.0)
    assert empty.shape == (0, 17, 3)
