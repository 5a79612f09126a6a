"""Per-label logistic loss over all labels, from target indexes: no (batch, labels) target array is made.

Source: Sun et al. 2017, section 4.1: labels are not exclusive, absent labels are negatives, ancestors are filled in.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def logistic(logits: Tensor, image: Tensor, label: Tensor) -> Tensor:
    """Binary cross entropy summed over labels, averaged over images.

    Args:
        logits: (B, L) float32.
        image: (m,) int64, row of each positive.
        label: (m,) int64, column of each positive; each (image, label) once.

    Returns:
        Scalar: sum over labels of softplus(z) - y z, averaged over images.

    >>> import torch
    >>> logistic(torch.zeros(2, 4), torch.tensor([0]), torch.tensor([3])).item() / 4  # ln 2
    0.6931471824645996
    """
    return (F.softplus(logits).sum() - logits[image, label].sum()) / len(logits)


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
