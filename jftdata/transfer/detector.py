"""Faster R-CNN on a checkpoint's ResNet: on conv4 with conv5 in the box head, as in the paper, or on a feature pyramid.

The parts are torchvision's: anchors, matching, box coding, RoIAlign, suppression. Three things are other. Which boxes are in the
losses depends on a number that comes with each image, so that a run gone on with is one never stopped. A box on a crowd, or on
what VOC calls difficult, is neither right nor wrong. Losses, coder and limits are those of Huang et al. 2016, 1611.10012.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from jftdata import backbone
from jftdata.errors import BadArgument, one_of
from jftdata.pretrain.augment import GREY
from jftdata.transfer.body import STAGES, Body
from jftdata.transfer.recipe import Recipe

HEADS = ("c4", "fpn")
SCALES = (0.25, 0.5, 1.0, 2.0)
"""Anchors of the head on conv4, times `DetectionRecipe.anchor`; a pyramid has one size a level, an eighth to twice that."""
RATIOS = (0.5, 1.0, 2.0)
"""Height to width."""
CODER = (10.0, 10.0, 5.0, 5.0)
BOX_WEIGHT = 2.0
"""Times the box losses, beside 1 for the class losses."""
MOST_OF_A_CLASS = 100
_MULTIPLE = 32
"""Sides of a batch, so that strides come out even."""
_BEFORE_NMS = 6000
"""The best proposals of an image, among which alike ones are suppressed; the framework takes all."""
_PYRAMID_BEFORE_NMS = 1000
"""The same, of each level (Lin et al. 2016)."""
_COVERED = 0.5
"""Share of a box on one crowd from which it is not wrong."""


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe(Recipe):
    """Training, and the network itself; the defaults are the paper's and those of the framework it uses."""

    head: Literal["c4", "fpn"] = "c4"
    """c4: proposals from conv4, conv5 on each box. fpn: a feature pyramid with two hidden layers on each box."""
    pyramid: int = 256
    """Channels of the pyramid, for fpn."""
    side: int = 600
    """Pixels of the shorter side."""
    longest: int = 1024
    """Most pixels of the longer side; a longer image has a shorter shorter side."""
    anchor: float = 256.0
    """Pixels of the anchor of scale 1, after resizing."""
    proposals: int = 300
    """Of an image."""
    rpn_nms: float = 0.7
    rpn_batch: int = 256
    """Anchors of an image in the loss, at most half of them positive."""
    box_batch: int = 64
    """Boxes of an image in the loss, at most a quarter of them positive."""
    box_nms: float = 0.6
    least_score: float = 0.0
    """A detection scores more than this."""
    most_detections: int = 300
    """Of an image, at most 100 of a class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head not in HEADS:
            raise one_of("`head`", str(self.head), HEADS)
        for name in ("pyramid", "side", "proposals", "rpn_batch", "box_batch", "most_detections"):
            if getattr(self, name) < 1:
                raise BadArgument(f"`{name}` must be at least 1. Got {getattr(self, name)}.")
        if self.longest < self.side:
            raise BadArgument(f"`longest` must be at least `side`, {self.side}. Got {self.longest}.")
        if not 0 < self.anchor < np.inf:
            raise BadArgument(f"`anchor` must be above 0. Got {self.anchor}.")
        for name in ("rpn_nms", "box_nms", "least_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadArgument(f"`{name}` must be in [0, 1]. Got {getattr(self, name)}.")


@dataclass(frozen=True, eq=False)
class Example:
    """An image to learn from."""

    pixels: NDArray[np.uint8]
    """(H, W, 3)."""
    box: NDArray[np.float32]
    """(k, 4) x0, y0, x1, y1 in those pixels, with an area."""
    label: NDArray[np.int64]
    """(k,) from 0."""
    ignore: NDArray[np.float32]
    """(c, 4) crowds and the like."""
    draw: int
    """Decides which boxes are in the losses."""


class Found(NamedTuple):
    """What was found on an image, best first."""

    box: NDArray[np.float32]
    """(k, 4)."""
    score: NDArray[np.float32]
    label: NDArray[np.int64]


class Detector(nn.Module):
    """Losses by name of a batch of `Example`; `detect` finds.

    Args:
        body: becomes part of this, under the name `body`; for `c4` the stride of its layer4 becomes 1.
        recipe: which head, sizes and limits.
        num_classes: without background.
        seed: of the fresh layers.

    With the small stem the body's strides are a quarter, and anchors and cost grow sixteenfold.
    Cost: a step of `c4` on an image of 600 by 1,024 is 64 times conv5 on 7x7 beside conv1 to conv4; detection 300 times.
    """

    def __init__(self, body: Body, recipe: DetectionRecipe, *, num_classes: int, seed: int) -> None:
        super().__init__()
        self.body, self.recipe = body, recipe
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if recipe.head == "c4":
                self._build_c4(num_classes)
            else:
                self._build_pyramid(num_classes)

    def _build_c4(self, num_classes: int) -> None:
        for module in self.body.layer4.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        inner, outer = self.body.channels["layer3"], self.body.channels["layer4"]
        sizes = tuple(self.recipe.anchor * scale for scale in SCALES)
        head = _Head(inner, 512, len(SCALES) * len(RATIOS), self.recipe.precision)
        self.rpn = _Proposals(self.recipe, (sizes,), head, before_nms=_BEFORE_NMS)
        pool = MultiScaleRoIAlign(["layer3"], 14, sampling_ratio=1)
        self.boxes = _Boxes(self.recipe, pool, FastRCNNPredictor(outer, num_classes + 1))

    def _build_pyramid(self, num_classes: int) -> None:
        width = self.recipe.pyramid
        self.pyramid = FeaturePyramidNetwork([self.body.channels[name] for name in STAGES], width, LastLevelMaxPool())
        sizes = tuple((self.recipe.anchor * 2.0**power,) for power in range(-3, 2))
        self.rpn = _Proposals(
            self.recipe, sizes, _Head(width, width, len(RATIOS), self.recipe.precision), before_nms=_PYRAMID_BEFORE_NMS
        )
        pool = MultiScaleRoIAlign(list(STAGES), 7, sampling_ratio=2)
        self.hidden = TwoMLPHead(width * 7 * 7, 1024)
        self.boxes = _Boxes(self.recipe, pool, FastRCNNPredictor(1024, num_classes + 1))

    def freeze(self) -> None:
        """Keep the body's weights: all below conv5 of `c4`, all of `fpn`."""
        self.body.freeze("layer4" if self.recipe.head == "c4" else "head")

    def forward(self, batch: list[Example]) -> dict[str, Tensor]:
        """Losses `rpn_class`, `rpn_box`, `box_class` and `box`, of which the sum is to be made small."""
        images, features = self._features([example.pixels for example in batch])
        device = images.tensors.device
        targets = [_target(example, device) for example in batch]
        proposals, losses = self.rpn(images, features, targets)
        proposals, labels, deltas = self.boxes.drawn(proposals, targets)
        logits, coded = self._predict(images, features, proposals)
        num = max(1, len(labels))
        own = coded[torch.arange(len(labels), device=device), labels]
        return {
            "rpn_class": losses["loss_objectness"],
            "rpn_box": BOX_WEIGHT * losses["loss_rpn_box_reg"],
            "box_class": F.cross_entropy(logits, labels, reduction="sum") / num,
            "box": BOX_WEIGHT * _box_loss(own, deltas, labels > 0, num),
        }

    @torch.inference_mode()
    def detect(self, pixels: list[NDArray[np.uint8]]) -> list[Found]:
        """Find things on images, (H, W, 3) each; boxes are in their pixels.

        Cost: images are laid beside grey to the largest one's sides; give those of one size together.
        """
        images, features = self._features(pixels)
        proposals, _ = self.rpn(images, features)
        logits, coded = self._predict(images, features, proposals)
        found = self.boxes.postprocess_detections(logits, coded.flatten(1), proposals, images.image_sizes)
        return [Found(*(part.cpu().numpy() for part in (b, s, c - 1))) for b, s, c in zip(*found, strict=True)]

    def _features(self, pixels: list[NDArray[np.uint8]]) -> tuple[ImageList, dict[str, Tensor]]:
        device = self.boxes.box_predictor.cls_score.weight.device
        sizes = [(image.shape[0], image.shape[1]) for image in pixels]
        height, width = (-(-max(side) // _MULTIPLE) * _MULTIPLE for side in zip(*sizes, strict=True))
        whole = np.full((len(pixels), height, width, 3), GREY, np.uint8)
        for at, image in zip(whole, pixels, strict=True):
            at[: image.shape[0], : image.shape[1]] = image
        given = backbone.to_input(whole, device)
        with backbone.autocast(device, self.recipe.precision):
            if self.recipe.head == "c4":
                features = {"layer3": self.body.below(given)}
            else:
                features = self.pyramid(self.body.stages(given))
        return ImageList(given, sizes), {name: feature.float() for name, feature in features.items()}

    def _predict(
        self, images: ImageList, features: dict[str, Tensor], proposals: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, C) and coded boxes (n, C, 4) of the proposals of all images, background first."""
        height, width = images.tensors.shape[-2:]
        crops = self.boxes.box_roi_pool(features, proposals, [(height, width)])
        with backbone.autocast(crops.device, self.recipe.precision):
            if self.recipe.head == "c4":
                vectors = self.body.top(F.max_pool2d(crops, 2)).float().mean(dim=(2, 3))
            else:
                vectors = self.hidden(crops)
        logits, coded = self.boxes.box_predictor(vectors.float())
        return logits, coded.unflatten(1, (-1, 4))


class _Head(RPNHead):  # type: ignore[misc]
    """Whether something is at each anchor, and where; with another number of channels inside than outside, and float32 out."""

    def __init__(self, channels: int, inner: int, num_anchors: int, precision: backbone.Precision) -> None:
        super().__init__(inner, num_anchors)
        self.conv = Conv2dNormActivation(channels, inner, 3, norm_layer=None)
        nn.init.normal_(self.conv[0].weight, std=0.01)
        nn.init.zeros_(self.conv[0].bias)
        self._precision = precision

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        with backbone.autocast(features[0].device, self._precision):
            logits, coded = super().forward(features)
        return [x.float() for x in logits], [x.float() for x in coded]


class _Proposals(RegionProposalNetwork):  # type: ignore[misc]
    """Anchors to proposals; labels say which anchors are in the losses."""

    def __init__(
        self, recipe: DetectionRecipe, sizes: tuple[tuple[float, ...], ...], head: nn.Module, *, before_nms: int
    ) -> None:
        anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
        before = {"training": before_nms, "testing": before_nms}
        after = {"training": recipe.proposals, "testing": recipe.proposals}
        super().__init__(anchors, head, 0.7, 0.3, recipe.rpn_batch, 0.5, before, after, recipe.rpn_nms)
        self.box_coder = BoxCoder(CODER)
        self._recipe = recipe

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Any]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        found: tuple[list[Tensor], dict[str, Tensor]] = super().forward(images, features, targets)
        return found

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Any]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        drawn = []
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            label[_covered(anchor, target["ignore"]) & (label == 0)] = -1
            drawn.append(draw(label, 2 * target["draw"], num=self._recipe.rpn_batch, positive=0.5))
        return drawn, matched

    def compute_loss(
        self, objectness: Tensor, coded: Tensor, labels: list[Tensor], deltas: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        label = torch.cat(labels)
        num = (label >= 0).sum().clamp(min=1)
        each = F.binary_cross_entropy_with_logits(objectness.flatten(), label.clamp(min=0), reduction="none")
        return torch.where(label >= 0, each, 0.0).sum() / num, _box_loss(coded, torch.cat(deltas), label > 0, num)


class _Boxes(RoIHeads):  # type: ignore[misc]
    """Boxes to learn from, and detections out of what was predicted."""

    def __init__(self, recipe: DetectionRecipe, pool: MultiScaleRoIAlign, predictor: FastRCNNPredictor) -> None:
        super().__init__(
            pool, None, predictor, 0.5, 0.5, recipe.box_batch, 0.25, CODER, recipe.least_score, recipe.box_nms, None
        )
        self._recipe = recipe

    def drawn(self, proposals: list[Tensor], targets: list[dict[str, Any]]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Proposals and true boxes of each image that are in the losses, with labels (n,) and coded true boxes (n, 4) of all."""
        chosen, labels, deltas = [], [], []
        for proposal, target in zip(proposals, targets, strict=True):
            boxes = torch.cat([proposal, target["boxes"]])
            (match,), (label,) = self.assign_targets_to_proposals([boxes], [target["boxes"]], [target["labels"]])
            label[_covered(boxes, target["ignore"]) & (label == 0)] = -1
            label = draw(label, 2 * target["draw"] + 1, num=self._recipe.box_batch, positive=0.25)
            rows = torch.where(label >= 0)[0]
            chosen.append(boxes[rows])
            labels.append(label[rows])
            true = target["boxes"][match[rows]] if len(target["boxes"]) else chosen[-1]
            deltas.append(self.box_coder.encode_single(true, chosen[-1]))
        return chosen, torch.cat(labels), torch.cat(deltas)

    def postprocess_detections(
        self, logits: Tensor, coded: Tensor, proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        found: tuple[list[Tensor], ...] = super().postprocess_detections(logits, coded, proposals, sizes)
        kept = [
            (_place_in_class(label) < MOST_OF_A_CLASS).nonzero()[: self._recipe.most_detections, 0]
            for label in found[2]
        ]
        boxes, scores, labels = ([x[rows] for x, rows in zip(part, kept, strict=True)] for part in found)
        return boxes, scores, labels


def draw(label: Tensor, seed: int, *, num: int, positive: float) -> Tensor:
    """Draw at most `num` boxes, at most the share `positive` of them positive, as many negative as are left.

    Args:
        label: (n,) above 0 positive, 0 negative, -1 neither.
        seed: decides.

    Returns:
        (n,) the labels of those drawn, -1 for all others.

    >>> draw(torch.tensor([1, 1, 0, 0, 0, -1]), 0, num=4, positive=0.25).ge(0).sum()
    tensor(4)
    """
    generator = torch.Generator(label.device).manual_seed(seed % 2**63)
    noise = torch.rand(len(label), generator=generator, device=label.device)
    out = torch.full_like(label, -1)
    left: Tensor | int = num
    for wanted, most in ((label > 0, int(num * positive)), (label == 0, num)):
        key, at = torch.where(wanted, noise, -1.0).topk(min(most, len(label)))
        chosen = (key >= 0) & (torch.arange(len(at), device=label.device) < left)
        out[at] = torch.where(chosen, label[at], out[at])
        left = num - chosen.sum()
    return out


def _box_loss(coded: Tensor, true: Tensor, positive: Tensor, num: Tensor | int) -> Tensor:
    """Smooth L1 of the positive boxes' four numbers, over the number of boxes in the loss."""
    each = F.smooth_l1_loss(coded, true, reduction="none").sum(dim=1)
    return torch.where(positive, each, 0.0).sum() / num


def _covered(boxes: Tensor, ignore: Tensor) -> Tensor:
    """(n,) whether at least half of a box lies on one of the (c, 4) boxes."""
    inner = torch.minimum(boxes[:, None, 2:], ignore[:, 2:]) - torch.maximum(boxes[:, None, :2], ignore[:, :2])
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return (inner.clamp(min=0).prod(dim=2) >= _COVERED * sides[:, None]).any(dim=1)


def _place_in_class(label: Tensor) -> Tensor:
    """(n,) how many of the same label come before."""
    order = label.argsort(stable=True)
    ordered = label[order]
    place = torch.empty_like(label)
    place[order] = torch.arange(len(label), device=label.device) - torch.searchsorted(ordered, ordered)
    return place


def _target(example: Example, device: torch.device) -> dict[str, Any]:
    arrays = {"boxes": example.box, "labels": example.label + 1, "ignore": example.ignore}
    there: dict[str, Any] = {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}
    return {**there, "draw": example.draw}
