"""mAP@100 at the size of FastEval14k under JFT-300M's labels; `python benchmarks/bench_ranking.py [--images N] [--labels N]`.

14,000 images of 18,291 labels, about 37 true ones an image out of 6,000, scores drawn 500 images at a time as a network would hand
them over; drawing is not timed. Five runs after a warm-up, each piece of work in a process of its own, memory is its peak and holds
one batch of scores (37 MB). Rivals: the selection by torch.topk (which breaks ties as it likes) and by NumPy's argpartition; the
whole by a plain float64 reference (full stable sort of each row, label by label), with which every AP is compared; scikit-learn's
average precision label by label on the dense table, which answers another question, without the cut at 100.
Writes `results/ranking_<hardware>_<yyyymm>.csv`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import measuring
import numpy as np

BATCH, K, RUNS, SEED = 500, 100, 5, 0
USED, DRAWN = 6_000, 52  # labels with positives; draws an image, of which about 37 differ
Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def batches(num: int, num_labels: int) -> Iterator[Batch]:
    """Image ids, scores, and the true labels of each image as (start, index); the same every time."""
    used = min(USED, num_labels)
    share = 1.0 / np.arange(10, used + 10)
    common = np.random.default_rng(SEED).permutation(num_labels)[:used]
    lean = np.full(num_labels, -4.0, np.float32)
    lean[common] = 0.5 * np.log(share)
    for first in range(0, num, BATCH):
        rng = np.random.default_rng([SEED, first])
        rows = min(BATCH, num - first)
        scores = rng.standard_normal((rows, num_labels), dtype=np.float32) + lean
        true = [np.unique(x) for x in common[rng.choice(used, (rows, DRAWN), p=share / share.sum())]]
        start = np.concatenate([[0], np.cumsum([len(x) for x in true])])
        index = np.concatenate(true).astype(np.int32)
        scores[np.repeat(np.arange(rows), np.diff(start)), index] += 2.0
        yield np.arange(first, first + rows), scores, start, index


def ours(num: int, num_labels: int) -> dict[str, float]:
    from jftdata.ranking import Ranking

    ranking = Ranking(num_labels, k=K)
    add = 0.0
    for images, scores, start, index in batches(num, num_labels):
        began = time.perf_counter()
        ranking.add(images, scores, start=start, index=index)
        add += time.perf_counter() - began
    began = time.perf_counter()
    found = ranking.result()
    result = time.perf_counter() - began
    began = time.perf_counter()
    low, high = ranking.intervals(seed=0)[f"mAP@{K}"]
    return {"seconds": add + result, "add_seconds": add, "result_seconds": result,
            "intervals_seconds": time.perf_counter() - began, "map": found.scores[f"mAP@{K}"] or 0.0, "map_low": low,
            "map_high": high, "ap_sum": float(found.labels["ap"].sum())}  # fmt: skip


def timed(select: Callable[[np.ndarray], object]) -> Callable[[int, int], dict[str, float]]:
    def run(num: int, num_labels: int) -> dict[str, float]:
        seconds = 0.0
        for _, scores, _, _ in batches(num, num_labels):
            began = time.perf_counter()
            select(scores)
            seconds += time.perf_counter() - began
        return {"seconds": seconds}

    return run


def with_torch(scores: np.ndarray) -> object:
    import torch

    return torch.topk(torch.from_numpy(scores), K, dim=1)


def with_numpy(scores: np.ndarray) -> object:
    best = np.argpartition(-scores, K, axis=1)[:, :K]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1), axis=1)


def plain(num: int, num_labels: int) -> dict[str, float]:
    """The definition, and how far our APs are from it."""
    from jftdata.ranking import Ranking

    ranking = Ranking(num_labels, k=K)
    kept: list[np.ndarray] = []
    seconds, positives = 0.0, np.zeros(num_labels, np.int64)
    for images, scores, start, index in batches(num, num_labels):
        ranking.add(images, scores, start=start, index=index)
        began = time.perf_counter()
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        for row, image in enumerate(images):
            true = index[start[row] : start[row + 1]]
            positives[true] += 1
            labels = best[row]
            kept.append(np.stack([labels, -scores[row, labels].astype(np.float64), np.full(len(labels), image),
                                  np.isin(labels, true)], axis=1))  # fmt: skip
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    pairs = np.concatenate(kept)
    pairs = pairs[np.lexsort((pairs[:, 2], pairs[:, 1], pairs[:, 0]))]
    ap = np.zeros(num_labels)
    cuts = np.searchsorted(pairs[:, 0], np.arange(num_labels + 1))
    for label in np.flatnonzero(positives):
        hit = pairs[cuts[label] : cuts[label + 1], 3]
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        ap[label] = (precision * hit).sum() / positives[label]
    seconds += time.perf_counter() - began
    found = ranking.result().labels["ap"].fill_null(0.0).to_numpy()
    return {
        "seconds": seconds,
        "map": float(ap[positives > 0].mean()),
        "largest_difference": float(np.abs(found - ap).max()),
    }


def with_sklearn(num: int, num_labels: int) -> dict[str, float]:
    from sklearn.metrics import average_precision_score

    table = np.empty((num_labels, num), np.float32)
    true = np.zeros((num_labels, num), np.bool_)
    for images, scores, start, index in batches(num, num_labels):
        table[:, images] = scores.T
        true[index, np.repeat(images, np.diff(start))] = True
    began = time.perf_counter()
    ap = [average_precision_score(t, s) for t, s in zip(true, table, strict=True) if t.any()]
    return {"seconds": time.perf_counter() - began, "map": float(np.mean(ap))}


WORK: dict[str, tuple[Callable[[int, int], dict[str, float]], int]] = {
    "jftdata": (ours, RUNS),
    "selection alone, torch.topk": (timed(with_torch), RUNS),
    "selection alone, NumPy argpartition": (timed(with_numpy), RUNS),
    "plain float64 reference": (plain, 1),
    "scikit-learn, no cut at 100": (with_sklearn, 1),
}


def repeat(what: str, num: int, num_labels: int) -> dict[str, float]:
    """Median of each quantity, and of the seconds the least and the most."""
    work, runs = WORK[what]
    work(min(num, 20), num_labels)
    found = [work(num, num_labels) for _ in range(runs)]
    out = {name: float(np.median([one[name] for one in found])) for name in found[0]}
    spans = [one["seconds"] for one in found]
    return {**out, "seconds_least": min(spans), "seconds_most": max(spans), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=14_000)
    parser.add_argument("--labels", type=int, default=18_291)
    parser.add_argument("--only", choices=WORK)
    parser.add_argument("--out", type=Path, default=measuring.RESULTS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(repeat(asked.only, asked.images, asked.labels)))
        return
    import numba

    print("Python", sys.version.split()[0], "NumPy", np.__version__, "numba", numba.__version__, "seed", SEED)
    rows: list[dict[str, object]] = []
    for what in WORK:
        found = measuring.alone("--only", what, "--images", asked.images, "--labels", asked.labels)
        for name, value in found.items():
            rows.append(
                {
                    "work": what,
                    "num_images": asked.images,
                    "num_labels": asked.labels,
                    "quantity": name,
                    "value": str(value),
                }
            )
            print(what, name, value, flush=True)
    measuring.write("ranking", rows, folder=asked.out)


if __name__ == "__main__":
    main()
