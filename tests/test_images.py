import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from jftdata.errors import ImageRejected
from jftdata.images import REASONS, ImageFacts, Limits, decode, decode_labels, decode_small, encode_jpeg, header, resize
from tests.strategies import encoded, picture

PICTURE = picture(1, width=40, height=24)
ORIENTATION = 0x0112
LOSSLESS = {
    "PNG": ("png", {}),
    "WEBP": ("webp", {"lossless": True}),
    "BMP": ("bmp", {}),
    "TIFF": ("tiff", {}),
    "PPM": ("ppm", {}),
}


def rejected(data, **limits):
    with pytest.raises(ImageRejected) as caught:
        decode(data, limits=Limits(**limits))
    if caught.value.reason not in ("damaged", "crash"):  # what the header tells
        with pytest.raises(ImageRejected) as also:
            header(data, limits=Limits(**limits))
        assert str(also.value) == str(caught.value)
    assert caught.value.reason in REASONS
    assert str(caught.value)
    return caught.value.reason


def with_orientation(format, orientation, **options):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(PICTURE, format, exif=exif, **options)


# ---- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_give_back_every_pixel(format):
    name, options = LOSSLESS[format]
    data = encoded(PICTURE, format, **options)
    pixels, facts = decode(data)
    assert facts == header(data) == ImageFacts(width=40, height=24, format=name)
    assert pixels.dtype == np.uint8
    assert (pixels == PICTURE).all()


def test_gif_gives_what_pillow_gives():
    data = encoded(PICTURE, "GIF")
    pixels, facts = decode(data)
    assert facts.format == "gif"
    assert (pixels == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}], ids=["plain", "progressive", "4:4:4"]
)
def test_jpeg_is_close_to_what_pillow_gives(options):
    data = encoded(PICTURE, "JPEG", quality=92, **options)
    pixels, facts = decode(data)
    assert facts == ImageFacts(width=40, height=24, format="jpeg")
    assert np.abs(pixels.astype(int) - np.asarray(Image.open(io.BytesIO(data)))).max() <= 4


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_grey_becomes_three_equal_channels(format):
    grey = PICTURE[:, :, 0]
    pixels, _ = decode(encoded(grey, format))
    assert (pixels[:, :, 0] == pixels[:, :, 1]).all()
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()
    if format != "JPEG":
        assert (pixels[:, :, 0] == grey).all()


def test_one_bit_images_are_black_and_white():
    bits = Image.fromarray(PICTURE[:, :, 0] > 128)
    pixels, _ = decode(encoded(bits, "PNG"))
    assert set(np.unique(pixels)) == {0, 255}
    assert (pixels[:, :, 1] == np.where(PICTURE[:, :, 0] > 128, 255, 0)).all()


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_labels_are_the_numbers_in_the_file_whatever_its_colours(mode):
    numbers = PICTURE[:, :, 0] % 2 if mode == "1" else PICTURE[:, :, 0]
    image = Image.fromarray(numbers > 0 if mode == "1" else numbers)
    if mode == "P":
        image.putpalette(list(range(255, -1, -1)) * 3)
    assert (decode_labels(encoded(image, "PNG")) == numbers).all()


@pytest.mark.parametrize(
    ("pixels", "format"), [(PICTURE, "PNG"), (PICTURE[:, :, 0], "JPEG"), (PICTURE[:, :, 0].astype(np.uint16), "PNG")]
)
def test_what_has_no_number_a_pixel_is_no_label_file(pixels, format):
    with pytest.raises(ImageRejected, match="not a PNG with a palette or 8 bits of grey"):
        decode_labels(encoded(pixels, format))


