"""How closely workers train together, and what can be trained so."""

from dataclasses import dataclass
from typing import Any

from jftdata.errors import BadArgument
from jftdata.pretrain.config import PretrainConfig


@dataclass(frozen=True, kw_only=True)
class Downpour:
    """Who trains, and how closely together."""

    num_workers: int = 2
    """Processes that compute gradients."""
    num_servers: int = 1
    """Processes that hold the body's parameters, divided by size."""
    head_shards: int = 1
    """Processes that hold the head, divided by labels."""
    fetch_every: int = 1
    """Steps of a worker between fetches of parameters (n_fetch of Dean et al.)."""
    push_every: int = 1
    """Steps of a worker whose gradients are summed and pushed as one (n_push of Dean et al.); the head is trained every step."""
    max_staleness: int | None = 8
    """Most steps that may be applied between a fetch and the gradient computed from it; 0 is one worker after another, and workers
    wait below num_workers - 1. None is no bound."""

    def __post_init__(self) -> None:
        for name in ("num_workers", "num_servers", "head_shards", "fetch_every", "push_every"):
            if getattr(self, name) < 1:
                raise BadArgument(f"`{name}` must be at least 1. Got {getattr(self, name)}.")
        least = max(0, self.fetch_every - self.push_every)
        if self.max_staleness is not None and self.max_staleness < least:
            raise BadArgument(
                f"`max_staleness` must be at least {least}, the steps a worker pushes between two fetches, or None. Got "
                f"{self.max_staleness}."
            )


def paper() -> Downpour:
    """The paper's set-up: 50 workers (K80 GPUs), 17 servers, the last layer in 50 parts; with `recipes.jft300m_resnet101()`.

    It names no bound on staleness. That parameters are fetched and pushed every step is from Dean et al.; Sun et al. do not say.

    Source: Sun et al. 2017, section 4.1; Dean et al. 2012, section 4.1.
    """
    return Downpour(num_workers=50, num_servers=17, head_shards=50, max_staleness=None)


_UNABLE: dict[str, tuple[tuple[Any, ...], str]] = {
    "loss": (("logistic", "focal", "asymmetric"), "a softmax needs sums over all labels, and each head server knows its own only"),
    "optimizer": (("sgd", "rmsprop", "adamw"), "its steps need the norm of a whole layer, and servers hold parts"),
    "clip_norm": ((None,), "no process has the whole gradient"),
    "ema_decay": ((None,), "no process has all weights of a step"),
    "accumulate": ((1,), "give a smaller `batch_size`, or push_every"),
    "split_head": ((False,), "the head is split by head_shards"),
    "freeze_below": ((None, "layer1", "layer2", "layer3", "layer4"), "body servers would have nothing to train"),
}  # fmt: skip
"""Fields of a config, what they may be here, and why not otherwise."""


def check(config: PretrainConfig) -> None:
    """Refuse what needs the whole gradient, all weights or all logits in one place.

    Raises:
        BadArgument: a field and the reason.
    """
    for name, (allowed, why) in _UNABLE.items():
        value = getattr(config, name)
        if value not in allowed:
            words = " or ".join(map(str, allowed))
            raise BadArgument(f"with parameter servers `{name}` must be {words}: {why}. Got {value!r}.")
