"""Self-join of many vectors and a join of test against training vectors; `python benchmarks/bench_join.py`.

Vectors of 256 dimensions in 20,000 loose clusters, a tenth of them noisy copies of others at similarities of 0.88 to 1. All
pairs at similarity 0.9 and above are asked for at recall 0.99. Recall is measured against exact search of 2,000 sampled
vectors, beside the recall the join itself reports. Each size runs in a process of its own. Writes
`results/join_<hardware>_<yyyymm>.csv` as it goes, with the growth exponent of the time between sizes.
"""

import argparse
import json
import math
import time

import measuring
import numpy as np

DIMENSIONS, CLUSTERS, NUM_TEST = 256, 20_000, 50_000


def unit(x):  # type: ignore[no-untyped-def]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def vectors(num: int, seed: int):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((CLUSTERS, DIMENSIONS), dtype=np.float32)
    out = np.empty((num, DIMENSIONS), np.float32)
    first = num * 9 // 10
    for at in range(0, first, 1 << 16):
        count = min(1 << 16, first - at)
        spread = rng.uniform(0.7, 1.5, (count, 1)).astype(np.float32)
        noise = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
        out[at : at + count] = unit(centers[rng.integers(0, CLUSTERS, count)] + spread * noise)
    for at in range(first, num, 1 << 16):
        count = min(1 << 16, num - at)
        similar = rng.uniform(0.88, 1, (count, 1)).astype(np.float32)
        noise = unit(rng.standard_normal((count, DIMENSIONS), dtype=np.float32))
        out[at : at + count] = unit(similar * out[rng.integers(0, first, count)] + np.sqrt(1 - similar**2) * noise)
    return out


def run(num: int, num_test: int) -> dict[str, object]:
    from jftdata import join
    from jftdata.embeddings import Embeddings

    base = Embeddings.of(vectors(num, 1), np.arange(num), embedder="made up")
    test = base
    if num_test:
        rng = np.random.default_rng(2)
        copies = base.vectors[rng.integers(0, num, num_test)]
        copies = unit(0.95 * copies + 0.31 * unit(rng.standard_normal(copies.shape, dtype=np.float32)))
        test = Embeddings.of(copies, np.arange(num_test), embedder="made up")
    began = time.perf_counter()
    if num_test:
        found = join.join(test, base, min_similarity=0.9)
    else:
        found = join.self_join(base, min_similarity=0.9)
    seconds = time.perf_counter() - began
    chosen = np.sort(np.random.default_rng(9).choice(len(test), min(2000, len(test)), replace=False))
    truth = set()
    for at in range(0, num, 1 << 16):
        products = test.vectors[chosen] @ base.vectors[at : at + (1 << 16)].T
        row, column = np.nonzero(products >= 0.9 + 1e-6)
        truth |= {(int(a), int(b)) for a, b in zip(chosen[row], column + at, strict=True)}
    got = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    if not num_test:
        truth = {(min(p), max(p)) for p in truth if p[0] != p[1]}
    return {
        "num": num,
        "num_test": num_test,
        "seconds": round(seconds, 1),
        "num_pairs": len(got),
        "true_pairs_sampled": len(truth),
        "recall": round(len(truth & got) / len(truth), 5),
        "recall_reported": round(found.recall, 5),
        "plan": found.plan,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--only", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(run(*asked.only)))
        return
    rows: list[dict[str, object]] = []
    for num, num_test in [*((n, 0) for n in asked.sizes), (max(asked.sizes), NUM_TEST)]:
        row = measuring.alone("--only", num, num_test)
        last = rows[-1] if rows and not num_test else None
        row["growth_exponent"] = (
            round(math.log(row["seconds"] / last["seconds"]) / math.log(num / last["num"]), 2) if last else None
        )
        rows.append(row)
        print(row, flush=True)
        measuring.write("join", rows)


if __name__ == "__main__":
    main()
