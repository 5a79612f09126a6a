"""Augmentation against torchvision and Pillow."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chisquare, ks_2samp
from torchvision.transforms import v2

from jftdata import images
from jftdata.hashing import keyed_hash
from jftdata.pretrain.augment import (
    GREY,
    Augmentation,
    change,
    changes,
    erased_box,
    resized_box,
)
from tests.strategies import picture

POLICIES = {
    "trivial-augment": v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR),
    "rand-augment": v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR),
}


def draws(num: int, seed: int = 0) -> np.ndarray:
    return keyed_hash(np.arange(num), seed=seed, stream="test")


def photo(seed: int, *, height: int = 375, width: int = 500) -> np.ndarray:
    """Smooth, as photographs are, with some grain."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    grain = np.random.default_rng(seed).normal(0, 4, (height, width, 1))
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def apart(a, b) -> np.ndarray:
    return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int))


@pytest.mark.parametrize(("height", "width", "min_area"), [(375, 500, 0.08), (60, 61, 0.5), (100, 190, 0.3)])
def test_resized_crops_have_torchvisions_distribution(height, width, min_area):
    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(10, scale=(min_area, 1.0))
    picture = torch.zeros(3, height, width)
    theirs = [crop.make_params([picture]) for _ in range(1500)]
    ours = np.array([resized_box(draw, height, width, min_area) for draw in draws(1500)])
    for column, name in enumerate(("top", "left", "height", "width")):
        assert ks_2samp(ours[:, column], [box[name] for box in theirs]).pvalue > 1e-3, name


@given(st.integers(0, 2**64 - 1), st.integers(1, 400), st.integers(1, 400), st.floats(0.01, 1.0))
def test_a_resized_crop_lies_within_the_image(draw, height, width, min_area):
    top, left, h, w = resized_box(np.uint64(draw), height, width, min_area)
    assert top >= 0
    assert left >= 0
    assert 0 < h <= height - top
    assert 0 < w <= width - left


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10)])
def test_what_never_fits_is_cut_from_the_middle_as_torchvision_does(height, width):
    theirs = v2.RandomResizedCrop(10, scale=(1.0, 1.0)).make_params([torch.zeros(3, height, width)])
    ours = resized_box(np.uint64(1), height, width, 1.0)
    assert ours == tuple(theirs[name] for name in ("top", "left", "height", "width"))


def test_erased_rectangles_have_torchvisions_distribution():
    torch.manual_seed(0)
    erasing = v2.RandomErasing(p=1.0)
    theirs = [erasing.make_params([torch.zeros(3, 64, 64)]) for _ in range(1500)]
    ours = np.array([erased_box(draw, 64, 1.0) for draw in draws(1500)])
    for column, name in enumerate(("i", "j", "h", "w")):
        assert ks_2samp(ours[:, column], [box[name] for box in theirs]).pvalue > 1e-3, name


def test_a_share_of_images_is_erased():
    erased = np.mean([erased_box(draw, 64, 0.25)[2] > 0 for draw in draws(4000)])
    assert erased == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", list(v2.TrivialAugmentWide._AUGMENTATION_SPACE))
def test_every_change_is_torchvisions(policy, name):
    theirs = POLICIES[policy]
    pixels = photo(1, height=48, width=56)
    magnitudes, signed = theirs._AUGMENTATION_SPACE[name]
    table = magnitudes(31, 48, 56)
    for level in (0, 1, 9, 16, 30):
        for sign in (1, -1) if signed else (1,):
            magnitude = 0.0 if table is None else sign * float(table[level])
            expected = theirs._apply_image_or_video_transform(
                Image.fromarray(pixels), name, magnitude, theirs.interpolation, theirs._fill
            )
            off = apart(change(pixels, name, sign * level / 30, policy), expected)
            if name == "Solarize":  # the level of the threshold itself depends on rounding
                off[np.abs(pixels - 255 * (1 - level / 30)) < 1e-3] = 0
            assert off.max() <= 1, (level, sign)


def test_trivial_augment_makes_one_change_of_any_kind_and_strength():
    made = [changes("trivial-augment", draw) for draw in draws(8000)]
    assert {len(one) for one in made} == {1}
    names, strengths = zip(*(one[0] for one in made), strict=True)
    assert chisquare(np.unique(names, return_counts=True)[1]).pvalue > 1e-3
    levels = np.round(np.abs(strengths) * 30).astype(int)
    assert chisquare(np.bincount(levels, minlength=31)).pvalue > 1e-3
    assert np.mean(np.array(strengths) < 0) == pytest.approx(0.5 * 30 / 31, abs=0.02)


