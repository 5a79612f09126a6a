"""Training targets of label lists: ancestors filled in, dense or sparse, in NumPy or torch, two- or three-valued.

Cost: 1,024 images and 18,291 labels take about 1 ms dense, less sparse.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy.core import Hierarchy

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

LabelLists = Sequence[Sequence[str | int]]


@dataclass(frozen=True, kw_only=True)
class FillIn:
    """What a label says of other labels."""

    ancestors: bool = True
    """A given label makes its ancestors positive (Sun et al. 2017, section 3)."""
    descendants: bool = True
    """A verified negative makes its descendants negative: what is no animal is no cat."""
    absent: Literal["negative", "unknown"] = "negative"
    """What a label is that nothing was said of: the paper trains on it as negative."""

    def __post_init__(self) -> None:
        if self.absent not in ("negative", "unknown"):
            raise BadArgument(f"`absent` must be negative or unknown. Got {self.absent!r}.")


@dataclass(frozen=True)
class Targets:
    """Three-valued targets."""

    positive: NDArray[np.bool_]
    """(n, num_labels) True where a label is positive."""
    known: NDArray[np.bool_]
    """(n, num_labels) False where a label is unknown: leave it out of the loss."""
    num_conflicts: int
    """(image, label) pairs both positive and negative; they count as positive."""


def fill_in(tree: Hierarchy, start: NDArray[np.int64], index: NDArray[np.int32]) -> ragged.Ragged:
    """Given labels with all their ancestors.

    Args:
        tree: the hierarchy.
        start: (n + 1,) where each image's labels begin.
        index: label indexes of all images in turn.

    Returns:
        The same layout, ascending within an image, each label once.

    Raises:
        BadInput: a label index out of range.
    """
    return _closed(tree, start, index, tree.ancestor_start, tree.ancestor_index)


def signed(
    tree: Hierarchy, positive: ragged.Ragged, negative: ragged.Ragged, *, policy: FillIn = FillIn()
) -> tuple[ragged.Ragged, ragged.Ragged]:
    """Positive and negative labels of each image with what follows from them; what is both is positive.

    Args:
        tree: the hierarchy.
        positive: given labels as (start, index).
        negative: labels each image is known not to show, in the same layout.
        policy: what follows from a label.

    Returns:
        Both in the same layout, ascending within an image.

    Raises:
        BadInput: a label index out of range.
    """
    yes = fill_in(tree, *positive) if policy.ancestors else positive
    if policy.descendants:
        negative = _closed(
            tree, *negative, *ragged.transpose(tree.ancestor_start, tree.ancestor_index, tree.num_labels)
        )
    width = np.int64(max(tree.num_labels, 1))
    keys = [ragged.owners(start) * width + index for start, index in (yes, negative)]
    kept = keys[1][~ragged.in_sorted(keys[1], np.sort(keys[0]))]
    return yes, ragged.from_keys(kept, num_rows=len(negative[0]) - 1, width=int(width))


@overload
def multi_hot(tree: Hierarchy, label_lists: LabelLists) -> NDArray[np.bool_]: ...
@overload
def multi_hot(tree: Hierarchy, label_lists: LabelLists, *, sparse: Literal[True]) -> "csr_array": ...
@overload
def multi_hot(tree: Hierarchy, label_lists: LabelLists, *, sparse: bool = ..., device: str) -> "torch.Tensor": ...
def multi_hot(tree: Hierarchy, label_lists: LabelLists, *, sparse: bool = False, device: str | None = None) -> Any:
    """Targets of images with ancestors filled in.

    Args:
        tree: the hierarchy.
        label_lists: labels or label indexes of each image.
        sparse: compressed rows instead of a dense table.
        device: None for NumPy and SciPy, else the torch device; only indexes travel to it.

    Returns:
        (n, num_labels) of bool: array, csr_array, tensor, or sparse CSR tensor.

    Raises:
        UnknownName: a label that is not in the hierarchy.
        BadInput: a label index out of range.

    >>> multi_hot(Hierarchy.load("toy"), [["dog"], []], sparse=True).sum(axis=1)
    array([3, 0])
    """
    start, index = fill_in(tree, *_indexes(tree, label_lists))
    shape = (len(start) - 1, tree.num_labels)
    if device is not None:
        import torch

        columns = torch.from_numpy(index).to(device)
        rows = torch.from_numpy(start).to(device)
        if sparse:
            ones = torch.ones(len(index), dtype=torch.bool, device=device)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
                return torch.sparse_csr_tensor(rows, columns.long(), ones, size=shape, check_invariants=False)
        dense = torch.zeros(shape, dtype=torch.bool, device=device)
        dense[torch.repeat_interleave(rows.diff()), columns.long()] = True
        return dense
    if sparse:
        from scipy.sparse import csr_array

        return csr_array((np.ones(len(index), np.bool_), index, start), shape=shape)
    return _dense(start, index, tree.num_labels)


def three_valued(
    tree: Hierarchy, positives: LabelLists, negatives: LabelLists, *, policy: FillIn = FillIn()
) -> Targets:
    """Targets of images with verified negatives.

    Args:
        tree: the hierarchy.
        positives: given labels of each image.
        negatives: labels each image is known not to show.
        policy: what follows from a label.

    Raises:
        UnknownName: a label that is not in the hierarchy.
        BadInput: a label index out of range, or lists of two lengths.

    >>> t = three_valued(Hierarchy.load("toy"), [["dog"]], [["cat"]], policy=FillIn(absent="unknown"))
    >>> int(t.positive.sum()), int(t.known.sum())
    (3, 5)
    """
    if len(positives) != len(negatives):
        raise BadInput(f"got labels of {len(positives)} images and negatives of {len(negatives)}. Give both for each.")
    yes, no = _indexes(tree, positives), _indexes(tree, negatives)
    if policy.ancestors:
        yes = fill_in(tree, *yes)
    if policy.descendants:
        no = _closed(tree, *no, *ragged.transpose(tree.ancestor_start, tree.ancestor_index, tree.num_labels))
    positive, negative = _dense(*yes, tree.num_labels), _dense(*no, tree.num_labels)
    known = np.ones_like(positive) if policy.absent == "negative" else positive | negative
    return Targets(positive, known, int((positive & negative).sum()))


def _indexes(tree: Hierarchy, label_lists: LabelLists) -> ragged.Ragged:
    return ragged.of_lists([[x if isinstance(x, int) else tree.index(x) for x in labels] for labels in label_lists])


def _closed(
    tree: Hierarchy, start: NDArray[np.int64], index: NDArray[np.int32], more_start: NDArray[np.int64],
    more_index: NDArray[np.int32],
) -> ragged.Ragged:  # fmt: skip
    """Each row with the row of every one of its labels in another table added."""
    wrong = (index < 0) | (index >= tree.num_labels)
    if wrong.any():
        raise BadInput(f"label indexes must be in 0..{tree.num_labels - 1}. Got {int(index[wrong][0])}.")
    added_start, added = ragged.take_rows(more_start, more_index, index)
    row = ragged.owners(start)
    width = np.int64(max(tree.num_labels, 1))
    keys = np.concatenate([row * width + index, np.repeat(row, np.diff(added_start)) * width + added])
    return ragged.from_keys(keys, num_rows=len(start) - 1, width=int(width))


def _dense(start: NDArray[np.int64], index: NDArray[np.int32], num_labels: int) -> NDArray[np.bool_]:
    out = np.zeros((len(start) - 1, num_labels), np.bool_)
    out[ragged.owners(start), index] = True
    return out
