"""Whether a run fits into memory, said before its first step."""

import torch
from torch import Tensor

from jftdata import machine
from jftdata.errors import TooLittleMemory
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.model import freeze, fresh

_GIB = 2**30
_AVERAGES = {"sgd": 1, "rmsprop": 2, "adamw": 2, "lars": 1, "lamb": 2}
"""Tensors of the weights' size that an optimizer keeps."""
_IMAGES = 2


def needed(config: PretrainConfig, *, num_labels: int, world_size: int = 1) -> int:
    """Bytes that a training step holds at once, at least: weights, gradients, the optimizer's averages, and what the forward pass keeps
    for the backward pass. Decoded images and the head's work are not counted.

    Args:
        config: of the run.
        num_labels: outputs of the head.
        world_size: processes that share a batch, and a split head.

    Cost: the shapes of one forward pass, without arithmetic: 0.1 s for a ResNet-101.

    >>> from jftdata import recipes
    >>> round(needed(recipes.jft300m_resnet101(), num_labels=18_291) / _GIB, 1)
    7.9
    """
    with torch.device("meta"):
        net = fresh(config, num_labels)
    freeze(net, config.freeze_below)
    head = 4 * (num_labels // world_size) * (net.fc.in_features + 1) if config.split_head else 0
    weights: int = 4 * sum(p.numel() for p in net.parameters()) + head
    trained: int = 4 * sum(p.numel() for p in net.parameters() if p.requires_grad) + head
    copies = 1 + _AVERAGES[config.optimizer] + (config.ema_decay is not None)  # gradients first
    if config.checkpoint_activations:
        return weights + trained * copies
    kept: dict[int, Tensor] = {}
    own = {p.untyped_storage()._cdata for p in (*net.parameters(), *net.buffers())}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor  # held, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net.train()(torch.empty(_IMAGES, 3, config.image_size, config.image_size, device="meta"))
    an_image = sum(tensor.numel() for tensor in kept.values()) / _IMAGES * (2 if config.precision == "bf16" else 4)
    return weights + trained * copies + int(an_image * config.batch_size / config.accumulate / world_size)


def available(device: torch.device) -> int | None:
    """Bytes that are free on a GPU, or for this process; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    here = machine.memory()
    return None if here is None else here[1]


def check(bytes_needed: int, device: torch.device) -> None:
    """Raise TooLittleMemory when a run cannot fit.

    Args:
        bytes_needed: see `needed`.
        device: where.
    """
    free = available(device)
    if free is not None and bytes_needed > free:
        raise TooLittleMemory(
            f"a step needs at least {bytes_needed / _GIB:.1f} GiB on {device} and {free / _GIB:.1f} GiB are free. Lower `batch_size` "
            "or `image_size`, raise `accumulate`, or set `checkpoint_activations`."
        )
