"""Decode one image safely: header limits first, then strict decoding, then one stated rule for every odd case.

JPEG goes through simplejpeg, all else through Pillow. EXIF orientation is applied once; CMYK is converted by Pillow;
palette and alpha are laid over white; 16-bit grey is divided by 257; of an animation the first frame counts; grey
becomes three equal channels.
Cost: 1,400 500x375 JPEGs a second a core.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from jftdata.errors import ImageRejected

EXTENSIONS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif", ".bmp": "bmp",
              ".tif": "tiff", ".tiff": "tiff", ".ppm": "ppm", ".pgm": "ppm"}  # fmt: skip
"""File endings that count as images, and the format each stands for."""
REASONS = ("empty", "too_many_bytes", "too_many_pixels", "extreme_aspect", "not_an_image", "damaged", "missing",
           "unsafe", "crash")  # fmt: skip
"""Every reason an image can be rejected for; `unsafe` is a name that leaves its folder or a link inside an archive,
`crash` an image that ends the process that decodes it. The last three come from ingest, not from `decode`."""

_PILLOW = ("PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG")
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Limits:
    """What a header may claim before anything is decoded."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 80_000_000
    max_aspect: float = 50.0


@dataclass(frozen=True)
class ImageFacts:
    """What a header says; width and height as displayed, EXIF orientation applied."""

    width: int
    height: int
    format: str


DEFAULT_LIMITS = Limits()


