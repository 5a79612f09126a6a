"""The label hierarchy: a DAG of labels, and what is asked of it. The only package that imports networkx."""

from jftdata.hierarchy import crosswalk, formats
from jftdata.hierarchy.core import SHIPPED, Hierarchy, shipped, shipped_facts

__all__ = ["SHIPPED", "Hierarchy", "crosswalk", "formats", "shipped", "shipped_facts"]
