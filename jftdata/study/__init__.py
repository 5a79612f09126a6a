"""Studies: many runs that differ in one thing, and the curve through them.

Loaded when first used, as in `jftdata` itself: a report can be written where torch cannot be imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_FROM = {"data_size": "sizes", "fit_log": "curves", "predict": "curves"}

__all__ = ["data_size", "fit_log", "predict"]

if TYPE_CHECKING:
    from jftdata.study.curves import fit_log, predict
    from jftdata.study.sizes import data_size


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(f"jftdata.study.{_FROM[name]}"), name)
    raise AttributeError(f"module 'jftdata.study' has no attribute {name!r}")
