"""Subsets: choosing images as a first-class, reproducible act. Builders are pure functions to a `Subset`, and all combine."""

from jftdata.subset.algebra import diff, difference, intersection, mix, union, weighted
from jftdata.subset.balance import balanced, repeat_factors
from jftdata.subset.build import BUILDERS, make
from jftdata.subset.core import Subset
from jftdata.subset.explain import describe, explain
from jftdata.subset.labels import head, medium, tail, with_labels, without_labels
from jftdata.subset.quotas import cap, floor
from jftdata.subset.recipe import Step
from jftdata.subset.sizes import everything, fraction, in_split, nested, only, sample, without
from jftdata.subset.splits import k_fold, one_per_group, part, split, straddling
from jftdata.subset.spread import coverage, facility_location, k_center, prototypes, sem_dedup
from jftdata.subset.strata import stratified
from jftdata.subset.values import by_score, by_value

__all__ = [
    "BUILDERS", "Step", "Subset", "balanced", "by_score", "by_value", "cap", "coverage", "describe", "diff",
    "difference", "everything", "explain", "facility_location", "floor", "fraction", "head", "in_split",
    "intersection", "k_center", "k_fold", "make", "medium", "mix", "nested", "one_per_group", "only", "part",
    "prototypes", "repeat_factors", "sample", "sem_dedup", "split", "straddling", "stratified", "tail", "union",
    "weighted", "with_labels", "without", "without_labels",
]  # fmt: skip
