"""Tables of a task's results: what each class scores, and which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.errors import BadArgument
from jftdata.results import Results

BY_CLASS: dict[str, pl.DataType] = {
    "checkpoint": pl.String(),  # fingerprint
    "task": pl.String(),
    "mode": pl.String(),
    "class": pl.String(),
    "value": pl.Float64(),
    "low": pl.Float64(),  # 95% interval, as in the results
    "high": pl.Float64(),
}
CONFUSED: dict[str, pl.DataType] = {
    "truth": pl.String(),
    "predicted": pl.String(),
    "pixels": pl.Int64(),
    "share": pl.Float64(),  # of the pixels of the true class
}


def by_class(results: Results, classes: Sequence[str], *, metric: str) -> pl.DataFrame:
    """The rows of one metric that are of a class.

    Args:
        results: with metrics called `<metric> (<class>)`.
        classes: names.
        metric: `IoU` or `AP`, say.

    Returns:
        Columns of `BY_CLASS`, by checkpoint, task and mode, the lowest value first; classes without a value are left out.
    """
    names = pl.DataFrame(
        {"metric": [f"{metric} ({name})" for name in classes], "class": list(classes)},
        schema={"metric": pl.String, "class": pl.String},
    )
    found = results.rows.join(names, on="metric", how="inner").select(*BY_CLASS)
    return found.sort("checkpoint", "task", "mode", "value", "class")


def confused(matrix: NDArray[np.float64], classes: Sequence[str]) -> pl.DataFrame:
    """Pairs of classes of which pixels of the one are taken for the other.

    Args:
        matrix: (c, c) pixels by true and predicted class, as `pixel_metrics.Confusion.matrix` gives them.
        classes: c names.

    Returns:
        Columns of `CONFUSED`, most pixels first; pairs without a pixel are left out.

    Raises:
        BadArgument: a matrix of another size.

    >>> confused(np.array([[8.0, 2.0], [0.0, 5.0]]), ["sky", "kite"]).row(0)
    ('sky', 'kite', 2, 0.2)
    """
    if matrix.shape != (len(classes), len(classes)):
        raise BadArgument(f"`matrix` must have {len(classes)} rows and columns, one a class. Got {matrix.shape}.")
    wrong = matrix * (1 - np.eye(len(classes)))
    truth, predicted = np.nonzero(wrong)
    pixels = wrong[truth, predicted]
    names = np.array(classes, dtype=object)
    found = pl.DataFrame(
        {
            "truth": names[truth].tolist(),
            "predicted": names[predicted].tolist(),
            "pixels": pixels.astype(np.int64),
            "share": pixels / matrix.sum(axis=1)[truth],
        },
        schema=CONFUSED,
    )
    return found.sort("pixels", "truth", "predicted", descending=[True, False, False])
