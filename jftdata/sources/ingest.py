"""The common half of every source: check, hash, decode, optionally pack, unite copies, write the catalog.

A source hands over chunks, each a small picklable object that lists its own records when asked, inside a worker
process. A chunk becomes one Parquet part (and one tar shard when packing), written whole or not at all: a killed run
goes on with the chunks that are missing. Then byte-identical images become one row with their labels united, and rows
are sorted by image id.
"""

import hashlib
import io
import multiprocessing
import os
import shutil
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from jftdata import images, storage
from jftdata.catalog import DUPLICATES, FORMAT, REJECTED, SCHEMA, Catalog
from jftdata.errors import BadArgument, BadInput, ImageRejected, TooManyRejects
from jftdata.hashing import image_id
from jftdata.hierarchy import Hierarchy
from jftdata.progress import progress

CHUNK_IMAGES = 2048
"""Records of one chunk: what a kill can cost."""
_PART_SCHEMA = {**SCHEMA, "order": pl.Int64()}
_ROWS_PER_FILE = 4_000_000


@dataclass(frozen=True)
class Record:
    """One image as a source gives it."""

    source: str
    """What it is called there; unique within the source."""
    labels: tuple[str, ...]
    split: str
    file: str = ""
    """Absolute path of a file that holds just this image, or empty when `data` is given."""
    data: bytes | None = None


class Chunk(Protocol):
    """A piece of a source; cheap to pickle."""

    def records(self) -> Iterator[Record]:
        """List the records, reading what must be read."""

    def __len__(self) -> int: ...


def ingest(
    chunks: Sequence[Chunk],
    *,
    out: Path | str,
    hierarchy: Hierarchy | None,
    made_with: Mapping[str, Any],
    inputs: Mapping[str, str],
    labels: Iterable[str],
    max_rejected: float,
    workers: int | None,
) -> Catalog:
    """Turn chunks into a catalog; see the sources for the arguments they share.

    Args:
        chunks: the pieces, in a fixed order.
        out: folder to write.
        hierarchy: labels that may be given; None makes a flat one of `labels`.
        made_with: the source's own arguments.
        inputs: digests of what is read.
        labels: all labels that occur, used only without a hierarchy.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Raises:
        UnknownName: a label that is not in the hierarchy.
        TooManyRejects: more rejects than allowed; the parts stay, so a rerun with a higher limit goes on from there.
    """
    if not 0 <= max_rejected <= 1:
        raise BadArgument(f"`max_rejected` must be in [0, 1]. Got {max_rejected}.")
    if not chunks or not sum(map(len, chunks)):
        raise BadInput("no image was found. Check the path and the file endings.")
    tree = hierarchy if hierarchy is not None else Hierarchy.flat(labels)
    inputs = {**inputs, "hierarchy": hierarchy_digest(tree)}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
        if build is None:
            return Catalog.open(out)
        parts = build.folder / "parts"
        parts.mkdir(exist_ok=True)
        (build.folder / "images").mkdir(exist_ok=True)
        if made_with.get("pack"):
            (build.folder / "shards").mkdir(exist_ok=True)
        tree.save(build.folder / "hierarchy.tsv")
        todo = [i for i in range(len(chunks)) if not (parts / f"{i:06d}.parquet").exists()]
        with progress("catalog", total=sum(map(len, chunks)), unit="image") as bar:
            bar.update(sum(map(len, chunks)) - sum(len(chunks[i]) for i in todo))
            for done in _run(chunks, todo, build.folder, tree, bool(made_with.get("pack")), workers):
                bar.update(done)
        build.facts.update(_unite(build.folder, parts))
        facts = build.facts
        if facts["num_rejected"] > max_rejected * facts["num_input"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in facts["rejected"].items())
            example = pl.read_parquet(build.folder / "rejected.parquet", glob=False).row(0, named=True)
            raise TooManyRejects(
                f"{facts['num_rejected']} of {facts['num_input']} images were rejected ({reasons}), for example "
                f"{example['source']}: {example['message']}. "
                f"Allow more with max_rejected (now {max_rejected:g}), or mend them."
            )
        for part in parts.glob(
            "*.parquet"
        ):  # first: a part without its `.rejected` must not look done to a resumed run
            part.unlink()
        shutil.rmtree(parts)
    return Catalog.open(out)


