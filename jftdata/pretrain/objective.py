"""What pretraining minimises: losses of (B, L) logits given the labels of a batch as indexes.

A loss never asks for all columns at once, so that the head (`head.py`) can compute them a block at a time or on several ranks. Here
are the losses of one label at a time, which need no more than a block; `softmax.py` has those that need sums over all columns first.
Every loss is averaged over the images of a batch; one without labels adds what its negatives cost to a per-label loss, and nothing to a
softmax.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from jftdata import ragged
from jftdata.errors import BadArgument, BadInput


@dataclass(frozen=True)
class Targets:
    """Labels of a batch: the entries of a (B, L) table that is never made."""

    num_images: int
    num_labels: int
    image: Tensor
    """(m,) int64, the row of each entry."""
    label: Tensor
    """(m,) int64 ascending, its column; each (image, label) once."""
    positive: Tensor | None = None
    """(m,) bool: False is a verified negative, and what is not listed is unknown. None: all are positive, the others negative."""

    @classmethod
    def of(
        cls, positive: ragged.Ragged, negative: ragged.Ragged | None = None, *, num_labels: int,
        device: torch.device | str = "cpu",
    ) -> Self:  # fmt: skip
        """Targets of label lists; only the indexes travel to the device.

        Args:
            positive: start (B + 1,) and label indexes (m,) of the images of a batch.
            negative: the same of verified negatives; then all other labels are unknown and left out of the loss.
            num_labels: columns of the head.
            device: where the loss is computed.

        Raises:
            BadInput: a label index out of range, twice on an image, or both positive and negative.

        >>> Targets.of((np.array([0, 2, 3]), np.array([3, 0, 3])), num_labels=4).image
        tensor([0, 0, 1])
        """
        tables = [positive] if negative is None else [positive, negative]
        num_images = len(positive[0]) - 1
        if len(tables[-1][0]) != num_images + 1:
            raise BadInput(f"got positives of {num_images} images and negatives of {len(tables[-1][0]) - 1}.")
        label = np.concatenate([index for _, index in tables]).astype(np.int64)
        if len(label) and not 0 <= label.min() <= label.max() < num_labels:
            wrong = label[(label < 0) | (label >= num_labels)][0]
            raise BadInput(f"label indexes must be in 0..{num_labels - 1}. Got {wrong}.")
        image = np.concatenate([ragged.owners(start) for start, _ in tables])
        order = np.lexsort((image, label))
        image, label = image[order], label[order]
        again = np.flatnonzero((np.diff(image) == 0) & (np.diff(label) == 0))
        if len(again):
            at, which = int(image[again[0]]), int(label[again[0]])
            raise BadInput(
                f"image {at} of the batch has label {which} twice, or as positive and negative. List it once."
            )
        yes = None
        if negative is not None:
            yes = torch.from_numpy(order < len(positive[1])).to(device)
        return cls(num_images, num_labels, torch.from_numpy(image).to(device), torch.from_numpy(label).to(device), yes)


class BatchLoss(Protocol):
    """A loss of one batch, a block of columns at a time."""

    num_sums: int
    """Sums of exponentials it needs over all columns, before the loss; 0 for per-label losses."""

    def log_sums(self, logits: Tensor, first: int) -> Tensor:
        """(num_sums,) log of the sums over these columns; blocks and ranks add up by logaddexp."""

    def block(self, logits: Tensor, first: int, log_sums: Tensor) -> tuple[Tensor, Tensor]:
        """These columns' part of the loss, and its gradient (B, columns) in the logits.

        Args:
            logits: (B, columns) float32 or float64; may be overwritten.
            first: label index of the first column.
            log_sums: (num_sums,) over all columns.
        """


class Objective(Protocol):
    """A loss with its settings."""

    fills_in: ClassVar[bool]
    """Whether it wants the ancestors filled in, or the given labels alone."""

    def on(self, targets: Targets) -> BatchLoss:
        """The loss of a batch.

        Raises:
            BadArgument: targets it cannot use.
        """


# ---- per label -------------------------------------------------------------------------------------------------------


class PerLabel:
    """A yes-or-no loss of every label, summed over labels and averaged over images."""

    fills_in: ClassVar[bool] = True
    offset: Tensor | None = None
    """(L,) added to the logits while training, on the loss's device."""

    def positive(self, logits: Tensor) -> Tensor:
        """Loss where a label is positive, the same shape."""
        raise NotImplementedError

    def negative(self, logits: Tensor) -> Tensor:
        """Loss where a label is negative, the same shape."""
        raise NotImplementedError

    def on(self, targets: Targets) -> BatchLoss:
        return _PerLabelBatch(self, targets)


@dataclass(frozen=True)
class Logistic(PerLabel):
    """Binary cross entropy: softplus(-z) where positive, softplus(z) where negative.

    With `smoothing` s the targets are 1 - s/2 and s/2 in place of 1 and 0. With an `offset`, t times `log_odds` of the labels' counts,
    the loss is logit-adjusted: the logits then learn how much more likely than usual a label is, which serves rare labels at test time.

    Source: Sun et al. 2017, section 4.1; the offset is Menon et al. 2021, equation 10, which is for softmax, carried over to one label.
    """

    smoothing: float = 0.0
    offset: Tensor | None = None

    def __post_init__(self) -> None:
        in_range("smoothing", self.smoothing, 0, 1)

    def positive(self, logits: Tensor) -> Tensor:
        return _softplus(-logits) + self.smoothing / 2 * logits if self.smoothing else _softplus(-logits)

    def negative(self, logits: Tensor) -> Tensor:
        return _softplus(logits) - self.smoothing / 2 * logits if self.smoothing else _softplus(logits)


