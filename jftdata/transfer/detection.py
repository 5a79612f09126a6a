"""Detection: boxes around things, by Faster R-CNN on the checkpoint's body, judged by average precision.

Images are resized and, in training, mirrored at random, as in the paper; nothing else is done to them. All layers are trained but
batch norm; in the frozen mode not those below conv5 (head c4, the red curve of the paper's Figure 4), or none of the body (head fpn).
What is marked as a crowd or as difficult is no example, and a box on it no counterexample. What is found on the test images is
kept as COCO results, in `detections.json`.
Source: Sun et al. 2017, sections 4.3 and 5.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jftdata import images
from jftdata.pretrain.ranks import Ranks
from jftdata.progress import progress
from jftdata.ragged import ranges
from jftdata.transfer import body, coco_metrics, pictures, voc_metrics
from jftdata.transfer.annotations import predictions, read
from jftdata.transfer.annotations.core import Annotated, Annotations
from jftdata.transfer.annotations.predictions import Detections
from jftdata.transfer.detector import DetectionRecipe, Detector, Example, Found
from jftdata.transfer.fit import ahead, fit, order, samples
from jftdata.transfer.task import Inputs, Mode, Score

FILE = "detections.json"
_GROUP = 8
"""Test images that go through the network together, where their sizes are the same; on any number of processes."""
_COCO = 123_287 - 8_000
"""Training images of COCO 2014 with the part of its validation images that the paper does not judge on."""
_VOC = 16_551
"""Training images of VOC 2007 and 2012."""


def _recipes() -> dict[str, DetectionRecipe]:
    """`modern` (ours, not yet tuned), the paper's, and `tiny` for the built-in world at 160 pixels on two CPU cores, whose rate is the
    best of three for the AP of 50 world images after training on 200.

    The paper's make as many passes over the images at hand as its steps, of one image, are over its own. `paper` is for COCO,
    `paper-frozen` its schedule for the frozen mode, `paper-voc` for VOC. `paper-literal` has the two batch sizes as printed, the
    other way round than in the framework it uses, and its number of steps.
    """
    paper = DetectionRecipe(
        batch_size=1, learning_rate=4e-4, epochs=3_000_000 / _COCO, schedule="step", milestones=(2.5 / 3,), clip_norm=10.0,
    )  # fmt: skip
    frozen = dataclasses.replace(paper, epochs=1_500_000 / _COCO, milestones=(0.9 / 1.5,))
    voc = dataclasses.replace(paper, learning_rate=3e-4, epochs=700_000 / _VOC, milestones=(5 / 7,))
    literal = dataclasses.replace(
        paper, epochs=None, steps=3_000_000, rpn_batch=64, box_batch=256, precision="fp32"
    )  # fmt: skip
    modern = DetectionRecipe(
        batch_size=8, learning_rate=0.005, epochs=12, warmup=0.05, clip_norm=10.0, head="fpn", proposals=1000, box_batch=512,
        box_nms=0.5, least_score=0.01, most_detections=100,
    )  # fmt: skip
    tiny = DetectionRecipe(
        batch_size=4, learning_rate=0.0025, fresh_rate=4.0, epochs=12, warmup=0.05, clip_norm=10.0, head="fpn", pyramid=64,
        side=160, longest=256, anchor=64.0, proposals=100, rpn_batch=128, box_batch=32, box_nms=0.5, least_score=0.01,
        most_detections=100,
    )  # fmt: skip
    return {
        "modern": modern, "paper": paper, "paper-frozen": frozen, "paper-voc": voc, "paper-literal": literal, "tiny": tiny,
    }  # fmt: skip


RECIPES = _recipes()


class Detection:
    """Average precision of boxes; see `judge` for the metrics."""

    modes: tuple[Mode, ...] = ("finetune", "frozen")
    recipes: Mapping[str, DetectionRecipe] = RECIPES

    def read(self, data: Any, *, cache: Path, workers: int | None) -> Annotations:
        """See `annotations.read.boxes`."""
        return read.boxes(data, workers=workers)

    def __call__(self, inputs: Inputs[Annotations, DetectionRecipe]) -> list[Score]:
        recipe, train, test, ranks = inputs.recipe, inputs.data.train, inputs.data.test, inputs.ranks
        base = body.of_checkpoint(inputs.checkpoint, freeze_batch_norm=recipe.freeze_batch_norm)
        model = Detector(base, recipe, num_classes=len(train.classes), seed=inputs.seed)
        if inputs.mode == "frozen":
            model.freeze()
        model.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        by_id = np.argsort(train.image, kind="stable")
        stream = order(train.image[by_id], recipe=recipe, seed=inputs.seed)
        num_steps = recipe.num_steps(len(train))

        def load(row: int, draw: int) -> Example:
            return example(train, int(by_id[row]), draw, recipe=recipe)

        def batches(first_step: int) -> Iterator[list[Example]]:
            return samples(
                load, stream, first_step=first_step, num_steps=num_steps, ranks=ranks, workers=inputs.workers
            )

        fit(
            model, batches, recipe=recipe, num_steps=num_steps, ranks=ranks, folder=inputs.folder, what="detection",
            fresh=lambda name: not name.startswith("body."),
        )  # fmt: skip
        found = detect(model, test, ranks=ranks, workers=inputs.workers)
        if not ranks.first:
            return []
        predictions.write_coco(inputs.folder / FILE, test, found)
        pictures.boxes(test, found, folder=inputs.folder, seed=inputs.seed)
        return judge(test, found)


def judge(annotated: Annotated, found: Detections) -> list[Score]:
    """COCO's metrics, in which a difficult object counts as a crowd, and before them VOC's of a set in VOC's layout.

    Args:
        annotated: images with objects.
        found: on the same images.
    """
    truth, num_classes = annotated.objects, len(annotated.classes)
    assert truth is not None
    beside = dataclasses.replace(truth, crowd=truth.crowd | truth.difficult)
    scores = coco_metrics.scores(coco_metrics.boxes(beside, found, num_classes=num_classes), annotated.classes)
    if annotated.layout == "voc":
        voc = voc_metrics.boxes(truth, found, num_classes=num_classes)
        scores = [*voc_metrics.scores(voc, annotated.classes), *scores]
    return scores


def example(annotated: Annotated, row: int, draw: int, *, recipe: DetectionRecipe) -> Example:
    """A training image, resized and every second time mirrored, with what is on it.

    Args:
        annotated: the set.
        row: of the set.
        draw: a random number; the same one gives the same example.
        recipe: sizes.
    """
    pixels, scale = _load(annotated, row, recipe)
    objects = annotated.objects
    assert objects is not None
    there = objects.of(row)
    box = objects.box[there] * scale
    if draw & 1:
        pixels, box[:, [0, 2]] = np.ascontiguousarray(pixels[:, ::-1]), pixels.shape[1] - box[:, [2, 0]]
    small = box.astype(np.float32)
    beside = objects.crowd[there] | objects.difficult[there]
    kept = ~beside & (small[:, 2:] > small[:, :2]).all(axis=1)  # rounding may take a sliver's area
    return Example(pixels, small[kept], objects.label[there][kept], small[beside], draw >> 1)


def detect(model: Detector, annotated: Annotated, *, ranks: Ranks, workers: int | None = None) -> Detections:
    """What a detector finds on the images of a set, best first, in their own pixels; the same for any number of ranks.

    Args:
        model: in evaluation, on its device.
        annotated: the images.
        ranks: each has its share of the images, and all have the answer.
        workers: decoding threads; None is one a core.

    Raises:
        MissingInput: an image file has gone.
        ImageRejected: it is damaged.
    """
    groups = _groups(annotated, model.recipe)
    parts = ranks.gather(_detect(model, annotated, groups[ranks.rank :: ranks.world_size], ranks, workers))
    row, num, box, score, label = (
        np.concatenate([part[name] for part in parts]) for name in ("row", "num", "box", "score", "label")
    )
    order = np.argsort(row)
    ends = np.cumsum(num)
    at = ranges((ends - num)[order], num[order])
    start = np.concatenate([[0], np.cumsum(num[order])])
    return Detections(start, box[at].astype(np.float64), score[at].astype(np.float64), label[at])


def _detect(
    model: Detector, annotated: Annotated, groups: list[NDArray[np.int64]], ranks: Ranks, workers: int | None
) -> dict[str, NDArray[Any]]:
    """Rows, the number of detections of each, and the detections; images are decoded on threads."""
    rows = np.concatenate([np.zeros(0, np.int64), *groups])
    found: list[Found] = []
    loaded = ahead(lambda row: _load(annotated, row, model.recipe), rows.tolist(), workers=workers)
    with progress("detect", total=len(rows), unit="image", hidden=not ranks.first) as bar:
        for group in groups:
            pixels, scales = zip(*islice(loaded, len(group)), strict=True)
            parts = model.detect(list(pixels))
            found += [part._replace(box=part.box / scale) for scale, part in zip(scales, parts, strict=True)]
            bar.update(len(group))
    return {
        "row": rows,
        "num": np.array([len(part.score) for part in found], np.int64),
        "box": np.concatenate([np.zeros((0, 4)), *(part.box for part in found)]),
        "score": np.concatenate([np.zeros(0), *(part.score for part in found)]),
        "label": np.concatenate([np.zeros(0, np.int64), *(part.label for part in found)]),
    }


def _groups(annotated: Annotated, recipe: DetectionRecipe) -> list[NDArray[np.int64]]:
    """Rows that are of one size when resized, a few at a time."""
    sizes = np.array([_size(*pair, recipe) for pair in zip(annotated.width, annotated.height, strict=True)])
    same = np.unique(sizes.reshape(-1, 2), axis=0, return_inverse=True)[1]
    order = np.argsort(same, kind="stable")
    ends = np.flatnonzero(np.diff(same[order])) + 1
    return [part[i : i + _GROUP] for part in np.split(order, ends) for i in range(0, len(part), _GROUP)]


def _load(annotated: Annotated, row: int, recipe: DetectionRecipe) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """An image, resized, and by how much (4,): what is multiplied with a box."""
    pixels = annotated.pixels(row)
    height, width = pixels.shape[:2]
    wide, tall = _size(width, height, recipe)
    return images.resize(pixels, width=wide, height=tall), np.array([wide / width, tall / height] * 2)


def _size(width: int, height: int, recipe: DetectionRecipe) -> tuple[int, int]:
    """Width and height after resizing.

    >>> _size(640, 480, RECIPES["paper"]), _size(1000, 300, RECIPES["paper"])
    ((800, 600), (1024, 307))
    """
    scale = min(recipe.side / min(width, height), recipe.longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
