"""Tables with a row an (image, label): CSV, TSV or Parquet in the style of Open Images, rows in any order.

Rows are grouped by image in one streaming pass. A row with a confidence above 0 gives a label, with the confidence as
its score; one with confidence 0 from a human source is a verified negative. Rows below `min_confidence`, and zeros from
a machine, say nothing and are counted; their image stays, unlabelled if nothing else is said of it.
Cost: 2 million rows a second; 170 bytes of memory a row while they are grouped, 20 afterwards.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, MissingInput, nearest
from jftdata.hierarchy import Hierarchy
from jftdata.sources.ingest import CHUNK_IMAGES, Record, digest_of_files, ingest, named_files, place

HUMAN_SOURCES = ("verification", "crowdsource-verification", "verified", "human")
"""Sources whose zeros are verified negatives; the first two are those of Open Images."""


@dataclass(frozen=True)
class _TableChunk:
    root: str
    suffix: str
    rows: pl.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    def records(self) -> Iterator[Record]:
        for image, split, labels, scores, negatives in self.rows.iter_rows():
            name = image + self.suffix
            yield Record(
                source=name, labels=tuple(labels), split=split, scores=tuple(scores), negatives=tuple(negatives),
                **place(self.root, name),
            )  # fmt: skip


def from_table(
    table: Path | str | Sequence[Path | str],
    *,
    images: Path | str,
    out: Path | str,
    hierarchy: Hierarchy | None = None,
    image: str = "image",
    label: str = "label",
    confidence: str | None = None,
    source: str | None = None,
    split: str | None = None,
    suffix: str = "",
    min_confidence: float = 0.0,
    human_sources: Sequence[str] = HUMAN_SOURCES,
    pack: bool = False,
    shorter_side: int | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of a table with a row an (image, label) and a folder of images.

    Args:
        table: .csv, .tsv or .parquet, a glob or several of them.
        images: folder the images lie in.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of the labels that occur.
        image: column with the image's path below `images`, or its id where `suffix` is given.
        label: column with one label; a row without one only names the image.
        confidence: column with 0..1; None takes the column `confidence` where there is one. A row without one gives its
            label without a score.
        source: column with who said so; None takes the column `source` where there is one.
        split: split of all rows; None takes the column `split` where there is one, else `train`.
        suffix: what follows the id in a file name, for example `.jpg`.
        min_confidence: rows below it give no label, 0..1.
        human_sources: sources whose confidence of 0 verifies that a label does not hold.
        pack: copy the bytes into tar shards inside the catalog.
        shorter_side: see `from_folder`.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Returns:
        The catalog; its facts tell `num_rows` and `num_rows_left_out`. The same call again continues or returns it.

    Raises:
        MissingInput: no such table or folder.
        BadInput: a column that is not there, a row without an image, a confidence outside 0..1, an image in two splits.
        UnknownName: a label that is not in the hierarchy.
        TooManyRejects: more rejects than allowed.
    """
    root = Path(images).resolve()
    if not root.is_dir():
        raise MissingInput(f"folder {images} does not exist. Check the path.")
    if not 0 <= min_confidence <= 1:
        raise BadArgument(f"`min_confidence` must be in [0, 1]. Got {min_confidence}.")
    files = _files(table)
    rows = _rows(files, image=image, label=label, confidence=confidence, source=source, split=split)
    negative = (pl.col("confidence") == 0) & pl.col("source").is_in(list(human_sources)).fill_null(False)
    positive = pl.col("confidence").is_null() | ((pl.col("confidence") > 0) & (pl.col("confidence") >= min_confidence))
    named = pl.col("label").is_not_null()
    rows = rows.with_columns(positive=positive & named, negative=negative & named)
    by_image, told = _grouped(rows, files)
    by_image = by_image.sort("image")
    chunks = [
        _TableChunk(str(root), suffix, by_image.slice(i, CHUNK_IMAGES)) for i in range(0, len(by_image), CHUNK_IMAGES)
    ]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{storage.sha256_file(path)}\n".encode())
    labels: set[str] = set()
    if hierarchy is None:
        for column in ("labels", "negatives"):
            labels |= set(by_image[column].explode(empty_as_null=False, keep_nulls=False).unique().to_list())
    return ingest(
        chunks,
        out=out,
        hierarchy=hierarchy,
        made_with={
            "source": "table", "image": image, "label": label, "confidence": confidence, "source_column": source,
            "split": split, "suffix": suffix, "min_confidence": min_confidence, "human_sources": list(human_sources),
            "pack": pack, "shorter_side": shorter_side,
        },
        inputs={
            "table": digest.hexdigest(),
            "listing": digest_of_files(record for chunk in chunks for record in chunk.records()),
        },
        labels=labels,
        max_rejected=max_rejected,
        workers=workers,
        facts=told,
    )  # fmt: skip


