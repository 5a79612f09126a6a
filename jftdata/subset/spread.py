"""Subsets by content: few images that stand for all, and all but the near-copies.

Which builder for what: `k_center` leaves no image far from a chosen one, rare ones and oddities included; `facility_location`
serves the many; `prototypes` takes the typical or the hardest of each label; `sem_dedup` drops what another image says already,
and is the one to keep most of a large set with (`one_per_group` drops verified copies). `coverage` measures what a choice is worth.

Measured on CIFAR-10 and Tiny ImageNet (`benchmarks/bench_spread.py`), a tenth chosen by `facility_location` tells the labels of
held-out images by nearest neighbour better than a random tenth, one chosen by `k_center` or `sem_dedup` worse.

All choose among the images that have a vector; how many have none (unreadable ones, for example) is said. Vectors are taken into
memory, twice for the time of a choice: 8 bytes a dimension.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jftdata import neighbors, ragged
from jftdata.catalog import Catalog, label_arrays
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.hashing import keyed_order
from jftdata.progress import say
from jftdata.subset import greedy
from jftdata.subset.build import Picked, all_of, builder
from jftdata.subset.core import Subset

_NEIGHBORS = 32
_RECALL = 0.95
_IMAGES_A_CLUSTER = 1000
_ROUNDING = 1e-6  # copies of one float32 vector reach a similarity of 1 up to this


@builder()
def k_center(source: Subset, *, embeddings: Embeddings, size: int, seed: int) -> Picked:
    """Images such that no other is far from the nearest of them, chosen farthest first.

    Args:
        source: where to choose from.
        embeddings: a vector an image.
        size: number of images; a smaller choice lies within a larger one.
        seed: of the keyed hash that gives the first image.

    Raises:
        BadArgument: a size below one or above the images with a vector.
        BadInput: no image with a vector.

    Cost: n size d multiply-adds: 1M images of 256 dimensions to 10,000 take 2.6e12.

    Source: Gonzalez 1985: the largest distance to the nearest chosen image is at most twice the smallest that any choice of this
    size can reach, in Euclidean distance and in angle.
    """
    own = _with_vectors(source, embeddings, size)
    first = int(keyed_order(own.images, seed=seed, stream="k_center")[0])
    return own.images[greedy.farthest_first(own.vectors, first=first, size=size)]


@builder()
def facility_location(
    source: Subset, *, embeddings: Embeddings, size: int, seed: int, num_neighbors: int = _NEIGHBORS
) -> Picked:
    """Images that serve the others best: the sum of every image's similarity to the most similar chosen one is high.

    An image is served only by itself and its nearest neighbours.

    Args:
        source: where to choose from.
        embeddings: a vector an image.
        size: number of images; a smaller choice lies within a larger one.
        seed: of the keyed hash that decides between equals, and of the index that finds neighbours in large sets.
        num_neighbors: nearest neighbours looked at, of each image; ones less similar than 0 do not count.

    Raises:
        BadArgument: an argument out of range.
        BadInput: no image with a vector.

    Cost: that of `neighbors.nearest` at a recall of 0.95 (exact for small sets); the lazy greedy choice is quick beside it.

    Source: Nemhauser et al. 1978: the sum over the neighbours that were found is at least 1 - 1/e, 63%, of the highest there is.
    """
    own = _with_vectors(source, embeddings, size)
    if num_neighbors < 1:
        raise BadArgument(f"`num_neighbors` must be at least 1. Got {num_neighbors}.")
    k = min(len(own), num_neighbors + 1)  # an image is among its own
    near = neighbors.nearest(own, own, k=k, recall=_RECALL, seed=seed)
    order = keyed_order(own.images, seed=seed, stream="facility_location")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    candidates = place[near.positions.ravel()]
    by_candidate = np.argsort(candidates, kind="stable")
    start = np.zeros(len(own) + 1, np.int64)
    np.cumsum(np.bincount(candidates, minlength=len(own)), out=start[1:])
    served = (by_candidate // k).astype(np.int32)
    value = np.maximum(near.similarity.ravel()[by_candidate], 0.0)
    return own.images[order[greedy.best_served(start, served, value, num_served=len(own), size=size)]]


@builder()
def prototypes(
    source: Subset, *, embeddings: Embeddings, size: int, per: Literal["label", "all"] = "label", hardest: bool = False,
    num_clusters: int | None = None, seed: int = 0,
) -> Picked:  # fmt: skip
    """Images nearest to their centroid (typical, easy ones) or farthest from it (`hardest`).

    Each label, or each k-means cluster, gives the same share of its images, so that none is lost to a more compact one.

    Args:
        source: where to choose from.
        embeddings: a vector an image.
        size: number of images.
        per: `label`: centroids are the mean directions of the images of each given label, and an image counts for the nearest of
            its labels; images without a label are not chosen, and counted. `all`: centroids are those of k-means.
        hardest: take the farthest instead, which pays where images are plenty.
        num_clusters: of k-means; None is the root of the number of images: 1,000 for a million.
        seed: of k-means.

    Raises:
        UnknownOption: `per` is neither.
        BadArgument: an argument out of range, or `num_clusters` with `per="label"`.
        BadInput: no image with a vector.

    Cost: one pass over vectors and labels; with k-means 20 passes over 256 images a cluster, and an exact search for the nearest.

    Source: Sorscher et al. 2022, section 6, who rank the whole set by the distance to k-means centroids and then mend the
    balance of labels; the equal shares here are ours.
    """
    if per not in ("label", "all"):
        raise one_of("per", per, ("label", "all"))
    if per == "label" and num_clusters is not None:
        raise BadArgument(f"`num_clusters` goes with per='all'. Got {num_clusters} with per='label'; leave it out.")
    own = _with_vectors(source, embeddings, size)
    if per == "all":
        of, similarity = _clusters(own, round(len(own) ** 0.5) if num_clusters is None else num_clusters, seed)
        ids = own.images
    else:
        at, of, similarity = _own_labels(source, own)
        ids = own.images[at]
        if size > len(ids):
            raise BadArgument(f"`size` must be in 1..{len(ids)}, the images with a vector and a label. Got {size}.")
    order = np.lexsort((ids, similarity if hardest else -similarity, of))
    start = np.concatenate([[0], np.cumsum(np.bincount(of))])
    share = (np.arange(len(order)) - start[of[order]] + 0.5) / np.diff(start)[of[order]]
    return ids[order[np.lexsort((ids[order], share))[:size]]]


@builder()
def sem_dedup(
    source: Subset, *, embeddings: Embeddings, seed: int, share: float | None = None, min_similarity: float | None = None,
    num_clusters: int | None = None,
) -> Picked:  # fmt: skip
    """Images less those that have one much like them in the same k-means cluster; of two alike the one farther off stays.

    Within a cluster, images are gone through from the farthest from the centroid to the nearest, and each has the similarity of
    the most similar one before it. Those where it is highest go.

    Args:
        source: where to choose from.
        embeddings: a vector an image.
        seed: of k-means.
        share: keep so many of the images that have a vector, in (0, 1]; a smaller share lies within a larger.
        min_similarity: or drop at this similarity and above, in (0, 1].
        num_clusters: of k-means; None is one for a thousand images. Copies in two clusters are not found, so a small set is best
            left in one.

    Raises:
        BadArgument: an argument out of range; neither or both of `share` and `min_similarity`.
        BadInput: no image with a vector.

    Cost: k-means, and n**2 d / (2 num_clusters) multiply-adds for clusters of one size.

    Source: Abbas et al. 2023 (SemDeDup), figure 2; they take 50,000 clusters for 440M images. A join of all similar pairs
    (`dedup.find_pairs`) misses none but needs the threshold beforehand, and does not say how alike the rest is.
    """
    if (share is None) == (min_similarity is None):
        raise BadArgument(f"give `share` or `min_similarity`, one of the two. Got {share} and {min_similarity}.")
    for name, value in (("share", share), ("min_similarity", min_similarity)):
        if value is not None and not 0 < value <= 1:
            raise BadArgument(f"`{name}` must be in (0, 1]. Got {value}.")
    own = _with_vectors(source, embeddings)
    k = max(1, len(own) // _IMAGES_A_CLUSTER) if num_clusters is None else num_clusters
    of, similarity = _clusters(own, k, seed)
    order = np.lexsort((own.images, similarity, of))
    pieces = np.split(order, np.flatnonzero(np.diff(of[order])) + 1)
    alike = np.empty(len(own), np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda rows: greedy.most_alike_before(own.vectors[rows]), pieces)
        for rows, values in zip(pieces, found, strict=True):
            alike[rows] = values
    if min_similarity is not None:
        return own.images[alike < min_similarity - _ROUNDING]
    assert share is not None
    return own.images[np.lexsort((own.images, alike))[: max(1, round(share * len(own)))]]


def coverage(source: Catalog | Subset, chosen: Subset, *, embeddings: Embeddings) -> dict[str, float]:
    """How well a choice stands for all images that have a vector.

    Args:
        source: all.
        chosen: some of them.
        embeddings: a vector an image.

    Returns:
        `radius`, the largest Euclidean distance of an image to the nearest chosen one (0 to 2), which `k_center` keeps small; and
        `similarity`, the mean similarity of an image to the most similar chosen one, which `facility_location` keeps high.

    Raises:
        BadInput: no image with a vector.

    Cost: an exact search, n times the chosen times d multiply-adds.
    """
    every = _with_vectors(source if isinstance(source, Subset) else all_of(source), embeddings)
    near = neighbors.nearest(every, _with_vectors(chosen, embeddings), k=1).similarity[:, 0]
    return {"radius": float(np.sqrt(max(0.0, 2 - 2 * near.min()))), "similarity": float(near.mean())}


def _with_vectors(source: Subset, embeddings: Embeddings, size: int = 1) -> Embeddings:
    """The vectors of the images that have one; how many have none is said."""
    there = ragged.in_sorted(source.images, embeddings.images)
    if not there.any():
        raise BadInput(f"none of the {len(source):,} images has a vector. Give embeddings of {source.catalog.path}.")
    if not there.all():
        say(f"{(~there).sum():,} of {len(source):,} images have no vector and are not chosen from.")
    if not 1 <= size <= there.sum():
        raise BadArgument(f"`size` must be in 1..{there.sum()}, the images with a vector. Got {size}.")
    return embeddings.select(np.asarray(source.images[there]))


def _clusters(own: Embeddings, k: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest k-means centroid of each image, and its similarity."""
    if not 1 <= k <= len(own):
        raise BadArgument(f"`num_clusters` must be in 1..{len(own)}, the images with a vector. Got {k}.")
    found = neighbors.kmeans(own.vectors, k=k, seed=seed)
    near = neighbors.nearest(own, Embeddings.of(found, np.arange(k), embedder=own.embedder), k=1)
    return near.positions[:, 0], _rounded(near.similarity[:, 0])


