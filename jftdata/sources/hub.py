"""Hugging Face style data: local Parquet files, a `datasets.Dataset`, or the name of a set on the hub.

Image bytes are packed, untouched, into tar shards inside the catalog, since bytes inside Parquet pages cannot be
addressed. The only module that imports `datasets`, and only for a Dataset or a hub name.
"""

import glob
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jftdata.catalog import Catalog
from jftdata.errors import BadInput, Damaged, MissingInput, nearest
from jftdata.hierarchy import Hierarchy
from jftdata.sources.ingest import CHUNK_IMAGES, Chunk, Record, ingest

if TYPE_CHECKING:
    import datasets

_BATCH = 128


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str | None
    split_column: str | None
    split: str
    names: tuple[str, ...] | None
    """Label of each integer, when labels are integers."""

    def wanted(self) -> list[str]:
        return [c for c in (self.image, self.label, self.split_column) if c is not None]

    def read(
        self, table: pa.Table | pa.RecordBatch, where: str, first: int, *, follow: bool = False
    ) -> Iterator[Record]:
        """Records of some rows; `follow` allows a path without bytes to be read, else such an image is empty."""
        images = table.column(self.image).to_pylist()
        labels = table.column(self.label).to_pylist() if self.label else [None] * len(images)
        splits = table.column(self.split_column).to_pylist() if self.split_column else [self.split] * len(images)
        for i, (image, label, split) in enumerate(zip(images, labels, splits, strict=True)):
            data = image.get("bytes") if isinstance(image, dict) else image
            name = image.get("path") if isinstance(image, dict) else None
            source = f"{where}#{first + i}" + (f":{name}" if name else "")
            given = self._labels(label, source)
            if follow and data is None and name:
                yield Record(source=source, labels=given, split=str(split), file=name)
            else:
                yield Record(source=source, labels=given, split=str(split), data=data or b"")

    def _labels(self, value: Any, where: str) -> tuple[str, ...]:
        if value is None:
            return ()
        values = [v for v in (value if isinstance(value, list) else [value]) if v is not None]
        if self.names is None:
            return tuple(str(v) for v in values)
        for v in values:
            if not isinstance(v, int):
                raise BadInput(
                    f"{where}: label {v!r} is no number, yet label names for numbers were given. Leave them out."
                )
            if not 0 <= v < len(self.names):
                raise BadInput(f"{where}: label number {v} is outside 0..{len(self.names) - 1}. Give all label names.")
        return tuple(self.names[v] for v in values)


@dataclass(frozen=True)
class _ParquetChunk:
    path: str
    row_group: int
    first: int
    num_rows: int
    columns: _Columns

    def __len__(self) -> int:
        return self.num_rows

    def records(self) -> Iterator[Record]:
        at = self.first
        with pq.ParquetFile(self.path) as file:
            wanted = self.columns.wanted()
            for batch in file.iter_batches(batch_size=_BATCH, row_groups=[self.row_group], columns=wanted):
                yield from self.columns.read(batch, Path(self.path).name, at)
                at += len(batch)


@dataclass(frozen=True)
class _DatasetChunk:
    dataset: "datasets.Dataset"
    first: int
    num_rows: int
    columns: _Columns
    follow: bool
    """Whether images may be paths: the caller's own Dataset points at files, a downloaded one must not."""

    def __len__(self) -> int:
        return self.num_rows

    def records(self) -> Iterator[Record]:
        rows = self.dataset.select_columns(self.columns.wanted()).with_format("arrow")
        for at in range(self.first, self.first + self.num_rows, _BATCH):
            part = rows[at : min(at + _BATCH, self.first + self.num_rows)]
            yield from self.columns.read(part, self.columns.split, at, follow=self.follow)


