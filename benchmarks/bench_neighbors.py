"""The 20 nearest of 10,000 queries, by comparing all and by each index; `python benchmarks/bench_neighbors.py`.

The vectors are those of `bench_join.py`, memory-mapped from disk; the queries are others of the same clusters, and recall
is tuned on a third set. A true neighbour is one at least as similar as the twentieth of an exact search. Each size and kind
runs in a process of its own, whose peak memory is that of what it allocated, without mapped files. The graph is built of
at most 100,000 vectors, as it takes longest. Writes `results/neighbors_<hardware>_<yyyymm>.csv` as it goes.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import measuring
import numpy as np
from bench_join import vectors

K, NUM_QUERIES, NUM_TUNED, HNSW_MOST = 20, 10_000, 2000, 100_000


class Peak(threading.Thread):
    """The most memory that was held at once, looked at every 50 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.kib = 0

    def run(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            self.kib = max(self.kib, int(status.split("RssAnon:")[1].split()[0]))
            time.sleep(0.05)


def save(folder: Path, num: int) -> None:
    from jftdata import storage

    made_with = {"embedder": "made up", "num": num}
    with storage.building(folder / "base", format="jftdata.embeddings/1", made_with=made_with, inputs={}) as making:
        np.save(making.folder / "vectors.npy", vectors(num, 1))
        np.save(making.folder / "images.npy", np.arange(num))


def run(folder: Path, kind: str, recalls: list[float]) -> list[dict[str, object]]:
    from jftdata import neighbors
    from jftdata.embeddings import Embeddings

    base = Embeddings.open(folder / "base")
    asked = Embeddings.of(vectors(NUM_QUERIES, 2), 10**8 + np.arange(NUM_QUERIES), embedder="made up")
    tuned = Embeddings.of(vectors(NUM_TUNED, 3), 10**9 + np.arange(NUM_TUNED), embedder="made up")
    peak = Peak()
    peak.start()
    row: dict[str, object] = {"num": len(base), "index": kind}
    row |= dict.fromkeys(("build_seconds", "build_peak_gib", "disk_gib"))
    if kind == "flat":
        began = time.perf_counter()
        found = neighbors.nearest(asked, base, k=K)
        seconds = time.perf_counter() - began
        np.save(folder / "truth.npy", found.similarity)
        return [{**row, **answer(seconds, 1.0, 1.0, 1.0, found.plan), "peak_gib": round(peak.kib / 2**20, 2)}]
    truth = np.load(folder / "truth.npy")
    began = time.perf_counter()
    index = neighbors.build(base, out=folder / kind, index=kind, queries=tuned, k=K)
    row["build_seconds"] = round(time.perf_counter() - began, 1)
    row["build_peak_gib"] = round(peak.kib / 2**20, 2)
    row["disk_gib"] = round(sum(p.stat().st_size for p in (folder / kind).iterdir()) / 2**30, 3)
    rows = []
    for recall in recalls:
        peak.kib = 0
        began = time.perf_counter()
        found = index.nearest(asked, k=K, recall=recall)
        seconds = time.perf_counter() - began
        true = float((found.similarity >= truth[:, -1:]).mean())
        rows.append({**row, **answer(seconds, recall, found.recall, true, found.plan)})
        rows[-1]["peak_gib"] = round(peak.kib / 2**20, 2)
    return rows


def answer(seconds: float, asked: float, told: float, true: float, plan: str) -> dict[str, object]:
    return {
        "search_seconds": round(seconds, 1),
        "queries_per_second": round(NUM_QUERIES / seconds),
        "recall_asked": asked,
        "recall_told": round(told, 5),
        "recall": round(true, 5),
        "plan": plan,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["flat", "pq", "ivf", "hnsw"], help="flat is the truth: keep it")
    parser.add_argument("--recalls", type=float, nargs="+", default=[0.9, 0.99])
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(run(Path(asked.only[0]), asked.only[1], asked.recalls)))
        return
    rows: list[dict[str, object]] = []
    for num in asked.sizes:
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), num)
            for kind in asked.kinds:
                if kind == "hnsw" and num > HNSW_MOST:
                    continue
                found = measuring.alone("--only", folder, kind, "--recalls", *asked.recalls)
                rows += found if isinstance(found, list) else [found]
                print(rows[-1], flush=True)
                measuring.write("neighbors", rows)


if __name__ == "__main__":
    main()
