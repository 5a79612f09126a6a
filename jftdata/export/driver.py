"""What all formats share: rows are streamed in id order, bytes read and checked, and written shard by shard.

A shard is the next images of a split, by id, up to `SHARD_BYTES` or `SHARD_IMAGES`: so shards depend on nothing but the images.
Each is written by one thread, bytes read in the order they lie in their files, a window of them at a time; its rows are then noted
in `.parts`, which goes when all is done. A killed run goes on with the shards that are missing, and tries those with rejected images
again. Memory: a row group, and a window a thread.
"""

import hashlib
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from jftdata import images, storage, tail
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, ImageRejected, TooManyRejects, UnknownOption
from jftdata.export import names
from jftdata.export.card import Card, write_card
from jftdata.export.survey import Survey, labels_of, survey
from jftdata.hierarchy import Hierarchy
from jftdata.progress import progress
from jftdata.subset import Subset, everything

FORMAT = "jftdata.export/1"
SUMS = "SHA256SUMS"
REJECTED = {"image": pl.Int64(), "source": pl.String(), "reason": pl.String(), "message": pl.String()}
SHARD_BYTES = 256 << 20
SHARD_IMAGES = 20_000
_WINDOW = 32 << 20
_READ = (
    "sha256", "shard", "offset", "length", "width", "height", "format", "split", "labels", "scores", "negatives", "source"
)  # fmt: skip
_PART = {
    "image": pl.Int64(), "source": pl.String(), "file": pl.String(), "sha256": pl.String(), "length": pl.Int64(),
    "width": pl.Int64(), "height": pl.Int64(), "labels": pl.List(pl.Int32()), "scores": pl.List(pl.Float32()),
    "negatives": pl.List(pl.Int32()), "conflicts": pl.Int64(), "weight": pl.Float64(), "changed": pl.Boolean(),
    "reason": pl.String(), "message": pl.String(),
}  # fmt: skip


@dataclass(frozen=True)
class Image:
    """An image as formats write it."""

    image: int
    """Its id in the catalog; where it is re-encoded, the bytes have another."""
    split: str
    name: str
    """File name made of the id."""
    width: int
    height: int
    labels: tuple[int, ...]
    scores: tuple[float | None, ...] | None
    negatives: tuple[int, ...]
    weight: float | None
    source: str
    place: str
    """The file that holds the bytes now."""
    data: bytes


@dataclass(frozen=True)
class Job:
    """What is the same for every shard."""

    folder: Path
    catalog: Catalog
    survey: Survey
    filled: bool
    size: int | None
    splits: dict[str, str]
    """A safe name for each split."""
    about: dict[str, str]
    """Name, description and licence."""

    @property
    def tree(self) -> Hierarchy:
        return self.catalog.hierarchy

    @cached_property
    def folders(self) -> dict[str, str]:
        """A safe folder name for each label."""
        return names.folders(self.tree.labels)

    def written(self, split: str | None = None) -> Iterator[pl.DataFrame]:
        """Rows of the written images, shard by shard, in id order within a split."""
        for name in self.survey.splits if split is None else (split,):
            for path in sorted((self.folder / ".parts").glob(f"{self.splits[name]}-[0-9]*.parquet")):
                rows = pl.read_parquet(path, glob=False)
                yield rows.filter(pl.col("reason").is_null()).with_columns(split=pl.lit(name))


Writer = Callable[[Image], str]
"""Writes an image and returns the file that holds it, relative to the folder."""


@dataclass(frozen=True)
class Layout:
    """A format: how it writes the images of a shard, and what it adds when all are written."""

    name: str
    writer: Callable[[Job, str, int], AbstractContextManager[Writer]]
    """Called with a split and the number of the shard in it."""
    finish: Callable[[Job], None]
    how_to_read: Callable[[Job], str]
    """Markdown for the card."""
    data_files: str | None
    """Pattern of the files of a split `{split}`, for readers of the card."""
    a_file: Literal["one image", "many", "none"]
    """What a file of the folder holds; none where images stay where they are."""
    check: Callable[[Survey], None] = lambda _: None


def export(
    data: Catalog | Subset, layout: Layout, *, out: Path | str, labels: Literal["given", "filled"], size: int | None,
    card: Card | None, max_rejected: float, workers: int | None,
) -> storage.Sidecar:  # fmt: skip
    """Write a folder; see `to_parquet` for the arguments."""
    if labels not in ("given", "filled"):
        raise UnknownOption(f"`labels` must be given or filled. Got {labels!r}.")
    if size is not None and size < 1:
        raise BadArgument(f"`size` must be at least 1 pixel. Got {size}.")
    if not 0 <= max_rejected <= 1:
        raise BadArgument(f"`max_rejected` must be in [0, 1]. Got {max_rejected}.")
    card = card or Card()
    subset = data if isinstance(data, Subset) else everything(data)
    found = survey(subset, filled=labels == "filled")
    layout.check(found)
    made_with = {"format": layout.name, "labels": labels, "size": size, "card": card.told(subset)}
    inputs = {"catalog": subset.catalog.fingerprint, "images": subset.fingerprint}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
        if build is not None:
            tree = subset.catalog.hierarchy
            job = Job(
                build.folder, subset.catalog, found, labels == "filled", size, names.splits(found.splits),
                card.about(Path(out).name, found.num_images, tree.num_labels),
            )  # fmt: skip
            parts = build.folder / ".parts"
            parts.mkdir(exist_ok=True)
            with progress(f"export {layout.name}", total=found.num_images, unit="image") as bar:
                for done in _run(job, layout, subset, workers):
                    bar.update(done)
            build.facts, build.hashed = _counted(job, layout, max_rejected)
            build.facts["recipe"] = subset.recipe.listed()
            tree.save(build.folder / "hierarchy.tsv")
            layout.finish(job)
            write_card(
                build, made_with, card, subset, counts=_counts(job, subset), title=job.about["name"],
                how_to_read=layout.how_to_read(job), data_files=_files(job, layout, build.facts["splits"]),
            )  # fmt: skip
            shutil.rmtree(parts)
            _write_sums(build)
    return storage.read_sidecar(out)