def decode(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> tuple[NDArray[np.uint8], ImageFacts]:
    """Pixels and facts of one image.

    Args:
        data: the bytes of the file.
        limits: checked on the header, before pixels are decoded.

    Returns:
        (H, W, 3) uint8 RGB, and the facts.

    Raises:
        ImageRejected: with one of `REASONS`.

    >>> buffer = io.BytesIO()
    >>> Image.new("L", (4, 3), 7).save(buffer, "PNG")
    >>> pixels, facts = decode(buffer.getvalue())
    >>> pixels.shape, facts
    ((3, 4, 3), ImageFacts(width=4, height=3, format='png'))
    """
    _check_bytes(data, limits)
    pixels, format = _decode_jpeg(data, limits) if data[:2] == b"\xff\xd8" else _decode_pillow(data, limits)
    return pixels, ImageFacts(width=pixels.shape[1], height=pixels.shape[0], format=format)


def header(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> ImageFacts:
    """What `decode` would say of an image, from its header alone: 20 microseconds for a JPEG.

    Raises:
        ImageRejected: with one of `REASONS`.

    >>> header(encode_jpeg(np.zeros((3, 4, 3), np.uint8)))
    ImageFacts(width=4, height=3, format='jpeg')
    """
    _check_bytes(data, limits)
    if data[:2] == b"\xff\xd8":
        height, width, _ = _jpeg_header(data, limits)
        turned = _jpeg_orientation(data) in _SIDEWAYS
        return ImageFacts(height, width, "jpeg") if turned else ImageFacts(width, height, "jpeg")
    with _opened(data, limits) as image:
        format = (image.format or "").lower()
        turned = format != "tiff" and _exif_orientation(image) in _SIDEWAYS  # TIFF says its size as displayed
        return ImageFacts(*(image.size[::-1] if turned else image.size), format)


def decode_labels(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """The number of each pixel of a label file: the palette's index or the grey value of an 8-bit PNG, whatever its colours.

    Returns:
        (H, W) uint8.

    Raises:
        ImageRejected: with one of `REASONS`; `not_an_image` for a file with colours and no palette, or with more than 8 bits.
    """
    _check_bytes(data, limits)
    with _opened(data, limits) as image:
        if image.mode not in ("P", "L", "1") or image.format != "PNG":
            raise ImageRejected(
                "not_an_image", f"a {image.format} of mode {image.mode}, not a PNG with a palette or 8 bits of grey"
            )
        return np.array(image, np.uint8)


def decode_small(data: bytes, *, side: int) -> NDArray[np.uint8]:
    """Pixels of an image that has been decoded before, both sides at least `side` where they were; not to be kept.

    A JPEG much larger than that is decoded at a reduced scale: three times as fast at 500x375 pixels.

    Raises:
        ImageRejected: with one of `REASONS`.
    """
    if data[:2] == b"\xff\xd8" and not _has_exif(data):
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
            if min(height, width) >= 2 * side and space not in ("CMYK", "YCCK"):
                small: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                    data, colorspace="RGB", min_height=side, min_width=side, strict=True
                )
                return small
        except ValueError:  # `decode` says what is wrong
            pass
    return decode(data)[0]


def resize(pixels: NDArray[np.uint8], *, width: int, height: int) -> NDArray[np.uint8]:
    """Resize with antialiasing (Pillow, bilinear); the same array when the size is right already.

    >>> resize(np.zeros((4, 6, 3), np.uint8), width=3, height=2).shape
    (2, 3, 3)
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def encode_jpeg(pixels: NDArray[np.uint8], *, quality: int = 90) -> bytes:
    """JPEG bytes of an (H, W, 3) uint8 array."""
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality)
    return encoded


def shrink(pixels: NDArray[np.uint8], *, side: int, least: int = 1) -> NDArray[np.uint8]:
    """An image whose longest side is at most `side` pixels and whose shortest at least `least`; smaller ones keep their size.

    >>> shrink(np.zeros((300, 400, 3), np.uint8), side=100).shape
    (75, 100, 3)
    """
    height, width = pixels.shape[:2]
    less = min(1.0, side / max(height, width))
    return resize(pixels, width=max(least, round(width * less)), height=max(least, round(height * less)))


def small_jpeg(data: bytes, *, side: int, quality: int) -> bytes:
    """JPEG bytes of an image whose longest side is at most `side` pixels; smaller images keep their size.

    Raises:
        ImageRejected: with one of `REASONS`.
    """
    pixels = decode_small(data, side=side)
    return encode_jpeg(shrink(pixels, side=side), quality=quality)


def _check_bytes(data: bytes, limits: Limits) -> None:
    if not data:
        raise ImageRejected("empty", "the file has no bytes")
    if len(data) > limits.max_bytes:
        raise ImageRejected("too_many_bytes", f"{len(data)} bytes, at most {limits.max_bytes} allowed")


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise ImageRejected("too_many_pixels", f"{width}x{height} pixels, at most {limits.max_pixels} allowed")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageRejected("extreme_aspect", f"{width}x{height}, at most {limits.max_aspect:g} to 1 allowed")


def _decode_jpeg(data: bytes, limits: Limits) -> tuple[NDArray[np.uint8], str]:
    _, _, space = _jpeg_header(data, limits)
    if space in ("CMYK", "YCCK"):
        return _decode_pillow(data, limits)[0], "jpeg"
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    except ValueError as error:
        raise ImageRejected("damaged", f"JPEG: {error}") from error
    return _orient(pixels, _jpeg_orientation(data)), "jpeg"


def _jpeg_header(data: bytes, limits: Limits) -> tuple[int, int, str]:
    """Height, width and colour space as stored."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise ImageRejected("damaged", f"JPEG header: {error}") from error
    _check_size(width, height, limits)
    return height, width, space


def _decode_pillow(data: bytes, limits: Limits) -> tuple[NDArray[np.uint8], str]:
    with _opened(data, limits) as image:
        format = (image.format or "").lower()
        image.load()  # before the orientation is asked for: TIFF turns itself here and forgets it
        return _orient(_to_rgb(image), _exif_orientation(image)), format


@contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[Image.Image]:
    """An image whose pixels are not read yet; what goes wrong in the block is a reason to reject it."""
    try:
        image = Image.open(io.BytesIO(data), formats=_PILLOW)
        _check_size(image.width, image.height, limits)
        yield image
    except ImageRejected:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRejected("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageRejected("not_an_image", "no known image format") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ... on damaged files
        raise ImageRejected("damaged", f"{type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith(("I;16", "I")):
        wide = np.asarray(image).astype(np.int64)
        grey = np.clip(wide // 257, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("P", "PA", "LA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, over).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _jpeg_orientation(data: bytes) -> int:
    if not _has_exif(data):
        return 1
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return _exif_orientation(image)
    except Exception:  # simplejpeg has read it
        return 1


def _has_exif(data: bytes) -> bool:
    """Whether a segment before the pixels holds EXIF; looks at the segments' heads only."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":  # the pixels begin
        if data[at + 4 : at + 10] == b"Exif\x00\x00":
            return True
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[at : at + 1] != b"\xff" and b"Exif\x00\x00" in data  # oddly padded: look everywhere


def _exif_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # an unreadable EXIF block does not make the pixels wrong
        return 1


def _orient(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation in _SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
