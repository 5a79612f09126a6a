"""Semantic segmentation: the class of each pixel, by DeepLab-ASPP-L on the checkpoint's body, judged by mean IoU.

An image longer than `longest_side` is shrunk to it. In training it is scaled at random where the recipe says so, cut at random where
it is larger than the crop, and filled up on the right and below, with grey (0 as the network sees it) and labels that do not
count. In testing the whole image is filled up to the crop, or to 8k + 1 pixels where it is larger; the logits are interpolated to
its pixels, what was filled up is cut off, and of an image that was shrunk the classes are enlarged to the size of its mask. So each
metric is over all pixels of the masks as they are given.

Features are not kept between steps in the frozen mode: at stride 8 they are larger than the image, 17 MB for 513 pixels
(2,048 channels, bfloat16).
Source: Sun et al. 2017, section 4.3 (recipe `paper`); Chen et al. 2016 (1606.00915).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from jftdata import backbone, images, storage
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, one_of
from jftdata.pretrain.augment import GREY
from jftdata.pretrain.ranks import Ranks
from jftdata.progress import progress
from jftdata.transfer import body, deeplab, pictures, pixel_metrics, tables
from jftdata.transfer.annotations import predictions, read
from jftdata.transfer.annotations.core import Annotated, Annotations
from jftdata.transfer.deeplab import IGNORED, RATES, DeepLab, LossAt
from jftdata.transfer.fit import ahead, fit, order, samples
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.task import Inputs, Mode, Score

PREDICTIONS = "predictions"
"""Folder of label PNGs."""
CONFUSED = "confused.csv"
"""Pairs of classes of which pixels of the one are taken for the other."""
_GROUP = 8
"""Test images of at most a crop's size that go through the network together, on any number of processes."""
_TRAINAUG = 10_582
"""Training images of VOC 2012 with the masks of Hariharan et al. 2011."""
Sample = tuple[NDArray[np.uint8], NDArray[np.int16]]


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe(Recipe):
    """Training settings and sizes."""

    crop_size: int = 513
    """Pixels of a training image's sides, 1 more than a multiple of 8."""
    rates: tuple[int, ...] = RATES
    """Dilation of each branch of the head."""
    loss_at: LossAt = "pixels"
    """See `deeplab.loss`."""
    scales: tuple[float, float] = (1.0, 1.0)
    """Least and greatest random enlargement of a training image."""
    mirror: bool = False
    """Mirror every second training image."""
    longest_side: int | None = None
    """Pixels; longer images are shrunk. None never shrinks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rates", "scales"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.crop_size < 1 or deeplab.fitting(self.crop_size) != self.crop_size:
            nearest = deeplab.fitting(max(1, self.crop_size))
            raise BadArgument(f"`crop_size` must be 1 more than a multiple of 8. Got {self.crop_size}. Give {nearest}.")
        if not self.rates or min(self.rates) < 1:
            raise BadArgument(f"`rates` must be dilations of at least 1. Got {self.rates}.")
        if self.loss_at not in ("logits", "pixels"):
            raise one_of("`loss_at`", self.loss_at, ("logits", "pixels"))
        if len(self.scales) != 2 or not 0 < self.scales[0] <= self.scales[1] <= 16:
            raise BadArgument(f"`scales` must be two factors in (0, 16], the lower one first. Got {self.scales}.")
        if self.longest_side is not None and self.longest_side < 1:
            raise BadArgument(f"`longest_side` must be at least 1 pixel, or None. Got {self.longest_side}.")


_PAPER = SegmentationRecipe(
    batch_size=6, learning_rate=1e-3, epochs=30_000 * 6 / _TRAINAUG, weight_decay=5e-4, schedule="poly", fresh_rate=10.0,
    loss_at="logits",
)  # fmt: skip
_MODERN = SegmentationRecipe(
    batch_size=16, learning_rate=1e-3 * 16 / 6, epochs=30_000 * 16 / _TRAINAUG, schedule="poly", fresh_rate=10.0,
    clip_norm=1.0, scales=(0.5, 2.0), mirror=True, longest_side=1025,
)  # fmt: skip
_TINY = SegmentationRecipe(
    batch_size=8, learning_rate=0.02, epochs=20, schedule="poly", fresh_rate=10.0, clip_norm=1.0, crop_size=161,
    rates=(2, 4, 6, 8), mirror=True, longest_side=161,
)  # fmt: skip
RECIPES: dict[str, SegmentationRecipe] = {
    "modern": _MODERN,
    "paper": _PAPER,
    "paper-literal": dataclasses.replace(_PAPER, epochs=None, steps=30_000, rates=(6, 12, 8, 24), precision="fp32"),
    "tiny": _TINY,
}
"""`paper` makes as many passes over the images at hand as 30,000 steps are over VOC's 10,582; `paper-literal` takes the steps, and the
rates as printed, of which 8 is a slip for 18. That new layers learn ten times as fast is Chen et al.'s (unverified). `modern` is ours,
the paper's rate for a larger batch, and not yet tuned; `tiny` is for the built-in world at 160 pixels on two CPU cores."""


