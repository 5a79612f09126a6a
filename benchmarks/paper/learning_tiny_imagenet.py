"""A ResNet-18 learns Tiny ImageNet under its WordNet tree: `python benchmarks/paper/learning_tiny_imagenet.py DATA FOLDER`.

DATA holds `tiny_imagenet/train.parquet` (30,000 images), `val.parquet` (5,000) and the tree in `hierarchies/`. Per-label logistic
loss over 413 labels, ancestors filled in, as in the paper; ResNet-18 at 64 pixels from fresh weights, the optimizer of `tiny`.
mAP@100 and top-1 on the 5,000 validation images after every epoch, and the time training took to get there; the curve is kept in
`results/learning_tiny_imagenet_<hardware>_<yyyymm>.csv`. Goes on where it was stopped.
"""

import argparse
import csv
import dataclasses
import datetime
import os
from pathlib import Path

import torch

import jftdata as jd

RESULTS = Path(__file__).parent.parent / "results"
FIELDS = ["epoch", "images", "minutes", "loss", "mAP@100", "weighted mAP@100", "top-1", "top-5", "images_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=float, default=10.0)
    arguments = parser.parse_args()
    data, folder = arguments.data, arguments.folder
    wordnet = data / "hierarchies" / "hiercls_tiny_imagenet_fiveai"
    tree = jd.Hierarchy.load_edges(f"{wordnet}.edges.tsv", names=f"{wordnet}.nodes.tsv")
    catalogs = {}
    for part in ("train", "val"):
        files = [data / "tiny_imagenet" / f"{part}.parquet"]
        catalogs[part] = jd.sources.from_hub(files, label="wnid", hierarchy=tree, out=folder / f"{part}.catalog")
    config = dataclasses.replace(
        jd.recipes.tiny(total_epochs=arguments.epochs), architecture="resnet18", zero_init=True, batch_size=128
    )
    run = jd.pretrain.run(
        jd.subset.everything(catalogs["train"]), config, out=folder / f"run{arguments.epochs:g}",
        validation=jd.subset.everything(catalogs["val"]),
    )  # fmt: skip
    rows, minutes, seen, loss, rate = [], 0.0, 0, 0.0, 0.0
    for row in run.metrics():
        if "loss" in row:
            loss, rate = row["loss"], row["images_per_second"]
            minutes += (row["images"] - seen) / rate / 60
            seen = row["images"]
        if "mAP@100" in row:
            found = {name: row.get(name, "") for name in FIELDS}
            rows.append(
                found | {"epoch": row["epoch"], "minutes": round(minutes, 1), "loss": loss, "images_per_second": rate}
            )
    tag = torch.cuda.get_device_name(0).split()[-1].lower() if torch.cuda.is_available() else f"cpu{os.cpu_count()}"
    out = RESULTS / f"learning_tiny_imagenet_{tag}_{datetime.date.today():%Y%m}.csv"
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    print(out, rows[-1])


if __name__ == "__main__":
    main()
