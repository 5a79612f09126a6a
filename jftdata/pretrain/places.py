"""Where the bytes of each image of a subset are, and its labels: arrays that may be memory maps.

The catalog's Parquet is streamed once. A row is 16 bytes, 8 more and 4 a label for each kind of labels, and the names of the
shards, once in each of the catalog's row groups that needs them; a data frame would hold the name with every image.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.catalog import Catalog, label_arrays
from jftdata.errors import BadInput, ImageRejected
from jftdata.pixels import PLACE
from jftdata.ragged import Ragged, take_rows
from jftdata.subset import Subset

if TYPE_CHECKING:
    import pyarrow as pa

ARRAYS: dict[str, Any] = {
    "shard": np.int32,  # (n,) number of the shard
    "offset": np.int64,  # (n,) first byte in it
    "length": np.int32,  # (n,) number of bytes
    "names": np.uint8,  # names of the shards in UTF-8, in the layout of `jftdata.ragged`
    "names start": np.int64,
}
_OPEN_FILES = 256
"""Descriptors kept; a process may have 1,024 as a rule."""


@dataclass(frozen=True, eq=False)
class Places:
    """A row an image; make it with `of_subset` or `of_rows`."""

    catalog: Catalog
    arrays: dict[str, NDArray[Any]]
    """Those of `ARRAYS`, and two for each column of lists, as for the names."""

    @classmethod
    def of_subset(cls, subset: Subset, *, lists: Sequence[str] = ("labels",), folder: Path | None = None) -> Self:
        """Places and labels of a subset, rows in the order of `subset.images`.

        Args:
            subset: of a catalog with pixels.
            lists: which of the columns `labels` and `negatives` to keep.
            folder: where the arrays are kept and memory-mapped from; they are there whole or not at all, and are not made again.
                None keeps them in memory.

        Raises:
            BadInput: a catalog without pixels, or ids that are not in it.

        Cost: one pass over these columns of the catalog; 2 million images a second.
        """
        subset.catalog.need_pixels()
        dtypes = ARRAYS | dict.fromkeys(lists, np.int32) | {f"{name} start": np.int64 for name in lists}
        if folder is None:
            pieces = list(_pieces(subset, lists, dtypes))
            return cls(subset.catalog, {name: np.concatenate([piece[name] for piece in pieces]) for name in dtypes})
        if not folder.exists():
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with ExitStack() as stack:
                files = {name: stack.enter_context((partial / name).open("wb")) for name in dtypes}
                for piece in _pieces(subset, lists, dtypes):
                    for name, values in piece.items():
                        values.tofile(files[name])
            os.replace(partial, folder)
        return cls(subset.catalog, {name: _mapped(folder / name, dtype) for name, dtype in dtypes.items()})

    @classmethod
    def of_rows(cls, catalog: Catalog, rows: pl.DataFrame) -> Self:
        """Places of some rows with the columns of `pixels.PLACE`, in their order and in memory; without labels."""
        catalog.need_pixels()
        piece = _piece(rows.select(PLACE).to_arrow(), ())
        return cls(catalog, piece | {"names start": np.append(np.int64(0), piece["names start"])})

    def __len__(self) -> int:
        return len(self.arrays["shard"])

    def lists(self, column: str, rows: NDArray[np.int64]) -> Ragged:
        """The lists of some rows, in the order asked for; `labels` are the given ones, without ancestors."""
        return take_rows(self.arrays[f"{column} start"], self.arrays[column], rows)

    def read(self, row: int) -> bytes:
        """Bytes of an image; safe to call from many threads. Files stay open, the last 256 of them.

        Raises:
            ImageRejected: reason `missing`: the file is gone or too short.

        Cost: 5 us beside the reading.
        """
        arrays = self.arrays
        shard, offset, length = int(arrays["shard"][row]), int(arrays["offset"][row]), int(arrays["length"][row])
        first, last = arrays["names start"][shard : shard + 2].tolist()
        name = arrays["names"][first:last].tobytes()
        try:
            file = self._open(name)  # held while it is read: others may push it out of the cache
            data = os.pread(file.number, length, offset)
        except OSError as error:
            raise ImageRejected("missing", f"{self._path(name)}: {error.strerror}") from error
        if len(data) != length:
            raise ImageRejected("missing", f"{self._path(name)}: {len(data)} of {length} bytes at {offset}")
        return data

    def _path(self, name: bytes) -> Path:
        return self.catalog.path / name.decode()  # an absolute shard stands for itself

    @cached_property
    def _open(self) -> Callable[[bytes], "_Descriptor"]:
        return lru_cache(_OPEN_FILES)(lambda name: _Descriptor(self._path(name)))


class _Descriptor:
    """A file open for reading, closed when the last thread that uses it lets go."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def _pieces(subset: Subset, lists: Sequence[str], dtypes: dict[str, Any]) -> Iterator[dict[str, NDArray[Any]]]:
    """The arrays, a row group of the catalog at a time."""
    lengths = dict.fromkeys(dtypes, 0)
    yield {name: np.zeros(int(name.endswith(" start")), dtype) for name, dtype in dtypes.items()}
    for piece in subset.map_rows(lambda rows: _piece(rows, lists), columns=[*PLACE, *lists]):
        piece["shard"] = piece["shard"] + np.int32(lengths["names start"])
        for name in ("names", *lists):
            piece[f"{name} start"] = piece[f"{name} start"] + lengths[name]
        for name, values in piece.items():
            lengths[name] += len(values)
        yield piece
    if lengths["shard"] != len(subset):
        raise BadInput(
            f"{len(subset) - lengths['shard']} of {len(subset)} images are not in {subset.catalog.path}. Make the subset "
            "again."
        )


def _piece(rows: "pa.Table", lists: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of some rows, starts without their first zero."""
    import pyarrow as pa

    encoded = rows.column("shard").cast(pa.large_string()).combine_chunks().dictionary_encode()
    names = encoded.dictionary
    start = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + len(names) + 1]
    piece = {
        "shard": encoded.indices.to_numpy(),
        "offset": rows.column("offset").to_numpy(),
        "length": rows.column("length").cast(pa.int32()).to_numpy(),
        "names": np.frombuffer(names.buffers()[2] or b"", np.uint8)[start[0] : start[-1]],
        "names start": start[1:] - start[0],
    }
    for name in lists:
        of_rows, piece[name] = label_arrays(rows.column(name))
        piece[f"{name} start"] = of_rows[1:]
    return piece


def _mapped(path: Path, dtype: Any) -> NDArray[Any]:
    return np.memmap(path, dtype, "r").view(np.ndarray) if path.stat().st_size else np.empty(0, dtype)
