"""Write a whole world into a folder: noisy set, dense evaluation set, clean set, detection sets and the truth.

Rows are made in chunks by worker processes and written in order, so the files are the same for any number of workers
and memory stays at a few thousand encoded images. About 500 images/s a core at 64 px.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from jftdata import processes, storage
from jftdata.errors import BadArgument
from jftdata.world.clean import clean_labels
from jftdata.world.copies import copy_of, scene
from jftdata.world.dice import dice
from jftdata.world.labels import give_labels
from jftdata.world.scene import Stream, check_size

GENERATOR = 1  # raise when the pictures or labels of a (seed, index) change
FORMAT = "jftdata.world/1"
CHUNK = 250  # images a task
ROW_GROUP = 1000
Progress = Callable[[int], None]
Row = dict[str, Any]
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES = {"image": {"_type": "Image"}, "split": {"dtype": "string", "_type": "Value"}}
_DUPLICATES = ("path", "original_file", "original_path", "kind")


@dataclass(frozen=True)
class WorldFiles:
    """Where the parts of a written world are."""

    folder: Path
    train: Path
    """The noisy set."""
    dense_eval: Path
    clean: Path
    crosswalk: Path
    """Clean labels to world labels."""
    detection: Path | None
    """The folder of the COCO and VOC layouts, None when none was asked for."""
    truth_labels: Path
    truth_objects: Path
    truth_duplicates: Path
    summary: Path
    """The sidecar: arguments and counts."""


def write(
    out: str | Path,
    *,
    num_images: int,
    seed: int,
    size: int = 64,
    num_eval: int = 500,
    num_clean_train: int = 1200,
    num_clean_test: int = 600,
    num_detection: int = 0,
    detection_size: int = 160,
    quality: int = 90,
    workers: int | None = None,
    progress: Progress | None = None,
) -> WorldFiles:
    """Write a world, whole or not at all.

    Args:
        out: the folder to make; there already and made in the same way, it is left as it is.
        num_images: images of the noisy set, at least 1. Image i is the same for any number.
        seed: the seed of the world.
        size: pixels a side, 32 to 340.
        num_eval: images of the dense evaluation set.
        num_clean_train: images of the clean set's split "train", balanced over its 30 labels.
        num_clean_test: images of its split "test".
        num_detection: images of the detection sets, four in five of them for training; 0 writes none.
        detection_size: pixels a side of those.
        quality: JPEG quality, 1 to 100.
        workers: processes; None takes one a core, at most eight. The files do not depend on it.
        progress: called with the number of images just made.

    Returns:
        The paths of what was written.

    Raises:
        BadArgument: a number is out of range.
        OutputExists: `out` is there, made with other arguments.

    >>> import tempfile
    >>> few = {"num_eval": 2, "num_clean_train": 0, "num_clean_test": 0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write(f"{folder}/w", num_images=3, seed=0, workers=1, **few)
    ...     pq.read_metadata(made.train).num_rows
    3
    """
    check_size(size)
    check_size(detection_size, name="detection_size")
    counts = {"num_eval": num_eval, "num_clean_train": num_clean_train, "num_clean_test": num_clean_test}
    for name, value in {**counts, "num_detection": num_detection}.items():
        if value < 0:
            raise BadArgument(f"`{name}` must not be negative. Got {value}.")
    if num_images < 1:
        raise BadArgument(f"`num_images` must be at least 1. Got {num_images}.")
    if not 1 <= quality <= 100:
        raise BadArgument(f"`quality` must be in [1, 100]. Got {quality}.")
    if workers is not None and workers < 1:
        raise BadArgument(f"`workers` must be at least 1, or None for one a core. Got {workers}.")
    made_with = {"generator": GENERATOR, "num_images": num_images, "seed": seed, "size": size, **counts}
    made_with |= {"num_detection": num_detection, "detection_size": detection_size, "quality": quality}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={}) as build:
        if build is not None:
            total = num_images + sum(counts.values()) + num_detection
            num_workers = min(os.cpu_count() or 1, 8) if workers is None else workers
            with ExitStack() as stack:
                pool = None
                if num_workers > 1 and total > CHUNK:
                    pool = stack.enter_context(processes.pool(num_workers))
                make = partial(
                    _Work, seed=seed, size=size, quality=quality, pool=pool, num_workers=num_workers, progress=progress
                )
                build.facts.update(_write_sets(build.folder, make(), num_images=num_images, **counts))
                if num_detection:
                    from jftdata.world.formats import write_detection

                    boxes = make(size=detection_size)
                    build.facts.update(
                        write_detection(
                            build.folder / "detection", boxes.stream, num_images=num_detection, size=detection_size
                        )
                    )
            _write_crosswalk(build.folder / "crosswalk.tsv")
    return files(out)


def files(folder: str | Path) -> WorldFiles:
    """The paths of a world that was written before.

    >>> files("w").train.as_posix()
    'w/train.parquet'
    """
    at = Path(folder)
    truth = at / "truth"
    detection = at / "detection"
    return WorldFiles(
        at,
        at / "train.parquet",
        at / "dense_eval.parquet",
        at / "clean.parquet",
        at / "crosswalk.tsv",
        detection if detection.exists() else None,
        truth / "labels.parquet",
        truth / "objects.parquet",
        truth / "duplicates.parquet",
        at / storage.SIDECAR,
    )


def image_path(stream: Stream, index: int) -> str:
    """The name an image has in the written files.

    >>> image_path("main", 123), image_path("clean-test", 4)
    ('world-000123.jpg', 'clean-test-000004.jpg')
    """
    return f"{'world' if stream == 'main' else stream}-{index:06d}.jpg"


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Makes rows by streams, in order, in this process or in others."""

    seed: int
    size: int
    quality: int
    pool: ProcessPoolExecutor | None
    num_workers: int
    progress: Progress | None

    def stream(self, make: Callable[..., list[Row]], stream: Stream, num: int) -> Iterator[Row]:
        starts = range(0, num, CHUNK)
        task = partial(make, self.seed, stream, size=self.size, quality=self.quality)
        spans = [(start, min(start + CHUNK, num)) for start in starts]
        if self.pool is None:
            for span in spans:
                yield from self._count(task(*span))
            return
        waiting: deque[Future[list[Row]]] = deque()
        for span in spans:
            waiting.append(self.pool.submit(task, *span))
            if len(waiting) > 2 * self.num_workers:
                yield from self._count(waiting.popleft().result())
        while waiting:
            yield from self._count(waiting.popleft().result())

    def _count(self, rows: list[Row]) -> list[Row]:
        if self.progress is not None:
            self.progress(len(rows))
        return rows


def make_rows(seed: int, stream: Stream, start: int, stop: int, *, size: int, quality: int) -> list[Row]:
    """Images start..stop of a stream as rows of every table at once; runs in worker processes."""
    rows = []
    for index in range(start, stop):
        drawn = scene(seed, index, size=size, stream=stream)
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(drawn.image), quality=quality)
        labels = list(drawn.labels)
        path = image_path(stream, index)
        row: Row = {"image": {"bytes": data, "path": path}, "path": path, "true": labels}
        if stream == "main":
            given = give_labels(dice(seed, "main/given", index), labels)
            row |= {"split": "train", "labels": [g.label for g in given], "errors": [g.error for g in given]}
        elif stream == "eval":
            row |= {"split": "eval", "labels": labels}
        else:
            row |= {"split": stream.removeprefix("clean-"), "label": clean_labels()[index % len(clean_labels())].label}
        copied = copy_of(seed, index, stream=stream)
        row["copy"] = None if copied is None else (copied.original, copied.kind)
        rows.append(row)
    return rows


