"""Planted copies found by kind of change, against imagededup; `python benchmarks/bench_copies.py DATA`.

DATA holds tiny_imagenet/train.parquet, coco_mini/ and imagenette_folder/; the built-in world is drawn. Of each set some
images are copied in every kind of change and looked for among all: copies are the queries, the base is originals and
distractors. A pair of a copy with anything but its original is false, true twins inside a set too. For each method and
kind the table has the recall at the threshold that gives at least 99% precision and most recall, and for each method the
seconds from files to scored pairs. imagededup's PHash and DHash are its own; its search is timed at its own default
distance of 10, recall is taken over all distances. Writes `results/copies_<hardware>_<yyyymm>.csv` as it goes.
"""

import argparse
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import measuring
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from jftdata import __version__, copies, sources, world
from jftdata.changes import KINDS, change
from jftdata.hashing import keyed_order
from jftdata.images import EXTENSIONS, decode, encode_jpeg

SETS = ("photos", "tiny_imagenet", "world")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--originals", type=int, default=500, help="images copied in every kind; of photos all are")
    parser.add_argument("--distractors", type=int, default=10_000)
    parser.add_argument("--without-imagededup", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    about = {"jftdata": __version__, "python": platform.python_version(), "cores": measuring.CORES, "seed": given.seed}
    rows: list[dict[str, object]] = []
    for name in given.sets:
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            num = plant(name, given.data, at, given.originals, given.distractors, given.seed)
            print(f"{name}: {num['base']} images, {num['copies']} copies", flush=True)
            methods = [jftdata_scores] if given.without_imagededup else [jftdata_scores, imagededup_scores]
            for method in methods:
                for label, (seconds, scores) in method(at).items():
                    for kind, value in recalls(scores).items():
                        row = {"set": name, "base": num["base"], "copies": num["originals"], "kind": kind}
                        rows.append({**row, "method": label, "recall_at_99": value, "seconds": seconds, **about})
                    measuring.write("copies", rows)
            done = pl.DataFrame(rows).filter(pl.col("set") == name)
            with pl.Config(tbl_rows=40, tbl_hide_dataframe_shape=True):
                print(done.pivot("method", index="kind", values="recall_at_99"))
                print(done.group_by("method").agg(pl.col("seconds").first()).sort("method"), flush=True)


def plant(name: str, data: Path, to: Path, originals: int, distractors: int, seed: int) -> dict[str, int]:
    """Write `base/<i>.jpg` and `copies/<kind>-<i>.jpg`; image i of the base is the original of the copies named i."""
    (to / "base").mkdir()
    (to / "copies").mkdir()
    num = 0
    for i, content in enumerate(pictures(name, data, originals + distractors, seed)):
        (to / "base" / f"{i}.jpg").write_bytes(content)
        num += 1
        if i < originals:
            pixels = decode(content)[0]
            for kind in KINDS:
                copy = change(pixels, kind=kind, image=i, seed=seed)
                (to / "copies" / f"{kind}-{i}.jpg").write_bytes(encode_jpeg(copy, quality=95))
    return {"base": num, "originals": min(num, originals), "copies": min(num, originals) * len(KINDS)}


def pictures(name: str, data: Path, count: int, seed: int) -> Iterator[bytes]:
    """JPEG bytes of a set's images in a drawn order."""
    if name == "tiny_imagenet":
        images = pq.read_table(data / name / "train.parquet", columns=["image"]).column("image")
        for i in keyed_order(np.arange(len(images)), seed=seed, stream="bench")[:count]:
            yield images[int(i)].as_py()["bytes"]
    elif name == "photos":
        files = [f for part in ("coco_mini", "imagenette_folder") for f in sorted((data / part).rglob("*"))]
        for file in [f for f in files if f.suffix.lower() in EXTENSIONS][:count]:
            pixels, facts = decode(file.read_bytes())
            yield file.read_bytes() if facts.format == "jpeg" else encode_jpeg(pixels, quality=95)
    else:
        index = made = 0
        while made < count:
            if world.copy_of(seed, index) is None:
                yield encode_jpeg(world.scene(seed, index).image)
                made += 1
            index += 1


Scores = dict[str, tuple[np.ndarray, np.ndarray]]
"""By kind: the score of each copy with its original (-inf where it was no candidate), and of all false pairs."""


def jftdata_scores(at: Path) -> dict[str, tuple[float, Scores]]:
    began = time.perf_counter()
    base = sources.from_folder(at / "base", out=at / "base.catalog")
    test = sources.from_folder(at / "copies", out=at / "copies.catalog")
    found = copies.find_between(test, base, min_probability=0.0)
    seconds = time.perf_counter() - began
    name = {}
    for catalog in (base, test):
        frame = catalog.scan().select("image", "source").collect()
        name[catalog.path.name] = {i: [Path(s).stem] for i, s in frame.iter_rows()}
        for image, source in pl.read_parquet(catalog.path / "duplicates.parquet").select("image", "source").iter_rows():
            name[catalog.path.name][image].append(Path(source).stem)
    own: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    false: dict[str, list[float]] = {kind: [] for kind in KINDS}
    order = np.arange(len(found.pairs), 0, -1) * 1e-12  # the pairs are sorted; ties in probability are not ties in rank
    for (copy, image, p), rank in zip(
        found.pairs.select("test_image", "train_image", "probability").iter_rows(), order, strict=True
    ):
        originals = name["base.catalog"][image]
        for kind, i in (stem.rsplit("-", 1) for stem in name["copies.catalog"][copy]):
            if i in originals:
                own[kind][int(i)] = p + rank
            else:
                false[kind].append(p + rank)
    num = len(list((at / "copies").iterdir())) // len(KINDS)
    scores = {k: (np.array([own[k].get(i, -np.inf) for i in range(num)]), np.array(false[k])) for k in KINDS}
    print(f"  jftdata {seconds:.1f} s, {found.num_candidates} candidates, {len(found.rejected)} rejected", flush=True)
    return {"jftdata": (seconds, scores)}


def imagededup_scores(at: Path) -> dict[str, tuple[float, Scores]]:
    warnings.simplefilter("ignore")
    from imagededup.handlers.search.retrieval import HashEval
    from imagededup.methods import DHash, PHash

    out = {}
    for method in (PHash, DHash):
        hasher = method(verbose=False)
        began = time.perf_counter()
        base, test = hasher.encode_images(at / "base"), hasher.encode_images(at / "copies")
        HashEval(base, test, hasher.hamming_distance, verbose=False, threshold=10, search_method="brute_force_cython")
        seconds = time.perf_counter() - began
        bits = [_bits(codes.values()) for codes in (base, test)]
        place = {int(Path(stem).stem): i for i, stem in enumerate(base)}
        own: dict[str, list[int]] = {kind: [] for kind in KINDS}
        counts = {kind: np.zeros(65, np.int64) for kind in KINDS}
        for row, stem in enumerate(test):
            kind, i = Path(stem).stem.rsplit("-", 1)
            distance = (64 - bits[0] @ bits[1][row]) / 2
            counts[kind] += np.bincount(np.rint(distance).astype(np.int64), minlength=65)
            own[kind].append(round(float(distance[place[int(i)]])))
        scores: Scores = {}
        for kind in KINDS:
            mine = np.array(own[kind])
            wrong = counts[kind] - np.bincount(mine, minlength=65)
            scores[kind] = (-mine.astype(float), np.repeat(-np.arange(30.0), wrong[:30]))  # beyond 29 all is noise
        print(f"  {method.__name__} {seconds:.1f} s", flush=True)
        out[f"imagededup {method.__name__}"] = (seconds, scores)
    return out


def _bits(codes: "Iterator[str]") -> np.ndarray:
    """(n, 64) of -1 and 1 from hexadecimal codes."""
    raw = np.array([np.frombuffer(bytes.fromhex(code), np.uint8) for code in codes])
    return np.unpackbits(raw, axis=1).astype(np.float32) * 2 - 1


def recalls(scores: Scores) -> dict[str, float]:
    """By kind: most recall among the thresholds at which at least 99% of the pairs are right."""
    out = {}
    for kind, (own, false) in scores.items():
        best = 0.0
        for threshold in np.unique(own[np.isfinite(own)]):
            right = int((own >= threshold).sum())
            if right >= 99 * int((false >= threshold).sum()):
                best = right / len(own)
                break
        out[kind] = round(best, 4)
    return out


if __name__ == "__main__":
    main()
