"""The given labels of a catalog as arrays: what every score is a score of."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.catalog import Catalog, label_rows
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput, UnknownName
from jftdata.hierarchy import Hierarchy


@dataclass(frozen=True, eq=False)
class Given:
    """Given labels of images; a score is an array parallel to `index`."""

    tree: Hierarchy
    images: NDArray[np.int64]
    """(n,) ascending."""
    start: NDArray[np.int64]
    """(n + 1,) where each image's labels begin."""
    index: NDArray[np.int32]
    """(m,) label indexes."""

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """(m,) row of the image of each given label."""
        return ragged.owners(self.start)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(num_labels,) images given each label."""
        return np.bincount(self.index, minlength=self.tree.num_labels)

    def names(self, index: NDArray[Any]) -> pl.Series:
        """Labels by index; null below 0."""
        labels = pl.Series([*self.tree.labels, None], dtype=pl.String())
        return labels.gather(np.where(index < 0, self.tree.num_labels, index).astype(np.uint32))


def read(catalog: Catalog, *, split: str | None = None) -> Given:
    """Read the given labels; 8 bytes an image and 4 a label.

    Raises:
        BadInput: no image.
        UnknownName: no such split.
    """
    images, lengths, labels = [], [], []
    for ids, start, index in label_rows(catalog, split=split):
        images.append(ids)
        lengths.append(np.diff(start))
        labels.append(index)
    if not sum(map(len, images)):
        raise BadInput(f"{catalog.path} has no image to audit. Make a catalog with images.")
    return of(catalog.hierarchy, np.concatenate(images), np.concatenate(lengths), np.concatenate(labels))


def of(tree: Hierarchy, images: NDArray[np.int64], lengths: NDArray[np.int64], index: NDArray[np.int32]) -> Given:
    """Given labels in any order of images, put in image-id order."""
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    order = np.argsort(images, kind="stable")
    return Given(tree, images[order], *ragged.take_rows(start, index, order))


def rows_in(images: NDArray[np.int64], wanted: NDArray[np.int64], missing: str) -> NDArray[np.int64]:
    """Row of each wanted image among ascending ids.

    Raises:
        UnknownName: an id that is not there, with `missing` as the rest of the sentence.
    """
    found = ragged.in_sorted(wanted, images)
    if not found.all():
        raise UnknownName(f"image {wanted[~found][0]} and {(~found).sum() - 1:,} more {missing}")
    return np.searchsorted(images, wanted)


def vectors_of(given: Given, embeddings: Embeddings) -> Embeddings:
    """The embeddings of just these images.

    Raises:
        BadInput: an image without a vector.
    """
    if np.array_equal(given.images, embeddings.images):
        return embeddings
    rows_in(embeddings.images, given.images, "of the catalog have no vector. Embed this catalog, all of its splits.")
    return embeddings.select(given.images)
