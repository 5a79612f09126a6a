"""Kinds of change that make a copy of an image: what the finder of copies is calibrated and measured on.

Each kind is a function of pixels and random numbers, and what it draws is fixed by (image id, kind, seed). Strengths
are ours: mild ones leave the frame as it is, crops are named by the share of the area they keep.
Cost: about 1 ms for 500x375 pixels.
"""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from jftdata.errors import BadInput, one_of
from jftdata.hashing import keyed_hash
from jftdata.images import encode_jpeg, resize

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Draws = random.Random
"""Random numbers; `random()` of Python's generator is the same in every version."""
_WORDS = ("SALE", "photo", "(c) me", "no. 7", "2016")
_GREY = np.array([0.299, 0.587, 0.114])


def recompressed(pixels: Pixels, draws: Draws) -> Pixels:
    """JPEG at quality 30."""
    decoded: Pixels = simplejpeg.decode_jpeg(encode_jpeg(pixels, quality=30))
    return decoded


def halved(pixels: Pixels, draws: Draws) -> Pixels:
    """Half as wide and half as high."""
    height, width = pixels.shape[:2]
    return resize(pixels, width=max(1, width // 2), height=max(1, height // 2))


def cropped_90(pixels: Pixels, draws: Draws) -> Pixels:
    """A crop of 90% of the area, of the same shape, anywhere."""
    return _crop(pixels, draws, 0.9**0.5, 0.9**0.5)


def cropped_75(pixels: Pixels, draws: Draws) -> Pixels:
    """A crop of 75% of the area."""
    return _crop(pixels, draws, 0.75**0.5, 0.75**0.5)


def cropped_50(pixels: Pixels, draws: Draws) -> Pixels:
    """A crop of half the area."""
    return _crop(pixels, draws, 0.5**0.5, 0.5**0.5)


def flipped(pixels: Pixels, draws: Draws) -> Pixels:
    """Mirrored left to right."""
    return np.ascontiguousarray(pixels[:, ::-1])


def grey(pixels: Pixels, draws: Draws) -> Pixels:
    """Without colour."""
    return _bytes(np.repeat((pixels @ _GREY)[:, :, None], 3, axis=2))


def recoloured(pixels: Pixels, draws: Draws) -> Pixels:
    """Saturation 0.4 to 1.6 times and a cast of up to 15% on each channel."""
    level = (pixels @ _GREY)[:, :, None]
    cast = np.array([_between(draws, 0.85, 1.15) for _ in range(3)])
    return _bytes((level + (pixels - level) * _between(draws, 0.4, 1.6)) * cast)


def contrast(pixels: Pixels, draws: Draws) -> Pixels:
    """Contrast 0.5 to 0.8 or 1.2 to 1.5 times around the mean, brightness moved by up to 30 of 255."""
    gain = _between(draws, 0.5, 0.8) if draws.random() < 0.5 else _between(draws, 1.2, 1.5)
    mean = pixels.mean()
    return _bytes((pixels - mean) * gain + mean + _between(draws, -30, 30))


def blurred(pixels: Pixels, draws: Draws) -> Pixels:
    """Gaussian blur, sigma 1% to 2% of the shorter side."""
    sigma = min(pixels.shape[:2]) * _between(draws, 0.01, 0.02)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def noisy(pixels: Pixels, draws: Draws) -> Pixels:
    """Gaussian noise on every value, standard deviation 8 to 16 of 255."""
    rng = np.random.default_rng(draws.getrandbits(64))
    return _bytes(pixels + rng.standard_normal(pixels.shape) * _between(draws, 8, 16))


def rotated(pixels: Pixels, draws: Draws) -> Pixels:
    """Turned by 2 to 5 degrees either way, and cut so that no corner is empty."""
    height, width = pixels.shape[:2]
    angle = _between(draws, 2, 5) * (1 if draws.random() < 0.5 else -1)
    turned = Image.fromarray(pixels).rotate(angle, Image.Resampling.BICUBIC)
    sine, cosine = abs(np.sin(np.deg2rad(angle))), np.cos(np.deg2rad(angle))
    share = min(width / (width * cosine + height * sine), height / (height * cosine + width * sine))
    x, y = width * (1 - share) / 2 + 1, height * (1 - share) / 2 + 1  # a pixel in, where black is mixed into the edge
    return np.asarray(turned.resize((width, height), Image.Resampling.BICUBIC, (x, y, width - x, height - y)))


def bordered(pixels: Pixels, draws: Draws) -> Pixels:
    """A frame of one grey, 4% to 10% of the shorter side, around the image."""
    wide = max(1, round(min(pixels.shape[:2]) * _between(draws, 0.04, 0.1)))
    value = (0, 255, 128)[int(draws.random() * 3)]
    return np.pad(pixels, ((wide, wide), (wide, wide), (0, 0)), constant_values=value)


def lettered(pixels: Pixels, draws: Draws) -> Pixels:
    """A word over the image, 12% to 20% as high as it."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    size = max(8, round(height * _between(draws, 0.12, 0.2)))
    at = (width * _between(draws, 0.02, 0.4), height * _between(draws, 0.04, 0.75))
    word, colour = _WORDS[int(draws.random() * len(_WORDS))], ("white", "yellow", "black")[int(draws.random() * 3)]
    ImageDraw.Draw(image).text(at, word, fill=colour, font=ImageFont.load_default(size))
    return np.asarray(image)


def reshaped(pixels: Pixels, draws: Draws) -> Pixels:
    """One side made 0.7 to 1.43 times as long; all of the image is kept."""
    height, width = pixels.shape[:2]
    factor = _between(draws, 0.7, 0.85) if draws.random() < 0.5 else _between(draws, 1.18, 1.43)
    if draws.random() < 0.5:
        return resize(pixels, width=max(1, round(width * factor)), height=height)
    return resize(pixels, width=width, height=max(1, round(height * factor)))


def stretched(pixels: Pixels, draws: Draws) -> Pixels:
    """70% to 85% of the width or of the height, stretched over the old frame: scales of the two axes differ."""
    share = _between(draws, 0.7, 0.85)
    wide, high = (share, 1.0) if draws.random() < 0.5 else (1.0, share)
    return _crop(pixels, draws, wide, high)


def two(pixels: Pixels, draws: Draws) -> Pixels:
    """Two different changes, one after the other."""
    names = list(SINGLE)
    first = names.pop(int(draws.random() * len(names)))
    second = names[int(draws.random() * len(names))]
    return SINGLE[second](SINGLE[first](pixels, draws), draws)


Change = Callable[[Pixels, Draws], Pixels]
SINGLE: Mapping[str, Change] = MappingProxyType(
    {
        change.__name__: change
        for change in (
            recompressed, halved, cropped_90, cropped_75, cropped_50, flipped, grey, recoloured, contrast, blurred,
            noisy, rotated, bordered, lettered, reshaped, stretched,
        )
    }
)  # fmt: skip
"""Every change made of one step, by its name."""
KINDS: Mapping[str, Change] = MappingProxyType({**SINGLE, "two": two})
"""Every kind of change, by its name."""
HARD = ("cropped_50", "two")
"""Kinds that leave less to go by; all others are mild."""


def change(pixels: Pixels, *, kind: str, image: int, seed: int) -> Pixels:
    """A changed copy of an image, the same for ever for (image, kind, seed).

    Args:
        pixels: (H, W, 3) uint8, at least 8 pixels a side.
        kind: one of `KINDS`.
        image: its id.
        seed: for the strength and place of the change.

    Returns:
        (H', W', 3) uint8; not all kinds keep the size.

    Raises:
        UnknownOption: no such kind.
        BadInput: an image of fewer than 8 pixels a side.

    >>> change(np.zeros((32, 40, 3), np.uint8), kind="halved", image=5, seed=0).shape
    (16, 20, 3)
    """
    if kind not in KINDS:
        raise one_of("kind", kind, KINDS)
    if min(pixels.shape[:2]) < 8:
        raise BadInput(f"image {image} is {pixels.shape[1]}x{pixels.shape[0]}, at least 8x8 is needed to change it.")
    key = int(keyed_hash(np.array([image]), seed=seed, stream=f"change/{kind}")[0])
    return KINDS[kind](pixels, random.Random(key))


def _between(draws: Draws, low: float, high: float) -> float:
    return low + (high - low) * draws.random()


def _bytes(values: NDArray[np.floating]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _crop(pixels: Pixels, draws: Draws, wide: float, high: float) -> Pixels:
    """A part of the image, scaled up to the size of the whole."""
    height, width = pixels.shape[:2]
    x, y = draws.random() * width * (1 - wide), draws.random() * height * (1 - high)
    part = (x, y, x + width * wide, y + height * high)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, part))
