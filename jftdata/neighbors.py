"""Search among unit-length vectors, exact or by an index of measured recall. The only module that imports faiss.

Similarity is the inner product (high is alike). faiss proposes candidates; similarities are then computed again in
float64 in a fixed order, since faiss' own differ by 2e-7 with batch size, and of equals the lower position comes first.
Exact search compares everything with everything, a block of the base at a time: 2 n m d operations, about 100 GFLOP/s
on two cores. An index looks at a part of the base. How much is found out on sampled queries with known answers, so that
a wanted recall is met; where no index meets it, the search is exact.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from jftdata import storage
from jftdata.embeddings import Embeddings, check_unit
from jftdata.errors import BadArgument, BadInput, Damaged, one_of
from jftdata.hashing import keyed_order
from jftdata.progress import progress, say

Kind = Literal["auto", "flat", "ivf", "pq", "hnsw"]
FORMAT = "jftdata.neighbors/1"
_EMPTY = "empty.faiss"
EXACT_PRODUCTS = 5e11
"""Multiply-adds up to which everything is compared unless told otherwise; about ten seconds on two cores."""
_SLACK = 1e-5
_ROUNDING = (
    1e-6  # a float32 vector is of unit length up to this, so copies of one vector reach a similarity of 1 up to this
)
_BLOCK = 4096  # queries at a time
_ADDED = 1 << 18  # base vectors at a time
_PART = 1 << 21  # base vectors in one file of an index, and in memory while it is made
_ANSWERS = 1 << 22  # candidates held at a time
_SAMPLE = 512  # queries whose true neighbours tell the recall
_ENOUGH = 100  # sampled pairs above a threshold that make a recall worth the name
_PAYS = 32  # an index is made for one search of this many times the root of m queries or more
_FEWEST = 100  # vectors that lists and codes can be trained on
_DEEPEST = 4096  # candidates beyond which a query of very many answers is compared with everything


@dataclass(frozen=True, eq=False)
class Nearest:
    """Nearest neighbours; unpacks into `positions, similarity`."""

    positions: NDArray[np.int64]
    """(n, k) base positions, most similar first, of equals the lower first."""
    similarity: NDArray[np.float64]
    """(n, k)."""
    recall: float
    """Share of the neighbours of sampled queries that were found; 1 for an exact search."""
    plan: str
    """How it was done, for the log."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.positions, self.similarity))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs above a similarity, sorted by (query, base); unpacks into `left, right, similarity`."""

    left: NDArray[np.int64]
    """(num_pairs,) query positions."""
    right: NDArray[np.int64]
    """(num_pairs,) base positions."""
    similarity: NDArray[np.float64]
    recall: float
    """Share of the pairs of sampled queries that were found; 1 for an exact search."""
    plan: str

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.left, self.right, self.similarity))


def nearest(
    queries: Embeddings, base: Embeddings, *, k: int, recall: float = 1.0, index: Kind = "auto", device: str = "auto",
    seed: int = 0,
) -> Nearest:  # fmt: skip
    """The k most similar base vectors of each query, ties broken by the lower position.

    Args:
        queries: (n, d) embeddings.
        base: (m, d) embeddings of the same embedder.
        k: neighbours, 1 to m.
        recall: share of the neighbours that must be found; 1 compares everything with everything.
        index: `flat` compares everything; `ivf` looks into the nearest lists of a k-means; `pq` does so in 4-bit codes of
            two dimensions or more; `hnsw` walks a graph. `auto` is `flat` at recall 1, for less than
            `EXACT_PRODUCTS`, for fewer queries than would pay for an index, and on a GPU; else `pq`.
        device: `auto`, `cpu` or `cuda`. NVIDIA GPUs, all there are, serve the flat search; `auto` uses them from
            `EXACT_PRODUCTS` up.
        seed: of the sample, the k-means and the codes.

    Raises:
        BadArgument: an argument out of range, or arguments that contradict each other.
        UnknownOption: no such index or device.
        BadInput: embeddings of two embedders, none, or a vector that is not of unit length.

    Cost: n m d multiply-adds when flat. `Index` tells that of the others and what they cannot promise.

    >>> e = Embeddings.of(np.eye(3, dtype=np.float32), np.arange(3), embedder="toy")
    >>> positions, similarity = nearest(e, e, k=1)
    >>> positions.ravel().tolist()
    [0, 1, 2]
    """
    _check_k(k, len(base), "the number of vectors")
    _check(queries, base)
    kind, device = _chosen(index, queries, base, recall, device)
    if kind == "flat":
        return _flat_nearest(queries, base, k, device, "")
    found = _make(base, kind, queries, k, seed, None).nearest(queries, k=k, recall=recall)
    say(found.plan)
    return found


