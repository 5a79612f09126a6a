"""Softmax losses: over all labels, or among the children of each label on the way to the image's own.

They take two passes over the columns: one for the log of the sums of exponentials, which add up over blocks and ranks, one for the loss
and its gradient.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jftdata import ragged
from jftdata.errors import BadArgument
from jftdata.hierarchy import Hierarchy
from jftdata.pretrain.objective import BatchLoss, Targets, entries, in_range


@dataclass(frozen=True)
class Softmax:
    """Cross entropy of a softmax over all labels, against 1/k for each of an image's k labels.

    The loss of an image is log sum_l exp(z_l) - (1 - s)/k sum_given z_l - s/L sum_l z_l with `smoothing` s. With an `offset`, t times
    `log_share` of the labels' counts, it is the logit-adjusted loss: z is then replaced by z + offset while training.

    Source: Mahajan et al. 2018, *Exploring the Limits of Weakly Supervised Pretraining*, for several labels; Szegedy et al. 2016,
    section 7, for smoothing; Menon et al. 2021, *Long-tail learning via logit adjustment*, equation 10, for the offset.
    """

    fills_in: ClassVar[bool] = False
    smoothing: float = 0.0
    offset: Tensor | None = None

    def __post_init__(self) -> None:
        in_range("smoothing", self.smoothing, 0, 1)

    def on(self, targets: Targets) -> BatchLoss:
        return _SoftmaxBatch(self, targets)


class _SoftmaxBatch:
    def __init__(self, loss: Softmax, targets: Targets) -> None:
        _two_valued(targets)
        self._loss, self._targets = loss, targets
        count = torch.bincount(targets.image, minlength=targets.num_images)
        self._share = (1 - loss.smoothing) / count[targets.image].double()
        self._labelled = (count > 0)[:, None]
        self.num_sums = targets.num_images

    def log_sums(self, logits: Tensor, first: int) -> Tensor:
        return torch.logsumexp(self._adjusted(logits, first), 1)

    def block(self, logits: Tensor, first: int, log_sums: Tensor) -> tuple[Tensor, Tensor]:
        targets, smoothing = self._targets, self._loss.smoothing
        log_p = self._adjusted(logits, first).sub_(log_sums[:, None]).mul_(self._labelled)
        part = entries(targets.label, first, logits.shape[1])
        at = targets.image[part], targets.label[part] - first
        share = self._share[part].to(log_p.dtype)
        value = -(share * log_p[at]).sum()
        slope = log_p.exp()
        if smoothing:
            value = value - smoothing / targets.num_labels * log_p.sum()
            slope -= smoothing / targets.num_labels
        slope[at] -= share
        return value / targets.num_images, slope.mul_(self._labelled).div_(targets.num_images)

    def _adjusted(self, logits: Tensor, first: int) -> Tensor:
        offset = self._loss.offset
        return logits if offset is None else logits + offset[first : first + logits.shape[1]]


@dataclass(frozen=True)
class TreeSoftmax:
    """A softmax among the children of each label on the way to an image's labels, and one among the roots.

    The loss of an image is the sum over its labels p, and the top, of -1/k sum_c log softmax(z)_c over the k children c of p that the
    image has, the softmax being among all children of p; a label below which the image has none adds nothing. In a tree with one label
    an image this is -log of the product of conditional probabilities along its path. A label has one logit, whatever the number of its
    parents, and takes part in the softmax below each of them: in a DAG all paths count.

    Cost: the products of all logits, and memory for the children of each label an image has.
    Source: Redmon and Farhadi 2017, *YOLO9000*, section 4; labels with several parents are ours.
    """

    edge_start: NDArray[np.int64]
    """(L + 1,) where the edges into each label begin."""
    edge_label: Tensor
    """(num_edges,) int64 ascending: the label an edge leads to; a root has one from the top."""
    edge_group: Tensor
    """(num_edges,) int64: 0 is the top, 1 + p the children of label p."""
    fills_in: ClassVar[bool] = True

    @classmethod
    def of(cls, tree: Hierarchy, *, device: torch.device | str = "cpu") -> Self:
        """The loss over a hierarchy; make it once a run."""
        start, group = ragged.of_lists([[1 + p for p in parents] or [0] for parents in tree.parent_lists])
        label = torch.from_numpy(ragged.owners(start))
        return cls(start, label.to(device), torch.from_numpy(group.astype(np.int64)).to(device))

    def on(self, targets: Targets) -> BatchLoss:
        if targets.num_labels != len(self.edge_start) - 1:
            raise BadArgument(
                f"the hierarchy has {len(self.edge_start) - 1} labels, the targets {targets.num_labels}. Give those of one."
            )
        return _TreeBatch(self, targets)


class _TreeBatch:
    """A visit is an image and a label p of it (or the top) of which it has a child; each has a sum of exponentials."""

    def __init__(self, loss: TreeSoftmax, targets: Targets) -> None:
        _two_valued(targets)
        self._loss, self._num_images = loss, targets.num_images
        start = torch.from_numpy(loss.edge_start).to(targets.label.device)
        entry, edge = _rows(start[targets.label], start[targets.label + 1])
        groups = len(start)
        keys = targets.image[entry] * groups + loss.edge_group[edge]
        visits, self._visit, count = torch.unique(keys, return_inverse=True, return_counts=True)
        self._image, self._label = targets.image[entry], targets.label[entry]
        self._share = 1 / count[self._visit].double()
        self._visit_image, self._visit_group = visits // groups, visits % groups
        self.num_sums = len(visits)

    def log_sums(self, logits: Tensor, first: int) -> Tensor:
        visit, row, column = self._siblings(first, logits.shape[1])
        picked = logits[row, column]
        top = logits.new_full((self.num_sums,), -torch.inf).scatter_reduce_(0, visit, picked, "amax")
        total = logits.new_zeros(self.num_sums).index_add_(0, visit, torch.exp(picked - top[visit]))
        return total.log() + top.nan_to_num(neginf=0.0)  # a visit with no sibling here: log 0

    def block(self, logits: Tensor, first: int, log_sums: Tensor) -> tuple[Tensor, Tensor]:
        visit, row, column = self._siblings(first, logits.shape[1])
        slope = torch.zeros_like(logits)
        flat = slope.view(-1)  # a label with several parents is met several times
        flat.index_add_(0, row * logits.shape[1] + column, torch.exp(logits[row, column] - log_sums[visit]))
        part = entries(self._label, first, logits.shape[1])
        row, column, visit = self._image[part], self._label[part] - first, self._visit[part]
        share = self._share[part].to(logits.dtype)
        flat.index_add_(0, row * logits.shape[1] + column, -share)
        value = (share * (log_sums[visit] - logits[row, column])).sum()
        return value / self._num_images, slope.div_(self._num_images)

    def _siblings(self, first: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
        """Visit, image and column of every child of every visit, among these columns."""
        edges = slice(int(self._loss.edge_start[first]), int(self._loss.edge_start[first + columns]))
        group, order = torch.sort(self._loss.edge_group[edges], stable=True)
        child = self._loss.edge_label[edges][order] - first
        low = torch.searchsorted(group, self._visit_group)
        high = torch.searchsorted(group, self._visit_group, right=True)
        visit, edge = _rows(low, high)
        return visit, self._visit_image[visit], child[edge]


def _rows(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The row and the numbers low[i], ..., high[i] - 1 of each row, one row after another."""
    lengths = high - low
    row = torch.repeat_interleave(lengths)
    return row, torch.arange(len(row), device=row.device) + (low - (lengths.cumsum(0) - lengths))[row]


def _two_valued(targets: Targets) -> None:
    if targets.positive is not None:
        raise BadArgument("a softmax has no unknown labels. Leave the negatives out, or use a per-label loss.")


def log_share(num_positive: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log of each label's share of all given labels, with one half added to each: the prior of a softmax.

    >>> np.exp(log_share(np.array([1, 4]))).tolist()
    [0.25, 0.75]
    """
    share: NDArray[np.float32] = np.log((num_positive + 0.5) / (num_positive + 0.5).sum()).astype(np.float32)
    return share
