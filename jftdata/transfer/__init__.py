"""Transfer: what a checkpoint's representation is worth on another task."""

from jftdata.transfer.run import TASKS, recipe_of, run

__all__ = ["TASKS", "recipe_of", "run"]
