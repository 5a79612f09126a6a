"""The built-in world: pictures of nameable things with planted truth, drawn on the spot from a seed.

Every claim of the library can be checked on it without a download: which labels are wrong, which images are copies of
which, what is really in each image, where, and to what pixels it reaches.
"""

from typing import TYPE_CHECKING, Any

from jftdata.world.clean import clean_labels
from jftdata.world.copies import copy_of, scene
from jftdata.world.labels import confusables, label_frequencies
from jftdata.world.scene import Scene, SceneObject
from jftdata.world.sheet import contact_sheet
from jftdata.world.signals import web_signals
from jftdata.world.write import WorldFiles, files, write

if TYPE_CHECKING:
    from jftdata.world.jft_table import jft300m

__all__ = [
    "Scene",
    "SceneObject",
    "WorldFiles",
    "clean_labels",
    "confusables",
    "contact_sheet",
    "copy_of",
    "files",
    "jft300m",
    "label_frequencies",
    "scene",
    "web_signals",
    "write",
]


def __getattr__(name: str) -> Any:
    if name == "jft300m":  # compiled loops, which the processes that draw pictures need not load
        from jftdata.world.jft_table import jft300m

        return jft300m
    raise AttributeError(f"module 'jftdata.world' has no attribute {name!r}")
