"""The label hierarchy: a DAG of labels, and what is asked of it. The only package that imports networkx."""

from jftdata.hierarchy import crosswalk, evaluation, formats
from jftdata.hierarchy.check import Finding, check
from jftdata.hierarchy.core import SHIPPED, Hierarchy, shipped, shipped_facts
from jftdata.hierarchy.crosswalk import Crosswalk, match
from jftdata.hierarchy.formats import read, write_graphml
from jftdata.hierarchy.view import write_view

__all__ = [
    "SHIPPED",
    "Crosswalk",
    "Finding",
    "Hierarchy",
    "check",
    "crosswalk",
    "evaluation",
    "formats",
    "match",
    "read",
    "shipped",
    "shipped_facts",
    "write_graphml",
    "write_view",
]
