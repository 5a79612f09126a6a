import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.changes import KINDS, SINGLE, change
from jftdata.errors import BadInput, UnknownOption
from jftdata.images import resize
from tests.strategies import picture

SIZES = [(64, 48), (33, 40), (8, 8), (120, 20)]


def changed(kind, *, image=5, seed=0, pixels=None):
    return change(picture(1, width=80, height=60) if pixels is None else pixels, kind=kind, image=image, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_every_kind_gives_an_image_of_any_size(kind, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    before = pixels.copy()
    out = changed(kind, pixels=pixels)
    assert out.ndim == 3
    assert out.shape[2] == 3
    assert out.dtype == np.uint8
    assert min(out.shape[:2]) >= 4
    assert (pixels == before).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_a_function_of_image_kind_and_seed(kind):
    assert np.array_equal(changed(kind), changed(kind))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"recompressed", "halved", "flipped", "grey"}))
def test_other_images_and_seeds_draw_other_changes(kind):
    copies = [changed(kind, image=image, seed=seed) for image in range(4) for seed in range(2)]
    assert len({(c.shape, c.tobytes()) for c in copies}) >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_the_pixels(kind):
    original = picture(1, width=80, height=60)
    copy = changed(kind, pixels=original)
    assert copy.shape != original.shape or not np.array_equal(copy, original)


@given(st.integers(0, 2**63 - 1), st.sampled_from(["cropped_90", "cropped_75", "cropped_50"]))
def test_a_crop_shows_its_share_of_the_area(image, kind):
    # a picture of its own coordinates: what range of them is left is what share of the side was kept
    x, y = np.meshgrid(np.arange(200), np.arange(200))
    ramp = np.stack([x, y, x], axis=2).astype(np.uint8)
    out = change(ramp, kind=kind, image=image, seed=0).astype(float)
    wide = (out[:, -1, 0] - out[:, 0, 0]).mean() * 200 / 199
    high = (out[-1, :, 1] - out[0, :, 1]).mean() * 200 / 199
    share = int(kind.removeprefix("cropped_")) / 100
    assert wide * high / 200**2 == pytest.approx(share, abs=0.03)
    assert wide == pytest.approx(high, abs=3)


def test_flipped_twice_is_the_image():
    original = picture(2)
    assert np.array_equal(changed("flipped", pixels=changed("flipped", pixels=original)), original)


def test_grey_has_one_value_a_pixel():
    out = changed("grey")
    assert (out[:, :, 0] == out[:, :, 1]).all()
    assert (out[:, :, 0] == out[:, :, 2]).all()


def test_a_rotated_image_has_no_empty_corner():
    white = np.full((60, 80, 3), 255, np.uint8)
    for image in range(10):
        assert changed("rotated", image=image, pixels=white).min() > 250


def test_reshaped_keeps_the_whole_image():
    original = picture(3, width=80, height=60)
    for image in range(6):
        back = resize(changed("reshaped", image=image, pixels=original), width=80, height=60)
        assert np.corrcoef(back.ravel(), original.ravel())[0, 1] > 0.97


def test_two_is_two_single_changes():
    shapes = {changed("two", image=image).shape for image in range(40)}
    assert len(shapes) > 3
    assert "two" not in SINGLE


def test_an_unknown_kind_is_suggested():
    with pytest.raises(UnknownOption, match="Did you mean 'flipped'"):
        changed("fliped")


def test_an_image_too_small_to_change_is_refused():
    with pytest.raises(BadInput, match="image 5 is 7x20, at least 8x8"):
        changed("grey", pixels=np.zeros((20, 7, 3), np.uint8))