def _files(table: Path | str | Sequence[Path | str]) -> list[Path]:
    files = named_files(table, "table")
    endings = {path.suffix for path in files}
    if len(endings) != 1 or not endings <= {".csv", ".tsv", ".parquet"}:
        raise BadInput(
            f"tables must all end in .csv, all in .tsv or all in .parquet. Got {', '.join(sorted(endings))}."
        )
    return files


def _rows(
    files: Sequence[Path], *, image: str, label: str, confidence: str | None, source: str | None, split: str | None
) -> pl.LazyFrame:
    """The table as the columns image, label, confidence, source, split."""
    if files[0].suffix == ".parquet":
        rows = pl.scan_parquet(list(files), glob=False)
    else:
        separator = "\t" if files[0].suffix == ".tsv" else ","
        rows = pl.scan_csv(list(files), glob=False, separator=separator, infer_schema=False)
    try:
        there = rows.collect_schema().names()
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{files[0]} is not a readable table ({error}). Get it again.") from error
    for column in (image, label, confidence, source):
        if column is not None and column not in there:
            raise BadInput(f"{files[0]} has no column {column!r}.{nearest(column, there)} It has: {', '.join(there)}.")

    def optional(given: str | None, usual: str) -> pl.Expr:
        name = given or (usual if usual in there else None)
        return pl.col(name) if name is not None else pl.lit(None)

    return rows.select(
        image=pl.col(image).cast(pl.String),
        label=pl.col(label).cast(pl.String),
        confidence=optional(confidence, "confidence").cast(pl.Float32, strict=False),
        no_number=optional(confidence, "confidence").is_not_null()
        & optional(confidence, "confidence").cast(pl.Float32, strict=False).is_null(),
        source=optional(source, "source").cast(pl.String),
        split=(pl.lit(split) if split is not None else optional(None, "split").cast(pl.String).fill_null("train")),
    )


def _grouped(rows: pl.LazyFrame, files: Sequence[Path]) -> tuple[pl.DataFrame, dict[str, int]]:
    """A row an image with its labels, scores and negatives, and how many rows were read and left out."""
    wrong = pl.col("no_number") | ~pl.col("confidence").is_between(0, 1).fill_null(True)
    used = pl.col("positive") | pl.col("negative") | pl.col("label").is_null()
    grouped = rows.group_by("image").agg(
        split=pl.col("split").min(),
        splits=pl.col("split").n_unique(),
        labels=pl.col("label").filter("positive"),
        scores=pl.col("confidence").filter("positive"),
        negatives=pl.col("label").filter("negative").unique().sort(),
        wrong=wrong.any(),
        num_rows=pl.len().cast(pl.Int64),
        num_used=used.cast(pl.Int64).sum(),
    )
    try:
        found = grouped.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{files[0]} is not a readable table ({error}). Get it again.") from error
    if found["image"].null_count():
        number = found.filter(pl.col("image").is_null())["num_rows"][0]
        raise BadInput(f"{number} rows name no image. Remove them or fill them in.")
    for problem, what in (("wrong", "a confidence outside 0..1"), ("splits", "rows in more than one split")):
        odd = found.filter(pl.col(problem) if problem == "wrong" else pl.col(problem) > 1)
        if len(odd):
            raise BadInput(f"{len(odd)} images have {what}, for example {odd['image'].min()!r}. Mend the table.")
    num_rows, num_used = int(found["num_rows"].sum()), int(found["num_used"].sum())
    told = {"num_rows": num_rows, "num_rows_left_out": num_rows - num_used}
    return found.select("image", "split", "labels", "scores", "negatives"), told
