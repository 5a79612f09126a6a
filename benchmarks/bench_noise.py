"""Finding wrong labels: against cleanlab on the same out-of-sample probabilities, and at a million images of 18,291 labels.

`python benchmarks/bench_noise.py FOLDER [--data DATA] [--world-net DIR] [--tiny-net DIR]
[--epochs N] [--only quality|confusions|scale]`.
FOLDER keeps what is made on the way. Sets: the built-in world, embedded by a net pretrained on a world of another seed; 10,000 images
of Tiny ImageNet (DATA/tiny_imagenet) that the net was not pretrained on; and 6,000 of CIFAR-10 (DATA/cifar10_small) with a net that
saw none of them. One label an image (in the world that of its main object). Labels are replaced by any other (symmetric) or by one of
the three nearest in the hierarchy (confusable; in CIFAR-10, which has none, by the one it is taken for most). The world is also taken
as it is, with its own noise. Probabilities are `noise.cross_validated` ones of all labels, the same for both; cleanlab gets them
dense. jftdata is also given the embeddings, whose neighbours it uses; `jftdata, probabilities` shows it without. The figure is the
area under precision-recall (average precision) of finding the wrong labels. The confusions run takes worlds of three other seeds as
they are, with several labels an image: how many of the first pairs are planted confusable ones, and how many of those planted ten
times or more are among the first twice as many; `truth` has vectors made from the true labels in place of the net's. The scale run
has ten probabilities an image, made up. Writes `results/noise_<hardware>_<yyyymm>.csv`, `results/noise_confusions_...` and
`results/noise_scale_...`. Needs the `bench` group.
"""

import argparse
import json
import time
from pathlib import Path

import measuring
import numpy as np
import polars as pl

CIFAR_TAKEN_FOR = {"airplane": "bird", "automobile": "truck", "bird": "airplane", "cat": "dog", "deer": "horse", "dog": "cat",
                   "frog": "bird", "horse": "deer", "ship": "airplane", "truck": "automobile"}  # fmt: skip


def pretrained(folder: Path, name: str, subset, epochs: float):  # type: ignore[no-untyped-def]
    from jftdata import pretrain, recipes

    return pretrain.run(
        subset, recipes.tiny(total_epochs=epochs, image_size=32 if name == "world" else 64), out=folder / f"{name}.net"
    )


def world_set(folder: Path, epochs: float, checkpoint: Path | None):  # type: ignore[no-untyped-def]
    """Embeddings, true label and given label of images with one given label."""
    import jftdata as jd

    tree = jd.Hierarchy.load("world")
    catalogs = []
    for seed in (0, 5):
        files = jd.world.write(
            folder / f"world{seed}", num_images=10_000, seed=seed, num_eval=0, num_clean_train=0, num_clean_test=0
        )
        catalogs.append(
            jd.sources.from_hub(files.train, label="labels", hierarchy=tree, out=folder / f"world{seed}.catalog")
        )
    net = (
        jd.Checkpoint.open(checkpoint)
        if checkpoint
        else pretrained(folder, "world", jd.subset.everything(catalogs[0]), epochs)
    )
    catalog = catalogs[1]
    embeddings = jd.embed.run(catalog, embedder=net, out=folder / "world.embeddings")
    named = catalog.scan().select("image", "labels", path=pl.col("source").str.extract(r":([^:]+)$")).collect()
    objects = pl.read_parquet(files.truth_objects)
    main = objects.select("path", true=pl.col("labels").list.first())
    errors = pl.read_parquet(files.truth_labels).select("path", "label", "error")
    one = (
        named.filter(pl.col("labels").list.len() == 1)
        .join(main, on="path")
        .join(errors, on="path")
        .unique("image")
        .sort("image")
    )
    index = {label: i for i, label in enumerate(tree.labels)}
    true = np.array([index[x] for x in one["true"]])
    own = (np.array([index[x] for x in one["label"]]), (one["error"] != "").to_numpy())
    return tree, embeddings.select(one["image"].to_numpy()), true, own


