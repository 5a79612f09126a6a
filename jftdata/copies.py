"""Copies of images, verified on the pixels: each pair with a probability, its transform and the kind of change.

Images are read once, into views of 32x32 pixels. Candidates are the nearest by descriptor, whitened on the catalog at hand,
of nine views of each image (as it is, mirrored, and seven crops); each is brought into register (`register`) and given a
probability (`calibrate`). Images with the same pixels, whatever their bytes, are found without that. Pairs of images that
look the same are given as a star around the lowest id, so that 10,000 copies are 9,999 pairs.
Memory: 1.3 KB an image for one view's vectors, 0.2 KB a candidate; 3 KB an image on disk. Cost: on two cores, 10,000 images
of 64x64 pixels take 15 s, most of it to register some 15 candidates an image; above 90,000 images the search is
approximate and says its measured recall.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import calibrate, images, neighbors, ragged, register, storage
from jftdata.calibrate import Calibration
from jftdata.catalog import Catalog
from jftdata.changes import KINDS, change
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, ImageRejected
from jftdata.hashing import keyed_order
from jftdata.pixels import PLACE, UNREAD, check_unchanged, map_images
from jftdata.progress import progress, say
from jftdata.register import FEATURES, SIZE

FORMAT = "jftdata.copies/1"
PAIRS = {
    "image_a": pl.Int64(),
    "image_b": pl.Int64(),
    "probability": pl.Float64(),  # that one is a copy of the other
    "similarity": pl.Float64(),  # mean correlation of textured tiles in register
    "kind": pl.String(),  # what was done to it, as far as it shows; parts joined by +
    "mirror": pl.Boolean(),
    "scale_x": pl.Float64(),  # how much wider a's content is in b
    "scale_y": pl.Float64(),
    "shift_x": pl.Float64(),  # where the middle of b lies in a, as a share of a's width from its middle
    "shift_y": pl.Float64(),
}
"""Columns of the pairs; between two catalogs `image_a` is called `test_image` and `image_b` `train_image`."""
MIN_PROBABILITY = 0.5
_CROPS = (  # left, top, width, height as shares of the frame
    (0.0, 0.0, 1.0, 1.0), (0.1, 0.1, 0.8, 0.8), (0.0, 0.0, 0.78, 0.78), (0.22, 0.0, 0.78, 0.78),
    (0.0, 0.22, 0.78, 0.78), (0.22, 0.22, 0.78, 0.78), (0.11, 0.0, 0.78, 1.0), (0.0, 0.11, 1.0, 0.78),
)  # fmt: skip
_VECTOR = "copies/1"
_KEY = "V16"
_MIN_SIMILARITY = 0.5  # of all but the nearest in a view; of half crops 98 in 100 are above
_DIMENSIONS = 64
_RECALL = 0.98  # of the nearest in one view, where there are too many images to compare them all
_ALL = 40_000  # pairs that are verified without a search
_BLOCK = 1 << 17
_SAMPLED = 4096  # images the principal components are taken of
_SAMPLE = 200  # images that copies are planted of
_BESIDE = 5  # neighbours of each of them that their copies are compared with
_LONG = 128  # planted copies are made of images of at most so many pixels a side, since views are small
_I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Copies:
    """What was found."""

    pairs: pl.DataFrame
    """Columns of `PAIRS`, most probable first, then by ids."""
    calibration: Calibration
    rejected: pl.DataFrame
    """Images that could not be read: image, reason, message. They are in no pair."""
    num_images: int
    """Images looked at."""
    num_candidates: int
    """Pairs that were verified."""


def find(
    catalog: Catalog, *, min_probability: float = MIN_PROBABILITY, k: int = 20, calibration: Calibration | None = None,
    marks: pl.DataFrame | None = None, seed: int = 0, out: Path | str | None = None, workers: int | None = None,
) -> Copies:  # fmt: skip
    """Copies inside a catalog.

    Args:
        catalog: the images.
        min_probability: pairs below are left out; in [0, 1].
        k: candidates of an image by its plain view, a quarter as many by each other one.
        calibration: None makes one on this catalog, or takes `calibrate.SHIPPED` when fewer than 100 of its images
            look different.
        marks: what a person said of some pairs (`look.read_marks`): they correct the calibration and stand as they are.
        seed: chooses the images that are calibrated on.
        out: folder to keep the result in; there already and made in the same way, it is returned at once.
        workers: threads; None is one a core. Results do not depend on it.

    Raises:
        BadArgument: `min_probability` or `k` out of range.
        BadInput: a catalog without pixels.
        OutputExists: `out` is there, made otherwise.
    """
    return _run(catalog, None, min_probability, k, calibration, marks, seed, out, workers)


def find_between(
    test: Catalog, train: Catalog, *, min_probability: float = MIN_PROBABILITY, k: int = 20,
    calibration: Calibration | None = None, marks: pl.DataFrame | None = None, seed: int = 0,
    out: Path | str | None = None, workers: int | None = None,
) -> Copies:  # fmt: skip
    """Images of `test` that have a copy in `train`; the same file in both counts, with probability 1.

    Args and errors are those of `find`; copies for the calibration are planted in `train`.
    """
    return _run(test, train, min_probability, k, calibration, marks, seed, out, workers)


def open_copies(path: Path | str) -> Copies:
    """A result that was kept.

    Raises:
        MissingInput: nothing there.
        BadInput: an artefact of another kind.
    """
    path = Path(path)
    sidecar = storage.read_sidecar(path, kind="jftdata.copies")
    return Copies(
        pl.read_parquet(path / "pairs.parquet", glob=False),
        Calibration.from_json(sidecar.facts["calibration"]),
        pl.read_parquet(path / "rejected.parquet", glob=False),
        sidecar.facts["num_images"],
        sidecar.facts["num_candidates"],
    )


def _run(
    one: Catalog, other: Catalog | None, min_probability: float, k: int, calibration: Calibration | None,
    marks: pl.DataFrame | None, seed: int, out: Path | str | None, workers: int | None,
) -> Copies:  # fmt: skip
    if not 0 <= min_probability <= 1:
        raise BadArgument(f"`min_probability` must be in [0, 1]. Got {min_probability}.")
    if k < 1:
        raise BadArgument(f"`k` must be at least 1. Got {k}.")
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return _search(one, other, min_probability, k, calibration, marks, seed, Path(folder), workers)
    given = None if calibration is None else calibration.to_json()
    told = None if marks is None else hashlib.sha256(marks.sort(marks.columns).write_csv().encode()).hexdigest()
    made_with = {"min_probability": min_probability, "k": k, "seed": seed, "calibration": given, "marks": told}
    inputs = {"catalog": one.fingerprint} if other is None else {"test": one.fingerprint, "train": other.fingerprint}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
        if build is not None:
            work = build.folder / "work"
            work.mkdir(exist_ok=True)
            found = _search(one, other, min_probability, k, calibration, marks, seed, work, workers)
            found.pairs.write_parquet(build.folder / "pairs.parquet")
            found.rejected.write_parquet(build.folder / "rejected.parquet")
            build.facts = {
                "num_pairs": len(found.pairs), "num_images": found.num_images, "num_rejected": len(found.rejected),
                "num_candidates": found.num_candidates, "calibration": found.calibration.to_json(),
            }  # fmt: skip
            shutil.rmtree(work)
    return open_copies(out)


def _search(
    one: Catalog, other: Catalog | None, min_probability: float, k: int, calibration: Calibration | None,
    marks: pl.DataFrame | None, seed: int, work: Path, workers: int | None,
) -> Copies:  # fmt: skip
    base = _read(one, work / "a", workers)
    sets = (base,) if other is None else (base, _read(other, work / "b", workers))
    last = sets[-1]
    pixels = _pixels(sets, workers)
    if other is None:
        left, right = _inside(base, pixels[0], k=k, work=work, workers=workers)
    else:
        left, right = _between(base, last, pixels[0], pixels[1], k=k, workers=workers)
    found = _verify(base, last, left, right, pixels[0][left] == pixels[-1][right], workers)
    if calibration is None:
        calibration = calibrate.SHIPPED
        if len(np.unique(last.looks)) >= calibrate.MIN_IMAGES:
            calibration = _calibrate(last, seed, workers)
    answers, other_pixels = _answers(base, last, found, marks), ~found.same
    features, told = found.features[other_pixels], answers[other_pixels]
    marked = np.flatnonzero(told)
    calibration = calibration.with_marks(features, marked, told[marked] > 0)
    probability = np.ones(len(found.left))
    probability[other_pixels] = calibration.probability(features)
    probability[answers != 0] = answers[answers != 0] > 0
    keep = probability >= min_probability
    pairs = _table(base, last, found, probability, keep)
    if other is not None:
        pairs = pairs.rename({"image_a": "test_image", "image_b": "train_image"})
    rejected = pl.concat([s.rejected for s in sets])
    return Copies(pairs, calibration, rejected, sum(map(len, sets)), len(left))


# ---- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Set:
    """The images of a catalog that could be read."""

    catalog: Catalog
    images: _I64
    """(n,) ids, ascending."""
    views: NDArray[np.uint8]
    """(n, 32, 32, 3)."""
    looks: NDArray[Any]
    """(n,) a key of each view."""
    rejected: pl.DataFrame

    def __len__(self) -> int:
        return len(self.images)


def _read(catalog: Catalog, at: Path, workers: int | None) -> _Set:
    """Decode every image once; what a killed run has read is not read again."""
    places = catalog.rows(catalog.images(), columns=("image", *PLACE))
    ids = places["image"].to_numpy()
    if not len(ids):
        views = np.empty((0, SIZE, SIZE, 3), np.uint8)
        return _Set(catalog, ids, views, np.empty(0, _KEY), pl.DataFrame(schema=UNREAD))
    done = at.with_suffix(".done")
    if not done.exists():
        _decode(catalog, places, at, workers)
        storage.write_text(done, "")
    rejected = pl.read_parquet(at.with_suffix(".rejected.parquet"), glob=False)
    views = np.load(at.with_suffix(".views.npy"), mmap_mode="r")
    if len(rejected):
        good = ~np.isin(ids, rejected["image"].to_numpy())
        ids, views = ids[good], views[good]
    looks = np.array([hashlib.blake2b(v.tobytes(), digest_size=16).digest() for v in views], _KEY)
    return _Set(catalog, ids, views, looks, rejected)


def _decode(catalog: Catalog, places: pl.DataFrame, at: Path, workers: int | None) -> None:
    """Write the views of all images, and which could not be read."""
    ids = places["image"].to_list()
    views = np.lib.format.open_memmap(at.with_suffix(".views.npy"), "w+", np.uint8, (len(ids), SIZE, SIZE, 3))
    failed: dict[int, tuple[int, str, str]] = {}

    def load(i: int, data: bytes) -> None:
        check_unchanged(ids[i], data)
        views[i] = register.view(images.decode_small(data, side=2 * SIZE))

    def refuse(i: int, error: ImageRejected) -> None:
        failed[i] = (ids[i], error.reason, str(error))

    with progress("read", total=len(ids), unit="image") as bar:
        for _ in map_images(catalog, places, load, workers=workers, on_reject=refuse):
            bar.update(1)
    views.flush()
    rows = [failed[i] for i in sorted(failed)]
    pl.DataFrame(rows, schema=UNREAD, orient="row").write_parquet(at.with_suffix(".rejected.parquet"))


def _pixels(sets: Sequence[_Set], workers: int | None) -> list[NDArray[Any]]:
    """A key of the decoded pixels of each image; it is decoded again only where another image has the same view."""
    looks, counts = np.unique(np.concatenate([s.looks for s in sets]), return_counts=True)
    shared = looks[counts > 1]

    def key(_: int, data: bytes) -> bytes:
        pixels = images.decode(data)[0]
        return hashlib.blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode()).digest()

    out = []
    for some in sets:
        keys = some.looks.copy()
        at = np.flatnonzero(np.isin(keys, shared))
        own = keys[at].tolist()
        places = some.catalog.rows(some.images[at], columns=PLACE)
        # an image that is gone since it was read keeps the key of its view
        found = map_images(some.catalog, places, key, workers=workers, on_reject=lambda i, _: own[i])  # noqa: B023
        for i, digest in zip(at, found, strict=True):
            keys[i] = np.frombuffer(digest, _KEY)[0]
        out.append(keys)
    return out


# ---- candidates ------------------------------------------------------------------------------------------------------


def _inside(
    base: _Set, pixels: NDArray[Any], *, k: int, work: Path, workers: int | None
) -> tuple[_I64, _I64]:  # fmt: skip
    """Candidate pairs (left < right) of one set, each once, in order."""
    first, of = _groups(base.looks)
    same, of_same = _groups(pixels)
    everyone = np.arange(len(base))
    pairs = [np.stack([first[of], everyone], axis=1), np.stack([same[of_same], everyone], axis=1)]
    if len(first) ** 2 <= _ALL:
        pairs.append(first[np.argwhere(np.ones((len(first), len(first)), np.bool_))])
    else:
        views = _views([base], [first], workers)
        plain = next(views)[0]
        base_index: Embeddings | neighbors.Index = plain
        if len(first) ** 2 * _DIMENSIONS > neighbors.EXACT_PRODUCTS:
            base_index = neighbors.build(plain, out=work / "index", k=k + 1)
        pairs.append(first[_near(plain, base_index, k + 1, always=2)])
        for (view,) in views:
            pairs.append(first[_near(view, base_index, 1 + _fewer(k), always=2)])
    both = np.sort(np.concatenate(pairs), axis=1)
    return _once(both[both[:, 0] != both[:, 1]])


def _between(
    one: _Set, other: _Set, pixels_a: NDArray[Any], pixels_b: NDArray[Any], *, k: int, workers: int | None
) -> tuple[_I64, _I64]:
    """Candidate pairs of two sets, each once, in order; views of either side are compared with the plain other."""
    pairs = [np.empty((0, 2), np.int64)]
    if len(one) and len(other):
        first_a, of_a = _groups(one.looks)
        first_b, of_b = _groups(other.looks)
        if len(first_a) * len(first_b) <= _ALL:
            looks = np.argwhere(np.ones((len(first_a), len(first_b)), np.bool_))
        else:
            views = _views([one, other], [first_a, first_b], workers)
            plain_a, plain_b = next(views)
            found = [_near(plain_a, plain_b, k)]
            for view_a, view_b in views:
                found += [_near(view_a, plain_b, _fewer(k)), _near(plain_a, view_b, _fewer(k))]
            looks = np.unique(np.concatenate(found), axis=0)
        # images that look the same: each test image with the first of the training images, and the other way round
        pairs = [_spread(looks, of_a, first_b), _spread(looks[:, ::-1], of_b, first_a)[:, ::-1]]
        shared = np.intersect1d(pixels_a, pixels_b)
        at_a, at_b = (np.flatnonzero(np.isin(keys, shared)) for keys in (pixels_a, pixels_b))
        same_a, of_a = _groups(pixels_a[at_a])
        same_b, of_b = _groups(pixels_b[at_b])
        pairs += [np.stack([at_a, at_b[same_b[of_a]]], axis=1), np.stack([at_a[same_a[of_b]], at_b], axis=1)]
    return _once(np.concatenate(pairs))


def _near(queries: Embeddings, base: Embeddings | neighbors.Index, k: int, *, always: int = 1) -> _I64:
    """Pairs of each query and its k nearest, those alike enough to be looked at and the first `always` in any case."""
    if isinstance(base, Embeddings):
        found = neighbors.nearest(queries, base, k=min(len(base), k), recall=_RECALL)
    else:
        found = base.nearest(queries, k=k, recall=_RECALL)
        say(found.plan)
    at, column = np.nonzero((found.similarity >= _MIN_SIMILARITY) | (np.arange(found.positions.shape[1]) < always))
    return np.stack([at, found.positions[at, column]], axis=1)


def _fewer(k: int) -> int:
    return max(1, k // 4)


def _once(pairs: _I64) -> tuple[_I64, _I64]:
    both = np.unique(pairs, axis=0)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


def _spread(looks: _I64, of: _I64, first: _I64) -> _I64:
    """Pairs (image, first image of the other look) of every image of a look."""
    start, order = ragged.transpose(np.arange(len(of) + 1), of, int(of.max(initial=-1)) + 1)
    each, image = ragged.take_rows(start, order, looks[:, 0])
    return np.stack([image.astype(np.int64), np.repeat(first[looks[:, 1]], np.diff(each))], axis=1)


def _groups(keys: NDArray[Any]) -> tuple[_I64, _I64]:
    """Keys that differ: position of the first of each, ascending, and for every position which of them it has."""
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[of]


def _views(sets: Sequence[_Set], at: Sequence[_I64], workers: int | None) -> Iterator[list[Embeddings]]:
    """Vectors of some images of each set: of the plain view first, then of the mirrored one and of each crop."""
    plain = [_describe(some.views, own, _CROPS[0], workers) for some, own in zip(sets, at, strict=True)]
    drawn = []
    for some, own, vectors in zip(sets, at, plain, strict=True):
        chosen = keyed_order(some.images[own], seed=0, stream="copies/whiten")[:_SAMPLED]
        drawn.append(vectors[np.sort(chosen)])
    whiten = _Whitening(np.concatenate(drawn))
    yield [whiten(vectors) for vectors in plain]
    yield [whiten(vectors[:, _MIRROR]) for vectors in plain]
    del plain
    for crop in _CROPS[1:]:
        yield [whiten(_describe(some.views, own, crop, workers)) for some, own in zip(sets, at, strict=True)]


class _Whitening:
    """Principal components of a sample of vectors, of equal spread: what all images share no longer counts."""

    def __init__(self, sample: NDArray[np.float32]) -> None:
        self._mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = (sample - self._mean).astype(np.float64)
        values, axes = np.linalg.eigh(centred.T @ centred / len(sample))
        values, axes = values[: -_DIMENSIONS - 1 : -1], axes[:, : -_DIMENSIONS - 1 : -1]
        self._axes = (axes / np.sqrt(values + 0.1 * values.mean() + 1e-9)).astype(np.float32)

    def __call__(self, vectors: NDArray[np.float32]) -> Embeddings:
        out = (vectors - self._mean) @ self._axes
        length = np.linalg.norm(out, axis=1)
        out[length < 1e-6, 0] = 1  # the mean itself: any direction will do
        out /= np.maximum(length, 1e-6)[:, None]
        return Embeddings.of(out, np.arange(len(out)), embedder=_VECTOR)


def _describe(
    views: NDArray[np.uint8], at: _I64, crop: tuple[float, float, float, float], workers: int | None
) -> NDArray[np.float32]:
    """Descriptors (n, 320) of one crop of some images."""
    out = np.empty((len(at), 320), np.float32)

    def run(first: int) -> None:
        part = slice(first, first + 1024)
        _fill(views[at[part]], *crop, out[part])

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        list(pool.map(run, range(0, len(at), 1024)))
    return out


def _mirror() -> _I64:
    """Where each value of a mirrored image's descriptor stands in that of the image."""
    colour = np.arange(192).reshape(8, 8, 3)[:, ::-1]
    gradient = np.arange(192, 320).reshape(4, 4, 8)[:, ::-1, (4 - np.arange(8)) % 8]
    return np.concatenate([colour.ravel(), gradient.ravel()])


