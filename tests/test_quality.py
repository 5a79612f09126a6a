import numpy as np
import pytest
from PIL import Image, ImageFilter

from jftdata import quality, world
from jftdata.errors import BadInput
from jftdata.sources import from_folder
from tests.strategies import encoded, picture
from tests.test_sources_folder import place


def test_numbers_say_what_they_mean():
    sharp = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    grey = np.repeat(sharp[..., :1], 3, axis=2)
    of = {name: dict(zip(list(quality.MEASURES)[1:], quality.of_pixels(p), strict=True))
          for name, p in (("sharp", sharp), ("blurred", blurred), ("grey", grey), ("half", sharp // 2))}  # fmt: skip
    assert of["sharp"]["sharpness"] > 20 * of["blurred"]["sharpness"]
    assert of["grey"]["colour"] < 1e-2 < of["blurred"]["colour"] < of["sharp"]["colour"]
    assert of["half"]["brightness"] == pytest.approx(of["sharp"]["brightness"] / 2, abs=0.6)
    assert of["half"]["contrast"] == pytest.approx(of["sharp"]["contrast"] / 2, rel=0.02)


def test_the_laplacian_is_that_of_pillow():
    grey = np.random.default_rng(1).integers(100, 130, (30, 40)).astype(np.uint8)
    kernel = ImageFilter.Kernel((3, 3), [0, 1, 0, 1, -4, 1, 0, 1, 0], scale=1, offset=128)
    filtered = np.asarray(Image.fromarray(grey).filter(kernel), np.float64)[1:-1, 1:-1]
    sharpness = quality.of_pixels(np.repeat(grey[..., None], 3, axis=2))[0]
    assert sharpness == pytest.approx(filtered.var(), rel=1e-3)


def test_images_of_one_pixel_have_numbers():
    assert quality.of_pixels(np.zeros((1, 1, 3), np.uint8)) == (0.0, 0.0, 0.0, 0.0)


def test_a_catalog_is_measured_and_what_cannot_be_read_is_listed(tmp_path):
    root = place(tmp_path / "p", *(f"a/{i}.png" for i in range(5)))
    (root / "a" / "big.png").write_bytes(encoded(picture(9, height=700, width=600), "png"))
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    (root / "a" / "3.png").unlink()
    measured, unread = quality.measure(catalog, workers=2)
    assert measured.schema == quality.MEASURES
    assert (len(measured), unread["reason"].to_list()) == (5, ["missing"])
    assert sorted([*measured["image"], *unread["image"]]) == catalog.images().tolist()
    some, _ = quality.measure(catalog, images=measured["image"].to_numpy()[:2], workers=1)
    assert some.equals(measured[:2])


def test_a_catalog_without_pixels_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no pixels"):
        quality.measure(world.jft300m(1000, out=tmp_path / "c"))
