"""Parameter servers: a part of the weights with their optimizer, which apply gradients as they come.

A server applies each step once, whoever sends it and how often. Arrays travel flat, the tensors of a part one after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jftdata import backbone
from jftdata.errors import Damaged
from jftdata.pretrain import state
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.head import head_loss
from jftdata.pretrain.objective import Objective, Targets
from jftdata.pretrain.schedule import optimizer

STATISTICS_MOMENTUM = 0.1
"""Of batch-norm statistics, as torch's."""


@dataclass(frozen=True)
class Push:
    """What a worker sends a server."""

    worker: int
    steps: tuple[int, ...]
    gradient: NDArray[np.float32]
    """Of the part, summed over the steps."""
    statistics: NDArray[np.float32]
    """Batch-norm statistics of the last batch."""
    rate: float
    seen: int
    """Steps the server had applied when the parameters were fetched."""
    done_before: int
    """All steps before this one are done on all servers."""


class Server:
    """A part of the weights.

    Args:
        config: says which optimizer.
        weights: the part's parameters.
        statistics: batch-norm statistics kept beside them.
    """

    def __init__(
        self, config: PretrainConfig, weights: Sequence[NDArray[np.float32]],
        statistics: Sequence[NDArray[np.float32]] = (),
    ) -> None:  # fmt: skip
        self.part = nn.Module()
        self.part.weights = nn.ParameterList(torch.from_numpy(np.array(w)) for w in weights)
        for i, values in enumerate(statistics):
            self.part.register_buffer(f"statistics{i}", torch.from_numpy(np.array(values)))
        self._optimizer = optimizer(config, self.part.parameters())
        self._applied: set[int] = set()
        self._dismissed: set[int] = set()
        self._num_applied = 0

    def fetch(self) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
        """How many steps have been applied, the parameters and the statistics."""
        return self._num_applied, flat(list(self.part.parameters())), flat(list(self.part.buffers()))

    def push(self, push: Push) -> int:
        """Apply a gradient; returns its staleness, in steps."""
        staleness = self._num_applied - push.seen
        if not self._is_new(push.worker, push.steps, push.done_before):
            return staleness
        pieces = split(push.gradient, list(self.part.parameters()))
        for parameter, gradient in zip(self.part.parameters(), pieces, strict=True):
            parameter.grad = gradient
        self._update(push.rate)
        buffers = list(self.part.buffers())
        for buffer, values in zip(buffers, split(push.statistics, buffers), strict=True):
            buffer.lerp_(values, STATISTICS_MOMENTUM)
        return staleness

    def dismiss(self, worker: int) -> None:
        """Take nothing more from a worker that has died: what it sent may still be on the way."""
        self._dismissed.add(worker)

    def save(self, folder: Path, step: int) -> list[int]:
        """Write parameters and the optimizer's averages; returns the steps to hand to `load`."""
        state.save(folder, step, self.part, self._optimizer, keep=1)
        return sorted(self._applied)

    def load(self, folder: Path, applied: Sequence[int]) -> None:
        """Go on from there.

        Raises:
            Damaged: the file cannot be read.
        """
        if not state.load(folder, self.part, self._optimizer):
            raise Damaged(f"the state in {folder} cannot be read. Remove {folder.parent} to go on from the one before.")
        self._applied = set(applied)

    def _is_new(self, worker: int, steps: Sequence[int], done_before: int) -> bool:
        """Whether this is to be applied; notes that it was."""
        self._applied = {step for step in self._applied if step >= done_before}
        if worker in self._dismissed or self._applied.issuperset(steps):
            return False
        self._applied.update(steps)
        self._num_applied += len(steps)
        return True

    def _update(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()


class HeadServer(Server):
    """Some columns of the head: computes their logits, loss and gradients from features, and updates them at once.

    Args:
        config: says which optimizer and precision.
        weight: (columns, d).
        bias: (columns,).
        objective: a loss of one label at a time, its offset cut to these columns.
    """

    def __init__(
        self, config: PretrainConfig, weight: NDArray[np.float32], bias: NDArray[np.float32], objective: Objective
    ) -> None:
        super().__init__(config, [weight, bias])
        self._objective, self._precision = objective, config.precision

    def train(
        self, worker: int, step: int, features: NDArray[np.float32], targets: Targets, rate: float, done_before: int
    ) -> tuple[float, NDArray[np.float32]]:
        """Train the columns on a batch.

        Args:
            worker: who sends it.
            step: of the batch; one that was applied before changes nothing.
            features: (B, d).
            targets: labels of the B images among these columns, counted from the first of them.
            rate: learning rate.
            done_before: as in `Push`.

        Returns:
            These columns' part of the loss, and its gradient (B, d) in the features. Where the loss is not finite nothing is updated.
        """
        x = torch.from_numpy(np.array(features)).requires_grad_()
        weight, bias = self.part.parameters()
        self._optimizer.zero_grad(set_to_none=True)
        with backbone.autocast(x.device, self._precision):
            loss = head_loss(x, weight, bias, targets, self._objective)
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(loss) and self._is_new(worker, [step], done_before):
            self._update(rate)
        assert x.grad is not None
        return loss.item(), x.grad.numpy()


def flat(tensors: Sequence[Tensor]) -> NDArray[np.float32]:
    """The values of some tensors one after another, on the CPU."""
    parts = [tensor.detach().reshape(-1).float() for tensor in tensors]
    values: NDArray[np.float32] = (torch.cat(parts) if parts else torch.empty(0)).cpu().numpy()
    return values


def split(values: NDArray[np.float32], like: Sequence[Tensor]) -> list[Tensor]:
    """Undo `flat`: tensors of the shapes of others, on the CPU."""
    parts = torch.split(torch.from_numpy(np.array(values)), [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
