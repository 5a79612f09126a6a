"""Hugging Face style data: local Parquet or Arrow files, a `datasets.Dataset`, or the name of a set on the hub.

Labels may lie inside a column: `objects.category` are those of the boxes of an image, each counted once.
Image bytes are packed, untouched, into tar shards inside the catalog, since bytes inside Parquet pages cannot be
addressed. The only module that imports `datasets`, and only for a Dataset or a hub name.
"""

import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jftdata.catalog import Catalog
from jftdata.errors import BadInput, Damaged, MissingInput, nearest
from jftdata.hierarchy import Hierarchy
from jftdata.sources.ingest import CHUNK_IMAGES, Chunk, Record, asked_too, ingest, scores_of

if TYPE_CHECKING:
    import datasets

_BATCH = 128


@dataclass(frozen=True)
class _Labels:
    """A column with labels."""

    column: str
    path: tuple[str, ...]
    """Where they lie inside it."""
    names: tuple[str, ...] | None
    """Label of each integer, when labels are integers."""

    def of(self, value: Any, where: str) -> tuple[str, ...]:
        """Labels of a cell."""
        values = [v for v in _inside(value, self.path) if v is not None]
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
class _Columns:
    image: str
    label: _Labels | None
    scores: str | None
    negatives: _Labels | None
    split_column: str | None
    split: str

    @property
    def labels(self) -> list[_Labels]:
        """Columns with labels."""
        return [c for c in (self.label, self.negatives) if c is not None]

    def wanted(self) -> list[str]:
        names = [self.image, *(c.column for c in self.labels), self.scores, self.split_column]
        return list(dict.fromkeys(name for name in names if name is not None))

    def read(
        self, table: pa.Table | pa.RecordBatch, where: str, first: int, *, follow: bool = False
    ) -> Iterator[Record]:
        """Records of some rows; `follow` allows a path without bytes to be read, else such an image is empty."""
        cells = {name: table.column(name).to_pylist() for name in self.wanted()}
        for i, image in enumerate(cells[self.image]):
            data = image.get("bytes") if isinstance(image, dict) else image
            name = image.get("path") if isinstance(image, dict) else None
            source = f"{where}#{first + i}" + (f":{name}" if name else "")
            given = self.label.of(cells[self.label.column][i], source) if self.label else ()
            scores = scores_of(cells[self.scores][i], given, source) if self.scores else None
            negatives = self.negatives.of(cells[self.negatives.column][i], source) if self.negatives else ()
            split = str(cells[self.split_column][i]) if self.split_column else self.split
            bytes_or_file = {"file": name} if follow and data is None and name else {"data": data or b""}
            yield Record(source=source, labels=given, split=split, scores=scores, negatives=negatives, **bytes_or_file)


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
class _ArrowChunk:
    path: str
    first_batch: int
    num_batches: int
    first: int
    num_rows: int
    columns: _Columns

    def __len__(self) -> int:
        return self.num_rows

    def records(self) -> Iterator[Record]:
        at = self.first
        with _open_arrow(self.path) as batches:
            for batch in islice(batches, self.first_batch, self.first_batch + self.num_batches):
                for begin in range(0, len(batch), _BATCH):
                    part = batch.slice(begin, _BATCH)
                    yield from self.columns.read(part, Path(self.path).name, at)
                    at += len(part)


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
    scores: str | None = None,
    negatives: str | None = None,
    split: str | None = None,
    shorter_side: int | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of Parquet or Arrow files, a Dataset, or a set on the hub.

    Args:
        data: a .parquet or .arrow file, a folder of them, a glob or several of these; a `datasets.Dataset`; or a hub name
            such as `user/set`.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of the labels that occur.
        image: column with the encoded image: bytes, or a struct with `bytes`.
        label: column with a label, a list of labels, or integers into ClassLabel names; dots lead into structs and lists
            of structs, as in `objects.category`; None gives no labels.
        label_names: label of each integer, where the file does not say.
        scores: column with a score in 0..1 for each label, null for one without; None gives no scores.
        negatives: column with labels verified not to hold, as in `label`; None gives none.
        split: split of all rows; None takes the column `split` where there is one, else `train`.
        shorter_side: see `from_folder`.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Returns:
        The catalog; the same call again returns it at once, and continues where a killed one stopped.

    Raises:
        MissingInput: no such file.
        UnknownName, BadInput: a label that is not in the hierarchy, a column that is not there, scores that are not one for
            each label.
        TooManyRejects: more rejects than allowed.
    """
    names = tuple(label_names) if label_names is not None else None
    digest = hashlib.sha256()
    chunks: list[Chunk] = []
    found: set[str] = set()
    files = _local_files(data)
    if files is not None:
        for path in files:
            read = _read_arrow if path.suffix == ".arrow" else _read_parquet
            schema, cut, values = read(path)
            columns = _columns(schema, _features(schema), str(path), image, label, scores, negatives, split, names)
            digest.update(f"{path.name}\0{path.stat().st_size}\0{_footer_digest(path)}\n".encode())
            chunks += cut(columns)
            for labels in columns.labels if hierarchy is None else ():
                for value in values(labels.column):
                    found.update(labels.of(value, "label column"))
    else:
        dataset = _dataset(data, split)
        schema, features = dataset.features.arrow_schema, dataset.features.to_dict()
        columns = _columns(schema, features, "the dataset", image, label, scores, negatives, split, names)
        dataset = _undecoded(dataset, image)
        digest.update(f"{dataset._fingerprint}\0{len(dataset)}".encode())
        for first in range(0, len(dataset), CHUNK_IMAGES):
            rows = min(CHUNK_IMAGES, len(dataset) - first)
            chunks.append(_DatasetChunk(dataset, first, rows, columns, follow=not isinstance(data, str)))
        for labels in columns.labels if hierarchy is None else ():
            table = dataset.select_columns([labels.column]).with_format("arrow")[:]
            for value in table.column(labels.column).to_pylist():
                found.update(labels.of(value, "the dataset"))
    return ingest(
        chunks,
        out=out,
        hierarchy=hierarchy,
        made_with={
            "source": "hub", "image": image, "label": label, "split": split, "label_names": names, "pack": True,
            "shorter_side": shorter_side, **asked_too(scores=scores, negatives=negatives),
        },
        inputs={"data": digest.hexdigest()},
        labels=found,
        max_rejected=max_rejected,
        workers=workers,
    )  # fmt: skip


def _inside(value: Any, path: Sequence[str]) -> list[Any]:
    """Values at a path through structs and lists of them; a value that is no list stands for itself."""
    if isinstance(value, list):
        return [v for item in value for v in _inside(item, path)]
    if isinstance(value, dict) and path:
        return _inside(value.get(path[0]), path[1:])
    return [value]


def _local_files(data: object) -> list[Path] | None:
    """Local Parquet and Arrow files that `data` names, or None when it is a Dataset or a hub name."""
    if not isinstance(data, str | Path | list | tuple):
        return None
    names = [str(x) for x in data] if isinstance(data, list | tuple) else [str(data)]
    files: list[Path] = []
    for name in names:
        if Path(name).is_dir():
            hits = sorted(Path(name).glob("*.parquet")) or sorted(Path(name).glob("*.arrow"))
        elif glob.has_magic(name):
            hits = [Path(hit) for hit in sorted(glob.glob(name))]
        elif Path(name).suffix in (".parquet", ".arrow"):
            hits = [Path(name)] if Path(name).exists() else []
        elif len(names) == 1 and isinstance(data, str) and name.count("/") <= 1 and not Path(name).exists():
            return None  # looks like a hub name
        else:
            hits = []
        if not hits:
            raise MissingInput(f"no Parquet or Arrow file at {name}. Check the path.")
        files += hits
    return files


_File = tuple[pa.Schema, Callable[[_Columns], list[Chunk]], Callable[[str], Iterator[Any]]]
"""Schema of a file, how to cut it into chunks, and the values of one of its columns."""


def _read_parquet(path: Path) -> _File:
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except pa.ArrowInvalid as error:
        raise Damaged(f"{path} is not a readable Parquet file ({error}). Get it again.") from error

    def cut(columns: _Columns) -> list[Chunk]:
        chunks: list[Chunk] = []
        first = 0
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            chunks.append(_ParquetChunk(str(path.resolve()), group, first, rows, columns))
            first += rows
        return chunks

    def values(column: str) -> Iterator[Any]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1 << 16, columns=[column]):
                yield from batch.column(0).to_pylist()

    return schema, cut, values


def _read_arrow(path: Path) -> _File:
    with _open_arrow(str(path)) as batches:
        schema, lengths = batches.schema, [len(batch) for batch in batches]

    def cut(columns: _Columns) -> list[Chunk]:
        chunks: list[Chunk] = []
        first = begin = rows = 0
        for i, length in enumerate([*lengths, CHUNK_IMAGES]):
            if rows and rows + length > CHUNK_IMAGES:
                chunks.append(_ArrowChunk(str(path.resolve()), begin, i - begin, first, rows, columns))
                first, begin, rows = first + rows, i, 0
            rows += length
        return chunks

    def values(column: str) -> Iterator[Any]:
        with _open_arrow(str(path)) as batches:
            for batch in batches:
                yield from batch.column(column).to_pylist()

    return schema, cut, values


class _Batches:
    """Record batches of an Arrow file, in order."""

    def __init__(self, reader: Any) -> None:
        self.schema: pa.Schema = reader.schema
        self._reader = reader

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if hasattr(self._reader, "num_record_batches"):
            return (self._reader.get_batch(i) for i in range(self._reader.num_record_batches))
        return iter(self._reader)


@contextmanager
def _open_arrow(path: str) -> Iterator[_Batches]:
    """An Arrow file in the stream format, as `datasets` writes it, or in the file format.

    Raises:
        Damaged: neither of them, or it ends too early.
    """
    try:
        with pa.memory_map(path) as source:
            try:
                reader = pa.ipc.open_stream(source)
            except pa.ArrowInvalid:
                source.seek(0)
                reader = pa.ipc.open_file(source)
            yield _Batches(reader)
    except (pa.ArrowInvalid, OSError) as error:
        raise Damaged(f"{path} is not a readable Arrow file ({error}). Get it again.") from error


def _columns(
    schema: pa.Schema, features: Any, where: str, image: str, label: str | None, scores: str | None, negatives: str | None,
    split: str | None, names: tuple[str, ...] | None,
) -> _Columns:  # fmt: skip
    there = schema.names

    def check(column: str) -> None:
        if column not in there:
            raise BadInput(f"{where} has no column {column!r}.{nearest(column, there)} It has: {', '.join(there)}.")

    def labels(given: str | None) -> _Labels | None:
        top, path = _label_path(given, there)
        if top is None:
            return None
        check(top)
        _check_inside(schema.field(top).type, top, path, where)
        named = names or _class_names(features, there, given)
        return _Labels(top, path, None if named is None else tuple(named))

    check(image)
    if scores is not None:
        check(scores)
    column = "split" if split is None and "split" in there else None
    return _Columns(image, labels(label), scores, labels(negatives), column, split or "train")


def _label_path(label: str | None, there: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The label column and the path inside it."""
    if label is None or label in there:
        return label, ()
    top, *path = label.split(".")
    return top, tuple(path)


