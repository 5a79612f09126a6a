"""What a choice by content is worth against one at random, and what it costs; `python benchmarks/bench_spread.py DATA`.

DATA holds cifar10_small/ and tiny_imagenet/. Of each set a tenth is held out (`subset.split`), of the rest 2% and 10% are chosen
in every way; radius and similarity are those of `subset.coverage` over the rest, knn the share of held-out images whose most similar
chosen image has one of their labels. Random choices are the mean of five seeds. `planted` is CIFAR-10 with four copies, of the kinds
of `COPIES`, of one image in ten, thinned out to its number of originals: copies_left is how many of an image and its four copies
stay (one is best), kept the share of these images of which at least one stays, others the share of images without copies that stay.
`speed` are drawn vectors of 256 dimensions in 20,000 loose clusters, taken once; seconds include reading them.
Writes `results/spread_<hardware>_<yyyymm>.csv`.
"""

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measuring
import numpy as np
import polars as pl
import pyarrow.parquet as pq
from bench_join import vectors

from jftdata import __version__, embed, images, neighbors, sources, subset, world
from jftdata.catalog import Catalog
from jftdata.changes import change
from jftdata.embeddings import Embeddings
from jftdata.hashing import keyed_order
from jftdata.subset import Subset

COPIES = ("recompressed", "recoloured", "cropped_90", "blurred")
Choose = Callable[[Subset, Embeddings, int, int], Subset]
WAYS: dict[str, Choose] = {
    "sample": lambda s, e, n, seed: subset.sample(s, size=n, seed=seed),
    "k_center": lambda s, e, n, seed: subset.k_center(s, embeddings=e, size=n, seed=seed),
    "facility_location": lambda s, e, n, seed: subset.facility_location(s, embeddings=e, size=n, seed=seed),
    "prototypes": lambda s, e, n, seed: subset.prototypes(s, embeddings=e, size=n),
    "prototypes hardest": lambda s, e, n, seed: subset.prototypes(s, embeddings=e, size=n, hardest=True),
    "prototypes all": lambda s, e, n, seed: subset.prototypes(s, embeddings=e, size=n, per="all", seed=seed),
    "sem_dedup": lambda s, e, n, seed: subset.sem_dedup(s, embeddings=e, share=n / len(s), seed=seed),
    "sem_dedup, one cluster": lambda s, e, n, seed: subset.sem_dedup(
        s, embeddings=e, share=n / len(s), seed=seed, num_clusters=1
    ),
}
FAST = ("k_center", "facility_location", "prototypes all", "sem_dedup")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--parts", nargs="+", choices=("cifar10", "tiny_imagenet", "planted", "speed"),
        default=["cifar10", "tiny_imagenet", "planted", "speed"],
    )  # fmt: skip
    parser.add_argument("--embedder", default="descriptor")
    parser.add_argument("--num", type=int, default=1_000_000, help="vectors of the part `speed`")
    parser.add_argument("--images", type=int, default=10_000, help="images of a set, at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.parts:
            if name == "speed":
                rows += speed(given.num, given.seed, Path(folder))
            elif name == "planted":
                rows += planted(given.data, given.embedder, given.images, given.seed, Path(folder) / name)
            else:
                rows += quality(name, given.data, given.embedder, given.images, given.seed, Path(folder) / name)
    about = {"seed": given.seed, "jftdata": __version__, "python": platform.python_version(), "cores": measuring.CORES}
    made = pl.DataFrame([row | about for row in rows], infer_schema_length=None)
    with pl.Config(tbl_rows=60, tbl_cols=20, tbl_hide_dataframe_shape=True, tbl_width_chars=200):
        print(made)
    to = measuring.csv_path("spread")
    if to.exists():
        kept = pl.read_csv(to).filter(~pl.col("part").is_in(given.parts))
        made = pl.concat([kept, made], how="diagonal_relaxed")
    measuring.write("spread", made.sort("part", maintain_order=True))


def quality(name: str, data: Path, embedder: str, count: int, seed: int, to: Path) -> list[dict[str, object]]:
    catalog = read(name, data, count, seed, to)
    embeddings = embed.run(catalog, embedder=embedder, out=to / "e")
    labels = dict(catalog.scan().select("image", "labels").collect().iter_rows())
    parts = subset.split(catalog, shares={"rest": 0.9, "held out": 0.1}, seed=seed)
    rest, asked = parts["rest"], embeddings.select(parts["held out"].images)
    rows = []
    for share in (0.02, 0.1):
        size = round(share * len(rest))
        for way in WAYS:
            found = []
            for s in range(seed, seed + (5 if way == "sample" else 1)):
                began = time.perf_counter()
                chosen = WAYS[way](rest, embeddings, size, s)
                seconds = time.perf_counter() - began
                own = embeddings.select(chosen.images)
                near = own.images[neighbors.nearest(asked, own, k=1).positions[:, 0]]
                knn = np.mean([bool({*labels[a]} & {*labels[b]}) for a, b in zip(asked.images, near, strict=True)])
                cover = subset.coverage(rest, chosen, embeddings=embeddings)
                found.append({**cover, "knn": float(knn), "seconds": seconds})
            means = pl.DataFrame(found).mean().row(0, named=True)
            rows.append({
                "part": name, "embedder": embedder, "images": len(rest), "chosen": size, "way": way, **rounded(means)
            })  # fmt: skip
    return rows


def planted(data: Path, embedder: str, count: int, seed: int, to: Path) -> list[dict[str, object]]:
    table = pq.read_table(data / "cifar10_small" / "cifar10_small.parquet")
    table = table.take(keyed_order(np.arange(len(table)), seed=seed, stream="bench")[:count])
    to.mkdir()
    for i, content in enumerate(table["image"].to_pylist()):
        (to / f"{i:05d}.png").write_bytes(content)
        for kind in COPIES if i % 10 == 0 else ():
            pixels = change(images.decode(content)[0], kind=kind, image=i, seed=seed)
            (to / f"{i:05d}_{kind}.jpg").write_bytes(images.encode_jpeg(pixels, quality=95))
    catalog = sources.from_folder(to, out=to / "c")
    embeddings = embed.run(catalog, embedder=embedder, out=to / "e")
    number = {
        image: int(source[:5]) for image, source in catalog.scan().select("image", "source").collect().iter_rows()
    }
    rows = []
    for way in [way for way in WAYS if way not in ("prototypes", "prototypes hardest")]:
        began = time.perf_counter()
        chosen = WAYS[way](subset.everything(catalog), embeddings, len(table), seed)
        seconds = time.perf_counter() - began
        stays = np.bincount([number[i] for i in chosen.images.tolist()], minlength=len(table))
        many, lone = stays[::10], np.delete(stays, np.arange(0, len(table), 10))
        told = {"copies_left": float(many.mean()), "kept": float((many > 0).mean()), "others": float(lone.mean())}
        rows.append({
            "part": "planted", "embedder": embedder, "images": len(catalog), "chosen": len(chosen), "way": way,
            **rounded({**told, "seconds": seconds}),
        })  # fmt: skip
    return rows


def speed(num: int, seed: int, folder: Path) -> list[dict[str, object]]:
    catalog = world.jft300m(num, seed=seed, out=folder / "speed")
    embeddings = Embeddings.of(vectors(num, seed), catalog.images(), embedder="drawn")
    whole = subset.everything(catalog)
    few = embeddings.select(embeddings.images[:1000])
    for way in FAST:  # compiled, and faiss loaded
        WAYS[way](subset.only(catalog, images=few.images), few, 10, seed)
    rows = []
    for way in FAST:
        size = num // 2 if way == "sem_dedup" else num // 100
        began = time.perf_counter()
        chosen = WAYS[way](whole, embeddings, size, seed)
        seconds = time.perf_counter() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append({
            "part": "speed", "embedder": "drawn", "images": num, "chosen": len(chosen), "way": way,
            **rounded({"seconds": seconds, "peak_gib_so_far": memory}),
        })  # fmt: skip
        print(rows[-1])
    return rows


def read(name: str, data: Path, count: int, seed: int, to: Path) -> Catalog:
    file, label = {
        "cifar10": ("cifar10_small/cifar10_small.parquet", "class_name"),
        "tiny_imagenet": ("tiny_imagenet/train.parquet", "wnid"),
    }[name]
    to.mkdir()
    table = pq.read_table(data / file)
    some = keyed_order(np.arange(len(table)), seed=seed, stream="bench")[:count]
    pq.write_table(table.take(some), to / "some.parquet")
    return sources.from_hub(to / "some.parquet", label=label, out=to / "c")


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


if __name__ == "__main__":
    main()
