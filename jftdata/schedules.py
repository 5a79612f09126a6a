"""Learning rates over a run: a warm-up, then what pretraining and the transfer tasks have in common. Needs no torch."""

import math


def rate(
    schedule: str, *, step: int, num_steps: float, first: float, warmup: float = 0.0, power: float = 1.0, decay: float = 1.0,
) -> float:  # fmt: skip
    """Learning rate of a step (0 is the first).

    Args:
        schedule: `cosine` and `poly` fall to zero at `num_steps`; any other is `first` times `decay`.
        step: of the run.
        num_steps: of the whole run; need not be whole.
        first: the rate when warm-up is over.
        warmup: steps in which the rate rises to it in equal parts; need not be whole.
        power: for poly, the rate is (1 - done) ** power of the first.
        decay: for schedules of steps, what the rate is multiplied with by then.

    >>> [rate("cosine", step=s, num_steps=6, first=1.0, warmup=2) for s in (0, 1, 2, 4, 6)]
    [0.3333333333333333, 0.6666666666666666, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return first * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1.0, num_steps - warmup)
    if schedule == "cosine":
        return first * 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "poly":
        return first * float((1 - done) ** power)
    return first * decay
