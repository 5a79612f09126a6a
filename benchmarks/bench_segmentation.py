"""Training steps a second of DeepLab-ASPP-L against torchvision: `python benchmarks/bench_segmentation.py [--smoke]`.

The same ResNet at stride 8, image size, batch and number of classes for all: torchvision's own `deeplabv3_resnet50` (another head, and
batch norm that learns), as its training script has it and with channels last; torchvision's dilated ResNet with our head, the logits
interpolated as its models do, batch norm frozen, channels last; ours, in memory; and ours from JPEGs of 500x375 pixels and label PNGs
through `fit`, with scaling, cutting and mirroring. All with bfloat16 products, SGD with momentum and the loss at the image's pixels.
In memory is one random batch: ours as 8-bit arrays on the CPU, which each step copies, torchvision's as tensors on the device.

Each in a process of its own, taking turns, five times. With a GPU a batch of 16 at 513 pixels, without one 2 at 257.
Writes `results/segmentation_<hardware>_<yyyymm>.csv`.
"""

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measuring

FIELDS = ["work", "steps_per_second", "low", "high", "relative", "peak_bytes", "batch", "size", "classes", "note"]
CLASSES = 21
WORK = {
    "torchvision": "deeplabv3_resnet50 of torchvision",
    "torchvision-last": "deeplabv3_resnet50 of torchvision, channels last",
    "torchvision-aspp": "torchvision's ResNet-50 with ASPP-L, batch norm frozen, channels last",
    "ours": "ours, in memory",
    "files": "ours, from files",
}


def ours(size: int, batch: int, steps: int, files: bool) -> dict[str, float]:
    """Steps a second of our network, on a batch in memory or through `fit`."""
    import numpy as np
    import torch

    from jftdata import backbone, progress
    from jftdata.pretrain.ranks import Ranks
    from jftdata.transfer import segmentation
    from jftdata.transfer.body import Body, dilate
    from jftdata.transfer.deeplab import DeepLab

    progress.set_quiet(True)
    device = backbone.pick_device("auto")
    net = backbone.build("resnet50", num_outputs=1, seed=0)
    dilate(net.layer3, before=1)
    dilate(net.layer4, before=2)
    changes = {"epochs": None, "steps": steps, "batch_size": batch, "crop_size": size, "longest_side": None}
    recipe = dataclasses.replace(segmentation.RECIPES["modern"], **changes)
    network = DeepLab(Body(net), num_classes=CLASSES, seed=0).to(device, memory_format=torch.channels_last)
    model = segmentation.Training(network, recipe, Ranks(0, 1, device))
    if files:
        return from_files(model, recipe, Ranks(0, 1, device))
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    labels = random.integers(0, CLASSES, (batch, size, size)).astype(np.int16)
    samples = list(zip(pixels, labels, strict=True))
    model.train()
    return timed(model, lambda: model(samples)["loss"], steps, device)


