"""`jftdata study`: transfer scores by data size, with the fitted curve."""

from pathlib import Path

import click

from jftdata import recipes
from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, read_images, table, without
from jftdata.override import override


@click.command()
@click.argument("catalog", type=EXISTING)
@click.option("--data", type=EXISTING, required=True, help="Catalog of the transfer task.")
@click.option("--size", "sizes", type=int, multiple=True, required=True, help="Pretraining images; give several.")
@click.option(
    "--seed", "seeds", type=int, multiple=True, default=(0,), show_default=True, help="Give several for intervals."
)
@click.option("--task", "tasks", multiple=True, help="Default: knn, linear-probe and classification.")
@click.option("--recipe", default="tiny", show_default=True, help=f"One of {', '.join(recipes.RECIPES)}.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe.")
@click.option("--split", help="Pretrain on this split of CATALOG only.")
@click.option("--out", type=EXISTING, required=True, help="Folder of the study; run again, it goes on.")
@click.option("--workers", type=int, help="Decoding threads; one a core by default.")
@click.option("--device", default="auto", show_default=True)
@without
@dry_run
@answers
def command(
    catalog: Path, data: Path, sizes: tuple[int, ...], seeds: tuple[int, ...], tasks: tuple[str, ...], recipe: str,
    assignments: tuple[str, ...], split: str | None, out: Path, workers: int | None, device: str,
    without: tuple[Path, ...], dry_run: bool,
) -> Answer:  # fmt: skip
    """Transfer scores by number of pretraining images, with the fitted logarithmic curve (the paper's Figure 4)."""
    config = override(recipes.get(recipe), assignments)
    images, task_data = Catalog.open(catalog), Catalog.open(data)
    if dry_run:
        passes = sum(sizes) * len(seeds) * config.total_epochs
        runs = (len(sizes) + 1) * len(seeds)
        return plan("run a study", runs=runs, image_passes=int(passes), sizes=list(sizes), seeds=list(seeds), out=out)
    from jftdata import study
    from jftdata.study.sizes import TASKS

    results = study.data_size(
        images, config, data=task_data, sizes=sizes, seeds=seeds, out=out, tasks=tasks or TASKS, split=split,
        without=read_images(without), workers=workers, device=device,
    )  # fmt: skip
    fits = study.fit_log(results)
    shown = fits.select("task", "mode", "metric", "slope", "slope_low", "slope_high", "r2", "num_points")
    return Answer(table(shown, rows=30), {"out": str(out), "fits": fits.to_dicts(), "results": results.rows.to_dicts()})
