"""Figure 4 on real images: subsets of Tiny ImageNet, even and with a long tail, a ResNet-10 at 32 pixels, judged on photographs.

`python benchmarks/paper/figure4_tiny_imagenet.py DATA OUT [--epochs N]`, where DATA holds `tiny_imagenet/` (Parquet), `cifar10_small/`,
`imagenette_folder/` and `hierarchies/`. All sizes have the same number of epochs, as in the paper, and three seeds. A checkpoint goes
through kNN, a linear probe (both frozen) and fine-tuning on CIFAR-10 and on Imagenette, of which there are 200 images to learn from and
50 to be judged on. Near-duplicates are left out of pretraining, and copies of images of these two sets.

- `even`: nested random subsets of the 30,000 images, which have 150 of each of 200 labels.
- `long`: the same numbers of images, nested in a set made by `subset.cap`: at most 150 / sqrt(rank) images of a label, labels ranked
  anew for each seed. It goes from 150 images of the first label to 11 of the last, 4,030 in all, so there are no larger sizes.

Goes on where it was stopped. After every checkpoint it writes `benchmarks/results/figure4_tiny_imagenet_<hardware>_<yyyymm>.csv` (every
score) and `..._fits_<hardware>_<yyyymm>.csv`: the logarithmic fit through all sizes; what a fit through all but the largest predicts
there (`predicted`, with its 95% interval for one run); the mean of the seeds (`found`); and `error`, found less predicted.
"""

import argparse
import dataclasses
import datetime
import os
from pathlib import Path

import numpy as np
import polars as pl

import jftdata as jd
from jftdata.hashing import keyed_order
from jftdata.study import Arm, Judge, Study, cells, run, size_arms, table
from jftdata.transfer.classification import RECIPES

RESULTS = Path(__file__).parent.parent / "results"
SIZES = (400, 1_250, 4_000, 11_000)  # and all that are left
LONG = (400, 1_250, 4_000)
SEEDS = (0, 1, 2)
TUNED = {"cifar": 2, "imagenette": 12}  # epochs of fine-tuning
A_LABEL = 150  # images of each label
BY = ("tail", "test_set", "task", "mode", "metric")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=float, default=5.0, help="passes over each subset")
    asked = parser.parse_args()
    data, out = asked.data, asked.out
    wordnet = data / "hierarchies" / "hiercls_tiny_imagenet_fiveai"
    tree = jd.Hierarchy.load_edges(f"{wordnet}.edges.tsv", names=f"{wordnet}.nodes.tsv")
    files = [data / "tiny_imagenet" / "train.parquet"]
    catalog = jd.sources.from_hub(files, label="wnid", hierarchy=tree, out=out / "tiny.catalog")
    cifar_file = data / "cifar10_small" / "cifar10_small.parquet"
    tests = {
        "cifar": jd.sources.from_hub(cifar_file, label="class_name", out=out / "cifar.catalog"),
        "imagenette": jd.sources.from_folder(data / "imagenette_folder", out=out / "imagenette.catalog"),
    }
    source = jd.subset.without(catalog, images=left_out(catalog, tests, out))
    study = study_of(source, tests, jd.recipes.tiny(total_epochs=asked.epochs, image_size=32))
    names = {test.fingerprint: name for name, test in tests.items()}
    first = cells(study)[0].name

    def keep(cell) -> None:  # type: ignore[no-untyped-def]
        if cell.judge is None and cell.name != first:
            write(table(study, out), names)

    write(run(study, out=out, on_cell=keep), names)


def left_out(catalog: jd.Catalog, tests: dict[str, jd.Catalog], out: Path) -> np.ndarray:
    """Ids of images that are extra copies of others or copies of test images, by the similarity of descriptors."""
    ours = jd.embed.run(catalog, out=out / "tiny.embeddings")
    found = [jd.dedup.extra_copies(jd.dedup.group_pairs(jd.dedup.find_pairs(ours)), catalog)]
    for name, test in tests.items():
        theirs = jd.embed.run(test, out=out / f"{name}.embeddings")
        found.append(jd.dedup.find_overlap(theirs, ours)["train_image"])
    print(
        f"of {len(catalog)} images left out: {len(found[0])} extra copies; copies of test images: {[len(x) for x in found[1:]]}"
    )
    return pl.concat(found).unique().sort().to_numpy()


