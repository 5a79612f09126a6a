"""DeepLab-ASPP-L: a ResNet at stride 8, and four dilated convolutions from its features straight to the classes, summed.

Every convolution of the body is centred, so that the logit at (i, j) is that of pixel (8i, 8j): an image of 8k + 1 pixels has k + 1
logits with the first and the last on its edges, and the paper's 513 gives 65. Logits are brought to pixels, and labels to logits,
by that rule, which neither rounds nor shifts.

Source: Chen et al. 2016 (DeepLab-v2, 1606.00915), figure 7 and section 4.1.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jftdata.errors import one_of
from jftdata.transfer.body import Body

STRIDE = 8
"""Pixels from one logit to the next."""
RATES = (6, 12, 18, 24)
"""Chen et al. 2016, ASPP-L."""
IGNORED = -1
"""Label of a pixel that does not count."""
LossAt = Literal["logits", "pixels"]


def fitting(size: int) -> int:
    """The smallest size of at least `size` pixels whose first and last pixel have a logit.

    >>> fitting(513), fitting(500), fitting(1)
    (513, 505, 1)
    """
    return -(-(size - 1) // STRIDE) * STRIDE + 1


class DeepLab(nn.Module):
    """(n, 3, H, W) in [-1, 1], H and W as `fitting` gives them, to logits (n, num_classes, (H + 7) / 8, (W + 7) / 8).

    Args:
        body: a pixel of its output stands for 8 of the image.
        num_classes: with the background, where that is one.
        rates: dilation of each branch.
        seed: of the head's weights.
    """

    def __init__(self, body: Body, *, num_classes: int, rates: Sequence[int] = RATES, seed: int) -> None:
        super().__init__()
        self.body = body
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = Aspp(body.channels["layer4"], num_classes, rates)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(pixels))
        return logits


class Aspp(nn.Module):
    """3x3 convolutions side by side, one a dilation, summed; Xavier's weights, as in Sun et al. 2017, and biases of zero."""

    def __init__(self, channels: int, num_classes: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate) for rate in rates
        )
        for branch in self.branches:
            nn.init.xavier_uniform_(branch.weight)  # type: ignore[arg-type]
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        first, *others = self.branches
        found: Tensor = first(features)
        for branch in others:
            found = found + branch(features)
        return found


def to_pixels(logits: Tensor) -> Tensor:
    """(n, c, h, w) logits to (n, c, 8h - 7, 8w - 7) by bilinear interpolation; those that are there stay as they are."""
    size = tuple((side - 1) * STRIDE + 1 for side in logits.shape[-2:])
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)


def loss(logits: Tensor, labels: Tensor, *, at: LossAt) -> tuple[Tensor, Tensor]:
    """Cross-entropy, summed over all places that count, and their number.

    Args:
        logits: (n, c, h, w).
        labels: (n, 8h - 7, 8w - 7) int64 class of each pixel, or `IGNORED`.
        at: `logits` takes the label of every eighth pixel, as DeepLab-v2 does; `pixels` interpolates the logits to the image, which
            its successor found better (Chen et al. 2017, 1706.05587, section 4.1) since thin things keep their labels.

    Raises:
        UnknownOption: another place.

    >>> zeros, labels = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1, 1, 1, 1, 1, 1, 1, IGNORED]]])
    >>> [tuple(round(float(x), 3) for x in loss(zeros, labels, at=at)) for at in ("logits", "pixels")]
    [(0.693, 1.0), (5.545, 8.0)]
    """
    if at not in ("logits", "pixels"):
        raise one_of("place of the loss", at, ("logits", "pixels"))
    if at == "logits":
        labels = labels[:, ::STRIDE, ::STRIDE]
    else:
        logits = to_pixels(logits)
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"), (labels != IGNORED).sum()
