"""Labels at a target precision: candidate pairs with many weak signals become labels with a probability."""

from jftdata.selection.candidates import Candidates, Signals
from jftdata.selection.choose import Selection, describe, label_counts, select
from jftdata.selection.fusion import Fusion, fit

__all__ = ["Candidates", "Fusion", "Selection", "Signals", "describe", "fit", "label_counts", "select"]
