"""The catalog: one row an image, sorted by image id, with its given labels and where its bytes are.

Only given labels are stored, never their ancestors. A catalog points at bytes: files where they were, or tar shards in
its own folder. Columns are in `SCHEMA`; `labels` are indexes into the catalog's own `hierarchy.tsv`.
A catalog without pixels (`has_pixels: false` among its facts) has the columns image, labels and split only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import storage
from jftdata.errors import BadInput, ImageRejected, UnknownName, one_of
from jftdata.hashing import keyed_order
from jftdata.hierarchy import Hierarchy
from jftdata.ragged import in_sorted

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "jftdata.catalog/2"
SCHEMA: dict[str, pl.DataType] = {
    "image": pl.Int64(),  # id: first 63 bits of the SHA-256 of the bytes
    "sha256": pl.Binary(),  # all 32 bytes of it
    "shard": pl.String(),  # file that holds the bytes; relative to the catalog when packed
    "offset": pl.Int64(),  # first byte in the shard
    "length": pl.Int64(),  # number of bytes
    "width": pl.Int32(),  # pixels as displayed
    "height": pl.Int32(),
    "format": pl.String(),
    "split": pl.String(),
    "labels": pl.List(pl.Int32()),  # given labels, ascending
    "scores": pl.List(pl.Float32()),  # parallel to labels, 0..1; null where the source gave none
    "negatives": pl.List(pl.Int32()),  # labels verified not to hold, ascending; mostly empty
    "source": pl.String(),  # what the image was called where it came from
}
REJECTED: dict[str, pl.DataType] = {"source": pl.String(), "reason": pl.String(), "message": pl.String()}
DUPLICATES: dict[str, pl.DataType] = {
    "image": pl.Int64(), "source": pl.String(), "split": pl.String(), "kept_source": pl.String()
}  # fmt: skip
_WITHOUT_PIXELS = ("image", "labels", "split")


@dataclass(frozen=True, eq=False)
class Catalog:
    """A catalog on disk; make one with `jftdata.sources`, open it with `Catalog.open`."""

    path: Path
    sidecar: storage.Sidecar
    hierarchy: Hierarchy

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a catalog; reads the sidecar and the hierarchy only.

        Raises:
            MissingInput: nothing there.
            BadInput: an artefact of another kind.
        """
        path = Path(path)
        sidecar = storage.read_sidecar(path, kind="jftdata.catalog")
        hierarchy = Hierarchy.load(path / "hierarchy.tsv")
        return cls(path, sidecar, hierarchy)

    @property
    def fingerprint(self) -> str:
        return self.sidecar.fingerprint

    def __len__(self) -> int:
        return int(self.sidecar.facts["num_images"])

    def scan(self, *, split: str | None = None) -> pl.LazyFrame:
        """All rows as a lazy frame with the columns of `SCHEMA`, in image-id order within each file.

        Raises:
            UnknownName: no such split.
        """
        rows = pl.scan_parquet(self.files, glob=False)
        if split is None:
            return rows
        if split not in self.splits:
            raise one_of("split", split, self.splits, error=UnknownName)
        return rows.filter(pl.col("split") == split)

    @property
    def has_pixels(self) -> bool:
        """Whether there are images behind the rows."""
        return bool(self.sidecar.facts.get("has_pixels", True))

    @property
    def splits(self) -> dict[str, int]:
        """Number of images by split."""
        return dict(self.sidecar.facts["splits"])

    @property
    def files(self) -> list[Path]:
        """The Parquet files of the rows, in image-id order."""
        return sorted((self.path / "images").glob("*.parquet"))

    def images(self, *, split: str | None = None) -> NDArray[np.int64]:
        """(n,) image ids, ascending; 8 bytes an image."""
        return self.scan(split=split).select("image").collect().get_column("image").sort().to_numpy()

    def rows(self, images: NDArray[np.int64], *, columns: Sequence[str] = tuple(SCHEMA)) -> pl.DataFrame:
        """Rows of some images, in the order asked for.

        Args:
            images: (n,) image ids.
            columns: which columns to read.

        Raises:
            BadInput: an id that is not in this catalog; a column that a catalog without pixels does not have.
        """
        if not set(columns) <= set(_WITHOUT_PIXELS):
            self.need_pixels()
        wanted = pl.LazyFrame({"image": images}).with_columns(at=pl.int_range(pl.len(), dtype=pl.Int64))
        there = self.scan().select(*dict.fromkeys(("image", *columns)))
        found = wanted.join(there, on="image", how="inner").collect().sort("at").drop("at")
        if len(found) < len(images):
            missing = sorted(set(images.tolist()) - set(found["image"].to_list()))
            raise BadInput(f"{len(missing)} images are not in {self.path}, for example {missing[0]}. Use its own ids.")
        return found.select(columns)

    def read(self, shard: str, offset: int, length: int) -> bytes:
        """Bytes of one image; safe to call from many threads.

        Raises:
            ImageRejected: reason `missing`: the file is gone or too short.
            BadInput: a catalog without pixels.
        """
        self.need_pixels()
        path = self.path / shard  # an absolute shard stands for itself
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise ImageRejected("missing", f"{path}: {error.strerror}") from error
        if len(data) != length:
            raise ImageRejected("missing", f"{path}: {len(data)} of {length} bytes at {offset}")
        return data

    def sample(self, *, label: str, count: int, seed: int) -> pl.DataFrame:
        """Up to `count` images with a given label or one below it, chosen by keyed hash.

        Raises:
            UnknownName: no such label.
            BadInput: a catalog without pixels.
        """
        self.need_pixels()
        wanted = [self.hierarchy.index(x) for x in (label, *self.hierarchy.descendants(label))]
        hits = self.scan().filter(pl.col("labels").list.eval(pl.element().is_in(wanted)).list.any()).select("image")
        ids = hits.collect().get_column("image").to_numpy()
        return self.rows(ids[keyed_order(ids, seed=seed, stream="sample")[:count]])

    def need_pixels(self) -> None:
        """Raise BadInput for a catalog without pixels."""
        if not self.has_pixels:
            raise BadInput(f"{self.path} has labels but no pixels. Give a catalog made of images.")


