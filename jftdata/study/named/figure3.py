"""The curves of Figure 3: mAP@100 while a network trains, from fresh weights and from a clean checkpoint."""

from pathlib import Path

import polars as pl

from jftdata import storage
from jftdata.checkpoint import Checkpoint
from jftdata.study.named.lines import lines
from jftdata.study.named.verdict import answer, over_seeds, points
from jftdata.study.plan import Study, cells

METRIC = "weighted mAP@100"
"""Weighted by how common a label is among the images trained on; the paper's by how common it is in social media."""
CURVE = {"arm": pl.String(), "seed": pl.Int64(), "step": pl.Int64(), "epoch": pl.Float64(), METRIC: pl.Float64()}


def curve(study: Study, out: Path | str) -> pl.DataFrame:
    """Columns of `CURVE`: a row for each validation of the arms that are done, by arm, seed and step."""
    rows = [
        {"arm": cell.arm.name, "seed": cell.seed, **{name: row[name] for name in ("step", "epoch", METRIC)}}
        for cell in cells(study)
        if cell.judge is None and cell.arm.validation is not None and (Path(out) / cell.name / storage.SIDECAR).exists()
        for row in Checkpoint.open(Path(out) / cell.name).metrics()
        if METRIC in row
    ]
    return pl.DataFrame(rows, schema=CURVE)


def verdict(found: pl.DataFrame) -> str:
    """Whether a clean start is ahead at the first validation and on a par at the last, with intervals over seeds."""
    both = found.pivot("arm", index=["seed", "step"], values=METRIC)
    if not {"noisy", "clean-then-noisy"} <= set(both.columns):
        return "Not known yet: both arms must be done."
    gains = both.select("step", gain=pl.col("clean-then-noisy") - pl.col("noisy")).drop_nulls()
    first, last = (gains.filter(step=step)["gain"].to_list() for step in (gains["step"].min(), gains["step"].max()))
    early, late = over_seeds(first), over_seeds(last)
    return (
        f"At the first validation the clean start is ahead by {points(early)}: {answer(early, 'above')}.\n"
        f"At the last by {points(late)}: {answer(late, 'same')}."
    )


def write(study: Study, out: Path | str) -> str:
    """Write `figure-3.csv` and, if there is anything to draw, `figure-3.svg` beside the study's table; returns the verdict."""
    out, found = Path(out), curve(study, out)
    out.mkdir(parents=True, exist_ok=True)
    storage.write_text(out / "figure-3.csv", found.write_csv())
    if len(found):
        lines(found, out / "figure-3.svg", x="epoch", y=METRIC, by="arm", title="Figure 3", runs="seed")
    return verdict(found)
