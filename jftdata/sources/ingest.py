"""The common half of every source: check, hash, decode, optionally pack, unite copies, write the catalog.

A source hands over chunks, each a small picklable object that lists its own records when asked, inside a worker
process. A chunk becomes one Parquet part (and one tar shard when packing), written whole or not at all: a killed run
goes on with the chunks that are missing. When a worker process dies, its chunk is done again in a process of its own,
and an image that ends that one too is rejected as `crash`. Then byte-identical images become one row, and rows are
sorted by image id.

Union of copies: the split and source of the first are kept, labels are united, of each label the highest score counts,
negatives are united, and a label that is given by one and negated by another stays given (`num_conflicts`).
"""

import glob
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import images, processes, storage, tar
from jftdata.catalog import DUPLICATES, FORMAT, REJECTED, SCHEMA, Catalog
from jftdata.errors import BadArgument, BadInput, ImageRejected, MissingInput, TooManyRejects
from jftdata.hashing import image_id
from jftdata.hierarchy import Hierarchy
from jftdata.progress import progress

CHUNK_IMAGES = 2048
"""Records of one chunk: what a kill can cost."""
_PART_SCHEMA = {**SCHEMA, "order": pl.Int64(), "reencoded": pl.Boolean()}
_ROWS_PER_FILE = 4_000_000


@dataclass(frozen=True)
class Record:
    """One image as a source gives it."""

    source: str
    """What it is called there; unique within the source."""
    labels: tuple[str, ...]
    split: str
    file: str = ""
    """Absolute path of the file that holds the image, or empty when `data` is given."""
    offset: int = 0
    """First byte of the image in `file`."""
    length: int | None = None
    """Number of bytes; None is all to the end of `file`."""
    data: bytes | None = None
    scores: tuple[float | None, ...] | None = None
    """One a label, 0..1, or None where there are none."""
    negatives: tuple[str, ...] = ()
    """Labels verified not to hold."""
    refused: tuple[str, str] | None = None
    """Reason and message when the source itself rejects the image."""


class Chunk(Protocol):
    """A piece of a source; cheap to pickle."""

    def records(self) -> Iterator[Record]:
        """List the records, reading what must be read."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Listed:
    """A chunk that holds its records, for sources whose list of images fits into memory."""

    made: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.made)

    def records(self) -> Iterator[Record]:
        return iter(self.made)


@dataclass(frozen=True)
class _Job:
    """What is the same for every chunk."""

    folder: Path
    tree: Hierarchy
    position: Mapping[str, int]
    pack: bool
    shorter_side: int | None


def listed(records: Sequence[Record]) -> list[Chunk]:
    """Records cut into chunks."""
    return [Listed(tuple(records[i : i + CHUNK_IMAGES])) for i in range(0, len(records), CHUNK_IMAGES)]


def named_files(
    names: Path | str | Sequence[Path | str], what: str, *, inside: Callable[[Path], bool] | None = None
) -> list[Path]:
    """The files that paths and globs name; of a folder those that `inside` accepts, where it is given.

    Raises:
        MissingInput: nothing there.
    """
    files: list[Path] = []
    for name in [str(names)] if isinstance(names, str | os.PathLike) else [str(x) for x in names]:
        if inside is not None and Path(name).is_dir():
            hits = sorted(filter(inside, Path(name).iterdir()))
        else:
            hits = [Path(name)] if Path(name).is_file() else [Path(hit) for hit in sorted(glob.glob(name))]
        if not hits:
            raise MissingInput(f"no {what} at {name}. Check the path.")
        files += hits
    return files


def place(root: str, name: str) -> dict[str, Any]:
    """Where a named image lies below a folder, as fields of a Record; a name that leaves the folder is refused.

    >>> place("/data", "a/1.jpg")
    {'file': '/data/a/1.jpg'}
    >>> place("/data", "../1.jpg")["refused"][0]
    'unsafe'
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        return {"refused": ("unsafe", f"the file name {name!r} leaves its folder")}
    return {"file": os.path.join(root, name)}


def scores_of(value: Any, labels: Sequence[str], where: str) -> tuple[float | None, ...] | None:
    """Scores as a source gives them, one for each label or None; None where no label has one.

    Raises:
        BadInput: not as many as labels, or one that is no number in 0..1.

    >>> scores_of([0.5, None], ["cat", "dog"], "a.jpg")
    (0.5, None)
    """
    if value is None or value == []:
        return None
    scores = value if isinstance(value, list) else [value]
    if len(scores) != len(labels):
        raise BadInput(
            f"{where}: expected a score for each of {len(labels)} labels. Got {len(scores)}. Give null where there is none."
        )
    for score in scores:
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if score is not None and not (number and 0 <= score <= 1):
            raise BadInput(f"{where}: the score {score!r} is no number in 0..1. Mend it, or leave it out.")
    return tuple(scores) if any(score is not None for score in scores) else None


