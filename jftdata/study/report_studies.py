"""What the report says of a study: its question, what was found, scores by arm or along a curve, the paper's numbers beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl

from jftdata.errors import BadInput, MissingInput
from jftdata.results import SCHEMA
from jftdata.study import figures, report_scores
from jftdata.study.figures import ArmScores, ScoreCurve
from jftdata.study.report_scores import MODES, main_metric, means_of, over_seeds, percent, points, score_curve, verdict

TABLE, ABOUT = "study.csv", "study.json"
"""Files that a study leaves in its folder."""
IMAGES = "num_train_images"
COLUMNS = ("study", "arm", "cell")
PAPER = ("arm", "row", "metric", "value")
"""Columns of the paper's numbers that ours can stand beside: our arm, what the paper calls it, the metric and a share."""
ROWS = 400
"""Scores up to which all are listed; of more, those of the main metrics are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudySection:
    """A study as a report shows it."""

    name: str
    question: str
    table: pl.DataFrame
    """What `runner.table` returns: `study`, `arm`, `cell`, the factors, and the columns of `results.SCHEMA`."""
    x: str = "num_train_images"
    """The column that curves are over."""
    by: Sequence[str] = ()
    """Factors that tell curves apart."""
    notes: str = ""
    finding: str = ""
    """What the paper found."""
    paper: pl.DataFrame | None = None
    """The paper's numbers."""
    verdict: str = ""
    """What this study found, in words."""
    cells: tuple[int, int] | None = None
    """How many of its cells are done, of how many; None where nobody counted."""

    def __post_init__(self) -> None:
        lacking = [name for name in (*COLUMNS, *SCHEMA, self.x, *self.by) if name not in self.table.columns]
        if lacking:
            raise BadInput(
                f"the table of study {self.name!r} has no column {lacking[0]!r}. Give what `runner.table` returns."
            )

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Read what a study left in its folder.

        Raises:
            MissingInput: no study there.
            BadInput: files that are not a study's.
        """
        folder = Path(folder)
        if not (folder / ABOUT).is_file() or not (folder / TABLE).is_file():
            raise MissingInput(
                f"{folder} has no {ABOUT} and {TABLE}. Run `jftdata study run` or `jftdata study table` first."
            )
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            table = pl.read_csv(folder / TABLE, schema_overrides={**dict.fromkeys(COLUMNS, pl.String()), **SCHEMA})
            return cls(
                name=about["name"], question=about["question"], table=table, x=about["x"], by=tuple(about["by"]),
                notes=about["notes"], finding=about["finding"], verdict=about["verdict"],
                paper=pl.DataFrame(about["paper"], infer_schema_length=None, strict=False) if about["paper"] else None,
                cells=(about["num_done"], about["num_cells"]),
            )  # fmt: skip
        except (KeyError, ValueError, pl.exceptions.PolarsError) as error:
            raise BadInput(
                f"{folder} does not hold a study's files ({error}). Run `jftdata study table` again."
            ) from error


def study(section: StudySection, *, number: int) -> dict[str, Any]:
    """A study's view: panels with a figure each, and tables of text.

    Args:
        number: of the study on the page, from 1; it is in the ids of its figures.
    """
    table = section.table.with_columns(judge=_judge())
    every = {
        str(judge): rows for (judge,), rows in table.partition_by("judge", as_dict=True, maintain_order=True).items()
    }
    judged = [(judge, metric := main_metric(rows), rows.filter(metric=metric)) for judge, rows in every.items()]
    panels, curves = [], []
    for at, (judge, metric, rows) in enumerate(judged):
        lines = _curves(section, judge, rows)
        panels.append({
            "task": judge, "metric": metric, "mode": MODES.get(rows["mode"][0], rows["mode"][0]),
            **_panel(section, lines, rows, prefix=f"study{number}-{at}"),
        })  # fmt: skip
        curves += lines if section.x == IMAGES else []
    few = len(table) <= ROWS
    return {
        "id": f"study-{number}", "name": section.name, "question": section.question, "notes": section.notes,
        "finding": section.finding, "verdict": section.verdict.splitlines(), "cells": section.cells,
        "num_arms": table["arm"].n_unique(), "num_seeds": table["seed"].n_unique(), "panels": panels, "curves": curves,
        "arms": _arms_table(table, judged), "every": few,
        "paper": _paper(section.paper, [(judge, "", rows) for judge, rows in every.items()]),
        "rows": _rows(table if few else pl.concat([rows for _, _, rows in judged])),
    }  # fmt: skip


def headline(view: Mapping[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """The finding of a study in one sentence, more of it, and the figure to show beside: a curve in words where images are what
    differs and nothing else, else the question and the verdict."""
    if not view["panels"]:
        return view["question"], "No score is there yet.", None
    curves = view["curves"]
    if curves and len(curves) == len(view["panels"]):
        said = report_scores.headline(curves)
        return *said, report_scores.panels([report_scores.headline_curve(curves)], prefix="hero")[0]
    return view["question"], "".join(view["verdict"][:1]), None


def _judge() -> pl.Expr:
    """The judge's part of a cell's name, `transfer/<arm>-s<seed>-<judge>`."""
    start = pl.format("transfer/{}-s{}-", "arm", "seed").str.len_chars()
    return pl.col("cell").str.slice(start)


def _curves(section: StudySection, judge: str, rows: pl.DataFrame) -> list[ScoreCurve]:
    """A curve for each group of arms; none where arms are to be compared one by one."""
    x = rows[section.x]
    span = x.filter(x > 0) if x.dtype.is_numeric() else None
    if span is None or span.n_unique() < 2 or (section.x == IMAGES and span.max() < 2 * span.min()):  # type: ignore[operator]
        return []
    groups = rows.partition_by(section.by, as_dict=True, maintain_order=True) if section.by else {(): rows}
    if len(groups) > len(figures.GROUPS):
        return []
    curves = []
    for key, group in groups.items():
        named = zip(section.by, key, strict=True)
        name = ", ".join(f"{column.replace('_', ' ')} {value}" for column, value in named)
        name = name or MODES.get(group["mode"][0], group["mode"][0])
        if section.x == IMAGES:
            curve = score_curve(group, task=judge, name=name)
        else:
            at = group.select(pl.col(section.x).alias(IMAGES), "seed", "value").drop_nulls()
            curve = ScoreCurve(
                task=judge,
                mode=name,
                metric=group["metric"][0],
                points=at,
                means=means_of(at),
                untrained=None,
                fit=None,
            )
        if curve is not None:
            curves.append(curve)
    return curves


def _panel(section: StudySection, curves: Sequence[ScoreCurve], rows: pl.DataFrame, *, prefix: str) -> dict[str, Any]:
    if not curves:
        scored = []
        for (arm,), part in rows.partition_by("arm", as_dict=True, maintain_order=True).items():
            mean, half = over_seeds(part["value"].to_list())
            values = dict(part.select("seed", "value").iter_rows())
            scored.append(ArmScores(name=str(arm), values=values, mean=mean, half=half))
        return {"keys": [], "svg": figures.arms(scored, prefix=prefix)}
    x = figures.IMAGES if section.x == IMAGES else section.x.replace("_", " ")
    keys = [
        {"color": figures.name_of(color), "mark": mark, "text": c.mode + (f": {verdict(c)}" if c.fit else "")}
        for c, (color, _, mark) in zip(curves, figures.GROUPS, strict=False)
    ]
    return {"keys": keys, "svg": figures.scores(curves, x=x, prefix=prefix)}


def _arms_table(table: pl.DataFrame, judged: Sequence[tuple[str, str, pl.DataFrame]]) -> dict[str, Any]:
    """Mean score of each arm in each task, with half the interval over seeds, and how far it is from the first arm, seed by seed."""
    scores = {
        judge: {arm: dict(part.select("seed", "value").iter_rows())
                for (arm,), part in rows.partition_by("arm", as_dict=True, maintain_order=True).items()}
        for judge, _, rows in judged
    }  # fmt: skip
    arms = table.select("arm", IMAGES).unique("arm", keep="first", maintain_order=True)
    first = arms["arm"][0] if len(arms) else ""
    rows = [
        {"arm": arm, "images": num,
         "cells": [_score(found.get(arm, {}), found.get(first, {}) if arm != first else {}) for found in scores.values()]}
        for arm, num in arms.iter_rows()
    ]  # fmt: skip
    heads = [{"judge": judge, "metric": metric} for judge, metric, _ in judged]
    return {"first": first, "heads": heads, "rows": rows}


def _score(values: Mapping[int, float], others: Mapping[int, float]) -> dict[str, str]:
    if not values:
        return {"score": "", "difference": ""}
    mean, half = over_seeds(list(values.values()))
    paired = [value - others[seed] for seed, value in values.items() if seed in others]
    difference = ""
    if paired:
        more, wide = over_seeds(paired)
        difference = points(more, sign=True)
        if wide is not None:
            difference += f" ({points(more - wide, sign=True)} to {points(more + wide, sign=True)})"
    return {"score": percent(mean) if half is None else f"{points(mean)} ± {points(half)}%", "difference": difference}


def _paper(paper: pl.DataFrame | None, judged: Sequence[tuple[str, str, pl.DataFrame]]) -> dict[str, Any] | None:
    """The paper's numbers, with ours where arm and metric are the same if that is how they are given, else as they are."""
    if paper is None or paper.is_empty():
        return None
    if set(PAPER) <= set(paper.columns):
        rows = [[row, metric, "" if value is None else percent(value), _ours(arm, metric, judged), arm]
                for arm, row, metric, value in paper.select(PAPER).iter_rows()]  # fmt: skip
        heads = [("in the paper", True), ("metric", True), ("the paper's", False), ("ours", True), ("our arm", True)]
    else:
        rows = [["" if v is None else _plain(v) for v in row] for row in paper.iter_rows()]
        heads = [(name.replace("_", " "), not kind.is_numeric()) for name, kind in paper.schema.items()]
    return {"heads": [{"name": name, "text": text} for name, text in heads], "rows": rows}


def _ours(arm: str, metric: str, judged: Sequence[tuple[str, str, pl.DataFrame]]) -> str:
    """Our mean of a metric for an arm; of several tasks that have it, each with its name."""
    found = []
    for judge, _, rows in judged:
        values = rows.filter((pl.col("arm") == arm) & (pl.col("metric") == metric)).select("seed", "value").iter_rows()
        if mean := _score(dict(values), {})["score"]:
            found.append((judge, mean))
    return found[0][1] if len(found) == 1 else "; ".join(f"{judge} {mean}" for judge, mean in found)


def _plain(value: Any) -> str:
    return f"{value:,.10g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _rows(table: pl.DataFrame) -> list[dict[str, str]]:
    return [
        {"arm": r["arm"], "judge": r["judge"], "metric": r["metric"], "seed": str(r["seed"]), "value": percent(r["value"]),
         "range": f"{percent(r['low'])} to {percent(r['high'])}", "images": _plain(r[IMAGES])}
        for r in table.iter_rows(named=True)
    ]  # fmt: skip
