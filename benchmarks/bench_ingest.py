"""Images a second of a full ingest against strict decoding alone; `python benchmarks/bench_ingest.py [FOLDER]`.

FOLDER keeps the images: JPEGs of 500x375 made of the built-in world's scenes, enlarged, with fine-grained noise, the same
bytes every time. Every way uses as many processes, started afresh (forkserver) within the measured time, and reads files
that the page cache holds: `decode` only reads and decodes strictly with simplejpeg, `referenced` is
`sources.from_folder`, `packed` the same with `pack=True`. The ways take turns, after a round that does not count. Writes
`results/ingest_<hardware>_<yyyymm>.csv`: median, least and most of the rounds, and the median of the round's ratios to
`decode`.
"""

import argparse
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import measuring
import numpy as np
import simplejpeg
from PIL import Image

WIDTH, HEIGHT, QUALITY = 500, 375, 90
VARIANTS = 20  # images of one scene, each with other noise
CHUNK = 2048


def write_images(folder: Path, first: int, count: int) -> None:
    """Images `first` to `first + count` in folders of a thousand."""
    from jftdata.world import scene

    for at in range(first, first + count):
        path = folder / f"{at // 1000:03d}" / f"{at:06d}.jpg"
        if path.exists():
            continue
        base = Image.fromarray(scene(0, at // VARIANTS, size=192).image).resize(
            (WIDTH, HEIGHT), Image.Resampling.BICUBIC
        )
        noise = np.random.default_rng(at).normal(0, 7, (HEIGHT, WIDTH, 1)).astype(np.float32)
        pixels = np.clip(np.asarray(base) + noise, 0, 255).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420"))


def decode_all(paths: list[str]) -> int:
    """Pixels of some files, decoded strictly."""
    total = 0
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            total += simplejpeg.decode_jpeg(file.read(), colorspace="RGB", strict=True).size // 3
    return total


def in_processes(workers: int, function, arguments) -> list:  # type: ignore[no-untyped-def, type-arg]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver")) as pool:
        return [future.result() for future in [pool.submit(function, *each) for each in arguments]]


def measure(way: str, folder: Path, paths: list[str], workers: int) -> float:
    """Images a second."""
    from jftdata import sources

    out = Path(tempfile.mkdtemp(dir=folder.parent)) / "catalog"
    began = time.perf_counter()
    if way == "decode":
        done = sum(in_processes(workers, decode_all, [(paths[i : i + CHUNK],) for i in range(0, len(paths), CHUNK)]))
        assert done == len(paths) * WIDTH * HEIGHT
    else:
        catalog = sources.from_folder(folder, out=out, pack=way == "packed", workers=workers)
        assert len(catalog) == len(paths)
    seconds = time.perf_counter() - began
    shutil.rmtree(out.parent)
    return len(paths) / seconds


def main() -> None:
    import polars as pl

    from jftdata import __version__, progress

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the images are kept; a temporary one by default")
    parser.add_argument("--num-images", type=int, default=16_000)
    parser.add_argument("--workers", type=int, default=measuring.CORES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    progress.set_quiet(True)
    folder = (options.folder or Path(tempfile.mkdtemp())) / f"images{options.num_images}"
    spans = [(folder, i, min(1000, options.num_images - i)) for i in range(0, options.num_images, 1000)]
    in_processes(options.workers, write_images, spans)
    paths = sorted(str(path) for path in folder.rglob("*.jpg"))
    num_bytes = sum(os.path.getsize(path) for path in paths)
    ways = ("decode", "referenced", "packed")
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for at in range(options.rounds + 1):
        for way in ways:
            speed = measure(way, folder, paths, options.workers)
            if at:
                speeds[way].append(speed)
            print(f"round {at} {way}: {speed:.0f} images/s", flush=True)
    rows = [
        {
            "way": way, "images_per_second": round(statistics.median(speeds[way]), 1),
            "least": round(min(speeds[way]), 1), "most": round(max(speeds[way]), 1),
            "ratio_to_decode": round(
                statistics.median(mine / base for mine, base in zip(speeds[way], speeds["decode"], strict=True)), 3
            ),
            "rounds": options.rounds, "num_images": len(paths), "mean_bytes": num_bytes // len(paths),
            "workers": options.workers, "cores": measuring.CORES, "jftdata": __version__,
            "python": platform.python_version(), "polars": pl.__version__,
        }
        for way in ways
    ]  # fmt: skip
    measuring.write("ingest", rows)
    print(pl.DataFrame(rows).select("way", "images_per_second", "least", "most", "ratio_to_decode"))


if __name__ == "__main__":
    main()
