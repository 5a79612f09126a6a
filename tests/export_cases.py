"""Catalogs to export: a few images in four formats, with labels, scores, negatives and splits as a test wants them."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jftdata import sources
from jftdata.catalog import Catalog
from jftdata.hierarchy import Hierarchy
from tests.strategies import encoded, picture

FORMATS = (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("gif", "GIF"))
_numbers = itertools.count()


@dataclass(frozen=True)
class Said:
    """What is said of an image."""

    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    negatives: tuple[str, ...] = ()
    split: str = "train"


def write_files(folder: Path, count: int) -> Path:
    """Images `<number>.<ending>`, 40 to 72 pixels wide, all different."""
    folder.mkdir(parents=True)
    for i in range(count):
        ending, format = FORMATS[i % len(FORMATS)]
        (folder / f"{i}.{ending}").write_bytes(encoded(picture(i, width=40 + 8 * (i % 5), height=40), format))
    return folder


def catalog_of(said: list[Said], files: Path, folder: Path, *, tree: Hierarchy, pack: bool = False) -> Catalog:
    """A catalog of the first files, in a new folder below `folder`."""
    rows = []
    for i, image in enumerate(said):
        name = f"{i}.{FORMATS[i % len(FORMATS)][0]}"
        rows += [(name, label, score, None, image.split)
                 for label, score in zip(image.labels, image.scores or [None] * len(image.labels), strict=True)]  # fmt: skip
        rows += [(name, label, 0.0, "verified", image.split) for label in image.negatives]
        rows += [] if image.labels or image.negatives else [(name, None, None, None, image.split)]
    at = folder / str(next(_numbers))
    at.mkdir(parents=True)
    columns = {
        "image": pl.String,
        "label": pl.String,
        "confidence": pl.Float32,
        "source": pl.String,
        "split": pl.String,
    }
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(at / "table.parquet")
    return sources.from_table(
        at / "table.parquet", images=files, hierarchy=tree, out=at / "catalog", pack=pack, workers=1
    )


def told(catalog: Catalog, *, scores: bool = True, negatives: bool = True) -> dict[int, tuple[object, ...]]:
    """By image: labels, scores, negatives and split."""
    names = catalog.hierarchy.labels
    rows = catalog.rows(catalog.images(), columns=("image", "labels", "scores", "negatives", "split"))
    return {
        image: (
            [names[i] for i in labels],
            (given or [None] * len(labels)) if scores else None,
            [names[i] for i in against] if negatives else None,
            split,
        )
        for image, labels, given, against, split in rows.iter_rows()
    }
