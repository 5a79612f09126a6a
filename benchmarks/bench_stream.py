"""The order of 300M images as a pure function: time, memory, randomness, reading; `python benchmarks/bench_stream.py FOLDER`.

FOLDER keeps ids, weights and disk order (7.2 GB, memory-mapped) and 2 GB of shards. Every measurement runs in a process of its
own, after a warm-up that compiles; five runs, median and spread. `ids_a_second_of_a_core` counts only the time the process had a
core. Private memory is the peak of the anonymous pages above what the process had before the stream was made; mapped pages of
files, which the kernel may drop at any time, are counted apart. The rivals make an epoch's ids at once:
`numpy.random.Generator.permutation` and a gather; torch's samplers, which hold a list of Python numbers, at 30M. Reading takes
images of 60 to 140 KB out of tar-like shards whose pages were dropped from the cache, on 8 threads. Writes
`results/stream_<hardware>_<yyyymm>.csv` as it goes.
"""

import argparse
import json
import math
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import measuring
import numpy as np

BATCH, SIZE, WINDOW, PIECE, RUNS = 256, 128, 256, 1 << 16, 5
NUM_READ, NUM_SHARDS = 20_000, 8
READ_SIZE, READ_WINDOW = 64, 16


def prepare(folder: Path, num: int) -> None:
    """Ascending ids, weights with a tail, and a disk order that has nothing to do with the ids."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / f"order{num}.npy").exists():
        return
    kinds = {"ids": np.int64, "weights": np.float64, "order": np.int64}
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}{num}.npy.new", mode="w+", dtype=kind, shape=(num,))
        for name, kind in kinds.items()
    }
    rng = np.random.default_rng(0)
    step = next(step for step in range(7_919, 2 * num) if math.gcd(step, num) == 1)
    for first in range(0, num, 1 << 22):
        at = np.arange(first, min(first + (1 << 22), num))
        arrays["ids"][at[0] : at[-1] + 1] = at * 30_000_000_000 + rng.integers(0, 30_000_000_000, len(at))
        arrays["weights"][at[0] : at[-1] + 1] = np.where(rng.random(len(at)) < 0.9, 1.0, 1 + rng.pareto(1.5, len(at)))
        arrays["order"][at[0] : at[-1] + 1] = at * step % num
    for name, values in arrays.items():
        values.flush()
        (folder / f"{name}{num}.npy.new").rename(folder / f"{name}{num}.npy")


def mapped(folder: Path, name: str, num: int):  # type: ignore[no-untyped-def]
    return np.load(folder / f"{name}{num}.npy", mmap_mode="r")


def anonymous_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this kernel does not tell anonymous memory")


class Peak:
    """The highest anonymous memory while the block runs, looked at every 5 ms."""

    def __enter__(self) -> "Peak":
        self.before = self.highest = anonymous_mib()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.highest = max(self.highest, anonymous_mib())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()
        self.highest = max(self.highest, anonymous_mib())

    def facts(self) -> dict[str, object]:
        return {"private_mib": round(self.highest - self.before, 1), "private_before_mib": round(self.before, 1)}


def spread(values: list[float]) -> dict[str, object]:
    return {"median": round(statistics.median(values)), "lowest": round(min(values)), "highest": round(max(values))}


def order(folder: Path, num: int, threads: int, *, weighted: bool, blocks: bool) -> dict[str, object]:
    """Ids a second, in pieces of 65,536."""
    from jftdata.subset.disk import Blocks
    from jftdata.subset.stream import Stream

    tiny = Stream(images=np.arange(999), seed=0, batch_size=9, weights=np.full(999, 1.5))
    tiny.ids(0, 0, 9)  # compiles, or loads what was compiled
    Stream(images=np.arange(999), seed=0, batch_size=9, blocks=Blocks(np.arange(999), 9, 9)).ids(0, 0, 9)
    each = (1 << 21) if weighted else (1 << 23)
    with Peak() as peak, ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        stream = Stream(
            images=mapped(folder, "ids", num), seed=0, batch_size=BATCH,
            weights=mapped(folder, "weights", num) if weighted else None,
            blocks=Blocks(mapped(folder, "order", num), SIZE, WINDOW) if blocks else None,
        )  # fmt: skip
        made = time.perf_counter() - began
        began = time.perf_counter()
        length = stream.num_positions(0)
        stream.ids(0, 0, BATCH)
        first = time.perf_counter() - began
        rates, of_cores, at = [], [], 0
        for _ in range(RUNS + 1):
            starts = [(at + PIECE * i) % (length - PIECE) for i in range(min(each, length) // PIECE or 1)]
            began, busy = time.perf_counter(), time.process_time()
            total = sum(pool.map(lambda start: len(stream.ids(0, start, start + PIECE)), starts))
            rates.append(total / (time.perf_counter() - began))
            of_cores.append(total / (time.process_time() - busy))
            at += total
    return {
        **{f"ids_a_second_{name}": value for name, value in spread(rates[1:]).items()},
        "ids_a_second_of_a_core": round(statistics.median(of_cores[1:])), "length": length,
        "seconds_to_make": round(made, 2), "seconds_to_first_batch": round(first, 2), **peak.facts(),
    }  # fmt: skip


def with_numpy(folder: Path, num: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    with Peak() as peak:
        began = time.perf_counter()
        shuffled = mapped(folder, "ids", num)[rng.permutation(num)]
        seconds = time.perf_counter() - began
    return {"ids_a_second": round(len(shuffled) / seconds), "seconds_to_first_batch": round(seconds, 1), **peak.facts()}


def with_torch(folder: Path, num: int, *, distributed: bool) -> dict[str, object]:
    import torch
    from torch.utils.data import DistributedSampler, RandomSampler

    torch.set_num_threads(measuring.CORES)
    ids = mapped(folder, "ids", num)
    sampler: object
    if distributed:
        sampler = DistributedSampler(ids, num_replicas=2, rank=0, seed=0)
    else:
        sampler = RandomSampler(ids, generator=torch.Generator().manual_seed(0))
    with Peak() as peak:
        began = time.perf_counter()
        rows = iter(sampler)  # type: ignore[call-overload]
        found = [next(rows)]
        first = time.perf_counter() - began
        count = 1
        for row in rows:
            found.append(row)
            if len(found) == PIECE:
                count += len(ids[found])
                found = []
        seconds = time.perf_counter() - began
    return {"ids_a_second": round(count / seconds), "seconds_to_first_batch": round(first, 1), **peak.facts()}


def randomness(folder: Path, num: int) -> dict[str, object]:
    """The variance of a label's share of a batch against a full shuffle, with labels in one piece on disk each, and what
    `design_effect` says."""
    from jftdata.subset.disk import Blocks, blocks_touched, design_effect
    from jftdata.subset.stream import Stream

    found: dict[str, object] = {}
    on_disk = np.arange(num)
    for window in (16, 64, 256, 1024):
        stream = Stream(images=on_disk, seed=0, batch_size=BATCH, blocks=Blocks(on_disk, SIZE, window))
        last = min(num, max(1 << 24, 64 * SIZE * window)) // BATCH * BATCH
        share = (stream.rows(0, 0, last).reshape(-1, BATCH) < num // 2).mean(axis=1)
        variance = ((share - 0.5) ** 2).mean() / (0.25 / BATCH)
        plan = {"batch_size": BATCH, "size": SIZE, "window": window}
        found[f"window_{window}_design_effect"] = round(design_effect(num, **plan), 2)
        found[f"window_{window}_measured"] = round(float(variance), 2)
        found[f"window_{window}_blocks_a_batch"] = round(blocks_touched(num, **plan), 1)
    return found


def reading(folder: Path, num: int) -> dict[str, object]:
    """Images a second from cold shards: full order, block order, and block order with blocks asked for ahead."""
    from jftdata.subset.disk import Blocks
    from jftdata.subset.stream import Stream

    rng = np.random.default_rng(0)
    lengths = rng.integers(60_000, 140_000, num)
    shard = np.arange(num) * NUM_SHARDS // num
    offset = np.concatenate([np.cumsum(lengths[shard == s]) - lengths[shard == s] for s in range(NUM_SHARDS)])
    files = [folder / f"shard{s}" for s in range(NUM_SHARDS)]
    for s, path in enumerate(files):
        size = int(lengths[shard == s].sum())
        if not path.exists() or path.stat().st_size != size:
            with path.open("wb") as file:
                for at in range(0, size, 1 << 22):
                    file.write(rng.bytes(min(1 << 22, size - at)))
    handles = [os.open(path, os.O_RDONLY) for path in files]

    def cool() -> float:
        for handle in handles:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        warm = 0
        for i in rng.integers(0, num, 200):
            try:
                os.preadv(handles[shard[i]], [bytearray(1)], int(offset[i]), os.RWF_NOWAIT)
                warm += 1
            except BlockingIOError:
                pass
        return warm / 200

    def read(i: int) -> int:
        return len(os.pread(handles[shard[i]], int(lengths[i]), int(offset[i])))

    def ask(rows: np.ndarray) -> None:
        """Tell the kernel of each run of neighbours among some rows."""
        rows = np.sort(rows)
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(shard[rows]) != 0)) + 1
        for run in np.split(rows, cuts):
            end = int(offset[run[-1]] + lengths[run[-1]])
            os.posix_fadvise(
                handles[shard[run[0]]], int(offset[run[0]]), end - int(offset[run[0]]), os.POSIX_FADV_WILLNEED
            )

    on_disk = np.arange(num)
    full = Stream(images=on_disk, seed=0, batch_size=BATCH)
    blocks = Stream(images=on_disk, seed=0, batch_size=BATCH, blocks=Blocks(on_disk, READ_SIZE, READ_WINDOW))
    window = READ_SIZE * READ_WINDOW
    rates: dict[str, list[float]] = {"full": [], "blocks": [], "blocks_asked_ahead": []}
    found: dict[str, object] = {"block": READ_SIZE, "window": READ_WINDOW}
    for epoch in range(RUNS):
        for name, got in rates.items():
            rows = (full if name == "full" else blocks).rows(epoch, 0, num)
            found["share_cached_before"] = max(float(str(found.get("share_cached_before", 0))), cool())
            began = time.perf_counter()
            with ThreadPoolExecutor(8) as pool:
                for first in range(0, num, window):
                    if name == "blocks_asked_ahead":
                        if not first:
                            ask(rows[:window])
                        ask(rows[first + window : first + 2 * window]) if first + window < num else None
                    sum(pool.map(read, rows[first : first + window].tolist()))
            got.append(num / (time.perf_counter() - began))
    return found | {f"{n}_images_a_second_{k}": v for n, got in rates.items() for k, v in spread(got).items()}


MODES = {
    "full": (False, False), "blocks": (False, True), "weights": (True, False), "weights and blocks": (True, True)
}  # fmt: skip


def work(num: int) -> dict[str, tuple[Callable[[Path, int], dict[str, object]], int]]:
    all_work: dict[str, tuple[Callable[[Path, int], dict[str, object]], int]] = {}
    for threads in (1, 2):
        for name, (weighted, blocks) in MODES.items():

            def run(folder: Path, n: int, t: int = threads, w: bool = weighted, b: bool = blocks) -> dict[str, object]:
                return order(folder, n, t, weighted=w, blocks=b)

            all_work[f"{name}, {threads} thread{'s' * (threads > 1)}"] = (run, num)
    small = num // 10
    all_work |= {
        "full at a tenth": (lambda f, n: order(f, n, 2, weighted=False, blocks=False), small),
        "numpy permutation and gather": (with_numpy, num),
        "numpy permutation and gather at a tenth": (with_numpy, small),
        "torch RandomSampler": (lambda f, n: with_torch(f, n, distributed=False), small),
        "torch DistributedSampler of 2": (lambda f, n: with_torch(f, n, distributed=True), small),
        "randomness of blocks": (randomness, small),
        "reading": (reading, min(NUM_READ, num)),
    }
    return all_work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num", type=int, default=300_000_000, help="images")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    todo = work(asked.num)
    if asked.only:
        run, num = todo[asked.only]
        print(json.dumps(run(asked.folder, num)))
        return

    for num in (asked.num, asked.num // 10):
        prepare(asked.folder, num)
    hardware = f"{measuring.CORES} cores, Python {platform.python_version()}, numpy {np.__version__}"
    rows: list[dict[str, object]] = [{"work": "all", "num_images": 0, "quantity": "hardware", "value": hardware}]
    for what, (_, num) in todo.items():
        found = measuring.alone(asked.folder, "--num", asked.num, "--only", what)
        found["peak_with_mapped_files_gib"] = found.pop("peak_gib", None)
        for name, value in found.items():
            rows.append({"work": what, "num_images": num, "quantity": name, "value": str(value)})
            print(what, num, name, value, flush=True)
        measuring.write("stream", rows)


if __name__ == "__main__":
    main()