def photo_set(folder: Path, data: Path, name: str, epochs: float, checkpoint: Path | None):  # type: ignore[no-untyped-def]
    import jftdata as jd

    trees = data / "hierarchies" / "hiercls_tiny_imagenet_fiveai"
    tree = jd.Hierarchy.load_edges(f"{trees}.edges.tsv", names=f"{trees}.nodes.tsv")
    tiny = jd.sources.from_hub(
        data / "tiny_imagenet" / "train.parquet", label="wnid", hierarchy=tree, out=folder / "tiny.catalog"
    )
    (seen,) = jd.subset.nested(tiny, sizes=[20_000], seed=0)
    net = jd.Checkpoint.open(checkpoint) if checkpoint else pretrained(folder, "tiny", seen, epochs)
    catalog = tiny
    if name == "cifar10":
        catalog = jd.sources.from_hub(
            data / "cifar10_small" / "cifar10_small.parquet", label="class_name", out=folder / "cifar.catalog"
        )
    embeddings = jd.embed.run(catalog, embedder=net, out=folder / f"{name}.embeddings")
    if name != "cifar10":
        embeddings = embeddings.select(np.setdiff1d(embeddings.images, seen.images))
    true = catalog.rows(embeddings.images, columns=["labels"])["labels"].list.first().to_numpy()
    return catalog.hierarchy, embeddings, true, None


def plant(tree, images, true, kind: str, rate: float):  # type: ignore[no-untyped-def]
    """Given labels: who is wrong and what is given instead are keyed hashes of the image."""
    from jftdata.hashing import keyed_hash, uniform
    from jftdata.hierarchy import evaluation

    labels = np.unique(true)
    who, what = (uniform(keyed_hash(images, seed=1, stream=s)) for s in ("bench who", "bench what"))
    given = true.copy()
    near = {}
    for label in labels:
        others = labels[labels != label]
        if kind == "confusable":
            if len(labels) == 10:
                others = np.array([tree.index(CIFAR_TAKEN_FOR[tree.labels[label]])])
            else:
                edges = evaluation.distances(tree, np.full(len(others), label), others).astype(float)
                others = others[np.argsort(np.where(edges < 0, 1e9, edges), kind="stable")[:3]]
        near[label] = others
    for i in np.flatnonzero(who < rate):
        others = near[true[i]]
        given[i] = others[int(what[i] * len(others))]
    return given, given != true


def compare(name: str, tree, embeddings, given, wrong) -> dict[str, object]:  # type: ignore[no-untyped-def]
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.metrics import average_precision_score

    from jftdata import noise
    from jftdata.noise.given import of

    labels = of(tree, embeddings.images, np.ones(len(given), np.int64), given.astype(np.int32))
    used = np.unique(given[labels.counts[given] >= 5])
    keep = np.isin(given, used)  # cleanlab needs a probability for every label
    embeddings, given, wrong = embeddings.select(embeddings.images[keep]), given[keep], wrong[keep]
    labels = of(tree, embeddings.images, np.ones(len(given), np.int64), given.astype(np.int32))
    began = time.perf_counter()
    found = noise.cross_validated(labels, embeddings, top_k=len(used))
    fitted = time.perf_counter() - began
    modelled = np.unique(found.index)
    keep = np.isin(given, modelled)
    dense = np.zeros((len(given), len(modelled)))
    dense[np.repeat(np.arange(len(given)), np.diff(found.start)), np.searchsorted(modelled, found.index)] = found.value
    y, p = np.searchsorted(modelled, given[keep]), dense[keep] / dense[keep].sum(axis=1, keepdims=True)
    row: dict[str, object] = {
        "set": name,
        "num_images": int(keep.sum()),
        "num_labels": len(modelled),
        "share_wrong": round(wrong[keep].mean(), 4),
        "top1_of_given": round(float((p.argmax(axis=1) == y).mean()), 4),
        "fit_seconds": round(fitted, 1),
    }
    area = lambda s: round(float(average_precision_score(wrong[keep], s)), 4)  # noqa: E731
    began = time.perf_counter()
    rivals = {}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        rivals[f"cleanlab {method}"] = area(-get_label_quality_scores(y, p, method=method))
    for adjusted in ("self_confidence", "normalized_margin"):
        rivals[f"cleanlab {adjusted} adjusted"] = area(
            -get_label_quality_scores(y, p, method=adjusted, adjust_pred_probs=True)
        )
    issues = find_label_issues(y, p, return_indices_ranked_by="self_confidence", n_jobs=1)
    order = 1 - p[np.arange(len(y)), y]
    order[issues] = 2 + np.arange(len(issues))[::-1]
    rivals["cleanlab find_label_issues"] = area(order)
    row["cleanlab_seconds"] = round(time.perf_counter() - began, 1)
    began = time.perf_counter()
    audit = noise.audit(labels, embeddings, signals=["neighbours", "probabilities"], probabilities=found).sort("image")
    row["jftdata_seconds"] = round(time.perf_counter() - began, 1)
    row["jftdata"] = area(audit["wrong"].to_numpy()[keep])
    row["jftdata, probabilities"] = area(
        noise.audit(labels, probabilities=found).sort("image")["wrong"].to_numpy()[keep]
    )
    row["jftdata share wrong"] = round(float(audit["wrong"].mean()), 4)
    row |= rivals
    row["cleanlab best"] = max(rivals.values())
    row["ahead"] = round(row["jftdata"] - row["cleanlab best"], 4)  # type: ignore[operator]
    return row


