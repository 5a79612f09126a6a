"""Studies: many runs that differ in one thing, and the curve through them."""

from jftdata.study.curves import fit_log, predict
from jftdata.study.data_size import data_size

__all__ = ["data_size", "fit_log", "predict"]
