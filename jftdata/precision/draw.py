"""A stratified sample of given labels: which pairs of an image and a label a person is asked about.

Strata are parts of what is known of every pair: how frequent its label is, how deep it lies in the hierarchy, and how
suspicious a noise score finds it. In each stratum the pairs of smallest keyed hash are taken, a simple random sample that
does not depend on the order of rows or on threads.
Cost: two streaming passes, the first of them `tail.label_counts`; memory is a batch of rows a thread and about 50 bytes
a scored pair.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import tail
from jftdata.catalog import Catalog, label_arrays, read_row_group, row_groups
from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.hashing import keyed_hash
from jftdata.hierarchy import Hierarchy
from jftdata.ragged import owners, ranges

By = Literal["frequency", "depth", "score"]
_StratumOf = Callable[[NDArray[np.int64], NDArray[np.int32]], NDArray[np.int64]]
SAMPLE = {
    "image": pl.Int64(),
    "label": pl.String(),
    "stratum": pl.String(),
    "frequency": pl.String(),  # head, medium or tail: by images of the label, ancestors filled in
    "depth": pl.String(),  # of the label: a third of the given labels
    "score_band": pl.String(),  # null without scores
    "score": pl.Float64(),  # `wrong` of the scores, null where there is none
    "population": pl.Int64(),  # pairs of the stratum
    "probability": pl.Float64(),  # of being drawn
}
FREQUENCIES = ("tail", "medium", "head")
BANDS = ("score 0-50%", "score 50-80%", "score 80-95%", "score 95-100%", "no score")
"""By rank of the score: the most suspicious twentieth is a band of its own."""
CUTS = (0.5, 0.8, 0.95)
WRONG = (0.05, 0.15, 0.3, 0.5, 0.15)
"""Share of wrong labels that is assumed of each band when the sample is dealt out; ours. A wrong guess costs width, never
truth. It is kept mild: no pair is drawn more than 2.3 times as often as another for its score."""
FLOOR = 20
"""Pairs of every stratum, where the sample is large enough."""


def sample(
    catalog: Catalog, *, num: int, seed: int, strata: Sequence[By] | None = None, scores: pl.DataFrame | None = None,
    split: str | None = None, workers: int | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Draw pairs of an image and a label it was given.

    Every stratum gets `FLOOR` pairs, or an even share of half the sample where that is less, at least one, and all it has
    if it has fewer. The rest is dealt out in proportion to the pairs of a stratum; with scores in proportion to pairs times
    the standard deviation that `WRONG` assumes (Neyman's allocation), so that suspicious pairs are drawn more often.

    Args:
        catalog: images with given labels; pixels are not needed.
        num: pairs to draw; all there are where they are fewer.
        seed: which ones, in [0, 2**63).
        strata: what to split by; None is all three, without `score` where no scores are given, and () one stratum. Strata
            without a pair do not exist.
        scores: `image`, `label` and `wrong` of given labels, as `noise.audit` returns them: high where suspicious. Only their
            order counts. Pairs that are missing or null are a band of their own.
        split: only this split; frequencies are counted in it.
        workers: threads; None is one a core.

    Returns:
        Columns of `SAMPLE`, in random order: any number of first rows is a smaller random sample. Every stratum has a row.

    Raises:
        BadArgument: `num` below 1 or below the number of strata; `score` without scores.
        BadInput: no given label; scores without a column, NaN, twice for a pair, or of a pair that was not given.
        UnknownName: no such split; a scored label that is not in the hierarchy.

    Source: Neyman 1934 (allocation); Sun et al. 2017, section 3 (the cuts of head and tail).
    """
    if num < 1:
        raise BadArgument(f"`num` must be at least 1. Got {num}.")
    by = tuple(strata) if strata is not None else ("frequency", "depth", *(() if scores is None else ("score",)))
    for name in by:
        if name not in ("frequency", "depth", "score"):
            raise one_of("stratum", name, ("frequency", "depth", "score"))
    if "score" in by and scores is None:
        raise BadArgument("`strata` has `score`, but no `scores` are given. Give them, or leave it out.")
    counts = tail.label_counts(catalog, split=split, workers=workers)
    if not counts["num_given"].sum():
        raise BadInput(f"no image of {catalog.path} has a given label, so there is nothing to sample. Give labels.")
    labels = _Labels.of(counts, by, catalog.hierarchy)
    known = None if scores is None else _Scores.of(scores, catalog.hierarchy)
    num_bands = len(BANDS) if "score" in by else 1

    table = np.zeros((labels.num_codes, num_bands), np.int64)
    np.add.at(table[:, -1], labels.code, counts["num_given"].to_numpy())
    if known is not None and "score" in by:
        scored = np.bincount(labels.code[known.label] * num_bands + known.band, minlength=table.size).reshape(
            table.shape
        )
        table += scored
        table[:, -1] -= scored.sum(axis=1)
    population = np.maximum(table, 0).ravel()  # below 0 only where scores are of other pairs, which is told below
    there = population > 0
    if num < there.sum():
        raise BadArgument(f"`num` must be at least 1 for each of {there.sum()} strata. Got {num}. Split by less.")
    spread = np.sqrt(np.array(WRONG) * (1 - np.array(WRONG))) if "score" in by else np.ones(1)
    quota = np.zeros(len(population), np.int64)
    quota[there] = allocate(population[there], num, spread=np.tile(spread, labels.num_codes)[there])

    tree, stream = catalog.hierarchy, "precision"
    keys = np.array([_key(label) for label in tree.labels], np.uint64)

    def stratum_of(image: NDArray[np.int64], label: NDArray[np.int32]) -> NDArray[np.int64]:
        found = labels.code[label] * num_bands
        if known is not None:
            bands = known.bands(image, label)  # marks the scores, used or not
            found += bands if "score" in by else 0
        return found

    drawn = _drawn(catalog, quota, stratum_of, keys, seed=seed, stream=stream, split=split, workers=workers)
    if known is not None:
        known.check_found()
    order = keyed_hash(drawn.image.astype(np.uint64) ^ keys[drawn.label], seed=seed, stream=f"{stream} order")
    at = np.lexsort((drawn.label, drawn.image, order))
    stratum, image, label = drawn.stratum[at], drawn.image[at], drawn.label[at]
    frame = pl.DataFrame(
        {
            "image": image,
            "label": [tree.labels[i] for i in label],
            "frequency": labels.frequency[label],
            "depth": labels.depth[label],
            "population": population[stratum],
            "probability": quota[stratum] / population[stratum],
        }
    )
    if known is None:
        frame = frame.with_columns(score=pl.lit(None, pl.Float64()), score_band=pl.lit(None, pl.String()))
    else:
        frame = frame.with_columns(**known.of_pairs(image, label))
    columns = [{"score": "score_band"}.get(name, name) for name in by]
    named = pl.concat_str(columns, separator=", ") if by else pl.lit("all")
    return frame.with_columns(stratum=named).select(pl.col(name).cast(kind) for name, kind in SAMPLE.items())


