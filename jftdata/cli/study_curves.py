"""`jftdata study fit` and `study predict`: curves through the scores of studies, and what more images would buy."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl

from jftdata import storage
from jftdata.cli.verb import EXISTING, Answer, answers, table
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.plural import plural
from jftdata.results import SCHEMA, Results

if TYPE_CHECKING:
    from jftdata.study.curves import Curve

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def _results(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what tells a command which curves are meant."""
    for add in (
        click.option("--seed", default=0, show_default=True, help="Of what intervals are drawn from."),
        click.option("--metric", help="Only this one."),
        click.option("--mode", help="Only this one."),
        click.option("--task", help="Only this one."),
        click.option("--x", help="Column with numbers of images; by default what the study says, or num_train_images."),
        click.option("--by", multiple=True, help="Column that tells curves apart, besides task, mode and metric."),
        click.option("--form", default="auto", show_default=True, help="log, power, power-offset or sigmoid; auto: by sizes held out."),
        click.argument("results", type=EXISTING, nargs=-1, required=True),
    ):  # fmt: skip
        function = add(function)
    return function


@click.command()
@_results
@answers
def fit(results: tuple[Path, ...], **how: Any) -> Answer:
    """Fit a curve of scores over numbers of pretraining images to each task, mode and metric.

    RESULTS are folders of studies or of results, or a .csv or .parquet with their columns. Gains and errors are in points.
    """
    from jftdata.study import outlook

    curves, said = _curves(results, **how)
    shown = outlook.summary(curves).select(
        *curves[0].key, "form", "num_runs", "num_sizes", "r2", (pl.col("decade") * 100).alias("for 10x"),
        (pl.col("decade_low") * 100).alias("low"), (pl.col("decade_high") * 100).alias("high"),
        (pl.col("held_out_error") * 100).alias("held-out error"), pl.col("held_out_inside").alias("inside"), "plateau",
    )  # fmt: skip
    held = [curve.held_out.select(*(pl.lit(v).alias(k) for k, v in curve.key.items()), pl.all()) for curve in curves]
    foretold = pl.concat(held).select(
        *curves[0].key, "form", pl.col("images").round().cast(pl.Int64), "num_sizes",
        pl.col("value", "predicted", "low", "high", "error") * 100, "inside",
    )  # fmt: skip
    text = said + table(shown, rows=60)
    if len(foretold):
        text += f"\n\nSizes held out, foretold from the smaller ones:\n{table(foretold, rows=60)}"
    return Answer(text, {"curves": [_told(curve) for curve in curves]})


@click.command()
@_results
@click.option("--images", "wanted", multiple=True, required=True, help="Such as 300M, 1.5B or 3e8; may be given again.")
@click.option("--points", default=1.0, show_default=True, help="Also say how many images so many more points need.")
@answers
def predict(results: tuple[Path, ...], wanted: tuple[str, ...], points: float, **how: Any) -> Answer:
    """What one more run would score at a number of images, with its 95% interval, and how many images more points need.

    RESULTS as for `study fit`. The first interval is for a run judged on other test images like these, the second on the same.
    """
    from jftdata.study import outlook

    sizes = [count(text) for text in wanted]
    if not points > 0:
        raise BadArgument(f"`--points` must be above 0. Got {points:g}.")
    curves, said = _curves(results, **how)
    lines, found = [], []
    for curve in curves:
        lines.append(", ".join(map(str, curve.key.values())) + f": {curve.form}, {len(curve.sizes)} sizes")
        row: dict[str, Any] = {**curve.key, "form": curve.form, "predictions": []}
        for x in sizes:
            other = outlook.forecast(curve, x=x)
            same = outlook.forecast(curve, x=x, same_test_images=True)
            lines.append(
                f"  {x:,.0f} images: {other.value:.1%} ({other.low:.1%} to {other.high:.1%}; on the same test images "
                f"{same.low:.1%} to {same.high:.1%})"
            )
            rivals = [f"{name} {value:.1%}" for name, value in other.by_form.items() if name != curve.form]
            lines += [f"    the sizes do not refute {', '.join(rivals)}"] if rivals else []
            lines += [f"    {other.warning}"] if other.warning else []
            row["predictions"].append(
                {**dataclasses.asdict(other), "low_same_test_images": same.low, "high_same_test_images": same.high}
            )
        now = outlook.forecast(curve, x=curve.x_max).value
        if now + points / 100 <= 1:
            need = outlook.images_for(curve, gain=points / 100)
            lines.append(
                f"  {points:g} points more than at {curve.x_max:,.0f} images: {_images(need.images)} "
                f"({_images(need.low)} to {_images(need.high)})"
            )
            lines += [f"    {need.warning}"] if math.isfinite(need.images) and need.warning else []
            row["images_for_points"] = _finite({"points": points, **dataclasses.asdict(need)})
        found.append(row)
    return Answer(said + "\n".join(lines), {"curves": found})


