"""Metrics of boxes and masks at the size of COCO's validation set; `python benchmarks/bench_metrics.py [--images N]`.

5,000 drawn images of 80 classes with 7 objects and 100 detections each: matching, all 92 metrics, and their 95% intervals from 1,000
resamples of the images. Rivals on the same set, which give no intervals: faster-coco-eval and pycocotools, from their own
annotation dictionaries in memory; COCO's metrics are compared. Masks of 500x375 pixels and 150 classes: counting, and the same
intervals; rival: scikit-learn's confusion matrix.
Each piece of work in a process of its own, five runs after a warm-up (the slow rivals one); drawing is not timed. Times are wall clock
and processor seconds, which say more on busy cores. Memory is the process's peak.
Writes `results/metrics_<hardware>_<yyyymm>.csv`.
"""

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import numpy as np

from jftdata.transfer.annotations.core import Objects
from jftdata.transfer.annotations.predictions import Detections

SEED, RUNS = 0, 5
CLASSES, OBJECTS, FOUND = 80, 7.3, 100
PIXEL_CLASSES, PIXELS = 150, (375, 500)
NAMES = ("AP", "AP.5", "AP.75", "AP small", "AP medium", "AP large", "AR 1", "AR 10", "AR 100", "AR small", "AR medium",
         "AR large")  # fmt: skip


def drawn(num: int) -> tuple[Objects, Detections]:
    """Classes by Zipf's law; of the detections a third lie near an object, the surer the nearer, the others anywhere."""
    rng = np.random.default_rng(SEED)
    num_objects = rng.poisson(OBJECTS, num)
    start = np.concatenate([[0], np.cumsum(num_objects)])
    m, n = int(start[-1]), FOUND * num
    common = 1 / np.arange(1, CLASSES + 1)
    size = np.exp(rng.normal(4, 1, (m, 2))).clip(4, 400)
    corner = rng.random((m, 2)) * (500, 350)
    box, label = np.concatenate([corner, corner + size], axis=1), rng.choice(CLASSES, m, p=common / common.sum())
    never = np.zeros(m, bool)
    area = size.prod(axis=1) * 0.6
    truth = Objects(start, box, label, area, rng.random(m) < 0.01, never, np.arange(1, m + 1))
    image = np.repeat(np.arange(num), FOUND)
    near = (rng.random(n) < 0.3) & (num_objects[image] > 0)
    item = np.minimum(start[image] + (rng.random(n) * num_objects[image]).astype(int), m - 1)
    blur = np.exp(rng.normal(-2.5, 1, (n, 1)))
    size = np.exp(rng.normal(4, 1, (n, 2))).clip(4, 400)
    corner = rng.random((n, 2)) * (500, 350)
    moved = box[item] + rng.normal(0, 1, (n, 4)) * blur * np.tile(box[item, 2:] - box[item, :2], 2)
    found = np.where(near[:, None], moved, np.concatenate([corner, corner + size], axis=1))
    found = np.concatenate([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])], axis=1)
    score = rng.beta(1, 8, n) + np.where(near, rng.beta(2, 3, n) * np.exp(-3 * blur[:, 0]), 0)
    label = np.where(near, label[item], rng.choice(CLASSES, n))
    return truth, Detections(np.arange(num + 1) * FOUND, found, score, label)


