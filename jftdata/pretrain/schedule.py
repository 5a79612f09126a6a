"""Optimizer and learning rate, with the units written out."""

import math

import torch
from torch import nn

from jftdata.errors import BadArgument
from jftdata.pretrain.config import PretrainConfig


def learning_rate(config: PretrainConfig, *, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (0 is the first).

    >>> from jftdata import recipes
    >>> c = recipes.jft300m_resnet101()
    >>> [learning_rate(c, step=s, steps_per_epoch=9_375_000) for s in (0, 2_999_999, 3_000_000)]
    [0.001, 0.001, 0.0009000000000000001]
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "cosine":
        total = config.total_epochs * steps_per_epoch
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
    if config.decay_factor is None or config.decay_every is None or config.decay_unit is None:
        raise BadArgument("the exponential schedule needs decay_factor, decay_every and decay_unit.")
    unit = {"steps": 1.0, "images": 1.0 / config.batch_size, "epochs": float(steps_per_epoch)}[config.decay_unit]
    return config.learning_rate * config.decay_factor ** math.floor(step / (config.decay_every * unit))


def optimizer(config: PretrainConfig, net: nn.Module) -> torch.optim.Optimizer:
    """The optimizer, with batch-norm parameters and biases kept from weight decay unless the config says otherwise."""
    decayed = [p for p in net.parameters() if p.ndim > 1 or config.decay_norm_and_bias]
    rest = [p for p in net.parameters() if p.ndim <= 1 and not config.decay_norm_and_bias]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum or 0.0)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=config.learning_rate, momentum=config.momentum or 0.0, alpha=0.9, eps=1.0)
    return torch.optim.AdamW(groups, lr=config.learning_rate)
