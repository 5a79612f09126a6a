"""Which server holds what of a network."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from torch import nn
from torchvision.models.resnet import ResNet

from jftdata.errors import BadArgument
from jftdata.pretrain.downpour.settings import Downpour
from jftdata.pretrain.objective import Targets, entries


@dataclass(frozen=True)
class Layout:
    """Which server holds what."""

    weights: list[list[str]]
    """Names of the trained parameters of the body on each body server."""
    statistics: list[list[str]]
    """Names of batch-norm statistics on each body server."""
    spans: list[tuple[int, int]]
    """First label of each head server, and the one after its last."""

    @classmethod
    def of(cls, net: ResNet, downpour: Downpour) -> Self:
        """Divide a network; the largest parameter first, each to the server that has least.

        Raises:
            BadArgument: more servers than parameters, or head servers than labels.
        """
        sizes = {
            name: p.numel() for name, p in net.named_parameters() if p.requires_grad and not name.startswith("fc.")
        }
        labels = net.fc.out_features
        for field, most in (("num_servers", len(sizes)), ("head_shards", labels)):
            if getattr(downpour, field) > most:
                raise BadArgument(f"`{field}` must be at most {most} for this network. Got {getattr(downpour, field)}.")
        shares: list[list[str]] = [[] for _ in range(downpour.num_servers)]
        loads = [0] * downpour.num_servers
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            least = loads.index(min(loads))
            shares[least].append(name)
            loads[least] += sizes[name]
        owners = {name.removesuffix(".weight"): i for i, names in enumerate(shares) for name in names}
        statistics: list[list[str]] = [[] for _ in shares]
        for layer, _ in moving(net):
            for name in ("running_mean", "running_var"):
                statistics[owners[layer]].append(f"{layer}.{name}")
        ends = [labels * i // downpour.head_shards for i in range(downpour.head_shards + 1)]
        return cls(shares, statistics, list(itertools.pairwise(ends)))


def moving(net: ResNet) -> Iterator[tuple[str, nn.BatchNorm2d]]:
    """Batch norms whose statistics move: those that are trained."""
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad:
            yield name, module


def columns(targets: Targets, first: int, last: int) -> Targets:
    """The targets of labels `first` to before `last`, as if there were no others; on the CPU.

    >>> import torch
    >>> columns(Targets(2, 4, torch.tensor([0, 1]), torch.tensor([1, 3])), 2, 4).label
    tensor([1])
    """
    part = entries(targets.label, first, last - first)
    yes = None if targets.positive is None else targets.positive[part].cpu()
    return Targets(targets.num_images, last - first, targets.image[part].cpu(), targets.label[part].cpu() - first, yes)
