"""Training steps and searched images a second of Faster R-CNN against torchvision's: `python benchmarks/bench_detection.py [--smoke]`.

The same ResNet-50 with frozen batch norm, images, boxes, classes, precision and limits for both. `fpn` is torchvision's `FasterRCNN` on
its `resnet_fpn_backbone`; `c4` is its `FasterRCNN` put together from conv1 to conv4 and, on each box, conv5. Images are in memory and
of the size the network takes: ours as 8-bit arrays on the CPU, which each step copies, torchvision's as tensors on the device,
which it is told not to resize in training. `ours, files` trains from JPEGs of 640x480 pixels, decoded, resized and mirrored on threads.
A step is losses, gradients and SGD. torchvision's default is float32; `bf16` is autocast around it, which rounds its boxes.

All in one process, taking turns, five times. With a GPU 4 images of 800x600 pixels, without one 1 of 320x240. Detections score at
least 0.05 in both. Writes `results/detection_<hardware>_<yyyymm>.csv`; `relative` is the median of each turn's ratio,
`cpu_seconds` what an image took of the cores, which says more on busy ones.
"""

import argparse
import dataclasses
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring

FIELDS = [
    "head",
    "work",
    "precision",
    "by",
    "images_per_second",
    "low",
    "high",
    "relative",
    "cpu_seconds",
    "batch",
    "side",
    "note",
]
CLASSES, BOXES = 80, 7
ROUNDS = 5
Work = tuple[str, str, str, str]
"""Head, work, precision, by whom."""


def examples(batch: int, side: int) -> list[Any]:
    """Random pictures with boxes."""
    import numpy as np

    from jftdata.transfer.detector import Example

    draw = np.random.default_rng(0)
    out = []
    for i in range(batch):
        pixels = draw.integers(0, 256, (side, side * 4 // 3, 3), dtype=np.uint8)
        corner = draw.uniform(0, side / 2, (BOXES, 2))
        box = np.concatenate([corner, corner + draw.uniform(8, side / 2, (BOXES, 2))], axis=1).astype(np.float32)
        out.append(Example(pixels, box, draw.integers(0, CLASSES, BOXES), np.zeros((0, 4), np.float32), i))
    return out


def ours(head: str, precision: str, side: int) -> Any:
    """Our network."""
    from jftdata import backbone
    from jftdata.transfer.body import Body
    from jftdata.transfer.detection import RECIPES
    from jftdata.transfer.detector import Detector

    base = RECIPES["modern" if head == "fpn" else "paper"]
    recipe = dataclasses.replace(base, precision=precision, side=side, longest=2 * side, least_score=0.05)
    return Detector(Body(backbone.build("resnet50", num_outputs=1, seed=0)), recipe, num_classes=CLASSES, seed=0)


def torchvisions(head: str, recipe: Any) -> Any:
    """torchvision's network with the limits of ours."""
    from torch import nn
    from torchvision.models import resnet50
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d, MultiScaleRoIAlign

    before = 1000 if head == "fpn" else 6000
    same = {
        "min_size": recipe.side, "max_size": recipe.longest, "box_nms_thresh": recipe.box_nms,
        "box_detections_per_img": recipe.most_detections, "box_batch_size_per_image": recipe.box_batch,
        "rpn_batch_size_per_image": recipe.rpn_batch, "box_score_thresh": recipe.least_score, "rpn_nms_thresh": recipe.rpn_nms,
        "rpn_pre_nms_top_n_train": before, "rpn_pre_nms_top_n_test": before,
        "rpn_post_nms_top_n_train": recipe.proposals, "rpn_post_nms_top_n_test": recipe.proposals, "_skip_resize": True,
    }  # fmt: skip
    if head == "fpn":
        body = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5
        )
        return FasterRCNN(body, CLASSES + 1, **same)
    net = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    for module in net.layer4.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    body = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3)
    body.out_channels = 1024
    rpn_head = RPNHead(512, 12)
    rpn_head.conv = Conv2dNormActivation(1024, 512, 3, norm_layer=None)
    box_head = nn.Sequential(nn.MaxPool2d(2), net.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return FasterRCNN(
        body, rpn_anchor_generator=AnchorGenerator(((64, 128, 256, 512),), ((0.5, 1.0, 2.0),)), rpn_head=rpn_head, box_head=box_head,
        box_roi_pool=MultiScaleRoIAlign(["0"], 14, sampling_ratio=1), box_predictor=FastRCNNPredictor(2048, CLASSES + 1), **same,
    )  # fmt: skip


def works(batch: int, side: int, folder: Path) -> dict[Work, Callable[[int], int]]:
    """What is timed: a number of times to do it, to images done."""
    import torch

    from jftdata import backbone

    device = backbone.pick_device("auto")
    given = examples(batch, side)
    pixels = [torch.from_numpy(one.pixels).to(device).permute(2, 0, 1).float() / 255 for one in given]
    targets = [
        {"boxes": torch.from_numpy(one.box).to(device), "labels": torch.from_numpy(one.label + 1).to(device)}
        for one in given
    ]
    found: dict[Work, Callable[[int], int]] = {}

    def trains(
        model: Any, losses: Callable[[Any], dict[str, Any]], given: Callable[[int], Any]
    ) -> Callable[[int], int]:
        opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)

        def work(num: int) -> int:
            model.train()
            for one in given(num):
                opt.zero_grad(set_to_none=True)
                sum(losses(one).values()).backward()
                opt.step()
            return num * batch

        return work

    def searches(model: Any, search: Callable[[], Any]) -> Callable[[int], int]:
        def work(num: int) -> int:
            model.eval()
            for _ in range(num):
                search()
            return num * batch

        return work

    def bare(model: Any, precision: str) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
        def losses(_: Any) -> Any:
            with backbone.autocast(device, precision):
                return model(pixels, targets)

        @torch.inference_mode()
        def search() -> Any:
            with backbone.autocast(device, precision):
                return [{name: value.cpu() for name, value in one.items()} for one in model(pixels)]

        return losses, search

    for head, precision in itertools.product(("fpn", "c4"), ("fp32", "bf16")):
        mine = ours(head, precision, side).to(device, memory_format=torch.channels_last)
        theirs = torchvisions(head, mine.recipe).to(device, memory_format=torch.channels_last)
        losses, search = bare(theirs, precision)
        found[head, "train", precision, "torchvision"] = trains(theirs, losses, lambda num: [None] * num)
        found[head, "train", precision, "ours"] = trains(mine, mine, lambda num: [given] * num)
        found[head, "train", precision, "ours, files"] = trains(mine, mine, from_files(folder, mine.recipe, batch))
        found[head, "detect", precision, "torchvision"] = searches(theirs, search)
        found[head, "detect", precision, "ours"] = searches(
            mine, lambda m=mine: m.detect([one.pixels for one in given])
        )
    return found