def _rounded(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two images are equally far from their mean, and equal they shall be."""
    return np.round(similarity, 6)


def _own_labels(source: Subset, own: Embeddings) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Positions of the images with a label, the one of their labels whose centroid is nearest, and its similarity."""
    from scipy.sparse import csr_array

    ids, lengths, labels = [], [], []
    for image, (start, index) in source.map_rows(
        lambda rows: (rows.column("image").to_numpy(), label_arrays(rows.column("labels"))), columns=["labels"]
    ):
        there = np.flatnonzero(ragged.in_sorted(image, own.images))
        cut, found = ragged.take_rows(start, index, there)
        ids.append(np.searchsorted(own.images, image[there]))
        lengths.append(np.diff(cut))
        labels.append(found)
    at = np.repeat(np.concatenate(ids), np.concatenate(lengths))
    label = np.concatenate(labels)
    num = source.catalog.hierarchy.num_labels
    table = csr_array((np.ones(len(at)), (label, at)), shape=(num, len(own)))
    sums = np.concatenate(
        [table @ own.vectors[:, j : j + 64].astype(np.float64) for j in range(0, own.vectors.shape[1], 64)], axis=1
    )
    centroids = (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    similarity = _rounded(neighbors.similarities(own.vectors, centroids, at, label))
    order = np.lexsort((label, -similarity, at))
    first = order[np.flatnonzero(np.diff(at[order], prepend=-1))]
    if len(first) < len(own):
        say(f"{len(own) - len(first):,} of {len(own):,} images have no label and are not chosen from.")
    return at[first], label[first].astype(np.int64), similarity[first]
