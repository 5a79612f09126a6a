"""Catalogs and embeddings with planted wrong labels, for the tests of `jftdata.noise`."""

from pathlib import Path

import numpy as np

from jftdata.catalog import Catalog
from jftdata.embeddings import Embeddings
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.noise.given import Given, of
from jftdata.sources import from_folder
from tests.strategies import unit_vectors

DIMENSIONS = 24


def build(
    folder: Path, plan: list[tuple[str, str]], *, hierarchy: Hierarchy | None = None, spread: float = 0.15
) -> tuple[Catalog, Embeddings, set[int]]:
    """Catalog, embeddings and wrong images of a plan of (label given, true label); sources are `label/number.jpg`.

    Each true label has its own direction, and an image lies near that of its true label.
    """
    truths = sorted({truth for _, truth in plan})
    centres = dict(zip(truths, unit_vectors(5, len(truths), DIMENSIONS), strict=True))
    truth_of = {}
    for number, (given, truth) in enumerate(plan):
        path = folder / "p" / given / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path.write_bytes(encode_jpeg(pixels))
        truth_of[f"{given}/{path.name}"] = truth
    catalog = from_folder(folder / "p", out=folder / "c", hierarchy=hierarchy, workers=1)
    rows = catalog.scan().select("image", "source").collect()
    rng = np.random.default_rng(1)
    x = np.stack([centres[truth_of[s]] for s in rows["source"]]) + spread * rng.normal(size=(len(rows), DIMENSIONS))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    wrong = {image for image, source in rows.iter_rows() if source.split("/")[0] != truth_of[source]}
    return catalog, Embeddings.of(x, rows["image"].to_numpy(), embedder="made up"), wrong


def given_of(tree: Hierarchy, label_lists: list[list[str]]) -> Given:
    """Given labels of images 0, 1, ..."""
    lengths = np.array([len(labels) for labels in label_lists], np.int64)
    index = np.array([tree.index(x) for labels in label_lists for x in labels], np.int32)
    return of(tree, np.arange(len(label_lists)), lengths, index)
