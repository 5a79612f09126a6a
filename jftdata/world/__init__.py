"""The built-in world: pictures of nameable things with planted truth, drawn on the spot from a seed.

Every claim of the library can be checked on it without a download: which labels are wrong, which images are copies of
which, what is really in each image, where, and to what pixels it reaches.
"""

from jftdata.world.clean import clean_labels
from jftdata.world.copies import copy_of, scene
from jftdata.world.labels import confusables, label_frequencies
from jftdata.world.scene import Scene, SceneObject
from jftdata.world.sheet import contact_sheet
from jftdata.world.write import WorldFiles, files, write

__all__ = [
    "Scene",
    "SceneObject",
    "WorldFiles",
    "clean_labels",
    "confusables",
    "contact_sheet",
    "copy_of",
    "files",
    "label_frequencies",
    "scene",
    "write",
]
