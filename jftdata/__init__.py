"""Data-centric work on large image sets: what would better or more data buy me?

Everything below is loaded when first used, so `import jftdata` is instant and brings in neither torch nor faiss.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NOUNS = {
    "Catalog": "catalog",
    "Checkpoint": "checkpoint",
    "Embeddings": "embeddings",
    "Hierarchy": "hierarchy",
    "Results": "results",
    "Subset": "subset",
}
_MODULES = (
    "copies",
    "dedup",
    "diff",
    "embed",
    "errors",
    "export",
    "hierarchy",
    "look",
    "merge",
    "noise",
    "overlap",
    "precision",
    "pretrain",
    "quality",
    "ranking",
    "recipes",
    "selection",
    "sheet",
    "sources",
    "study",
    "subset",
    "tail",
    "takedown",
    "transfer",
    "world",
)

__all__ = [*_NOUNS, *_MODULES]

if TYPE_CHECKING:
    from jftdata import (
        copies,
        dedup,
        diff,
        embed,
        errors,
        export,
        hierarchy,
        look,
        merge,
        noise,
        overlap,
        precision,
        pretrain,
        quality,
        ranking,
        recipes,
        selection,
        sheet,
        sources,
        study,
        subset,
        tail,
        takedown,
        transfer,
        world,
    )
    from jftdata.catalog import Catalog
    from jftdata.checkpoint import Checkpoint
    from jftdata.embeddings import Embeddings
    from jftdata.hierarchy import Hierarchy
    from jftdata.results import Results
    from jftdata.subset import Subset


def __getattr__(name: str) -> Any:
    if name in _NOUNS:
        return getattr(import_module(f"jftdata.{_NOUNS[name]}"), name)
    if name in _MODULES:
        return import_module(f"jftdata.{name}")
    raise AttributeError(f"module 'jftdata' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
