"""What the report says of training runs and of what more images buy: headline, loss curves, score curves, tables."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from scipy import stats

from jftdata.checkpoint import Checkpoint
from jftdata.results import Results
from jftdata.study import figures
from jftdata.study.curves import fit_log, predict
from jftdata.study.figures import AHEAD, RunCurve, ScoreCurve

HEADLINE_TASKS = ("linear-probe", "classification", "knn")
"""Which task the headline speaks of, first choice first; any other comes after."""
MAIN = ("top-1", "AP", "mean IoU")
"""Metrics that stand for a task."""
MODES = {"frozen": "frozen", "finetune": "fine-tuned"}


def score_curves(results: Results) -> list[ScoreCurve]:
    """The main metric of every task and mode with its fit, by task, frozen first."""
    curves = []
    for (task, mode), rows in results.rows.partition_by("task", "mode", as_dict=True, maintain_order=True).items():
        curve = score_curve(rows, task=str(task), name=MODES.get(str(mode), str(mode)))
        if curve is not None:
            curves.append(curve)
    return sorted(curves, key=lambda c: (c.task, c.mode != "frozen", c.mode))


def score_curve(rows: pl.DataFrame, *, task: str, name: str) -> ScoreCurve | None:
    """The main metric of some results by number of pretraining images; None where only untrained weights were judged."""
    metric = main_metric(rows)
    rows = rows.filter(pl.col("metric") == metric)
    points = rows.filter(pl.col("num_train_images") > 0).select("num_train_images", "seed", "value")
    if points.is_empty():
        return None
    fresh = rows.filter(pl.col("num_train_images") == 0)["value"]
    fit = fit_log(points, by=[]).row(0, named=True) if points["num_train_images"].n_unique() > 1 else None
    untrained = float(fresh.to_numpy().mean()) if len(fresh) else None
    return ScoreCurve(
        task=task, mode=name, metric=metric, points=points, means=means_of(points), untrained=untrained, fit=fit
    )


def main_metric(rows: pl.DataFrame) -> str:
    """The first of `MAIN` that is there; of several numbers of neighbours or images a class the best on average; else the first by
    name."""
    rows = rows.filter(pl.col("num_train_images") > 0) if (rows["num_train_images"] > 0).any() else rows
    known = rows["metric"].unique().sort().to_list()
    for name in MAIN:
        if name in known:
            return name
    top = rows.filter(pl.col("metric").str.starts_with("top-1 ("))
    if top.is_empty():
        return str(known[0])
    means = top.group_by("metric").agg(pl.col("value").mean())
    return str(means.sort("value", "metric", descending=[True, False])["metric"][0])


def headline(curves: Sequence[ScoreCurve], *, judged_on: str = "") -> tuple[str, str]:
    """The finding in one sentence, and one or two more that say how far it goes.

    It says plainly when the interval includes zero, when there are too few runs for one, and when untrained weights do
    as well.
    """
    curve = headline_curve(curves)
    score = f"{curve.task.replace('-', ' ')} {curve.metric}" + (f" on {judged_on}" if judged_on else "")
    fit = curve.fit
    if fit is None:
        size, mean = curve.means.select("num_train_images", "mean").row(-1)
        return (
            f"With {size:,} images, {score} is {percent(mean)}.",
            "One size says nothing about what more images would buy.",
        )
    low, high = fit["slope_low"], fit["slope_high"]
    if not math.isfinite(low):
        first = f"Ten times the images goes with {points(fit['slope'], sign=True)} points of {score}."
        rest = "Two runs draw a line but give it no interval: run more seeds or sizes before believing it."
    elif low <= 0 <= high:
        first = f"These runs do not show that more images help {score}."
        rest = (
            f"Ten times the images changes it by {points(fit['slope'], sign=True)} points, and the 95% interval, "
            f"{points(low, sign=True)} to {points(high, sign=True)}, includes zero; a larger set may do either."
        )
    else:
        gain = fit["slope"] > 0
        span = (low, high) if gain else (-high, -low)
        first = (
            f"Ten times the images {'adds' if gain else 'takes'} {points(abs(fit['slope']))} points (95% interval "
            f"{points(span[0])} to {points(span[1])}) {'to' if gain else 'from'} {score}."
        )
        size = AHEAD * fit["x_max"]
        value, least, most = predict(fit, x=size)
        rest = (
            f"Three times the largest set, {size:,.0f} images, would {'add' if gain else 'take'} about "
            f"{points(abs(fit['slope']) * math.log10(AHEAD))} points if the line goes on: {percent(value)}, and "
            f"between {percent(max(least, 0.0))} and {percent(min(most, 1.0))} for 95% of such runs."
        )
    return first, f"{rest} {_against_untrained(curve)}".strip()


def headline_curve(curves: Sequence[ScoreCurve]) -> ScoreCurve:
    """The curve the headline speaks of."""
    order = {task: i for i, task in enumerate(HEADLINE_TASKS)}
    return min(curves, key=lambda c: (c.fit is None, order.get(c.task, len(order)), c.task, c.mode))


def score_table(curves: Sequence[ScoreCurve]) -> dict[str, Any]:
    """Score at each size, slope with interval, R2 and what three times the largest set is predicted to reach."""
    sizes = sorted({int(x) for c in curves for x in c.means["num_train_images"]})
    rows = []
    for c in curves:
        at = {r["num_train_images"]: _mean_text(r) for r in c.means.iter_rows(named=True)}
        row: dict[str, Any] = {
            "task": c.task, "mode": c.mode, "metric": c.metric, "scores": [at.get(s, "") for s in sizes],
            "untrained": percent(c.untrained) if c.untrained is not None else "",
            "slope": "", "slope_range": "", "r2": "", "ahead": "", "ahead_range": "", "verdict": verdict(c),
        }  # fmt: skip
        if c.fit is not None:
            value, low, high = predict(c.fit, x=AHEAD * c.fit["x_max"])
            row |= {"slope": points(c.fit["slope"], sign=True), "r2": f"{c.fit['r2']:.2f}", "ahead": percent(value)}
            if math.isfinite(low):
                row["slope_range"] = (
                    f"{points(c.fit['slope_low'], sign=True)} to {points(c.fit['slope_high'], sign=True)}"
                )
                row["ahead_range"] = f"{percent(max(low, 0.0))} to {percent(min(high, 1.0))}"
        rows.append(row)
    return {"sizes": sizes, "rows": rows, "untrained": any(c.untrained is not None for c in curves)}


def verdict(curve: ScoreCurve) -> str:
    """A few words for above a panel."""
    if curve.fit is None:
        return "one size, no curve"
    slope = f"{points(curve.fit['slope'], sign=True)} points for 10×"
    low, high = curve.fit["slope_low"], curve.fit["slope_high"]
    if not math.isfinite(low):
        return f"{slope}, from two runs"
    return f"{slope}" + (", interval includes zero" if low <= 0 <= high else "")


def panels(curves: Sequence[ScoreCurve], *, prefix: str) -> list[dict[str, Any]]:
    """One figure for each task, with a key when it has two modes."""
    views = []
    for number, task in enumerate(dict.fromkeys(c.task for c in curves)):
        some = [c for c in curves if c.task == task]
        keys = [{"color": figures.name_of(color), "mark": mark, "text": f"{c.mode}: {verdict(c)}"}
                for c, (color, _, mark) in zip(some, figures.GROUPS, strict=False)]  # fmt: skip
        metrics = ", ".join(dict.fromkeys(c.metric for c in some))
        svg = figures.scores(some, prefix=f"{prefix}{number}")
        views.append({"task": task, "metric": metrics, "keys": keys, "svg": svg})
    return views


def training(checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    """Curves of loss, and of mAP@100 where there were validations, and tables of runs and sizes, smallest set first.

    The last loss is the mean of the last twentieth of the rows.
    """
    runs: list[dict[str, Any]] = []
    curves, validated = [], []
    for c in sorted(checkpoints, key=lambda c: (c.num_train_images, int(c.config.get("seed", 0)), c.fingerprint)):
        metrics = c.metrics()
        rows, scored = [r for r in metrics if "loss" in r], [r for r in metrics if "mAP@100" in r]
        trained = c.num_train_images if rows else 0
        last = statistics.fmean(r["loss"] for r in rows[-max(1, len(rows) // 20) :]) if rows else None
        runs.append({
            "name": c.path.name, "epochs": f"{c.config['total_epochs']:g}" if "total_epochs" in c.config else "",
            "images": trained, "seed": c.config.get("seed", ""), "architecture": c.config.get("architecture", ""),
            "steps": int(c.sidecar.facts.get("num_steps", len(rows))), "loss": last, "loss_text": _number(last),
            "rate": statistics.median(r["images_per_second"] for r in rows) if rows else None,
            "fingerprint": c.fingerprint[:8],
        })  # fmt: skip
        if rows:
            seen, loss = [r["images"] for r in rows], [r["loss"] for r in rows]
            curves.append(RunCurve(num_train_images=trained, images=seen, value=loss))
        if scored:
            seen, score = [r["images"] for r in scored], [r["mAP@100"] for r in scored]
            validated.append(RunCurve(num_train_images=trained, images=seen, value=score))
    keys = [{"color": figures.name_of(color), "text": f"{size:,} images"}
            for size, color in figures.size_colors([c.num_train_images for c in curves]).items()]  # fmt: skip
    svg = figures.run_curves(curves) if curves else None
    scores = figures.run_curves(validated, what="mAP@100", prefix="validation") if validated else None
    return {
        "runs": runs, "sizes": _by_size(runs), "keys": keys, "svg": svg, "scores": scores, "num_trained": len(curves)
    }  # fmt: skip


def _by_size(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs of a size in one row: their number, steps, mean last loss and median rate."""
    rows = []
    for size in sorted({r["images"] for r in runs}):
        some = [r for r in runs if r["images"] == size]
        steps = sorted({r["steps"] for r in some})
        trained = [r for r in some if r["loss"] is not None]
        loss = statistics.fmean(r["loss"] for r in trained) if trained else None
        rows.append({
            "images": size, "runs": len(some), "loss": _number(loss),
            "steps": "–".join(f"{n:,}" for n in dict.fromkeys((steps[0], steps[-1]))),
            "rate": f"{statistics.median(r['rate'] for r in trained):,.0f}" if trained else "",
        })  # fmt: skip
    return rows


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def all_rows(results: Results) -> list[dict[str, Any]]:
    """Every result as text, for the full table."""
    return [
        {**{k: r[k] for k in ("task", "mode", "metric", "seed")}, "images": f"{r['num_train_images']:,}",
         "value": percent(r["value"]), "range": f"{percent(r['low'])} to {percent(r['high'])}",
         "train": f"{r['num_task_train']:,}", "test": f"{r['num_task_test']:,}", "clean": _without_copies(r)}
        for r in results.rows.iter_rows(named=True)
    ]  # fmt: skip


