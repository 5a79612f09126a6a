"""The noun: image ids of a catalog, how often each comes, and the recipe that chose them.

Choosing never copies or rewrites an image. In memory a subset is 8 bytes an image, 16 with weights; opened from disk it is
a memory map. `everything` holds no ids until they are asked for.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from jftdata import storage, tail
from jftdata.catalog import Catalog, among, read_row_group, row_groups
from jftdata.errors import BadInput, Damaged
from jftdata.subset.recipe import RECIPE, Step

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from jftdata.subset.disk import Blocks
    from jftdata.subset.stream import Stream

FORMAT = "jftdata.subset/2"
IMAGES, WEIGHTS = "images.npy", "weights.npy"
_S = TypeVar("_S")
_T = TypeVar("_T")
_PIECE = 1 << 20
"""Ids hashed at a time for a fingerprint."""


@dataclass(frozen=True, eq=False)
class Subset:
    """Images of one catalog, chosen by a recipe."""

    catalog: Catalog
    chosen: NDArray[np.int64] | None
    """(n,) ids, ascending; None stands for every image of the catalog."""
    recipe: Step
    """The last step, which knows those before it."""
    weights: NDArray[np.float64] | None = None
    """(n,) above 0: how often each image comes in an epoch, on average; None is once."""
    counted: "Callable[[], pl.DataFrame] | None" = None
    """Gives `counts`, where they are counted with those of other subsets in one pass."""

    @cached_property
    def images(self) -> NDArray[np.int64]:
        """(n,) ids, ascending."""
        return self.catalog.images() if self.chosen is None else self.chosen

    def __len__(self) -> int:
        return len(self.catalog) if self.chosen is None else len(self.chosen)

    def __contains__(self, image: int) -> bool:
        at = int(np.searchsorted(self.images, image))
        return at < len(self) and int(self.images[at]) == image

    def __or__(self, other: "Subset") -> "Subset":
        return cast(Subset, _algebra().union(self, other))

    def __and__(self, other: "Subset") -> "Subset":
        return cast(Subset, _algebra().intersection(self, other))

    def __sub__(self, other: "Subset") -> "Subset":
        return cast(Subset, _algebra().difference(self, other))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ids and weights: two subsets of the same images have the same one, in memory or on disk."""
        digest = hashlib.sha256()
        for values in (self.images,) if self.weights is None else (self.images, self.weights):
            for first in range(0, len(self), _PIECE):
                piece = values[first : first + _PIECE]
                digest.update(piece.astype(piece.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()

    @cached_property
    def counts(self) -> "pl.DataFrame":
        """Images by label, ancestors filled in: what `tail.label_counts` returns. Weights do not count."""
        return tail.label_counts(self.catalog, images=self.chosen) if self.counted is None else self.counted()

    def map_rows(
        self, function: Callable[["pa.Table"], _T], *, columns: Sequence[str], workers: int | None = None
    ) -> Iterator[_T]:
        """Apply a function to the catalog's rows of this subset, a row group at a time, on threads.

        Args:
            function: called with an Arrow table of `columns`, rows in image-id order.
            columns: `image` is read in any case.
            workers: threads; None is one a core.

        Yields:
            What the function returns, in image-id order; a bounded number is worked on at a time.
        """
        columns = list(dict.fromkeys(("image", *columns)))

        def run(piece: tuple[Path, int]) -> _T:
            rows = read_row_group(*piece, columns=columns, split=None)
            return function(rows if self.chosen is None else among(rows, self.chosen))

        yield from in_order(run, row_groups(self.catalog), workers=workers)

    def stream(self, *, seed: int, batch_size: int, blocks: "Blocks | None" = None, drop_last: bool = True) -> "Stream":
        """The order of images in training: a pure function of seed and step, for any number of ranks and workers.

        Args:
            seed: of the permutations.
            batch_size: images a step, of all ranks together.
            blocks: shuffle within blocks of neighbours on disk (`subset.disk`); None shuffles fully.
            drop_last: leave out an epoch's last batch if it is not full.
        """
        from jftdata.subset.stream import Stream

        return Stream(
            images=self.images,
            weights=self.weights,
            seed=seed,
            batch_size=batch_size,
            blocks=blocks,
            drop_last=drop_last,
        )

    @classmethod
    def open(cls, path: Path | str, *, catalog: Catalog | None = None) -> Self:
        """Open a subset and its catalog; ids are memory-mapped. Cost: one SHA-256 over the ids.

        Args:
            path: the subset's folder.
            catalog: where the catalog is now, if it has moved.

        Raises:
            BadInput: the catalog is not the one the subset was made from.
            Damaged: the ids are not those that were saved.
        """
        path = Path(path)
        sidecar = storage.read_sidecar(path, kind="jftdata.subset")
        if sidecar.format != FORMAT:
            raise BadInput(f"{path} is a {sidecar.format}, this version reads {FORMAT}. Make the subset again.")
        catalog = catalog if catalog is not None else Catalog.open(sidecar.facts["catalog_path"])
        if catalog.fingerprint != sidecar.inputs["catalog"]:
            raise BadInput(
                f"{catalog.path} has changed since {path} was made (fingerprint {catalog.fingerprint[:12]}, expected "
                f"{sidecar.inputs['catalog'][:12]}). Make the subset again or open it with the old catalog."
            )
        try:
            images = np.load(path / IMAGES, mmap_mode="r")
            weights = np.load(path / WEIGHTS, mmap_mode="r") if sidecar.facts["weighted"] else None
        except (OSError, ValueError, EOFError) as error:
            raise Damaged(f"{path} is damaged ({error}). Make it again.") from error
        subset = cls(catalog, images, Step.read(path / RECIPE), weights)
        if subset.fingerprint != sidecar.inputs["images"]:
            raise Damaged(f"{path} is damaged: its image ids do not match its SHA-256. Make it again.")
        return subset

    def save(self, out: Path | str) -> Path:
        """Write ids, weights and recipe, with the number of images and labels and the tail in the sidecar.

        Raises:
            OutputExists: another subset is there.
        """
        inputs = {"catalog": self.catalog.fingerprint, "images": self.fingerprint}
        with storage.building(out, format=FORMAT, made_with={"steps": self.recipe.listed()}, inputs=inputs) as build:
            if build is not None:
                np.save(build.folder / IMAGES, self.images)
                if self.weights is not None:
                    np.save(build.folder / WEIGHTS, self.weights)
                self.recipe.write(build.folder / RECIPE)
                build.facts = {
                    "num_images": len(self),
                    "num_given_labels": int(self.counts["num_given"].sum()),
                    "weighted": self.weights is not None,
                    "images_an_epoch": len(self) if self.weights is None else float(self.weights.sum()),
                    "tail": tail.summary(self.counts),
                    "catalog_path": str(self.catalog.path.resolve()),
                }
        return Path(out)


def in_order(function: Callable[[_S], _T], items: Iterable[_S], *, workers: int | None = None) -> Iterator[_T]:
    """Apply a function to each item on threads; results in order, a bounded number of them ahead."""
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _algebra() -> Any:
    """Loaded when used: builders need the noun first."""
    from jftdata.subset import algebra

    return algebra
