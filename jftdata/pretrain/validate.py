"""Validation on images with all their labels: mAP@100 of a network in training, or of a checkpoint.

Images are resized as in training and cropped at the centre, without a mirror; labels have their ancestors filled in; an image
that cannot be read is counted, not scored. The head runs in float32 whatever the precision: in bfloat16 many labels would have
the same score. Cost: decoding and one pass of the network; keeping the best labels takes 0.1 ms an image.

Source: Sun et al. 2017, section 4.2, trains on crops of 299 of images resized to 340, and monitors mAP@100 on FastEval14k.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torchvision.models.resnet import ResNet

from jftdata import backbone, images
from jftdata.catalog import label_arrays
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput, ImageRejected
from jftdata.hierarchy.targets import fill_in
from jftdata.pixels import PLACE, UNREAD, check_unchanged, map_images
from jftdata.progress import progress
from jftdata.ragged import take_rows
from jftdata.ranking import Ranking, RankingResult, merge
from jftdata.subset import Subset

Scorer = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
"""(n, 3, size, size) in [-1, 1] to scores (n, num_labels), or to scores (n, m) and the label (n, m) of each."""
_BATCH = 256
"""Images at a time, at most."""


@dataclass(frozen=True, eq=False)
class Validation:
    """How a network ranks the labels of some images."""

    ranking: Ranking
    unread: pl.DataFrame
    """Columns of `pixels.UNREAD`: images that are not in the ranking."""
    classes: NDArray[np.int64]
    """The leaves of the hierarchy, which compete for top-1 and top-5."""

    def result(self, *, train_counts: NDArray[Any] | None = None, weights: NDArray[Any] | None = None) -> RankingResult:
        """What `Ranking.result` says; `labels` are in the order of the hierarchy."""
        return self.ranking.result(train_counts=train_counts, weights=weights, classes=self.classes)

    @cached_property
    def scores(self) -> dict[str, float | None]:
        """The scores that need no training counts."""
        return self.result().scores


def of_checkpoint(
    checkpoint: Checkpoint, subset: Subset, *, k: int = 100, workers: int | None = None, device: str = "auto"
) -> Validation:
    """Validate a checkpoint at its own resize, crop and precision.

    Args:
        checkpoint: trained on other images.
        subset: images with all their labels, of the checkpoint's hierarchy. Weights do not count.
        k: labels kept an image.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        BadInput: an image that the checkpoint saw in training; another hierarchy; a score that is NaN.
        MissingInput: a checkpoint that does not know which images it saw.
    """
    tree = subset.catalog.hierarchy
    if checkpoint.labels() != list(tree.labels):
        raise BadInput(
            f"{checkpoint.path} has a head for other labels than those of the hierarchy {tree.name!r}. Make the catalog with the "
            "hierarchy of its training."
        )
    seen = np.intersect1d(subset.images, checkpoint.images())
    if len(seen):
        raise BadInput(
            f"{checkpoint.path} was trained on {len(seen):,} of these images, for example {seen[0]}. Validate on others, or call "
            "evaluate(backbone.load(checkpoint), ...) to look at its fit."
        )
    config = checkpoint.config
    return evaluate(
        backbone.load(checkpoint).to(backbone.pick_device(device)), subset, resize=config["resize"],
        image_size=config["image_size"], precision=config["precision"], k=k, workers=workers,
    )  # fmt: skip


def evaluate(
    net: ResNet, subset: Subset, *, resize: int, image_size: int, precision: backbone.Precision = "bf16", k: int = 100,
    part: tuple[int, int] = (0, 1), workers: int | None = None,
) -> Validation:  # fmt: skip
    """Validate a network where it is, on its device; not to be trained meanwhile.

    Args:
        net: with an output for each label of the subset's hierarchy; left as it was.
        subset: images with all their labels. Weights do not count.
        resize: width and height an image is resized to.
        image_size: width and height of the crop at its centre.
        precision: of the products below the head.
        k: labels kept an image.
        part: (i, of): this process's share of the images; `gather` puts the shares together.
        workers: decoding threads; None is one a core.

    Raises:
        BadArgument: what `rank` raises.
        BadInput: a head of another size; a score that is NaN.
    """
    num_labels = subset.catalog.hierarchy.num_labels
    if net.fc.out_features != num_labels:
        raise BadInput(
            f"the network has {net.fc.out_features} outputs, the hierarchy {num_labels} labels. Give one for each."
        )
    device = net.fc.weight.device
    with _without_head(net) as head:

        def score(pixels: Tensor) -> Tensor:
            with backbone.autocast(device, precision):
                features: Tensor = net(pixels)
            scores: Tensor = head(features.float())
            return scores

        return rank(score, subset, resize=resize, image_size=image_size, device=device, k=k, part=part, workers=workers)


def rank(
    score: Scorer, subset: Subset, *, resize: int, image_size: int, device: torch.device, k: int = 100,
    part: tuple[int, int] = (0, 1), workers: int | None = None,
) -> Validation:  # fmt: skip
    """Rank the labels of each image by any function of its pixels.

    Args:
        score: called as often and with as many images in every part, so that it may speak with the other processes; black
            images make up the number.
        subset: images with all their labels. Weights do not count.
        resize: width and height an image is resized to.
        image_size: width and height of the crop at its centre.
        device: where the pixels go.
        k: labels kept an image.
        part: (i, of): this process's share of the images.
        workers: decoding threads; they change nothing.

    Raises:
        BadArgument: a crop larger than the image, a part that there is not.
        BadInput: a score that is NaN; scores of another number of labels.
    """
    mine, parts = part
    if not 0 <= mine < parts:
        raise BadArgument(f"`part` must be (i, of) with i in 0..of - 1. Got {part}.")
    if not 0 < image_size <= resize:
        raise BadArgument(f"`image_size` must be in 1..resize ({resize}). Got {image_size}.")
    tree = subset.catalog.hierarchy
    ids = np.asarray(subset.images[mine::parts])
    table = subset.catalog.rows(ids, columns=[*PLACE, "labels"])
    start, index = fill_in(tree, *label_arrays(table["labels"]))
    edge = (resize - image_size) // 2

    def load(i: int, data: bytes) -> NDArray[np.uint8] | ImageRejected:
        check_unchanged(int(ids[i]), data)
        pixels = images.resize(images.decode(data)[0], width=resize, height=resize)
        return pixels[edge : edge + image_size, edge : edge + image_size]

    share = math.ceil(len(subset) / parts)
    steps = math.ceil(share / _BATCH)
    size = math.ceil(share / steps)
    ranking, unread = Ranking(tree.num_labels, k=k), []
    found = map_images(subset.catalog, table.select(PLACE), load, workers=workers, on_reject=lambda _, error: error)
    with progress("validate", total=len(ids), unit="image") as bar, torch.inference_mode():
        for first in range(0, steps * size, size):
            batch = list(itertools.islice(found, size))
            pixels = np.zeros((size, image_size, image_size, 3), np.uint8)
            good = []
            for i, one in enumerate(batch):
                if isinstance(one, ImageRejected):
                    unread.append((int(ids[first + i]), one.reason, str(one)))
                else:
                    pixels[i] = one
                    good.append(i)
            scored = score(backbone.to_input(pixels, device))
            scores, labels = scored if isinstance(scored, tuple) else (scored, None)
            rows = first + np.array(good, np.int64)
            its_start, its_index = take_rows(start, index, rows)
            ranking.add(
                ids[rows], scores[good], start=its_start, index=its_index,
                labels=None if labels is None else labels[good].cpu().numpy(),
            )  # fmt: skip
            bar.update(len(batch))
    leaves = np.array([tree.index(label) for label in tree.leaves], np.int64)
    return Validation(ranking, pl.DataFrame(unread, UNREAD, orient="row"), leaves)


def gather(validation: Validation, *, group: distributed.ProcessGroup | None = None) -> Validation:
    """The validation of all processes' parts, in every process; the same for any number of them.

    Cost: 1.3 kB an image travels to each process, with 100 labels kept.
    """
    parts: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(parts, validation, group=group)
    return Validation(
        merge([part.ranking for part in parts]),
        pl.concat([part.unread for part in parts]).sort("image"),
        validation.classes,
    )


@contextmanager
def _without_head(net: ResNet) -> Iterator[nn.Module]:
    """The head of a network, which lacks it meanwhile; all of it in evaluation mode, and afterwards as it was."""
    modes = [(module, module.training) for module in net.modules()]
    head = net.fc
    net.eval()
    net.fc = nn.Identity()
    try:
        yield head
    finally:
        net.fc = head
        for module, mode in modes:
            module.training = mode