def long_tailed(source: jd.Subset, seed: int) -> jd.Subset:
    """At most 150 / sqrt(rank) images of each label, ranked by seed."""
    used = source.counts.filter(pl.col("num_given") > 0)["label"].sort().to_list()
    order = keyed_order(np.arange(len(used)), seed=seed, stream="figure 4 long tail")
    most = {used[label]: max(1, round(A_LABEL / (rank + 1) ** 0.5)) for rank, label in enumerate(order.tolist())}
    return jd.subset.cap(source, most=most, seed=seed)


def study_of(source: jd.Subset, tests: dict[str, jd.Catalog], recipe) -> Study:  # type: ignore[no-untyped-def]
    long = [
        Arm(
            name=f"long-{num}", subset=lambda seed, num=num: jd.subset.sample(long_tailed(source, seed), size=num, seed=seed),
            num_images=num, recipe=recipe, factors={"tail": "long"},
        )
        for num in LONG
    ]  # fmt: skip
    judges = []
    for name, test in tests.items():
        judges += [
            Judge(task=task, data=lambda test=test: test, name=f"{name}-{task}") for task in ("knn", "linear-probe")
        ]
        tuned = dataclasses.replace(RECIPES["tiny"], epochs=TUNED[name])
        judges.append(Judge(task="classification", data=lambda test=test: test, recipe=tuned, name=f"{name}-finetuned"))
    return Study(
        name="figure-4-tiny-imagenet",
        question="What would more photographs buy?",
        arms=[*size_arms(source, recipe, sizes=[*SIZES, len(source)], factors={"tail": "even"}), *long],
        judges=judges,
        seeds=SEEDS,
        by=("tail",),
    )


def write(scores: pl.DataFrame, names: dict[str, str]) -> None:
    """Every score so far, and the fits."""
    if not len(scores):
        return
    tag = f"cpu{len(os.sched_getaffinity(0))}_{datetime.date.today():%Y%m}"
    scores = scores.with_columns(test_set=pl.col("data").replace_strict(names))
    scores.write_csv(RESULTS / f"figure4_tiny_imagenet_{tag}.csv")
    enough = pl.col("num_train_images").filter(pl.col("num_train_images") > 0).n_unique().over(BY) > 1
    rows = scores.filter(enough)
    if len(rows):
        found = jd.study.fit_log(rows, by=BY).join(held_out(rows), on=BY, how="left")
        found.sort(BY).write_csv(RESULTS / f"figure4_tiny_imagenet_fits_{tag}.csv")
        with pl.Config(tbl_rows=40):
            print(found.sort(BY).select(*BY, "slope", "slope_low", "slope_high", "r2", "error"))


def held_out(scores: pl.DataFrame) -> pl.DataFrame:
    """What the fit through all sizes but the largest says of it; curves of three sizes and more."""
    size = pl.col("num_train_images")
    scores = scores.filter(size.filter(size > 0).n_unique().over(BY) > 2)
    largest = size == size.max().over(BY)
    rows = []
    for fit in jd.study.fit_log(scores.filter(~largest), by=BY).iter_rows(named=True) if len(scores) else ():
        own = scores.filter(largest, *(pl.col(name) == fit[name] for name in BY))
        predicted, low, high = jd.study.predict(fit, x=own["num_train_images"][0])
        found = own["value"].mean()
        rows.append({name: fit[name] for name in BY} | {
            "predicted": predicted, "predicted_low": low, "predicted_high": high, "found": found, "error": found - predicted,
        })  # fmt: skip
    numbers = ("predicted", "predicted_low", "predicted_high", "found", "error")
    return pl.DataFrame(rows, schema={**dict.fromkeys(BY, pl.String()), **dict.fromkeys(numbers, pl.Float64())})


if __name__ == "__main__":
    main()
