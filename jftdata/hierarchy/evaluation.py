"""How wrong a prediction is when labels lie in a hierarchy: what of it is right, how far off it is, ancestors counted.

All functions take label indexes of many images at once. A dog taken for a wolf is an animal taken for an animal: the most
specific labels at or above both are what the prediction got right. Cost: each pair of labels is worked out once; a million
predictions over 18,000 labels take some seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.errors import BadInput
from jftdata.hierarchy import targets
from jftdata.hierarchy.core import Hierarchy

LabelSets = NDArray[Any] | Sequence[Sequence[int]]
"""(n,) label indexes, one an image, or a list of label indexes for each image."""

_CHUNK = 1 << 16
"""Pairs of labels worked out at once, so that memory stays below about 100 MB."""


def most_specific_correct(tree: Hierarchy, true: NDArray[Any], predicted: NDArray[Any]) -> ragged.Ragged:
    """What a prediction got right: the labels at or above both, of which none lies above another.

    Args:
        tree: the hierarchy.
        true: (n,) label indexes.
        predicted: (n,) label indexes.

    Returns:
        start: (n + 1,) where each image's labels begin.
        index: label indexes of all images in turn, ascending; several in a DAG, none for labels of separate trees.

    Raises:
        BadInput: arrays of different length, or a label index out of range.

    >>> tree = Hierarchy.load("toy")
    >>> start, index = most_specific_correct(tree, [tree.index("house cat")], [tree.index("dog")])
    >>> [tree.labels[i] for i in index]
    ['pet']
    """
    pairs, inverse = _pairs(tree, true, predicted)
    if not len(pairs):
        return np.zeros(1, np.int64), np.empty(0, np.int32)
    parent_start, parent_index = ragged.of_lists(tree.parent_lists)
    width = tree.num_labels
    lengths, found = [], []
    for first in range(0, len(pairs), _CHUNK):
        a, b = (_upward(tree, pairs[first : first + _CHUNK, side]) for side in (0, 1))
        common = np.intersect1d(_keys(*a, width), _keys(*b, width), assume_unique=True)
        above_start, above = ragged.take_rows(parent_start, parent_index, common % width)
        parents = np.repeat(common // width, np.diff(above_start)) * width + above
        lowest = np.setdiff1d(common, parents)  # what is common holds all ancestors: the others are someone's parent
        lengths.append(np.bincount(lowest // width, minlength=len(a[0]) - 1))
        found.append((lowest % width).astype(np.int32))
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
    return ragged.take_rows(start, np.concatenate(found), inverse)


def distances(tree: Hierarchy, true: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.int32]:
    """Edges on a shortest way from the true to the predicted label over a common ancestor.

    Args:
        tree: the hierarchy.
        true: (n,) label indexes.
        predicted: (n,) label indexes.

    Returns:
        (n,) edges; -1 for labels of separate trees.

    Raises:
        BadInput: arrays of different length, or a label index out of range.

    >>> tree = Hierarchy.load("toy")
    >>> cat, dog, bus = (tree.index(label) for label in ("cat", "dog", "bus"))
    >>> distances(tree, [cat, cat, cat], [cat, dog, bus])
    array([ 0,  2, -1], dtype=int32)
    """
    pairs, inverse = _pairs(tree, true, predicted)
    if not len(pairs):
        return np.empty(0, np.int32)
    used, at = np.unique(pairs, return_inverse=True)
    at = at.reshape(pairs.shape)
    start, index = _upward(tree, used)
    steps = _steps_up(tree, used, start)
    width = tree.num_labels
    out = np.full(len(pairs), -1, np.int32)
    for first in range(0, len(pairs), _CHUNK):
        sides = []
        for side in (0, 1):
            rows = at[first : first + _CHUNK, side]
            cut, above = ragged.take_rows(start, index, rows)
            sides.append((_keys(cut, above, width), ragged.take_rows(start, steps, rows)[1]))
        (a, up), (b, down) = sides
        common, of_a, of_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        if len(common):
            row, begins = np.unique(common // width, return_index=True)
            out[first + row] = np.minimum.reduceat(up[of_a] + down[of_b], begins)
    return out[inverse]


def precision_recall(
    tree: Hierarchy, true: LabelSets, predicted: LabelSets, *, count_root: bool = False
) -> dict[str, float]:
    """Hierarchical precision, recall and F: both sides with their ancestors filled in, counted over all images.

    Args:
        tree: the hierarchy.
        true: labels of each image.
        predicted: labels of each image.
        count_root: count the root of a hierarchy with one root too, though every label has it.

    Returns:
        precision, recall, f; nan where nothing was predicted or is true.

    Raises:
        BadInput: sides of different length, or a label index out of range.

    Source: Kiritchenko, Matwin, Nock and Famili 2006, Learning and evaluation in the presence of class hierarchies.

    >>> tree = Hierarchy.load("toy")
    >>> scores = precision_recall(tree, [[tree.index("dog")]], [[tree.index("cat")]])
    >>> scores["recall"]  # animal and pet of animal, pet, dog
    0.6666666666666666
    """
    a, b = _sets(tree, true), _sets(tree, predicted)
    if len(a[0]) != len(b[0]):
        raise BadInput(f"`true` has {len(a[0]) - 1} images, `predicted` {len(b[0]) - 1}. Give the same images.")
    width = max(tree.num_labels, 1)
    keys = [_keys(*targets.fill_in(tree, *side), width) for side in (a, b)]
    if not count_root and len(tree.roots) == 1:
        keys = [key[key % width != 0] for key in keys]  # the root has index 0
    both = len(np.intersect1d(keys[0], keys[1], assume_unique=True))
    recall, precision = (both / len(key) if len(key) else float("nan") for key in keys)
    f = 2 * precision * recall / (precision + recall) if precision + recall != 0 else 0.0
    return {"precision": precision, "recall": recall, "f": f}


def summary(tree: Hierarchy, true: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """One true and one predicted label an image, in numbers.

    Args:
        tree: the hierarchy.
        true: (n,) label indexes.
        predicted: (n,) label indexes.

    Returns:
        num_images; accuracy; mean_mistake_distance (edges, over wrong predictions with a common ancestor; nan without any);
        share_unrelated (predictions without a common ancestor); precision, recall, f (see `precision_recall`).

    Raises:
        BadInput: no images, arrays of different length, or a label index out of range.
    """
    edges = distances(tree, true, predicted)
    if not len(edges):
        raise BadInput("there are no predictions to sum up. Give at least one.")
    wrong = edges[edges > 0]
    return {
        "num_images": len(edges),
        "accuracy": float((edges == 0).mean()),
        "mean_mistake_distance": float(wrong.mean()) if len(wrong) else float("nan"),
        "share_unrelated": float((edges < 0).mean()),
        **precision_recall(tree, np.asarray(true), np.asarray(predicted)),
    }


def _pairs(tree: Hierarchy, true: Any, predicted: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different (true, predicted) pairs, (m, 2), and which of them each image has, (n,)."""
    true, predicted = _indexes(tree, true), _indexes(tree, predicted)
    if len(true) != len(predicted):
        raise BadInput(f"`true` has {len(true)} images, `predicted` {len(predicted)}. Give the same images.")
    width = max(tree.num_labels, 1)
    keys, inverse = np.unique(true * width + predicted, return_inverse=True)
    return np.stack([keys // width, keys % width], axis=1), inverse


def _indexes(tree: Hierarchy, labels: Any) -> NDArray[np.int64]:
    found = np.asarray(labels)
    if found.ndim != 1 or (found.size and not np.issubdtype(found.dtype, np.integer)):
        raise BadInput(f"label indexes must be one whole number an image. Got {found.dtype} of shape {found.shape}.")
    wrong = (found < 0) | (found >= tree.num_labels)
    if wrong.any():
        raise BadInput(f"label indexes must be in 0..{tree.num_labels - 1}. Got {found[wrong][0]}.")
    return found.astype(np.int64)


def _sets(tree: Hierarchy, labels: LabelSets) -> ragged.Ragged:
    if isinstance(labels, np.ndarray):
        return np.arange(len(labels) + 1, dtype=np.int64), _indexes(tree, labels).astype(np.int32)
    return ragged.of_lists(labels)


def _upward(tree: Hierarchy, labels: NDArray[np.int64]) -> ragged.Ragged:
    """Ancestors of each label, ascending, and then the label itself."""
    own = np.arange(len(labels) + 1, dtype=np.int64)
    return targets.fill_in(tree, own, labels.astype(np.int32))


def _keys(start: NDArray[np.int64], index: NDArray[np.int32], width: int) -> NDArray[np.int64]:
    return ragged.owners(start) * width + index


def _steps_up(tree: Hierarchy, labels: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int32]:
    """Fewest edges from each label up to each entry of its row of `_upward`."""
    need = ragged.unique(np.concatenate([_upward(tree, labels)[1], labels.astype(np.int32)]))
    rows: dict[int, NDArray[np.int32]] = {}
    above: Callable[[int], NDArray[np.int32]] = tree.ancestor_ids
    for i in need.tolist():  # parents first
        row = np.full(len(above(i)) + 1, tree.max_depth, np.int32)
        row[-1] = 0
        for parent in tree.parent_lists[i]:
            shared = np.searchsorted(above(i), np.append(above(parent), np.int32(parent)))
            row[shared] = np.minimum(row[shared], rows[parent] + 1)
        rows[i] = row
    out = np.empty(int(start[-1]), np.int32)
    for at, i in enumerate(labels.tolist()):
        out[start[at] : start[at + 1]] = rows[i]
    return out
