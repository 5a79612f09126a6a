"""What the report shows of a transfer: truth beside prediction, what each class scores, and what is taken for what."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from jftdata import images
from jftdata.results import Results
from jftdata.study.report_scores import MODES, main_metric, percent

PICTURES, CONFUSED = "pictures.png", "confused.csv"
"""Files that a task leaves in its results' folder."""
QUALITY = 80
NUM_CONFUSED = 10


def predictions(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """One view a task and mode: of the checkpoint with most pretraining images, of these the lowest seed; folders without pictures
    are left out.

    Args:
        folders: of `transfer.run`.
    """
    best: dict[tuple[str, str], tuple[int, int, Path]] = {}
    for folder in folders:
        if not (folder / PICTURES).exists():
            continue
        task, mode, num, seed = Results.open(folder).rows.select("task", "mode", "num_train_images", "seed").row(0)
        best[task, mode] = min(best.get((task, mode), (1, 0, folder)), (-num, seed, folder))
    return [_view(folder) for _, (_, _, folder) in sorted(best.items())]


def _view(folder: Path) -> dict[str, Any]:
    rows = Results.open(folder).rows
    metric = main_metric(rows)
    main = rows.filter(metric=metric).row(0, named=True)
    with Image.open(folder / PICTURES) as sheet:
        jpeg = images.encode_jpeg(np.ascontiguousarray(sheet.convert("RGB")), quality=QUALITY)
    base = {"AP": "AP", "mean IoU": "IoU"}.get(metric, metric)
    by_class = (
        rows.select("value", "low", "high", name=pl.col("metric").str.extract(rf"^{base} \((.*)\)$"))
        .drop_nulls("name")
        .sort("value", "name")
    )
    confused = pl.read_csv(folder / CONFUSED).head(NUM_CONFUSED) if (folder / CONFUSED).exists() else None
    return {
        "task": main["task"], "mode": MODES[main["mode"]], "metric": metric, "value": percent(main["value"]),
        "range": f"{percent(main['low'])} to {percent(main['high'])}", "images": main["num_train_images"],
        "test": main["num_task_test"], "uri": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "classes": [
            {"name": r["name"], "value": percent(r["value"]), "range": f"{percent(r['low'])} to {percent(r['high'])}"}
            for r in by_class.iter_rows(named=True)
        ],
        "class_metric": base,
        "confused": [] if confused is None else [
            {"truth": r["truth"], "predicted": r["predicted"], "share": percent(r["share"])}
            for r in confused.iter_rows(named=True)
        ],
    }  # fmt: skip