def from_hub(
    data: "Path | str | Sequence[Path | str] | datasets.Dataset",
    *,
    out: Path | str,
    hierarchy: Hierarchy | None = None,
    image: str = "image",
    label: str | None = "label",
    label_names: Sequence[str] | None = None,
    split: str | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of Parquet files, a Dataset, or a set on the hub.

    Args:
        data: one Parquet path, a glob or several of them; a `datasets.Dataset`; or a hub name such as `user/set`.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of the labels that occur.
        image: column with the encoded image: bytes, or a struct with `bytes`.
        label: column with a label, a list of labels, or integers into ClassLabel names; None gives no labels.
        label_names: label of each integer, where the file does not say.
        split: split of all rows; None takes the column `split` where there is one, else `train`.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Returns:
        The catalog; the same call again returns it at once, and continues where a killed one stopped.

    Raises:
        MissingInput: no such file.
        UnknownName, BadInput: a label that is not in the hierarchy, a column that is not there.
        TooManyRejects: more rejects than allowed.
    """
    names = tuple(label_names) if label_names is not None else None
    digest = hashlib.sha256()
    chunks: list[Chunk] = []
    found: set[str] = set()
    files = _parquet_files(data)
    if files is not None:
        for path in files:
            with _open(path) as file:
                schema = file.schema_arrow
                columns = _columns(schema.names, str(path), image, label, split, names or _class_names(schema, label))
                digest.update(f"{path.name}\0{path.stat().st_size}\0{_footer_digest(path)}\n".encode())
                first = 0
                for group in range(file.metadata.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    chunks.append(_ParquetChunk(str(path.resolve()), group, first, rows, columns))
                    first += rows
                if hierarchy is None and label is not None:
                    found |= _labels_in(file, columns)
    else:
        dataset = _dataset(data, split)
        feature = dataset.features.get(label or "")
        while hasattr(feature, "feature"):  # a list of ClassLabel
            feature = feature.feature
        class_names = getattr(feature, "names", None)
        columns = _columns(dataset.column_names, "the dataset", image, label, split, names or class_names)
        dataset = _undecoded(dataset, image)
        digest.update(f"{dataset._fingerprint}\0{len(dataset)}".encode())
        for first in range(0, len(dataset), CHUNK_IMAGES):
            rows = min(CHUNK_IMAGES, len(dataset) - first)
            chunks.append(_DatasetChunk(dataset, first, rows, columns, follow=not isinstance(data, str)))
        if hierarchy is None and label is not None:
            table = dataset.select_columns([label]).with_format("arrow")[:]
            found |= {x for value in table.column(label).to_pylist() for x in columns._labels(value, "the dataset")}
    return ingest(
        chunks,
        out=out,
        hierarchy=hierarchy,
        made_with={"source": "hub", "image": image, "label": label, "split": split, "label_names": names, "pack": True},
        inputs={"data": digest.hexdigest()},
        labels=found,
        max_rejected=max_rejected,
        workers=workers,
    )


def _parquet_files(data: object) -> list[Path] | None:
    """Local Parquet files that `data` names, or None when it is a Dataset or a hub name."""
    if not isinstance(data, str | Path | list | tuple):
        return None
    names = [str(x) for x in data] if isinstance(data, list | tuple) else [str(data)]
    files: list[Path] = []
    for name in names:
        if Path(name).is_dir():
            hits = sorted(Path(name).glob("*.parquet"))
        elif glob.has_magic(name):
            hits = [Path(hit) for hit in sorted(glob.glob(name))]
        elif Path(name).suffix == ".parquet":
            hits = [Path(name)] if Path(name).exists() else []
        elif len(names) == 1 and isinstance(data, str) and name.count("/") <= 1 and not Path(name).exists():
            return None  # looks like a hub name
        else:
            hits = []
        if not hits:
            raise MissingInput(f"no Parquet file at {name}. Check the path.")
        files += hits
    return files


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise Damaged(f"{path} is not a readable Parquet file ({error}). Get it again.") from error


def _columns(
    there: Sequence[str], where: str, image: str, label: str | None, split: str | None, names: Sequence[str] | None
) -> _Columns:
    for column in (image, label):
        if column is not None and column not in there:
            raise BadInput(f"{where} has no column {column!r}.{nearest(column, there)} It has: {', '.join(there)}.")
    column = "split" if split is None and "split" in there else None
    return _Columns(image, label, column, split or "train", tuple(names) if names is not None else None)


def _class_names(schema: pa.Schema, label: str | None) -> Sequence[str] | None:
    """Names of a ClassLabel (or a list of them) from the metadata that `datasets` writes."""
    stored = (schema.metadata or {}).get(b"huggingface")
    if not stored or label is None:
        return None
    feature = json.loads(stored).get("info", {}).get("features", {}).get(label, {})
    while isinstance(feature, dict) and "names" not in feature and "feature" in feature:
        feature = feature["feature"]
    return feature.get("names") if isinstance(feature, dict) else None


def _labels_in(file: pq.ParquetFile, columns: _Columns) -> set[str]:
    found: set[str] = set()
    for batch in file.iter_batches(batch_size=1 << 16, columns=[columns.label]):
        for value in batch.column(0).to_pylist():
            found.update(columns._labels(value, "label column"))
    return found


def _footer_digest(path: Path) -> str:
    """SHA-256 of the last 64 KiB: Parquet keeps row groups, sizes and statistics there."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        return hashlib.sha256(file.read()).hexdigest()


def _dataset(data: object, split: str | None) -> "datasets.Dataset":
    import datasets

    if isinstance(data, datasets.Dataset):
        return data
    if not isinstance(data, str):
        raise BadInput(f"expected Parquet paths, a datasets.Dataset or a hub name. Got {type(data).__name__}.")
    try:
        return datasets.load_dataset(data, split=split or "train")
    except (OSError, ValueError) as error:
        raise MissingInput(
            f"{data!r} is no local Parquet file and could not be loaded as a hub set: {error}"
        ) from error


def _undecoded(dataset: "datasets.Dataset", image: str) -> "datasets.Dataset":
    import datasets

    if isinstance(dataset.features[image], datasets.Image):
        return dataset.cast_column(image, datasets.Image(decode=False))
    return dataset
