"""Does label noise matter? Pretraining on labels as given, with the suspicious ones taken away, corrected, and on the true ones.

`python benchmarks/paper/noise_matters.py DATA OUT [--sets world tiny_imagenet] [--epochs N]`, where DATA holds `tiny_imagenet/`,
`cifar10_small/` and `hierarchies/`. The world has its own noise and is judged on its clean set; of 5,000 images of Tiny ImageNet 30%
of the labels are replaced, half by any other, half by the nearest in the tree, and it is judged on CIFAR-10. The audit sees what a user
has: the features of a net pretrained on the noisy labels themselves, cross-validated probabilities and neighbours. How many labels are
wrong is estimated from 300 answers (taken from the truth); so many of the most suspicious are taken away, or replaced by the label the
audit names. All runs of a set see the same number of images. Going on where it stopped, it writes
`benchmarks/results/noise_matters_<hardware>_<yyyymm>.csv` (every score) after every run.
"""

import argparse
import datetime
import os
from pathlib import Path

import numpy as np
import polars as pl

RESULTS = Path(__file__).parent.parent / "results"
SEEDS = (0, 1, 2)
TASKS = ("knn", "linear-probe")
SIZE = 32
JUDGED = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", default=["world", "tiny_imagenet"])
    parser.add_argument("--epochs", type=float, default=7.0, help="passes over the set with all of its labels")
    asked = parser.parse_args()
    rows: list[dict[str, object]] = []
    for name in asked.sets:
        noisy, true, task, truth = (world if name == "world" else tiny_imagenet)(asked.data, asked.out)
        study(name, noisy, true, task, truth, asked.out / name, asked.epochs, rows)


def world(data: Path, out: Path):  # type: ignore[no-untyped-def]
    """The world's noisy set, the same without its wrong labels, its clean set, and which labels are wrong."""
    import jftdata as jd
    from jftdata.relabel import CHANGES, relabel

    tree = jd.Hierarchy.load("world")
    files = jd.world.write(out / "world.files", num_images=3000, seed=21, num_eval=0)
    noisy = jd.sources.from_hub(files.train, label="labels", hierarchy=tree, out=out / "world.noisy")
    task = jd.sources.from_hub(files.clean, label="label", out=out / "world.task")
    told = pl.read_parquet(files.truth_labels).filter(pl.col("error") != "")
    named = noisy.scan().select("image", pl.col("source").str.split(":").list.last().alias("path")).collect()
    given = {i: {tree.labels[x] for x in own} for i, own in noisy.scan().select("image", "labels").collect().rows()}
    wrong = told.join(named, on="path").select("image", "label").unique().sort("image", "label")
    wrong = wrong.filter([label in given[image] for image, label in wrong.rows()])
    true = relabel(noisy, wrong.with_columns(new_label=pl.lit(None)).cast(CHANGES), out=out / "world.true")
    return noisy, true, task, wrong


def tiny_imagenet(data: Path, out: Path):  # type: ignore[no-untyped-def]
    """5,000 images with planted noise, the same without it, CIFAR-10, and which labels are wrong."""
    import jftdata as jd
    from jftdata.hashing import keyed_hash, keyed_order, uniform
    from jftdata.relabel import CHANGES, relabel

    trees, name = data / "hierarchies", "hiercls_tiny_imagenet_fiveai"
    tree = jd.Hierarchy.load_edges(trees / f"{name}.edges.tsv", names=trees / f"{name}.nodes.tsv")
    rows = pl.read_parquet(data / "tiny_imagenet" / "train.parquet")
    some = np.sort(keyed_order(np.arange(len(rows)), seed=0, stream="noise matters")[:5_000])
    (out / "tiny").mkdir(parents=True, exist_ok=True)
    if not (out / "tiny" / "some.parquet").exists():
        rows[some].write_parquet(out / "tiny" / "some.parquet")
    true = jd.sources.from_hub([out / "tiny" / "some.parquet"], label="wnid", hierarchy=tree, out=out / "tiny.true")
    task = jd.sources.from_hub(
        data / "cifar10_small" / "cifar10_small.parquet", label="class_name", out=out / "cifar.task"
    )
    frame = true.scan().select("image", pl.col("labels").list.first()).collect().sort("image")
    ids, own = frame["image"].to_numpy(), frame["labels"].to_numpy()
    used = np.unique(own)
    draws = [uniform(keyed_hash(ids, seed=0, stream=f"noise matters/{what}")) for what in ("whether", "which")]
    near = {x: nearest_labels(tree, x, used) for x in used}
    new = np.empty(len(ids), np.int64)
    for i, x in enumerate(own):
        others = near[x] if draws[0][i] < 0.15 else used[used != x]
        new[i] = others[int(draws[1][i] * len(others))]
    hit = draws[0] < 0.3
    names = np.array(tree.labels, dtype=object)
    changes = pl.DataFrame(
        {"image": ids[hit], "label": list(names[own[hit]]), "new_label": list(names[new[hit]])}, schema=CHANGES
    )
    noisy = relabel(true, changes, out=out / "tiny.noisy")
    return noisy, true, task, changes.select("image", label="new_label")


