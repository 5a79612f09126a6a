"""Make Embeddings of a catalog's images, with an embedder for the question asked.

`descriptor` needs no weights: 8x8 colour layout plus 4x4 cells of 8 gradient orientations of the image at 32x32, made for
copies: it does not change with size, recompression or contrast, hardly with small crops. Deterministic, 324 dimensions.
`copies` (`copy_net`) learns from the catalog what copies look like: for mirrored, bordered and cropped ones, half of which
`descriptor` misses or more. Networks trained elsewhere (`pretrained`) or here (a Checkpoint) put images of one kind of thing
near each other: for label noise and transfer, not for copies.
Cost: `descriptor` is bound by decoding photographs and takes 100 microseconds an image itself. `copies` trains for minutes
first, and then embeds 400 images a second and core.
"""

import itertools
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import images, storage
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.embeddings import FORMAT, Embeddings, check_unit
from jftdata.errors import BadArgument, BadInput, ImageRejected, TooManyRejects, UnknownName, one_of
from jftdata.pixels import PLACE, UNREAD, check_unchanged, map_images
from jftdata.progress import progress

SOURCES = ("torchvision", "timm", "hf")
"""Libraries whose networks can be named, as in `timm:NAME`."""
REJECTED = UNREAD
"""Columns of `rejected.parquet`, an unreadable image a row, in image-id order."""
_REJECTED = "rejected.parquet"
_CELL = np.arange(32)[:, None] // 8 * 4 + np.arange(32) // 8  # which of 4x4 cells a pixel of 32x32 is in
_BATCH = 256
_SAVE_SECONDS = 10.0


class Embedder(Protocol):
    """Turns images of one size into vectors; the contract every embedder keeps.

    It may also have `prepare`, a function of (H, W, 3) uint8 pixels to (size, size, 3), called on decoding threads: without one
    images are resized to the square. And `lanes`, the number of threads that may call it at once, 1 without it.
    """

    name: str
    """Name, version and whatever else decides the vectors."""
    size: int
    """Width and height of the images it takes."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, size, size, 3) uint8 to (n, d) float32, any length."""


class Descriptor:
    """Colour layout and gradient orientations; no weights."""

    name = "descriptor/2"
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
        strength = np.hypot(dx, dy).ravel()
        turn = np.arctan2(dy, dx).ravel() * np.float32(4 / np.pi)  # in eighths, from -4
        low = np.floor(turn)
        share = strength * (turn - low)
        bins = low.astype(np.int64) % 8
        at = (np.arange(n)[:, None, None] * 16 + _CELL).ravel() * 8
        votes = np.bincount(at + bins, strength - share, n * 128) + np.bincount(at + (bins + 1) % 8, share, n * 128)
        gradient = np.sqrt(np.maximum(votes, 0)).astype(np.float32).reshape(n, -1)
        gradient -= gradient.mean(axis=1, keepdims=True)
        flat = np.concatenate([0.02 * mean, np.full((n, 1), 0.02, np.float32)], axis=1)  # keeps flat images off zero
        return np.concatenate([_unit(colour, 0.1), _unit(gradient, 0.1), flat], axis=1).astype(np.float32)


def run(
    catalog: Catalog, *, embedder: str | Path | Checkpoint | Embedder = "descriptor", out: Path | str,
    split: str | None = None, max_rejected: float = 1.0, workers: int | None = None, device: str = "auto",
) -> Embeddings:  # fmt: skip
    """Embed every image of a catalog that can be read; the others are counted and listed in `rejected.parquet`.

    Args:
        catalog: the images.
        embedder: `descriptor`; `copies`, which is trained on this catalog first and kept beside `out` as `<out>.net`;
            `torchvision:NAME`, `timm:NAME` or `hf:NAME` (see `pretrained`); a Checkpoint or the path of one, or of a
            trained `copies`; or anything that keeps the `Embedder` contract.
        out: folder to write; there already and made in the same way, it is returned at once. A killed run goes on from
            the batch it saved last, at most ten seconds before.
        split: only this split.
        max_rejected: largest share of images that may be unreadable, 0..1.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu`, `cuda`; only for networks, and on every GPU there is.

    Returns:
        Embeddings of (n, d) float32, unit length, in image-id order. The folder's `rejected.parquet` has the columns of
        `REJECTED`, and its facts `num_rejected`.

    Raises:
        UnknownOption: no such embedder.
        UnknownName: no such split.
        BadInput: no image, none that can be read, or a vector that is zero or not finite.
        TooManyRejects: more rejects than allowed; what was done stays for a rerun.
    """
    if split is not None and split not in catalog.splits:
        raise one_of("split", split, catalog.splits, error=UnknownName)
    if not 0 <= max_rejected <= 1:
        raise BadArgument(f"`max_rejected` must be in [0, 1]. Got {max_rejected}.")
    out = Path(out)
    if embedder == "copies":
        from jftdata import copy_net  # loads torch

        net = out.with_name(out.name + ".net")
        embedder = copy_net.train(catalog, out=net, split=split, workers=workers, device=device)
    maker = resolve(embedder, device=device)
    made_with = {"embedder": maker.name, "split": split}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={"catalog": catalog.fingerprint}) as build:
        if build is not None:
            ids = catalog.images(split=split)
            if not len(ids):
                raise BadInput(f"{catalog.path} has no image to embed. Make a catalog with images.")
            made = _Made(build.folder)
            try:
                _embed(catalog, maker, made, split, workers, len(ids), max_rejected)
                build.facts = made.finish(ids)
            finally:
                made.close()
    return Embeddings.open(out)


