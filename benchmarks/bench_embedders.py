"""Planted copies looked up by one vector an image, `descriptor` against `copies`; `python benchmarks/bench_embedders.py DATA`.

DATA holds tiny_imagenet/train.parquet; the built-in world is drawn. Of some images of a set a copy of every kind of change is
looked for among all images. recall_at_k is the share whose original is among the k most similar; recall_at_99 the most
there is at one threshold a kind that gives 99% precision over all pairs, where true twins inside the set count as wrong.
`copies` is trained on the set, with the kinds of change it is then asked for but other strengths and places; `untrained` is
the same network without a step. Throughput of `embed.run` and of decoding alone is taken on the set too.
Writes `results/embedders_<hardware>_<yyyymm>.csv`.
"""

import argparse
import platform
import tempfile
import time
from functools import partial
from pathlib import Path

import measuring
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch

from jftdata import __version__, backbone, copy_net, embed, images, sources, world
from jftdata.catalog import Catalog
from jftdata.changes import KINDS, change
from jftdata.hashing import keyed_order
from jftdata.hierarchy import Hierarchy
from jftdata.pixels import PLACE, map_images

SETS = {"tiny_imagenet": 10_000, "world": 5_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--originals", type=int, default=500, help="images copied in every kind")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--work", type=Path, help="keep sets and networks here, and go on from them")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    to = measuring.csv_path("embedders")
    versions = {"jftdata": __version__, "torch": torch.__version__, "python": platform.python_version()}
    about = versions | {"cores": measuring.CORES}
    for name in given.sets:
        rows = []
        with tempfile.TemporaryDirectory() as temporary:
            folder = (given.work or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            catalog = read(name, given.data, folder, given.seed)
            rate = decode_rate(catalog)
            there = (folder / "net").exists()
            began = time.perf_counter()
            net = copy_net.train(catalog, out=folder / "net", num_steps=given.steps, seed=given.seed)
            trained = None if there else round(time.perf_counter() - began)
            fresh = backbone.build("resnet10", num_outputs=copy_net.DIMENSIONS, seed=given.seed)
            makers = {
                "descriptor": embed.Descriptor(),
                "copies": copy_net.embedder(net),
                "untrained": backbone.NetEmbedder(fresh, name="untrained/1", size=64),
            }
            for method, maker in makers.items():
                began = time.perf_counter()
                base = embed.run(catalog, embedder=maker, out=Path(temporary) / method)
                seconds = time.perf_counter() - began
                for kind, found in recalls(catalog, base, maker, given.originals, given.seed + 1).items():
                    rows.append({
                        "set": name, "images": len(catalog), "copies": given.originals, "embedder": method, "kind": kind,
                        **found, "images_per_second": round(len(catalog) / seconds),
                        "decode_only_per_second": round(rate), "steps": given.steps if method == "copies" else 0,
                        "train_seconds": trained if method == "copies" else 0, "seed": given.seed, **about,
                    })  # fmt: skip
        made = pl.DataFrame(rows)
        with pl.Config(tbl_rows=40, tbl_hide_dataframe_shape=True):
            print(made.pivot("embedder", index="kind", values=["recall_at_1", "recall_at_99"]))
            print(
                made.group_by("embedder").agg(
                    pl.col("recall_at_1", "recall_at_20", "recall_at_99", "images_per_second").mean()
                )
            )
        if to.exists():
            made = pl.concat([pl.read_csv(to).filter(pl.col("set") != name), made])
        measuring.write("embedders", made.sort("set", maintain_order=True))


def read(name: str, data: Path, to: Path, seed: int) -> Catalog:
    count = SETS[name]
    if name == "world":
        files = world.write(
            to / "world", num_images=count, seed=seed, num_eval=0, num_clean_train=100, num_clean_test=100
        )
        return sources.from_hub(files.train, label="labels", hierarchy=Hierarchy.load("world"), out=to / "catalog")
    table = pq.read_table(data / name / "train.parquet")
    pq.write_table(
        table.take(keyed_order(np.arange(len(table)), seed=seed, stream="bench")[:count]), to / "some.parquet"
    )
    return sources.from_hub(to / "some.parquet", label="wnid", out=to / "catalog")


def decode_rate(catalog: Catalog) -> float:
    """Images a second that are read and decoded on one thread a core, and not looked at."""
    places = catalog.scan().select(PLACE).collect()
    began = time.perf_counter()
    for _ in map_images(catalog, places, lambda _, data: images.decode(data)[0].shape):
        pass
    return len(places) / (time.perf_counter() - began)


def recalls(
    catalog: Catalog, base: embed.Embeddings, maker: embed.Embedder, count: int, seed: int
) -> dict[str, dict[str, float]]:
    """By kind of change, the three recalls."""
    own = np.sort(keyed_order(base.images, seed=seed, stream="bench")[:count])
    ids = base.images[own].tolist()
    places = catalog.rows(base.images[own], columns=PLACE)

    def copied(kind: str, i: int, data: bytes) -> np.ndarray:
        pixels = change(images.decode(data)[0], kind=kind, image=ids[i], seed=seed)
        return images.resize(pixels, width=maker.size, height=maker.size)

    found = {}
    for kind in KINDS:
        vectors = maker(np.stack(list(map_images(catalog, places, partial(copied, kind)))))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        similar = vectors @ np.asarray(base.vectors).T
        right = similar[np.arange(count), own]
        better = (similar > right[:, None]).sum(axis=1)
        similar[np.arange(count), own] = -1.0
        false = np.sort(similar, axis=None)
        best = 0.0
        for threshold in np.sort(right):
            num = int((right >= threshold).sum())
            if num >= 99 * (false.size - np.searchsorted(false, threshold)):
                best = num / count
                break
        found[kind] = {
            "recall_at_1": float((better < 1).mean()), "recall_at_20": float((better < 20).mean()), "recall_at_99": best,
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main()
