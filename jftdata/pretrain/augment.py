"""What is done to an image before the network sees it; a pure function of its bytes and one 64-bit draw.

The draw is `Stream.draw` of seed, epoch and position. It is spread over as many words as are needed by SplitMix64, and no
generator has a state, so threads and their order change nothing. Boxes follow the distributions of torchvision's transforms;
colours and shapes are changed by torchvision's own functions (Pillow's on the CPU).

For a random crop, a JPEG at least four times the size it is resized to is decoded at a reduced scale of at least twice that size: 1.1
to 1.5 times as fast, and after resizing 0.5 to 1.9 of 255 levels away from full decoding on average (159 COCO and 250 Imagenette
photographs resized to 1/4 to 1/16). A resized crop decodes in full: its box would have to be rounded to the fewer pixels, which cost
3 levels and won nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from jftdata import images
from jftdata.permute import mix

ASPECT = (3 / 4, 4 / 3)
"""Width by height of a resized crop; Szegedy et al. 2015."""
ERASED_AREA, ERASED_ASPECT = (0.02, 0.33), (0.3, 3.3)
"""Share of the image and height by width of an erased rectangle; Zhong et al. 2020."""
GREY = 128
"""Level of an erased rectangle, 0 as the network sees it."""
STRENGTHS = 31
"""Of a policy's changes, from none to the greatest."""
_REDUCED = 2
"""A JPEG at a reduced scale is at least so many times as large as what it is resized to."""
_TRIES = 10
_BOX, _POLICY, _ERASE = 0, 64, 128
"""First word of each use of a draw."""
_GREATEST = {
    "trivial-augment": {"shear": 0.99, "translate": 32.0, "rotate": 135.0, "colour": 0.99, "posterize": 6.0},
    "rand-augment": {"shear": 0.3, "translate": 150 / 331, "rotate": 30.0, "colour": 0.9, "posterize": 4.0},
}
"""Slope, pixels (rand-augment: share of the width or height), degrees, factor less 1, bits taken away."""
_RAND_AUGMENT = (2, 9)
"""Changes an image, and their strength; torchvision's."""


@dataclass(frozen=True)
class Augmentation:
    """Resize, random crop, random mirror, and what is asked for beyond; fields as in `PretrainConfig`."""

    resize: int
    image_size: int
    crop: Literal["random", "resized"] = "random"
    min_area: float | None = None
    policy: Literal["trivial-augment", "rand-augment"] | None = None
    erase: float = 0.0

    def load(self, data: bytes, draw: np.uint64) -> NDArray[np.uint8]:
        """Decode the part of an image that is needed.

        Args:
            data: the bytes of the file.
            draw: 64 random bits.

        Returns:
            (h, w, 3): the whole image for a random crop, perhaps at a reduced scale; the box for a resized one.

        Raises:
            ImageRejected: with one of `images.REASONS`.
        """
        if self.crop == "random":
            return images.decode_small(data, side=_REDUCED * self.resize)
        pixels = images.decode(data)[0]
        top, left, height, width = resized_box(draw, pixels.shape[0], pixels.shape[1], self.min_area)
        return pixels[top : top + height, left : left + width]

    def finish(self, part: NDArray[np.uint8], draw: np.uint64) -> NDArray[np.uint8]:
        """Make the network's image of what `load` gave, on the CPU.

        Returns:
            (image_size, image_size, 3).

        Cost: 0.35 ms from 500x375 pixels to 340, a quarter of what Pillow takes; 1 to 2 ms more with a policy.
        """
        done: NDArray[np.uint8] = self._finish(_resized(torch.from_numpy(_writeable(part)), self._side).numpy(), draw)
        return done

    def finish_on(self, part: Tensor, draw: np.uint64) -> Tensor:
        """The same of a tensor on its device; at most a level away on average, 2 where a policy turns or shears."""
        done: Tensor = self._finish(_resized(part, self._side), draw)
        return done

    @property
    def _side(self) -> int:
        return self.resize if self.crop == "random" else self.image_size

    def _finish(self, square: Any, draw: np.uint64) -> Any:
        """Crop, mirror, policy, erased rectangle, of an array or a tensor."""
        size = self.image_size
        if self.crop == "random":
            top, left = _corner(draw, self.resize - size + 1)
            square = square[top : top + size, left : left + size]
        if int(draw) & 1:
            square = square.flip(1) if isinstance(square, Tensor) else _mirrored(np.ascontiguousarray(square))
        if self.policy is not None:
            for name, strength in changes(self.policy, draw):
                square = change(square, name, strength, self.policy)
        if self.erase:
            top, left, height, width = erased_box(draw, size, self.erase)
            if height:
                square = square.clone() if isinstance(square, Tensor) else square.copy()
                square[top : top + height, left : left + width] = GREY
        return square