def resolve(embedder: str | Path | Checkpoint | Embedder, *, device: str = "auto") -> Embedder:
    """The embedder a name, a checkpoint or a path stands for; `copies` has to be trained first.

    Raises:
        UnknownOption: no such embedder.
    """
    if isinstance(embedder, str):
        source, colon, rest = embedder.partition(":")
        if embedder == "descriptor":
            return Descriptor()
        if colon and source in SOURCES:
            from jftdata import pretrained  # loads torch

            return pretrained.load(source, rest, device=device)
    if isinstance(embedder, str | Path):
        if not Path(embedder).exists():
            named = [f"{source}:NAME" for source in SOURCES]
            raise one_of("embedder", str(embedder), ["copies", "descriptor", *named, "PATH OF A TRAINED ONE"])
        sidecar = storage.read_sidecar(embedder)
        embedder = Checkpoint(Path(embedder), sidecar) if _copies(sidecar) else Checkpoint.open(embedder)
    if isinstance(embedder, Checkpoint):
        if _copies(embedder.sidecar):
            from jftdata import copy_net  # loads torch

            return copy_net.embedder(embedder, device=device)
        from jftdata.backbone import CheckpointEmbedder  # loads torch

        return CheckpointEmbedder(embedder, device=device)
    return embedder


def _copies(sidecar: storage.Sidecar) -> bool:
    return sidecar.format.startswith("jftdata.copy_net")


class _Made:
    """The vectors made so far, appended to one file; what a killed run saved is still there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "state.json"
        self.done, self._dimensions = 0, 0
        self.rejected: list[tuple[int, str, str]] = []
        if self._state.exists():
            state = json.loads(self._state.read_text())
            self.done, self._dimensions = state["done"], state["dimensions"]
            self.rejected = pl.read_parquet(folder / _REJECTED, glob=False).rows()[: state["num_rejected"]]
        self._file = (folder / "vectors.npy").open("r+b" if self.done else "w+b")
        if self.done:
            self._write_head()
            self._file.truncate(self._file.tell() + 4 * self._dimensions * self._num)
            self._file.seek(0, os.SEEK_END)
        self._saved = time.monotonic()

    @property
    def _num(self) -> int:
        return self.done - len(self.rejected)

    def add(self, vectors: NDArray[np.float32], rejected: list[tuple[int, str, str]]) -> None:
        """The vectors of a batch and the images of it that have none."""
        if not self.done:
            self._dimensions = vectors.shape[1]
            self._write_head()
        self._file.write(np.ascontiguousarray(vectors, "<f4").data)
        self.rejected += rejected
        self.done += len(vectors) + len(rejected)
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Put what is done on disk, the state last."""
        self._file.flush()
        os.fsync(self._file.fileno())
        with storage.atomic_path(self._folder / _REJECTED) as temp:
            pl.DataFrame(self.rejected, schema=REJECTED, orient="row").write_parquet(temp)
        state = {"done": self.done, "dimensions": self._dimensions, "num_rejected": len(self.rejected)}
        storage.write_json(self._state, state)
        self._saved = time.monotonic()

    def finish(self, ids: NDArray[np.int64]) -> dict[str, int]:
        """Write what else belongs to the embeddings of these images; the facts.

        Raises:
            BadInput: no image has a vector; the next run reads them all again.
        """
        num, unread = self._num, [image for image, _, _ in self.rejected]
        if not num:
            image, _, message = self.rejected[0]
            self.done, self.rejected = 0, []
            raise BadInput(
                f"none of {len(ids):,} images could be read, for example {image}: {message}. Mend the catalog."
            )
        self._write_head()
        self.close()
        self._state.unlink()
        np.save(self._folder / "images.npy", ids[~np.isin(ids, np.array(unread, np.int64))])
        return {"num_images": num, "dimensions": self._dimensions, "num_rejected": len(unread)}

    def close(self) -> None:
        """Save and let go of the file."""
        if not self._file.closed:
            self.save()
            self._file.close()

    def _write_head(self) -> None:
        """NumPy's header, of the same length whatever the number of vectors."""
        self._file.seek(0)
        head = {"descr": "<f4", "fortran_order": False, "shape": (self._num, self._dimensions)}
        np.lib.format.write_array_header_1_0(self._file, head)


