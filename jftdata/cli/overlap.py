"""`jftdata overlap`: test images that have a copy among training images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import polars as pl

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.cli.dedup import look
from jftdata.cli.verb import EXISTING, Answer, answers, table, write_frame
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument
from jftdata.plural import plural


@click.command()
@click.argument("train", type=EXISTING)
@click.option(
    "--test", "tests", type=EXISTING, multiple=True, required=True, help="A test set; give it as often as you like."
)
@click.option("--min-probability", type=float, help="Catalogs: least probability of a copy, 0.5 by default.")
@click.option("--seed", type=int, help="Catalogs: chooses the images that copies are planted of.")
@click.option("--registry", type=EXISTING, help="Catalogs: folder to keep the pairs in; beside TRAIN by default.")
@click.option("--page", type=EXISTING, help="Catalogs, one test set: write a .html to look at pairs.")
@click.option("--sheet", type=EXISTING, help="Catalogs, one test set: draw pairs to a .png.")
@click.option("--min-similarity", type=float, help="Embeddings: threshold in (0, 1]; the default suits `descriptor`.")
@click.option("--out", type=EXISTING, help="Write the pairs to a .parquet or .csv.")
@click.option("--drop-train", type=EXISTING, help="Write the training images that have a copy in a test set.")
@click.option("--drop-test", type=EXISTING, help="Write the test images that have a copy in training.")
@click.option("--rows", default=10, show_default=True, help="Pairs to print.")
@click.option("--workers", type=int, help="Threads; one a core by default.")
@answers
def command(
    train: Path, tests: Sequence[Path], min_similarity: float | None, out: Path | None, drop_train: Path | None,
    drop_test: Path | None, rows: int, workers: int | None, **of_catalogs: Any,
) -> Answer:  # fmt: skip
    """Find the images of test sets that have a copy in TRAIN.

    TRAIN and the test sets are catalogs: pairs are verified on the pixels and kept in a registry beside TRAIN, from which
    `transfer` gives every score on all test images and on those without a copy. Or all are embeddings: pairs are those
    above one similarity.
    """
    from jftdata import overlap

    if storage.read_sidecar(train).format.startswith("jftdata.catalog"):
        if min_similarity is not None:
            raise BadArgument("`--min-similarity` goes with embeddings, not with catalogs. Leave it out.")
        told, pairs, data = _registered(train, tests, workers=workers, **of_catalogs)
    else:
        if wrong := next((name for name, value in of_catalogs.items() if value is not None), None):
            raise BadArgument(f"`--{wrong.replace('_', '-')}` goes with catalogs, not with embeddings. Leave it out.")
        told, pairs, data = _similar(train, tests, min_similarity)
    for side, to in (("train", drop_train), ("test", drop_test)):
        if to is not None:
            images = overlap.to_drop(pairs, side="train" if side == "train" else "test")
            write_frame(images.to_frame(), to)
            told += f"\n{to}: {plural(len(images), 'training image' if side == 'train' else 'test image')} to leave out"
            data[f"drop_{side}"] = str(to)
    if out is not None:
        write_frame(pairs, out)
        data["out"] = str(out)
    return Answer(f"{told}\n\n{table(pairs, rows=rows)}", data)


def _registered(
    train: Path, tests: Sequence[Path], *, min_probability: float | None, seed: int | None, registry: Path | None,
    page: Path | None, sheet: Path | None, workers: int | None,
) -> tuple[str, pl.DataFrame, dict[str, Any]]:  # fmt: skip
    from jftdata import copies, overlap

    if len(tests) > 1 and (page is not None or sheet is not None):
        raise BadArgument(
            f"`--page` and `--sheet` show the pairs of one test set. Got {len(tests)}; give them one by one."
        )
    base = Catalog.open(train)
    short = len({test.name for test in tests}) == len(tests)
    sets = {test.name if short else str(test): Catalog.open(test) for test in tests}
    least = copies.MIN_PROBABILITY if min_probability is None else min_probability
    found = overlap.register(
        base, sets, min_probability=least, seed=0 if seed is None else seed, registry=registry, workers=workers
    )
    pairs = overlap.pairs(base, sets, registry=registry)
    lines = []
    for row in found.iter_rows(named=True):
        line = _line(f"{row['test_set']} {row['split']}", row["num_with_copy"], row["num_images"])
        lines.append(line + (f", {plural(row['num_unread'], 'image')} could not be read" if row["num_unread"] else ""))
    told = "\n".join([f"among {plural(len(base), 'image')} of {train}, probability at least {least:g}:", *lines])
    if len(pairs):
        told += look(pairs, base, page=page, sheet=sheet, test=next(iter(sets.values())), workers=workers)
    return told, pairs, {"num_train": len(base), "min_probability": least, "tests": found.to_dicts()}


def _similar(
    train: Path, tests: Sequence[Path], least: float | None
) -> tuple[str, pl.DataFrame, dict[str, Any]]:  # fmt: skip
    from jftdata import dedup

    least = dedup.MIN_SIMILARITY if least is None else least
    base = Embeddings.open(train)
    lines, parts, rows = [f"among {plural(len(base), 'image')} of {train}, similarity at least {least:g}:"], [], []
    for path in tests:
        queries = Embeddings.open(path)
        pairs = dedup.find_overlap(queries, base, min_similarity=least)
        num = pairs["test_image"].n_unique()
        lines.append(_line(path.name, num, len(queries)))
        rows.append(
            {"test_set": path.name, "num_images": len(queries), "num_with_copy": num, "share": num / len(queries)}
        )
        parts.append(pairs.select(pl.lit(path.name).alias("test_set"), pl.all()))
    return "\n".join(lines), pl.concat(parts), {"num_train": len(base), "min_similarity": least, "tests": rows}


def _line(name: str, num: int, of: int) -> str:
    return f"  {name}: {num:,} of {of:,} images ({num / of:.2%}) have a copy"