def allocate(population: NDArray[np.int64], num: int, *, spread: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of each stratum.

    Args:
        population: (h,) pairs of each stratum, at least 1.
        num: how many in all, at least h.
        spread: (h,) what their standard deviation is assumed to be.

    Returns:
        (h,) counts that sum up to `num`, or to all there are.

    >>> allocate(np.array([9000, 900, 100, 3]), 100, spread=np.ones(4))
    array([67, 17, 13,  3])
    """
    if num >= population.sum():
        return population.copy()
    floor = max(1, min(FLOOR, num // (2 * len(population))))
    share = np.minimum(floor, population).astype(np.float64)
    weight = population * spread
    while (left := num - share.sum()) > 1e-9:  # full strata hand on what they cannot take
        free = np.where(share < population, weight, 0.0)
        share = np.minimum(share + left * free / free.sum(), population)
    whole = np.floor(share + 1e-9).astype(np.int64)
    whole[np.argsort(whole - share, kind="stable")[: num - whole.sum()]] += 1
    return whole


def _drawn(
    catalog: Catalog, quota: NDArray[np.int64], stratum_of: _StratumOf, keys: NDArray[np.uint64], *, seed: int, stream: str,
    split: str | None, workers: int | None,
) -> "_Smallest":  # fmt: skip
    """One pass over all pairs, on threads."""
    pieces = row_groups(catalog, split=split)
    workers = min(workers or os.cpu_count() or 1, max(1, len(pieces)))

    def run(mine: list[tuple[Path, int]]) -> _Smallest:
        smallest = _Smallest(quota)
        for path, group in mine:
            rows = read_row_group(path, group, columns=("image", "labels"), split=split)
            start, label = label_arrays(rows.column("labels"))
            image = rows.column("image").to_numpy()[owners(start)]
            hash = keyed_hash(image.astype(np.uint64) ^ keys[label], seed=seed, stream=stream)
            smallest.add(stratum_of(image, label), hash, image, label)
        return smallest

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(run, [pieces[i::workers] for i in range(workers)]))
    for part in parts[1:]:
        parts[0].add(part.stratum, part.hash, part.image, part.label)
    return parts[0]


@dataclass(frozen=True)
class _Labels:
    """What strata know of labels, by label index."""

    frequency: NDArray[Any]
    depth: NDArray[Any]
    code: NDArray[np.int64]
    num_codes: int

    @classmethod
    def of(cls, counts: pl.DataFrame, by: Sequence[str], tree: Hierarchy) -> "_Labels":
        few, many = tail.CUTS
        frequent = np.digitize(counts["num_images"].to_numpy(), [few, many + 1])
        given = np.bincount(tree.depths, weights=counts["num_given"].to_numpy(), minlength=tree.max_depth + 1)
        used = np.flatnonzero(given)
        below = np.cumsum(given) - given / 2  # a depth belongs to the third its middle lies in
        third = np.minimum((3 * below / given.sum()).astype(np.int64), 2)
        ranges = [used[third[used] == i] for i in range(3)]
        names = np.array(
            [f"depth {'-'.join(map(str, dict.fromkeys((x[0], x[-1]))))}" if len(x) else "" for x in ranges], object
        )
        deep = third[tree.depths]
        code = (frequent if "frequency" in by else 0) * 3 + (deep if "depth" in by else 0)
        code = np.broadcast_to(code, tree.num_labels)
        return cls(np.array(FREQUENCIES, object)[frequent], names[deep], code, len(FREQUENCIES) * 3)


@dataclass(frozen=True)
class _Scores:
    """Scores of given labels, by image."""

    image: NDArray[np.int64]
    label: NDArray[np.int32]
    score: NDArray[np.float64]
    band: NDArray[np.int8]
    found: NDArray[np.bool_]
    """Which of them are given labels."""
    tree: Hierarchy

    @classmethod
    def of(cls, scores: pl.DataFrame, tree: Hierarchy) -> "_Scores":
        for column in ("image", "label", "wrong"):
            if column not in scores.columns:
                raise BadInput(
                    f"scores have no column {column!r}, only {scores.columns}. Give what noise.audit returns."
                )
        scores = scores.select("image", "label", "wrong").filter(pl.col("wrong").is_not_null())
        label = scores["label"].cast(pl.Enum(tree.labels), strict=False).to_physical().cast(pl.Int32)
        if label.null_count():
            tree.index(str(scores["label"][label.is_null().arg_true()[0]]))
        score = scores["wrong"].cast(pl.Float64).to_numpy()
        bad = np.isnan(score)
        if bad.any():
            image, name, _ = scores.row(int(bad.argmax()))
            raise BadInput(
                f"{bad.sum():,} scores are NaN, for example of image {image} and label {name!r}. Give null where there is none."
            )
        image = scores["image"].cast(pl.Int64).to_numpy()
        order = np.argsort(image, kind="stable")
        score = score[order]
        edges = np.quantile(score, CUTS) if len(score) else np.zeros(len(CUTS))
        band = np.searchsorted(edges, score).astype(np.int8)
        return cls(image[order], label.to_numpy()[order], score, band, np.zeros(len(score), np.bool_), tree)

    def rows(self, image: NDArray[np.int64], label: NDArray[np.int32]) -> NDArray[np.int64]:
        """Row of each pair, -1 for none."""
        first = np.searchsorted(self.image, image)
        num = np.searchsorted(self.image, image, side="right") - first
        at, pair = ranges(first, num), np.repeat(np.arange(len(image)), num)  # all rows of the image of each pair
        hit = self.label[at] == label[pair]
        at, pair = at[hit], pair[hit]
        twice = np.flatnonzero(pair[1:] == pair[:-1])
        if len(twice):
            image_id, name = image[pair[twice[0]]], self.tree.labels[label[pair[twice[0]]]]
            raise BadInput(f"image {image_id} and label {name!r} are scored twice. Keep one row of them.")
        found = np.full(len(image), -1)
        found[pair] = at
        return found

    def bands(self, image: NDArray[np.int64], label: NDArray[np.int32]) -> NDArray[np.int8]:
        """Band of each pair; marks the scores that belong to one."""
        rows = self.rows(image, label)
        self.found[rows[rows >= 0]] = True
        return np.where(rows >= 0, self.band[rows] if len(self.band) else 0, len(BANDS) - 1).astype(np.int8)

    def check_found(self) -> None:
        """Raise BadInput for a score of a pair that was not given."""
        if not self.found.all():
            at = int(np.argmin(self.found))
            raise BadInput(
                f"{int((~self.found).sum()):,} scores are not of a given label of this catalog and split, for example of "
                f"image {self.image[at]} and label {self.tree.labels[self.label[at]]!r}. Give scores of the labels to sample."
            )

    def of_pairs(self, image: NDArray[np.int64], label: NDArray[np.int32]) -> dict[str, pl.Series]:
        """Score and name of the band of each pair."""
        rows = self.rows(image, label)
        names = [BANDS[i] for i in self.bands(image, label)]
        return {"score": pl.Series([self.score[i] if i >= 0 else None for i in rows], dtype=pl.Float64()),
                "score_band": pl.Series(names)}  # fmt: skip


class _Smallest:
    """The pairs of smallest hash of each stratum; who adds what, and when, makes no difference."""

    def __init__(self, quota: NDArray[np.int64]) -> None:
        self.quota = quota
        self.limit = np.where(quota > 0, np.uint64(2**64 - 1), np.uint64(0))
        self.stratum = np.empty(0, np.int64)
        self.hash = np.empty(0, np.uint64)
        self.image = np.empty(0, np.int64)
        self.label = np.empty(0, np.int32)

    def add(
        self, stratum: NDArray[np.int64], hash: NDArray[np.uint64], image: NDArray[np.int64], label: NDArray[np.int32]
    ) -> None:
        near = np.flatnonzero(hash <= self.limit[stratum])
        stratum, hash = np.append(self.stratum, stratum[near]), np.append(self.hash, hash[near])
        image, label = np.append(self.image, image[near]), np.append(self.label, label[near])
        order = np.lexsort((label, image, hash, stratum))
        ordered = stratum[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        kept = order[rank < self.quota[ordered]]
        self.stratum, self.hash, self.image, self.label = stratum[kept], hash[kept], image[kept], label[kept]
        full = order[rank == self.quota[ordered] - 1]
        self.limit[stratum[full]] = hash[full]


def _key(label: str) -> int:
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")
