"""Ways in: everything that makes a Catalog from images and labels somewhere."""

from jftdata.sources.folder import from_folder
from jftdata.sources.hub import from_hub

__all__ = ["from_folder", "from_hub"]