def _check_inside(kind: pa.DataType, column: str, path: Sequence[str], where: str) -> None:
    """Raise a BadInput unless the path leads through structs and lists of them to something that is no struct."""
    for name in (*path, None):
        while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        fields = [field.name for field in kind] if pa.types.is_struct(kind) else []
        if name is None and fields:
            raise BadInput(f"{where}: {column!r} has fields ({', '.join(fields)}). Name one: {column}.{fields[0]}.")
        if name is not None and name not in fields:
            raise BadInput(
                f"{where}: {column!r} has no field {name!r}.{nearest(name, fields)} It has: {', '.join(fields)}."
            )
        if name is not None:
            kind, column = kind.field(name).type, f"{column}.{name}"


def _features(schema: pa.Schema) -> Any:
    """The features that `datasets` writes into a file's metadata."""
    stored = (schema.metadata or {}).get(b"huggingface")
    return json.loads(stored).get("info", {}).get("features", {}) if stored else {}


def _class_names(features: Any, there: Sequence[str], label: str | None) -> Sequence[str] | None:
    """Names of a ClassLabel, or of one inside lists and structs."""
    top, path = _label_path(label, there)
    feature = features
    for name in (top, *path):
        while isinstance(feature, dict) and "_type" in feature and "feature" in feature:
            feature = feature["feature"]
        feature = feature.get(name) if isinstance(feature, dict) else None
    while isinstance(feature, dict) and "_type" in feature and "feature" in feature:
        feature = feature["feature"]
    return feature.get("names") if isinstance(feature, dict) else None


def _footer_digest(path: Path) -> str:
    """SHA-256 of the last 64 KiB: Parquet keeps row groups, sizes and statistics there, Arrow its last rows."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        return hashlib.sha256(file.read()).hexdigest()


def _dataset(data: object, split: str | None) -> "datasets.Dataset":
    import datasets

    if isinstance(data, datasets.Dataset):
        return data
    if not isinstance(data, str):
        raise BadInput(f"expected Parquet or Arrow paths, a datasets.Dataset or a hub name. Got {type(data).__name__}.")
    try:
        return datasets.load_dataset(data, split=split or "train")
    except (OSError, ValueError) as error:
        raise MissingInput(
            f"{data!r} is no local Parquet or Arrow file and could not be loaded as a hub set: {error}"
        ) from error


def _undecoded(dataset: "datasets.Dataset", image: str) -> "datasets.Dataset":
    import datasets

    if isinstance(dataset.features[image], datasets.Image):
        return dataset.cast_column(image, datasets.Image(decode=False))
    return dataset
