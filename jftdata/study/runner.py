"""Run a study's cells: those that are missing, in order; and its table, from those that are done.

Each cell is an artefact: a killed one goes on where it stopped, a finished one is not run again, and one that another process is
making is left to it. So any number of processes, on any machines that share the folder, may run the same study.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch

from jftdata import pretrain, storage, transfer
from jftdata.checkpoint import WEIGHTS, Checkpoint
from jftdata.errors import Locked, OutputExists, one_of
from jftdata.pretrain.keep import Keeping
from jftdata.pretrain.model import fresh
from jftdata.progress import say
from jftdata.results import SCHEMA, Results
from jftdata.study.plan import OWN, Cell, Factor, Study, cells

TABLE, ABOUT, TIMES = "study.csv", "study.json", "times.jsonl"


def run(
    study: Study, *, out: Path | str, only: Sequence[str] = (), workers: int | None = None, device: str = "auto",
    on_cell: Callable[[Cell], None] = lambda _: None,
) -> pl.DataFrame:  # fmt: skip
    """Run the cells of a study that are not done.

    Args:
        study: what to run.
        out: the study's folder: `runs/`, `transfer/`, features that cells share in `features/`, the table in `study.csv` and
            what the study is in `study.json`.
        only: names of cells; those they need are run first. None are all.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu` or `cuda`.
        on_cell: told before each cell, done or not.

    Returns:
        What `table` returns.

    Raises:
        UnknownOption: no such cell.
        OutputExists: a cell is there, made in another way.
        Locked: nothing is left but what other processes are making.
    """
    out = Path(out)
    todo = asked(study, only)
    while todo:
        later: list[Cell] = []
        stopped: Locked | None = None
        for cell in todo:
            if any(other.name in cell.needs for other in later):
                later.append(cell)
                continue
            on_cell(cell)
            try:
                _run(cell, out, workers, device)
            except Locked as error:
                later.append(cell)
                stopped = error
        if len(later) == len(todo) and stopped is not None:
            raise stopped
        todo = later
    return write(study, out)


def checkpoint_of(cell: Cell, out: Path, *, workers: int | None = None, device: str = "auto") -> Checkpoint:
    """The checkpoint of a cell's arm and seed, made first where it is not there."""
    arm, config = cell.arm, cell.config
    init = arm.init
    if isinstance(init, str):
        init = Checkpoint.open(out / cell.needs[0])
    return pretrain.run(
        arm.subset(cell.seed), config, out=out / cell.name, init=init,
        validation=None if arm.validation is None else arm.validation(cell.seed), workers=workers, device=device,
        keeping=Keeping(validate_every=arm.validate_every),
    )  # fmt: skip


def table(study: Study, out: Path | str) -> pl.DataFrame:
    """All scores of the cells that are done.

    Returns:
        Columns `study`, `arm`, `cell`, the study's factors, and those of `results.SCHEMA`; sorted by arm, judge, metric and seed as
        the study lists them.

    Raises:
        OutputExists: a cell's checkpoint or scores were made in another way than this study makes them.
    """
    out = Path(out)
    parts = []
    for cell in cells(study):
        if cell.judge is None or not is_done(out, cell.name):
            continue
        _same(cell, out)
        columns: dict[str, Factor | None] = {"study": study.name, "arm": cell.arm.name, "cell": cell.name}
        columns |= {name: cell.arm.factors.get(name) for name in study.factors}
        own = [pl.lit(value, dtype=_kind(study, name)).alias(name) for name, value in columns.items()]
        parts.append(Results.open(out / cell.name).rows.select(*own, *SCHEMA))
    if not parts:
        schema = {name: _kind(study, name) for name in (*OWN, *study.factors)}
        return pl.DataFrame(schema={**schema, **SCHEMA})
    arms = {arm.name: i for i, arm in enumerate(study.arms)}
    return pl.concat(parts).sort(
        pl.col("arm").replace_strict(arms, return_dtype=pl.Int64), "task", "mode", "metric", "seed", maintain_order=True
    )


def write(study: Study, out: Path | str) -> pl.DataFrame:
    """Write `study.csv` and `study.json`; returns the table."""
    out = Path(out)
    found, every = table(study, out), cells(study)
    about: dict[str, Any] = {
        "format": "jftdata.study/1",
        "name": study.name,
        "question": study.question,
        "notes": study.notes,
        "x": study.x,
        "by": list(study.by),
        "seeds": list(study.seeds),
        "arms": [{"name": a.name, "num_images": a.num_images, "factors": dict(a.factors)} for a in study.arms],
        "judges": [{"name": j.key, "task": j.task, "mode": j.mode} for j in study.judges],
        "finding": study.finding,
        "paper": [dict(row) for row in study.paper],
        "num_cells": len(every),
        "num_done": sum(is_done(out, cell.name) for cell in every),
        "verdict": study.verdict(found) if study.verdict is not None and len(found) else "",
    }
    storage.write_text(out / TABLE, found.write_csv())
    storage.write_json(out / ABOUT, about)
    return found


def progress_of(study: Study, out: Path | str) -> pl.DataFrame:
    """What is done and what the rest may take.

    Returns:
        A row a cell: `cell`, `state` (`done`, `begun` or `missing`), `passes` (images a pretraining sees; null for a task) and
        `seconds`: what it took if it is done; else what like cells that are done took here, a pretraining by its passes; null
        before there is one.
    """
    out = Path(out)
    took = {row["cell"]: row["seconds"] for row in _times(out)}
    rows = []
    for cell in cells(study):
        done = is_done(out, cell.name)
        begun = out.joinpath(cell.name + ".partial").exists()
        rows.append({
            "cell": cell.name, "state": "done" if done else "begun" if begun else "missing",
            "passes": cell.passes if cell.judge is None else None, "seconds": took.get(cell.name) if done else None,
            "like": "" if cell.judge is None else cell.judge.key,
            "size": cell.arm.recipe.architecture + str(cell.arm.recipe.image_size) if cell.judge is None else "",
        })  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"passes": pl.Int64(), "seconds": pl.Float64()})
    share = pl.col("seconds") / pl.max_horizontal("passes", 1)
    like = pl.when(pl.col("like") == "").then(
        pl.col("passes") * share.filter(pl.col("passes") > 0).median().over("like", "size")
    )
    guess = like.otherwise(pl.col("seconds").median().over("like", "size"))
    return frame.with_columns(seconds=pl.coalesce("seconds", guess)).drop("like", "size")


def disk(study: Study, out: Path | str) -> int:
    """Bytes of weights that the checkpoints still to be made will take; without the head where none of an architecture is done."""
    out = Path(out)
    known: dict[str, int] = {}
    left = []
    for cell in cells(study):
        if cell.judge is None:
            weights = out / cell.name / WEIGHTS
            if weights.exists():
                known[cell.arm.recipe.architecture] = weights.stat().st_size
            else:
                left.append(cell.config)
    for config in left:
        if config.architecture not in known:
            with torch.device("meta"):
                known[config.architecture] = 4 * sum(p.numel() for p in fresh(config, 1).parameters())
    return sum(known[config.architecture] for config in left)


def is_done(out: Path, name: str) -> bool:
    """Whether a cell of the study in `out` is finished."""
    return (out / name / storage.SIDECAR).exists()


def asked(study: Study, only: Sequence[str]) -> list[Cell]:
    """The cells asked for and those they need, in the study's order.

    Raises:
        UnknownOption: no such cell.
    """
    every = {cell.name: cell for cell in cells(study)}
    if not only:
        return list(every.values())
    wanted: set[str] = set()
    ahead = list(only)
    while ahead:
        name = ahead.pop()
        if name not in every:
            raise one_of("cell", name, every)
        if name not in wanted:
            wanted.add(name)
            ahead += every[name].needs
    return [cell for name, cell in every.items() if name in wanted]


def _run(cell: Cell, out: Path, workers: int | None, device: str) -> None:
    there = is_done(out, cell.name)
    began = time.monotonic()
    if cell.judge is None:
        checkpoint_of(cell, out, workers=workers, device=device)
    else:
        judge = cell.judge
        transfer.run(
            Checkpoint.open(out / cell.needs[0]), task=judge.task, data=judge.data(), out=out / cell.name, mode=judge.mode,
            recipe=judge.recipe, seed=cell.seed, cache=out / "features", overlap=judge.overlap,
            test_catalog=None if judge.test_catalog is None else judge.test_catalog(), workers=workers, device=device,
        )  # fmt: skip
    if not there:
        with (out / TIMES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cell": cell.name, "seconds": round(time.monotonic() - began, 2)}) + "\n")


def _times(out: Path) -> list[dict[str, Any]]:
    path = out / TIMES
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            say(f"{path} has a damaged line, which is left out: {line[:80]!r}")
    return rows


def _same(cell: Cell, out: Path) -> None:
    """Raise OutputExists if what is there was made in another way."""
    checkpoint = Checkpoint.open(out / cell.needs[0])
    there = storage.read_sidecar(out / cell.name)
    if there.inputs["checkpoint"] != checkpoint.fingerprint:
        raise OutputExists(
            f"{out / cell.name} was made of another checkpoint than {checkpoint.path}. Remove it and run the study."
        )
    wanted = json.loads(json.dumps(dataclasses.asdict(cell.config)))  # tuples as they come back
    odd = sorted(name for name in wanted if checkpoint.config.get(name) != wanted[name])
    if odd:
        raise OutputExists(
            f"{checkpoint.path} was made with {odd[0]}={checkpoint.config.get(odd[0])!r}, the study says "
            f"{wanted[odd[0]]!r}. Remove it or give another `out`."
        )


def _kind(study: Study, name: str) -> pl.DataType:
    if name in OWN:
        return pl.String()
    value = next(arm.factors[name] for arm in study.arms if name in arm.factors)
    return {bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64()}.get(type(value), pl.String())