# ---- the odd cases, one rule each ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation_is_applied_once_as_pillow_does(format, orientation):
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    data = with_orientation(format, orientation, **options)
    pixels, facts = decode(data)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert facts == header(data)
    assert (facts.height, facts.width) == expected.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
    assert np.abs(pixels.astype(int) - expected).max() <= (4 if format == "JPEG" else 0)
    if orientation > 1:  # the picture is not symmetric, so a missed turn would show
        upright = decode(with_orientation(format, 1, **options))[0]
        assert pixels.shape != upright.shape or np.abs(pixels.astype(int) - upright).max() > 50


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_means_nothing_is_left_alone(orientation):
    pixels, _ = decode(with_orientation("PNG", orientation))
    assert (pixels == PICTURE).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_an_unreadable_exif_block_does_not_reject_the_image(format):
    data = encoded(PICTURE, format, exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff rubbish")
    assert decode(data)[0].shape == (24, 40, 3)


def test_exif_is_found_behind_other_segments_and_not_inside_the_pixels():
    turned = with_orientation("JPEG", 6)
    profile = b"\xff\xe2" + (2 + 4).to_bytes(2, "big") + b"\xff\xda\xff\xd9"  # a segment that looks like others
    behind = turned[:2] + profile + turned[2:]
    assert decode(behind)[0].shape == (40, 24, 3)
    padded = turned[:2] + b"\xff" + turned[2:]
    assert decode(padded)[0].shape == (40, 24, 3)
    plain = encoded(PICTURE, "JPEG")
    assert decode(plain + b"Exif\x00\x00" + turned[24:90])[0].shape == (24, 40, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_cmyk_jpeg_is_converted_by_pillow(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95, exif=exif)
    pixels, facts = decode(data)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "CMYK"
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert facts.format == "jpeg"
    assert (pixels == expected).all()


def test_palette_with_alpha_is_laid_over_white():
    image = Image.new("P", (4, 2), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    pixels, _ = decode(encoded(image, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]  # index 0 is transparent
    assert pixels[0, 1].tolist() == [0, 0, 200]


@pytest.mark.parametrize(("alpha", "expected"), [(0, [255] * 3), (255, [10, 20, 30]), (128, [132, 137, 142])])
def test_alpha_is_laid_over_white(alpha, expected):
    image = Image.new("RGBA", (3, 3), (10, 20, 30, alpha))
    pixels, _ = decode(encoded(image, "PNG"))
    assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1


def test_grey_with_alpha_is_laid_over_white():
    pixels, _ = decode(encoded(Image.new("LA", (3, 3), (10, 0)), "PNG"))
    assert (pixels == 255).all()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_divided_by_257(format):
    wide = np.array([[0, 256, 257, 514], [30000, 32896, 65534, 65535]], np.uint16)
    pixels, _ = decode(encoded(Image.fromarray(wide), format))
    assert pixels[:, :, 0].tolist() == [[0, 0, 1, 2], [116, 128, 254, 255]]
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()


def test_a_dark_sixteen_bit_image_stays_dark():
    pixels, _ = decode(encoded(Image.fromarray(np.full((4, 4), 200, np.uint16)), "PNG"))
    assert (pixels == 0).all()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(format):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    pixels, _ = decode(data)
    assert (pixels == np.array([255, 0, 0])).all()


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_an_empty_file_is_rejected_as_empty():
    assert rejected(b"") == "empty"


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>404</html>", b"\x00" * 500, b"GIF", b"plain words"])
def test_what_is_no_image_is_rejected_as_such(data):
    assert rejected(data) == "not_an_image"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_rejected(format, share):
    data = encoded(picture(3), format)
    assert rejected(data[: int(len(data) * share)]) in ("damaged", "not_an_image")


@pytest.mark.parametrize("at", range(60, 100, 5))
def test_a_png_with_a_flipped_bit_is_rejected(at):
    data = bytearray(encoded(PICTURE, "PNG"))
    data[at] ^= 4  # within the checksummed pixel data
    assert rejected(bytes(data)) == "damaged"


def test_a_jpeg_with_rubbish_inside_is_rejected():
    data = bytearray(encoded(picture(3), "JPEG", quality=90))
    middle = len(data) // 2
    data[middle : middle + 40] = b"\xff\xd8" * 20
    assert rejected(bytes(data)) == "damaged"


def test_bytes_after_a_jpeg_start_marker_are_rejected_as_damaged():
    assert rejected(b"\xff\xd8<html>not a picture</html>") == "damaged"


@settings(max_examples=150)
@given(
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=8),
    end=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damage_either_decodes_or_is_rejected_with_a_known_reason(format, flips, end):
    data = bytearray(encoded(picture(2, width=32, height=32), format))
    for place, bit in flips:
        data[int(place * len(data))] ^= 1 << bit
    reason = None
    try:
        pixels, facts = decode(bytes(data[: int(end * len(data))]))
    except ImageRejected as error:
        reason = error.reason
    assert reason in REASONS or pixels.shape == (facts.height, facts.width, 3)


# ---- limits ----------------------------------------------------------------------------------------------------------


def png_header(width, height):
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000], ids=["81 MP", "144 MP", "3.6 GP"])
def test_a_bomb_is_rejected_from_its_header(side):
    # decoding would fail with `damaged`, since the pixels are not there
    assert rejected(png_header(side, side)) == "too_many_pixels"


def test_the_pixel_limit_holds_for_jpeg_and_counts_pixels():
    data = encoded(PICTURE, "JPEG")
    assert rejected(data, max_pixels=40 * 24 - 1) == "too_many_pixels"
    assert decode(data, limits=Limits(max_pixels=40 * 24))[0].shape == (24, 40, 3)


def test_the_byte_limit_comes_first():
    data = encoded(PICTURE, "PNG")
    assert rejected(data, max_bytes=len(data) - 1, max_pixels=1) == "too_many_bytes"
    decode(data, limits=Limits(max_bytes=len(data)))


@pytest.mark.parametrize("size", [(101, 2), (2, 101)])
def test_extreme_aspect_is_rejected_either_way(size):
    assert rejected(encoded(Image.new("RGB", size), "PNG")) == "extreme_aspect"
    assert decode(encoded(Image.new("RGB", (100, 2)), "PNG"))[0].shape == (2, 100, 3)


# ---- resize and encode -----------------------------------------------------------------------------------------------


def test_resize_keeps_the_right_size_untouched_and_antialiases():
    assert resize(PICTURE, width=40, height=24) is PICTURE
    checks = np.zeros((64, 64, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    small = resize(checks, width=8, height=16)
    assert small.shape == (16, 8, 3)
    assert np.abs(small.astype(int) - 127).max() <= 3  # without antialiasing it would be black or white


def test_encoded_jpeg_decodes_to_nearly_the_same():
    pixels, facts = decode(encode_jpeg(PICTURE, quality=95))
    assert facts == ImageFacts(width=40, height=24, format="jpeg")
    assert np.abs(pixels.astype(int) - PICTURE).mean() < 4
    assert len(encode_jpeg(PICTURE, quality=20)) < len(encode_jpeg(PICTURE, quality=95))


@pytest.mark.parametrize("size", [(500, 375), (90, 70)])
def test_a_small_decode_is_the_whole_one_made_smaller(size):
    data = encoded(picture(3, width=size[0], height=size[1]), "JPEG", quality=95)
    whole = decode(data)[0]
    small = decode_small(data, side=64)
    assert min(small.shape[:2]) >= 64
    assert small.size < whole.size if min(size) >= 128 else (small == whole).all()
    again = resize(whole, width=small.shape[1], height=small.shape[0])
    assert np.abs(small.astype(int) - again).mean() < 3


def test_a_small_decode_turns_by_exif_and_refuses_damage():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(picture(4, width=400, height=300), "JPEG", exif=exif)
    assert (decode_small(data, side=64) == decode(data)[0]).all()
    with pytest.raises(ImageRejected):
        decode_small(encoded(picture(4, width=400, height=300), "JPEG")[:4000], side=64)
