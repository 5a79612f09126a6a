"""`jftdata study`: many pretrainings that differ in one thing, each judged alike; plans, runs, tables and curves of them."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl

from jftdata import recipes
from jftdata.catalog import Catalog
from jftdata.cli import study_curves
from jftdata.cli.verb import EXISTING, Answer, PathFirst, answers, dry_run, plan, read_images, table, without
from jftdata.override import override

if TYPE_CHECKING:
    from jftdata.study.plan import Study


@click.group(cls=PathFirst, instead="sizes")
def command() -> None:
    """Many pretrainings that differ in one thing, each judged in the same way.

    STUDY is the name of a built-in one (`jftdata study list`), or a .toml or .py file that says what to run.
    """


command.add_command(study_curves.fit)
command.add_command(study_curves.predict)


def _study(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what tells a command which study is meant."""
    for add in (
        click.option("--out", type=EXISTING, required=True, help="Folder of the study; run again, it goes on."),
        click.option("--data", type=EXISTING, help="A TOML of your own sets for a built-in study; else the built-in world."),
        click.argument("study"),
    ):  # fmt: skip
        function = add(function)
    return function


_CELLS = click.option("--cell", "only", multiple=True, help="Only this cell and those it needs; may be given again.")
_WORKERS = click.option("--workers", type=int, help="Decoding threads; one a core by default.")
_DEVICE = click.option("--device", default="auto", show_default=True)


@command.command("list")
@answers
def list_() -> Answer:
    """The built-in studies."""
    from jftdata.study.named import STUDIES

    rows = pl.DataFrame(
        [{"study": name, "question": named.question} for name, named in STUDIES.items()], schema=["study", "question"], orient="row"
    )  # fmt: skip
    return Answer(table(rows, rows=len(rows)), {"studies": rows.to_dicts()})


@command.command("plan")
@_study
@answers
def plan_(study: str, data: Path | None, out: Path) -> Answer:
    """What STUDY would run: cells, images, and hours and disk as far as they are known."""
    return _plan(_open(study, data, out), out)


@command.command()
@_study
@_CELLS
@click.option("--jobs", type=int, default=1, show_default=True, help="Cells at a time, each on a GPU of its own.")
@_WORKERS
@_DEVICE
@dry_run
@answers
def run(
    study: str, data: Path | None, out: Path, only: tuple[str, ...], jobs: int, workers: int | None, device: str, dry_run: bool,
) -> Answer:  # fmt: skip
    """Run the cells of STUDY that are not done.

    A killed one goes on; a finished one is not run again. Any number of machines may run the same study in a folder they share.
    """
    from jftdata.study import named

    if study in named.STUDIES and named.STUDIES[study].make is None:
        if dry_run:
            return plan("write a figure, without training", study=study, out=out)
        said = named.write(study, data=data, out=out)
        return Answer(said, {"out": str(out), "study": study, "found": said})
    chosen = _open(study, data, out)
    if dry_run:
        return _plan(chosen, out)
    from jftdata.progress import say
    from jftdata.study import jobs as together
    from jftdata.study import runner

    if jobs > 1:
        spec = _spec(study, data)
        found = together.run_together(
            chosen, out=out, jobs=jobs, only=only, device=device,
            command=lambda cell: together.cell_command(spec, cell, out=out, workers=workers, device=device),
        )  # fmt: skip
    else:
        found = runner.run(
            chosen, out=out, only=only, workers=workers, device=device, on_cell=lambda cell: say(cell.name)
        )
    answer = _told(chosen, found, out)
    more = named.write(study, data=data, out=out) if study in named.STUDIES and not only else ""
    return Answer(f"{answer.text}\n{more}".rstrip(), answer.data | {"found": more})


@command.command()
@_study
@_WORKERS
@_DEVICE
@answers
def cells(study: str, data: Path | None, out: Path, workers: int | None, device: str) -> Answer:
    """A command for each cell of STUDY that is not done, one a line: for a job array, in this order."""
    from jftdata.study import jobs as together
    from jftdata.study import runner
    from jftdata.study.plan import cells as every

    chosen = _open(study, data, out)
    done = set(runner.progress_of(chosen, out).filter(state="done")["cell"])
    spec = _spec(study, data)
    commands = [
        shlex.join(together.cell_command(spec, cell, out=out.resolve(), workers=workers, device=device))
        for cell in every(chosen)
        if cell.name not in done
    ]
    return Answer("\n".join(commands), {"commands": commands})


@command.command("table")
@_study
@answers
def table_(study: str, data: Path | None, out: Path) -> Answer:
    """Write STUDY's table, `study.csv`, from the cells that are done, and show it."""
    from jftdata.study import runner

    chosen = _open(study, data, out)
    return _told(chosen, runner.write(chosen, out), out)


