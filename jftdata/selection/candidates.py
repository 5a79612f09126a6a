"""Candidate pairs as they come: Parquet files with a row an (image, label) and a column a signal, read a batch at a time.

Every signal of a pair becomes one byte: which of at most 250 steps between judged values it lies on, or that it is missing.
A model of these bytes is a table, and beyond the judged values nothing is extrapolated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.errors import BadArgument, BadInput, UnknownName, nearest
from jftdata.hierarchy import Hierarchy
from jftdata.sources.ingest import named_files

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = 255
"""Code of a signal that is null, and of a category that too few judged pairs have."""
MAX_STEPS = 250
MIN_CATEGORY = 5
"""Judged pairs that a category needs to count as one."""
BATCH_ROWS = 1 << 17
PIECE_ROWS = 1 << 22
"""Rows that one thread takes at a time, whole row groups."""


@dataclass(frozen=True, kw_only=True)
class Signals:
    """Which columns say something of a pair, and how."""

    rising: Sequence[str] = ()
    """Numbers; a higher one never makes a pair less probable."""
    falling: Sequence[str] = ()
    """Numbers; a higher one never makes a pair more probable, a rank for example."""
    categories: Sequence[str] = ()
    """Words without an order, the source for example."""

    @property
    def names(self) -> list[str]:
        return [*self.rising, *self.falling, *self.categories]

    def to_json(self) -> dict[str, list[str]]:
        return {name: list(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Candidates:
    """Parquet files with the columns `image`, `label` and signals; each (image, label) is one row."""

    files: list[Path]
    signals: Signals

    @classmethod
    def open(cls, files: Path | str | Sequence[Path | str], *, signals: Signals) -> "Candidates":
        """Look at the columns of all files.

        Args:
            files: a .parquet, a glob or several of them.
            signals: the columns that say something.

        Raises:
            BadArgument: no signal, or one named twice.
            MissingInput: no such file.
            BadInput: not Parquet, no pairs, columns of files that differ or are of the wrong kind.
            UnknownName: no such column.
        """
        names = signals.names
        if not names:
            raise BadArgument("selection needs a signal. Name at least one column as rising, falling or a category.")
        twice = sorted({name for name in names if names.count(name) > 1} | ({"image", "label"} & set(names)))
        if twice:
            raise BadArgument(f"the column {twice[0]!r} is named twice. Give it one role.")
        made = cls(named_files(files, "candidate pairs"), signals)
        first = made.schema
        for path in made.files:
            if path.suffix != ".parquet":
                raise BadInput(f"candidate pairs must be in .parquet files. Got {path}.")
            own = _schema(path)
            for name in ("image", "label", *names):
                if name not in own:
                    raise UnknownName(f"{path} has no column {name!r}.{nearest(name, own)} It has: {', '.join(own)}.")
                if own[name] != first[name]:
                    raise BadInput(
                        f"column {name!r} is {own[name]} in {path} and {first[name]} in {made.files[0]}. Make them alike."
                    )
        for name, wanted in {"image": "integers or text", "label": "text", **made._kinds()}.items():
            text = first[name] == pl.String or (name != "image" and first[name] in (pl.Categorical, pl.Enum))
            number = first[name].is_integer() or (
                wanted == "numbers" and (first[name].is_numeric() or first[name] == pl.Boolean)
            )
            if not ("text" in wanted and text) and not (wanted != "text" and number):
                raise BadInput(f"column {name!r} of {made.files[0]} is {first[name]}, expected {wanted}. Convert it.")
        if not made.num_pairs:
            raise BadInput(f"{made.files[0]} holds no candidate pairs. Give files with rows.")
        return made

    @cached_property
    def schema(self) -> pl.Schema:
        return _schema(self.files[0])

    @cached_property
    def num_pairs(self) -> int:
        return sum(num for _, _, num in self.pieces)

    @cached_property
    def pieces(self) -> list[tuple[Path, list[int], int]]:
        """(file, row groups, rows) for threads to share; they depend on the files alone."""
        import pyarrow.parquet as pq

        found: list[tuple[Path, list[int], int]] = []
        for path in self.files:
            metadata = pq.read_metadata(path)
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                if found and found[-1][0] == path and found[-1][2] + rows <= PIECE_ROWS:
                    found[-1] = (path, [*found[-1][1], group], found[-1][2] + rows)
                else:
                    found.append((path, [group], rows))
        return found

    def batches(self, piece: tuple[Path, list[int], int], columns: Sequence[str]) -> Iterator["pa.RecordBatch"]:
        """Some columns of a piece; text comes as a dictionary."""
        import pyarrow.parquet as pq

        path, groups, _ = piece
        text = [name for name in columns if name in ("label", *self.signals.categories)]
        with pq.ParquetFile(path, read_dictionary=text) as file:
            yield from file.iter_batches(BATCH_ROWS, row_groups=groups, columns=list(columns), use_threads=False)

    def scan(self) -> pl.LazyFrame:
        """All pairs, label and categories as text."""
        text = pl.col("label", *self.signals.categories).cast(pl.String)
        return pl.scan_parquet(self.files, glob=False).select("image", "label", *self.signals.names).with_columns(text)

    def _kinds(self) -> dict[str, str]:
        numbers = [*self.signals.rising, *self.signals.falling]
        return {**dict.fromkeys(numbers, "numbers"), **dict.fromkeys(self.signals.categories, "text")}


@dataclass(frozen=True)
class Coder:
    """What turns the signals of pairs into bytes; one table for each of `Signals.names`."""

    signals: Signals
    steps: tuple[NDArray[np.float64], ...]
    """For each number, values between its steps, ascending; a falling signal is negated first."""
    words: tuple[tuple[str, ...], ...]
    """For each category, the words known, the commonest first."""

    @classmethod
    def fit(cls, judged: pl.DataFrame, *, signals: Signals) -> "Coder":
        """Steps halfway between judged values, or between 250 quantiles of them.

        Raises:
            BadInput: a number that is NaN or infinite.
        """
        steps = []
        for name in (*signals.rising, *signals.falling):
            values = judged[name].cast(pl.Float64).drop_nulls().to_numpy()
            if not np.isfinite(values).all():
                raise _not_finite(name)
            values = np.sort(-values if name in signals.falling else values)
            different = np.unique(values)
            if len(different) > MAX_STEPS:
                at = np.linspace(0, len(values) - 1, MAX_STEPS).round().astype(np.int64)
                different = np.unique(values[at])
            steps.append((different[1:] + different[:-1]) / 2)
        words = []
        for name in signals.categories:
            counts = judged[name].drop_nulls().value_counts().filter(pl.col("count") >= MIN_CATEGORY)
            counts = counts.sort("count", name, descending=[True, False]).head(MAX_STEPS)
            words.append(tuple(counts[name].to_list()))
        return cls(signals, tuple(steps), tuple(words))

    def codes(self, batch: Any) -> NDArray[np.uint8]:
        """(n, signals) uint8 of an Arrow batch or table.

        Raises:
            BadInput: a number that is NaN or infinite.
        """
        import pyarrow as pa

        out = np.empty((len(self.signals.names), len(batch)), np.uint8)
        for row, (name, steps) in enumerate(
            zip((*self.signals.rising, *self.signals.falling), self.steps, strict=True)
        ):
            column = _whole(batch.column(name))
            nulls = column.null_count
            # nulls become infinite, and must be all that is
            numbers = column.cast(pa.float64(), safe=False)
            numbers = numbers.fill_null(np.inf) if nulls else numbers
            if _steps(numbers.to_numpy(), steps, name in self.signals.falling, out[row]) != nulls:
                raise _not_finite(name)
        for row, (name, words) in enumerate(zip(self.signals.categories, self.words, strict=True), len(self.steps)):
            index, found = places(batch.column(name), pa.array(words, pa.string()))
            table = np.append(np.where(found < 0, MISSING, found), MISSING).astype(np.uint8)
            out[row] = table[index]
        return out.T

    def numbers(self, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(n, signals) float64 for a model: codes, missing ones NaN."""
        return np.where(codes == MISSING, np.nan, codes.astype(np.float64))


