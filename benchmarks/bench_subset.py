"""Subsets at the size of JFT-300M: nested, by label, capped, floored, balanced; `python benchmarks/bench_subset.py FOLDER`.

FOLDER keeps the label tables (4.5 GB; those of `bench_tail.py` do) and, while it runs, the saved subsets. Every measurement
runs in a process of its own on all cores; time is the wall time of the work after imports and compilation, memory the peak of
the whole process. polars answers `with_labels` on the same files; NumPy caps greedily, image by image, on a tenth of the small
table. Writes `results/subset_<hardware>_<yyyymm>.csv` as it goes; `--num-images` and `--small` shrink the tables for a trial,
which writes nothing.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring

FULL, SMALL = 300_000_000, 30_000_000
NESTED = (30, 10, 3)
"""One in so many images: 10M, 30M and 100M of 300M."""
NUM_LABELS = 941
CAP, FLOOR = 1_000, 100


def table(folder: Path, num_images: int) -> Any:
    """The catalog, written if it is not there; the compiled loops are loaded by a tiny one first."""
    from jftdata import subset, world

    catalog = world.jft300m(num_images, out=folder / f"jft{num_images}")
    tiny = world.jft300m(1_000, out=folder / "jft1000")
    kept = subset.cap(tiny, most=1, seed=0)
    subset.floor(tiny, least=1, seed=0, keep=kept)
    subset.with_labels(tiny, labels=["animal"])
    subset.head(tiny, cuts=(0, 0))
    subset.stratified(tiny, size=10, seed=0, least=0)
    subset.balanced(tiny, size=10, seed=0)
    return catalog


def nested(folder: Path, catalog: Any) -> dict[str, object]:
    from jftdata import subset

    out = folder / "nested"
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    made = subset.nested(catalog, sizes=[len(catalog) // k for k in NESTED], seed=0)
    drawn = time.perf_counter() - began
    for one in made:
        one.save(out / str(len(one)))
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return {"seconds": seconds, "drawn_after_seconds": drawn, "sizes": [len(one) for one in made]}


def asked_labels(catalog: Any) -> list[str]:
    import numpy as np

    chosen = np.random.default_rng(0).choice(catalog.hierarchy.num_labels, NUM_LABELS, replace=False)
    return [catalog.hierarchy.labels[i] for i in chosen]


def with_labels_in_polars(folder: Path, catalog: Any) -> dict[str, object]:
    import polars as pl

    tree = catalog.hierarchy
    asked = asked_labels(catalog)
    wanted = sorted({tree.index(x) for label in asked for x in (label, *tree.descendants(label))})
    began = time.perf_counter()
    ids = (
        pl.scan_parquet(catalog.files)
        .filter(pl.col("labels").list.eval(pl.element().is_in(wanted)).list.any())
        .select("image")
        .collect(engine="streaming")["image"]
        .sort()
    )
    return {"seconds": time.perf_counter() - began, "size": len(ids)}


def cap_and_floor(subset: Any, catalog: Any) -> Any:
    whole = subset.everything(catalog)
    return subset.floor(whole, least=FLOOR, seed=0, keep=subset.cap(whole, most=CAP, seed=0))


BUILDERS: dict[str, Callable[[Any, Any], Any]] = {
    "with 941 labels": lambda subset, catalog: subset.with_labels(catalog, labels=asked_labels(catalog)),
    "tail": lambda subset, catalog: subset.tail(catalog),
    "cap": lambda subset, catalog: subset.cap(catalog, most=CAP, seed=0),
    "floor": lambda subset, catalog: subset.floor(catalog, least=FLOOR, seed=0),
    "cap, then floor": cap_and_floor,
    "stratified": lambda subset, catalog: subset.stratified(catalog, size=len(catalog) // 10, seed=0, quota="tree"),
    "repeat factors": lambda subset, catalog: subset.repeat_factors(catalog),
    "balanced": lambda subset, catalog: subset.balanced(catalog, size=len(catalog) // 10, seed=0),
}


def built(name: str) -> Callable[[Path, Any], dict[str, object]]:
    """Time one builder."""

    def work(folder: Path, catalog: Any) -> dict[str, object]:
        from jftdata import subset

        began = time.perf_counter()
        made = BUILDERS[name](subset, catalog)
        return {"seconds": time.perf_counter() - began, "size": len(made)}

    return work


def cap_in_numpy(folder: Path, catalog: Any) -> dict[str, object]:
    """One image after another in random order."""
    import numpy as np

    from jftdata.catalog import label_rows

    began = time.perf_counter()
    rows = [np.split(index, start[1:-1]) for _, start, index in label_rows(catalog)]
    lists = [labels for part in rows for labels in part]
    room = np.full(catalog.hierarchy.num_labels, CAP)
    size = 0
    for i in np.random.default_rng(0).permutation(len(lists)).tolist():
        labels = lists[i]
        if (room[labels] > 0).all():
            room[labels] -= 1
            size += 1
    return {"seconds": time.perf_counter() - began, "size": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-images", type=int, default=FULL)
    parser.add_argument("--small", type=int, default=SMALL)
    parser.add_argument("--only")
    parser.add_argument("--prepare", action="store_true")
    asked = parser.parse_args()
    full, small = asked.num_images, asked.small
    work = {
        "nested, saved": (nested, full),
        "with 941 labels": (built("with 941 labels"), full),
        "with 941 labels, polars": (with_labels_in_polars, full),
        "tail": (built("tail"), full),
        "stratified": (built("stratified"), full),
        "repeat factors": (built("repeat factors"), full),
        "balanced": (built("balanced"), full),
        **{f"{name}, small": (built(name), small) for name in BUILDERS},
        "cap, a tenth": (built("cap"), small // 10),
        "cap, a tenth, NumPy": (cap_in_numpy, small // 10),
    }
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.only:
        run, num_images = work[asked.only]
        catalog = table(asked.folder, num_images)
        print(json.dumps({} if asked.prepare else run(asked.folder, catalog)))
        return
    rows: list[dict[str, object]] = []
    for what, (_, num_images) in work.items():
        command = (asked.folder, "--num-images", asked.num_images, "--small", asked.small, "--only", what)
        measuring.alone(*command, "--prepare")
        for name, value in measuring.alone(*command).items():
            rows.append({"work": what, "num_images": num_images, "quantity": name, "value": str(value)})
            print(what, num_images, name, value, flush=True)
        if (full, small) == (FULL, SMALL):
            measuring.write("subset", rows)


if __name__ == "__main__":
    main()
