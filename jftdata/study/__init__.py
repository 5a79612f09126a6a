"""Studies: many runs that differ in one thing, and the curve through them.

Loaded when first used, as in `jftdata` itself: a report can be written where torch cannot be imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_FROM = {
    "Arm": "plan",
    "Judge": "plan",
    "Study": "plan",
    "cells": "plan",
    "data_size": "sizes",
    "fit": "curves",
    "fit_log": "curves",
    "forecast": "outlook",
    "gain": "outlook",
    "images_for": "outlook",
    "plateau": "outlook",
    "predict": "curves",
    "read": "file",
    "run": "runner",
    "size_arms": "sizes",
    "table": "runner",
}

__all__ = [
    "Arm", "Judge", "Study", "cells", "data_size", "fit", "fit_log", "forecast", "gain", "images_for", "plateau",
    "predict", "read", "run", "size_arms", "table",
]  # fmt: skip

if TYPE_CHECKING:
    from jftdata.study.curves import fit, fit_log, predict
    from jftdata.study.file import read
    from jftdata.study.outlook import forecast, gain, images_for, plateau
    from jftdata.study.plan import Arm, Judge, Study, cells
    from jftdata.study.runner import run, table
    from jftdata.study.sizes import data_size, size_arms


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(f"jftdata.study.{_FROM[name]}"), name)
    raise AttributeError(f"module 'jftdata.study' has no attribute {name!r}")