def places(column: Any, words: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A text column as (index, found): row i is words[found[index[i]]]; found is -1 for other words, index for nulls.

    Returns:
        index (n,) into the column's own different words, -1 for null; found, where in `words` each of these is, or -1.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _whole(column)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    index = column.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    found = pc.index_in(column.dictionary.cast(words.type), value_set=words).fill_null(-1)
    return index, found.to_numpy().astype(np.int64)


def label_ids(column: Any, labels: Any, tree: Hierarchy) -> NDArray[np.int64]:
    """(n,) label indexes of a text column; `labels` are those of the hierarchy as Arrow text.

    Raises:
        UnknownName: a label that is not in the hierarchy.
        BadInput: a row without a label.
    """
    index, found = places(column, labels)
    if (index < 0).any():
        raise BadInput(f"{int((index < 0).sum())} candidate pairs have no label. Remove them.")
    ids = found[index]
    if (ids < 0).any():
        column = _whole(column)
        tree.index(column.take([int(np.flatnonzero(ids < 0)[0])]).to_pylist()[0])  # raises, and suggests the nearest
    return ids


def _whole(column: Any) -> Any:
    """A column as one Arrow array."""
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _schema(path: Path) -> pl.Schema:
    try:
        return pl.scan_parquet(path, glob=False).collect_schema()
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} is not readable Parquet ({error}). Get it again.") from error


def _not_finite(name: str) -> BadInput:
    return BadInput(
        f"column {name!r} holds a NaN or infinite number. Leave it empty (null) where the signal is missing."
    )


@numba.njit(cache=True, nogil=True)
def _steps(values: NDArray[Any], steps: NDArray[Any], negate: bool, out: NDArray[Any]) -> int:
    """Number of steps below each value, MISSING for +inf; returns how many are +inf, or -1 for any other oddity."""
    num = 0
    for i in range(len(values)):
        x = values[i]
        if x == np.inf:
            out[i] = MISSING
            num += 1
            continue
        if not x > -np.inf:
            return -1
        if negate:
            x = -x
        low, length = 0, len(steps)
        while length > 0:
            half = length >> 1
            if steps[low + half] < x:
                low += half + 1
                length -= half + 1
            else:
                length = half
        out[i] = low
    return num
