"""The network that is trained: a ResNet's body, its head with the loss, and what the config does to both."""

import contextlib
import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed
from torchvision.models.resnet import ResNet

from jftdata import backbone
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.head import SplitHead, head_loss
from jftdata.pretrain.objective import Objective, Targets

STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")
"""Parts of a ResNet, lowest first."""


class Trained(nn.Module):
    """Pixels and targets in, loss out. `net` has torchvision's parameter names; with a split head its `fc` is the identity."""

    def __init__(
        self, net: ResNet, objective: Objective, config: PretrainConfig, split: SplitHead | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.split = split
        self._objective = objective
        self._precision = config.precision
        if split is not None:
            net.fc = nn.Identity()
        freeze(net, config.freeze_below)
        self._frozen = [
            getattr(net, name) for name in STAGES if not any(p.requires_grad for p in _parameters(net, name))
        ]
        if config.checkpoint_activations:
            for name in STAGES[2:6]:
                stage = getattr(net, name)
                stage.forward = partial(
                    recomputed, stage.forward, use_reentrant=False, context_fn=partial(_twice, stage)
                )
        self._body = torch.compile(self._features) if config.compile else self._features

    def forward(self, pixels: Tensor, targets: Targets) -> Tensor:
        """The mean loss of a batch."""
        with backbone.autocast(pixels.device, self._precision):
            features = self._body(pixels)
            if self.split is None:
                return head_loss(features, self.net.fc.weight, self.net.fc.bias, targets, self._objective)
            if features.requires_grad and self.split.world > 1:  # data parallelism averages what the head has summed
                features.register_hook(partial(torch.mul, other=self.split.world))  # type: ignore[no-untyped-call]
            return self.split.loss(features, targets, self._objective)

    @torch.no_grad()
    def top(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The 100 labels of the highest logits of each image, (B, 100) logits and labels, of a split head."""
        assert self.split is not None
        self.eval()
        with backbone.autocast(pixels.device, self._precision):
            features = self._features(pixels)
        found = self.split.top(features.float(), min(100, self.split.num_labels))
        self.train()
        return found

    def train(self, mode: bool = True) -> "Trained":
        """Frozen parts keep their batch-norm statistics."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def _features(self, pixels: Tensor) -> Tensor:
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(pixels))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return torch.flatten(net.avgpool(x), 1)


def _parameters(net: ResNet, name: str) -> Iterator[nn.Parameter]:
    part: nn.Module = getattr(net, name)
    return part.parameters()


def _twice(stage: nn.Module) -> tuple[Any, Any]:
    """Contexts of the forward pass and of its repetition, which must not move batch-norm statistics again."""
    return contextlib.nullcontext(), _still(stage)


@contextlib.contextmanager
def _still(stage: nn.Module) -> Iterator[None]:
    norms = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def start_from(net: ResNet, split: SplitHead | None, init: Checkpoint, tree: Hierarchy) -> int:
    """Load the weights of a checkpoint into a fresh network; the head by label.

    Args:
        net: with a head for the labels of `tree`, if it is not split.
        split: the head's rows of this rank, if it is.
        init: a checkpoint of the same architecture.
        tree: labels of the new head.

    Returns:
        How many labels of the new head were in the old one; the others keep their fresh weights.

    Raises:
        BadInput: a checkpoint of another architecture.
    """
    old, new = init.load_weights(), net.state_dict()
    head = ("fc.weight", "fc.bias")
    wrong = [name for name in new if name not in head and (name not in old or old[name].shape != new[name].shape)]
    if wrong or old["fc.weight"].shape[1] != net.fc.in_features:
        raise BadInput(
            f"{init.path} is a {init.config['architecture']} whose weights do not fit ({(wrong or head)[0]} differs). Start "
            "from one of the same architecture and stem."
        )
    net.load_state_dict({name: new[name] if name in head else old[name] for name in new})
    known = {label: row for row, label in enumerate(init.labels())}
    taken = torch.tensor([known.get(label, -1) for label in tree.labels])
    first, last = (0, tree.num_labels) if split is None else (split.first, split.last)
    here = torch.arange(first, last)[taken[first:last] >= 0]
    with torch.no_grad():
        for name in ("weight", "bias"):
            rows = getattr(net.fc if split is None else split, name)
            rows[here - first] = old[f"fc.{name}"][taken[here]].to(rows)
    return int((taken >= 0).sum())


def freeze(net: ResNet, below: str | None) -> None:
    """Take the parts below one out of training; None takes none."""
    for name in STAGES[: STAGES.index(below) if below else 0]:
        getattr(net, name).requires_grad_(False)


def fresh(config: PretrainConfig, num_labels: int) -> ResNet:
    """The network of a config before training; with a split head its own `fc` has one output and is not used."""
    return backbone.of_config(
        dataclasses.asdict(config), num_outputs=1 if config.split_head else num_labels, seed=config.seed
    )
