"""`jftdata noise sample`, `noise precision` and `noise power`: the precision of given labels by asking a person."""

from pathlib import Path

import click
import polars as pl

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, read_table, table, write_frame
from jftdata.errors import BadArgument
from jftdata.plural import plural


@click.command()
@click.argument("catalog", type=EXISTING)
@click.option("--num", default=500, show_default=True, help="Pairs of an image and a given label to draw.")
@click.option("--out", type=EXISTING, required=True, help="Write the sample to a .parquet or .csv.")
@click.option("--page", type=EXISTING, help="Write a .html to answer on; several, numbered, where one is not enough.")
@click.option("--items", default=500, show_default=True, help="Pairs of a page at most.")
@click.option("--by", multiple=True, help="Strata: frequency, depth, score; by default all there is data for.")
@click.option("--scores", type=EXISTING, help="What `noise audit --out` wrote: suspicious pairs are drawn more often.")
@click.option("--split", help="Only this split.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", type=int, help="Threads; one a core by default.")
@answers
def sample(
    catalog: Path, num: int, out: Path, page: Path | None, items: int, by: tuple[str, ...], scores: Path | None,
    split: str | None, seed: int, workers: int | None,
) -> Answer:  # fmt: skip
    """Draw given labels to judge, with a page for it."""
    from jftdata import judge, precision

    if not 1 <= items <= judge.MAX_ITEMS:
        raise BadArgument(f"`--items` must be in [1, {judge.MAX_ITEMS:,}]. Got {items:,}.")
    if out.suffix not in (".parquet", ".csv"):
        raise BadArgument(f"`--out` must end in .parquet or .csv. Got {out}.")
    images = Catalog.open(catalog)
    kinds = {"image": pl.Int64(), "label": pl.String(), "wrong": pl.Float64()}
    drawn = precision.sample(
        images, num=num, seed=seed, strata=by or None, split=split, workers=workers,  # type: ignore[arg-type]
        scores=None if scores is None else read_table(scores, kinds, "scores of given labels"),
    )  # fmt: skip
    pages: list[Path] = []
    num_unread = 0
    if page is not None:
        starts = range(0, len(drawn), items)
        for i, start in enumerate(starts, 1):
            to = page if len(starts) == 1 else page.with_name(f"{page.stem}-{i}{page.suffix}")
            asked = precision.write_page(drawn[start : start + items], images, out=to, workers=workers)
            pages.append(to)
            num_unread += asked.num_unread
    write_frame(drawn, out)
    strata = drawn.group_by("stratum", "population").agg(num=pl.len().cast(pl.Int64)).sort("stratum")
    text = f"{out}: {len(drawn):,} of {strata['population'].sum():,} given labels, in {len(strata):,} strata"
    text += "".join(f"\n{path}: open it in a browser, answer, and save" for path in pages)
    text += f"\n{plural(num_unread, 'image')} could not be read, so there is no picture" if num_unread else ""
    data = {"num": len(drawn), "population": int(strata["population"].sum()), "strata": strata.to_dicts(),
            "num_unread": num_unread, "pages": [str(path) for path in pages], "out": str(out)}  # fmt: skip
    return Answer(f"{text}\n\n{table(strata, rows=50)}", data)


@click.command()
@click.argument("drawn", metavar="SAMPLE", type=EXISTING)
@click.argument("files", metavar="ANSWERS...", type=EXISTING, nargs=-1, required=True)
@click.option("--catalog", type=EXISTING, help="The catalog of the sample: tell precision by subtree too.")
@click.option("--under", multiple=True, help="With --catalog: labels whose children to tell; the roots by default.")
@click.option("--confidence", default=0.95, show_default=True, help="Of the intervals.")
@click.option("--out", type=EXISTING, help="Write all rows to a .parquet or .csv.")
@click.option("--rows", default=30, show_default=True, help="Rows to print.")
@answers
def precision(
    drawn: Path, files: tuple[Path, ...], catalog: Path | None, under: tuple[str, ...], confidence: float,
    out: Path | None, rows: int,
) -> Answer:  # fmt: skip
    """Estimate precision from the answers for a SAMPLE."""
    from jftdata import precision

    found = precision.estimate(
        read_table(drawn, precision.SAMPLE, "the sample that `noise sample` wrote"),
        pl.concat([precision.read_answers(file) for file in files]),
        hierarchy=None if catalog is None else Catalog.open(catalog).hierarchy, under=under, confidence=confidence,
    )  # fmt: skip
    if out is not None:
        write_frame(found, out)
    shown = found.select("group", "name", "precision", "low", "high", "num_yes", "num_no", "num_unsure", "population")
    told = precision.describe(found)
    return Answer(
        f"{told}\n\n{table(shown, rows=rows)}", {"estimates": found.to_dicts(), "out": str(out) if out else None}
    )


@click.command()
@click.option("--width", type=float, required=True, help="Of the interval, from low to high, such as 0.05.")
@click.option("--precision", "guess", default=0.8, show_default=True, help="What the precision may be.")
@click.option("--design-effect", default=1.0, show_default=True, help="As `noise precision` told it before.")
@click.option("--unsure", default=0.0, show_default=True, help="Share of answers that will be unsure.")
@click.option("--sample", "drawn", type=EXISTING, help="What `noise sample` wrote: tell each stratum too.")
@click.option("--confidence", default=0.95, show_default=True, help="Of the interval.")
@answers
def power(
    width: float, guess: float, design_effect: float, unsure: float, drawn: Path | None, confidence: float
) -> Answer:  # fmt: skip
    """Tell how many answers an interval of a wanted width needs."""
    from jftdata import precision

    found = precision.power(
        width=width, precision_guess=guess, design_effect=design_effect, unsure=unsure, confidence=confidence,
        sample=None if drawn is None else read_table(drawn, precision.SAMPLE, "the sample that `noise sample` wrote"),
    )  # fmt: skip
    text = f"{found['num'][0]:,} answers for an interval {width:g} wide around a precision of {guess:g}"
    text += f"\n\nfor such an interval of each\n{table(found[1:], rows=50)}" if len(found) > 1 else ""
    return Answer(text, {"num": found["num"][0], "strata": found[1:].to_dicts()})
