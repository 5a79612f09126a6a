"""Near-duplicates: pairs inside a set, groups of them, and test images that have a copy in training.

Two images are near-duplicates when their descriptors are at least `min_similarity` alike. Byte-identical files never
get here: they are one row of the catalog. The default threshold was measured on planted copies of the built-in world.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import neighbors
from jftdata.catalog import Catalog
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput
from jftdata.progress import say

MIN_SIMILARITY = 0.92
"""Default threshold for the `descriptor` embedder."""
PAIRS = {"image_a": pl.Int64(), "image_b": pl.Int64(), "similarity": pl.Float64()}
OVERLAP = {"test_image": pl.Int64(), "train_image": pl.Int64(), "similarity": pl.Float64()}
_SMALL = 60_000**2  # comparisons that faiss does in about half a minute, sooner than torch is loaded and lists are made
GROUPS = {"group": pl.Int64(), "image": pl.Int64()}


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


def extra_copies(groups: pl.DataFrame, catalog: Catalog) -> pl.Series:
    """Images to drop so that one of each group stays: the one with most pixels, then most bytes, then the lowest id.

    Returns:
        Image ids, ascending.
    """
    rows = catalog.rows(groups["image"].to_numpy(), columns=["image", "width", "height", "length"])
    ranked = groups.join(rows.with_columns(pixels=pl.col("width").cast(pl.Int64) * pl.col("height")), on="image").sort(
        "group", "pixels", "length", "image", descending=[False, True, True, False]
    )
    return ranked.filter(~pl.col("group").is_first_distinct())["image"].sort()


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