_MIRROR = _mirror()


@numba.njit(cache=True, nogil=True, fastmath=True)
def _fill(
    views: NDArray[np.uint8], left: float, top: float, width: float, height: float, out: NDArray[np.float32]
) -> None:
    """8x8 colours less their mean, and 4x4 cells of 8 gradient directions, each part of length 0.71; of a crop."""
    one = np.float32(1)
    x = np.empty((SIZE, 3), np.float32)
    tall = np.empty((SIZE, 3), np.float32)
    grey = np.empty((SIZE, SIZE), np.float32)
    turn, strength = np.empty(SIZE, np.float32), np.empty(SIZE, np.float32)
    column, share = np.empty(SIZE, np.int64), np.empty(SIZE, np.float32)
    for j in range(SIZE):
        at = min(max(left * SIZE + (j + 0.5) * width - 0.5, 0.0), SIZE - 1.001)
        column[j] = int(at)
        share[j] = at - int(at)
    for image in range(len(views)):
        vector = out[image]
        vector[:] = 0
        for i in range(SIZE):
            at = min(max(top * SIZE + (i + 0.5) * height - 0.5, 0.0), SIZE - 1.001)
            row, below = int(at), np.float32(at - int(at))
            for j in range(SIZE):
                for c in range(3):
                    tall[j, c] = views[image, row, j, c] * (one - below) + views[image, row + 1, j, c] * below
            for j in range(SIZE):
                k, f = column[j], share[j] / np.float32(255)
                g = one / np.float32(255) - f
                for c in range(3):
                    x[j, c] = tall[k, c] * g + tall[k + 1, c] * f
                grey[i, j] = np.float32(0.299) * x[j, 0] + np.float32(0.587) * x[j, 1] + np.float32(0.114) * x[j, 2]
            for j in range(SIZE):
                for c in range(3):
                    vector[(i // 4 * 8 + j // 4) * 3 + c] += x[j, c] / np.float32(16)
        for i in range(SIZE):
            for j in range(SIZE):
                gx = grey[i, j + 1] - grey[i, j - 1] if 0 < j < SIZE - 1 else np.float32(0)
                gy = grey[i + 1, j] - grey[i - 1, j] if 0 < i < SIZE - 1 else np.float32(0)
                wide, high = abs(gx), abs(gy)
                a = min(wide, high) / max(max(wide, high), np.float32(1e-12))
                square = a * a  # arctangent to 1e-5, in eighths of a turn: Abramowitz and Stegun 4.4.49
                angle = np.float32(0.0208351) * square - np.float32(0.085133)
                angle = (angle * square + np.float32(0.180141)) * square - np.float32(0.3302995)
                angle = (angle * square + np.float32(0.999866)) * a * np.float32(4 / np.pi)
                angle = np.float32(2) - angle if high > wide else angle
                angle = np.float32(4) - angle if gx < 0 else angle
                turn[j] = np.float32(8) - angle if gy < 0 else angle
                strength[j] = np.sqrt(gx * gx + gy * gy)
            for j in range(SIZE):
                low = int(turn[j])
                part = turn[j] - np.float32(low)
                cell = 192 + (i // 8 * 4 + j // 8) * 8
                vector[cell + low % 8] += strength[j] * (one - part)
                vector[cell + (low + 1) % 8] += strength[j] * part
        for c in range(3):
            mean = np.float32(0)
            for cell in range(64):
                mean += vector[cell * 3 + c] / np.float32(64)
            for cell in range(64):
                vector[cell * 3 + c] -= mean
        mean = np.float32(0)
        for i in range(192, 320):
            vector[i] = np.sqrt(vector[i])
            mean += vector[i] / np.float32(128)
        vector[192:] -= mean
        for first, stop in ((0, 192), (192, 320)):
            length = np.float32(0)
            for i in range(first, stop):
                length += vector[i] * vector[i]
            scale = np.float32(0.5**0.5) / max(np.sqrt(length), np.float32(0.1))
            for i in range(first, stop):
                vector[i] *= scale


# ---- verification ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    left: _I64
    right: _I64
    same: NDArray[np.bool_]
    """Pairs of the same pixels."""
    features: NDArray[np.float64]
    transforms: NDArray[np.float64]
    contrast: NDArray[np.float64]


def _verify(
    one: _Set, other: _Set, left: _I64, right: _I64, equal: NDArray[np.bool_], workers: int | None
) -> _Found:  # fmt: skip
    """Register all candidates; those in which no detail agrees are dropped at once."""
    kept: list[tuple[NDArray[Any], ...]] = []
    with progress("verify", total=len(left), unit="pair") as bar:
        for first in range(0, max(1, len(left)), _BLOCK):
            a, b = left[first : first + _BLOCK], right[first : first + _BLOCK]
            found = register.align(one.views, other.views, a, b, workers=workers)
            same = equal[first : first + _BLOCK]
            keep = same | (found.features[:, 0] > 0)
            kept.append((a[keep], b[keep], same[keep], *(v[keep] for v in vars(found).values())))
            bar.update(len(a))
    return _Found(*(np.concatenate(v) for v in zip(*kept, strict=True)))


def _calibrate(base: _Set, seed: int, workers: int | None) -> Calibration:
    """Plant copies of a sample of the images and fit on them, on neighbours of the originals, and on twins made to fool."""
    chosen = np.sort(keyed_order(base.images, seed=seed, stream="copies/calibrate")[:_SAMPLE])
    places = base.catalog.rows(base.images[chosen], columns=PLACE)
    ids = base.images[chosen]

    def planted(i: int, data: bytes) -> NDArray[np.uint8] | None:
        pixels = images.shrink(images.decode(data)[0], side=_LONG, least=8)
        return np.stack([register.view(change(pixels, kind=kind, image=int(ids[i]), seed=seed)) for kind in KINDS])

    # None for an image that is gone since it was read
    made = list(map_images(base.catalog, places, planted, workers=workers, on_reject=lambda _, error: None))
    there = chosen[[i for i, copies in enumerate(made) if copies is not None]]
    copies = np.concatenate([copies for copies in made if copies is not None])
    num = len(KINDS)
    good = register.align(base.views, copies, there.repeat(num), np.arange(len(copies)), workers=workers).features
    plain = next(_views([base], [np.arange(len(base))], workers))[0]
    near, _ = neighbors.nearest(plain.select(there), plain, k=min(len(base), _BESIDE + 1))
    at, column = np.nonzero(base.looks[near] != base.looks[there][:, None])
    beside = near[at, column]
    # a neighbour that looks like a copy may be one, unknown to anybody: it counts as a non-copy for what is left of that
    score = calibrate.SHIPPED.score(register.align(base.views, base.views, there[at], beside, workers=workers).features)
    trust = np.where(score < calibrate.TRUE_COPY, 1 / (1 + np.exp(np.clip(score, -50, 50))), 0)
    order = np.argsort(beside, kind="stable")  # `align` is fastest with equal ones together
    at, beside, trust = at[order].repeat(num), beside[order].repeat(num), trust[order].repeat(num)
    right = at * num + np.tile(np.arange(num), len(order))
    bad = register.align(base.views, copies, beside, right, workers=workers).features
    views = base.views[there]
    fooling = calibrate.twins(views, np.roll(views, 1, axis=0))
    both = np.tile(np.arange(len(views)), 2)
    return calibrate.fit(
        good, np.tile(np.arange(num), len(there)), bad, trust=trust,
        fooling=register.align(views, fooling, both, np.arange(len(fooling)), workers=workers).features,
        learned_on=f"{len(views)} images of catalog {base.catalog.fingerprint[:12]}, seed {seed}",
        num_excluded=int((trust == 0).sum()),
    )  # fmt: skip


def _answers(one: _Set, other: _Set, found: _Found, marks: pl.DataFrame | None) -> NDArray[np.int8]:
    """What a person said of each pair: 1 a copy, -1 none, 0 nothing or unsure."""
    out = np.zeros(len(found.left), np.int8)
    if marks is None:
        return out
    a, b = marks.columns[:2]
    pairs = pl.DataFrame({a: one.images[found.left], b: other.images[found.right], "at": np.arange(len(out))})
    told = pairs.join(marks.filter(pl.col("answer").is_in(["yes", "no"])), on=[a, b])
    out[told["at"].to_numpy()] = np.where(told["answer"].to_numpy() == "yes", 1, -1)
    return out


# ---- the answer ------------------------------------------------------------------------------------------------------


def _table(
    one: _Set, other: _Set, found: _Found, probability: NDArray[np.float64], keep: NDArray[np.bool_]
) -> pl.DataFrame:
    p = found.transforms[keep]
    p[found.same[keep] & ~p.any(axis=1)] = (1, 0, 0, 0, 1, 0)  # the same pixels, without texture
    features, contrast, same = found.features[keep], found.contrast[keep], found.same[keep]
    wide, high = np.hypot(p[:, 0], p[:, 3]), np.hypot(p[:, 1], p[:, 4])
    columns = {
        "image_a": one.images[found.left[keep]],
        "image_b": other.images[found.right[keep]],
        "probability": probability[keep],
        "similarity": np.where(same, 1.0, features[:, FEATURES.index("tiles")]),
        "kind": [_kind(*row) for row in zip(p, features, contrast, same, strict=True)],
        "mirror": p[:, 0] < 0,
        "scale_x": 1 / wide,
        "scale_y": 1 / high,
        "shift_x": p[:, 2] / 2,
        "shift_y": p[:, 5] / 2,
    }
    frame = pl.DataFrame(columns, schema=PAIRS)
    order = ("probability", "similarity", "image_a", "image_b")
    return frame.sort(order, descending=[True, True, False, False])


def _kind(
    p: NDArray[np.float64], features: NDArray[np.float64], contrast: NDArray[np.float64], same: bool
) -> str:  # fmt: skip
    """What the transform and the features say was done, in the order it shows."""
    if same:
        return "same pixels"
    wide, high = float(np.hypot(p[0], p[3])), float(np.hypot(p[1], p[4]))
    overlap, tiles, weak, colour = (features[FEATURES.index(n)] for n in ("overlap", "tiles", "weak_tiles", "colour"))
    said = {
        "mirrored": p[0] < 0,
        "stretched": abs(np.log(wide / high)) > 0.06,
        "cropped": max(abs(np.log(wide)), abs(np.log(high))) > 0.03 or overlap < 0.97,
        "turned": max(abs(p[1]), abs(p[3])) > 0.02,
        "recoloured": colour < 0.9 or abs(np.log(contrast[1])) > 0.3 or abs(np.log(contrast[0])) > 0.15,
        "overlaid": weak < tiles - 0.25,
    }
    return "+".join(name for name, is_so in said.items() if is_so) or "same frame"