@command.command()
@click.argument("catalog", type=EXISTING)
@click.option("--data", type=EXISTING, required=True, help="Catalog of the transfer task.")
@click.option("--size", "sizes", type=int, multiple=True, required=True, help="Pretraining images; give several.")
@click.option(
    "--seed", "seeds", type=int, multiple=True, default=(0,), show_default=True, help="Give several for intervals."
)
@click.option("--task", "tasks", multiple=True, help="Default: knn, linear-probe and classification.")
@click.option("--recipe", default="tiny", show_default=True, help=f"One of {', '.join(recipes.RECIPES)}.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@click.option(
    "--fixed",
    type=click.Choice(["epochs", "images-seen"]),
    default="epochs",
    show_default=True,
    help="What sizes share.",
)
@click.option("--split", help="Pretrain on this split of CATALOG only.")
@click.option("--out", type=EXISTING, required=True, help="Folder of the study; run again, it goes on.")
@_WORKERS
@_DEVICE
@without
@dry_run
@answers
def sizes(
    catalog: Path, data: Path, sizes: tuple[int, ...], seeds: tuple[int, ...], tasks: tuple[str, ...], recipe: str,
    assignments: tuple[str, ...], fixed: Any, split: str | None, out: Path, workers: int | None, device: str,
    without: tuple[Path, ...], dry_run: bool,
) -> Answer:  # fmt: skip
    """Transfer scores by number of pretraining images, with the fitted logarithmic curve (the paper's Figure 4)."""
    config = override(recipes.get(recipe), assignments)
    images, task_data = Catalog.open(catalog), Catalog.open(data)
    if dry_run:
        passes = len(sizes) * max(sizes) if fixed == "images-seen" else sum(sizes)
        runs = (len(sizes) + 1) * len(seeds)
        return plan("run a study", runs=runs, image_passes=int(passes * len(seeds) * config.total_epochs),
                    sizes=list(sizes), seeds=list(seeds), out=out)  # fmt: skip
    from jftdata import study
    from jftdata.study.sizes import TASKS

    results = study.data_size(
        images, config, data=task_data, sizes=sizes, seeds=seeds, out=out, tasks=tasks or TASKS, split=split,
        without=read_images(without), fixed=fixed, workers=workers, device=device,
    )  # fmt: skip
    fits = study.fit_log(results)
    shown = fits.select("task", "mode", "metric", "slope", "slope_low", "slope_high", "r2", "num_points")
    return Answer(table(shown, rows=30), {"out": str(out), "fits": fits.to_dicts(), "results": results.rows.to_dicts()})


def _open(name: str, data: Path | None, out: Path) -> "Study":
    from jftdata.errors import BadArgument, one_of
    from jftdata.study import file, named

    if name in named.STUDIES:
        return named.make(name, data=data, out=out)
    if Path(name).suffix not in (".toml", ".py"):
        raise one_of("study", name, named.STUDIES)
    if data is not None:
        raise BadArgument(f"`--data` is for built-in studies; {name} names its own sets. Leave it out.")
    return file.read(name, out=out)


def _spec(name: str, data: Path | None) -> list[str]:
    """The study as a command on another machine is given it."""
    at = str(Path(name).resolve()) if Path(name).suffix in (".toml", ".py") else name
    return [at, *([] if data is None else ["--data", str(data.resolve())])]


def _plan(study: "Study", out: Path) -> Answer:
    from jftdata.study import runner

    cells = runner.progress_of(study, out)
    left = cells.filter(pl.col("state") != "done")
    known = left["seconds"].drop_nulls()
    unknown = len(left) - len(known)
    hours = f"{known.sum() / 3600:.2f} h" if len(known) else ""
    details = {
        "study": study.name, "question": study.question, "cells": len(cells), "done": len(cells) - len(left),
        "pretrainings_left": int(left["passes"].is_not_null().sum()), "image_passes_left": int(left["passes"].sum()),
        "estimated": " + ".join([*([hours] if hours else []), *([f"{unknown} cells, none like them done"] if unknown else [])])
        or "nothing left",
        "disk": f"{runner.disk(study, out) / 2**20:,.0f} MiB of weights",
        "out": out,
    }  # fmt: skip
    told = plan("run a study", **details)
    return Answer(f"{told.text}\n\n{table(cells, rows=40)}", told.data | {"cells": cells.to_dicts()})


def _told(study: "Study", found: pl.DataFrame, out: Path) -> Answer:
    factors = [name for name in study.factors if name in found.columns]
    means = found.group_by("arm", *factors, "task", "mode", "metric", maintain_order=True).agg(
        mean=pl.col("value").mean(), least=pl.col("value").min(), most=pl.col("value").max(), seeds=pl.len()
    )
    verdict = study.verdict(found) if study.verdict is not None and len(found) else ""
    printed = ""
    if study.paper:
        from jftdata.study.named import beside

        rows = (
            beside(study, found).filter(pl.col("paper").is_not_null()).select("row", "metric", "paper", "arm", "ours")
        )
        printed = f"The paper's numbers, and ours where we have the like:\n{table(rows, rows=40)}"
    text = "\n\n".join(part for part in (study.question, table(means, rows=60), verdict, printed) if part)
    data = {"out": str(out), "study": study.name, "verdict": verdict, "rows": found.to_dicts()}
    return Answer(f"{text}\n\n{out / 'study.csv'}: {len(found):,} rows", data)