def test_rand_augment_makes_two_changes_of_one_strength():
    made = [changes("rand-augment", draw) for draw in draws(4000)]
    assert {len(one) for one in made} == {2}
    assert {abs(strength) for one in made for _, strength in one} == {0.3}
    pairs = np.unique([f"{a[0]} {b[0]}" for a, b in made], return_counts=True)[1]
    assert len(pairs) == 14 * 14
    assert chisquare(pairs).pvalue > 1e-3


def test_a_random_crop_is_pillows_resize_cut_and_mirrored():
    data = images.encode_jpeg(photo(2, height=150, width=200))
    whole = images.resize(images.decode(data)[0], width=68, height=68)
    seen = set()
    for draw in draws(60):
        aug = Augmentation(68, 64)
        got = aug.finish(aug.load(data, draw), draw)
        assert got.shape == (64, 64, 3)
        windows = {
            (top, left, turned): apart(got, whole[top : top + 64, left : left + 64][:, :: 1 - 2 * turned]).max()
            for top in range(5)
            for left in range(5)
            for turned in (0, 1)
        }
        where = min(windows, key=windows.get)
        assert windows[where] <= 1
        seen.add(where)
    assert len(seen) > 30


def test_a_resized_crop_is_torchvisions_of_the_same_box():
    data = images.encode_jpeg(photo(3))
    aug = Augmentation(64, 64, "resized", 0.3)
    for draw in draws(20):
        box = resized_box(draw, 375, 500, 0.3)
        expected = v2.functional.resized_crop(Image.fromarray(images.decode(data)[0]), *map(int, box), size=[64, 64])
        expected = np.asarray(expected)[:, :: 1 - 2 * (int(draw) & 1)]
        assert apart(aug.finish(aug.load(data, draw), draw), expected).max() <= 1


def test_an_erased_rectangle_is_grey_and_the_rest_untouched():
    data = images.encode_jpeg(photo(4))
    for draw in draws(10):
        plain, erasing = Augmentation(68, 64), Augmentation(68, 64, erase=1.0)
        part = plain.load(data, draw)
        expected = plain.finish(part, draw).copy()
        top, left, height, width = erased_box(draw, 64, 1.0)
        expected[top : top + height, left : left + width] = GREY
        np.testing.assert_array_equal(erasing.finish(part, draw), expected)


@pytest.mark.parametrize("crop", ["random", "resized"])
@pytest.mark.parametrize(("policy", "least"), [(None, 0.1), ("trivial-augment", 2.0), ("rand-augment", 2.0)])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_tensor_is_augmented_as_an_array_is(crop, policy, least, device):
    data = images.encode_jpeg(photo(5))
    aug = Augmentation(68, 64, crop, 0.3 if crop == "resized" else None, policy, erase=0.5)
    off = []
    for draw in draws(80):
        part = aug.load(data, draw)
        tensor = aug.finish_on(torch.from_numpy(part.copy()).to(device), draw)
        assert tensor.dtype == torch.uint8
        off.append(apart(aug.finish(part, draw), tensor.cpu()).mean())
    assert np.mean(off) < least


def test_threads_and_torchs_generator_change_nothing():
    data = images.encode_jpeg(photo(6))
    aug = Augmentation(68, 64, "resized", 0.3, "rand-augment", 0.5)

    def one(draw: np.uint64) -> bytes:
        return aug.finish(aug.load(data, draw), draw).tobytes()

    torch.manual_seed(0)
    alone = [one(draw) for draw in draws(64)]
    torch.manual_seed(1)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, draws(64))) == alone


def test_an_image_that_pillow_decodes_is_augmented_too():
    buffer = images.io.BytesIO()
    Image.fromarray(picture(1, width=40, height=30)).save(buffer, "PNG")
    for crop, area in (("random", None), ("resized", 0.5)):
        aug = Augmentation(36, 32, crop, area)
        assert aug.finish(aug.load(buffer.getvalue(), draws(1)[0]), draws(1)[0]).shape == (32, 32, 3)


def far(data: bytes, side: int) -> float:
    """Mean difference of reduced and full decoding after resizing."""
    aug, even = Augmentation(side, side), np.uint64(2)
    part = aug.load(data, even)
    full = images.decode(data)[0]
    assert min(part.shape[:2]) >= 2 * side
    assert part.shape != full.shape
    return float(apart(aug.finish(part, even), aug.finish(full, even)).mean())


def test_a_large_jpeg_is_decoded_at_a_reduced_scale_and_looks_the_same():
    for side in (24, 48, 93):
        assert far(images.encode_jpeg(photo(7)), side) < 2


@pytest.mark.shared
@pytest.mark.parametrize("smaller", [4, 6, 8, 12, 16])
def test_photographs_at_a_reduced_scale_are_less_than_two_levels_away(shared_data, smaller):
    off = []
    for path in sorted((shared_data / "coco_mini").rglob("*.jpg"))[:80]:
        data = path.read_bytes()
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        off.append(far(data, min(height, width) // smaller))
    assert np.mean(off) < 2
