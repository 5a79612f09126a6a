"""Open what a verb's argument names, whatever noun it is."""

from pathlib import Path

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.subset import Subset, everything, in_split


def open_images(path: Path, *, split: str | None = None) -> Subset:
    """A subset, or the images of a catalog: of one split, or all."""
    if storage.read_sidecar(path).format.startswith("jftdata.catalog/"):
        return everything(Catalog.open(path), split=split)
    chosen = Subset.open(path)
    return chosen if split is None else in_split(chosen, split=split)


def open_subset(path: Path) -> Subset:
    """A subset, or the images of a catalog to train on: its train split where it has splits."""
    chosen = open_images(path)
    if chosen.chosen is None and "train" in chosen.catalog.splits:
        return everything(chosen.catalog, split="train")
    return chosen
