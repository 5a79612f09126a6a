"""Near-duplicates: pairs inside a set, groups of them, and test images that have a copy in training.

Two images are near-duplicates when their descriptors are at least `min_similarity` alike. Byte-identical files never
get here: they are one row of the catalog. The default threshold was measured on planted copies of the built-in world.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from jftdata import neighbors
from jftdata.catalog import Catalog
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput, UnknownOption, one_of
from jftdata.progress import say

MIN_SIMILARITY = 0.92
"""Default threshold for the `descriptor` embedder."""
PAIRS = {"image_a": pl.Int64(), "image_b": pl.Int64(), "similarity": pl.Float64()}
OVERLAP = {"test_image": pl.Int64(), "train_image": pl.Int64(), "similarity": pl.Float64()}
_SMALL = 60_000**2  # comparisons that faiss does in about half a minute, sooner than torch is loaded and lists are made
GROUPS = {"group": pl.Int64(), "image": pl.Int64()}
RESOLVED = {
    **GROUPS, "kept": pl.Boolean(), "labels": pl.List(pl.String()), "conflicts": pl.List(pl.String())
}  # fmt: skip
_Label = TypeVar("_Label", int, str)
_KEEP = {"pixels": "pixels", "bytes": "bytes", "labels": "num_labels"}


def find_pairs(embeddings: Embeddings, *, min_similarity: float = MIN_SIMILARITY) -> pl.DataFrame:
    """All near-duplicate pairs of a set.

    Args:
        embeddings: one vector an image.
        min_similarity: in (0, 1].

    Returns:
        Columns of `PAIRS`, `image_a < image_b`, sorted by similarity (highest first), then ids.

    Cost: up to 60,000 images exact by faiss, 1 s for 10,000; beyond that `join.self_join`, which finds at least 99% of
    the pairs, measured, and says so.

    >>> v = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> find_pairs(Embeddings.of(v, np.array([5, 6, 7]), embedder="toy")).rows()
    [(5, 6, 1.0)]
    """
    left, right, value = _similar(embeddings, embeddings, min_similarity)
    ids = embeddings.images
    frame = pl.DataFrame({"image_a": ids[left], "image_b": ids[right], "similarity": value}, schema=PAIRS)
    return frame.sort("similarity", "image_a", "image_b", descending=[True, False, False])


def group_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """Connected components of the pairs.

    Args:
        pairs: columns `image_a` and `image_b`.

    Returns:
        Columns of `GROUPS`: the group is the lowest image id in it; sorted by group, then image.

    Raises:
        BadInput: a column is missing.

    >>> group_pairs(pl.DataFrame({"image_a": [1, 2, 8], "image_b": [2, 3, 9]})).rows()
    [(1, 1), (1, 2), (1, 3), (8, 8), (8, 9)]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    for column in ("image_a", "image_b"):
        if column not in pairs.columns:
            raise BadInput(f"pairs have no column {column!r}. Give what find_pairs returns.")
    a, b = pairs["image_a"].to_numpy(), pairs["image_b"].to_numpy()
    ids, at = np.unique(np.concatenate([a, b]), return_inverse=True)
    graph = coo_array((np.ones(len(a), np.int8), (at[: len(a)], at[len(a) :])), shape=(len(ids), len(ids)))
    _, component = connected_components(graph, directed=False) if len(ids) else (0, np.empty(0, np.int32))
    first = np.full(int(component.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, component, ids)
    return pl.DataFrame({"group": first[component], "image": ids}, schema=GROUPS).sort("group", "image")


def chains(groups: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """How far a group is held together by links of links: a chain of frames is no set of copies.

    Args:
        groups: what `group_pairs` returns.
        pairs: the pairs it was made of.

    Returns:
        One row a group with `num_images`, `num_pairs` and `longest`, the most links between two of its images: 1 when all
        are copies of each other, 2 for a star; look at groups above 2. Sorted by `longest`, then group.

    Cost: groups times their size times their pairs; groups of more than 1,000 images are walked from 20 of them.

    >>> pairs = pl.DataFrame({"image_a": [1, 2, 3], "image_b": [2, 3, 4]})
    >>> chains(group_pairs(pairs), pairs).rows()
    [(1, 4, 3, 3)]
    """
    neighbours: dict[int, list[int]] = {}
    for a, b in pairs.select("image_a", "image_b").iter_rows():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    rows = []
    for (group,), part in groups.group_by("group"):
        members = part["image"].sort().to_list()
        starts = members if len(members) <= 1000 else members[:: len(members) // 20]
        longest = max(_furthest(start, neighbours) for start in starts)
        rows.append((group, len(members), sum(len(neighbours[m]) for m in members) // 2, longest))
    schema = {"group": pl.Int64(), "num_images": pl.Int64(), "num_pairs": pl.Int64(), "longest": pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("longest", "group", descending=[True, False])


def resolve(
    groups: pl.DataFrame, catalog: Catalog, *, keep: Sequence[str] = ("pixels", "bytes"), prefer: ArrayLike = ()
) -> pl.DataFrame:  # fmt: skip
    """Which image of each group stays, with the labels of all of its copies, and labels that contradict.

    Args:
        groups: what `group_pairs` returns.
        catalog: the images.
        keep: what makes an image worth keeping, most important first: `pixels`, `bytes` (least compressed) or `labels`
            (most given ones); the lowest id decides last.
        prefer: image ids to keep before all others, the most wanted first.

    Returns:
        One row an image of a group: `group`, `image`, `kept`; on the kept one `labels`, the united labels of the group,
        and `conflicts`, those of them that are given to one copy while another copy has labels, but none that is the
        same, above or below; both empty on the others. Sorted by group, then image.

    Raises:
        BadArgument: an unknown criterion.
        BadInput: an image that is not in the catalog.
    """
    for criterion in keep:
        if criterion not in _KEEP:
            raise one_of("criterion", criterion, _KEEP, error=UnknownOption)
    tree = catalog.hierarchy
    rows = catalog.rows(groups["image"].to_numpy(), columns=["image", "width", "height", "length", "labels"])
    listed = np.unique(np.asarray(prefer, np.int64), return_index=True)
    wanted = pl.DataFrame({"image": listed[0], "place": listed[1]}, schema={"image": pl.Int64(), "place": pl.Int64()})
    ranked = (
        groups.join(rows, on="image")
        .join(wanted, on="image", how="left")
        .with_columns(
            pixels=pl.col("width").cast(pl.Int64) * pl.col("height"),
            bytes=pl.col("length"),
            num_labels=pl.col("labels").list.len().cast(pl.Int64),
        )
    )
    order = [_KEEP[criterion] for criterion in keep]
    descending = [False, False, *(True for _ in order), False]
    ranked = ranked.sort("group", "place", *order, "image", descending=descending, nulls_last=True)
    out = []
    for (group,), part in ranked.group_by("group", maintain_order=True):
        given = part["labels"].to_list()
        united = sorted({label for labels in given for label in labels})
        related = {label: {label, *tree.ancestor_ids(label).tolist()} for label in united}
        told = [[tree.labels[x] for x in found] for found in (united, conflicts(given, related))]
        for i, image in enumerate(part["image"]):
            first = i == 0
            names = told if first else [[], []]
            out.append((group, image, first, *names))
    return pl.DataFrame(out, schema=RESOLVED, orient="row").sort("group", "image")


def conflicts(given: Sequence[Sequence[_Label]], related: Mapping[_Label, Collection[_Label]]) -> list[_Label]:
    """Labels given to one copy while another copy has labels, but none that is the same, above or below.

    Args:
        given: the labels of each copy.
        related: of each label, itself and its ancestors.

    Returns:
        Ascending, each once.

    >>> conflicts([["bus"], ["cat"], ["animal"], []], {"animal": ["animal"], "bus": ["bus"], "cat": ["animal", "cat"]})
    ['animal', 'bus', 'cat']
    """
    return [
        label
        for label in sorted({label for labels in given for label in labels})
        if any(
            labels and not any(label in related[other] or other in related[label] for other in labels)
            for labels in given
        )
    ]


def extra_copies(groups: pl.DataFrame, catalog: Catalog, *, keep: Sequence[str] = ("pixels", "bytes")) -> pl.Series:
    """Images to drop so that one of each group stays: those `resolve` does not keep.

    Returns:
        Image ids, ascending.
    """
    return resolve(groups, catalog, keep=keep).filter(~pl.col("kept"))["image"].sort()


def find_overlap(test: Embeddings, train: Embeddings, *, min_similarity: float = MIN_SIMILARITY) -> pl.DataFrame:
    """Test images that have a near-duplicate in training (the paper: 890 of ImageNet's 50,000).

    Returns:
        Columns of `OVERLAP`, every pair at or above the threshold; sorted by similarity, then ids. A training image with
        the same id is the same file and counts.

    Source: Sun et al. 2017, section 4.3 and appendix A.
    """
    left, right, value = _similar(test, train, min_similarity)
    frame = pl.DataFrame(
        {"test_image": test.images[left], "train_image": train.images[right], "similarity": value}, schema=OVERLAP
    )
    return frame.sort("similarity", "test_image", "train_image", descending=[True, False, False])


def _similar(
    left: Embeddings, right: Embeddings, min_similarity: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Positions and similarities of all pairs at or above the threshold; in one set each pair once."""
    same = left is right
    if len(left) * len(right) <= _SMALL:
        a, b, value = neighbors.range_search(left, right, min_similarity=min_similarity)
        once = a < b if same else np.ones(len(a), np.bool_)
        return a[once], b[once], value[once]
    from jftdata import join  # loads torch

    found = (
        join.self_join(left, min_similarity=min_similarity)
        if same
        else join.join(left, right, min_similarity=min_similarity)
    )
    say(found.plan)
    return found.left, found.right, found.similarity


def _furthest(start: int, neighbours: Mapping[int, Sequence[int]]) -> int:
    """Links from an image to the one of its group that is most links away."""
    links = {start: 0}
    for image in (queue := [start]):
        for other in neighbours[image]:
            if other not in links:
                links[other] = links[image] + 1
                queue.append(other)
    return max(links.values())
