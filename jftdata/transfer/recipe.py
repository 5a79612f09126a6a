"""What decides the training of a task: the same schedule for every checkpoint of a comparison. Needs no torch."""

import math
from dataclasses import dataclass
from typing import Literal

from jftdata import schedules
from jftdata.errors import BadArgument, one_of

SCHEDULES = ("constant", "step", "cosine", "poly")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD with momentum; tasks add settings of their own. Milestones and warm-up are shares of the whole, so that a schedule keeps its
    shape on more or fewer images.
    """

    batch_size: int
    """Images a step (of poses: people), over all processes."""
    learning_rate: float
    """For that batch size, after warm-up."""
    steps: int | None = None
    epochs: float | None = None
    """Passes over the training images at hand; just one of `steps` and `epochs` is given."""
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["constant", "step", "cosine", "poly"] = "cosine"
    """step multiplies the rate by `decay_factor` at `milestones`; cosine and poly end at zero."""
    milestones: tuple[float, ...] = ()
    """For step: shares of all steps, ascending, in (0, 1)."""
    decay_factor: float = 0.1
    """For step."""
    power: float = 0.9
    """For poly: the rate is (1 - done) ** power of the first."""
    warmup: float = 0.0
    """Share of all steps in which the rate rises from zero."""
    clip_norm: float | None = None
    """Largest norm of the gradient of all weights; a longer one is scaled down to it."""
    fresh_rate: float = 1.0
    """Times the rate, for layers that the checkpoint has not."""
    freeze_batch_norm: bool = True
    """Whether the body's batch norm keeps its statistics, scale and shift."""
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))  # a list of JSON
        if (self.steps is None) == (self.epochs is None):
            raise BadArgument(f"give just one of `steps` and `epochs`. Got {self.steps} and {self.epochs}.")
        for name, allowed in (("schedule", SCHEDULES), ("precision", ("bf16", "fp32"))):
            if getattr(self, name) not in allowed:
                raise one_of(f"`{name}`", str(getattr(self, name)), allowed)
        if (self.schedule == "step") != bool(self.milestones):
            raise BadArgument(
                f"`milestones` must be given for schedule='step' and only there. Got {self.milestones} for {self.schedule}."
            )
        ordered = list(self.milestones) == sorted(set(self.milestones))
        if not ordered or not all(0 < share < 1 for share in self.milestones):
            raise BadArgument(f"`milestones` must be ascending shares in (0, 1). Got {self.milestones}.")
        for name in ("batch_size", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadArgument(f"`{name}` must be at least 1. Got {value}.")
        for name in ("learning_rate", "epochs", "clip_norm", "fresh_rate", "decay_factor", "power"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise BadArgument(f"`{name}` must be above 0. Got {value}.")
        for name, end in (("momentum", 1), ("warmup", 1), ("weight_decay", math.inf)):
            if not 0 <= getattr(self, name) < end:
                raise BadArgument(f"`{name}` must be in [0, {end}). Got {getattr(self, name)}.")

    def num_steps(self, num_images: int) -> int:
        """Steps on so many training images, at least one; a set smaller than a batch is one batch.

        >>> Recipe(batch_size=32, learning_rate=0.1, epochs=2).num_steps(320)
        20
        """
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * num_images / max(1, min(self.batch_size, num_images))))

    def rate(self, step: int, num_steps: int) -> float:
        """Learning rate of a step (0 is the first) of so many.

        >>> recipe = Recipe(batch_size=1, learning_rate=1.0, steps=10, schedule="step", milestones=(0.5,))
        >>> recipe.rate(4, 10), recipe.rate(5, 10)
        (1.0, 0.1)
        """
        decay = self.decay_factor ** sum(step >= share * num_steps for share in self.milestones)
        return schedules.rate(
            self.schedule, step=step, num_steps=num_steps, first=self.learning_rate, warmup=self.warmup * num_steps,
            power=self.power, decay=decay,
        )  # fmt: skip
