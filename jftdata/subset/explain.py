"""Why an image is in a subset, or which step kept it out."""

from dataclasses import dataclass

import numpy as np

from jftdata.subset.build import BUILDERS, made, unwrapped
from jftdata.subset.core import Subset


@dataclass(frozen=True)
class Reason:
    """What one step said of an image."""

    step: str
    """Its name in the recipe: 1, 2, ..."""
    builder: str
    took: bool
    """Whether the image was among those the step chose."""
    offered: bool
    """Whether it was among those the step could choose from."""
    why: str
    """A sentence where the builder has one."""


def explain(subset: Subset, image: int) -> list[Reason]:
    """What each step of the recipe did with an image.

    Args:
        subset: with its recipe.
        image: an id of the subset's catalog.

    Returns:
        A reason a step, first step first; the last one says whether the image is in the subset.

    Raises:
        BadInput: the image is not in the catalog.

    Cost: that of making the subset again.
    """
    subset.catalog.rows(np.array([image], np.int64), columns=["image"])
    after = made(subset.recipe, subset.catalog)
    reasons = []
    for name, step in enumerate(subset.recipe.steps(), 1):
        sources = [after[source.key] for source in step.sources]
        offered = not sources or any(image in source for source in sources)
        say = BUILDERS[step.builder].why
        why = ""
        if say is not None and sources and offered:
            why = say(sources[0], image, **{key: unwrapped(value) for key, value in step.arguments.items()})
        reasons.append(Reason(str(name), step.builder, image in after[step.key], offered, why))
    return reasons


def describe(reasons: list[Reason]) -> str:
    """Reasons as lines for people."""
    lines = []
    for reason in reasons:
        verdict = "in" if reason.took else "out" if reason.offered else "out already"
        lines.append(f"{reason.step:>3} {reason.builder}: {verdict}" + (f" ({reason.why})" if reason.why else ""))
    return "\n".join(lines)