def from_files(model, recipe, ranks) -> dict[str, float]:
    """Steps a second that `fit` notes, the first tenth left out."""
    import numpy as np
    from PIL import Image

    from jftdata.transfer.annotations.core import Annotated
    from jftdata.transfer.fit import METRICS, fit, order, samples
    from jftdata.transfer.segmentation import sample

    random, num = np.random.default_rng(0), 64
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(num):
            for kind, ending, channels, most in (("image", "jpg", 3, 256), ("mask", "png", 1, CLASSES)):
                small = random.integers(0, most, (12, 16, channels)).astype(np.uint8).squeeze()
                method = Image.Resampling.BICUBIC if kind == "image" else Image.Resampling.NEAREST
                Image.fromarray(small).resize((500, 375), method).save(folder / f"{kind}-{i}.{ending}")
        numbers = np.arange(num)
        train = Annotated(
            image=numbers, path=[str(folder / f"image-{i}.jpg") for i in numbers], width=numbers * 0 + 500,
            height=numbers * 0 + 375, number=numbers + 1, classes=tuple(map(str, range(CLASSES))),
            class_number=np.arange(CLASSES), fingerprint="", mask=[str(folder / f"mask-{i}.png") for i in numbers],
            ignore=255,
        )  # fmt: skip
        stream = order(train.image, recipe=recipe, seed=0)

        def load(row, draw):
            return sample(train.pixels(row), train.labels(row), draw, recipe=recipe, ignore=255)

        def batches(first_step):
            return samples(load, stream, first_step=first_step, num_steps=recipe.steps, ranks=ranks, workers=None)

        fit(model, batches, recipe=recipe, num_steps=recipe.steps, ranks=ranks, folder=folder, what="segmentation")
        rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    counts = np.diff([0, *(row["step"] for row in rows)])
    skipped = max(1, len(rows) // 10)
    spent = sum(n / row["steps_per_second"] for n, row in list(zip(counts, rows, strict=True))[skipped:])
    return {"rate": sum(counts[skipped:]) / spent, "peak": peak(ranks.device)}


def torchvision(size: int, batch: int, steps: int, style: str) -> dict[str, float]:
    """Steps a second of torchvision's network."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torchvision.models import resnet50
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation import deeplabv3_resnet50
    from torchvision.ops import FrozenBatchNorm2d

    from jftdata import backbone
    from jftdata.transfer.deeplab import Aspp

    device = backbone.pick_device("auto")
    if style == "torchvision-aspp":
        body = resnet50(replace_stride_with_dilation=[False, True, True], norm_layer=FrozenBatchNorm2d)
        features = IntermediateLayerGetter(body, return_layers={"layer4": "out"})
        head = Aspp(2048, CLASSES, (6, 12, 18, 24))

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.features, self.head = features, head

            def forward(self, x):
                logits = self.head(self.features(x)["out"])
                return {"out": F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)}

        model = Model()
    else:
        model = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)
    layout = torch.contiguous_format if style == "torchvision" else torch.channels_last
    model.train().to(device, memory_format=layout)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(batch, 3, size, size, generator=generator).to(device, memory_format=layout)
    labels = torch.randint(0, CLASSES, (batch, size, size), generator=generator).to(device)

    def loss():
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return F.cross_entropy(model(pixels)["out"], labels, ignore_index=255)

    return timed(model, loss, steps, device)


def timed(model, loss: Callable, steps: int, device) -> dict[str, float]:
    """Steps a second of SGD, after a warm-up of a tenth."""
    import torch

    opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9, weight_decay=1e-4)
    spans, warm = [], max(2, steps // 10)
    for i in range(steps + warm):
        began = time.perf_counter()
        opt.zero_grad(set_to_none=True)
        loss().backward()
        opt.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if i >= warm:
            spans.append(time.perf_counter() - began)
    return {"rate": len(spans) / sum(spans), "peak": peak(device)}


def peak(device) -> int:
    """Bytes: of the GPU's memory, or of this process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(style: str, size: int, batch: int, steps: int) -> dict[str, float]:
    """One style in a process of its own."""
    found: dict[str, float] = measuring.alone("--child", json.dumps([style, size, batch, steps]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="a few small steps, to see that it runs; writes no CSV")
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        style, size, batch, steps = json.loads(arguments.child)
        mine = style in ("ours", "files")
        print(
            json.dumps(ours(size, batch, steps, style == "files") if mine else torchvision(size, batch, steps, style))
        )
        return
    import torch
    import torchvision as theirs

    gpu = torch.cuda.is_available()
    size, batch, steps = (513, 16, 40) if gpu else (257, 2, 6)
    if arguments.smoke:
        size, batch, steps = 65, 2, 2
    name = torch.cuda.get_device_name(0) if gpu else f"{os.cpu_count()} CPU cores ({platform.machine()})"
    print(f"{name}, torch {torch.__version__}, torchvision {theirs.__version__}, seed 0")
    rates: dict[str, list[float]] = {style: [] for style in WORK}
    peaks: dict[str, float] = {}
    for _ in range(1 if arguments.smoke else 5):
        for style in WORK:
            found = child(style, size, batch, steps)
            rates[style].append(found["rate"])
            peaks[style] = found["peak"]
    medians = {style: statistics.median(found) for style, found in rates.items()}
    best = max(medians[style] for style in WORK if style.startswith("torchvision"))
    rows = [
        {
            "work": work, "steps_per_second": round(medians[style], 3), "low": round(min(rates[style]), 3),
            "high": round(max(rates[style]), 3), "relative": round(medians[style] / best, 3),
            "peak_bytes": int(peaks[style]), "batch": batch, "size": size, "classes": CLASSES,
            "note": f"relative to the fastest of torchvision; {name}, torch {torch.__version__}",
        }
        for style, work in WORK.items()
    ]  # fmt: skip
    for row in rows:
        print(row)
    if arguments.smoke:
        return
    print(measuring.write("segmentation", rows, gpu=True))


if __name__ == "__main__":
    main()
