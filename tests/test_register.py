import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jftdata import world
from jftdata.changes import KINDS, change
from jftdata.errors import BadInput
from jftdata.register import FEATURES, SIZE, align, view
from tests.strategies import picture

ZERO = np.array([0])


def scene(seed, index=0):
    return world.scene(seed, index, stream="eval").image


def textured(seed):
    """A picture with something to see everywhere, 128x128."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((128, 128), Image.Resampling.BICUBIC))


def measured(a, b):
    found = align(view(a)[None], view(b)[None], ZERO, ZERO, workers=1)
    return dict(zip(FEATURES, found.features[0].tolist(), strict=True)), found.transforms[0]


def plain(a, b):
    """Correlation of the luminance of two views as they are, which the traps are made to fool."""
    return np.corrcoef(view(a).mean(axis=2).ravel(), view(b).mean(axis=2).ravel())[0, 1]


def cut(pixels, x0, y0, x1, y1):
    """The part between two corners given as shares, scaled to the whole."""
    height, width = pixels.shape[:2]
    box = (x0 * width, y0 * height, x1 * width, y1 * height)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box))


# ---- what is a copy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"two", "lettered"}))
def test_detail_of_a_changed_copy_agrees(seed, kind):
    original = textured(seed)
    features, _ = measured(original, change(original, kind=kind, image=seed, seed=1))
    assert features["detail"] > 0.8
    assert features["tiles"] > 0.85


@given(
    st.integers(0, 50), st.floats(0.72, 1.0), st.floats(0.72, 1.0), st.floats(0, 1), st.floats(0, 1), st.booleans()
)  # fmt: skip
@settings(max_examples=60)
def test_the_transform_of_a_crop_is_found(seed, wide, high, x, y, mirror):
    original = textured(seed)
    x0, y0 = x * (1 - wide), y * (1 - high)
    copy = cut(original, x0, y0, x0 + wide, y0 + high)
    features, p = measured(original, copy[:, ::-1] if mirror else copy)
    assert features["detail"] > 0.85
    assert p[0] == pytest.approx(-wide if mirror else wide, abs=0.03)
    assert p[4] == pytest.approx(high, abs=0.03)
    assert p[2] == pytest.approx(2 * x0 + wide - 1, abs=0.03)  # where the middle of the crop lies
    assert p[5] == pytest.approx(2 * y0 + high - 1, abs=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_the_whole_is_found_from_the_crop_too(seed):
    original = textured(seed)
    features, p = measured(cut(original, 0.1, 0.2, 0.9, 0.95), original)
    assert features["detail"] > 0.85
    assert p[0] == pytest.approx(1 / 0.8, abs=0.04)
    assert p[4] == pytest.approx(1 / 0.75, abs=0.04)
    assert features["overlap"] > 0.9  # of the crop's frame, which the whole covers


@pytest.mark.parametrize("degrees", [-4, 3])
def test_a_small_turn_is_found(degrees):
    original = textured(3)
    turned = np.asarray(Image.fromarray(original).rotate(degrees, Image.Resampling.BICUBIC))
    _, p = measured(cut(original, 0.1, 0.1, 0.9, 0.9), cut(turned, 0.1, 0.1, 0.9, 0.9))
    assert np.rad2deg(np.arctan2(p[1] - p[3], p[0] + p[4])) == pytest.approx(-degrees, abs=0.7)


def test_copies_of_images_of_32_pixels_are_found():
    for seed in range(10):
        small = view(scene(seed))
        for kind in ("recompressed", "cropped_75", "stretched", "contrast", "rotated"):
            features, _ = measured(small, change(small, kind=kind, image=seed, seed=0))
            assert features["detail"] > 0.6, (seed, kind)


# ---- what is none: the traps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_different_pictures_do_not_agree(seed):
    features, _ = measured(picture(seed), picture(seed + 100))
    assert features["detail"] < 0.7
    assert features["tiles"] < 0.75


@pytest.mark.parametrize("noise", [0, 2])
def test_flat_images_give_no_evidence(noise):
    rng = np.random.default_rng(0)
    sky = np.linspace(200, 250, 64)[:, None, None] + np.zeros((64, 64, 3))
    one, other = (np.clip(sky + noise * rng.standard_normal(sky.shape), 0, 255).astype(np.uint8) for _ in range(2))
    features, _ = measured(one, other)
    assert features["detail"] < 0.4
    assert features["evidence"] < 0.6


def silhouette(seed):
    """A white image with one filled ellipse, the same in all."""
    x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
    shape = (x / 0.6) ** 2 + (y / 0.45) ** 2 < 1
    out = np.full((64, 64, 3), 255, np.uint8)
    out[shape] = (textured(seed)[::2, ::2] // 2)[shape]
    return out


def test_one_silhouette_with_other_things_in_it_is_no_copy():
    for seed in range(5):
        one, other = silhouette(seed), silhouette(seed + 50)
        features, _ = measured(one, other)
        assert plain(one, other) > 0.95
        assert features["texture"] < 0.75
        assert measured(one, change(one, kind="recompressed", image=0, seed=0))[0]["texture"] > 0.8


def test_frames_that_match_on_their_border_alone_do_not_agree_inside():
    for seed in range(5):
        one, other = textured(seed), textured(seed + 50).copy()
        other[:16], other[-16:], other[:, :16], other[:, -16:] = one[:16], one[-16:], one[:, :16], one[:, -16:]
        features, _ = measured(one, other)
        assert features["inner"] < 0.65


def test_frames_of_one_burst_differ_where_something_moved():
    for seed in range(5):
        frame = textured(seed)
        moved = [frame.copy() for _ in range(2)]
        for at, to in enumerate((8, 60)):
            moved[at][40:100, to : to + 60] = textured(seed + 20)[:60, :60]
        features, _ = measured(*moved)
        same, _ = measured(moved[0], change(moved[0], kind="recompressed", image=0, seed=0))
        assert features["weak_tiles"] < 0.3
        assert same["weak_tiles"] > 0.8


def test_the_same_thing_in_another_colour_differs_in_colour():
    car = np.full((64, 64, 3), 128, np.uint8)
    car[20:44, 10:54] = (200, 40, 40)
    car[26:36, 16:30] = (240, 240, 200)
    features, _ = measured(car, car[:, :, ::-1])
    assert features["colour"] < 0.2
    assert measured(car, change(car, kind="recoloured", image=0, seed=0))[0]["colour"] > 0.9


def test_the_same_colour_layout_is_no_copy():
    def blocks(x):
        return x.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)

    for seed in range(5):
        one, other = view(textured(seed)), view(textured(seed + 50))
        layout = np.clip(blocks(one) + other - blocks(other), 0, 255).astype(np.uint8)
        features, _ = measured(one, layout)
        assert plain(one, layout) > 0.7
        assert features["detail"] < 0.72


# ---- laws ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    views = np.stack([view(picture(i)) for i in range(12)])
    left, right = (x.ravel() for x in np.meshgrid(np.arange(12), np.arange(12), indexing="ij"))
    return views, left, right, align(views, views, left, right, workers=1)


def test_a_pair_does_not_depend_on_the_others(many):
    views, left, right, all_of_them = many
    order = np.random.default_rng(0).permutation(len(left))
    mixed = align(views, views, left[order], right[order], workers=3)
    alone = align(views, views, left[7:8], right[7:8], workers=1)
    for name in ("features", "transforms", "contrast"):
        assert np.array_equal(getattr(mixed, name), getattr(all_of_them, name)[order])
        assert np.array_equal(getattr(alone, name), getattr(all_of_them, name)[7:8])


def test_an_image_agrees_with_itself_best(many):
    _, left, right, found = many
    detail = found.features[:, FEATURES.index("detail")]
    assert detail[left == right].min() > 0.95
    assert detail[left != right].max() < 0.8


def test_all_features_are_finite_for_extreme_images():
    rng = np.random.default_rng(0)
    extreme = np.stack(
        [np.zeros((SIZE, SIZE, 3)), np.full((SIZE, SIZE, 3), 255), rng.integers(0, 2, (SIZE, SIZE, 3)) * 255]
    ).astype(np.uint8)
    left, right = (x.ravel() for x in np.meshgrid(np.arange(3), np.arange(3)))
    found = align(extreme, extreme, left, right)
    assert np.isfinite(found.features).all()
    assert np.isfinite(found.transforms).all()


def test_no_pairs_are_no_error():
    none = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    assert align(none, none, ZERO[:0], ZERO[:0]).features.shape == (0, len(FEATURES))


def test_views_of_another_shape_are_refused():
    good = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(BadInput, match=r"`views_b` must be \(n, 32, 32, 3\) uint8. Got \(1, 16, 16, 3\)"):
        align(good, good[:, ::2, ::2], ZERO, ZERO)
    with pytest.raises(BadInput, match=r"`views_a` must be in 0..0. Got 4..4"):
        align(good, good, ZERO + 4, ZERO)
    with pytest.raises(BadInput, match=r"as many positions on both sides\. Got 1 and 2"):
        align(good, good, ZERO, np.array([0, 0]))
