"""What the harness costs, and what each setting does: `python benchmarks/bench_pretrain.py FOLDER [--smoke]`.

On any machine: `tiny` at 64 pixels on the built-in world, images read, decoded, augmented, ancestors filled in, against a bare
PyTorch loop of the same network, optimizer and shapes over one random batch that is on the device already; then the same harness
with one setting changed at a time. Each in a process of its own; rates are over the rows of `metrics.jsonl` after the first tenth,
which is the warm-up; harness and bare loop take turns, three times.

On a GPU too: ResNet-50 at 224 and ResNet-101 at 299 pixels with 18,291 logistic outputs, from JPEGs of 500x375 through the harness,
and from a batch in memory: the harness's step; a loop set up as torchvision's reference is (channels last, float16, dense targets)
and one as timm's train script is (bfloat16, channels last, `BinaryCrossEntropy` on dense targets). The paper trained about 220
images/s on 50 K80s (36M steps of 32 images in two months; Sun et al. 2017, section 4.1).

Writes `results/pretrain_<hardware>_<yyyymm>.csv`.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import measuring

TINY: dict[str, dict[str, object]] = {
    "as it is (bf16, channels last)": {},
    "float32, contiguous": {"precision": "fp32", "channels_last": False},
    "float32, channels last": {"precision": "fp32"},
    "bf16, contiguous": {"channels_last": False},
    "torch.compile": {"compile": True},
    "gradients of 4 parts": {"accumulate": 4},
    "activations computed again": {"checkpoint_activations": True},
    "averaged weights": {"ema_decay": 0.999},
    "clipped gradients": {"clip_norm": 1.0},
    "frozen below layer4": {"freeze_below": "layer4"},
    "small stem": {"stem": "small"},
    "TrivialAugment": {"policy": "trivial-augment"},
    "resized crops": {"crop": "resized", "min_area": 0.25},
}
LARGE = {"resnet50": (224, 256, 256), "resnet101": (299, 340, 128)}
LABELS = 18_291
PAPER = 36e6 * 32 / (61 * 86_400)


def harness(folder: str, changes: str, steps: int) -> dict[str, float]:
    """Rates of a run through `pretrain.run`."""
    import jftdata as jd
    from jftdata import progress

    progress.set_quiet(True)
    catalog = jd.Catalog.open(folder)
    base = jd.recipes.tiny()
    config = dataclasses.replace(base, **json.loads(changes))
    in_epoch = max(1, len(catalog) // config.batch_size)
    config = dataclasses.replace(config, total_epochs=steps / in_epoch, warmup_epochs=0.0)
    with tempfile.TemporaryDirectory() as out:
        run = jd.pretrain.run(jd.subset.everything(catalog), config, out=Path(out) / "run")
        rows = [row for row in run.metrics() if "loss" in row]
    rows = rows[max(1, len(rows) // 10) :]
    seen = [row["images"] for row in rows]
    spent = sum((b - a) / row["images_per_second"] for a, b, row in zip(seen, seen[1:], rows[1:], strict=False))
    return {
        "rate": (seen[-1] - seen[0]) / spent,
        "peak": max(row["memory_bytes"] for row in rows),
        "utilisation": statistics.median(row.get("utilisation", float("nan")) for row in rows),
        "waiting": statistics.median(row["waiting"] for row in rows),
    }


def bare(architecture: str, size: int, batch: int, num_labels: int, steps: int, style: str) -> dict[str, float]:
    """A plain loop over one random batch that is on the device."""
    import torch

    import jftdata as jd
    from jftdata import backbone
    from jftdata.pretrain.head import head_loss
    from jftdata.pretrain.objective import Logistic, Targets

    device = backbone.pick_device("auto")
    net = backbone.build(architecture, num_outputs=num_labels, seed=0).train().to(device)
    net = net.to(memory_format=torch.channels_last)
    config = jd.recipes.tiny()
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(batch, 3, size, size, generator=generator).to(device, memory_format=torch.channels_last)
    dense = (torch.rand(batch, num_labels, generator=generator) < 5 / num_labels).to(device, torch.float32)
    image, label = dense.nonzero(as_tuple=True)
    order = torch.argsort(label, stable=True)
    targets = Targets(batch, num_labels, image[order], label[order])
    loss_of = torch.nn.BCEWithLogitsLoss()
    if style == "timm":
        from timm.loss import BinaryCrossEntropy

        loss_of = BinaryCrossEntropy(smoothing=0.0)
    kind = torch.float16 if style == "torchvision" and device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=kind is torch.float16)
    body = net
    if style == "harness":
        head, net.fc = net.fc, torch.nn.Identity()
        body = net

    def step() -> None:
        opt.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=kind):
            if style == "harness":
                loss = head_loss(body(pixels), head.weight, head.bias, targets, Logistic())
            else:
                loss = loss_of(net(pixels), dense)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    spans = []
    for i in range(steps + max(2, steps // 10)):
        wait()
        began = time.perf_counter()
        step()
        wait()
        if i >= max(2, steps // 10):
            spans.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _peak()
    return {"rate": batch * len(spans) / sum(spans), "peak": peak}


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(*arguments: object) -> dict[str, float]:
    """Run one of the functions above in a process of its own."""
    found: dict[str, float] = measuring.alone("--child", json.dumps(arguments))
    return found


def world(folder: Path, num_images: int) -> Path:
    """The catalog of drawn images."""
    import jftdata as jd

    files = jd.world.write(
        folder / "world", num_images=num_images, seed=0, num_eval=0, num_clean_train=20, num_clean_test=20
    )
    tree = jd.Hierarchy.load("world")
    jd.sources.from_hub(files.train, label="labels", hierarchy=tree, out=folder / "train.catalog")
    return folder / "train.catalog"


def photographs(folder: Path, num_images: int) -> Path:
    """JPEGs of 500x375 under 18,291 labels, four of them each."""
    import numpy as np
    from PIL import Image

    import jftdata as jd
    from jftdata.world.jft_table import hierarchy

    tree = hierarchy()
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(num_images):
        small = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(
            folder / "photos" / f"{i}.jpg", quality=90
        )
        rows += [f"photos/{i}.jpg,{tree.labels[j]}" for j in rng.integers(0, tree.num_labels, 4)]
    (folder / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    jd.sources.from_table(
        folder / "labels.csv", images=folder, image="path", label="label", hierarchy=tree, out=folder / "photos.catalog"
    )
    return folder / "photos.catalog"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps of everything, to see that it runs; writes no CSV"
    )
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        name, *rest = json.loads(arguments.child)
        print(json.dumps({"harness": harness, "bare": bare}[name](*rest)))
        return
    import torch

    folder, smoke, gpu = arguments.folder, arguments.smoke, torch.cuda.is_available()
    folder.mkdir(parents=True, exist_ok=True)
    steps = 4 if smoke else 60
    catalog = folder / "train.catalog"
    if not catalog.exists():
        world(folder, 500 if smoke else 4_000)
    import jftdata as jd

    num_labels = jd.Catalog.open(catalog).hierarchy.num_labels
    rows: list[dict[str, object]] = []

    def row(work: str, rates: list[float], first: float | None, **rest: object) -> None:
        relative = round(statistics.median(rates) / first, 3) if first else None
        rows.append({
            "work": work, "images_per_second": round(statistics.median(rates), 1), "low": round(min(rates), 1),
            "high": round(max(rates), 1), "relative": relative, **rest,
        })  # fmt: skip
        print(rows[-1], flush=True)

    runs = 1 if smoke else 3
    pairs = [
        (child("bare", "resnet10", 64, 64, num_labels, steps, "plain"), child("harness", str(catalog), "{}", steps))
        for _ in range(runs)
    ]
    plain = [a["rate"] for a, _ in pairs]
    row("tiny: a bare loop over one random batch", plain, None, batch=64, size=64, peak_bytes=pairs[0][0]["peak"])
    row("tiny: the harness on the world", [b["rate"] for _, b in pairs], statistics.median(plain), batch=64, size=64,
        peak_bytes=pairs[0][1]["peak"], note=f"relative to the bare loop; waiting for images {pairs[0][1]['waiting']:.1%}")  # fmt: skip
    first = statistics.median(b["rate"] for _, b in pairs)
    for name, changes in list(TINY.items())[1:]:
        found = child("harness", str(catalog), json.dumps(changes), steps)
        row(
            f"tiny: {name}",
            [found["rate"]],
            first,
            batch=64,
            size=64,
            peak_bytes=found["peak"],
            note="relative to `tiny` as it is",
        )
    for architecture, (size, resize, batch) in LARGE.items():
        if not gpu and not smoke:
            break
        size, resize, batch = (size, resize, batch) if gpu else (64, 72, 4)
        photos = folder / "photos.catalog"
        if not photos.exists():
            photographs(folder, 4_000 if gpu else 40)
        best = 0.0
        for style in ("torchvision", "timm", "harness"):
            found = child("bare", architecture, size, batch, LABELS, steps, style)
            best = max(best, found["rate"] if style != "harness" else 0.0)
            row(f"{architecture}: in memory, {style}", [found["rate"]], best, batch=batch, size=size, peak_bytes=found["peak"],
                note="relative to the better rival")  # fmt: skip
        changes = {"architecture": architecture, "image_size": size, "resize": resize, "batch_size": batch}
        found = child("harness", str(photos), json.dumps(changes), steps)
        row(f"{architecture}: from JPEGs, the harness", [found["rate"]], best, batch=batch, size=size, peak_bytes=found["peak"],
            utilisation=found["utilisation"], note=f"the paper: about {PAPER:.0f} images/s on 50 GPUs")  # fmt: skip
    if smoke:
        return
    print(measuring.write("pretrain", rows, gpu=True))


if __name__ == "__main__":
    main()
