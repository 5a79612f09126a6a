"""Subsets: image ids of a catalog and the recipe that chose them. Choosing never copies or rewrites an image.

What is drawn at random is drawn by a keyed hash of the image id, so a subset does not depend on row order, and images
added to the catalog later change no earlier decision.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, Damaged
from jftdata.hashing import keyed_order

FORMAT = "jftdata.subset/1"


@dataclass(frozen=True, eq=False)
class Subset:
    """Images of one catalog; `images` are ascending ids."""

    catalog: Catalog
    images: NDArray[np.int64]
    """(n,) ascending."""
    recipe: dict[str, Any]
    """Builder and arguments."""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the image ids: two subsets of the same images have the same one, in memory or on disk."""
        return hashlib.sha256(self.images.astype("<i8").tobytes()).hexdigest()

    @classmethod
    def of(cls, catalog: Catalog, images: ArrayLike, *, recipe: dict[str, Any]) -> Self:
        """A subset of given ids.

        Raises:
            BadInput: no image, or an id that is not in the catalog.
        """
        ids = np.unique(np.asarray(images, np.int64))
        if not len(ids):
            raise BadInput(f"the subset {recipe} has no image. Ask for more.")
        catalog.rows(ids, columns=["image"])
        return cls(catalog, ids, recipe)

    @classmethod
    def open(cls, path: Path | str, *, catalog: Catalog | None = None) -> Self:
        """Open a subset and its catalog.

        Args:
            path: the subset's folder.
            catalog: where the catalog is now, if it has moved.

        Raises:
            BadInput: the catalog is not the one the subset was made from.
        """
        path = Path(path)
        sidecar = storage.read_sidecar(path, kind="jftdata.subset")
        catalog = catalog if catalog is not None else Catalog.open(sidecar.facts["catalog_path"])
        if catalog.fingerprint != sidecar.inputs["catalog"]:
            raise BadInput(
                f"{catalog.path} has changed since {path} was made (fingerprint {catalog.fingerprint[:12]}, expected "
                f"{sidecar.inputs['catalog'][:12]}). Make the subset again or open it with the old catalog."
            )
        images = pl.read_parquet(path / "images.parquet", glob=False)["image"].to_numpy()
        subset = cls(catalog, images, sidecar.made_with)
        if subset.fingerprint != sidecar.facts["images_sha256"]:
            raise Damaged(f"{path} is damaged: its image ids do not match its SHA-256. Make it again.")
        return subset

    def save(self, out: Path | str) -> Path:
        """Write ids and recipe.

        Raises:
            OutputExists: another subset is there.
        """
        inputs = {"catalog": self.catalog.fingerprint, "images": self.fingerprint}
        with storage.building(out, format=FORMAT, made_with=self.recipe, inputs=inputs) as build:
            if build is not None:
                pl.DataFrame({"image": self.images}).write_parquet(build.folder / "images.parquet")
                build.facts = {
                    "num_images": len(self),
                    "images_sha256": self.fingerprint,
                    "catalog_path": str(self.catalog.path.resolve()),
                }
        return Path(out)


def everything(catalog: Catalog, *, split: str | None = None) -> Subset:
    """All images of a catalog, or of one split."""
    return Subset(catalog, catalog.images(split=split), {"builder": "everything", "split": split})


def nested(
    catalog: Catalog, *, sizes: Sequence[int], seed: int, split: str | None = None, without: ArrayLike = ()
) -> list[Subset]:
    """Random subsets, each within the next larger one.

    Args:
        catalog: where to draw from.
        sizes: numbers of images.
        seed: of the keyed hash that orders the images.
        split: only this split.
        without: image ids never to draw (copies of test images, say).

    Returns:
        One subset a size, in the order of `sizes`.

    Raises:
        BadArgument: a size below one or above the number of images.

    Source: Sun et al. 2017, section 5.2 (10M within 30M within 100M within 300M images).
    """
    ids = catalog.images(split=split)
    removed = np.unique(np.asarray(without, np.int64))
    ids = ids[~np.isin(ids, removed)]
    for size in sizes:
        if not 1 <= size <= len(ids):
            raise BadArgument(f"`sizes` must be in 1..{len(ids)}, the images there are to draw from. Got {size}.")
    order = keyed_order(ids, seed=seed, stream="nested")
    recipe = {"builder": "nested", "seed": seed, "split": split}
    if len(removed):
        recipe["without"] = {"num_images": len(removed), "sha256": hashlib.sha256(removed.tobytes()).hexdigest()}
    return [Subset(catalog, np.sort(ids[order[:size]]), {**recipe, "size": size}) for size in sizes]
