"""Label noise: which given labels are wrong, what they are confused with, which are missing, and pictures of them."""

from jftdata.noise.auditing import AUDIT, audit
from jftdata.noise.checkpointed import of_checkpoint
from jftdata.noise.findings import CONFUSIONS, LABELS, MISSING, by_label, confusions, missing
from jftdata.noise.given import Given, read
from jftdata.noise.linear import cross_validated
from jftdata.noise.probabilities import PROBABILITIES, Probabilities

__all__ = [
    "AUDIT",
    "CONFUSIONS",
    "LABELS",
    "MISSING",
    "PROBABILITIES",
    "Given",
    "Probabilities",
    "audit",
    "by_label",
    "confusions",
    "cross_validated",
    "missing",
    "of_checkpoint",
    "read",
]
