"""The fully convolutional network of G-RMI: for each keypoint a heat map of what is near it, and maps of the offset to it.

On features at stride 8 lies one 1x1 convolution; its maps are interpolated to the pixels of the picture, whose sides are 1 more than
a multiple of 8, so that corners fall on corners. Near is what lies in a disk around the keypoint. Heat is learnt by a logistic loss
everywhere, offsets by Huber's in the disks.

The disks are those of the person of the box. At the network's end all else is background, the keypoints of other people too, so that
the network learns whose box it is; the auxiliary heat maps, at conv4 and at every eighth pixel, leave out the disks of others
(unverified). A keypoint that is not labelled is left out of every loss (ours).

Source: Papandreou et al. 2017 (1701.01779), section 3.2; which of the numbers are unverified is said where they are set.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jftdata import backbone
from jftdata.transfer.body import Body

STRIDE = 8
"""Pixels of the picture a pixel of the features stands for."""
_HUBER = 1.0
"""Pixels below which a wrong offset counts quadratically."""


@dataclass(frozen=True)
class Pictures:
    """A batch to learn from."""

    pixels: Tensor
    """(n, height, width, 3) uint8."""
    keypoints: Tensor
    """(n, K, 3) float32: x and y in the picture, and above 0 where labelled."""
    others: Tensor
    """(m, K, 3), the same of other people in these pictures."""
    owner: Tensor
    """(m,) int64: in which picture each of the others is."""

    def to(self, device: torch.device) -> "Pictures":
        return Pictures(*(t.to(device) for t in (self.pixels, self.keypoints, self.others, self.owner)))


class PoseNet(nn.Module):
    """Heat maps and offsets of keypoints over a body.

    Args:
        body: of output stride 8; becomes this network's.
        num_keypoints: K.
        height: of a picture, 1 more than a multiple of 8.
        width: the same.
        radius: of the disks, in pixels of the picture.
        heat_weight: of the loss of heat maps.
        offset_weight: of the loss of offsets, in units of the radius.
        auxiliary_weight: of the heat maps at conv4, times `heat_weight`; 0 does without them.
        precision: of the products; losses are in float32.
        seed: of the fresh layers.
    """

    def __init__(
        self, body: Body, *, num_keypoints: int, height: int, width: int, radius: float, heat_weight: float,
        offset_weight: float, auxiliary_weight: float, precision: backbone.Precision, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.body = body
        self.num_keypoints, self.height, self.width, self.radius = num_keypoints, height, width, radius
        self.heat_weight, self.offset_weight, self.auxiliary_weight = heat_weight, offset_weight, auxiliary_weight
        self.precision: backbone.Precision = precision
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = self._maps(body.channels["layer4"], 3 * num_keypoints)
            self.auxiliary = self._maps(body.channels["layer3"], num_keypoints) if auxiliary_weight else None

    def forward(self, batch: Pictures) -> dict[str, Tensor]:
        """Losses by name. Each is a sum over pixels and labelled keypoints, divided by the pixels of a disk and by n K (ours), so
        that a batch's is the mean of those of its equal shares."""
        heat, offset, early = self._run(batch.pixels)
        share = 1.0 / (math.pi * self.radius**2 * batch.keypoints[..., 0].numel())
        labelled = (batch.keypoints[..., 2] > 0).float()[:, :, None, None]
        gap = self._gaps(batch.keypoints, 1)  # (n, K, 2, height, width)
        inside = gap.square().sum(2) <= self.radius**2
        losses = {"heat": self.heat_weight * share * (_logistic(self._interpolate(heat), inside) * labelled).sum()}
        offsets = self._interpolate(offset.flatten(1, 2)).view_as(gap)
        wrong = _huber((offsets - gap).square().sum(2)) / self.radius * (inside * labelled)
        losses["offset"] = self.offset_weight * share * wrong.sum()
        if early is not None:
            inside = self._near(batch.keypoints)
            counts = labelled * ~self._near_others(batch)
            loss = (_logistic(early, inside) * counts).sum() * STRIDE**2
            losses["auxiliary"] = self.auxiliary_weight * self.heat_weight * share * loss
        return losses

    def maps(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What `pose_decode` reads.

        Args:
            pixels: (n, height, width, 3) uint8, on the network's device.

        Returns:
            (n, K, h, w) log-odds of being near each keypoint and (n, K, 2, h, w) the offset to it, x and y in pixels of the picture;
            float32, at every eighth pixel from the first on.
        """
        heat, offset, _ = self._run(pixels)
        return heat, offset

    def _run(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        with backbone.autocast(pixels.device, self.precision):
            below = self.body.below(backbone.to_input(pixels, pixels.device))
            found = self.head(self.body.top(below)).float()
            early = self.auxiliary(below).float() if self.auxiliary is not None and self.training else None
        heat, offset = found[:, : self.num_keypoints], found[:, self.num_keypoints :]
        return heat, offset.unflatten(1, (self.num_keypoints, 2)) * self.radius, early

    def _maps(self, channels: int, num: int) -> nn.Conv2d:
        """A 1x1 convolution that begins at the share of a picture that a disk takes."""
        layer = nn.Conv2d(channels, num, 1)
        nn.init.normal_(layer.weight, std=0.001)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
        disk = min(0.5, math.pi * self.radius**2 / (self.height * self.width))
        nn.init.constant_(layer.bias[: self.num_keypoints], math.log(disk / (1 - disk)))
        return layer

    def _interpolate(self, maps: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, height, width)."""
        return F.interpolate(maps, (self.height, self.width), mode="bilinear", align_corners=True)

    def _gaps(self, keypoints: Tensor, every: int) -> Tensor:
        """(n, K, 3) to (n, K, 2, rows, columns): from the centre of every so many pixels to each keypoint, x and y."""
        x, y = (torch.arange(0, side, every, device=keypoints.device) + 0.5 for side in (self.width, self.height))
        gap_x = (keypoints[..., 0, None] - x)[:, :, None, :].expand(-1, -1, len(y), -1)
        gap_y = (keypoints[..., 1, None] - y)[:, :, :, None].expand(-1, -1, -1, len(x))
        return torch.stack([gap_x, gap_y], dim=2)

    def _near(self, keypoints: Tensor) -> Tensor:
        """(n, K, h, w) whether a pixel of the features lies in the disk of a labelled keypoint."""
        inside = self._gaps(keypoints, STRIDE).square().sum(2) <= self.radius**2
        return inside & (keypoints[..., 2] > 0)[:, :, None, None]

    def _near_others(self, batch: Pictures) -> Tensor:
        """The same for other people of each picture, but for where the person's own disk is."""
        near = self._near(batch.others)
        found = near.new_zeros((len(batch.pixels), *near.shape[1:]), dtype=torch.int32)
        found.index_add_(0, batch.owner, near.int())
        return (found > 0) & ~self._near(batch.keypoints)


def _logistic(log_odds: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(log_odds, target.float(), reduction="none")


def _huber(squared: Tensor) -> Tensor:
    """Huber's function of distances that are given squared; its slope at 0 is 0."""
    far = squared.clamp_min(_HUBER**2).sqrt() - 0.5 * _HUBER
    return torch.where(squared < _HUBER**2, 0.5 * squared / _HUBER, far)
