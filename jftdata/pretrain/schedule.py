"""Optimizer, learning rate and averaged weights, with the units written out."""

import bisect
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from jftdata import schedules
from jftdata.errors import BadArgument
from jftdata.pretrain.config import PretrainConfig


def learning_rate(config: PretrainConfig, *, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (0 is the first).

    >>> from jftdata import recipes
    >>> c = recipes.jft300m_resnet101()
    >>> [learning_rate(c, step=s, steps_per_epoch=9_375_000) for s in (0, 2_999_999, 3_000_000)]
    [0.001, 0.001, 0.0009000000000000001]
    """
    unit = {None: 1.0, "steps": 1.0, "images": 1.0 / config.batch_size, "epochs": float(steps_per_epoch)}[
        config.decay_unit
    ]
    times = 0
    if config.schedule == "exponential":
        times = math.floor(step / ((config.decay_every or 1.0) * unit))
    elif config.schedule == "step":
        times = bisect.bisect_right(config.milestones or (), step / unit)
    return schedules.rate(
        config.schedule, step=step, num_steps=config.total_epochs * steps_per_epoch, first=config.step_rate,
        warmup=config.warmup_epochs * steps_per_epoch, power=config.power or 1.0, decay=(config.decay_factor or 1.0) ** times,
    )  # fmt: skip


def optimizer(config: PretrainConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of those parameters that are trained, with batch-norm parameters and biases kept from weight decay unless the
    config says otherwise.

    Raises:
        BadArgument: lars or lamb without timm.
    """
    trained = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 or config.decay_norm_and_bias]
    rest = [p for p in trained if p.ndim <= 1 and not config.decay_norm_and_bias]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    rate, momentum = config.step_rate, config.momentum or 0.0
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=config.nesterov)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=rate, momentum=momentum, alpha=config.squared_decay or 0.0, eps=config.epsilon or 0.0
        )
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    try:
        from timm.optim import Lamb, Lars
    except ImportError:
        raise BadArgument(f"optimizer {config.optimizer!r} is timm's. Install jftdata[timm], or use another.") from None
    if config.optimizer == "lars":
        lars: torch.optim.Optimizer = Lars(groups, lr=rate, momentum=momentum, nesterov=config.nesterov)
        return lars
    lamb: torch.optim.Optimizer = Lamb(groups, lr=rate)
    return lamb


class Average:
    """An exponential moving average of a network's weights; batch-norm statistics are averages already and are copied.

    The decay of the first steps is lower, (1 + step) / (10 + step), so that the fresh weights are forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self._decay = decay
        self.tensors = {name: value.detach().clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """After a step (0 is the first)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        learnt = {name for name, _ in net.named_parameters()}
        for name, value in net.state_dict().items():
            if name in learnt:
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name].copy_(value)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Euclidean norm of all gradients together."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