def hierarchy_digest(tree: Hierarchy) -> str:
    """SHA-256 over labels and parents."""
    text = "\n".join(f"{label}\t{parents}" for label, parents in zip(tree.labels, tree.parent_lists, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()


def _run(
    chunks: Sequence[Chunk], todo: Sequence[int], folder: Path, tree: Hierarchy, pack: bool, workers: int | None
) -> Iterator[int]:
    position = {label: i for i, label in enumerate(tree.labels)}
    workers = min(workers or os.cpu_count() or 1, len(todo))
    if workers <= 1:
        for i in todo:
            yield _one_chunk(chunks[i], i, folder, position, tree, pack)
        return
    context = multiprocessing.get_context("forkserver")  # fork hangs after polars or torch have started threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        waiting: set[Future[int]] = set()
        queue = iter(todo)
        for i in queue:
            waiting.add(pool.submit(_one_chunk, chunks[i], i, folder, position, tree, pack))
            if len(waiting) >= 2 * workers:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        yield from (future.result() for future in waiting)


def _end_with_parent() -> None:
    """Stop this worker when the run that started it is gone: it must not write beside the run that resumes."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _one_chunk(
    chunk: Chunk, number: int, folder: Path, position: Mapping[str, int], tree: Hierarchy, pack: bool
) -> int:
    """Check and write one chunk; returns the number of records seen."""
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str]] = []
    shard = f"shards/{number:06d}.tar"
    with _tar(folder / shard if pack else None) as tar:
        packed: dict[bytes, int] = {}
        for order, record in enumerate(chunk.records()):
            unknown = [label for label in record.labels if label not in position]
            if unknown:
                tree.index(unknown[0])  # raises with a suggestion
            try:
                data = record.data if record.data is not None else _read_file(record.file)
                _, facts = images.decode(data)
            except ImageRejected as error:
                rejected.append({"source": record.source, "reason": error.reason, "message": str(error)})
                continue
            sha256 = hashlib.sha256(data).digest()
            if tar is not None:
                if sha256 not in packed:
                    packed[sha256] = _add(tar, f"{image_id(sha256):019d}.{facts.format}", data)
                place = {"shard": shard, "offset": packed[sha256]}
            else:
                place = {"shard": record.file, "offset": 0}
            rows.append({
                "image": image_id(sha256), "sha256": sha256, **place, "length": len(data), "width": facts.width,
                "height": facts.height, "format": facts.format, "split": record.split,
                "labels": sorted({position[label] for label in record.labels}), "source": record.source,
                "order": (number << 32) + order,
            })  # fmt: skip
    if rejected:
        with storage.atomic_path(folder / "parts" / f"{number:06d}.rejected") as temp:
            pl.DataFrame(rejected, schema=REJECTED).write_parquet(temp)
    with storage.atomic_path(folder / "parts" / f"{number:06d}.parquet") as temp:
        pl.DataFrame(rows, schema=_PART_SCHEMA).write_parquet(temp)
    return len(chunk)


class _tar:
    """An uncompressed tar written under a temporary name, or nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> tarfile.TarFile | None:
        if self._path is None:
            return None
        self._whole = storage.atomic_path(self._path)
        self._file = tarfile.open(self._whole.__enter__(), "w", format=tarfile.USTAR_FORMAT)
        return self._file

    def __exit__(self, *error: Any) -> None:
        if self._path is not None:
            self._file.close()
            self._whole.__exit__(*error)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    offset = tar.offset + tarfile.BLOCKSIZE  # bytes follow their 512-byte header
    tar.addfile(info, io.BytesIO(data))
    return offset


def _read_file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageRejected("missing", f"{path}: {error.strerror}") from error


def _unite(folder: Path, parts: Path) -> dict[str, Any]:
    """Merge the parts into `images/`, `duplicates.parquet` and `rejected.parquet`; returns the facts."""
    rows = pl.scan_parquet(sorted(parts.glob("*.parquet")), glob=False)
    copies = rows.filter(pl.len().over("image") > 1).collect().sort("order")
    clash = copies.filter(pl.col("sha256").n_unique().over("image") > 1)
    if len(clash):
        raise BadInput(
            f"two different images share the id {clash['image'][0]}: {clash['source'].to_list()[:2]}. Drop one."
        )
    kept = copies.group_by("image", maintain_order=True).agg(
        pl.all().exclude("labels").first(),
        pl.col("labels").explode(empty_as_null=False, keep_nulls=False).unique().sort(),
    )
    extra = copies.join(kept.select("image", "order", kept_source="source"), on="image").filter(
        pl.col("order") != pl.col("order_right")
    )
    duplicates = extra.select(*DUPLICATES).sort("image", "source")
    _write(duplicates.cast(dict(DUPLICATES)), folder / "duplicates.parquet")  # type: ignore[arg-type]

    refused = [pl.read_parquet(path, glob=False) for path in sorted(parts.glob("*.rejected"))]
    rejected = pl.concat(refused) if refused else pl.DataFrame(schema=REJECTED)
    _write(rejected.sort("source"), folder / "rejected.parquet")

    total = int(rows.select(pl.len()).collect().item())
    single = pl.concat(
        [rows.join(kept.lazy().select("image"), on="image", how="anti"), kept.lazy().select(*_PART_SCHEMA)]
    )
    num_files = max(1, -(-total // _ROWS_PER_FILE))
    splits: dict[str, int] = {}
    num_given, num_unlabelled, num_images = 0, 0, 0
    for i in range(num_files):
        low, high = (i << 63) // num_files, ((i + 1) << 63) // num_files - 1
        part = single.filter(pl.col("image").is_between(low, high)).drop("order").collect().sort("image")
        _write(part, folder / "images" / f"{i:05d}.parquet")
        num_images += len(part)
        lengths = part["labels"].list.len().cast(pl.Int64)
        num_given += int(lengths.sum())
        num_unlabelled += int((lengths == 0).sum())
        for name, count in part.group_by("split").len().iter_rows():
            splits[name] = splits.get(name, 0) + int(count)
    reasons = rejected.group_by("reason").len().sort("reason").iter_rows()
    return {
        "num_images": num_images,
        "num_rejected": len(rejected),
        "num_duplicates": len(duplicates),
        "num_input": total + len(rejected),
        "num_given_labels": num_given,
        "num_unlabelled": num_unlabelled,
        "splits": dict(sorted(splits.items())),
        "rejected": {str(reason): int(count) for reason, count in reasons},
    }


def _write(frame: pl.DataFrame, path: Path) -> None:
    with storage.atomic_path(path) as temp:
        frame.write_parquet(temp, row_group_size=1 << 18)
