"""Counting images by label at the size of JFT-300M, against polars and DuckDB; `python benchmarks/bench_tail.py FOLDER`.

FOLDER keeps the label tables (4.5 GB). Every measurement runs in a process of its own; time is the wall time of the work
after imports, memory the peak of the whole process. The rivals answer the same question, images of each label with
ancestors filled in, on the same Parquet files, with the query their manuals would suggest. Writes
`results/tail_<hardware>_<yyyymm>.csv` as it goes. Needs the `duckdb` of the `dev` group.
"""

import argparse
import json
import time
from pathlib import Path

import measuring

FULL, SMALL = 300_000_000, 30_000_000


def write_table(folder: Path, num_images: int) -> dict[str, object]:
    from jftdata.world import jft300m

    began = time.perf_counter()
    catalog = jft300m(num_images, seed=0, out=folder / f"jft{num_images}")
    return {"seconds": time.perf_counter() - began, "num_given": catalog.sidecar.facts["num_given_labels"]}


def ours(folder: Path, num_images: int) -> dict[str, object]:
    from jftdata import Catalog, tail

    catalog = Catalog.open(folder / f"jft{num_images}")
    began = time.perf_counter()
    counts = tail.label_counts(catalog)
    numbers = tail.summary(counts)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "sum": int(counts["num_images"].sum()), "below_20": numbers["below_20"],
            "below_100": numbers["below_100"]}  # fmt: skip


def ancestor_pairs(folder: Path, num_images: int):  # type: ignore[no-untyped-def]
    """One row a (label, ancestor or itself), and the files."""
    import numpy as np
    import polars as pl

    from jftdata import Catalog

    catalog = Catalog.open(folder / f"jft{num_images}")
    tree = catalog.hierarchy
    sizes = np.diff(tree.ancestor_start)
    own = np.arange(tree.num_labels, dtype=np.int32)
    label = np.concatenate([np.repeat(own, sizes), own])
    above = np.concatenate([tree.ancestor_index, own])
    return pl.DataFrame({"label": label, "above": above}), [str(p) for p in catalog.files]


def with_polars(folder: Path, num_images: int) -> dict[str, object]:
    import polars as pl

    pairs, files = ancestor_pairs(folder, num_images)
    began = time.perf_counter()
    counts = (
        pl.scan_parquet(files)
        .select("image", label="labels")
        .explode("label")
        .join(pairs.lazy(), on="label")
        .select("image", "above")
        .unique()
        .group_by("above")
        .agg(pl.len())
        .collect(engine="streaming")
    )
    return {"seconds": time.perf_counter() - began, "sum": int(counts["len"].cast(pl.Int64).sum())}


def with_duckdb(folder: Path, num_images: int) -> dict[str, object]:
    import duckdb

    pairs, files = ancestor_pairs(folder, num_images)
    connection = duckdb.connect()
    connection.execute(f"SET temp_directory='{folder / 'duckdb'}'; SET memory_limit='18GB'")
    connection.register("pairs", pairs.to_arrow())
    began = time.perf_counter()
    counts = connection.execute(
        """
        SELECT above, count(DISTINCT image) AS n
        FROM (SELECT image, unnest(labels) AS label FROM read_parquet(?)) AS given JOIN pairs USING (label)
        GROUP BY above
        """,
        [files],
    ).fetchall()
    return {"seconds": time.perf_counter() - began, "sum": sum(n for _, n in counts)}


def trees(folder: Path, num_images: int) -> dict[str, object]:
    import numpy as np

    from jftdata.hierarchy import Hierarchy, targets
    from jftdata.world.jft_table import hierarchy

    path = hierarchy().save(folder / "jft.tsv")
    began = time.perf_counter()
    tree = Hierarchy.load(path)
    load = time.perf_counter() - began
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, tree.num_labels, 1 + (i % 4 == 0)).tolist() for i in range(1024)]

    def best(work):  # type: ignore[no-untyped-def]
        spans = []
        for _ in range(30):
            began = time.perf_counter()
            work()
            spans.append(time.perf_counter() - began)
        return min(spans)

    out: dict[str, object] = {
        "seconds": load,
        "multi_hot_ms": 1e3 * best(lambda: tree.multi_hot(lists)),
        "multi_hot_sparse_ms": 1e3 * best(lambda: targets.multi_hot(tree, lists, sparse=True)),
    }
    for num in (75_000, 1_000_000):
        parent = [(f"l{rng.integers(max(0, i // 6 - 50), i // 6 + 1)}", f"l{i}") for i in range(1, num)]
        path = Hierarchy.from_edges(parent).save(folder / "tree.tsv")
        began = time.perf_counter()
        Hierarchy.load(path)
        out[f"load_{num}_seconds"] = time.perf_counter() - began
    return out


WORK = {
    "write label table": (write_table, FULL),
    "counts with ancestors and summary": (ours, FULL),
    "write small table": (write_table, SMALL),
    "counts, jftdata": (ours, SMALL),
    "counts, DuckDB": (with_duckdb, SMALL),
    "counts, polars": (with_polars, SMALL),
    "hierarchies": (trees, 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=WORK)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.only:
        work, num_images = WORK[asked.only]
        print(json.dumps(work(asked.folder, num_images)))
        return
    rows: list[dict[str, object]] = []
    for what, (_, num_images) in WORK.items():
        found = measuring.alone(asked.folder, "--only", what)
        for name, value in found.items():
            rows.append({"work": what, "num_images": num_images, "quantity": name, "value": str(value)})
            print(what, num_images, name, value, flush=True)
        measuring.write("tail", rows)


if __name__ == "__main__":
    main()
