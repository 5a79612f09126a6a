"""What tests draw: pictures that look a little like photographs, random label graphs, unit vectors."""

import io
from typing import Any

import networkx as nx
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image


def picture(seed: int, *, width: int = 64, height: int = 64) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: smooth colours with a few hard-edged boxes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    for _ in range(4):
        x, y = int(rng.integers(width - 8)), int(rng.integers(height - 8))
        pixels[y : y + int(rng.integers(6, 24)), x : x + int(rng.integers(6, 24))] = rng.integers(0, 256, 3)
    return pixels


def encoded(pixels: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    """Bytes of an image file, written by Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@st.composite
def dags(draw: st.DrawFn, *, max_labels: int = 14) -> "nx.DiGraph[str]":
    """A random acyclic graph from parent to child whose names say nothing about its order."""
    size = draw(st.integers(1, max_labels))
    names = draw(st.permutations([f"n{i}" for i in range(size)]))
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(names)
    if size > 1:
        pairs = st.tuples(st.integers(0, size - 2), st.integers(1, size - 1)).filter(lambda p: p[0] < p[1])
        for a, b in draw(st.lists(pairs, max_size=3 * size)):
            graph.add_edge(names[a], names[b])
    return graph


def unit_vectors(seed: int, count: int, dimensions: int) -> NDArray[np.float32]:
    """(count, dimensions) float32 of unit length."""
    x = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def vectors_with_copies(draw: st.DrawFn, *, max_count: int = 60) -> NDArray[np.float32]:
    """Unit vectors of which many are exact copies of each other."""
    dimensions = draw(st.integers(2, 12))
    different = draw(st.integers(1, 12))
    which = draw(st.lists(st.integers(0, different - 1), min_size=1, max_size=max_count))
    return unit_vectors(draw(st.integers(0, 2**32 - 1)), different, dimensions)[which]
