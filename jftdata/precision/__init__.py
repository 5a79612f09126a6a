"""Precision of the given labels, with an interval: a sample is drawn, a person answers for it, and the answers are weighted.

`sample` draws, `write_page` and `read_answers` ask, `estimate` weighs, `power` says how many answers are needed.
"""

from jftdata.precision.draw import SAMPLE, sample
from jftdata.precision.interval import power, wilson
from jftdata.precision.page import read_answers, write_page
from jftdata.precision.weigh import ESTIMATE, describe, estimate

__all__ = [
    "ESTIMATE",
    "SAMPLE",
    "describe",
    "estimate",
    "power",
    "read_answers",
    "sample",
    "wilson",
    "write_page",
]
