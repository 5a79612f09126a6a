"""`jftdata demo`: the whole chain on the built-in world."""

from pathlib import Path

import click

from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, table


@click.command()
@click.option("--out", type=EXISTING, default=Path("jftdata-demo"), show_default=True, help="Folder for everything.")
@click.option("--workers", type=int, help="Processes and threads; one a core by default.")
@dry_run
@answers
def command(out: Path, workers: int | None, dry_run: bool) -> Answer:
    """Run the whole chain on the built-in world and write a report; about six minutes on two cores."""
    from jftdata.study import demo
    from jftdata.study.named.data import WorldSettings

    settings = WorldSettings()
    if dry_run:
        return plan("run the demo", out=out, images=settings.num_images, sizes=settings.sizes, seeds=settings.seeds)
    made = demo.run(out, settings, workers=workers)
    from jftdata import study

    fits = study.fit_log(made.results)
    shown = fits.select("task", "mode", "metric", "slope", "slope_low", "slope_high", "r2")
    text = f"{table(shown, rows=20)}\n\ndone in {made.seconds:.0f} s; open {made.report}"
    return Answer(text, {"report": str(made.report), "seconds": made.seconds, "fits": fits.to_dicts()})