def label_rows(
    catalog: Catalog, *, split: str | None = None
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Stream (image ids, label starts, label indexes) batch by batch, without the other columns.

    Yields:
        images (n,) int64; start (n + 1,) int64; index (m,) int32, the given labels of image i at start[i]:start[i + 1].

    Raises:
        UnknownName: no such split.
    """
    for path, group in row_groups(catalog, split=split):
        rows = read_row_group(path, group, columns=("image", "labels"), split=split)
        yield rows.column("image").to_numpy(), *label_arrays(rows.column("labels"))


def row_groups(catalog: Catalog, *, split: str | None = None) -> list[tuple[Path, int]]:
    """Every (file, row group), in image-id order: the pieces that threads may read at the same time.

    Raises:
        UnknownName: no such split.
    """
    import pyarrow.parquet as pq

    if split is not None and split not in catalog.splits:
        raise one_of("split", split, catalog.splits, error=UnknownName)
    return [(path, group) for path in catalog.files for group in range(pq.read_metadata(path).num_row_groups)]


def read_row_group(path: Path, group: int, *, columns: Sequence[str], split: str | None) -> "pa.Table":
    """Some columns of the rows of a row group; the library writes at most 2**20 rows in one."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = [*columns, *(["split"] if split is not None else [])]
    with pq.ParquetFile(path) as file:
        rows = file.read_row_group(group, columns=wanted, use_threads=False)
    return rows if split is None else rows.filter(pc.equal(rows.column("split"), split))


def among(rows: "pa.Table", images: NDArray[np.int64]) -> "pa.Table":
    """The rows of some images.

    Args:
        rows: with a column `image`, ascending, as in each row group.
        images: (n,) ids, ascending; those that are not in the rows do not matter.

    Cost: a search for each of the images between the first row and the last.
    """
    import pyarrow as pa

    ids = rows.column("image").to_numpy()
    if not len(ids):
        return rows
    near = images[np.searchsorted(images, ids[0]) : np.searchsorted(images, ids[-1], side="right")]
    wanted = np.zeros(len(ids), np.bool_)
    wanted[np.searchsorted(ids, near[in_sorted(near, ids)])] = True
    return rows.filter(pa.array(wanted))


def label_arrays(column: Any) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """A polars or Arrow column of label lists as (start, index), the layout of `jftdata.ragged`.

    >>> label_arrays(pl.Series([[3, 5], [], [1]]))
    (array([0, 2, 2, 3]), array([3, 5, 1], dtype=int32))
    """
    lists = column.to_arrow() if isinstance(column, pl.Series) else column.combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64, copy=False)
    values = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
    return offsets - offsets[0], values.to_numpy().astype(np.int32, copy=False)
