"""Open what a verb's argument names, whatever noun it is."""

from pathlib import Path

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.subset import Subset, everything


def open_subset(path: Path) -> Subset:
    """A subset, or all images of a catalog (its train split where it has splits)."""
    if storage.read_sidecar(path).format.startswith("jftdata.catalog/"):
        catalog = Catalog.open(path)
        return everything(catalog, split="train" if "train" in catalog.splits else None)
    return Subset.open(path)
