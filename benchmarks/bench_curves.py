"""Do the intervals of `jftdata.study.fit` hold the truth, and which form does it choose? `python benchmarks/bench_curves.py`.

Runs are drawn around a true curve of each form, at four or six sizes that are half a decade apart, with one or three seeds, and judged
on 1,000 test images, of whose error a share is common to all runs. A row tells of `SIMULATIONS` such studies, fitted with the true
form (`fitted`) or by choice (`auto`). `slope_coverage` is of the gain of the next decade; `run_coverage` of one more run on the same
test images and `world_coverage` of one on others, both at ten times the largest size; `bias` and `rms` are of the score foretold there,
`chosen` counts forms. For `log`, `seeds_resampled` is the coverage of the slope by the percentiles of a plain bootstrap, in which the
seeds of each size are drawn again. `seed_sd` is what a seed adds to its runs at all sizes, which the intervals know nothing of.
Writes `results/curves_<hardware>_<yyyymm>.csv` as it goes.
"""

import datetime
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from jftdata.study import forms
from jftdata.study.curves import fit
from jftdata.study.outlook import forecast, gain, held_out_of, plateau

RESULTS = Path(__file__).parent / "results"
SIMULATIONS = 100
RUN_SD, TEST_IMAGES = 0.01, 1000
TRUE = {
    "log": [0.1, 0.1],
    "power": [1.0, 2.0, 0.2],
    "power-offset": [0.7, 3.0, 0.35],
    "sigmoid": [0.8, 0.6, 3_000.0, 0.9],
}
STUDIES = [
    *({"truth": truth, "sizes": 4, "seeds": 3} for truth in ("log", "power", "power-offset")),
    *({"truth": truth, "sizes": 6, "seeds": 3} for truth in TRUE),
    {"truth": "log", "sizes": 4, "seeds": 1},
    {"truth": "log", "sizes": 6, "seeds": 1},
    {"truth": "power-offset", "sizes": 6, "seeds": 1},
    {"truth": "log", "sizes": 4, "seeds": 3, "common": 0.5},
    {"truth": "log", "sizes": 4, "seeds": 3, "seed_sd": 0.01},
    {"truth": "log", "sizes": 4, "seeds": 3, "falling_sd": True},
]


def true_value(truth: str, x: np.ndarray) -> np.ndarray:
    return forms.value(forms.FORMS[truth], np.array([TRUE[truth]]), np.asarray(x, float))[0]


def drawn(study: dict, rng: np.random.Generator) -> tuple[pl.DataFrame, float, float, float]:
    """A study's runs, and the truth at ten times the largest size: a run on the same test images, one on others, the curve."""
    sizes = 250 * 10 ** (np.arange(study["sizes"]) / 2)
    x = np.repeat([*sizes, 10 * sizes[-1]], study["seeds"])
    curve = true_value(study["truth"], x)
    sd = RUN_SD * np.where(x < sizes[1] * 2, 2.0, 1.0) if study.get("falling_sd") else RUN_SD
    test_sd = math.sqrt(float((curve * (1 - curve)).mean()) / TEST_IMAGES)
    common = study.get("common", 1.0)
    own_sd = test_sd * math.sqrt(1 - common)
    shift, other = rng.normal(0, test_sd * math.sqrt(common), 2)
    seeds = np.tile(rng.normal(0, study.get("seed_sd", 0.0), study["seeds"]), len(sizes) + 1)
    noise = rng.normal(0, 1, len(x)) * sd + rng.normal(0, own_sd, len(x)) + seeds
    y = (curve + noise).clip(0, 1)
    last, new = x < x.max(), len(x) - 1
    rows = pl.DataFrame({"n": x, "value": (y + shift).clip(0, 1)}).filter(pl.Series(last))
    rows = rows.with_columns(low=pl.col("value") - 1.96 * test_sd, high=pl.col("value") + 1.96 * test_sd)
    return rows, y[new] + shift, y[new] + other, curve[new]


