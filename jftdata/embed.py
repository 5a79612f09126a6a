"""Make Embeddings of a catalog's images: `descriptor` needs no weights, a Checkpoint uses its backbone.

`descriptor` is 8x8 colour layout plus 4x4 cells of 8 gradient orientations of the image at 32x32, made for copies: it
does not change with size, recompression or contrast, hardly with small crops. Deterministic, 324 dimensions.
Cost: bound by decoding; the descriptor itself takes 60 microseconds an image.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import images, storage
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.embeddings import FORMAT, Embeddings, check_unit
from jftdata.errors import BadInput, UnknownName, one_of
from jftdata.pixels import PLACE, check_unchanged, map_images
from jftdata.progress import progress

_BATCH = 256


class Embedder(Protocol):
    """Turns images of one size into vectors; the contract every embedder keeps."""

    name: str
    """Name, version and whatever else decides the vectors."""
    size: int
    """Width and height of the images it takes."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, size, size, 3) uint8 to (n, d) float32, any length."""


class Descriptor:
    """Colour layout and gradient orientations; no weights."""

    name = "descriptor/1"
    size = 32

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = pixels.astype(np.float32) / 255.0  # (n, 32, 32, 3)
        n = len(x)
        cells = x.reshape(n, 8, 4, 8, 4, 3).mean(axis=(2, 4))  # (n, 8, 8, 3)
        mean = cells.mean(axis=(1, 2))
        colour = (cells - mean[:, None, None, :]).reshape(n, -1)
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        dy = np.zeros_like(grey)
        dx = np.zeros_like(grey)
        dy[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
        dx[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
        strength = np.hypot(dx, dy)
        turn = (np.arctan2(dy, dx) / (2 * np.pi) * 8) % 8
        low = np.floor(turn)
        share = (turn - low).astype(np.float32)
        low = low.astype(np.int64) % 8
        bins = np.arange(8)
        votes = (strength * (1 - share))[..., None] * (low[..., None] == bins)
        votes += (strength * share)[..., None] * (((low + 1) % 8)[..., None] == bins)
        gradient = np.sqrt(votes.reshape(n, 4, 8, 4, 8, 8).sum(axis=(2, 4))).reshape(n, -1)
        gradient -= gradient.mean(axis=1, keepdims=True)
        flat = np.concatenate([0.02 * mean, np.full((n, 1), 0.02, np.float32)], axis=1)  # keeps flat images off zero
        return np.concatenate([_unit(colour, 0.1), _unit(gradient, 0.1), flat], axis=1).astype(np.float32)


def run(
    catalog: Catalog, *, embedder: str | Checkpoint | Embedder = "descriptor", out: Path | str,
    split: str | None = None, workers: int | None = None, device: str = "auto",
) -> Embeddings:  # fmt: skip
    """Embed every image of a catalog.

    Args:
        catalog: the images.
        embedder: `descriptor`, a Checkpoint or the path of one, or anything that keeps the `Embedder` contract.
        out: folder to write; there already and made in the same way, it is returned at once.
        split: only this split.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu`, `cuda`; only for a checkpoint.

    Returns:
        Embeddings of (n, d) float32, unit length, in image-id order.

    Raises:
        UnknownOption: no such embedder.
        UnknownName: no such split.
        BadInput: no image, or a vector that is zero or not finite.
        ImageRejected: bytes that are gone or have changed since the catalog was made.
    """
    if split is not None and split not in catalog.splits:
        raise one_of("split", split, catalog.splits, error=UnknownName)
    maker = resolve(embedder, device=device)
    made_with = {"embedder": maker.name, "split": split}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={"catalog": catalog.fingerprint}) as build:
        if build is not None:
            vectors: Any = None
            at = 0
            ids: list[NDArray[np.int64]] = []
            total = sum(catalog.splits.values()) if split is None else catalog.splits[split]
            for block_ids, block in _vectors(catalog, maker, split, workers, total):
                if vectors is None:
                    shape = (total, block.shape[1])
                    vectors = np.lib.format.open_memmap(build.folder / "vectors.npy", "w+", np.float32, shape)
                vectors[at : at + len(block)] = _unit(block, 0.0)
                ids.append(block_ids)
                at += len(block)
            if vectors is None:
                raise BadInput(f"{catalog.path} has no image to embed. Make a catalog with images.")
            vectors.flush()
            known = np.concatenate(ids)
            check_unit(vectors, known)
            np.save(build.folder / "images.npy", known)
            build.facts = {"num_images": at, "dimensions": vectors.shape[1]}
    return Embeddings.open(out)


def resolve(embedder: str | Path | Checkpoint | Embedder, *, device: str = "auto") -> Embedder:
    """The embedder a name, a checkpoint or a path stands for."""
    if isinstance(embedder, str) and embedder == "descriptor":
        return Descriptor()
    if isinstance(embedder, str | Path):
        if not Path(embedder).exists():
            raise one_of("embedder", str(embedder), ["descriptor", "PATH OF A CHECKPOINT"])
        embedder = Checkpoint.open(embedder)
    if isinstance(embedder, Checkpoint):
        from jftdata.backbone import CheckpointEmbedder  # loads torch

        return CheckpointEmbedder(embedder, device=device)
    return embedder


def _vectors(
    catalog: Catalog, maker: Embedder, split: str | None, workers: int | None, total: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    def load(ids: NDArray[np.int64], i: int, data: bytes) -> NDArray[np.uint8]:
        check_unchanged(int(ids[i]), data)
        return images.resize(images.decode(data)[0], width=maker.size, height=maker.size)

    with progress(f"embed ({maker.name.split('/')[0]})", total=total, unit="image") as bar:
        for path in catalog.files:
            rows = pl.scan_parquet(path, glob=False)
            if split is not None:
                rows = rows.filter(pl.col("split") == split)
            places = rows.select("image", *PLACE).collect()
            batch: list[NDArray[np.uint8]] = []
            first = 0
            ids = places["image"].to_numpy()
            for pixels in map_images(catalog, places, partial(load, ids), workers=workers):
                batch.append(pixels)
                if len(batch) == _BATCH or first + len(batch) == len(places):
                    yield ids[first : first + len(batch)], maker(np.stack(batch))
                    first += len(batch)
                    bar.update(len(batch))
                    batch = []


def _unit(x: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Rows divided by their length, or by `floor` where that is more: noise on a flat image must not be blown up."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):  # a zero vector becomes NaN, which `check_unit` refuses by name
        unit: NDArray[np.float32] = x / np.maximum(length, floor)
    return unit