def quality(folder: Path, data: Path | None, epochs: float, world_net: Path | None, tiny_net: Path | None) -> None:
    rows: list[dict[str, object]] = []
    for name in ("world", *(("tiny_imagenet", "cifar10") if data else ())):
        if name == "world":
            tree, embeddings, true, own = world_set(folder, 4.0, world_net)
        else:
            tree, embeddings, true, own = photo_set(folder, data, name, epochs, tiny_net)  # type: ignore[arg-type]
        plans = [(kind, rate) for kind in ("symmetric", "confusable") for rate in (0.1, 0.2, 0.4)]
        if own is not None:
            plans.insert(0, ("as it is", 0.2))
        for kind, rate in plans:
            given, wrong = own if kind == "as it is" and own else plant(tree, embeddings.images, true, kind, rate)
            row = {**compare(name, tree, embeddings, given, wrong)}
            rows.append({"set": row.pop("set"), "noise": kind, "rate": rate, **row})
            print(rows[-1], flush=True)
            measuring.write("noise", rows)


def confused(folder: Path, epochs: float, checkpoint: Path | None) -> None:
    """Worlds that no constant was chosen on."""
    import jftdata as jd
    from jftdata.embeddings import Embeddings

    tree, alike, rows = jd.Hierarchy.load("world"), jd.world.confusables(), []

    def made(seed: int):  # type: ignore[no-untyped-def]
        files = jd.world.write(
            folder / f"world{seed}", num_images=10_000, seed=seed, num_eval=0, num_clean_train=0, num_clean_test=0
        )
        return files, jd.sources.from_hub(
            files.train, label="labels", hierarchy=tree, out=folder / f"world{seed}.catalog"
        )

    net = (
        jd.Checkpoint.open(checkpoint)
        if checkpoint
        else pretrained(folder, "world", jd.subset.everything(made(0)[1]), epochs)
    )
    leaf = dict(zip(alike, np.random.default_rng(0).normal(size=(len(alike), 64)) / 8, strict=True))
    for seed in (7, 8, 9):
        files, catalog = made(seed)
        named = catalog.scan().select("image", path=pl.col("source").str.extract(r":([^:]+)$")).collect()
        shown = dict(named.join(pl.read_parquet(files.truth_objects), on="path").select("image", "labels").iter_rows())
        errors = named.join(pl.read_parquet(files.truth_labels), on="path").unique(["image", "label"])
        planted: dict[tuple[str, str], int] = {}
        for image, given in errors.filter(pl.col("error") == "confusable").select("image", "label").iter_rows():
            for true in [x for x in shown[image] if given in alike[x]][:1]:
                planted[given, true] = planted.get((given, true), 0) + 1
        often = {pair for pair, num in planted.items() if num >= 10}
        net_vectors = jd.embed.run(catalog, embedder=net, out=folder / f"world{seed}.embeddings")
        x = [sum(leaf[t] * (0.4 if k else 1) for k, t in enumerate(shown[i])) for i in net_vectors.images.tolist()]
        x = np.array(x) + 0.1 * np.random.default_rng(seed).normal(size=(len(x), 64))
        x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        for name, vectors in {"net": net_vectors, "truth": Embeddings.of(x, net_vectors.images, embedder="t")}.items():
            audit = jd.noise.audit(catalog, vectors, signals=["neighbours", "probabilities"])
            pairs = jd.noise.confusions(audit, tree).select("given", "shown").rows()
            told = errors.filter(pl.col("error") != "").join(audit, on=["image", "label"])
            hits = [other in shown[i] for i, other in told.select("image", "other_label").iter_rows()]
            right = [given in alike.get(other, ()) for given, other in pairs[:50]]
            joined = audit.drop_nulls("wrong").join(errors, on=["image", "label"], how="left")
            rows.append({
                "seed": seed, "vectors": name, "num_images": len(catalog), "num_given": len(audit),
                "share_wrong": round(len(told) / len(audit), 4), "average_precision": round(precision(joined), 4),
                "planted_of_first_20": sum(right[:20]), "planted_of_first_50": sum(right), "planted_ten_times": len(often),
                "found_of_them": len(often & set(pairs[: 2 * len(often)])), "true_label_named": round(np.mean(hits), 4),
            })  # fmt: skip
            print(rows[-1], flush=True)
            measuring.write("noise_confusions", rows)