class Segmentation:
    """Mean IoU, pixel accuracy and the IoU of each class, of masks at their own size.

    Beside the results lie `predictions/`, a label PNG a test image, and `confused.csv`, with the columns of `tables.CONFUSED`.
    """

    modes: tuple[Mode, ...] = ("finetune", "frozen")
    recipes: Mapping[str, SegmentationRecipe] = RECIPES

    def read(self, data: Any, *, cache: Path, workers: int | None) -> Annotations:
        """See `annotations.read.masks`."""
        return read.masks(data, cache=cache, workers=workers)

    def __call__(self, inputs: Inputs[Annotations, SegmentationRecipe]) -> list[Score]:
        recipe, train, ranks = inputs.recipe, inputs.data.train, inputs.ranks
        net = network(
            inputs.checkpoint, recipe=recipe, num_classes=len(train.classes), mode=inputs.mode, seed=inputs.seed
        )
        predictions.write_masks(
            inputs.folder / PREDICTIONS, inputs.data.test, (), rows=()
        )  # refuses names before it trains
        net.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        by_id = np.argsort(train.image, kind="stable")
        stream = order(train.image[by_id], recipe=recipe, seed=inputs.seed)
        num_steps = recipe.num_steps(len(train))

        def load(row: int, draw: int) -> Sample:
            at = int(by_id[row])
            return sample(train.pixels(at), train.labels(at), draw, recipe=recipe, ignore=train.ignore)

        def batches(first_step: int) -> Iterator[list[Sample]]:
            return samples(
                load, stream, first_step=first_step, num_steps=num_steps, ranks=ranks, workers=inputs.workers
            )

        model = Training(net, recipe, ranks)
        fit(
            model, batches, recipe=recipe, num_steps=num_steps, ranks=ranks, folder=inputs.folder,
            what="segmentation", fresh=lambda name: name.startswith("net.head."),
        )  # fmt: skip
        return _judge(net, inputs)


def network(checkpoint: Checkpoint, *, recipe: SegmentationRecipe, num_classes: int, mode: Mode, seed: int) -> DeepLab:
    """The network that is trained, its head fresh; in the frozen mode all but the head stays as it is."""
    fine = checkpoint.config.get("stem") == "small"  # at stride 8 with no stride taken out
    base = body.of_checkpoint(checkpoint, freeze_batch_norm=recipe.freeze_batch_norm, output_stride=32 if fine else 8)
    if mode == "frozen":
        base.freeze()
    return DeepLab(base, num_classes=num_classes, rates=recipe.rates, seed=seed)


class Training(nn.Module):
    """The loss of a batch: a mean over all its pixels that count, on all processes."""

    def __init__(self, net: DeepLab, recipe: SegmentationRecipe, ranks: Ranks) -> None:
        super().__init__()
        self.net, self._recipe, self._ranks = net, recipe, ranks

    def forward(self, batch: list[Sample]) -> dict[str, Tensor]:
        device = self._ranks.device
        pixels = np.stack([pixels for pixels, _ in batch])
        labels = torch.from_numpy(np.stack([labels for _, labels in batch])).to(device).long()
        with backbone.autocast(device, self._recipe.precision):
            logits = self.net(backbone.to_input(pixels, device))
        total, count = deeplab.loss(logits.float(), labels, at=self._recipe.loss_at)
        return {"loss": total / self._ranks.mean(count.float()).clamp(min=1)}


def sample(
    pixels: NDArray[np.uint8], labels: NDArray[np.uint8], draw: int, *, recipe: SegmentationRecipe, ignore: int | None
) -> Sample:
    """A training image: scaled, cut, mirrored and filled up.

    Args:
        pixels: (H, W, 3).
        labels: (H, W) class of each pixel.
        draw: a random number; the same one gives the same image.
        recipe: sizes.
        ignore: value of `labels` where a pixel does not count.

    Returns:
        (crop_size, crop_size, 3) pixels and (crop_size, crop_size) classes, `deeplab.IGNORED` where none counts.
    """
    size, (height, width) = recipe.crop_size, labels.shape
    random = np.random.default_rng(draw)
    scale = _shrinking(height, width, recipe) * random.uniform(*recipe.scales)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (int(random.integers(max(1, side - size + 1))) for side in (tall, wide))
    bottom, right = min(top + size, tall), min(left + size, wide)
    cut = (left * width / wide, top * height / tall, right * width / wide, bottom * height / tall)
    shape = (right - left, bottom - top)
    pixels = np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.BILINEAR, box=cut))
    labels = np.asarray(Image.fromarray(labels).resize(shape, Image.Resampling.NEAREST, box=cut))
    if recipe.mirror and random.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    classes = np.full((size, size), IGNORED, np.int16)
    np.copyto(classes[: shape[1], : shape[0]], labels, where=True if ignore is None else labels != ignore)
    return _fill(pixels, size, size), classes