def resampled(rows: pl.DataFrame, rng: np.random.Generator) -> tuple[float, float]:
    """Slope of the line by the plain bootstrap: the seeds of each size drawn again, 200 times."""
    x, y = np.log10(rows["n"].to_numpy()), rows["value"].to_numpy()
    by_size = [np.flatnonzero(x == size) for size in np.unique(x)]
    slopes = []
    for _ in range(200):
        pick = np.concatenate([rng.choice(runs, len(runs)) for runs in by_size])
        slopes.append(np.polyfit(x[pick], y[pick], 1)[0])
    return float(np.quantile(slopes, 0.025)), float(np.quantile(slopes, 0.975))


def measure(study: dict) -> list[dict]:
    kept: dict[str, list[dict]] = {"fitted": [], "auto": []}
    plain = []
    for number in range(SIMULATIONS):
        rng = np.random.default_rng(number)
        rows, run, world, curve = drawn(study, rng)
        stop = 10 * rows["n"].max()
        rise = float(np.diff(true_value(study["truth"], [rows["n"].max(), stop]))[0])
        for how, form in (("fitted", study["truth"]), ("auto", "auto")):
            found = fit(rows, x="n", by=[], form=form, num_draws=600, seed=number)[0]
            _, low, high = gain(found, found.x_max, stop)
            same, others = forecast(found, x=stop, same_test_images=True), forecast(found, x=stop)
            held = held_out_of(found)
            kept[how].append({
                "slope": low <= rise <= high, "run": same.low <= run <= same.high, "world": others.low <= world <= others.high,
                "error": same.value - curve, "width": same.high - same.low, "form": found.form,
                "held": held["inside"][0] if len(held) else None, "plateau": plateau(found).verdict,
            })  # fmt: skip
        if study["truth"] == "log" and study["seeds"] > 1:
            low, high = resampled(rows, rng)
            plain.append(low <= TRUE["log"][1] <= high)
    return [told(study, how, pl.DataFrame(rows), plain) for how, rows in kept.items()]


def told(study: dict, how: str, rows: pl.DataFrame, plain: list[bool]) -> dict:
    error = rows["error"].to_numpy()
    return {
        "truth": study["truth"], "sizes": study["sizes"], "seeds": study["seeds"], "common": study.get("common", 1.0),
        "seed_sd": study.get("seed_sd", 0.0), "falling_sd": study.get("falling_sd", False), "how": how,
        "slope_coverage": round(rows["slope"].mean(), 3), "run_coverage": round(rows["run"].mean(), 3),
        "world_coverage": round(rows["world"].mean(), 3), "width": round(rows["width"].median(), 4),
        "bias": round(float(error.mean()), 4), "rms": round(math.sqrt(float((error**2).mean())), 4),
        "held_out_coverage": None if rows["held"].is_null().all() else round(rows["held"].mean(), 3),
        "seeds_resampled": round(sum(plain) / len(plain), 3) if plain else None,
        "chosen": json.dumps(dict(rows["form"].value_counts().sort("count", "form", descending=True).iter_rows())),
        "plateau": json.dumps(dict(rows["plateau"].value_counts().sort("count", "plateau", descending=True).iter_rows())),
        "simulations": SIMULATIONS,
        "half_95": round(float(stats.norm.ppf(0.975)) * math.sqrt(0.95 * 0.05 / SIMULATIONS), 3),
    }  # fmt: skip


def main() -> None:
    out = RESULTS / f"curves_cpu{os.cpu_count()}_{datetime.date.today():%Y%m}.csv"
    print(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, NumPy {np.__version__}, {SIMULATIONS} studies a row"
    )
    rows: list[dict] = []
    for study in STUDIES:
        rows += measure(study)
        print(rows[-2], rows[-1], sep="\n", flush=True)
        pl.DataFrame(rows, infer_schema_length=None).write_csv(out)


if __name__ == "__main__":
    main()