def range_search(
    queries: Embeddings, base: Embeddings, *, min_similarity: float, recall: float = 1.0, index: Kind = "auto",
    seed: int = 0,
) -> Pairs:  # fmt: skip
    """All pairs at least so similar; complete at recall 1. For one large set with itself `join.self_join` is faster.

    Args:
        queries: (n, d) embeddings.
        base: (m, d) embeddings of the same embedder.
        min_similarity: in (0, 1]; less 1e-6 for the rounding of float32 vectors.
        recall: share of the pairs that must be found; 1 compares everything with everything.
        index: as for `nearest`.
        seed: as for `nearest`.

    Raises:
        BadArgument, UnknownOption, BadInput: as `nearest`.

    Cost: as `nearest`; runs on the CPU.
    """
    _check_similarity(min_similarity)
    _check(queries, base)
    kind, _ = _chosen(index, queries, base, recall, "cpu")
    if kind == "flat":
        return _flat_range(queries, base, min_similarity, "")
    engine = _make(base, kind, queries, min(100, len(base) - 1), seed, None)
    found = engine.range_search(queries, min_similarity=min_similarity, recall=recall)
    say(found.plan)
    return found


def build(
    base: Embeddings, *, out: Path | str, index: Kind = "auto", queries: Embeddings | None = None, k: int = 100,
    seed: int = 0,
) -> "Index":  # fmt: skip
    """An index kept on disk, to be used again; there already and made in the same way, it is opened at once.

    Args:
        base: (m, d) embeddings, from 100 vectors up; read a block at a time, so a memory map need not fit in memory.
        out: folder to write. A build that was killed goes on with the parts it had.
        index: `ivf`, `pq` or `hnsw` as for `nearest`; `auto` is `pq`.
        queries: embeddings like those that will be asked for, to measure the recall on. None: vectors of the base, each
            among the others; others can be harder, above all for a graph, which leads to its own vectors best.
        k: the most neighbours that will be asked for.
        seed: of the sample, the k-means and the codes.

    Raises:
        BadArgument: an argument out of range; a flat index, which is the embeddings themselves.
        BadInput: too few vectors, or vectors `nearest` would refuse.
        OutputExists: `out` is there, made otherwise.

    Cost: m d times twice the root of m multiply-adds and an exact search of 512 queries. `Index` tells the memory.
    """
    kind = _known(index)
    if kind == "flat":
        raise BadArgument("`index` flat is the embeddings themselves: nothing to build. Call nearest, or build a pq.")
    kind = "pq" if kind == "auto" else kind
    _check(base if queries is None else queries, base)
    made_with = {"index": kind, "k": k, "seed": seed}
    inputs = {"embeddings": base.fingerprint, **({} if queries is None else {"queries": queries.fingerprint})}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as making:
        if making is not None:
            made = _make(base, kind, base if queries is None else queries, k, seed, making.folder)
            making.facts = {
                "num_vectors": len(base),
                "dimensions": base.vectors.shape[1],
                "num_lists": 0 if made._centroids is None else len(made._centroids),
                "num_parts": len(made._parts),
            }
    return Index.open(out, base)


