"""Pictures of people: the way there and back, what is sampled, mirrors, boxes at and beyond the edge."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from jftdata.pretrain.augment import GREY
from jftdata.transfer.pose_crop import Window, around

SIDE = st.floats(-50, 250)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    x0, y0 = draw(SIDE), draw(SIDE)
    box = (x0, y0, x0 + draw(st.floats(0, 300)), y0 + draw(st.floats(0, 300)))
    enlarge = draw(st.floats(0.5, 3))
    return around(box, height=129, width=97, enlarge=enlarge, mirrored=draw(st.booleans()))


@given(windows(), st.integers(0, 2**32 - 1))
def test_points_come_back_to_a_millionth_of_a_pixel(window: Window, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-500, 500, (4, 17, 2))
    np.testing.assert_allclose(window.to_image(window.to_picture(points)), points, atol=1e-6, rtol=0)
    np.testing.assert_allclose(window.to_picture(window.to_image(points)), points, atol=1e-6, rtol=0)


@given(windows())
def test_a_window_has_the_middle_of_its_box_and_holds_it(window: Window) -> None:
    corners = np.array([[0.0, 0.0], [97.0, 129.0]])
    box = window.to_image(corners)
    again = around(np.array([box.min(0), box.max(0)]).ravel(), height=129, width=97)
    assert again.scale == pytest.approx(max(window.scale, 1 / 97))
    np.testing.assert_allclose(again.to_image(corners).mean(0), box.mean(0), atol=1e-9)


def test_a_box_is_made_to_the_shape_of_the_picture_and_enlarged() -> None:
    wide = around((10, 20, 10 + 257, 30), height=353, width=257)
    assert (wide.scale, wide.left, wide.top) == (1.0, 10.0, 25 - 353 / 2)
    tall = around((10, 20, 11, 20 + 353), height=353, width=257, enlarge=1.25)
    assert (tall.scale, tall.left, tall.top) == (1.25, 10.5 - 1.25 * 257 / 2, 196.5 - 1.25 * 353 / 2)
    assert around((5, 5, 5, 5), height=33, width=17).scale == 1 / 17


@given(windows(), st.integers(0, 2**32 - 1))
def test_a_mirrored_picture_is_the_picture_mirrored_and_twice_is_the_same(window: Window, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    other = dataclasses.replace(window, mirrored=not window.mirrored)
    np.testing.assert_array_equal(other.cut(pixels), window.cut(pixels)[:, ::-1])
    points = np.array([[3.0, 4.0], [50.0, 90.0]])
    np.testing.assert_allclose(other.to_picture(points) + window.to_picture(points) * (1, -1), [[97, 0], [97, 0]])


@given(windows())
def test_a_ramp_is_sampled_where_the_window_says(window: Window) -> None:
    height, width = 240, 250
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x, y, 0 * x], axis=2).astype(np.uint8)
    picture = window.cut(pixels)
    places = np.stack(np.meshgrid(np.arange(97) + 0.5, np.arange(129) + 0.5), axis=2)
    there = window.to_image(places) - 0.5
    reach = max(window.scale, 1.0) + 1
    inside = (there > reach).all(2) & (there < (width - reach, height - reach)).all(2)
    assert np.abs(picture[..., :2] - there)[inside].max(initial=0) < 0.52
    outside = ((there < -reach - 1) | (there > (width + reach, height + reach))).any(2)
    assert (picture[outside] == GREY).all()


def test_an_enlarged_picture_is_what_torch_samples() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    window = around((12.3, 9.1, 30.2, 28.8), height=65, width=49, enlarge=1.1)
    places = np.stack(np.meshgrid(np.arange(49) + 0.5, np.arange(65) + 0.5), axis=2)
    grid = window.to_image(places) / (50, 40) * 2 - 1
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    theirs = F.grid_sample(image, torch.from_numpy(grid)[None], mode="bilinear", align_corners=False)[0]
    assert np.abs(window.cut(pixels) - theirs.permute(1, 2, 0).numpy()).max() <= 1.5  # Pillow rounds twice


@pytest.mark.parametrize("box", [(-90, -90, -50, -40), (300, 10, 400, 90), (10, 500, 20, 600)])
def test_a_box_off_the_image_is_grey(box: tuple[int, int, int, int]) -> None:
    pixels = np.zeros((60, 80, 3), np.uint8)
    assert (around(box, height=33, width=25).cut(pixels) == GREY).all()


def test_an_image_of_one_pixel_is_cut() -> None:
    picture = around((0, 0, 1, 1), height=33, width=25, enlarge=1.25).cut(np.zeros((1, 1, 3), np.uint8))
    assert picture[16, 12].tolist() == [0, 0, 0]
    assert picture[0, 0].tolist() == [GREY] * 3