class Clock:
    """Seconds of each piece of work, `<name>_seconds` and `<name>_cpu_seconds`."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    @contextlib.contextmanager
    def of(self, name: str) -> Any:
        began = time.perf_counter(), time.process_time()
        yield
        self.found[f"{name}_seconds"] = time.perf_counter() - began[0]
        self.found[f"{name}_cpu_seconds"] = time.process_time() - began[1]


def intervals(clock: Clock, scores: list[Any], num: int) -> None:
    from jftdata.transfer.metrics import judge

    with clock.of("intervals"):
        judged = judge([score.statistic for score in scores], num, seed=SEED)
    clock.found["num_metrics"] = len(scores)
    first = judged[0]
    assert first is not None
    clock.found |= {"first_metric_low": first.low, "first_metric_high": first.high}


def coco(num: int) -> dict[str, float]:
    from jftdata.transfer import coco_metrics

    truth, found = drawn(num)
    clock = Clock()
    with clock.of("evaluate"):
        matches = coco_metrics.boxes(truth, found, num_classes=CLASSES)
        scores = coco_metrics.scores(matches, [str(i) for i in range(CLASSES)])
        values = [score.statistic(np.ones(num)) for score in scores]
    intervals(clock, scores, num)
    return clock.found | dict(zip(NAMES, values, strict=False))


def voc(num: int) -> dict[str, float]:
    from jftdata.transfer import voc_metrics

    truth, found = drawn(num)
    clock = Clock()
    with clock.of("evaluate"):
        matches = voc_metrics.boxes(truth, found, num_classes=CLASSES)
        scores = voc_metrics.scores(matches, [str(i) for i in range(CLASSES)])
        values = [score.statistic(np.ones(num)) for score in scores]
    intervals(clock, scores, num)
    return clock.found | {"mAP (11-point)": values[0], "mAP (all-point)": values[1]}


def rival(library: str) -> Callable[[int], dict[str, float]]:
    """Evaluation by another library; making its dictionaries is timed apart."""

    def run(num: int) -> dict[str, float]:
        if library == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        else:
            from faster_coco_eval import COCO
            from faster_coco_eval import COCOeval_faster as COCOeval
        truth, found = drawn(num)

        def entries(there: Any) -> list[dict[str, Any]]:
            image = np.repeat(np.arange(num), np.diff(there.start)).tolist()
            box = np.concatenate([there.box[:, :2], there.box[:, 2:] - there.box[:, :2]], axis=1).tolist()
            label = (there.label + 1).tolist()
            return [{"image_id": i, "bbox": b, "category_id": c} for i, b, c in zip(image, box, label, strict=True)]

        annotations, results = entries(truth), entries(found)
        for i, one in enumerate(annotations):
            one |= {"id": i + 1, "iscrowd": int(truth.crowd[i]), "area": float(truth.area[i])}
        for i, one in enumerate(results):
            one["score"] = float(found.score[i])
        clock = Clock()
        with contextlib.redirect_stdout(io.StringIO()):
            given: Any = COCO()
            given.dataset = {
                "images": [{"id": i, "width": 640, "height": 480} for i in range(num)], "annotations": annotations,
                "categories": [{"id": i + 1, "name": str(i)} for i in range(CLASSES)], "info": {},
            }  # fmt: skip
            with clock.of("load"):
                given.createIndex()
                loaded = given.loadRes(results)
            with clock.of("evaluate"):
                judge: Any = COCOeval(given, loaded, "bbox")
                judge.evaluate()
                judge.accumulate()
                judge.summarize()
        return clock.found | dict(zip(NAMES, map(float, judge.stats), strict=False))

    return run


def masks(num: int) -> Any:
    """True and predicted masks of images: a dozen bars of classes, a tenth of them predicted wrong."""
    height, width = PIXELS
    for row in range(num):
        rng = np.random.default_rng([SEED, row])
        bars = rng.integers(0, PIXEL_CLASSES, 12)
        guess = np.where(rng.random(12) < 0.1, rng.integers(0, PIXEL_CLASSES, 12), bars)
        at = np.sort(rng.integers(0, width, 11))
        of = [np.searchsorted(at + shift, np.arange(width)) for shift in (0, 3)]
        pair = [
            np.broadcast_to(kind[one].astype(np.uint8), (height, width))
            for kind, one in zip((bars, guess), of, strict=True)
        ]
        yield row, np.ascontiguousarray(pair[0]), np.ascontiguousarray(pair[1])


def pixels(num: int) -> dict[str, float]:
    from jftdata.transfer.pixel_metrics import Confusion

    confusion, clock = Confusion(num_images=num, num_classes=PIXEL_CLASSES, ignore=255), Clock()
    spans = np.zeros(2)
    for row, truth, predicted in masks(num):
        began = time.perf_counter(), time.process_time()
        confusion.add(row, truth, predicted)
        spans += time.perf_counter() - began[0], time.process_time() - began[1]
    clock.found |= {"evaluate_seconds": spans[0], "evaluate_cpu_seconds": spans[1]}
    scores = confusion.scores([str(i) for i in range(PIXEL_CLASSES)])
    intervals(clock, scores, num)
    return clock.found | {"mean IoU": scores[0].statistic(np.ones(num))}


def pixels_by_sklearn(num: int) -> dict[str, float]:
    from sklearn.metrics import confusion_matrix

    table, spans = np.zeros((PIXEL_CLASSES, PIXEL_CLASSES)), np.zeros(2)
    for _, truth, predicted in masks(num // 10):
        began = time.perf_counter(), time.process_time()
        table += confusion_matrix(truth.ravel(), predicted.ravel(), labels=range(PIXEL_CLASSES))
        spans += time.perf_counter() - began[0], time.process_time() - began[1]
    return {"evaluate_seconds": 10 * spans[0], "evaluate_cpu_seconds": 10 * spans[1]}


WORK: dict[str, tuple[Callable[[int], dict[str, float]], int]] = {
    "boxes, jftdata": (coco, RUNS),
    "boxes, faster-coco-eval": (rival("faster-coco-eval"), RUNS),
    "boxes, pycocotools": (rival("pycocotools"), 1),
    "boxes as VOC, jftdata": (voc, RUNS),
    "masks, jftdata": (pixels, RUNS),
    "masks, scikit-learn, ten times a tenth": (pixels_by_sklearn, 1),
}


def repeat(what: str, num: int) -> dict[str, float]:
    """Median of each quantity, and the least and the most of the evaluation's processor seconds."""
    work, runs = WORK[what]
    work(min(num, 20))
    found = [work(num) for _ in range(runs)]
    spans = [one["evaluate_cpu_seconds"] for one in found]
    medians = {name: float(np.median([one[name] for one in found])) for name in found[0]}
    return medians | {"evaluate_cpu_seconds_least": min(spans), "evaluate_cpu_seconds_most": max(spans), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--only", choices=WORK)
    parser.add_argument("--out", type=Path, default=measuring.RESULTS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(repeat(asked.only, asked.images)))
        return
    from importlib.metadata import version

    libraries = ("numpy", "numba", "faster-coco-eval", "pycocotools", "scikit-learn")
    print("Python", sys.version.split()[0], *(f"{name} {version(name)}" for name in libraries), "seed", SEED)
    rows: list[dict[str, Any]] = []
    values: dict[str, dict[str, Any]] = {}
    for what in WORK:
        values[what] = measuring.alone("--only", what, "--images", asked.images)
        if what.startswith("boxes, ") and "AP" in values[what]:
            ours = values["boxes, jftdata"]
            values[what]["largest_difference"] = max(abs(values[what][name] - ours[name]) for name in NAMES)
        for name, value in values[what].items():
            rows.append({"work": what, "num_images": asked.images, "quantity": name, "value": str(value)})
            print(what, name, value, flush=True)
    measuring.write("metrics", rows, folder=asked.out)


if __name__ == "__main__":
    main()