@dataclass(frozen=True)
class _Sample:
    """Queries with known answers."""

    vectors: NDArray[np.float32]
    """(s, d) float32, unit length."""
    own: NDArray[np.int64]
    """(s,) base position of the very same image, which is not counted as found; -1 where there is none."""
    similarity: NDArray[np.float64]
    """(s, k) similarity of the nearest others, falling; -inf where there are fewer."""

    @classmethod
    def of(cls, base: Embeddings, queries: Embeddings, k: int, seed: int) -> Self:
        rows = np.sort(keyed_order(queries.images, seed=seed, stream="neighbors sample")[:_SAMPLE])
        some = queries.select(queries.images[rows])
        at = np.minimum(np.searchsorted(base.images, some.images), len(base) - 1)
        own = np.where(base.images[at] == some.images, at, -1)
        found = _flat_nearest(some, base, min(k + 1, len(base)), _chosen("flat", some, base, 1.0, "auto")[1], "")
        others = np.where(found.positions == own[:, None], -np.inf, found.similarity)
        return cls(some.vectors, own, -np.sort(-others, axis=1)[:, :k])


@dataclass(frozen=True, eq=False)
class Index:
    """An index of a base, in memory or on disk, and the sampled queries that tell its recall.

    The same base, kind and seed give the same index, and an answer depends neither on the other queries asked with it nor
    on threads. What is found has its exact similarity. Not promised: the share found of queries unlike the sampled ones;
    that of equal vectors those at the lower positions are found; the same index from another version of faiss.

    The first search of a k and recall looks for the least effort on the sample, some seconds for a million vectors. One
    index is not to be searched by several Python threads at once.

    Memory when opened: `ivf` has its lists, which are the vectors once more, memory-mapped; `pq` holds a quarter of a byte a
    dimension or less, and 8 bytes, a vector; `hnsw` the vectors and 256 bytes each. Candidates are read from the base.
    A build holds two million vectors, or their codes, beside that.
    """

    base: Embeddings
    kind: str
    _sample: _Sample
    _centroids: NDArray[np.float32] | None
    """(num_lists, d) float32; None for hnsw."""
    _parts: list[Any]
    """faiss indexes of `_PART` vectors each, in the order of the base."""
    _efforts: "dict[tuple[Any, ...], _Effort | None]" = field(default_factory=dict)
    """Those found so far."""

    @classmethod
    def open(cls, path: Path | str, base: Embeddings) -> Self:
        """Open an index with the embeddings it was built of.

        Raises:
            MissingInput: nothing there.
            BadInput: another kind of artefact, or an index of other embeddings.
            Damaged: faiss cannot read a file.
        """
        path = Path(path)
        sidecar = storage.read_sidecar(path, kind="jftdata.neighbors")
        there = sidecar.inputs["embeddings"]
        if there != base.fingerprint:
            raise BadInput(
                f"{path} is an index of the embeddings {there[:12]}. Got {base.fingerprint[:12]}. Open it with those it was "
                "built of, or build one of these."
            )
        sample = _Sample(*(np.load(path / f"{name}.npy") for name in ("sample", "own", "similarity")))
        parts = [_read(path / _part_name(i)) for i in range(sidecar.facts["num_parts"])]
        return cls(base, sidecar.made_with["index"], sample, _centroids_of(parts[0], sidecar.made_with["index"]), parts)

    def nearest(self, queries: Embeddings, *, k: int, recall: float = 0.99) -> Nearest:
        """The k most similar base vectors of each query, as the function of that name; `recall` below 1.

        Raises:
            BadArgument: k above that of the build, or recall out of range.
            BadInput: as `nearest`.
        """
        _check_k(k, self._sample.similarity.shape[1], "for which this index was measured")
        _check_recall(recall)
        _check(queries, self.base)
        wanted = np.minimum(np.isfinite(self._sample.similarity).sum(axis=1), k)
        low = self._sample.similarity[np.arange(len(wanted)), np.maximum(wanted, 1) - 1]
        depths = [(k + 8) * more for more in ((1, 2, 4, 8, 16) if self.kind == "pq" else (1,))]
        effort = self._tuned(("nearest", k, recall), wanted, low, depths)
        if effort is None:
            return _flat_nearest(queries, self.base, k, "cpu", self._refused(recall))
        positions = np.empty((len(queries), k), np.int64)
        values = np.empty((len(queries), k))
        height = self._height(effort.depth)
        for first in range(0, len(queries), height):
            part = slice(first, first + height)
            block = np.ascontiguousarray(queries.vectors[part], np.float32)
            ids = self._candidates(block, effort.visits, effort.depth)
            order = np.argsort(-_rough(block, self.base, ids), axis=1, kind="stable")[:, : k + 8]
            ids = np.take_along_axis(ids, order, axis=1)
            positions[part], values[part] = _top(ids, _values(block, self.base, ids), k)
        short = np.flatnonzero(positions.min(axis=1) < 0)  # the lists that were visited hold fewer than k
        if len(short):
            some = queries.select(queries.images[short])
            positions[short], values[short] = _flat_nearest(some, self.base, k, "cpu", "")
        return Nearest(positions, values, effort.recall, self._plan(effort, "neighbours"))

    def range_search(self, queries: Embeddings, *, min_similarity: float, recall: float = 0.99) -> Pairs:
        """Pairs at least so similar, as the function of that name; `recall` below 1.

        A query of whose candidates more than half are answers is asked again with four times as many, and one of thousands
        is compared with everything. Where fewer than 100 pairs of the sample are so similar, recall is measured on the
        nearest neighbours of the sample instead, and the plan says so.

        Raises:
            BadArgument, BadInput: as `nearest`.
        """
        _check_similarity(min_similarity)
        _check_recall(recall)
        _check(queries, self.base)
        similar = self._sample.similarity >= min_similarity
        wanted, low, of = similar.sum(axis=1), np.full(len(similar), min_similarity), "pairs"
        if wanted.sum() < _ENOUGH:
            of = f"nearest neighbours, since only {wanted.sum()} sampled pairs are so similar"
            wanted, low = np.isfinite(self._sample.similarity[:, 0]).astype(np.int64), self._sample.similarity[:, 0]
        depths = [2 * similar.shape[1] * more for more in ((1, 4) if self.kind == "pq" else (1,))]
        effort = self._tuned(("range", min_similarity, recall), wanted, low, depths)
        if effort is None:
            return _flat_range(queries, self.base, min_similarity, self._refused(recall))
        lefts, rights, values = [], [], []
        rows, depth = np.arange(len(queries)), effort.depth
        while len(rows) and depth <= max(_DEEPEST, effort.depth):
            full = []
            height = self._height(depth)
            for first in range(0, len(rows), height):
                part = rows[first : first + height]
                block = np.ascontiguousarray(queries.vectors[part], np.float32)
                ids = self._candidates(block, effort.visits, depth)
                hit = _rough(block, self.base, ids) >= min_similarity - _SLACK
                more = (hit.sum(axis=1) > depth // 2) & (depth < len(self.base))
                at, column = np.nonzero(hit & ~more[:, None])
                value = similarities(block, self.base.vectors, at, ids[at, column])
                keep = value >= min_similarity - _ROUNDING
                lefts.append(part[at[keep]])
                rights.append(ids[at, column][keep])
                values.append(value[keep])
                full.append(part[more])
            rows, depth = np.concatenate(full), 4 * depth
        if len(rows):
            some = queries.select(queries.images[rows])
            left, right, value = _flat_range(some, self.base, min_similarity, "")
            lefts.append(rows[left])
            rights.append(right)
            values.append(value)
        return _sorted(lefts, rights, values, effort.recall, self._plan(effort, of))

    def _height(self, depth: int) -> int:
        """Queries at a time."""
        return max(1, min(_BLOCK, _ANSWERS // max(depth, 0 if self._centroids is None else len(self._centroids))))

    def _tuned(
        self, asked: tuple[str, float, float], wanted: NDArray[np.int64], low: NDArray[np.float64], depths: list[int]
    ) -> "_Effort | None":
        """The least effort whose recall on the sample is, beyond its doubt, the one asked for; None where there is none.

        Args:
            asked: the search, k or the threshold, and the recall.
            wanted: (s,) true answers of each sampled query.
            low: (s,) least similarity of a true answer.
            depths: candidates to try, rising.
        """
        if asked not in self._efforts:
            self._efforts[asked] = self._least_effort(asked[-1], wanted, low, depths)
        return self._efforts[asked]

    def _least_effort(
        self, recall: float, wanted: NDArray[np.int64], low: NDArray[np.float64], depths: list[int]
    ) -> "_Effort | None":
        sample = self._sample
        if self._centroids is None:
            visits, most = 16, 4096
        else:  # visiting all lists is an exact search, but for codes still a faster one
            visits, most = 1, len(self._centroids) // (1 if self.kind == "pq" else 2)
        while True:
            ids = self._candidates(sample.vectors, visits, depths[-1])
            near = _rough(sample.vectors, self.base, ids)
            hit = (near >= low[:, None] - _ROUNDING) & (ids != sample.own[:, None])
            for depth in depths:
                found = np.minimum(hit[:, :depth].sum(axis=1), wanted)
                share = float(found.sum() / wanted.sum())
                doubt = 1.64 * float(np.sqrt(((found - share * wanted) ** 2).sum()) / wanted.sum())
                if share - doubt >= recall:
                    return _Effort(visits, depth, share)
            if visits == most:
                return None
            visits = min(max(visits + 1, visits * 3 // 2), most)

    def _candidates(self, x: NDArray[np.float32], visits: int, depth: int) -> NDArray[np.int64]:
        """(n, depth) positions in the order faiss finds best; -1 where there are fewer."""
        faiss = _faiss()
        wide = _padded(x, self.kind)
        if self._centroids is not None:
            lists, near = _nearest_lists(x, self._centroids, visits)
        ids = np.full((len(x), depth), -1, np.int64)
        rough = np.full((len(x), depth), -np.inf, np.float32)
        for i, engine in enumerate(self._parts):
            if self._centroids is None:
                walk = faiss.SearchParametersHNSW(efSearch=max(visits, depth))
                more_rough, more = engine.search(wide, depth, params=walk)
            else:
                engine.nprobe = visits
                more_rough, more = engine.search_preassigned(wide, depth, lists, near)
            ids, rough = _merged(ids, rough, np.where(more < 0, -1, more + i * _PART), more_rough)
        return ids

    def _plan(self, effort: "_Effort", of: str) -> str:
        where = f"walks of {max(effort.visits, effort.depth)}"
        if self._centroids is not None:
            where = f"{effort.visits:,} of {len(self._centroids):,} lists visited"
        whose = "vectors of the base" if (self._sample.own >= 0).all() else "queries"
        return (
            f"{self.kind} index, {where}, {effort.depth} candidates compared; recall {effort.recall:.4f} measured on "
            f"{len(self._sample.own):,} {whose} ({of})"
        )

    def _refused(self, recall: float) -> str:
        return f", since the {self.kind} index does not reach a recall of {recall:g}"


@dataclass(frozen=True)
class _Effort:
    visits: int
    """Lists visited, or vectors a walk keeps in mind."""
    depth: int
    """Candidates compared in float64."""
    recall: float


# ---- exact -----------------------------------------------------------------------------------------------------------


def _flat_nearest(queries: Embeddings, base: Embeddings, k: int, device: str, why: str) -> Nearest:
    positions = np.empty((len(queries), k), np.int64)
    values = np.empty((len(queries), k))
    rows, wider = np.arange(len(queries)), min(len(base), k + 8)  # room for ties at the edge
    while len(rows):
        unsettled = []
        height = max(1, _ANSWERS // wider)
        for first in range(0, len(rows), height):
            part = rows[first : first + height]
            ids, rough = _scan(queries, part, base, wider, device if wider <= 2048 else "cpu")  # as far as GPUs go
            value = np.empty(ids.shape)
            for at in range(0, len(part), _BLOCK):
                here = slice(at, at + _BLOCK)
                value[here] = _values(queries.vectors[part[here]], base, ids[here])
            positions[part], values[part] = _top(ids, value, k)
            slack = max(_SLACK, 2 * float(np.abs(value - rough).max()))  # GPUs may round more
            more = value.min(axis=1) >= values[part, -1] - slack
            unsettled.append(part[more & (wider < len(base))])
        rows, wider = np.concatenate(unsettled), min(len(base), 8 * wider)
    return Nearest(positions, values, 1.0, f"exact, {len(queries):,} by {len(base):,} vectors on {device}{why}")


def _scan(
    queries: Embeddings, rows: NDArray[np.int64], base: Embeddings, wider: int, device: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(n, wider) positions and faiss' similarities of the most similar of the whole base."""
    ids = np.full((len(rows), wider), -1, np.int64)
    rough = np.full((len(rows), wider), -np.inf, np.float32)
    for start, engine in _flat_parts(base, device):
        for first in range(0, len(rows), _BLOCK):
            here = slice(first, first + _BLOCK)
            block = np.ascontiguousarray(queries.vectors[rows[here]], np.float32)
            more_rough, more = engine.search(block, min(wider, engine.ntotal))
            ids[here], rough[here] = _merged(ids[here], rough[here], more + start, more_rough)
    return ids, rough


def _flat_range(queries: Embeddings, base: Embeddings, min_similarity: float, why: str) -> Pairs:
    lefts, rights, values = [], [], []
    for start, engine in _flat_parts(base, "cpu"):
        for first in range(0, len(queries), _BLOCK):
            block = np.ascontiguousarray(queries.vectors[first : first + _BLOCK], np.float32)
            limits, _, ids = engine.range_search(block, min_similarity - _SLACK)
            left = np.repeat(np.arange(len(block)), np.diff(limits.astype(np.int64)))
            right = ids.astype(np.int64) + start
            value = similarities(block, base.vectors, left, right)
            keep = value >= min_similarity - _ROUNDING
            lefts.append(left[keep] + first)
            rights.append(right[keep])
            values.append(value[keep])
    plan = f"exact, {len(queries):,} by {len(base):,} vectors on cpu{why}"
    return _sorted(lefts, rights, values, 1.0, plan)


def _flat_parts(base: Embeddings, device: str) -> Iterator[tuple[int, Any]]:
    """First position and a flat index of each block of the base; the one before is gone by then."""
    faiss = _faiss()
    engine = faiss.IndexFlatIP(base.vectors.shape[1])
    if device == "cuda":
        options = faiss.GpuMultipleClonerOptions()
        options.shard = True
        engine = faiss.index_cpu_to_all_gpus(engine, co=options)
    for first in range(0, len(base), _ADDED):
        engine.reset()
        engine.add(_block(base, first, _ADDED))
        yield first, engine


def _merged(
    ids: NDArray[np.int64], rough: NDArray[np.float32], more_ids: NDArray[np.int64], more_rough: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best of two answers, of equals the first."""
    values = np.concatenate([rough, np.where(more_ids < 0, -np.inf, more_rough)], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, : ids.shape[1]]
    both = np.concatenate([ids, more_ids], axis=1)
    return np.take_along_axis(both, order, axis=1), np.take_along_axis(values, order, axis=1)


def _values(x: NDArray[np.float32], base: Embeddings, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Similarity of each query with its candidates; -inf where there is none."""
    left = np.repeat(np.arange(len(x)), ids.shape[1])
    value = similarities(x, base.vectors, left, np.maximum(ids, 0).ravel()).reshape(ids.shape)
    value[ids < 0] = -np.inf
    return value


def _rough(x: NDArray[np.float32], base: Embeddings, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The same in float32, ten times as fast."""
    faiss = _faiss()
    out = np.full(ids.shape, -np.inf, np.float32)
    arrays = (out, x, np.ascontiguousarray(base.vectors, np.float32), np.ascontiguousarray(ids))
    faiss.fvec_inner_products_by_idx(*map(faiss.swig_ptr, arrays), x.shape[1], *ids.shape)
    return out


def _top(ids: NDArray[np.int64], value: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    order = np.lexsort((ids, -value), axis=1)[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(value, order, axis=1)


def _sorted(
    lefts: list[NDArray[np.int64]], rights: list[NDArray[np.int64]], values: list[NDArray[np.float64]], recall: float,
    plan: str,
) -> Pairs:  # fmt: skip
    none = np.empty(0, np.int64)
    left, right = np.concatenate([none, *lefts]), np.concatenate([none, *rights])
    order = np.lexsort((right, left))
    return Pairs(left[order], right[order], np.concatenate([np.empty(0), *values])[order], recall, plan)


# ---- making an index -------------------------------------------------------------------------------------------------


def _make(base: Embeddings, kind: str, queries: Embeddings, k: int, seed: int, folder: Path | None) -> Index:
    """An index in memory, or one whose parts are in a folder; parts that are there are taken as they are."""
    if len(base) < _FEWEST:
        raise BadInput(f"an index is of {_FEWEST} vectors or more. Got {len(base)}. Call nearest with index='flat'.")
    _check_k(k, len(base) - 1, "the number of vectors besides a query's own")
    faiss = _faiss()
    sample = _Sample.of(base, queries, k, seed)
    empty = _kept(folder, _EMPTY, lambda: _trained(base, kind, seed))
    parts = []
    with progress(f"build index ({kind})", total=len(base), unit="vector") as bar:
        for i, start in enumerate(range(0, len(base), _PART)):

            def fill(start: int = start) -> Any:
                engine = faiss.clone_index(empty)
                stop = min(start + _PART, len(base))
                for first in range(start, stop, _ADDED):
                    block = _block(base, first, min(_ADDED, stop - first))
                    engine.add(_padded(block, kind))
                    bar.update(len(block))
                return engine

            parts.append(_kept(folder, _part_name(i), fill))
    if folder is not None:
        for name, array in (("sample", sample.vectors), ("own", sample.own), ("similarity", sample.similarity)):
            np.save(folder / f"{name}.npy", array)
        (folder / _EMPTY).unlink()
    return Index(base, kind, sample, _centroids_of(empty, kind), parts)


def _kept(folder: Path | None, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives; with a folder, it is written there and need not be held in memory."""
    if folder is None:
        return make()
    if not (folder / name).exists():
        with storage.atomic_path(folder / name) as temp:
            _faiss().write_index(make(), str(temp))
    return _read(folder / name)


def _read(path: Path) -> Any:
    faiss = _faiss()
    try:  # lists that hold nothing cannot be copied when mapped
        return faiss.read_index(str(path), 0 if path.name == _EMPTY else faiss.IO_FLAG_MMAP)
    except RuntimeError as error:
        raise Damaged(f"{path} cannot be read ({str(error).splitlines()[0]}). Build the index again.") from error


def _part_name(i: int) -> str:
    return f"part-{i:05d}.faiss"


def _trained(base: Embeddings, kind: str, seed: int) -> Any:
    """An empty index that knows its lists and codes."""
    faiss = _faiss()
    dimensions = base.vectors.shape[1]
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dimensions, 32, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 80
        return graph
    num_lists = max(2, round(2 * len(base) ** 0.5))
    order = keyed_order(base.images, seed=seed, stream="neighbors lists")
    centroids = _padded(kmeans(_rows(base, order[: 32 * num_lists]), k=num_lists, seed=seed, iterations=6), kind)
    quantizer = faiss.IndexFlatIP(centroids.shape[1])
    quantizer.add(centroids)
    arguments = [quantizer, centroids.shape[1], num_lists]
    if kind == "ivf":
        lists = faiss.IndexIVFFlat(*arguments, faiss.METRIC_INNER_PRODUCT)
    else:
        codes = centroids.shape[1] // _step(dimensions)
        lists = faiss.IndexIVFPQFastScan(*arguments, codes, 4, faiss.METRIC_INNER_PRODUCT)
        lists.by_residual = False
        lists.pq.cp.seed = seed & 0x7FFFFFFF
    lists.train(_padded(_rows(base, order[:8192]), kind))
    return lists


def _rows(base: Embeddings, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some vectors, checked, in the order of the base."""
    rows = np.sort(rows)
    some = np.ascontiguousarray(base.vectors[rows], np.float32)
    check_unit(some, base.images[rows])
    return some


def _step(dimensions: int) -> int:
    """Dimensions a 4-bit code stands for: 2, and more where there are over 512."""
    return 2 * -(-dimensions // 512)


def _padded(x: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """With zeros so that codes come out even; similarities stay."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % _step(x.shape[1])))) if kind == "pq" else x


def _centroids_of(engine: Any, kind: str) -> NDArray[np.float32] | None:
    faiss = _faiss()
    if kind == "hnsw":
        return None
    found: NDArray[np.float32] = faiss.downcast_index(engine.quantizer).reconstruct_n(0, engine.nlist)
    return found


def _nearest_lists(
    x: NDArray[np.float32], centroids: NDArray[np.float32], visits: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(n, visits) lists to visit and their similarities; in float64, so that the batch does not tell in the choice."""
    wide = np.pad(x, ((0, 0), (0, centroids.shape[1] - x.shape[1])))
    near = wide.astype(np.float64) @ centroids.T.astype(np.float64)
    lists = np.sort(np.argpartition(-near, visits - 1, axis=1)[:, :visits], axis=1)
    return lists, np.take_along_axis(near, lists, axis=1).astype(np.float32)


def _faiss() -> Any:
    """faiss, loaded when first used; its type stubs know half of it."""
    import faiss

    return faiss


# ---- k-means, checks -------------------------------------------------------------------------------------------------


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
    faiss = _faiss()
    # fewer points a centroid than faiss asks for is fine here: labels of the tail have few images
    engine = faiss.Kmeans(
        vectors.shape[1], k, niter=iterations, seed=seed & 0x7FFFFFFF, spherical=True, min_points_per_centroid=1
    )
    engine.train(np.ascontiguousarray(vectors, np.float32))
    found: NDArray[np.float32] = np.asarray(engine.centroids, np.float32)
    return found


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


def _block(embeddings: Embeddings, first: int, count: int) -> NDArray[np.float32]:
    """Some vectors in a row, checked."""
    block = np.ascontiguousarray(embeddings.vectors[first : first + count], np.float32)
    check_unit(block, embeddings.images[first : first + count])
    return block


def _check(queries: Embeddings, base: Embeddings) -> None:
    """Refuse what cannot be compared, and queries faiss would answer in silence; the base is checked as it is read."""
    check_comparable(queries, base)
    check_unit(queries.vectors, queries.images)


def _check_k(k: int, most: int, what: str) -> None:
    if not 1 <= k <= most:
        raise BadArgument(f"`k` must be in 1..{most}, {what}. Got {k}.")


def _check_recall(recall: float) -> None:
    if not 0 < recall < 1:
        raise BadArgument(f"`recall` of an index must be in (0, 1). Got {recall}. For all, call nearest of the module.")


def _check_similarity(min_similarity: float) -> None:
    if not 0 < min_similarity <= 1:
        raise BadArgument(f"`min_similarity` must be in (0, 1]. Got {min_similarity}.")


def _chosen(index: str, queries: Embeddings, base: Embeddings, recall: float, device: str) -> tuple[str, str]:
    """The kind of index and the device that `auto` stands for here."""
    faiss = _faiss()
    kind = _known(index)
    if not 0 < recall <= 1:
        raise BadArgument(f"`recall` must be in (0, 1]. Got {recall}.")
    if recall == 1 and kind not in ("auto", "flat"):
        raise BadArgument(f"`index` {kind} cannot promise a recall of 1. Give recall=0.99 or so, or index='flat'.")
    if device not in ("auto", "cpu", "cuda"):
        raise one_of("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not faiss.get_num_gpus():
        raise BadArgument("`device` is cuda, and faiss sees no NVIDIA GPU. Give 'cpu' or 'auto'.")
    if device == "cuda" and kind not in ("auto", "flat"):
        raise BadArgument(f"`device` cuda compares everything and has no {kind}. Give index='flat', or device='cpu'.")
    large = float(len(queries)) * base.vectors.size > EXACT_PRODUCTS
    if device == "auto":
        device = "cuda" if large and kind in ("auto", "flat") and faiss.get_num_gpus() else "cpu"
    if kind == "auto":
        pays = large and recall < 1 and device == "cpu" and len(queries) > _PAYS * len(base) ** 0.5
        kind = "pq" if pays else "flat"
    return kind, device


def _known(index: str) -> str:
    if index not in get_args(Kind):
        raise one_of("index", index, get_args(Kind))
    return index
