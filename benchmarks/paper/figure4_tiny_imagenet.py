"""Figure 4 on real images: nested subsets of Tiny ImageNet, a small ResNet, kNN and linear probe on CIFAR-10.

`python benchmarks/paper/figure4_tiny_imagenet.py DATA OUT [--epochs N]`, where DATA holds `tiny_imagenet/` (Parquet), `cifar10_small/`
and `hierarchies/`. Going on where it stopped, it writes `benchmarks/results/figure4_tiny_imagenet_<hardware>_<yyyymm>.csv` (every
score) and `..._fits.csv` after every seed. Near-duplicates of test images and extra copies are left out of pretraining.
"""

import argparse
import datetime
import os
from pathlib import Path

import polars as pl

RESULTS = Path(__file__).parent.parent / "results"
SIZES = (3_000, 10_000, 30_000)
SEEDS = (0, 1, 2)


def main() -> None:
    import jftdata as jd  # here, so that worker processes, which import this file, load nothing more
    from jftdata.sources import from_hub

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=float, default=8.0, help="passes over each subset")
    asked = parser.parse_args()
    data, out, epochs = asked.data, asked.out, asked.epochs
    trees = data / "hierarchies"
    name = "hiercls_tiny_imagenet_fiveai"
    tree = jd.Hierarchy.load_edges(trees / f"{name}.edges.tsv", names=trees / f"{name}.nodes.tsv")
    tiny = [data / "tiny_imagenet" / "train.parquet"]
    catalog = from_hub(tiny, label="wnid", hierarchy=tree, out=out / "tiny.catalog")
    cifar = from_hub(data / "cifar10_small" / "cifar10_small.parquet", label="class_name", out=out / "cifar.catalog")
    train = jd.embed.run(catalog, out=out / "tiny.embeddings")
    test = jd.embed.run(cifar, split="test", out=out / "cifar-test.embeddings")
    pairs = jd.dedup.find_pairs(train)
    overlap = jd.dedup.find_overlap(test, train)
    drop = pl.concat([jd.dedup.extra_copies(jd.dedup.group_pairs(pairs), catalog), overlap["train_image"]]).unique()
    room = len(catalog) - len(drop)
    sizes = [*SIZES[:-1], room]  # the largest is all that is left
    print(
        f"{len(catalog)} images, {len(pairs)} near-duplicate pairs, {len(overlap)} test images with a copy; {room} left"
    )
    tag = f"cpu{len(os.sched_getaffinity(0))}_{datetime.date.today():%Y%m}"
    for last in range(1, len(SEEDS) + 1):
        results = jd.study.data_size(
            catalog,
            jd.recipes.tiny(total_epochs=epochs),
            data=cifar,
            sizes=sizes,
            seeds=SEEDS[:last],
            out=out / "study",
            tasks=("knn", "linear-probe"),
            without=drop.to_numpy(),
        )
        results.rows.write_csv(RESULTS / f"figure4_tiny_imagenet_{tag}.csv")
        fits = jd.study.fit_log(results)
        fits.write_csv(RESULTS / f"figure4_tiny_imagenet_fits_{tag}.csv")
        print(fits.select("task", "metric", "slope", "slope_low", "slope_high", "r2"))


if __name__ == "__main__":
    main()