def count(text: str) -> float:
    """A number of images as people write it.

    Raises:
        BadArgument: no such number.

    >>> [count(x) for x in ("300M", "1.5B", "3e8", "250k", "30,000")]
    [300000000.0, 1500000000.0, 300000000.0, 250000.0, 30000.0]
    """
    parts = re.fullmatch(r"(\d[\d,_]*(?:\.\d+)?(?:e\+?\d+)?)([kmb]?)", text.strip().lower())
    number = float(re.sub("[,_]", "", parts[1])) * _UNITS[parts[2]] if parts else 0.0
    if not 0 < number < math.inf:
        raise BadArgument(f"a number of images must be like 300M, 1.5B, 3e8 or 30000, and above 0. Got {text!r}.")
    return number


def _curves(
    paths: Sequence[Path], *, form: str, by: Sequence[str], x: str | None, task: str | None, mode: str | None,
    metric: str | None, seed: int,
) -> tuple[list["Curve"], str]:  # fmt: skip
    """The curves asked for, and what is to be said of the rows."""
    from jftdata.study import curves

    rows, known = _rows(paths)
    num = len(rows)
    rows = rows.unique(maintain_order=True)
    said = f"{num - len(rows):,} rows were there twice and count once.\n" if len(rows) < num else ""
    for column, value in (("task", task), ("mode", mode), ("metric", metric)):
        if value is not None:
            there = rows[column].unique().sort().to_list()
            rows = rows.filter(pl.col(column) == value)
            if rows.is_empty():
                raise BadArgument(f"no result has the {column} {value!r}. There are: {', '.join(there)}.")
    apart = list(dict.fromkeys(["task", "mode", "metric", *known["by"], *by]))
    if "study" in rows.columns and rows["study"].n_unique() > 1:
        apart.insert(0, "study")
    if "data" in rows.columns and any(part["data"].drop_nulls().n_unique() > 1 for part in rows.partition_by(*apart)):
        apart.append("data")
    x = x or known["x"]
    rows, alone = curves.with_two_sizes(rows, x=x, by=apart)
    if alone:
        said += f"{plural(alone, 'group')} with scores at one size only: left out, as a curve needs two.\n"
    return curves.fit(rows, form=form, x=x, by=apart, seed=seed), said


def _rows(paths: Sequence[Path]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """All rows, and what studies among them say of `x` and `by`."""
    parts: list[pl.DataFrame] = []
    x: list[str] = []
    by: list[str] = []
    for path in paths:
        about = path / "study.json"
        if about.is_file():
            said = json.loads(about.read_text(encoding="utf-8"))
            x.append(said["x"])
            by += said["by"]
        found = [path] if path.is_file() or (path / storage.SIDECAR).is_file() else []
        found = found or [p for p in (path / "study.csv",) if p.is_file()]
        found = found or storage.inside(path / "transfer")
        if not found:
            raise MissingInput(
                f"{path} holds no scores. Give the folder of a study or of results, or a .csv or .parquet."
            )
        parts += [_read(p) for p in found]
    if len(set(x)) > 1:
        raise BadArgument(f"these studies are over {' and '.join(sorted(set(x)))}. Fit them one by one, or give `--x`.")
    return pl.concat(parts, how="diagonal"), {"x": x[0] if x else "num_train_images", "by": by}


def _read(path: Path) -> pl.DataFrame:
    if path.is_dir():
        return Results.open(path).rows
    if path.suffix not in (".csv", ".parquet"):
        raise BadInput(f"scores are read from a folder, a .csv or a .parquet. Got {path}.")
    try:
        frame = (
            pl.read_csv(path, schema_overrides=SCHEMA) if path.suffix == ".csv" else pl.read_parquet(path, glob=False)
        )
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} cannot be read ({error}). Give a study's `study.csv` or a table like it.") from error
    missing = [name for name in ("task", "mode", "metric", "value") if name not in frame.columns]
    if missing:
        raise BadInput(f"{path} has no column {missing[0]!r}, only {', '.join(frame.columns)}. Name the columns so.")
    return frame


def _told(curve: "Curve") -> dict[str, Any]:
    from jftdata.study import forms, outlook

    rise, low, high = outlook.gain(curve, curve.x_max, 10 * curve.x_max)
    return {
        **curve.key, "form": curve.form, "formula": forms.get(curve.form).formula, "parameters": curve.parameters,
        "forms_not_refuted": list(curve.draws), "r2": curve.r2, "sizes": curve.sizes.to_dicts(), "test_sd": curve.test_sd,
        "decade": _finite({"gain": rise, "low": low, "high": high}), "held_out": curve.held_out.to_dicts(),
        "plateau": _finite(dataclasses.asdict(outlook.plateau(curve))),
    }  # fmt: skip


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Infinity is no JSON: null."""
    return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in row.items()}


def _images(number: float) -> str:
    return f"{number:,.0f} images" if math.isfinite(number) else "infinitely many images"