def _embed(
    catalog: Catalog, maker: Embedder, made: _Made, split: str | None, workers: int | None, total: int, max_rejected: float
) -> None:  # fmt: skip
    """Decode on threads, embed on as many more as the embedder has lanes, and write in order."""
    lanes = getattr(maker, "lanes", 1)
    waiting: deque[tuple[_Batch, Future[NDArray[np.float32]]]] = deque()

    def take() -> None:
        batch, future = waiting.popleft()
        good = np.array([i not in batch.rejected for i in range(len(batch.images))])
        vectors = _unit(future.result()[good], 0.0)
        check_unit(vectors, batch.images[good])
        rejected = [(int(batch.images[i]), e.reason, str(e)) for i, e in sorted(batch.rejected.items())]
        if len(made.rejected) + len(rejected) > max_rejected * total:
            unread = [*made.rejected, *rejected]
            named = ", ".join(str(image) for image, _, _ in unread[:8]) + (", ..." if len(unread) > 8 else "")
            raise TooManyRejects(
                f"{len(unread)} of {total} images of {catalog.path} could not be read: {named} ({unread[0][2]}). "
                f"Mend them, or leave them out of the catalog (share allowed: {max_rejected:g})."
            )
        made.add(vectors, rejected)
        bar.update(len(batch.images))

    with (
        progress(f"embed ({maker.name.split('/')[0]})", total=total, unit="image") as bar,
        ThreadPoolExecutor(lanes) as pool,
    ):
        bar.update(made.done)
        for batch in _batches(catalog, maker, split, workers, made.done):
            waiting.append((batch, pool.submit(maker, batch.pixels)))
            if len(waiting) > lanes:
                take()
        while waiting:
            take()


@dataclass(frozen=True)
class _Batch:
    """Consecutive images of a catalog; one that could not be read is black."""

    images: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    rejected: dict[int, ImageRejected]
    """By place in the batch."""


def _batches(catalog: Catalog, maker: Embedder, split: str | None, workers: int | None, skip: int) -> Iterator[_Batch]:
    prepare = getattr(maker, "prepare", None)

    def load(ids: NDArray[np.int64], i: int, data: bytes) -> NDArray[np.uint8] | ImageRejected:
        check_unchanged(int(ids[i]), data)
        if prepare is not None:
            prepared: NDArray[np.uint8] = prepare(images.decode(data)[0])
            return prepared
        small = images.decode_small(data, side=2 * maker.size)
        return images.resize(small, width=maker.size, height=maker.size)

    black = np.zeros((maker.size, maker.size, 3), np.uint8)
    for path in catalog.files:
        rows = pl.scan_parquet(path, glob=False)
        if split is not None:
            rows = rows.filter(pl.col("split") == split)
        places = rows.select("image", *PLACE).collect()
        skip, places = max(0, skip - len(places)), places[skip:]
        ids = places["image"].to_numpy()
        found = map_images(catalog, places, partial(load, ids), workers=workers, on_reject=lambda _, error: error)
        for first in range(0, len(places), _BATCH):
            batch = list(itertools.islice(found, _BATCH))
            rejected = {i: one for i, one in enumerate(batch) if isinstance(one, ImageRejected)}
            pixels = np.stack([black if isinstance(one, ImageRejected) else one for one in batch])
            yield _Batch(ids[first : first + len(batch)], pixels, rejected)


def _unit(x: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Rows divided by their length, or by `floor` where that is more: noise on a flat image must not be blown up."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):  # a zero vector becomes NaN, which `check_unit` refuses by name
        unit: NDArray[np.float32] = x / np.maximum(length, floor)
    return unit
