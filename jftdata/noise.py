"""Label noise: how far each image lies from the k-means centroids of a label it was given.

Images far from their label's centroids are where wrong labels collect (the paper's Figure 2). Distances are 1 -
similarity to the nearest of the label's centroids; the label whose centroid is nearest of all is named beside it,
ancestors and descendants left out.
Cost: sparse, one row a given label; k-means over each label's own images only.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import neighbors
from jftdata.catalog import Catalog, label_rows
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput

AUDIT = {
    "image": pl.Int64(),
    "label": pl.String(),
    "distance": pl.Float64(),  # 1 - similarity to the label's nearest centroid
    "bin": pl.Int32(),  # the distance quantised by the label's own quantiles, 0 is nearest
    "other_label": pl.String(),  # the label with the nearest centroid among unrelated ones
    "other_distance": pl.Float64(),
    "score": pl.Float64(),  # distance - other_distance: positive where another label is nearer
}
_IMAGES_A_CENTROID = 40


def audit(
    catalog: Catalog, embeddings: Embeddings, *, num_centroids: int = 3, num_bins: int = 6, min_images: int = 5,
    seed: int = 0, split: str | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Score every given label of every image.

    Args:
        catalog: images with given labels.
        embeddings: a vector for each of its images.
        num_centroids: at most so many a label; labels with few images get one for every 40.
        num_bins: quantiles that distances are cut into.
        min_images: labels given to fewer images are left out: a centroid of so few says nothing. They are counted by
            comparing with `tail.label_counts`.
        seed: for k-means.
        split: only this split.

    Returns:
        Columns of `AUDIT`, most suspicious first (by score, then image and label).

    Raises:
        BadInput: an image without a vector; no label with enough images.
        BadArgument: a number below one.

    Source: Sun et al. 2017, Figure 2.
    """
    for name, value in {"num_centroids": num_centroids, "num_bins": num_bins, "min_images": min_images}.items():
        if value < 1:
            raise BadArgument(f"`{name}` must be at least 1. Got {value}.")
    row_of, label_of = _given(catalog, embeddings, split)
    order = np.lexsort((row_of, label_of))
    row_of, label_of = row_of[order], label_of[order]
    labels, starts = np.unique(label_of, return_index=True)
    stops = np.append(starts[1:], len(label_of))
    usable = stops - starts >= min_images
    if not usable.any():
        raise BadInput(f"no label is given to {min_images} images or more. Lower min_images or add images.")

    centroids, owners = [], []
    for label, start, stop in zip(labels[usable], starts[usable], stops[usable], strict=True):
        k = int(np.clip((stop - start) // _IMAGES_A_CENTROID, 1, num_centroids))
        found = neighbors.kmeans(embeddings.vectors[row_of[start:stop]], k=k, seed=seed)
        centroids.append(found)
        owners += [int(label)] * k
    table, owner = np.concatenate(centroids), np.array(owners)

    frames = []
    for label, start, stop in zip(labels[usable], starts[usable], stops[usable], strict=True):
        rows = row_of[start:stop]
        distances = 1.0 - embeddings.vectors[rows].astype(np.float64) @ table.T.astype(np.float64)  # (rows, centroids)
        own = distances[:, owner == label].min(axis=1)
        distances[:, _related(catalog, int(label), owner)] = np.inf
        nearest = distances.argmin(axis=1)
        other = distances[np.arange(len(rows)), nearest]
        known = np.isfinite(other)
        frames.append(
            pl.DataFrame(
                {
                    "image": embeddings.images[rows],
                    "label": [catalog.hierarchy.labels[label]] * len(rows),
                    "distance": own,
                    "bin": _quantile_bins(own, num_bins),
                    "other_label": [
                        catalog.hierarchy.labels[owner[j]] if k else None for j, k in zip(nearest, known, strict=True)
                    ],
                    "other_distance": np.where(known, other, np.nan),
                    "score": np.where(known, own - other, own),
                },
                schema=AUDIT,
            )
        )
    return pl.concat(frames).sort("score", "image", "label", descending=[True, False, False])


def _given(catalog: Catalog, embeddings: Embeddings, split: str | None) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Vector row and label of every given label."""
    rows, labels = [], []
    for images, start, index in label_rows(catalog, split=split):
        at = np.searchsorted(embeddings.images, images)
        found = at < len(embeddings.images)
        found[found] = embeddings.images[at[found]] == images[found]
        if not found.all():
            raise BadInput(
                f"image {images[~found][0]} of the catalog has no vector. Embed this catalog, all of its splits."
            )
        rows.append(np.repeat(at, np.diff(start)))
        labels.append(index)
    if not rows:
        raise BadInput(f"{catalog.path} has no image to audit. Make a catalog with images.")
    return np.concatenate(rows), np.concatenate(labels)


def _related(catalog: Catalog, label: int, owner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which centroids belong to the label itself, its ancestors or its descendants."""
    tree = catalog.hierarchy
    above = np.isin(owner, tree.ancestor_ids(label))
    below = np.array([label in tree.ancestor_ids(int(x)) for x in owner])
    related: NDArray[np.bool_] = (owner == label) | above | below
    return related


def _quantile_bins(values: NDArray[np.float64], num_bins: int) -> NDArray[np.int32]:
    """0 for the nearest share, num_bins - 1 for the farthest; equal values share a bin."""
    edges = np.quantile(values, np.linspace(0, 1, num_bins + 1)[1:-1])
    return np.searchsorted(edges, values, side="left").astype(np.int32)
