"""What pretraining is worth on every task of the built-in world: `python benchmarks/paper/transfer_world.py FOLDER [--seeds N]`.

ResNet-10 at 64 pixels, pretrained on 8,000 noisy images with `tiny`, against the same network with fresh weights, in the frozen and in
the fine-tuned mode, each with the task's recipe `tiny` and the same schedule, of which masks and people take half the epochs. Boxes and
masks are in 240 images of 160 pixels, 60 more are judged on; people, who are on every fifth image, in four times as many. For each task
and mode: the main metric of both, their
difference, and its 95% interval over seeds (Student's t; a seed draws pretraining, heads and order). Goes on where it was stopped.

Writes `results/transfer_world_<hardware>_<yyyymm>.csv` after every run. `--smoke` does little and writes nothing.
"""

import argparse
import csv
import dataclasses
import datetime
import os
import time
from pathlib import Path

import torch
from scipy.stats import t

import jftdata as jd

RESULTS = Path(__file__).parent.parent / "results"
FIELDS = [
    "task",
    "mode",
    "metric",
    "seeds",
    "fresh",
    "pretrained",
    "difference",
    "low",
    "high",
    "num_test",
    "seconds_a_run",
]
CELLS = {
    ("knn", "frozen"): "top-1 (k=10)",
    ("linear-probe", "frozen"): "top-1",
    ("classification", "finetune"): "top-1",
    ("detection", "frozen"): "AP",
    ("detection", "finetune"): "AP",
    ("segmentation", "frozen"): "mean IoU",
    ("segmentation", "finetune"): "mean IoU",
    ("pose", "frozen"): "AP",
    ("pose", "finetune"): "AP",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="tasks")
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args()
    folder = asked.folder
    num, boxes = (200, 20) if asked.smoke else (8000, 300)
    files = jd.world.write(folder / "world", num_images=num, seed=31, num_eval=0)
    few = {"num_eval": 0, "num_clean_train": 0, "num_clean_test": 0}
    objects = jd.world.write(folder / "objects", num_images=1, seed=33, num_detection=boxes, **few).detection
    people = jd.world.write(folder / "people", num_images=1, seed=32, num_detection=boxes * 4, **few).detection
    tree = jd.Hierarchy.load("world")
    noisy = jd.sources.from_hub(files.train, label="labels", hierarchy=tree, out=folder / "train.catalog")
    clean = jd.sources.from_hub(files.clean, label="label", out=folder / "clean.catalog")
    scores: dict[tuple[str, str], list[tuple[float, float]]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    tests: dict[tuple[str, str], int] = {}
    for seed in range(asked.seeds):
        nets = {}
        for name, epochs in (("fresh", 0.0), ("pretrained", 1.0 if asked.smoke else 8.0)):
            config = jd.recipes.tiny(total_epochs=epochs, seed=seed)
            nets[name] = jd.pretrain.run(jd.subset.everything(noisy), config, out=folder / "runs" / f"{name}-s{seed}")
        for (task, mode), metric in CELLS.items():
            if asked.only and task not in asked.only:
                continue
            assert objects is not None
            masks = objects / "voc" / "VOC2012"
            data = {"detection": objects, "segmentation": masks, "pose": people}.get(task, clean)
            recipe = jd.transfer.recipe_of(task, "tiny" if jd.transfer.TASKS[task].recipes else None)
            if asked.smoke and recipe is not None:
                recipe = dataclasses.replace(recipe, epochs=None, steps=2)
            elif task in ("segmentation", "pose") and recipe is not None and recipe.epochs is not None:
                recipe = dataclasses.replace(recipe, epochs=recipe.epochs / 2)
            found = []
            for name in ("fresh", "pretrained"):
                began = time.monotonic()
                out = folder / "transfer" / f"{task}-{mode}-{name}-s{seed}"
                rows = jd.transfer.run(
                    nets[name], task=task, mode=mode, data=data, recipe=recipe, seed=seed, overlap=None, out=out
                ).rows
                seconds.setdefault((task, mode), []).append(time.monotonic() - began)
                named = rows.filter(metric=metric)
                found.append(named["value"][0] if len(named) else float("nan"))
                tests[task, mode] = named["num_task_test"][0] if len(named) else 0
            scores.setdefault((task, mode), []).append((found[0], found[1]))
            print(task, mode, metric, f"seed {seed}: fresh {found[0]:.3f}, pretrained {found[1]:.3f}", flush=True)
            if not asked.smoke:
                write(scores, seconds, tests)


def write(
    scores: dict[tuple[str, str], list[tuple[float, float]]], seconds: dict[tuple[str, str], list[float]],
    tests: dict[tuple[str, str], int],
) -> None:  # fmt: skip
    """One row a task and mode, of the seeds so far."""
    tag = torch.cuda.get_device_name(0).split()[-1].lower() if torch.cuda.is_available() else f"cpu{os.cpu_count()}"
    with (RESULTS / f"transfer_world_{tag}_{datetime.date.today():%Y%m}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for (task, mode), pairs in scores.items():
            gains = torch.tensor([after - before for before, after in pairs], dtype=torch.float64)
            num, middle = len(pairs), float(gains.mean())
            half = float(t.ppf(0.975, num - 1) * gains.std() / num**0.5) if num > 1 else float("nan")
            fresh, pretrained = (sum(values) / num for values in zip(*pairs, strict=True))
            writer.writerow({
                "task": task, "mode": mode, "metric": CELLS[task, mode], "seeds": num, "fresh": round(fresh, 4),
                "pretrained": round(pretrained, 4), "difference": round(middle, 4), "low": round(middle - half, 4),
                "high": round(middle + half, 4), "num_test": tests[task, mode],
                "seconds_a_run": round(max(seconds[task, mode])),
            })  # fmt: skip


if __name__ == "__main__":
    main()
