"""Ways in: everything that makes a Catalog from images and labels somewhere."""

from jftdata.sources.folder import from_folder
from jftdata.sources.hub import from_hub
from jftdata.sources.table import from_table
from jftdata.sources.webdataset import from_webdataset

__all__ = ["from_folder", "from_hub", "from_table", "from_webdataset"]