def _shrinking(height: int, width: int, recipe: SegmentationRecipe) -> float:
    """By how much an image is made smaller before all else."""
    return 1.0 if recipe.longest_side is None else min(1.0, recipe.longest_side / max(height, width))


def _fill(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Grey on the right and below."""
    filled = np.full((height, width, 3), GREY, np.uint8)
    filled[: pixels.shape[0], : pixels.shape[1]] = pixels
    return filled


def _judge(net: DeepLab, inputs: Inputs[Annotations, SegmentationRecipe]) -> list[Score]:
    """Predict this rank's test images, write and count them; the scores of all ranks' images."""
    test, ranks, size = inputs.data.test, inputs.ranks, _GROUP
    firsts = range(ranks.rank * size, len(test), ranks.world_size * size)
    groups = [range(first, min(first + size, len(test))) for first in firsts]
    confusion = pixel_metrics.Confusion(num_images=len(test), num_classes=len(test.classes), ignore=test.ignore)

    rows = [row for group in groups for row in group]

    def judged() -> Iterator[NDArray[np.uint8]]:
        found = predict(net, test, groups, recipe=inputs.recipe, device=ranks.device, workers=inputs.workers)
        with progress("predict", total=len(rows), unit="image", hidden=not ranks.first) as bar:
            for row, classes in found:
                confusion.add(row, test.labels(row), classes)
                bar.update(1)
                yield classes

    predictions.write_masks(inputs.folder / PREDICTIONS, test, judged(), rows=rows)
    counted = pixel_metrics.merge(ranks.gather(confusion))
    if ranks.first:
        with storage.atomic_path(inputs.folder / CONFUSED) as temp:
            tables.confused(counted.matrix(), test.classes).write_csv(temp)
        pictures.masks(test, inputs.folder / PREDICTIONS, folder=inputs.folder, seed=inputs.seed)
    return counted.scores(test.classes)


def predict(
    net: DeepLab, test: Annotated, groups: Sequence[Sequence[int]], *, recipe: SegmentationRecipe, device: torch.device,
    workers: int | None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:  # fmt: skip
    """Rows of images and the class of each of their pixels, (H, W).

    Args:
        net: in evaluation, on its device.
        test: the images.
        groups: rows of images that go through the network together, but for those larger than a crop.
        recipe: sizes and precision.
        device: the network's.
        workers: decoding threads; None is one a core.
    """
    whole = ahead(lambda row: _whole(test, row, recipe), (row for group in groups for row in group), workers=workers)
    for group in groups:
        yield from _classes(net, list(islice(whole, len(group))), test, recipe, device)


@dataclass(frozen=True)
class _Whole:
    """A test image, filled up."""

    row: int
    pixels: NDArray[np.uint8]
    height: int
    """What of it is the image."""
    width: int


def _whole(test: Annotated, row: int, recipe: SegmentationRecipe) -> _Whole:
    pixels = test.pixels(row)
    height, width = pixels.shape[:2]
    scale = _shrinking(height, width, recipe)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = images.resize(pixels, width=width, height=height)
    if max(height, width) <= recipe.crop_size:
        filled = _fill(pixels, recipe.crop_size, recipe.crop_size)
    else:
        filled = _fill(pixels, deeplab.fitting(height), deeplab.fitting(width))
    return _Whole(row, filled, height, width)


@torch.inference_mode()
def _classes(
    net: DeepLab, group: list[_Whole], test: Annotated, recipe: SegmentationRecipe, device: torch.device
) -> list[tuple[int, NDArray[np.uint8]]]:
    """Classes of the pixels of a few images."""
    found = []
    filled = [whole for whole in group if max(whole.height, whole.width) <= recipe.crop_size]
    larger = [[whole] for whole in group if max(whole.height, whole.width) > recipe.crop_size]
    for batch in ([filled] if filled else []) + larger:
        with backbone.autocast(device, recipe.precision):
            logits = net(backbone.to_input(np.stack([whole.pixels for whole in batch]), device))
        for whole, one in zip(batch, logits.float().split(1), strict=True):
            classes = deeplab.to_pixels(one)[0, :, : whole.height, : whole.width].argmax(dim=0).byte().cpu().numpy()
            size = (int(test.width[whole.row]), int(test.height[whole.row]))
            found.append((whole.row, np.asarray(Image.fromarray(classes).resize(size, Image.Resampling.NEAREST))))
    return sorted(found, key=lambda pair: pair[0])
