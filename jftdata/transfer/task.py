"""The contract of a transfer task: one file a task, a checkpoint and a catalog in, scores with correctness by test image out."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput
from jftdata.pixels import PLACE


@dataclass(frozen=True, eq=False)
class TaskData:
    """A single-label task: rows of the train and test split with one class number an image."""

    catalog: Catalog
    train: pl.DataFrame
    """`image`, the columns of `pixels.PLACE`, `target`."""
    test: pl.DataFrame
    classes: list[str]
    """Label of each class number."""


@dataclass(frozen=True)
class Inputs:
    """What a task gets to see."""

    checkpoint: Checkpoint
    data: TaskData
    features: "Embeddings | None"
    """The checkpoint's features of all images of the data, for tasks that want them."""
    seed: int
    workers: int | None
    device: str


@dataclass(frozen=True)
class Score:
    """One metric of one task."""

    metric: str
    values: NDArray[np.float64]
    """(num_test,) contribution of each test image; the metric is their mean."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the task chose (a swept weight decay, k, ...)."""


class Task(Protocol):
    """One file a task implements this."""

    modes: tuple[str, ...]
    """Of `frozen` and `finetune`."""
    wants_features: bool

    def __call__(self, inputs: Inputs) -> list[Score]:
        """Train on `inputs.data.train`, judge on `inputs.data.test`."""


def single_label(catalog: Catalog, *, train_split: str = "train", test_split: str | None = None) -> TaskData:
    """Read a catalog as a classification task.

    Args:
        catalog: every image has just one given label.
        train_split: split to learn from.
        test_split: split to judge on; None takes test, val, valid, validation or eval, the first there is.

    Raises:
        BadInput: a missing split, an image without label or with several, a test label that is never trained.
    """
    if test_split is None:
        test_split = next((s for s in ("test", "val", "valid", "validation", "eval") if s in catalog.splits), "test")
    for split in (train_split, test_split):
        if split not in catalog.splits:
            raise BadInput(
                f"{catalog.path} has no split {split!r}, only {', '.join(catalog.splits)}. Ingest both splits."
            )
    columns = ["image", *PLACE, "labels", "source"]
    parts = {s: catalog.scan(split=s).select(columns).collect().sort("image") for s in (train_split, test_split)}
    for frame in parts.values():
        odd = frame.filter(pl.col("labels").list.len() != 1)
        if len(odd):
            raise BadInput(
                f"{len(odd)} images of {catalog.path} do not have just one label, for example {odd['source'][0]} with "
                f"{odd['labels'].list.len()[0]}. A classification task needs one an image."
            )
    numbers = sorted(set(parts[train_split]["labels"].list.first().to_list()))
    classes = [catalog.hierarchy.labels[i] for i in numbers]
    target = {number: i for i, number in enumerate(numbers)}
    unknown = set(parts[test_split]["labels"].list.first().to_list()) - target.keys()
    if unknown:
        name = catalog.hierarchy.labels[min(unknown)]
        raise BadInput(
            f"label {name!r} is in split {test_split} but never in {train_split}. Add training images of it."
        )
    train, test = (
        f.with_columns(target=pl.col("labels").list.first().replace_strict(target, return_dtype=pl.Int64)).drop(
            "labels", "source"
        )
        for f in (parts[train_split], parts[test_split])
    )
    return TaskData(catalog, train, test, classes)
