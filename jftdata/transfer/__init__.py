"""Transfer: what a checkpoint's representation is worth on another task."""

from jftdata.transfer.run import TASKS, run

__all__ = ["TASKS", "run"]