def _run(job: Job, layout: Layout, subset: Subset, workers: int | None) -> Iterator[int]:
    """Do the shards; yields the number of images of each when it is done."""
    workers = workers or os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[int]] = deque()
    try:
        for split, number, rows in _shards(subset):
            waiting.append(pool.submit(_one_shard, job, layout, split, number, rows))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _shards(subset: Subset) -> Iterator[tuple[str, int, pl.DataFrame]]:
    """Split, number and rows of every shard."""
    left: dict[str, pl.DataFrame] = {}
    number: Counter[str] = Counter()
    for rows in subset.map_rows(pl.DataFrame, columns=_READ, workers=1):
        if subset.weights is not None:
            at = np.searchsorted(subset.images, rows["image"].to_numpy())
            rows = rows.with_columns(weight=np.asarray(subset.weights[at]))
        for (split,), mine in rows.partition_by("split", as_dict=True).items():
            name = str(split)
            mine = pl.concat([left[name], mine]) if name in left else mine
            while len(mine):
                full = int(np.searchsorted(mine["length"].cum_sum().to_numpy(), SHARD_BYTES)) + 1
                size = min(full, SHARD_IMAGES)
                if size > len(mine):
                    break
                yield name, number[name], mine[:size]
                number[name] += 1
                mine = mine[size:]
            left[name] = mine
    for name in sorted(left):
        if len(left[name]):
            yield name, number[name], left[name]


def _one_shard(job: Job, layout: Layout, split: str, number: int, rows: pl.DataFrame) -> int:
    """Write a shard and then its rows, unless that was done before without rejects."""
    part = job.folder / ".parts" / f"{job.splits[split]}-{number:06d}.parquet"
    if part.exists() and not pl.read_parquet(part, columns=["reason"], glob=False)["reason"].count():
        return len(rows)
    noted = []
    with layout.writer(job, split, number) as write:
        for row, data in _read(job, rows):
            note = {"image": row["image"], "source": row["source"]}
            try:
                if isinstance(data, ImageRejected):
                    raise data
                image, digest = _checked(job, row, data)
                file = write(image)
            except ImageRejected as error:
                noted.append({**note, "reason": error.reason, "message": str(error)})
                continue
            noted.append({
                **note, "file": file, "sha256": digest, "length": len(image.data), "width": image.width,
                "height": image.height, "labels": image.labels, "scores": image.scores, "negatives": image.negatives,
                "conflicts": row["conflicts"], "weight": image.weight, "changed": image.data is not data,
            })  # fmt: skip
    if layout.a_file == "many":
        for file in {note["file"] for note in noted if "file" in note}:
            storage.write_text(part.with_suffix(".sum"), f"{storage.sha256_file(job.folder / file)} {file}")
    with storage.atomic_path(part) as temp:
        pl.DataFrame(noted, schema=_PART).write_parquet(temp)
    return len(rows)


def _read(job: Job, rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], bytes | ImageRejected]]:
    """Rows, their labels as exported, with their bytes, in the order given; the bytes are read in the order they lie in."""
    start, index = labels_of(rows, job.tree, filled=job.filled)
    window = (rows["length"].cum_sum().to_numpy() - 1) // _WINDOW
    edges = [0, *(np.flatnonzero(np.diff(window)) + 1).tolist(), len(rows)]
    for first, last in pairwise(edges):
        mine = rows[first:last]
        data: list[bytes | ImageRejected] = [b""] * len(mine)
        places = mine.select("shard", "offset", "length").with_row_index("at").sort("shard", "offset")
        for at, shard, offset, length in places.iter_rows():
            try:
                data[at] = job.catalog.read(shard, offset, length)
            except ImageRejected as error:
                data[at] = error
        for at, row in enumerate(mine.iter_rows(named=True)):
            given = dict(zip(row["labels"], row["scores"] or [None] * len(row["labels"]), strict=True))
            row["labels"] = tuple(index[start[first + at] : start[first + at + 1]].tolist())
            row["scores"] = tuple(given.get(label) for label in row["labels"]) if row["scores"] else None
            negatives = tuple(label for label in row["negatives"] if label not in row["labels"])
            row["negatives"], row["conflicts"] = negatives, len(row["negatives"]) - len(negatives)
            yield row, data[at]
            data[at] = b""


