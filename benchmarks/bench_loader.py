"""Images a second of pretraining's input against decoding and resizing alone; `python benchmarks/bench_loader.py [FOLDER]`.

FOLDER keeps the images: the JPEGs of 500x375 of `bench_ingest.py`, of which a packed catalog is made. All ways use as many
workers. `alone` is the bar: threads that read a file, decode it and resize it to 340 with the functions the input uses, and
drop it. The ways after it are `pretrain.input.batches` of 256 images: `paper` resizes to 340 and crops 299; the others cut
resized crops of 224. `dataloader` is what is usual: torch's DataLoader on forkserver processes with torchvision's transforms
on Pillow, the same work as `paper`, workers started before. The ways take turns, after a round that does not count.

`memory` streams a catalog of a million rows that point at 64 small JPEGs, from places in a folder, in a process of its own; the
figure is the growth of its resident memory from the first batches to the last, and beside it that at the end.
With `--photos FOLDER`, how far reduced decoding is from full decoding after resizing to a sixth, and its speed.

Writes `results/loader_<hardware>_<yyyymm>.csv`: median, least and most of the rounds, the median of the round's ratios to `alone`, and
the median time that an image took of the cores (that of `dataloader`'s processes is not known), which says more on a busy machine.
With `--small` everything is small and nothing is written.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from bench_ingest import in_processes, write_images

BATCH = 256
MEMORY_ROWS, MEMORY_FILES = 1_000_000, 64


def augmentations() -> dict[str, Any]:
    from jftdata.pretrain.augment import Augmentation

    return {
        "paper": Augmentation(340, 299),
        "resized crop": Augmentation(224, 224, "resized", 0.08),
        "resized crop, trivial-augment, erase": Augmentation(224, 224, "resized", 0.08, "trivial-augment", 0.1),
        "resized crop, rand-augment, erase": Augmentation(224, 224, "resized", 0.08, "rand-augment", 0.1),
    }


def alone(paths: list[Path], workers: int) -> int:
    from jftdata.pretrain.augment import Augmentation

    square, draw = Augmentation(340, 340), np.uint64(0)

    def some(first: int) -> int:
        return sum(len(square.finish(square.load(path.read_bytes(), draw), draw)) for path in paths[first::workers])

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(some, range(workers))) // 340


def ours(everything: Any, places: Any, augmentation: Any, workers: int) -> int:
    from jftdata.pretrain.input import batches
    from jftdata.subset.stream import Stream

    stream = Stream(images=everything.images, seed=0, batch_size=BATCH, drop_last=False)
    options = {"stream": stream, "first_step": 0, "num_steps": stream.num_steps(0), "workers": workers}
    return sum(len(batch.rows) for batch in batches(everything.catalog, places, augmentation, **options))


class Photos:
    """A data set as it is usually written."""

    def __init__(self, paths: list[Path]) -> None:
        from torchvision.transforms import v2

        self.paths = paths
        self.transform = v2.Compose(
            [v2.Resize((340, 340)), v2.RandomCrop(299), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        from PIL import Image

        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB"))


def dataloader(paths: list[Path], workers: int) -> Any:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Photos(paths), batch_size=BATCH, shuffle=True, num_workers=workers, multiprocessing_context="forkserver",
        persistent_workers=True,
    )  # fmt: skip
    return lambda: sum(len(batch) for batch in loader)


def million(folder: Path, rows: int) -> Any:
    """A catalog whose rows point at a few JPEGs again and again; its ids are made up."""
    import polars as pl

    from jftdata import sources, storage
    from jftdata.catalog import FORMAT, Catalog
    from jftdata.images import encode_jpeg

    with storage.building(folder / f"rows{rows}", format=FORMAT, made_with={}, inputs={}) as build:
        if build is not None:
            few = folder / "few"
            (few / "a").mkdir(parents=True, exist_ok=True)
            for i in range(MEMORY_FILES):
                pixels = np.random.default_rng(i).integers(0, 256, (40, 48, 3)).astype(np.uint8)
                if not (few / "a" / f"{i}.jpg").exists():
                    (few / "a" / f"{i}.jpg").write_bytes(encode_jpeg(pixels, quality=50))
            catalog = sources.from_folder(few, out=folder / "few.catalog", workers=1)
            frame = catalog.scan().collect()
            (build.folder / "images").mkdir(exist_ok=True)
            ids = np.sort(np.random.default_rng(0).choice(1 << 40, rows, replace=False))
            many = frame[np.arange(rows) % len(frame)].with_columns(image=pl.Series(ids))
            many.write_parquet(build.folder / "images" / "part-00000.parquet", row_group_size=1 << 17)
            catalog.hierarchy.save(build.folder / "hierarchy.tsv")
            build.facts = {"num_images": rows, "splits": {"train": rows}, "has_pixels": True}
    return Catalog.open(folder / f"rows{rows}")


def resident() -> float:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(folder: Path, rows: int, workers: int) -> dict[str, float]:
    """Seconds, MiB when 50 batches are done, and MiB at the end."""
    from jftdata import subset
    from jftdata.pretrain.augment import Augmentation
    from jftdata.pretrain.input import batches
    from jftdata.pretrain.places import Places
    from jftdata.subset.stream import Stream

    everything = subset.everything(million(folder, rows))
    places = Places.of_subset(everything, folder=folder / f"places{rows}")
    stream = Stream(images=everything.images, seed=0, batch_size=BATCH)
    steps, first, began = stream.num_steps(0), 0.0, time.perf_counter()
    options = {"stream": stream, "first_step": 0, "num_steps": steps, "workers": workers}
    for step, _ in enumerate(batches(everything.catalog, places, Augmentation(36, 32), **options)):
        if step == min(50, steps // 2):
            first = resident()
    return {"seconds": time.perf_counter() - began, "mib_at_first": first, "mib_at_end": resident()}


def reduced(folder: Path) -> dict[str, Any]:
    """Mean difference in levels, and seconds of full by those of reduced decoding with resizing."""
    from jftdata import images
    from jftdata.pretrain.augment import Augmentation

    draw, off, spent = np.uint64(0), [], [0.0, 0.0]
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    for path in paths:
        data = path.read_bytes()
        side = min(images.decode(data)[0].shape[:2]) // 6
        square = Augmentation(side, side)
        began = time.process_time()
        fast = square.finish(square.load(data, draw), draw)
        between = time.process_time()
        full = square.finish(images.decode(data)[0], draw)
        spent = [spent[0] + between - began, spent[1] + time.process_time() - between]
        off.append(np.abs(fast.astype(int) - full).mean())
    return {
        "way": f"reduced decoding of {folder.name}", "num_images": len(paths),
        "levels": round(float(np.mean(off)), 2), "times_as_fast": round(spent[1] / spent[0], 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the images are kept; a temporary one by default")
    parser.add_argument("--num-images", type=int, default=8192)
    parser.add_argument("--workers", type=int, default=measuring.CORES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=Path, action="append", default=[])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    from jftdata import progress

    progress.set_quiet(True)
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if options.memory:
        print(json.dumps(memory(folder, options.memory, options.workers)))
        return

    import polars as pl
    import torch
    import torchvision

    from jftdata import __version__, sources, subset
    from jftdata.pretrain.places import Places

    if options.small:
        options.num_images, options.rounds = 512, 1
    photos = folder / f"images{options.num_images}"
    spans = [(photos, i, min(1000, options.num_images - i)) for i in range(0, options.num_images, 1000)]
    in_processes(options.workers, write_images, spans)
    paths = sorted(photos.rglob("*.jpg"))
    catalog = sources.from_folder(photos, out=folder / f"catalog{options.num_images}", pack=True)
    everything = subset.everything(catalog)
    places = Places.of_subset(everything)
    loader = dataloader(paths, options.workers)
    ways: dict[str, Any] = {"alone": lambda: alone(paths, options.workers)}
    for name, augmentation in augmentations().items():
        ways[name] = lambda augmentation=augmentation: ours(everything, places, augmentation, options.workers)
    ways["dataloader"] = loader
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for at in range(options.rounds + 1):
        for way, work in ways.items():
            began, worked = time.perf_counter(), time.process_time()
            assert work() == len(paths)
            speed = len(paths) / (time.perf_counter() - began)
            if at:
                speeds[way].append(speed)
                spent[way].append((time.process_time() - worked) / len(paths) * 1e3)
            print(f"round {at} {way}: {speed:.0f} images/s", flush=True)
    rows: list[dict[str, Any]] = [
        {
            "way": way, "images_per_second": round(statistics.median(seen), 1), "least": round(min(seen), 1),
            "most": round(max(seen), 1),
            "ratio_to_alone": round(statistics.median(a / b for a, b in zip(seen, speeds["alone"], strict=True)), 3),
            "core_ms_an_image": None if way == "dataloader" else round(statistics.median(spent[way]), 3),
            "rounds": options.rounds, "num_images": len(paths),
        }
        for way, seen in speeds.items()
    ]  # fmt: skip
    many = MEMORY_ROWS // 20 if options.small else MEMORY_ROWS
    million(folder, many)
    found = measuring.alone(folder, "--workers", options.workers, "--memory", many)
    first, last = found["mib_at_first"], found["mib_at_end"]
    rows.append({
        "way": "memory", "images_per_second": round(many / found["seconds"], 1), "num_images": many,
        "mib_grown": round(last - first, 1), "mib_at_end": round(last, 1),
    })  # fmt: skip
    rows += [reduced(one) for one in options.photos]
    versions = {
        "workers": options.workers, "cores": measuring.CORES, "jftdata": __version__,
        "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
    }  # fmt: skip
    table = pl.DataFrame([row | versions for row in rows], infer_schema_length=None)
    with pl.Config(tbl_rows=-1, tbl_cols=8, fmt_str_lengths=40):
        print(table)
    if not options.small:
        measuring.write("loader", table)


if __name__ == "__main__":
    main()
