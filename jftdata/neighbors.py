"""Exact neighbour search among unit-length vectors. The only module that imports faiss.

Similarity is the inner product (high is alike). faiss finds the candidates; similarities are then computed again in
float64 in a fixed order, since faiss' own differ by 2e-7 with batch size. Cost: about 100 GFLOP/s on two cores, 2 n m d
operations.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput

_SLACK = 1e-5
_ROUNDING = (
    1e-6  # a float32 vector is of unit length up to this, so copies of one vector reach a similarity of 1 up to this
)
_BLOCK = 4096


def range_search(
    queries: Embeddings, base: Embeddings, *, min_similarity: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """All pairs at least so similar, complete.

    Args:
        queries: (n, d) embeddings.
        base: (m, d) embeddings of the same embedder.
        min_similarity: in (0, 1]; less 1e-6 for the rounding of float32 vectors.

    Returns:
        query positions, base positions and similarities, each (num_pairs,), sorted by (query, base).

    Raises:
        BadInput: embeddings of two embedders.
        BadArgument: `min_similarity` out of range.
    """
    if not 0 < min_similarity <= 1:
        raise BadArgument(f"`min_similarity` must be in (0, 1]. Got {min_similarity}.")
    index = _flat(queries, base)
    lefts, rights, values = [], [], []
    for first in range(0, len(queries), _BLOCK):
        block = np.ascontiguousarray(queries.vectors[first : first + _BLOCK])
        limits, _, ids = index.range_search(block, min_similarity - _SLACK)
        left = np.repeat(np.arange(len(block)), np.diff(limits.astype(np.int64)))
        order = np.lexsort((ids, left))
        left, right = left[order], ids[order].astype(np.int64)
        value = similarities(block, base.vectors, left, right)
        keep = value >= min_similarity - _ROUNDING
        lefts.append(left[keep] + first)
        rights.append(right[keep])
        values.append(value[keep])
    if not lefts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(values)


def nearest(queries: Embeddings, base: Embeddings, *, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k most similar base vectors of each query, ties broken by the lower position.

    Returns:
        (n, k) base positions and (n, k) similarities, most similar first.

    Raises:
        BadArgument: k is not in 1..len(base).

    >>> e = Embeddings.of(np.eye(3, dtype=np.float32), np.arange(3), embedder="toy")
    >>> nearest(e, e, k=1)[0].ravel().tolist()
    [0, 1, 2]
    """
    if not 1 <= k <= len(base):
        raise BadArgument(f"`k` must be in 1..{len(base)}, the number of vectors. Got {k}.")
    index = _flat(queries, base)
    wider = min(len(base), k + 8)  # room for ties at the edge
    positions = np.empty((len(queries), k), np.int64)
    values = np.empty((len(queries), k))
    for first in range(0, len(queries), _BLOCK):
        block = np.ascontiguousarray(queries.vectors[first : first + _BLOCK])
        _, ids = index.search(block, wider)
        left = np.repeat(np.arange(len(block)), wider)
        value = similarities(block, base.vectors, left, ids.ravel()).reshape(ids.shape)
        order = np.lexsort((ids, -value), axis=1)[:, :k]
        positions[first : first + len(block)] = np.take_along_axis(ids, order, axis=1)
        values[first : first + len(block)] = np.take_along_axis(value, order, axis=1)
        if wider < len(base):  # more ties than there was room for: ask for all that are so similar
            for i in np.flatnonzero(value.min(axis=1) >= values[first : first + len(block), -1] - _SLACK):
                row = first + int(i)
                _, _, tied = index.range_search(block[i : i + 1], float(values[row, -1]) - 2 * _SLACK)
                tied = np.sort(tied.astype(np.int64))
                exact = similarities(block[i : i + 1], base.vectors, np.zeros(len(tied), np.int64), tied)
                order = np.lexsort((tied, -exact))[:k]
                positions[row], values[row] = tied[order], exact[order]
    return positions, values


def kmeans(vectors: NDArray[np.float32], *, k: int, seed: int, iterations: int = 20) -> NDArray[np.float32]:
    """Spherical k-means.

    Args:
        vectors: (n, d) float32, unit length.
        k: number of centroids, at most n.
        seed: for the first centroids.
        iterations: 20 settle; lists to search in need fewer.

    Returns:
        (k, d) float32 centroids, unit length.
    """
    if not 1 <= k <= len(vectors):
        raise BadArgument(f"`k` must be in 1..{len(vectors)}, the number of vectors. Got {k}.")
    if k == 1:
        mean = vectors.mean(axis=0, dtype=np.float64, keepdims=True)
        centroid: NDArray[np.float32] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
        return centroid
    import faiss

    # fewer points a centroid than faiss asks for is fine here: labels of the tail have few images
    engine = faiss.Kmeans(
        vectors.shape[1], k, niter=iterations, seed=seed & 0x7FFFFFFF, spherical=True, min_points_per_centroid=1
    )
    engine.train(np.ascontiguousarray(vectors, np.float32))
    found: NDArray[np.float32] = np.asarray(engine.centroids, np.float32)
    return found


def _flat(queries: Embeddings, base: Embeddings) -> Any:
    import faiss

    check_comparable(queries, base)
    index = faiss.IndexFlatIP(base.vectors.shape[1])
    for first in range(0, len(base), 1 << 18):
        index.add(np.ascontiguousarray(base.vectors[first : first + (1 << 18)]))
    return index


def check_comparable(queries: Embeddings, base: Embeddings) -> None:
    """Raise BadInput for an empty set, or vectors of two embedders."""
    if not len(base) or not len(queries):
        raise BadInput(f"nothing to search: {len(queries)} queries, {len(base)} vectors. Embed some images first.")
    if queries.embedder != base.embedder or queries.vectors.shape[1] != base.vectors.shape[1]:
        raise BadInput(
            f"vectors of two embedders cannot be compared: {queries.embedder} ({queries.vectors.shape[1]} dimensions) "
            f"and {base.embedder} ({base.vectors.shape[1]}). Embed both with one."
        )


def similarities(
    left_vectors: NDArray[np.float32], right_vectors: NDArray[np.float32], left: NDArray[Any], right: NDArray[Any]
) -> NDArray[np.float64]:
    """Inner products of pairs of rows, in float64 and a fixed order."""
    out = np.empty(len(left))
    for first in range(0, len(left), 1 << 14):
        part = slice(first, first + (1 << 14))
        out[part] = np.einsum("nd,nd->n", left_vectors[left[part]], right_vectors[right[part]], dtype=np.float64)
    return out
