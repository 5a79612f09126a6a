"""Ways out: a catalog or a subset as a folder that other tools read, and that makes the same catalog again.

Every export has `README.md` (a dataset card), `hierarchy.tsv`, `SHA256SUMS` and `artefact.json` beside its images. Image bytes are
checked against their SHA-256 and copied untouched unless `size` is given. What the formats look like is said at the head of
their modules: `parquet`, `folder`, `webdataset`, `coco` and `listing`.
"""

from pathlib import Path
from typing import Literal, get_args

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, one_of
from jftdata.export import coco, folder, listing, parquet, webdataset
from jftdata.export.card import Card
from jftdata.export.driver import Layout, export
from jftdata.subset import Subset

__all__ = ["FORMATS", "Card", "run", "to_coco", "to_folder", "to_list", "to_parquet", "to_webdataset"]

Format = Literal["parquet", "folder", "webdataset", "coco", "list"]
FORMATS: tuple[Format, ...] = get_args(Format)
Labels = Literal["given", "filled"]
_LAYOUTS: dict[str, Layout] = {each.LAYOUT.name: each.LAYOUT for each in (parquet, folder, webdataset, coco, listing)}


def to_parquet(
    data: Catalog | Subset, *, out: Path | str, labels: Labels = "given", size: int | None = None, card: Card | None = None,
    max_rejected: float = 0.0, workers: int | None = None,
) -> storage.Sidecar:  # fmt: skip
    """Write Parquet as Hugging Face reads it.

    Args:
        data: a catalog, all splits of it, or a subset.
        out: folder to write.
        labels: `given`, or `filled` in with their ancestors.
        size: re-encode larger images as JPEGs of quality 90 whose longest side is so many pixels. Their bytes, and so the
            ids they would get, are then others; files and metadata keep the id of the catalog.
        card: licence, title and findings for the dataset card.
        max_rejected: largest share of images that may be missing or damaged, 0..1; they are listed in `rejected.csv`.
        workers: threads; None is one a core.

    Returns:
        The sidecar of the folder; `facts` counts `num_asked` = `num_images` + `num_rejected`. The same call again returns it
        at once, and goes on where a killed one stopped.

    Raises:
        BadInput: a catalog without pixels.
        TooManyRejects: more images are missing or damaged than allowed; the shards done stay for the next run.
        OutputExists: `out` is there, made otherwise.

    Cost: that of reading and writing the bytes, and two SHA-256 over them.
    """
    return export(
        data, parquet.LAYOUT, out=out, labels=labels, size=size, card=card, max_rejected=max_rejected, workers=workers
    )


def to_folder(
    data: Catalog | Subset, *, out: Path | str, labels: Labels = "given", size: int | None = None, card: Card | None = None,
    max_rejected: float = 0.0, workers: int | None = None,
) -> storage.Sidecar:  # fmt: skip
    """Write image files in folders with `metadata.jsonl` and `labels.csv`; see `to_parquet`."""
    return export(
        data, folder.LAYOUT, out=out, labels=labels, size=size, card=card, max_rejected=max_rejected, workers=workers
    )


def to_webdataset(
    data: Catalog | Subset, *, out: Path | str, labels: Labels = "given", size: int | None = None, card: Card | None = None,
    max_rejected: float = 0.0, workers: int | None = None,
) -> storage.Sidecar:  # fmt: skip
    """Write WebDataset tar shards; see `to_parquet`."""
    return export(
        data,
        webdataset.LAYOUT,
        out=out,
        labels=labels,
        size=size,
        card=card,
        max_rejected=max_rejected,
        workers=workers,
    )


def to_coco(
    data: Catalog | Subset, *, out: Path | str, labels: Labels = "given", size: int | None = None, card: Card | None = None,
    max_rejected: float = 0.0, workers: int | None = None,
) -> storage.Sidecar:  # fmt: skip
    """Write image files and COCO JSON, a file a split; see `to_parquet`."""
    return export(
        data, coco.LAYOUT, out=out, labels=labels, size=size, card=card, max_rejected=max_rejected, workers=workers
    )


def to_list(
    data: Catalog | Subset, *, out: Path | str, labels: Labels = "given", card: Card | None = None,
    max_rejected: float = 0.0, workers: int | None = None,
) -> storage.Sidecar:  # fmt: skip
    """Write a list of the image files where they are, with their labels; see `to_parquet`.

    Raises:
        BadInput: also for images that are no files of their own, such as those in shards.
    """
    return export(
        data, listing.LAYOUT, out=out, labels=labels, size=None, card=card, max_rejected=max_rejected, workers=workers
    )


def run(
    data: Catalog | Subset, *, format: Format, out: Path | str, labels: Labels = "given", size: int | None = None,
    card: Card | None = None, max_rejected: float = 0.0, workers: int | None = None,
) -> storage.Sidecar:  # fmt: skip
    """Export by the name of the format; see `to_parquet`.

    Raises:
        UnknownOption: no such format.
    """
    if format not in _LAYOUTS:
        raise one_of("format", format, _LAYOUTS)
    if format == "list" and size is not None:
        raise BadArgument("a list copies nothing, so `size` has no effect. Export to a folder, or leave `size` out.")
    return export(
        data, _LAYOUTS[format], out=out, labels=labels, size=size, card=card, max_rejected=max_rejected, workers=workers
    )
