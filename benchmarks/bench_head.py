"""The last layer and its loss: time and memory against dense targets, and a million labels on ranks that cannot hold them alone.

`python benchmarks/bench_head.py`. First 1,024 images, 2,048 features and 18,291 labels, 8 labels an image (1 for the softmaxes):
forward and backward of `head_loss` against `torch.nn.functional` on a table of logits and of float32 targets. Each runs in a process of
its own. Seconds are the median of `--steps` after one warm-up, with spread; CPU seconds leave out what other processes took. Memory is
the growth of the process's peak in the warm-up over what it held with weights and features made, gradients included (on a GPU that of
torch's allocator).

Then 1,000,000 labels of 512 features, SGD with momentum, 64 images a step, in ranks (gloo) that are each allowed `LIMIT_GIB` more
address space than they have after their imports: on 1 rank, which must fail, and on 4, which must train. Writes
`results/head_<hardware>_<yyyymm>.csv` as it goes.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measuring

IMAGES, FEATURES, LABELS = 1024, 2048, 18_291
MANY, MANY_FEATURES, MANY_IMAGES, LIMIT_GIB = 1_000_000, 512, 64, 2.5
LOSSES = ("logistic", "softmax", "tree-softmax")


def measure(loss: str, ours: bool, precision: str, device: str, steps: int) -> dict[str, object]:
    """One way to compute a loss of `LABELS` labels."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    from jftdata.hierarchy import Hierarchy
    from jftdata.hierarchy.targets import fill_in
    from jftdata.pretrain.head import head_loss
    from jftdata.pretrain.objective import Logistic, Targets
    from jftdata.pretrain.softmax import Softmax, TreeSoftmax

    rng = np.random.default_rng(0)
    if loss == "tree-softmax":  # 18,291 labels, each below one drawn among the 3,000 before it
        edges = [(f"{rng.integers(0, min(i, 3000)):05d}", f"{i:05d}") for i in range(1, LABELS)]
        tree = Hierarchy.from_edges(edges)
        objective = TreeSoftmax.of(tree, device=device)
        positive = fill_in(tree, np.arange(IMAGES + 1), rng.integers(0, LABELS, IMAGES).astype(np.int32))
    else:
        objective = Logistic() if loss == "logistic" else Softmax()
        each = 8 if loss == "logistic" else 1
        drawn = [rng.choice(LABELS, each, replace=False) for _ in range(IMAGES)]
        positive = np.arange(IMAGES + 1) * each, np.concatenate(drawn).astype(np.int32)
    torch.manual_seed(0)
    features = torch.randn(IMAGES, FEATURES, device=device).requires_grad_()
    weight = (torch.randn(LABELS, FEATURES, device=device) / FEATURES**0.5).requires_grad_()
    bias = torch.zeros(LABELS, device=device).requires_grad_()

    def step() -> float:
        features.grad = weight.grad = bias.grad = None
        targets = Targets.of(positive, num_labels=LABELS, device=device)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            if ours:
                value = head_loss(features, weight, bias, targets, objective)
            else:
                logits = F.linear(features, weight, bias)
        if not ours and loss == "logistic":
            table = torch.zeros(IMAGES, LABELS, device=device)
            table[targets.image, targets.label] = 1
            value = F.binary_cross_entropy_with_logits(logits.float(), table, reduction="sum") / IMAGES
        elif not ours:
            label = torch.empty(IMAGES, dtype=torch.int64, device=device).index_copy_(0, targets.image, targets.label)
            value = F.cross_entropy(logits.float(), label)
        value.backward()
        return float(value.detach())

    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):  # load the libraries' code
        F.linear(features[:8], weight[:8], bias[:8]).sum().backward()
    features.grad = weight.grad = bias.grad = None
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = held()
    value = step()
    peak = torch.cuda.max_memory_allocated() - before if device == "cuda" else peak_rss() - before
    walls, cpus = [], []
    for _ in range(steps):
        began, worked = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - worked)
    return {
        **spans(walls),
        "cpu_seconds": round(statistics.median(cpus), 2),
        "step_mib": round(peak / 2**20),
        "loss_first": round(value, 4),
    }