def _corner(draw: np.uint64, room: int) -> tuple[int, int]:
    """Top and left of a random crop."""
    bits = int(draw)
    return (bits >> 40) % room, (bits >> 16 & 0xFFFFFF) % room


def _writeable(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.flags.writeable else pixels.copy()


def _resized(pixels: Tensor, side: int) -> Tensor:
    """(h, w, 3) to (side, side, 3) with antialiasing; on the CPU in whole numbers, within a level of Pillow."""
    if pixels.shape[:2] == (side, side):
        return pixels
    batch = pixels[None].permute(
        0, 3, 1, 2
    )  # (1, 3, h, w) that torch takes for channels last: it answers in the same layout
    if pixels.device.type != "cpu":
        batch = batch.float()
    made = F.interpolate(batch, size=(side, side), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    return made if made.dtype == torch.uint8 else made.round_().clamp_(0, 255).byte()


@numba.njit(cache=True, nogil=True)
def _mirrored(pixels: NDArray[Any]) -> NDArray[Any]:
    """Left and right changed; five times as fast as NumPy's assignment of the view."""
    made = np.empty(pixels.shape, pixels.dtype)
    height, width, channels = pixels.shape
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                made[y, x, c] = pixels[y, width - 1 - x, c]
    return made


@numba.njit(cache=True, nogil=True)
def _word(draw: Any, at: Any) -> Any:
    """Number `at` of the words of a draw, uniform in [0, 1)."""
    return (mix(np.uint64(draw) + np.uint64(at + 1) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True, nogil=True)
def _box(
    draw: Any, at: Any, height: Any, width: Any, area_low: Any, area_high: Any, low: Any, high: Any, margin: Any
) -> Any:
    """A random rectangle whose width by height is between `low` and `high`; (0, 0, 0, 0) if ten do not fit."""
    for _ in range(_TRIES):
        area = height * width * (area_low + (area_high - area_low) * _word(draw, at))
        aspect = math.exp(math.log(low) + (math.log(high) - math.log(low)) * _word(draw, at + 1))
        w, h = int(np.rint(math.sqrt(area * aspect))), int(np.rint(math.sqrt(area / aspect)))
        if 0 < w <= width - margin and 0 < h <= height - margin:
            top, left = int(_word(draw, at + 2) * (height - h + 1)), int(_word(draw, at + 3) * (width - w + 1))
            return top, left, h, w
        at += 4
    return 0, 0, 0, 0


@numba.njit(cache=True, nogil=True)
def resized_box(draw: Any, height: Any, width: Any, min_area: Any) -> Any:
    """(top, left, height, width) of the part of an image that is cut: `min_area` to all of its area, any aspect of `ASPECT`.

    Where ten draws do not fit, the greatest part in the middle with an aspect within `ASPECT`.

    Source: torchvision's RandomResizedCrop; Szegedy et al. 2015.

    >>> [tuple(map(int, resized_box(np.uint64(draw), 375, 500, 0.08))) for draw in (1, 2)]
    [(61, 62, 313, 360), (34, 102, 318, 367)]
    """
    low, high = ASPECT
    top, left, h, w = _box(draw, _BOX, height, width, min_area, 1.0, low, high, 0)
    if h == 0:
        h, w = height, width
        if width < low * height:
            h = int(np.rint(width / low))
        elif width > high * height:
            w = int(np.rint(height * high))
        top, left = (height - h) // 2, (width - w) // 2
    return top, left, h, w


@numba.njit(cache=True, nogil=True)
def erased_box(draw: Any, size: Any, share: Any) -> Any:
    """(top, left, height, width) of what is erased from a square; with probability 1 - `share` nothing, of height 0.

    Source: torchvision's RandomErasing; Zhong et al. 2020.
    """
    if _word(draw, _ERASE) >= share:
        return 0, 0, 0, 0
    low, high = ERASED_ASPECT
    left, top, w, h = _box(draw, _ERASE + 1, size, size, ERASED_AREA[0], ERASED_AREA[1], low, high, 1)
    return top, left, h, w


def changes(policy: str, draw: np.uint64) -> list[tuple[str, float]]:
    """The changes that a policy makes to an image: names of `_operations` and strengths from -1 to 1.

    Source: Mueller and Hutter 2021 (TrivialAugment: one, of any strength), Cubuk et al. 2020 (RandAugment: two, of strength 9 of 30).

    >>> changes("rand-augment", np.uint64(1))
    [('Posterize', -0.3), ('Identity', -0.3)]
    """
    names = tuple(_operations())
    count, level = _RAND_AUGMENT if policy == "rand-augment" else (1, None)
    drawn = []
    for at in range(_POLICY, _POLICY + 3 * count, 3):
        chosen = int(_word(draw, at + 1) * STRENGTHS) if level is None else level
        sign = -1 if _word(draw, at + 2) < 0.5 else 1
        drawn.append((names[int(_word(draw, at) * len(names))], sign * chosen / (STRENGTHS - 1)))
    return drawn


def change(pixels: Any, name: str, strength: float, policy: str) -> Any:
    """One change of a policy.

    Args:
        pixels: (H, W, 3) uint8, an array or a tensor; Pillow works on the former.
        name: of `_operations`.
        strength: -1 to 1; some changes do not use its sign, some use nothing of it.
        policy: whose greatest magnitudes these are shares of.
    """
    operation = _operations()[name]
    if isinstance(pixels, Tensor):
        done: Tensor = operation(pixels.permute(2, 0, 1).contiguous(), strength, _GREATEST[policy]).permute(1, 2, 0)
        return done
    return np.asarray(operation(Image.fromarray(pixels), strength, _GREATEST[policy]))


@cache
def _operations() -> dict[str, Callable[[Any, float, dict[str, float]], Any]]:
    """Changes by torchvision's names, in its order; loads torchvision."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as T

    def affine(image: Any, *, shear: tuple[float, float] = (0, 0), translate: tuple[float, float] = (0, 0)) -> Any:
        return T.affine(
            image, 0.0, translate=[int(x) for x in translate], scale=1.0,
            shear=[math.degrees(math.atan(x)) for x in shear], interpolation=InterpolationMode.BILINEAR,
            center=[0, 0] if any(shear) else None,
        )  # fmt: skip

    def pixels(image: Any, greatest: dict[str, float], axis: int) -> float:
        most = greatest["translate"]
        return most * T.get_size(image)[axis] if most < 1 else most

    return {
        "Identity": lambda x, s, m: x,
        "ShearX": lambda x, s, m: affine(x, shear=(s * m["shear"], 0)),
        "ShearY": lambda x, s, m: affine(x, shear=(0, s * m["shear"])),
        "TranslateX": lambda x, s, m: affine(x, translate=(s * pixels(x, m, 1), 0)),
        "TranslateY": lambda x, s, m: affine(x, translate=(0, s * pixels(x, m, 0))),
        "Rotate": lambda x, s, m: T.rotate(x, s * m["rotate"], interpolation=InterpolationMode.BILINEAR),
        "Brightness": lambda x, s, m: T.adjust_brightness(x, 1 + s * m["colour"]),
        "Color": lambda x, s, m: T.adjust_saturation(x, 1 + s * m["colour"]),
        "Contrast": lambda x, s, m: T.adjust_contrast(x, 1 + s * m["colour"]),
        "Sharpness": lambda x, s, m: T.adjust_sharpness(x, 1 + s * m["colour"]),
        "Posterize": lambda x, s, m: T.posterize(x, 8 - round(abs(s) * m["posterize"])),
        "Solarize": lambda x, s, m: T.solarize(x, 255 * (1 - abs(s))),
        "AutoContrast": lambda x, s, m: T.autocontrast(x),
        "Equalize": lambda x, s, m: T.equalize(x),
    }