@dataclass(frozen=True)
class Focal(PerLabel):
    """Cross entropy weighed down where the answer is right already, with p = sigmoid(z).

    Positive: alpha (1 - p)^gamma softplus(-z). Negative: (1 - alpha) p^gamma softplus(z). Alpha None weighs both by 1.

    Source: Lin et al. 2017, *Focal Loss for Dense Object Detection*, equation 5; the defaults are theirs.
    """

    gamma: float = 2.0
    alpha: float | None = 0.25

    def __post_init__(self) -> None:
        in_range("gamma", self.gamma, 0, float("inf"))
        if self.alpha is not None:
            in_range("alpha", self.alpha, 0, 1)

    def positive(self, logits: Tensor) -> Tensor:
        loss = _focused(-logits, self.gamma)
        return loss if self.alpha is None else self.alpha * loss

    def negative(self, logits: Tensor) -> Tensor:
        loss = _focused(logits, self.gamma)
        return loss if self.alpha is None else (1 - self.alpha) * loss


@dataclass(frozen=True)
class Asymmetric(PerLabel):
    """Focal loss that lets go of easy negatives faster than of easy positives, and of the easiest altogether.

    Positive: (1 - p)^gamma_positive softplus(-z). Negative, with q = max(p - margin, 0): -q^gamma_negative log(1 - q).

    Source: Ridnik et al. 2021, *Asymmetric Loss For Multi-Label Classification*, section 2; the defaults are theirs.
    """

    gamma_positive: float = 0.0
    gamma_negative: float = 4.0
    margin: float = 0.05

    def __post_init__(self) -> None:
        in_range("gamma_positive", self.gamma_positive, 0, float("inf"))
        in_range("margin", self.margin, 0, 1)
        if self.margin and self.gamma_negative != 0 and not self.gamma_negative >= 1:
            raise BadArgument(
                f"`gamma_negative` must be 0 or at least 1 with a margin, or slopes are infinite. Got {self.gamma_negative}."
            )
        in_range("gamma_negative", self.gamma_negative, 0, float("inf"))

    def positive(self, logits: Tensor) -> Tensor:
        return _focused(-logits, self.gamma_positive)

    def negative(self, logits: Tensor) -> Tensor:
        if not self.margin:
            return _focused(logits, self.gamma_negative)
        shifted = (torch.sigmoid(logits) - self.margin).clamp(min=0)
        loss = -torch.log1p(-shifted)
        return shifted**self.gamma_negative * loss if self.gamma_negative else loss


class _PerLabelBatch:
    num_sums = 0

    def __init__(self, loss: PerLabel, targets: Targets) -> None:
        self._loss, self._targets = loss, targets

    def log_sums(self, logits: Tensor, first: int) -> Tensor:
        return logits.new_empty(0)

    def block(self, logits: Tensor, first: int, log_sums: Tensor) -> tuple[Tensor, Tensor]:
        targets, loss = self._targets, self._loss
        if loss.offset is not None:
            logits += loss.offset[first : first + logits.shape[1]]
        part = entries(targets.label, first, logits.shape[1])
        row, column = targets.image[part], targets.label[part] - first
        picked = logits[row, column]
        yes: slice | Tensor = slice(None)
        if targets.positive is None:
            value, slope = _with_slope(loss.negative, logits)
            value -= loss.negative(picked).sum()
        else:
            yes, no = targets.positive[part], ~targets.positive[part]
            slope = torch.zeros_like(logits)
            value, slopes = _with_slope(loss.negative, picked[no])
            slope[row[no], column[no]] = slopes
        positives, slopes = _with_slope(loss.positive, picked[yes])
        slope[row[yes], column[yes]] = slopes
        return (value + positives) / targets.num_images, slope.div_(targets.num_images)


def _with_slope(function: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of an elementwise function and its gradient."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        value = function(leaf).sum()
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def _softplus(logits: Tensor) -> Tensor:
    return F.softplus(logits, threshold=50)  # torch's own threshold of 20 is off by 2e-9, which float64 can see


def _focused(logits: Tensor, gamma: float) -> Tensor:
    """sigmoid(z)^gamma softplus(z), the power by its logarithm so that no slope is infinite."""
    loss = _softplus(logits)
    return loss if gamma == 0 else torch.exp(-gamma * _softplus(-logits)) * loss


def entries(label: Tensor, first: int, columns: int) -> slice:
    """Where the labels of some columns are among ascending labels."""
    ends = torch.tensor([first, first + columns], device=label.device)
    low, high = torch.searchsorted(label, ends).tolist()
    return slice(low, high)


def in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise BadArgument(f"`{name}` must be at least {low:g} and below {high:g}. Got {value}.")


# ---- counts ----------------------------------------------------------------------------------------------------------


def log_odds(num_positive: NDArray[np.int64], num_images: int) -> NDArray[np.float32]:
    """Log-odds of each label with one half image added on either side.

    Args:
        num_positive: (L,) images with the label, ancestors filled in.
        num_images: images in all.

    >>> log_odds(np.array([5]), 10)
    array([0.], dtype=float32)
    """
    odds: NDArray[np.float32] = np.log((num_positive + 0.5) / (num_images - num_positive + 0.5)).astype(np.float32)
    return odds