def asked_too(**options: Any) -> dict[str, Any]:
    """Options that are not None, for `made_with`: catalogs made before there were such options are still known."""
    return {name: value for name, value in options.items() if value is not None}


def digest_of_files(records: Iterable[Record]) -> str:
    """SHA-256 over name, size and time of every file, so that a changed one is not the same input."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record.source}\0{_stamp(record.file)}\n".encode())
    return digest.hexdigest()


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "gone"
    return f"{status.st_size}\0{status.st_mtime_ns}"


def check_shorter_side(shorter_side: int | None, *, pack: bool) -> None:
    """Raise a BadArgument unless the option has a meaning."""
    if shorter_side is not None and shorter_side < 1:
        raise BadArgument(f"`shorter_side` must be at least 1 pixel. Got {shorter_side}.")
    if shorter_side is not None and not pack:
        raise BadArgument("`shorter_side` makes new bytes, which must be packed. Give pack=True too.")


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
    facts: Mapping[str, Any] | None = None,
) -> Catalog:
    """Turn chunks into a catalog; see the sources for the arguments they share.

    Args:
        chunks: the pieces, in a fixed order.
        out: folder to write.
        hierarchy: labels that may be given; None makes a flat one of `labels`.
        made_with: the source's own arguments; `pack` and `shorter_side` are followed here.
        inputs: digests of what is read.
        labels: all labels that occur, used only without a hierarchy.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core; 1 works in this process, which an image that crashes then ends.
        facts: counts of the source's own.

    Raises:
        UnknownName: a label that is not in the hierarchy.
        BadInput: no image; or two images that share an id.
        TooManyRejects: more rejects than allowed; the parts stay, so a rerun with a higher limit goes on from there.
    """
    if not 0 <= max_rejected <= 1:
        raise BadArgument(f"`max_rejected` must be in [0, 1]. Got {max_rejected}.")
    check_shorter_side(made_with.get("shorter_side"), pack=bool(made_with.get("pack")))
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
        todo = [i for i in range(len(chunks)) if not _part(parts, i).exists()]
        job = _Job(
            build.folder, tree, {label: i for i, label in enumerate(tree.labels)}, bool(made_with.get("pack")),
            made_with.get("shorter_side"),
        )  # fmt: skip
        with progress("catalog", total=sum(map(len, chunks)), unit="image") as bar:
            bar.update(sum(map(len, chunks)) - sum(len(chunks[i]) for i in todo))
            for done in _run(chunks, todo, job, workers):
                bar.update(done)
        build.facts.update({**_unite(build.folder, parts), **(facts or {})})
        found = build.facts
        if found["num_rejected"] > max_rejected * found["num_input"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in found["rejected"].items())
            example = pl.read_parquet(build.folder / "rejected.parquet", glob=False).row(0, named=True)
            raise TooManyRejects(
                f"{found['num_rejected']} of {found['num_input']} images were rejected ({reasons}), for example "
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


def _part(parts: Path, number: int) -> Path:
    return parts / f"{number:06d}.parquet"


def _run(chunks: Sequence[Chunk], todo: Sequence[int], job: _Job, workers: int | None) -> Iterator[int]:
    """Do the chunks; yields the number of records of each when it is done."""
    if workers == 1:
        for i in todo:
            yield _one_chunk(chunks[i], i, job)
        return
    left = deque(todo)
    while left:
        suspects: list[int] = []
        with processes.pool(min(workers or os.cpu_count() or 1, len(left))) as pool:
            waiting: dict[Future[int], int] = {}
            while waiting or (left and not suspects):
                try:
                    while left and not suspects and len(waiting) < 2 * pool._max_workers:  # type: ignore[attr-defined]
                        waiting[pool.submit(_one_chunk, chunks[left[0]], left[0], job)] = left[0]
                        left.popleft()
                except BrokenProcessPool:
                    suspects.append(left.popleft())
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    number = waiting.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        suspects.append(number)
        for number in sorted(suspects):
            done = _part(job.folder / "parts", number).exists()
            yield len(chunks[number]) if done else _alone(chunks[number], number, job)


def _alone(chunk: Chunk, number: int, job: _Job) -> int:
    """Do a chunk whose process died, noting each image before it is decoded, until only those that crash are left out.

    Raises:
        BadInput: listing the images ends the process too.
    """
    note = job.folder / "parts" / f"{number:06d}.note"
    crashed: set[int] = set()
    while True:
        for left in job.folder.rglob(f".{number:06d}.*.tmp"):  # of the writes the dead process did not finish
            left.unlink()
        note.write_text("0 listing")
        try:
            with processes.pool(1) as pool:
                return pool.submit(_one_chunk, chunk, number, job, frozenset(crashed), note).result()
        except BrokenProcessPool:
            order, doing = note.read_text().split()
            if doing == "listing":
                raise BadInput(
                    f"reading image {order} of part {number} ends the process. Get its file again, or leave it out."
                ) from None
            crashed.add(int(order))


def _one_chunk(
    chunk: Chunk, number: int, job: _Job, crashed: frozenset[int] = frozenset(), note: Path | None = None
) -> int:
    """Check and write one chunk; returns the number of records seen.

    Args:
        chunk: what to list.
        number: its place among the chunks.
        job: what is the same for all.
        crashed: places of records that end the process; they are rejected unread.
        note: file that always says which record is in hand.
    """
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str]] = []
    shard = f"shards/{number:06d}.tar"
    with tar.create(job.folder / shard) if job.pack else nullcontext() as pack:
        packed: dict[bytes, int] = {}
        for order, record in enumerate(chunk.records()):
            given = _given(record, job)
            try:
                if order in crashed:
                    raise ImageRejected("crash", "decoding it ends the process")
                if note is not None:
                    note.write_text(f"{order} decoding")
                data = _read(record)
                pixels, facts = images.decode(data)
            except ImageRejected as error:
                rejected.append({"source": record.source, "reason": error.reason, "message": str(error)})
                continue
            finally:
                if note is not None:
                    note.write_text(f"{order + 1} listing")
            reencoded = job.shorter_side is not None and min(facts.width, facts.height) > job.shorter_side
            if reencoded and job.shorter_side is not None:
                data, facts = _shrink(pixels, job.shorter_side)
            sha256 = hashlib.sha256(data).digest()
            if pack is not None:
                if sha256 not in packed:
                    name = f"{image_id(sha256):019d}"
                    packed[sha256] = tar.add(pack, f"{name}.{facts.format}", data)
                    tar.add(pack, f"{name}.json", _beside(record))
                where = {"shard": shard, "offset": packed[sha256]}
            else:
                where = {"shard": record.file, "offset": record.offset}
            rows.append({
                "image": image_id(sha256), "sha256": sha256, **where, "length": len(data), "width": facts.width,
                "height": facts.height, "format": facts.format, "split": record.split, **given, "source": record.source,
                "order": (number << 32) + order, "reencoded": reencoded,
            })  # fmt: skip
    if rejected:
        with storage.atomic_path(job.folder / "parts" / f"{number:06d}.rejected") as temp:
            pl.DataFrame(rejected, schema=REJECTED).write_parquet(temp)
    with storage.atomic_path(_part(job.folder / "parts", number)) as temp:
        pl.DataFrame(rows, schema=_PART_SCHEMA).write_parquet(temp)
    return len(chunk)


def _given(record: Record, job: _Job) -> dict[str, Any]:
    """Labels, scores (None where there is none) and negatives as sorted indexes."""
    for label in (*record.labels, *record.negatives):
        if label not in job.position:
            job.tree.index(label)  # raises with a suggestion
    best: dict[int, float | None] = {}
    for label, score in zip(record.labels, record.scores or [None] * len(record.labels), strict=True):
        known = [x for x in (best.get(job.position[label]), score) if x is not None]
        best[job.position[label]] = max(known, default=None)
    labels = sorted(best)
    negatives = sorted({job.position[label] for label in record.negatives})
    return {"labels": labels, "scores": [best[i] for i in labels], "negatives": negatives}


def _shrink(pixels: NDArray[np.uint8], shorter_side: int) -> tuple[bytes, images.ImageFacts]:
    """JPEG of quality 95 whose shorter side is as asked."""
    height, width = pixels.shape[:2]
    scale = shorter_side / min(height, width)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    data = images.encode_jpeg(images.resize(pixels, width=width, height=height), quality=95)
    return data, images.ImageFacts(width, height, "jpeg")


def _beside(record: Record) -> bytes:
    """What other readers of the shard are told of an image: labels as given where it was packed first."""
    told: dict[str, Any] = {"labels": record.labels, "split": record.split}
    if record.scores is not None:
        told["scores"] = record.scores
    if record.negatives:
        told["negatives"] = record.negatives
    return json.dumps(told, ensure_ascii=False).encode()


def _read(record: Record) -> bytes:
    """The bytes of a record, unless the source refuses it, they are gone, or more than any image may have."""
    if record.refused is not None:
        raise ImageRejected(*record.refused)
    if record.data is not None:
        return record.data
    most = images.DEFAULT_LIMITS.max_bytes
    try:
        with open(record.file, "rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size if record.length is None else record.length
            if length > most:
                raise ImageRejected("too_many_bytes", f"{length} bytes, at most {most} allowed")
            file.seek(record.offset)
            data = file.read(length)
    except OSError as error:
        raise ImageRejected("missing", f"{record.file}: {error.strerror}") from error
    if len(data) < length:
        raise ImageRejected("missing", f"{record.file}: {len(data)} of {length} bytes at {record.offset}")
    return data


def _unite(folder: Path, parts: Path) -> dict[str, Any]:
    """Merge the parts into `images/`, `duplicates.parquet` and `rejected.parquet`; returns the facts."""
    rows = pl.scan_parquet(sorted(parts.glob("*.parquet")), glob=False)
    copies = rows.filter(pl.len().over("image") > 1).collect().sort("order")
    clash = copies.filter(pl.col("sha256").n_unique().over("image") > 1)
    if len(clash):
        raise BadInput(
            f"two different images share the id {clash['image'][0]}: {clash['source'].to_list()[:2]}. Drop one."
        )
    kept = (
        copies.group_by("image", maintain_order=True)
        .agg(
            pl.all().exclude("labels", "scores", "negatives").first(),
            pl.col("negatives").explode(empty_as_null=False, keep_nulls=False).unique().sort(),
        )
        .join(_united_labels(copies), on="image", how="left", maintain_order="left")
        .with_columns(pl.col("labels", "scores").fill_null([]))
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
    num_reencoded = int(rows.select(pl.col("reencoded").cast(pl.Int64).sum()).collect().item() or 0)
    single = pl.concat(
        [rows.join(kept.lazy().select("image"), on="image", how="anti"), kept.lazy().select(*_PART_SCHEMA)]
    ).drop("order", "reencoded")
    num_files = max(1, -(-total // _ROWS_PER_FILE))
    splits: dict[str, int] = {}
    num_given, num_unlabelled, num_images, num_negatives, num_conflicts = 0, 0, 0, 0, 0
    for i in range(num_files):
        low, high = (i << 63) // num_files, ((i + 1) << 63) // num_files - 1
        part = single.filter(pl.col("image").is_between(low, high)).collect().sort("image")
        num_conflicts += _count(part["labels"].list.set_intersection(part["negatives"]))
        part = part.with_columns(
            pl.when(pl.col("scores").list.drop_nulls().list.len() > 0).then("scores"),
            pl.col("negatives").list.set_difference("labels").list.sort(),
        )
        _write(part, folder / "images" / f"{i:05d}.parquet")
        num_images += len(part)
        num_given += _count(part["labels"])
        num_negatives += _count(part["negatives"])
        num_unlabelled += int((part["labels"].list.len() == 0).sum())
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
        "num_negatives": num_negatives,
        "num_conflicts": num_conflicts,
        "num_reencoded": num_reencoded,
        "splits": dict(sorted(splits.items())),
        "rejected": {str(reason): int(count) for reason, count in reasons},
    }


def _united_labels(copies: pl.DataFrame) -> pl.DataFrame:
    """Labels and highest scores by image, over all its copies; an image without labels is left out."""
    pairs = copies.select("image", "labels", "scores").explode(
        "labels", "scores", empty_as_null=False, keep_nulls=False
    )
    best = pairs.group_by("image", "labels").agg(pl.col("scores").max()).sort("image", "labels")
    return best.group_by("image", maintain_order=True).agg("labels", "scores")


def _count(lists: pl.Series) -> int:
    return int(lists.list.len().cast(pl.Int64).sum())


def _write(frame: pl.DataFrame, path: Path) -> None:
    with storage.atomic_path(path) as temp:
        frame.write_parquet(temp, row_group_size=1 << 18)