def held() -> int:
    """Bytes of memory in use, after asking the allocator to give back what it holds."""
    import ctypes
    import gc

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    return _status("VmRSS")


def peak_rss() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def many(rank: int, world: int, store: str, steps: int) -> dict[str, object]:
    """One rank of training a head of `MANY` labels under a memory limit."""
    import numpy as np
    import torch
    import torch.distributed as dist

    from jftdata.pretrain.head import SplitHead
    from jftdata.pretrain.objective import Logistic, Targets

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    limit = _status("VmSize") + int(LIMIT_GIB * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = _status("VmRSS")
    rng = np.random.default_rng(0)
    own = slice(rank * MANY_IMAGES // world, (rank + 1) * MANY_IMAGES // world)
    features = torch.from_numpy(rng.standard_normal((MANY_IMAGES, MANY_FEATURES), np.float32)[own])
    labels = rng.integers(0, MANY, MANY_IMAGES).astype(np.int32)[own]
    targets = Targets.of((np.arange(len(labels) + 1), labels), num_labels=MANY)
    losses, walls = [], []
    try:
        head = SplitHead(MANY_FEATURES, MANY, seed=0)
        optimizer = torch.optim.SGD(head.parameters(), lr=1e-2, momentum=0.9, foreach=False)
        for _ in range(steps):
            began = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            loss = head.loss(features, targets, Logistic())
            loss.backward()
            optimizer.step()
            losses.append(round(float(loss.detach()), 4))
            walls.append(time.perf_counter() - began)
    except (RuntimeError, MemoryError) as error:
        return {"outcome": "out of memory" if "alloc" in str(error) or isinstance(error, MemoryError) else str(error)}
    memory = round((peak_rss() - before) / 2**20)
    return {"outcome": "trained", **spans(walls), "step_mib": memory, "loss_first": losses[0], "loss_last": losses[-1]}


def spans(walls: list[float]) -> dict[str, object]:
    return {"seconds": round(statistics.median(walls), 3), "spread": round(max(walls) - min(walls), 3)}


def called(name: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--only", name, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> dict[str, object]:
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} failed with {process.returncode}")
    found: dict[str, object] = json.loads(text.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=measuring.RESULTS)
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        name, *rest = asked.only
        if name == "measure":
            print(json.dumps(measure(rest[0], rest[1] == "head_loss", rest[2], rest[3], int(rest[4]))))
        else:
            print(json.dumps(many(int(rest[0]), int(rest[1]), rest[2], int(rest[3]))))
        return
    import torch

    machine = f"{measuring.CORES} cores, torch {torch.__version__}"
    if asked.device == "cuda":
        machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    print(f"{platform.processor() or platform.machine()}, {machine}, seed 0", flush=True)
    rows: list[dict[str, object]] = []

    def note(row: dict[str, object]) -> None:
        rows.append({**row, "machine": machine})
        print(row, flush=True)
        measuring.write("head", rows, gpu=asked.device == "cuda", folder=asked.out)

    for loss in LOSSES:
        for precision in ("bf16", "fp32"):
            for way in ("dense", "head_loss"):
                if (way, loss) == ("dense", "tree-softmax"):
                    continue
                found = answer(called("measure", loss, way, precision, asked.device, asked.steps))
                sizes = {"num_images": IMAGES, "num_labels": LABELS, "num_features": FEATURES}
                note({"loss": loss, "way": way, "precision": precision, "ranks": 1, **sizes, **found})
    for world in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            ranks = [called("many", rank, world, f"{folder}/store", max(asked.steps, 2)) for rank in range(world)]
            each = [answer(rank) for rank in ranks]
        assert {row["outcome"] for row in each} == {"out of memory" if world == 1 else "trained"}, each
        sizes = {"num_images": MANY_IMAGES, "num_labels": MANY, "num_features": MANY_FEATURES}
        way = "split head" if world > 1 else "whole head"
        note(
            {
                "loss": "logistic",
                "way": way,
                "precision": "fp32",
                "ranks": world,
                "limit_gib": LIMIT_GIB,
                **sizes,
                **each[0],
            }
        )


if __name__ == "__main__":
    main()