def nearest_labels(tree, label: int, used: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The three labels in use that share most ancestors."""
    above = set(tree.ancestor_ids(label).tolist())
    shared = [len(above & set(tree.ancestor_ids(int(x)).tolist())) if x != label else -1 for x in used]
    return used[np.argsort(-np.array(shared), kind="stable")[:3]]


def study(name, noisy, true, task, wrong, out, epochs, rows) -> None:  # type: ignore[no-untyped-def]
    import jftdata as jd
    from jftdata.relabel import CHANGES, relabel

    first = jd.pretrain.run(
        jd.subset.everything(noisy), jd.recipes.tiny(total_epochs=epochs, image_size=SIZE), out=out / "given-0"
    )
    vectors = jd.embed.run(noisy, embedder=first, out=out / "vectors")
    audit = jd.noise.audit(noisy, vectors)
    sample = jd.precision.sample(noisy, num=JUDGED, seed=0, scores=audit)
    told = sample.join(wrong.with_columns(answer=pl.lit("no")), on=["image", "label"], how="left")
    answers = told.select("image", "label", pl.col("answer").fill_null("yes"))
    estimate = jd.precision.estimate(sample, answers).row(0, named=True)
    called = audit.drop_nulls("wrong").head(round((1 - estimate["precision"]) * len(audit)))
    hits = len(called.join(wrong, on=["image", "label"]))
    print(
        f"{name}: {len(wrong):,} of {len(audit):,} labels wrong; precision by {JUDGED} answers {estimate['precision']:.3f} "
        f"({estimate['low']:.3f} to {estimate['high']:.3f}); {len(called):,} called wrong, {hits:,} of them rightly"
    )
    gone = called.select("image", "label", new_label=pl.lit(None, pl.String))
    other = called.select("image", "label", new_label="other_label")
    catalogs = {
        "as given": noisy,
        "called wrong, removed": relabel(noisy, gone.cast(CHANGES), out=out / "removed"),
        "called wrong, corrected": relabel(noisy, other.cast(CHANGES), out=out / "corrected"),
        "true": true,
    }
    seen = epochs * len(noisy)
    for seed in SEEDS:
        for how, catalog in catalogs.items():
            config = jd.recipes.tiny(total_epochs=seen / len(catalog), image_size=SIZE, seed=seed)
            at = out / (
                "given-0" if how == "as given" and seed == 0 else f"{how.replace(' ', '-').replace(',', '')}-{seed}"
            )
            net = jd.pretrain.run(jd.subset.everything(catalog), config, out=at)
            for judge in TASKS:
                found = jd.transfer.run(net, task=judge, data=task, out=out / "scores" / f"{at.name}-{judge}")
                for row in found.rows.iter_rows(named=True):
                    rows.append({
                        "set": name, "labels": how, "seed": seed, "task": judge, "metric": row["metric"],
                        "value": row["value"], "low": row["low"], "high": row["high"], "num_images": len(catalog),
                        "num_images_seen": net.sidecar.facts["num_images_seen"], "labels_wrong": len(wrong),
                        "labels_called_wrong": len(called), "called_rightly": hits,
                    })  # fmt: skip
            tag = f"cpu{len(os.sched_getaffinity(0))}_{datetime.date.today():%Y%m}"
            pl.DataFrame(rows).write_csv(RESULTS / f"noise_matters_{tag}.csv")
    table = (
        pl.DataFrame(rows)
        .filter(pl.col("set") == name)
        .group_by("task", "metric", "labels")
        .agg(
            pl.col("value").mean().alias("mean"),
            pl.col("value").min().alias("least"),
            pl.col("value").max().alias("most"),
        )
    )
    with pl.Config(tbl_rows=40):
        print(table.sort("task", "metric", "labels"))


if __name__ == "__main__":
    main()
