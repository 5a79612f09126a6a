"""Images with one label each, to learn from and to be judged on: a catalog, an ImageNet-like folder or Parquet files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.catalog import Catalog
from jftdata.errors import BadInput, MissingInput
from jftdata.pixels import PLACE
from jftdata.sources import from_folder, from_hub
from jftdata.storage import SIDECAR, read_sidecar

TEST_SPLITS = ("test", "val", "valid", "validation", "eval")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows of the train and test split with one class number an image."""

    catalog: Catalog
    train: pl.DataFrame
    """`image`, ascending, the columns of `pixels.PLACE`, `target`."""
    test: pl.DataFrame
    classes: list[str]
    """Label of each class number."""

    @property
    def fingerprint(self) -> str:
        return self.catalog.fingerprint

    @property
    def num_train(self) -> int:
        return len(self.train)

    @property
    def num_test(self) -> int:
        return len(self.test)

    @property
    def test_images(self) -> NDArray[np.int64]:
        """(num_test,) image ids."""
        return self.test["image"].to_numpy()

    @property
    def targets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Class numbers of the training and of the test images."""
        return self.train["target"].to_numpy(), self.test["target"].to_numpy()


def read(data: Any, *, cache: Path, workers: int | None) -> Labelled:
    """Read what the user gave as a classification task.

    Args:
        data: a catalog or its folder; a folder with a folder a split and in them one a label, as ImageNet is unpacked; or a folder of
            Parquet files, as a Hugging Face data set is stored, with columns `image` and `label`.
        cache: folder where the catalog of other data is made, once.
        workers: processes; None is one a core.

    Raises:
        MissingInput: no such folder.
        BadInput: see `single_label`.
    """
    if isinstance(data, Catalog):
        return single_label(data)
    folder = Path(data)
    if not folder.exists():
        raise MissingInput(f"{folder} does not exist. Give a catalog, or a folder of images or Parquet files.")
    if (folder / SIDECAR).exists() and read_sidecar(folder).format.startswith("jftdata.catalog/"):
        return single_label(Catalog.open(folder))
    made = cache / f"{folder.resolve().name}.catalog"
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    if files:
        return single_label(from_hub(files, out=made, workers=workers))
    return single_label(from_folder(folder, out=made, workers=workers))


def single_label(catalog: Catalog, *, train_split: str = "train", test_split: str | None = None) -> Labelled:
    """Read a catalog as a classification task.

    Args:
        catalog: every image has just one given label.
        train_split: split to learn from.
        test_split: split to judge on; None takes test, val, valid, validation or eval, the first there is.

    Raises:
        BadInput: a missing split, an image without label or with several, a test label that is never trained.
    """
    if test_split is None:
        test_split = next((s for s in TEST_SPLITS if s in catalog.splits), "test")
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
    return Labelled(catalog, train, test, classes)