def _without_copies(row: Mapping[str, Any]) -> str:
    """The score without the test images that the checkpoint saw a copy of, and how many those are; empty where nobody looked."""
    if row["num_copies"] is None:
        return ""
    if row["value_clean"] is None:
        return f"none left of {row['num_task_test']:,}"
    moved = "" if not row["num_copies"] else (
        f", copies add {points(row['difference'], sign=True)} ({points(row['difference_low'])} to {points(row['difference_high'])})"
    )  # fmt: skip
    return f"{percent(row['value_clean'])} ({row['num_copies']:,} left out{moved})"


def points(value: float, *, sign: bool = False) -> str:
    """A share as percentage points with one decimal and a true minus.

    >>> points(0.0834), points(-0.0123), points(0.05, sign=True)
    ('8.3', '−1.2', '+5.0')
    """
    text = f"{100 * value:{'+' if sign else ''}.1f}"
    return text.replace("-", "−")


def percent(value: float) -> str:
    """A share in percent with one decimal.

    >>> percent(0.3345)
    '33.5%'
    """
    return f"{points(value)}%"


def _against_untrained(curve: ScoreCurve) -> str:
    if curve.untrained is None:
        return ""
    size, mean = curve.means.sort("mean", "num_train_images").select("num_train_images", "mean").row(-1)
    if mean <= curve.untrained:
        return f"No set here does better than untrained weights ({percent(curve.untrained)})."
    return f"Untrained weights reach {percent(curve.untrained)}; the best set, {size:,} images, {percent(mean)}."


def means_of(points: pl.DataFrame) -> pl.DataFrame:
    """Mean of the seeds at each `num_train_images`, with half its 95% interval (Student's t), null for one seed."""
    rows = []
    for (size,), part in points.sort("num_train_images").partition_by("num_train_images", as_dict=True).items():
        mean, half = over_seeds(part["value"].to_list())
        rows.append({"num_train_images": size, "mean": mean, "half": half})
    kind = points.schema["num_train_images"]
    return pl.DataFrame(rows, schema={"num_train_images": kind, "mean": pl.Float64, "half": pl.Float64})


def over_seeds(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and half its 95% interval (Student's t); None for one value.

    >>> mean, half = over_seeds([1.0, 2.0, 3.0])
    >>> mean, round(half, 6)
    (2.0, 2.484138)
    """
    n, mean = len(values), statistics.fmean(values)
    return mean, float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else None


def _mean_text(row: dict[str, Any]) -> str:
    return percent(row["mean"]) if row["half"] is None else f"{points(row['mean'])} ± {points(row['half'])}%"
