"""Texture tiles: grey images made once a process from fixed numbers, then cut and turned for every part."""

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILE = 384  # pixels a side
UNIT = 64  # pixels of a tile that one unit of an object's own coordinates covers
SURFACES = ("stripes", "bands", "spots", "checks", "patches", "dots")


@functools.cache
def surface(name: str) -> Image.Image:
    """A (384, 384) "L" tile: 255 where the second colour goes, 0 where the first stays.

    >>> surface("checks").size
    (384, 384)
    """
    y, x = np.mgrid[:TILE, :TILE].astype(np.float32) / UNIT
    wobble = (plasma(3) - 0.5) * 0.35
    if name == "stripes":
        on = np.sin((x + wobble) * 2 * np.pi / 0.34) > 0.1
    elif name == "bands":
        on = np.sin((y + wobble * 0.6) * 2 * np.pi / 0.34) > 0.1
    elif name == "checks":
        on = (np.floor(x / 0.22) + np.floor(y / 0.22)) % 2 == 0
    elif name == "patches":
        on = plasma(5) > np.quantile(plasma(5), 0.58)
    elif name == "dots":
        on = np.hypot((x % 0.3) - 0.15, ((y + 0.15 * (np.floor(x / 0.3) % 2)) % 0.3) - 0.15) < 0.085
    else:
        on = _spots(x, y)
    return Image.fromarray((on * 255).astype(np.uint8))


@functools.cache
def shading() -> Image.Image:
    """A (384, 384) "L" tile of how dark a rounded thing gets from top to bottom over two units, centred in the tile."""
    y, x = (np.mgrid[:TILE, :TILE].astype(np.float32) - TILE / 2) / UNIT
    return Image.fromarray((np.clip(0.32 + 0.42 * y + 0.16 * x, 0, 0.75) * 150).astype(np.uint8))


@functools.cache
def grain(kind: int) -> Image.Image:
    """A (384, 384) "L" tile of smooth noise for backgrounds, coarser or finer by `kind` in 0..5."""
    values = plasma(10 + kind, roughness=(0.45, 0.6, 0.75, 0.9, 0.6, 0.8)[kind], finest=(4, 2, 1, 1, 1, 2)[kind])
    if kind == 4:
        values = np.abs(np.sin(values * 14 + np.linspace(0, 24, TILE, dtype=np.float32)[:, None]))
    return Image.fromarray((values * 255).astype(np.uint8))


@functools.cache
def sensor() -> NDArray[np.float32]:
    """(512, 512, 3) float32 noise of unit variance, cut at random places."""
    return np.random.Generator(np.random.PCG64(77)).standard_normal((512, 512, 3)).astype(np.float32)


@functools.cache
def plasma(key: int, roughness: float = 0.55, finest: int = 6) -> NDArray[np.float32]:
    """(384, 384) float32 in 0..1: upsampled noise, each octave `roughness` times as strong as the coarser one."""
    rng = np.random.Generator(np.random.PCG64(key))
    total = np.zeros((TILE, TILE), dtype=np.float32)
    cells, weight = 4, 1.0
    while cells <= TILE // finest:
        small = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        total += weight * np.asarray(small.resize((TILE, TILE), Image.Resampling.BICUBIC))
        cells, weight = cells * 2, weight * roughness
    low, high = np.quantile(total, (0.01, 0.99))
    scaled: NDArray[np.float32] = np.clip((total - low) / (high - low), 0, 1).astype(np.float32)
    return scaled


def _spots(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.bool_]:
    rng = np.random.Generator(np.random.PCG64(9))
    on = np.zeros(x.shape, dtype=bool)
    for row in range(16):
        for column in range(16):
            cx = 0.4 * column + 0.2 * (row % 2) + rng.uniform(-0.06, 0.06)
            cy = 0.4 * row + rng.uniform(-0.06, 0.06)
            on |= np.hypot(x - cx, y - cy) < rng.uniform(0.1, 0.16)
    return on
