"""Images a second of feature extraction against the bare forward pass: `python benchmarks/bench_features.py [FOLDER] [--smoke]`.

ResNet-10 at 64 pixels on the built-in world's JPEGs of 64x64, and ResNet-50 at 224 on JPEGs of 500x375, both with fresh weights.
FOLDER keeps the images. `forward` is the network alone on a batch that lies in memory on the device; `decoding` reads, checks,
decodes and resizes the images and drops them; `extraction` is `embed.run`, as transfer calls it, from files to vectors on disk.
All have the same batch, precision and threads, and take turns, after a round that does not count.

On a GPU the network and decoding have processors of their own, so the slower of the two binds; on a CPU they share the cores, so
that an image takes the time of both. `of_possible` is extraction by what that leaves, `of_forward` by the network alone, which is
to be at least 0.95 where `share_decoding`, decoding's part of what an image takes, is small. Writes
`results/features_<hardware>_<yyyymm>.csv`: median, least and most of the rounds, medians of the rounds' ratios, and the median time
that an image took of the cores, which says more on a busy machine. With `--smoke` all is small and nothing is written.
"""

import argparse
import dataclasses
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
from bench_ingest import in_processes, write_images

NETS = {"resnet10": 64, "resnet50": 224}
"""Width and height of the images each takes."""


def photos(folder: Path, num: int) -> Any:
    """JPEGs of 500x375, those of `bench_ingest.py`."""
    from jftdata import sources

    spans = [(folder / f"photos{num}", i, min(500, num - i)) for i in range(0, num, 500)]
    in_processes(measuring.CORES, write_images, spans)
    return sources.from_folder(folder / f"photos{num}", out=folder / f"photos{num}.catalog")


def drawn(folder: Path, num: int) -> Any:
    """Scenes of the built-in world."""
    import jftdata as jd

    none = {"num_eval": 0, "num_clean_train": 0, "num_clean_test": 0}
    files = jd.world.write(folder / f"world{num}", num_images=num, seed=0, **none)
    tree = jd.Hierarchy.load("world")
    return jd.sources.from_hub(files.train, label="labels", hierarchy=tree, out=folder / f"world{num}.catalog")


def ways(catalog: Any, architecture: str, folder: Path) -> dict[str, Callable[[], int]]:
    """What is measured; each gives the number of images it has done."""
    import torch

    import jftdata as jd
    from jftdata import backbone, embed

    size = NETS[architecture]
    config = dataclasses.replace(
        jd.recipes.tiny(total_epochs=0.0), architecture=architecture, image_size=size, resize=size
    )
    checkpoint = jd.pretrain.run(jd.subset.everything(catalog), config, out=folder / architecture)
    maker = embed.resolve(checkpoint)
    device = backbone.pick_device("auto")
    net = backbone.load(checkpoint)
    net.fc = torch.nn.Identity()
    net = net.eval().to(device, memory_format=torch.channels_last)
    pixels = torch.randint(0, 256, (min(embed._BATCH, len(catalog)), size, size, 3), dtype=torch.uint8)
    batch = backbone.to_input(pixels, device)

    @torch.inference_mode()
    def forward() -> int:
        times = len(catalog) // len(batch)
        for _ in range(times):
            with backbone.autocast(device, config.precision):
                net(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return times * len(batch)

    def decoding() -> int:
        return sum(len(part.images) for part in embed._batches(catalog, maker, None, None, 0))

    def extraction() -> int:
        shutil.rmtree(folder / "vectors", ignore_errors=True)
        return len(embed.run(catalog, embedder=maker, out=folder / "vectors"))

    return {"forward": forward, "decoding": decoding, "extraction": extraction}


def measured(found: dict[str, Callable[[], int]], rounds: int, *, gpu: bool) -> list[dict[str, Any]]:
    """A row for each way."""
    rates: dict[str, list[float]] = {way: [] for way in found}
    spent: dict[str, list[float]] = {way: [] for way in found}
    for turn in range(rounds + 1):
        for way, work in found.items():
            began, worked = time.perf_counter(), time.process_time()
            done = work()
            rate = done / (time.perf_counter() - began)
            if turn:
                rates[way].append(rate)
                spent[way].append((time.process_time() - worked) / done * 1e3)
            print(f"round {turn} {way}: {rate:.1f} images/s", flush=True)
    rows: list[dict[str, Any]] = [
        {
            "way": way, "images_per_second": round(statistics.median(mine), 1), "least": round(min(mine), 1),
            "most": round(max(mine), 1), "core_ms_an_image": round(statistics.median(spent[way]), 3),
        }
        for way, mine in rates.items()
    ]  # fmt: skip
    turns = list(zip(*rates.values(), strict=True))
    possible = [min(net, decode) if gpu else 1 / (1 / net + 1 / decode) for net, decode, _ in turns]
    share = statistics.median(net / (net + decode) for net, decode, _ in turns)
    rows[-1] |= {
        "of_forward": round(statistics.median(all_of_it / net for net, _, all_of_it in turns), 3),
        "of_possible": round(statistics.median(turn[2] / most for turn, most in zip(turns, possible, strict=True)), 3),
        "share_decoding": round(share, 3),
        "binds": "both, on the same cores" if not gpu else "decoding" if share > 0.5 else "the network",
    }  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the images are kept; a temporary one by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args()
    import torch

    from jftdata import __version__, embed, progress

    progress.set_quiet(True)
    gpu = torch.cuda.is_available()
    folder = asked.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"resnet10": 65_536, "resnet50": 16_384} if gpu else {"resnet10": 8_192, "resnet50": 768}
    if asked.smoke:
        asked.rounds, sizes = 1, {"resnet10": 64, "resnet50": 8}
    rows: list[dict[str, Any]] = []
    for architecture, num in sizes.items():
        catalog = (drawn if architecture == "resnet10" else photos)(folder, num)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            found = measured(ways(catalog, architecture, Path(work)), asked.rounds, gpu=gpu)
        about = {"net": architecture, "size": NETS[architecture], "num_images": len(catalog), "batch": embed._BATCH}
        versions = {
            "rounds": asked.rounds, "threads": torch.get_num_threads(), "cores": measuring.CORES, "jftdata": __version__,
            "torch": torch.__version__, "python": platform.python_version(),
        }  # fmt: skip
        rows += [about | row | versions for row in found]
    for row in rows:
        print(*row.values(), sep="\t")
    if not asked.smoke:
        print(measuring.write("features", rows, gpu=True))


if __name__ == "__main__":
    main()
