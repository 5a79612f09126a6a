"""How far each image lies from the k-means centroids of a label it was given, and which other label's lie nearer.

Distances are 1 - similarity to the nearest of a label's centroids; ancestors and descendants are no other labels.
Cost: k-means over each label's own images, then one product of the images with all centroids, a block at a time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jftdata import neighbors, ragged
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput
from jftdata.noise.given import Given

_IMAGES_A_CENTROID = 40
_CELLS = 1 << 25  # distances held at a time


@dataclass(frozen=True)
class Distances:
    """Arrays parallel to the given labels."""

    own: NDArray[np.float64]
    """1 - similarity to the label's nearest centroid; NaN for labels with too few images."""
    other: NDArray[np.float64]
    """The same of the nearest unrelated label; NaN where there is none."""
    other_label: NDArray[np.int32]
    """That label; -1 where there is none."""


def distances(given: Given, embeddings: Embeddings, *, num_centroids: int, min_images: int, seed: int) -> Distances:
    """Distances of every given label.

    Args:
        given: the labels.
        embeddings: a vector for each image, in the same order.
        num_centroids: at most so many a label; labels with few images get one for every 40.
        min_images: labels given to fewer images have none: a centroid of so few says nothing.
        seed: for k-means.

    Raises:
        BadInput: no label with enough images.

    Source: Sun et al. 2017, Figure 2.
    """
    tree = given.tree
    usable = np.flatnonzero(given.counts >= min_images)
    if not len(usable):
        raise BadInput(f"no label is given to {min_images} images or more. Lower min_images or add images.")
    at_start, at = ragged.transpose(given.start, given.index, tree.num_labels)
    tables, owners = [], []
    for label in usable.tolist():
        rows = at[at_start[label] : at_start[label + 1]]
        k = int(np.clip(len(rows) // _IMAGES_A_CENTROID, 1, num_centroids))
        tables.append(neighbors.kmeans(embeddings.vectors[rows], k=k, seed=seed))
        owners += [label] * k
    table, owner = np.concatenate(tables).astype(np.float64), np.array(owners)
    begins = np.searchsorted(owner, usable)
    place = np.full(tree.num_labels, -1)
    place[usable] = np.arange(len(usable))
    related_start, related = _related(given, usable)
    m = len(given.index)
    own, other, other_label = np.full(m, np.nan), np.full(m, np.nan), np.full(m, -1, np.int32)
    step = max(1, _CELLS // len(table))
    for first in range(0, m, step):
        part = slice(first, min(first + step, m))
        labels = given.index[part]
        vectors = embeddings.vectors[given.owner[part]].astype(np.float64)
        nearest = 1.0 - np.maximum.reduceat(vectors @ table.T, begins, axis=1)  # (rows, usable labels)
        mine, row = place[labels], np.arange(len(labels))
        own[part] = np.where(mine >= 0, nearest[row, mine], np.nan)
        cut, columns = ragged.take_rows(related_start, related, labels)
        nearest[ragged.owners(cut), columns] = np.inf
        best = nearest.argmin(axis=1)
        found = nearest[row, best]
        known = np.isfinite(found) & (mine >= 0)
        other[part] = np.where(known, found, np.nan)
        other_label[part] = np.where(known, usable[best], -1)
    return Distances(own, other, other_label)


def _related(given: Given, usable: NDArray[np.int64]) -> ragged.Ragged:
    """Of each label, the columns of itself, its ancestors and its descendants."""
    tree = given.tree
    num = tree.num_labels
    above = ragged.owners(tree.ancestor_start) * num + tree.ancestor_index
    keys = np.concatenate([above, above % num * num + above // num, np.arange(num) * (num + 1)])
    column = np.full(num, -1)
    column[usable] = np.arange(len(usable))
    keys = keys[column[keys % num] >= 0]
    return ragged.from_keys(keys // num * num + column[keys % num], num_rows=num, width=num)
