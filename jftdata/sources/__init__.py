"""Ways in: everything that makes a Catalog from images and labels somewhere."""

from jftdata.sources.coco import from_coco
from jftdata.sources.folder import from_folder
from jftdata.sources.hub import from_hub
from jftdata.sources.lvis import from_lvis
from jftdata.sources.table import from_table
from jftdata.sources.voc import from_voc
from jftdata.sources.webdataset import from_webdataset

__all__ = ["from_coco", "from_folder", "from_hub", "from_lvis", "from_table", "from_voc", "from_webdataset"]
