"""Does the interval of `jftdata.precision` cover the truth, and what does a sample cost? `python benchmarks/bench_precision.py FOLDER`.

FOLDER keeps a world of 10,000 images and the label table of JFT-300M's size (4.5 GB). Every design is audited 200 times, each
time with another seed: a sample is drawn, answered with the truth, and estimated; `coverage` is the share of intervals that
hold the true precision, of all pairs and of each group. The truth is the world's own, with the scores of `noise.audit` on
the descriptor; or planted at a precision on the same pairs, with scores that tell some of the wrong ones. `unsure` are the
same pairs each time, `unjudged` others each time. Power is checked by the mean width at the number it asks for. Time and
memory are of a process of its own. Writes `results/precision_<hardware>_<yyyymm>.csv` as it goes.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import measuring

AUDITS = 200
FULL, SMALL = 300_000_000, 30_000_000
LABELS, ALL = ("frequency", "depth"), ("frequency", "depth", "score")
DESIGNS: list[dict[str, Any]] = [
    *({"strata": strata, "num": num} for num in (50, 200, 500) for strata in ((), LABELS, ("score",))),
    {"strata": ALL, "num": 200},
    {"strata": ALL, "num": 500},
    {"strata": LABELS, "num": 200, "unsure": 0.05},
    {"strata": ALL, "num": 500, "unsure": 0.05},
    {"strata": ALL, "num": 500, "unsure": 0.05, "unjudged": 0.2},
    *({"strata": strata, "num": num, "precision": p} for p in (0.5, 0.95, 0.99) for strata in (LABELS, ("score",), ALL)
      for num in (50, 500) if num > 50 or strata != ALL),
]  # fmt: skip


def world(folder: Path):  # type: ignore[no-untyped-def]
    """A catalog with every given label of it, scored, and whether it is right."""
    import polars as pl

    import jftdata as jd

    files = jd.world.write(folder / "world", num_images=10_000, seed=0, num_eval=0, num_clean_train=0, num_clean_test=0)
    catalog = jd.sources.from_hub(
        files.train, label="labels", hierarchy=jd.Hierarchy.load("world"), out=folder / "world.catalog"
    )
    scores = jd.noise.audit(catalog, jd.embed.run(catalog, out=folder / "world.embeddings"))
    names = pl.concat(  # byte-identical pictures are one image with the labels of all
        [
            catalog.scan().select("image", "source"),
            pl.scan_parquet(catalog.path / "duplicates.parquet").select("image", "source"),
        ]
    ).with_columns(path=pl.col("source").str.split(":").list.last())
    truth = pl.read_parquet(files.truth_labels).join(names.collect(), on="path")
    truth = truth.select("image", "label", right=pl.col("error") == "")
    return catalog, scores.select("image", "label", "wrong"), truth.unique(["image", "label"], maintain_order=True)


def audits(folder: Path) -> list[dict[str, object]]:
    import numpy as np
    import polars as pl

    from jftdata import precision
    from jftdata.hashing import keyed_hash, uniform

    catalog, scores, truth = world(folder)
    rows = []
    for design in DESIGNS:
        pairs = truth
        known = scores
        draw = uniform(keyed_hash(np.arange(3 * len(truth)), seed=1, stream="bench")).reshape(3, -1)
        if planted := design.get("precision"):
            pairs = truth.with_columns(right=pl.Series(draw[0] < planted))
            known = pairs.select("image", "label", wrong=pl.Series(draw[1]) + 0.7 * (~pl.col("right")).cast(pl.Int8))
        answer = (
            pl.when(pl.col("unsure")).then(pl.lit("unsure")).when("right").then(pl.lit("yes")).otherwise(pl.lit("no"))
        )
        pairs = pairs.with_columns(unsure=pl.Series(draw[2] < design.get("unsure", 0))).with_columns(answer=answer)
        how = {"strata": design["strata"], "scores": known if "score" in design["strata"] else None, "workers": 1}
        tree = {"hierarchy": catalog.hierarchy, "under": ("entity", "living thing")}

        def run(num: int, seed: int, pairs=pairs, how=how, tree=tree, design=design):  # type: ignore[no-untyped-def]
            drawn = precision.sample(catalog, num=num, seed=seed, **how)
            answered = drawn.select("image", "label").join(pairs, on=["image", "label"], how="left")
            rng = np.random.default_rng(seed)
            judged = answered.filter(pl.Series(rng.random(len(answered)) >= design.get("unjudged", 0)))
            return precision.estimate(drawn, judged, **tree)

        everything = precision.sample(catalog, num=10**9, seed=0, **how)
        exact = precision.estimate(everything, pairs, **tree).select("group", "name", true="precision")
        found = pl.concat([run(design["num"], seed) for seed in range(1, AUDITS + 1)]).join(exact, on=["group", "name"])
        told = found.group_by("group", maintain_order=True).agg(
            coverage=((pl.col("low") <= pl.col("true")) & (pl.col("true") <= pl.col("high"))).mean(),
            intervals=pl.len(),
            width=(pl.col("high") - pl.col("low")).mean(),
            bias=(pl.col("precision") - pl.col("true")).mean(),
            design_effect=pl.col("design_effect").mean(),
        )
        true = float(exact["true"][0])
        for row in told.iter_rows(named=True):
            name = "+".join(design["strata"]) or "none"
            about = {
                "strata": name,
                "num": design["num"],
                "truth": "planted" if planted else "world",
                "precision": true,
            }
            rest = {"unsure": design.get("unsure", 0), "unjudged": design.get("unjudged", 0)}
            rows.append({"work": "audit", **about, **rest, **row})
            print(rows[-1], flush=True)
    return rows


def powers(folder: Path) -> list[dict[str, object]]:
    """Mean width of intervals at the number of answers that `power` asks for."""
    import numpy as np

    from jftdata import precision

    rows: list[dict[str, object]] = []
    rng = np.random.default_rng(0)
    for guess in (0.5, 0.8, 0.95, 0.99):
        for width in (0.02, 0.05, 0.1, 0.2):
            num = int(precision.power(width=width, precision_guess=guess)["num"][0])
            spans = [
                high - low for low, high in (precision.wilson(x / num, num) for x in rng.binomial(num, guess, 2000))
            ]
            rows.append(
                {"work": "power", "precision": guess, "wanted_width": width, "num": num, "width": float(np.mean(spans))}
            )
            print(rows[-1], flush=True)
    return rows


def scale(folder: Path, num_images: int, scored: bool) -> dict[str, object]:
    import numpy as np
    import polars as pl

    from jftdata import precision
    from jftdata.catalog import label_rows
    from jftdata.hashing import keyed_hash, uniform
    from jftdata.ragged import owners
    from jftdata.world import jft300m

    catalog = jft300m(num_images, seed=0, out=folder / f"jft{num_images}")
    scores = None
    if scored:
        names = pl.Series(catalog.hierarchy.labels, dtype=pl.Categorical())
        parts = []
        for images, start, index in label_rows(catalog):
            image = images[owners(start)]
            score = uniform(keyed_hash(image ^ (index.astype(np.int64) << 40), seed=0, stream="bench"))
            parts.append(pl.DataFrame({"image": image, "label": names.gather(index), "wrong": score}))
        scores = pl.concat(parts, rechunk=False)
    began, cpu = time.perf_counter(), time.process_time()
    drawn = precision.sample(catalog, num=1000, seed=0, scores=scores)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    again = precision.sample(catalog, num=1000, seed=0, scores=scores, workers=1) if num_images == SMALL else drawn
    assert drawn.equals(again)
    return {
        "work": "sample with scores" if scored else "sample", "num_images": num_images,
        "num_pairs": int(drawn.unique("stratum")["population"].sum()), "num": len(drawn),
        "num_strata": drawn["stratum"].n_unique(), "seconds": seconds, "cpu_seconds": cpu_seconds,
    }  # fmt: skip


SCALES = {"full": (FULL, False), "small": (SMALL, False), "small, scored": (SMALL, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=SCALES)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.only:
        print(json.dumps(scale(asked.folder, *SCALES[asked.only])))
        return
    import polars as pl

    rows: list[dict[str, object]] = []
    for work in (*SCALES, powers, audits):  # the peak of a new process is never below what its parent holds
        if isinstance(work, str):
            rows.append(measuring.alone(asked.folder, "--only", work))
            print(rows[-1], flush=True)
        else:
            rows += work(asked.folder)
        table = pl.DataFrame(rows, infer_schema_length=None)
        measuring.write("precision", table.with_columns(pl.selectors.float().round(4)))


if __name__ == "__main__":
    main()