def from_files(folder: Path, recipe: Any, batch: int) -> Callable[[int], Any]:
    """Batches of JPEGs with boxes, as in training."""
    import numpy as np
    import torch

    from jftdata.pretrain.ranks import Ranks
    from jftdata.transfer.annotations.core import Annotated, Objects
    from jftdata.transfer.detection import example
    from jftdata.transfer.fit import order, samples

    num = 32
    paths = [folder / f"{i}.jpg" for i in range(num)]
    if not paths[0].exists():
        from PIL import Image

        draw = np.random.default_rng(0)
        for path in paths:
            small = draw.integers(0, 256, (15, 20, 3)).astype(np.uint8)
            Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(path)
    start, many = np.arange(0, BOXES * num + 1, BOXES), BOXES * num
    corner = np.random.default_rng(1).uniform(0, 240, (many, 2))
    box = np.concatenate([corner, corner + np.random.default_rng(2).uniform(8, 240, (many, 2))], axis=1)
    none, numbers = np.zeros(many, np.bool_), np.arange(num)
    objects = Objects(start, box, np.arange(many) % CLASSES, np.ones(many), none, none, np.arange(many))
    train = Annotated(
        numbers, list(map(str, paths)), numbers * 0 + 640, numbers * 0 + 480, numbers, tuple(map(str, range(CLASSES))),
        np.arange(CLASSES), "", objects,
    )  # fmt: skip
    recipe = dataclasses.replace(recipe, batch_size=batch)
    stream = order(train.image, recipe=recipe, seed=0)

    def given(steps: int) -> Any:
        return samples(
            lambda row, draw: example(train, row, draw, recipe=recipe), stream, first_step=0, num_steps=steps,
            ranks=Ranks(0, 1, torch.device("cpu")), workers=None,
        )  # fmt: skip

    return given


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--smoke", action="store_true", help="small images and one turn, to see that it runs; writes no CSV"
    )
    arguments = parser.parse_args()
    import torch
    import torchvision

    gpu = torch.cuda.is_available()
    batch, side, times, rounds = (4, 600, 10, ROUNDS) if gpu else (1, 240, 2, ROUNDS)
    if arguments.smoke:
        batch, side, times, rounds = 1, 96, 1, 1
    name = torch.cuda.get_device_name(0) if gpu else f"{os.cpu_count()} CPU cores ({platform.machine()})"
    versions = f"{name}, torch {torch.__version__}, torchvision {torchvision.__version__}, seed 0"
    print(versions)
    rates: dict[Work, list[float]] = {}
    spent: dict[Work, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        found = works(batch, side, Path(folder))
        for turn in range(-1, rounds):  # the first does not count
            for what, work in found.items():
                began, used = time.perf_counter(), time.process_time()
                done = work(times)
                if gpu:
                    torch.cuda.synchronize()
                if turn >= 0:
                    rates.setdefault(what, []).append(done / (time.perf_counter() - began))
                    spent.setdefault(what, []).append((time.process_time() - used) / done)
    rows = []
    for what, mine in rates.items():
        bar = rates[(*what[:3], "torchvision")]
        numbers = [
            statistics.median(mine),
            min(mine),
            max(mine),
            statistics.median(a / b for a, b in zip(mine, bar, strict=True)),
        ]
        rows.append(
            dict(
                zip(
                    FIELDS,
                    [*what, *(round(x, 3) for x in (*numbers, statistics.median(spent[what]))), batch, side, versions],
                    strict=True,
                )
            )
        )
        print(*rows[-1].values(), sep="\t")
    if not arguments.smoke:
        print(measuring.write("detection", rows, gpu=True))


if __name__ == "__main__":
    main()
