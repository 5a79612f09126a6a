"""The long tail: how many images each label has, with ancestors filled in, in one streaming pass.

An image counts once for a label, however many of its given labels lie below it. Counts are int64 and do not depend on
row order or threads. Cost: a compiled loop; 300M images with 375M labels take 13 s on one core, memory is one batch of
rows.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.catalog import Catalog, among, label_arrays, read_row_group, row_groups
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.plural import plural
from jftdata.ragged import ascending

COUNTS = {
    "label": pl.String(),
    "name": pl.String(),
    "depth": pl.Int32(),
    "num_given": pl.Int64(),
    "num_images": pl.Int64(),
}
"""`num_given`: images with the label given; `num_images`: images with it given or filled in."""
CUTS = (20, 100)
"""Customary cuts: fewer than 20 images are the tail, more than 100 the head."""
MANY = 1000
"""Labels an image are counted up to here."""


@dataclass(frozen=True)
class Counts:
    """What one pass over a catalog counts."""

    labels: pl.DataFrame
    """Columns of `COUNTS`, one row for every label of the hierarchy, in its order."""
    an_image: pl.DataFrame
    """Columns `num_labels` and `num_images`: how many images have how many given labels; 1,000 stands for more too."""

    @property
    def num_unlabelled(self) -> int:
        """Images without any label."""
        return int(self.an_image["num_images"][0])


def label_counts(
    catalog: Catalog, *, split: str | None = None, images: NDArray[np.int64] | None = None, workers: int | None = None
) -> pl.DataFrame:
    """Images by label: the frame `labels` of `count`.

    Source: Sun et al. 2017, section 3 (ancestors filled in) and section 4.1.
    """
    return count(catalog, split=split, images=images, workers=workers).labels


def count(
    catalog: Catalog, *, split: str | None = None, images: NDArray[np.int64] | None = None, workers: int | None = None
) -> Counts:
    """Count images by label, and labels by image, in one pass.

    Args:
        catalog: images with given labels.
        split: only this split.
        images: only these image ids.
        workers: threads; None is one a core.

    Raises:
        UnknownName: no such split.
    """
    return count_each(catalog, [images], split=split, workers=workers)[0]


def count_each(
    catalog: Catalog, sets: Sequence[NDArray[np.int64] | None], *, split: str | None = None, workers: int | None = None
) -> list[Counts]:
    """Count several sets of images in one pass.

    Args:
        catalog: images with given labels.
        sets: image ids; None is all.
        split: only this split.
        workers: threads; None is one a core.

    Raises:
        UnknownName: no such split.
    """
    pieces = row_groups(catalog, split=split)
    workers = min(workers or os.cpu_count() or 1, max(1, len(pieces)))
    wanted = [None if images is None else ascending(images) for images in sets]

    def run(mine: list[tuple[Path, int]]) -> list[_Counter]:
        counters = [_Counter(catalog.hierarchy) for _ in wanted]
        columns = ("labels",) if all(images is None for images in wanted) else ("image", "labels")
        for path, group in mine:
            rows = read_row_group(path, group, columns=columns, split=split)
            for counter, images in zip(counters, wanted, strict=True):
                some = rows if images is None else among(rows, images)
                counter.add(*label_arrays(some.column("labels")))
        return counters

    with ThreadPoolExecutor(workers) as pool:
        threads = list(pool.map(run, [pieces[i::workers] for i in range(workers)]))
    return [_total(catalog.hierarchy, counters) for counters in zip(*threads, strict=True)]


def _total(tree: Hierarchy, counters: "Sequence[_Counter]") -> Counts:
    """What all threads have counted of one set."""
    given = np.sum([c.given for c in counters], axis=0)
    filled = np.sum([c.filled() for c in counters], axis=0)
    by_number = np.sum([c.by_number for c in counters], axis=0)
    last = int(np.flatnonzero(by_number).max(initial=0)) + 1
    columns = {"label": tree.labels, "name": tree.names, "depth": tree.depths, "num_given": given, "num_images": filled}
    return Counts(
        pl.DataFrame(columns, schema=COUNTS),
        pl.DataFrame({"num_labels": np.arange(last), "num_images": by_number[:last]}),
    )


class _Counter:
    """Counts of one thread; their sums do not depend on who counted what."""

    def __init__(self, tree: Hierarchy) -> None:
        self._tree = tree
        self.given = np.zeros(tree.num_labels, np.int64)
        self.by_number = np.zeros(MANY + 1, np.int64)
        self._alone = np.zeros(tree.num_labels, np.int64)
        self._united = np.zeros(tree.num_labels, np.int64)
        self._stamp = np.full(tree.num_labels, -1, np.int64)
        self._seen = 0

    def add(self, start: NDArray[np.int64], index: NDArray[np.int32]) -> None:
        tree = self._tree
        _count(
            start, index, tree.ancestor_start, tree.ancestor_index, self.given, self._alone, self._united, self._stamp,
            self._seen, self.by_number,
        )  # fmt: skip
        self._seen += len(start) - 1

    def filled(self) -> NDArray[np.int64]:
        """Images a label, ancestors filled in: an image with one label counts for all above it, without looking."""
        tree = self._tree
        above = np.repeat(self._alone, np.diff(tree.ancestor_start))
        out = self._alone + self._united
        np.add.at(out, tree.ancestor_index, above)
        return out


def summary(counts: pl.DataFrame) -> dict[str, Any]:
    """The tail in numbers.

    Args:
        counts: what `label_counts` returns.

    Returns:
        num_labels, num_used; labels below 1, 20, 100 and 1,000 images (unused labels are below each); the most and
        median images a used label; `imbalance` (most over fewest, used labels); `gini` of all counts; `entropy`,
        normalised to 0..1; `effective_labels` (exponential of the entropy); head, medium and tail labels by the
        customary cuts of more than 100, 20 to 100 and fewer than 20 images, and their shares of all labels.

    Source: the cuts at 20 and 100 are those of Sun et al. 2017, section 3.

    >>> s = summary(pl.DataFrame({"num_images": [1000, 50, 5, 0]}))
    >>> s["below_20"], s["num_used"], s["imbalance"]
    (2, 3, 200.0)
    """
    n = counts["num_images"].to_numpy().astype(np.int64)
    used = n[n > 0]
    total = int(used.sum())
    share = used / total if total else used.astype(float)
    entropy = float(-(share * np.log(share)).sum())
    ranked = np.sort(n)
    weights = np.arange(1, len(n) + 1)
    few, many = CUTS
    parts = {
        "head": int((n > many).sum()), "medium": int(((n >= few) & (n <= many)).sum()), "tail": int((n < few).sum())
    }  # fmt: skip
    gini = float(2 * (weights * ranked).sum() / (len(n) * total) - (len(n) + 1) / len(n)) if total else 0.0
    return {
        "num_labels": len(n),
        "num_used": len(used),
        "below_1": int((n < 1).sum()),
        "below_20": int((n < 20).sum()),
        "below_100": int((n < 100).sum()),
        "below_1000": int((n < 1000).sum()),
        **parts,
        **{f"{part}_share": num / len(n) if len(n) else 0.0 for part, num in parts.items()},
        "most": int(n.max(initial=0)),
        "median": float(np.median(used)) if len(used) else 0.0,
        "imbalance": float(used.max() / used.min()) if len(used) else 0.0,
        "gini": gini,
        "entropy": entropy / float(np.log(len(used))) if len(used) > 1 else 0.0,
        "effective_labels": float(np.exp(entropy)) if len(used) else 0.0,
    }


def fit(counts: pl.DataFrame) -> pl.DataFrame:
    """A power law and a log-normal through the rank-frequency curve of the used labels.

    The power law is images = scale * rank ** -exponent, by least squares on logarithms (Zipf's law); the log-normal says
    that the logarithms of the counts are normal with `mu` and `sigma` (natural logarithm, maximum likelihood).

    Args:
        counts: what `label_counts` returns.

    Returns:
        One row a model with `model`, `exponent`, `scale`, `mu`, `sigma` (null where a model has none), `r2` of the
        logarithms of the counts by rank, and `ks`, the largest distance between the model's share of labels above a
        count and the true one.

    Raises:
        BadInput: fewer than three used labels.

    >>> fit(pl.DataFrame({"num_images": [1000 // k for k in range(1, 40)]}))["model"][0]
    'power law'
    """
    n = np.sort(counts.filter(pl.col("num_images") > 0)["num_images"].to_numpy())[::-1].astype(np.float64)
    if len(n) < 3:
        raise BadInput(f"a fit needs three used labels. Got {len(n)}.")
    rank, y = np.arange(1, len(n) + 1), np.log(n)
    slope, level = np.polyfit(np.log(rank), y, 1)
    mu, sigma = float(y.mean()), float(y.std())
    middle = (rank - 0.5) / len(n)
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf(1 - q) for q in middle])
    above_power = np.exp((y - level) / slope) / len(n) if slope < 0 else np.ones_like(y)
    above_normal = np.array([1 - normal.cdf((v - mu) / sigma) if sigma > 0 else 0.5 for v in y])
    spread = float(((y - mu) ** 2).sum())

    def row(model: str, line: NDArray[Any], above: NDArray[Any], **numbers: float) -> dict[str, Any]:
        r2 = 1 - float(((y - line) ** 2).sum()) / spread if spread else 1.0
        share = np.minimum(above, 1.0)
        ks = float(np.maximum(np.abs(share - rank / len(n)), np.abs(share - (rank - 1) / len(n))).max())
        return {"model": model, **dict.fromkeys(("exponent", "scale", "mu", "sigma")), **numbers, "r2": r2, "ks": ks}

    return pl.DataFrame(
        [
            row(
                "power law",
                level + slope * np.log(rank),
                above_power,
                exponent=float(-slope),
                scale=float(np.exp(level)),
            ),
            row("log-normal", mu + sigma * quantiles, above_normal, mu=mu, sigma=sigma),
        ],
        schema={"model": pl.String(), **dict.fromkeys(("exponent", "scale", "mu", "sigma", "r2", "ks"), pl.Float64())},
    )


def by_depth(counts: pl.DataFrame) -> pl.DataFrame:
    """Labels, used labels, rare labels (below 20 images), images given and the median images of a label, by depth."""
    n = pl.col("num_images")
    return counts.group_by("depth").agg(
        num_labels=pl.len().cast(pl.Int64), num_used=(n > 0).sum().cast(pl.Int64), num_below_20=(n < 20).sum().cast(pl.Int64),
        num_given=pl.col("num_given").sum(), median=n.median(),
    ).sort("depth")  # fmt: skip


def by_subtree(counts: pl.DataFrame, hierarchy: Hierarchy, *, depth: int = 1) -> pl.DataFrame:
    """The tail of every subtree whose top lies at a depth.

    Args:
        counts: what `label_counts` returns, of this hierarchy.
        hierarchy: its labels.
        depth: of the tops; a root is at 0.

    Returns:
        `label`, `name`, `num_images` with the label or one below it, `num_labels` at or below it, of these `num_used`
        and `num_below_20`; the largest first.

    Raises:
        BadInput: counts of another hierarchy.
    """
    n = _of(counts, hierarchy)
    rows = []
    for top in np.flatnonzero(hierarchy.depths == depth).tolist():
        below = n[[top, *(hierarchy.index(x) for x in hierarchy.descendants(hierarchy.labels[top]))]]
        rows.append((
            hierarchy.labels[top], hierarchy.names[top], int(n[top]), len(below), int((below > 0).sum()),
            int((below < 20).sum()),
        ))  # fmt: skip
    names = ("num_images", "num_labels", "num_used", "num_below_20")
    schema = {"label": pl.String(), "name": pl.String(), **dict.fromkeys(names, pl.Int64())}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("num_images", "label", descending=[True, False])


def unused(counts: pl.DataFrame) -> pl.DataFrame:
    """Labels without any image, filled in or not."""
    return counts.filter(pl.col("num_images") == 0).select("label", "name", "depth")


def co_occurrence(catalog: Catalog, *, min_images: int = 5, split: str | None = None) -> pl.DataFrame:
    """Pairs of labels given to the same images.

    Args:
        catalog: images with given labels.
        min_images: pairs on fewer images are left out.
        split: only this split.

    Returns:
        `label_a`, `label_b` (a before b in the hierarchy), `num_images` with both, and `pmi`, the pointwise mutual
        information in bits: log2 of how many times as often they meet as they would by chance; most images first.

    Raises:
        BadArgument: `min_images` below 1.

    Cost: memory for the distinct pairs, 16 bytes each.
    """
    if min_images < 1:
        raise BadArgument(f"`min_images` must be at least 1. Got {min_images}.")
    tree = catalog.hierarchy
    width = tree.num_labels
    given = np.zeros(tree.num_labels, np.int64)
    num_images = 0
    keys, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for path, group in row_groups(catalog, split=split):
        rows = read_row_group(path, group, columns=("labels",), split=split)
        start, index = label_arrays(rows.column("labels"))
        num_images += len(start) - 1
        given += np.bincount(index, minlength=tree.num_labels)
        found, times = np.unique_counts(_pairs(start, index, width))
        keys, at = np.unique(np.concatenate([keys, found]), return_inverse=True)
        counts = np.bincount(at, weights=np.concatenate([counts, times]), minlength=len(keys)).astype(np.int64)
    keep = counts >= min_images
    a, b, both = keys[keep] // width, keys[keep] % width, counts[keep]
    labels = np.array(tree.labels, object)
    pmi = np.log2(both * float(num_images) / (given[a].astype(np.float64) * given[b]))
    columns = {"label_a": labels[a], "label_b": labels[b], "num_images": both, "pmi": pmi}
    schema = {"label_a": pl.String(), "label_b": pl.String(), "num_images": pl.Int64(), "pmi": pl.Float64()}
    frame = pl.DataFrame({k: list(v) for k, v in columns.items()}, schema=schema)
    return frame.sort("num_images", "label_a", "label_b", descending=[True, False, False])


def compare(before: pl.DataFrame, after: pl.DataFrame, *, hierarchy: Hierarchy | None = None) -> dict[str, Any]:
    """What a step (dedup, selection, subset) did to the tail.

    Args:
        before: counts before the step.
        after: counts after it, of the same hierarchy.
        hierarchy: also compare the subtrees at depth 1.

    Returns:
        labels `lost` altogether, labels pushed below 20 and below 100, the label that lost the largest share, and with a
        hierarchy `subtrees`: label, images before and after, most reduced first.

    Raises:
        BadInput: counts of two hierarchies.

    >>> a = pl.DataFrame({"label": ["x", "y"], "num_images": [30, 3]})
    >>> b = pl.DataFrame({"label": ["x", "y"], "num_images": [10, 0]})
    >>> compare(a, b)
    {'lost': 1, 'pushed_below_20': 1, 'pushed_below_100': 0, 'most_reduced': 'y'}
    """
    if len(before) != len(after):
        raise BadInput(f"counts of {len(before)} and {len(after)} labels cannot be compared. Use one hierarchy.")
    both = (
        before.select("label", was="num_images").join(after.select("label", now="num_images"), on="label").sort("label")
    )
    if len(both) != len(before):
        raise BadInput(f"only {len(both)} of {len(before)} labels are in both counts. Use one hierarchy.")
    was, now = both["was"], both["now"]
    share = (now / was).fill_nan(1.0)
    least = share.arg_min()
    out: dict[str, Any] = {
        "lost": int(((was > 0) & (now == 0)).sum()),
        "pushed_below_20": int(((was >= 20) & (now < 20)).sum()),
        "pushed_below_100": int(((was >= 100) & (now < 100)).sum()),
        "most_reduced": both["label"][least] if least is not None and share[least] < 1 else None,
    }
    if hierarchy is not None:
        tops = by_subtree(before, hierarchy).select("label", was="num_images").join(
            by_subtree(after, hierarchy).select("label", now="num_images"), on="label"
        )  # fmt: skip
        out["subtrees"] = tops.sort((pl.col("now") / pl.col("was")).fill_nan(1.0), "label").to_dicts()
    return out


def describe_change(change: Mapping[str, Any]) -> str:
    """What `compare` returns as a sentence.

    >>> describe_change({"lost": 1, "pushed_below_20": 2, "pushed_below_100": 0, "most_reduced": "y"})
    'the tail: 1 label lost, 2 pushed below 20 images, 0 below 100; hit hardest: y'
    """
    lost = f"{plural(change['lost'], 'label')} lost"
    hardest = f"; hit hardest: {change['most_reduced']}" if change["most_reduced"] is not None else ""
    pushed = f"{change['pushed_below_20']:,} pushed below 20 images, {change['pushed_below_100']:,} below 100"
    return f"the tail: {lost}, {pushed}{hardest}"


def describe(numbers: Mapping[str, Any]) -> str:
    """The summary as a sentence or two for a terminal.

    >>> describe(summary(pl.DataFrame({"num_images": [1000, 50, 5, 0]})))
    '3 of 4 labels used; 2 below 20 images, 3 below 100; imbalance 200 to 1; Gini 0.72'
    """
    return (
        f"{numbers['num_used']:,} of {numbers['num_labels']:,} labels used; {numbers['below_20']:,} below 20 images, "
        f"{numbers['below_100']:,} below 100; imbalance {numbers['imbalance']:,.0f} to 1; Gini {numbers['gini']:.2f}"
    )


def _of(counts: pl.DataFrame, hierarchy: Hierarchy) -> NDArray[np.int64]:
    """Images of each label, by label index."""
    if counts["label"].to_list() != list(hierarchy.labels):
        raise BadInput(f"the counts are not of the hierarchy {hierarchy.name!r}. Count with the same hierarchy.")
    return counts["num_images"].to_numpy()


@numba.njit(cache=True, nogil=True)
def _pairs(start: NDArray[Any], index: NDArray[Any], width: int) -> NDArray[Any]:
    """The key a * width + b of every two labels of an image."""
    total = 0
    for i in range(len(start) - 1):
        num = start[i + 1] - start[i]
        total += num * (num - 1) // 2
    out = np.empty(total, np.int64)
    at = 0
    for i in range(len(start) - 1):
        for a in range(start[i], start[i + 1]):
            for b in range(a + 1, start[i + 1]):
                out[at] = np.int64(index[a]) * width + index[b]
                at += 1
    return out


@numba.njit(cache=True, nogil=True)
def _count(
    start: NDArray[Any], index: NDArray[Any], ancestor_start: NDArray[Any], ancestor_index: NDArray[Any],
    given: NDArray[Any], alone: NDArray[Any], united: NDArray[Any], stamp: NDArray[Any], seen: int,
    by_number: NDArray[Any],
) -> None:  # fmt: skip
    """Count each (image, label) once: `stamp[label]` is the last image that was counted for it."""
    for i in range(len(start) - 1):
        first, last = start[i], start[i + 1]
        by_number[min(last - first, len(by_number) - 1)] += 1
        if last - first == 1:
            given[index[first]] += 1
            alone[index[first]] += 1
            continue
        image = seen + i
        for at in range(first, last):
            label = index[at]
            given[label] += 1
            if stamp[label] == image:
                continue
            stamp[label] = image
            united[label] += 1
            for above in range(ancestor_start[label], ancestor_start[label + 1]):
                other = ancestor_index[above]
                if stamp[other] != image:
                    stamp[other] = image
                    united[other] += 1
