"""LVIS: a COCO-like JSON that also says which labels were looked for and not found.

Categories in an image's `neg_category_ids` become verified negatives. Those in `not_exhaustive_category_ids` were not
looked for to the end: they say nothing beyond the boxes that are there. Images lie where COCO's do, at the last two
parts of `coco_url` (`val2017/000000000139.jpg`), or at `file_name` where there is no such field.
"""

from pathlib import Path
from typing import Any

from jftdata.catalog import Catalog
from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.sources.coco import ingest_coco, read_coco


def from_lvis(
    annotations: Path | str,
    *,
    images: Path | str,
    out: Path | str,
    hierarchy: Hierarchy | None = None,
    label: str = "name",
    split: str = "train",
    pack: bool = False,
    shorter_side: int | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of LVIS annotations, with verified negatives; see `from_coco` for what is not said here.

    Args:
        annotations: JSON in the layout of `lvis_v1_val.json`.
        images: folder that holds `train2017/` and `val2017/`.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of all categories.
        label: field of a category that is its label: `name` or `synset`.
        split: split of all images.
        pack: copy the bytes into tar shards inside the catalog.
        shorter_side: see `from_folder`.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Raises:
        BadInput: as for COCO; an unknown category among the negatives; an image without `coco_url` and `file_name`.
    """
    coco = read_coco(annotations, label=label)
    return ingest_coco(
        coco, images, _name, source="lvis", out=out, hierarchy=hierarchy, split=split, pack=pack,
        shorter_side=shorter_side, max_rejected=max_rejected, workers=workers,
    )  # fmt: skip


def _name(image: dict[str, Any]) -> str:
    if image.get("coco_url"):
        return "/".join(str(image["coco_url"]).split("/")[-2:])
    if not image.get("file_name"):
        raise BadInput(f"image {image['id']} has neither `coco_url` nor `file_name`. Add one.")
    return str(image["file_name"])
