"""Bytes a second of an export to tar against copying files; `python benchmarks/bench_export.py [FOLDER]`.

FOLDER is where it happens. The images are the photographs of --photos, or else 200 drawn JPEGs of about 100 kB, each as often as
needed with eight other bytes after its end. Ways take turns, after a round that does not count: `cp -r`, `shutil.copytree`,
`tar cf`, `webdataset.ShardWriter` where it is installed (it reads the files and writes the same members), then jftdata's
`to_webdataset`, `to_folder` and `to_parquet`. All read files that the page cache holds and write to the same disk; each is timed
to the end of the call, and again with `sync` after it, since jftdata syncs what it writes and the others do not. Writes
`results/export_<hardware>_<yyyymm>.csv`: median, least and most of the rounds, and the median of the round's ratios to `cp -r`.
"""

import argparse
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import measuring
import numpy as np
import simplejpeg
from PIL import Image

WIDTH, HEIGHT, QUALITY = 800, 600, 90


def write_images(folder: Path, num_bytes: int, photos: Path | None) -> int:
    """Files `<thousand>/<number>.jpg` of so many bytes in all, each its own by eight bytes at its end; returns how many."""
    found = (
        [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))] if photos is not None else map(draw, range(200))
    )
    pictures = list(found)
    total = at = 0
    while total < num_bytes:
        path = folder / f"{at // 1000:03d}" / f"{at:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        total += path.write_bytes(pictures[at % len(pictures)] + at.to_bytes(8, "big"))
        at += 1
    return at


def draw(seed: int) -> bytes:
    """A smooth picture with fine-grained noise, about 100 kB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    pixels = np.clip(np.asarray(coarse) + rng.normal(0, 4, (HEIGHT, WIDTH, 1)).astype(np.float32), 0, 255)
    return simplejpeg.encode_jpeg(pixels.astype(np.uint8), quality=QUALITY, colorsubsampling="420")


def shards(folder: Path, out: Path) -> None:
    """The files as WebDataset's own writer packs them."""
    import webdataset

    out.mkdir()
    with webdataset.ShardWriter(str(out / "%06d.tar"), maxsize=256 << 20, verbose=0) as writer:
        for path in sorted(folder.rglob("*.jpg")):
            about = {"labels": [path.parent.name], "source": path.name}
            writer.write(
                {"__key__": path.stem, "jpg": path.read_bytes(), "cls": path.parent.name.encode(), "json": about}
            )


def main() -> None:
    import polars as pl

    from jftdata import __version__, export, progress, sources

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--photos", type=Path, help="a folder of .jpg to make the images of")
    parser.add_argument("--num-bytes", type=float, default=1e9)
    parser.add_argument("--workers", type=int, default=measuring.CORES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    progress.set_quiet(True)
    root = options.folder or Path(tempfile.mkdtemp())
    name = "photographs" if options.photos else "drawn"
    images = root / f"{name}{options.num_bytes:g}"
    num_images = write_images(images, int(options.num_bytes), options.photos)
    num_bytes = sum(path.stat().st_size for path in images.rglob("*.jpg"))
    made = Path(tempfile.mkdtemp(dir=root))
    catalog = sources.from_folder(images, out=made / "catalog", workers=options.workers)
    assert len(catalog) == num_images
    ways = {
        "cp -r": lambda out: subprocess.run(["cp", "-r", images, out], check=True),
        "shutil.copytree": lambda out: shutil.copytree(images, out),
        "tar cf": lambda out: subprocess.run(["tar", "cf", out, "-C", images, "."], check=True),
        "webdataset.ShardWriter": lambda out: shards(images, out),
        **{
            f"to_{format}": lambda out, format=format: export.run(
                catalog, format=format, out=out, workers=options.workers
            )
            for format in ("webdataset", "folder", "parquet")
        },
    }
    try:
        import webdataset  # noqa: F401
    except ImportError:
        del ways["webdataset.ShardWriter"]
    speeds: dict[tuple[str, bool], list[float]] = {(way, synced): [] for way in ways for synced in (False, True)}
    for at, (way, make) in itertools.product(range(options.rounds + 1), ways.items()):
        out = made / "out"
        os.sync()
        began = time.perf_counter()
        make(out)
        done = time.perf_counter()
        os.sync()
        synced = time.perf_counter()
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        if at:
            speeds[way, False].append(num_bytes / 1e6 / (done - began))
            speeds[way, True].append(num_bytes / 1e6 / (synced - began))
        print(f"round {at} {way}: {num_bytes / 1e6 / (done - began):.0f} MB/s", flush=True)
    shutil.rmtree(made)
    rows = [
        {
            "way": way, "synced": synced, "megabytes_per_second": round(statistics.median(values), 1),
            "least": round(min(values), 1), "most": round(max(values), 1),
            "ratio_to_cp": round(
                statistics.median(mine / base for mine, base in zip(values, speeds["cp -r", synced], strict=True)), 3
            ),
            "rounds": options.rounds, "images": name, "num_images": num_images, "mean_bytes": num_bytes // num_images,
            "page_cache": "warm", "workers": options.workers, "cores": measuring.CORES,
            "jftdata": __version__, "python": platform.python_version(), "polars": pl.__version__,
        }
        for (way, synced), values in speeds.items()
    ]  # fmt: skip
    measuring.write("export", rows)
    with pl.Config(tbl_rows=20, tbl_width_chars=140):
        print(pl.DataFrame(rows).select("way", "synced", "megabytes_per_second", "least", "most", "ratio_to_cp"))


if __name__ == "__main__":
    main()