def precision(joined: pl.DataFrame) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(joined["error"].fill_null("") != "", joined["wrong"]))


def scale(folder: Path, num_images: int) -> dict[str, object]:
    """A fifth of the given labels is wrong, half of these by a sibling of the true one."""
    from jftdata import noise, world
    from jftdata.noise.given import Given

    catalog = world.jft300m(num_images, seed=0, out=folder / f"jft{num_images}")
    truth = noise.read(catalog)
    tree, rng = truth.tree, np.random.default_rng(0)
    parent = np.array([p[0] if p else -1 for p in tree.parent_lists])
    order = np.argsort(parent, kind="stable")

    def sibling(of):  # type: ignore[no-untyped-def]
        first, last = (
            np.searchsorted(parent[order], parent[of]),
            np.searchsorted(parent[order], parent[of], side="right"),
        )
        return order[first + (rng.random(len(of)) * (last - first)).astype(np.int64)]

    true = truth.index.astype(np.int64)
    wrong = rng.random(len(true)) < 0.2
    random = truth.index[rng.integers(0, len(true), len(true))]
    given_index = np.where(wrong, np.where(rng.random(len(true)) < 0.5, sibling(true), random), true).astype(np.int32)
    wrong = given_index != true
    given = Given(tree, truth.images, truth.start, given_index)
    n = len(truth.images)
    main = true[truth.start[:-1]]
    labels = np.concatenate(
        [main[:, None], sibling(np.repeat(main, 4)).reshape(n, 4), true[rng.integers(0, len(true), (n, 5))]], axis=1
    )
    logits = rng.normal(0, 1.5, labels.shape)
    logits[:, 0] += 3
    values = np.exp(logits)
    values *= 0.95 / values.sum(axis=1, keepdims=True)
    own = np.repeat(np.arange(n), np.diff(given.start))
    keys = np.concatenate(
        [(np.arange(n)[:, None] * tree.num_labels + labels).ravel(), own * tree.num_labels + given_index]
    )
    values = np.concatenate([values.ravel(), rng.random(len(own)) * 0.001])
    keys, at = np.unique(keys, return_index=True)
    start = np.searchsorted(keys // tree.num_labels, np.arange(n + 1))
    found = noise.Probabilities(
        tree, truth.images, start, (keys % tree.num_labels).astype(np.int32), values[at].astype(np.float32), True
    )
    del truth, labels, logits, values, keys, at, own
    import gc
    import resource

    gc.collect()
    row: dict[str, object] = {
        "num_images": n,
        "num_labels": tree.num_labels,
        "num_given": len(given_index),
        "num_probabilities": len(found.index),
    }
    row["gib_before"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    spans = {}

    def timed(what, make):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        out = make()
        spans[what] = round(time.perf_counter() - began, 1)
        return out

    audit = timed("scores", lambda: noise.audit(given, probabilities=found))
    pairs = timed("confusions", lambda: noise.confusions(audit, tree))
    ranked = timed("labels", lambda: noise.by_label(audit, tree))
    missing = timed("missing", lambda: noise.missing(given, found))
    row |= {f"{k}_seconds": v for k, v in spans.items()} | {"seconds": round(sum(spans.values()), 1)}
    row |= {
        "num_pairs": len(pairs),
        "num_labels_ranked": len(ranked),
        "num_missing": len(missing),
        "wrong_estimated": round(float(audit["wrong"].mean()), 4),
        "wrong_planted": round(float(wrong.mean()), 4),
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--world-net", type=Path, help="a checkpoint pretrained on another world, to save the time")
    parser.add_argument("--tiny-net", type=Path, help="one pretrained on some of the 20,000 images of Tiny ImageNet")
    parser.add_argument("--epochs", type=float, default=12.0)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("quality", "confusions", "scale", "scale-here"))
    asked = parser.parse_args()
    if asked.only == "scale-here":
        print(json.dumps(scale(asked.folder, asked.images)))
        return
    if asked.only in (None, "quality"):
        quality(asked.folder, asked.data, asked.epochs, asked.world_net, asked.tiny_net)
    if asked.only in (None, "confusions"):
        confused(asked.folder, 4.0, asked.world_net)
    if asked.only in (None, "scale"):
        row = measuring.alone(asked.folder, "--images", asked.images, "--only", "scale-here")
        print(row)
        measuring.write("noise_scale", [row])


if __name__ == "__main__":
    main()
