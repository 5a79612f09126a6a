"""`labels.csv`: a row an image and label in the style of Open Images, which `sources.from_table` reads back.

`confidence` is the label's score where it has one; a row with confidence 0 and source `verified` is a verified negative; a row
without a label is an image of which nothing is said. A score of exactly 0 is left out, and counted, since it would say that the
label does not hold.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from jftdata import storage
from jftdata.export.driver import Job

TABLE = "labels.csv"
_ROWS = {
    "image": pl.String(), "label": pl.String(), "confidence": pl.Float32(), "source": pl.String(), "split": pl.String(),
    "image_id": pl.Int64(), "weight": pl.Float64(),
}  # fmt: skip


def write_table(job: Job) -> None:
    """Write the table of all written images, shard by shard."""
    columns = [name for name in _ROWS if name != "weight" or job.survey.weights]
    with storage.atomic_path(job.folder / TABLE) as temp, temp.open("wb") as file:
        file.write((",".join(columns) + "\n").encode())
        for part in job.written():
            rows = [row for image in part.iter_rows(named=True) for row in _rows(job.tree.labels, image)]
            file.write(
                pl.DataFrame(rows, schema=_ROWS, orient="row").select(columns).write_csv(include_header=False).encode()
            )


def _rows(names: Sequence[str], image: dict[str, Any]) -> list[tuple[Any, ...]]:
    rest = (image["split"], image["image"], image["weight"])
    scores = image["scores"] or [None] * len(image["labels"])
    rows: list[tuple[Any, ...]] = [
        (image["file"], names[label], score or None, None, *rest)
        for label, score in zip(image["labels"], scores, strict=True)
    ]
    rows += [(image["file"], names[label], 0.0, "verified", *rest) for label in image["negatives"]]
    return rows or [(image["file"], None, None, None, *rest)]


def said(
    job: Job,
    labels: Sequence[int],
    scores: Sequence[float | None] | None,
    negatives: Sequence[int],
    weight: float | None,
) -> dict[str, Any]:
    """What is said of an image, for JSON: labels by name, and scores, negatives and weight where any image has them."""
    names = job.tree.labels
    told: dict[str, Any] = {"labels": [names[label] for label in labels]}
    if job.survey.scores:
        told["scores"] = [None if score is None else short(score) for score in scores or ()]
    if job.survey.negatives:
        told["negatives"] = [names[label] for label in negatives]
    if job.survey.weights:
        told["weight"] = weight
    return told


def short(score: float) -> float:
    """A 32-bit score as the shortest number that reads back as the same.

    >>> short(0.8999999761581421)
    0.9
    """
    return float(str(np.float32(score)))