def _write_sets(
    folder: Path, work: _Work, *, num_images: int, num_eval: int, num_clean_train: int, num_clean_test: int
) -> dict[str, int]:
    truth = folder / "truth"
    truth.mkdir(exist_ok=True)
    many, one = ("labels", pa.list_(pa.string())), ("label", pa.string())
    num_labels = num_wrong = num_copies = 0
    with ExitStack() as stack:

        def table(path: Path, columns: list[tuple[str, pa.DataType]], *, images: bool = False) -> _Table:
            return stack.enter_context(_Table(path, columns, images=images))

        labels = table(truth / "labels.parquet", [(name, pa.string()) for name in ("path", "label", "error")])
        objects = table(truth / "objects.parquet", [("path", pa.string()), many])
        duplicates = table(truth / "duplicates.parquet", [(name, pa.string()) for name in _DUPLICATES])
        train = table(folder / "train.parquet", [("image", _IMAGE), many, ("split", pa.string())], images=True)
        dense = table(folder / "dense_eval.parquet", [("image", _IMAGE), many, ("split", pa.string())], images=True)
        clean = table(folder / "clean.parquet", [("image", _IMAGE), one, ("split", pa.string())], images=True)
        sets: tuple[tuple[Stream, int, _Table], ...] = (
            ("main", num_images, train),
            ("eval", num_eval, dense),
            ("clean-train", num_clean_train, clean),
            ("clean-test", num_clean_test, clean),
        )
        for stream, num, to in sets:
            for row in work.stream(make_rows, stream, num):
                to.add(row)
                objects.add({"path": row["path"], "labels": row["true"]})
                for label, error in zip(row.get("labels", ()), row.get("errors", ()), strict=False):
                    labels.add({"path": row["path"], "label": label, "error": error})
                    num_labels, num_wrong = num_labels + 1, num_wrong + (error != "")
                if row["copy"] is not None and row["copy"][0] < num_images:
                    original, kind = row["copy"]
                    values = (row["path"], "train.parquet", image_path("main", original), kind)
                    duplicates.add(dict(zip(_DUPLICATES, values, strict=True)))
                    num_copies += 1
    return {
        "images": num_images,
        "given_labels": num_labels,
        "wrong_labels": num_wrong,
        "near_duplicates": num_copies,
        "eval_images": num_eval,
        "clean_train_images": num_clean_train,
        "clean_test_images": num_clean_test,
    }


class _Table:
    """A parquet file written in row groups of 1000."""

    def __init__(self, path: Path, columns: list[tuple[str, pa.DataType]], *, images: bool = False) -> None:
        self.names = [name for name, _ in columns]
        metadata = None
        if images:
            features: dict[str, Any] = {}
            for name in self.names:
                text = {"dtype": "string", "_type": "Value"}
                features[name] = _FEATURES.get(name, text)
                if name == "labels":
                    features[name] = {"feature": text, "_type": "List"}
            metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        self.schema = pa.schema(columns, metadata=metadata)
        self.writer = pq.ParquetWriter(path, self.schema, compression="none" if images else "zstd")
        self.rows: list[Mapping[str, Any]] = []

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Literal[False]:
        if kind is None and self.rows:
            self._flush()
        self.writer.close()
        return False

    def add(self, row: Mapping[str, Any]) -> None:
        self.rows.append({name: row[name] for name in self.names})
        if len(self.rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        self.writer.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.rows = []


def _write_crosswalk(path: Path) -> None:
    lines = ["clean_label\tworld_label\thow", *(f"{c.label}\t{c.world_label}\t{c.how}" for c in clean_labels())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
