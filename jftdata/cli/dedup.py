"""`jftdata dedup`: near-duplicates inside a set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, read_images, table, write_frame
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument
from jftdata.plural import plural


@click.command()
@click.argument("subject", type=EXISTING)
@click.option("--min-probability", type=float, help="Catalogs: least probability of a copy, 0.5 by default.")
@click.option("-k", "k", type=int, help="Catalogs: candidates of each image, 20 by default.")
@click.option("--seed", type=int, help="Catalogs: chooses the images that copies are planted of.")
@click.option("--calibration", type=EXISTING, help="Catalogs: take the calibration of a result that was kept.")
@click.option(
    "--marks", type=EXISTING, multiple=True, help="Catalogs: answers saved from a page; they correct the calibration."
)
@click.option("--keep", type=EXISTING, help="Catalogs: folder for the result with its calibration.")
@click.option(
    "--page", type=EXISTING, help="Catalogs: write a .html to look at pairs and say of each whether it is a copy."
)
@click.option("--sheet", type=EXISTING, help="Catalogs: draw pairs to a .png.")
@click.option("--groups", type=EXISTING, help="Catalogs: draw groups to a .png, the image that stays first.")
@click.option("--merge", type=EXISTING, help="Catalogs: write a catalog of one image a group, with the labels of all.")
@click.option(
    "--prefer",
    type=EXISTING,
    multiple=True,
    help="Images to keep before all others, lowest id first: a list as `--drop` writes.",
)
@click.option(
    "--conflicts", type=click.Choice(["keep", "drop"]), default="keep", help="Labels that contradict, in `--merge`."
)
@click.option("--min-similarity", type=float, help="Embeddings: threshold in (0, 1]; the default suits `descriptor`.")
@click.option("--catalog", type=EXISTING, help="Embeddings: their catalog, which says what copy is worth keeping.")
@click.option("--out", type=EXISTING, help="Write the pairs to a .parquet or .csv.")
@click.option("--drop", type=EXISTING, help="Write the images to leave out of training to a .parquet or .csv.")
@click.option("--rows", default=10, show_default=True, help="Pairs to print.")
@click.option("--workers", type=int, help="Threads; one a core by default.")
@answers
def command(
    subject: Path, min_similarity: float | None, catalog: Path | None, out: Path | None, drop: Path | None, rows: int,
    workers: int | None, merge: Path | None, conflicts: Any, prefer: Sequence[Path], page: Path | None,
    sheet: Path | None, groups: Path | None, **of_catalogs: Any,
) -> Answer:  # fmt: skip
    """Find near-duplicates in SUBJECT; `jftdata overlap` finds those between it and test sets.

    SUBJECT is a catalog: candidates are verified on the pixels and each pair gets a probability. Or it is embeddings:
    pairs are those above one similarity, which is faster and less exact.

    `--drop` lists every image of a group but the best one; `subset` and `study` take the list as `--without`.
    """
    if storage.read_sidecar(subject).format.startswith("jftdata.catalog"):
        if min_similarity is not None or catalog is not None:
            raise BadArgument(
                "`--min-similarity` and `--catalog` go with embeddings, not with a catalog. Leave them out."
            )
        images: Catalog | None = (base := Catalog.open(subject))
        pairs, num, data, how = _verified(base, workers=workers, **of_catalogs)
    else:
        given = {**of_catalogs, "page": page, "sheet": sheet, "groups": groups, "merge": merge}
        if wrong := next((name for name, value in given.items() if value not in (None, ())), None):
            option = f"`-{'' if wrong == 'k' else '-'}{wrong.replace('_', '-')}`"
            raise BadArgument(f"{option} goes with a catalog, not with embeddings. Leave it out.")
        images = Catalog.open(catalog) if catalog is not None else None
        pairs, num, data, how = _by_similarity(Embeddings.open(subject), min_similarity)
    if drop is not None and images is None:
        raise BadArgument("`--drop` needs `--catalog`, which says what copy of a group is worth keeping.")
    from jftdata import dedup, tail

    members = dedup.group_pairs(pairs)
    links = dedup.chains(members, pairs)
    num_chains = len(links.filter(pl.col("longest") > 2))
    data |= {
        "num_images": num, "num_pairs": len(pairs), "num_groups": len(links), "num_in_groups": len(members),
        "num_chains": num_chains, "out": str(out) if out else None, "drop": str(drop) if drop else None,
    }  # fmt: skip
    told = f"{plural(len(pairs), 'pair')} ({how}) among {plural(num, 'image')}; "
    told += f"{plural(len(members), 'image')} in {plural(len(links), 'group')}"
    if num_chains:
        told += f", {num_chains:,} of them chains whose ends need not be alike"
    if images is not None and (drop is not None or merge is not None):
        settled = dedup.resolve(members, images, prefer=read_images(prefer))
        extra = settled.filter(~pl.col("kept"))["image"]
        data["num_conflicts"] = len(settled.filter(pl.col("conflicts").list.len() > 0))
        told += f"\n{plural(data['num_conflicts'], 'group has', 'groups have')} labels that contradict each other"
        kept = np.setdiff1d(images.images(), extra.to_numpy())
        data["tail"] = tail.compare(tail.label_counts(images), tail.label_counts(images, images=kept))
        told += f"\nwithout the {plural(len(extra), 'image')} to drop: {tail.describe_change(data['tail'])}"
        if drop is not None:
            write_frame(extra.alias("image").to_frame(), drop)
        if merge is not None:
            from jftdata.merge import without_copies

            made = without_copies(images, settled, out=merge, conflicts=conflicts)
            data["merged"] = str(merge)
            told += f"\n{merge}: {plural(len(made), 'image')}, copies united"
    if images is not None and len(pairs):
        told += look(pairs, images, page=page, sheet=sheet, groups=groups, workers=workers)
    if out is not None:
        write_frame(pairs, out)
    return Answer(f"{told}\n\n{table(pairs, rows=rows)}", data)


def look(
    pairs: pl.DataFrame, images: Catalog, *, page: Path | None, sheet: Path | None, groups: Path | None = None,
    test: Catalog | None = None, workers: int | None,
) -> str:  # fmt: skip
    """Write the page and the sheets that were asked for; returns a line on each."""
    from jftdata import look

    shown = []
    if page is not None:
        shown.append((look.pairs_page(pairs, images, out=page, test=test, workers=workers), "pairs"))
    if sheet is not None:
        shown.append((look.pairs_sheet(pairs, images, out=sheet, test=test, workers=workers), "pairs"))
    if groups is not None:
        shown.append((look.groups_sheet(pairs, images, out=groups, workers=workers), "groups"))
    return "".join(
        f"\n{made.path}: {made.num_shown:,} of {made.num_found:,} {what}"
        + (f", {plural(made.num_unread, 'image')} could not be read" if made.num_unread else "")
        for made, what in shown
    )


def _verified(
    images: Catalog, *, min_probability: float | None, k: int | None, seed: int | None, calibration: Path | None,
    marks: Sequence[Path], keep: Path | None, workers: int | None,
) -> tuple[pl.DataFrame, int, dict[str, Any], str]:  # fmt: skip
    """Pairs of a catalog, how many images it has, what a program wants to know of them, and how they were told."""
    from jftdata import copies, look

    least = copies.MIN_PROBABILITY if min_probability is None else min_probability
    found = copies.find(
        images, min_probability=least, k=20 if k is None else k, seed=0 if seed is None else seed,
        calibration=copies.open_copies(calibration).calibration if calibration is not None else None,
        marks=look.read_marks(marks) if marks else None, out=keep, workers=workers,
    )  # fmt: skip
    data = {
        "min_probability": least, "num_candidates": found.num_candidates, "num_rejected": len(found.rejected),
        "num_marks": found.calibration.num_marks,
    }  # fmt: skip
    how = f"probability at least {least:g}, {plural(found.num_candidates, 'candidate')} verified"
    if len(found.rejected):
        how += f", {plural(len(found.rejected), 'image')} could not be read"
    if found.calibration.num_marks:
        how += f", corrected by {plural(found.calibration.num_marks, 'answer')}"
    return found.pairs, len(images), data, how


def _by_similarity(vectors: Embeddings, least: float | None) -> tuple[pl.DataFrame, int, dict[str, Any], str]:
    from jftdata import dedup

    least = dedup.MIN_SIMILARITY if least is None else least
    pairs = dedup.find_pairs(vectors, min_similarity=least)
    return pairs, len(vectors), {"min_similarity": least}, f"similarity at least {least:g}"