def _checked(job: Job, row: dict[str, Any], data: bytes) -> tuple[Image, str]:
    """The image, made smaller where asked, and the SHA-256 of its bytes.

    Raises:
        ImageRejected: reason `damaged`: the bytes are not those the catalog was made of.
    """
    digest = hashlib.sha256(data)
    if digest.digest() != row["sha256"]:
        raise ImageRejected("damaged", f"the bytes of image {row['image']} have changed since the catalog was made")
    width, height, format = row["width"], row["height"], row["format"]
    if job.size is not None and max(width, height) > job.size:
        pixels = images.shrink(images.decode(data)[0], side=job.size)
        data, format, (height, width) = images.encode_jpeg(pixels, quality=90), "jpeg", pixels.shape[:2]
        digest = hashlib.sha256(data)
    image = Image(
        row["image"], row["split"], names.image_file(row["image"], format), width, height, row["labels"], row["scores"],
        row["negatives"], row.get("weight"), row["source"], str(job.catalog.path / row["shard"]), data,
    )  # fmt: skip
    return image, digest.hexdigest()


def _counted(job: Job, layout: Layout, max_rejected: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Facts of what was written, and the SHA-256 of its files; writes `rejected.csv` where there is something to list.

    Files that a stopped run left and this one did not write are removed.

    Raises:
        TooManyRejects: more than allowed, or all.
    """
    parts = job.folder / ".parts"
    hashed: dict[str, str] = {}
    splits: dict[str, int] = {}
    total: Counter[str] = Counter()
    for rows in job.written():
        for split in rows["split"][:1]:
            splits[split] = splits.get(split, 0) + len(rows)
        num_labels = rows["labels"].list.len().cast(pl.Int64)
        total.update(
            num_images=len(rows), num_bytes=int(rows["length"].sum()), num_labels=int(num_labels.sum()),
            num_unlabelled=int((num_labels == 0).sum()), num_reencoded=int(rows["changed"].cast(pl.Int64).sum()),
            num_negatives=int(rows["negatives"].list.len().cast(pl.Int64).sum()),
            num_conflicts=int(rows["conflicts"].sum()),
            num_zero_scores=int((rows["scores"].explode(empty_as_null=False, keep_nulls=False) == 0).sum()),
        )  # fmt: skip
        if layout.a_file == "one image":
            hashed.update(rows.select("file", "sha256").iter_rows())
    for path in parts.glob("*.sum"):
        digest, name = path.read_text(encoding="utf-8").split(" ", 1)
        hashed[name] = digest
    refused = pl.scan_parquet(sorted(parts.glob("*.parquet")), glob=False).filter(pl.col("reason").is_not_null())
    rejected = refused.select(*REJECTED).collect().sort("image")
    reasons = dict(rejected.group_by("reason").len().sort("reason").iter_rows())
    asked = job.survey.num_images
    assert total["num_images"] + len(rejected) == asked, (total, len(rejected), asked)
    if len(rejected) > max_rejected * asked or len(rejected) == asked:
        listing = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        raise TooManyRejects(
            f"{len(rejected)} of {asked} images could not be read ({listing}), for example {rejected['source'][0]}: "
            f"{rejected['message'][0]}. Mend them and run the same again, or allow more with max_rejected (now {max_rejected:g})."
        )
    for path in job.folder.rglob("*"):
        name = path.relative_to(job.folder).as_posix()
        if path.is_file() and not name.startswith(".") and name not in hashed:
            path.unlink()
    if len(rejected):
        with storage.atomic_path(job.folder / "rejected.csv") as temp:
            rejected.write_csv(temp)
    renamed_splits = {split: name for split, name in job.splits.items() if split != name}
    return {
        "num_asked": asked, **total, "num_rejected": len(rejected), "rejected": reasons,
        "splits": dict(sorted(splits.items())), "renamed_splits": renamed_splits,
    }, hashed  # fmt: skip


def _counts(job: Job, subset: Subset) -> pl.DataFrame:
    """Images of each label among those written."""
    written = [rows["image"] for rows in job.written()]
    if sum(map(len, written)) == len(subset):
        return subset.counts
    return tail.label_counts(subset.catalog, images=pl.concat(written).to_numpy())


def _files(job: Job, layout: Layout, splits: Iterable[str]) -> dict[str, str]:
    """Pattern of the files of each split of which something was written."""
    if layout.data_files is None:
        return {}
    return {job.splits[split]: layout.data_files.format(split=job.splits[split]) for split in splits}


def _write_sums(build: storage.Build) -> None:
    """`SHA256SUMS` of all files, for `sha256sum -c`."""
    lines = []
    for path in sorted(build.folder.rglob("*")):
        name = path.relative_to(build.folder).as_posix()
        if path.is_file() and not name.startswith("."):
            build.hashed[name] = build.hashed.get(name) or storage.sha256_file(path)
            lines.append(f"{build.hashed[name]}  {name}\n")
    storage.write_text(build.folder / SUMS, "".join(lines))
