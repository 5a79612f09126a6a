"""A worker: takes steps from the dealer, gets parameters from the servers and sends them gradients."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jftdata import backbone
from jftdata.errors import NonFinite
from jftdata.pretrain.downpour.layout import Layout, columns, moving
from jftdata.pretrain.downpour.servers import Push, flat, split
from jftdata.pretrain.downpour.settings import Downpour
from jftdata.pretrain.head import SplitHead
from jftdata.pretrain.input import Batch
from jftdata.pretrain.job import Job, Labels, batches_of, places_of
from jftdata.pretrain.keep import STATES
from jftdata.pretrain.model import Trained, fresh
from jftdata.pretrain.objective import Logistic, Objective, Targets
from jftdata.pretrain.schedule import gradient_norm, learning_rate


@dataclass(frozen=True)
class Plan:
    """What every worker is told, once."""

    job: Job
    downpour: Downpour
    layout: Layout
    body: dict[str, NDArray[Any]]
    """The network before training, by name, without its head."""
    folder: Path


@dataclass(frozen=True)
class Actors:
    """Handles of the processes that all workers talk to."""

    servers: list[Any]
    heads: list[Any]
    dealer: Any


@dataclass(frozen=True)
class Report:
    """What a worker says of a push."""

    steps: tuple[int, ...]
    loss: float
    gradient_norm: float
    """Of the body."""
    staleness: int
    """The most on any body server."""
    waited: float
    rejected: list[tuple[int, str, str]]


class _RemoteHead(nn.Module):
    """Stands where `Trained` has a split head; the columns are on head servers."""

    world = 1

    def __init__(
        self, get: Callable[[Any], Any], actors: Actors, spans: Sequence[tuple[int, int]], worker: int
    ) -> None:
        super().__init__()
        self._get = get
        self._actors, self._spans, self._worker = actors, spans, worker
        self.step, self.rate, self.done_before = 0, 0.0, 0

    def loss(self, features: Tensor, targets: Targets, _: Objective) -> Tensor:
        sent = features.detach().float().cpu().numpy()
        answers = [
            head.train.remote(self._worker, self.step, sent, columns(targets, *span), self.rate, self.done_before)
            for head, span in zip(self._actors.heads, self._spans, strict=True)
        ]
        parts = self._get(answers)
        slope = torch.from_numpy(np.sum([part for _, part in parts], 0)).to(features.device)
        with torch.autocast(features.device.type, enabled=False):
            linear = (features.float() * slope).sum()  # of the right gradient; the value is put in its place
            value = torch.full_like(linear, sum(part for part, _ in parts))
            return linear + (value - linear.detach())


class Worker:
    """Computes gradients until no step is left."""

    def __init__(self, number: int, plan: Plan, actors: Actors) -> None:
        import ray

        self._number, self._plan, self._actors, self._get = number, plan, actors, ray.get
        config, self._device = plan.job.config, plan.job.ranks.device
        self._head = _RemoteHead(ray.get, actors, plan.layout.spans, number)
        net = fresh(dataclasses.replace(config, split_head=True), 1)
        self._model = Trained(net, Logistic(), config, cast(SplitHead, self._head))
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in plan.body.items()})
        for _, norm in moving(net):
            norm.momentum = 1.0  # the statistics of one batch; servers average them
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self._model.to(memory_format=layout).to(self._device).train()
        tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        self._weights = [[tensors[name] for name in names] for names in plan.layout.weights]
        self._statistics = [[tensors[name] for name in names] for names in plan.layout.statistics]
        self._places = places_of(plan.job, plan.folder)
        self._labels = Labels(self._places, config, self._device)
        self._base, self._fetched = 0, plan.downpour.fetch_every
        self._seen: list[
            int
        ] = []  # steps each server had applied at the last fetch, and at that of the first unpushed step
        self._seen_by_push: list[int] = []
        self._start_over()

    def run(self) -> None:
        """Take steps until there are none, reading the images of the next while one is computed."""
        with ThreadPoolExecutor(1) as reader:
            taken = self._get(self._actors.dealer.take.remote(self._number))
            reading = reader.submit(self._read, taken)
            while taken is not None:
                began = time.monotonic()
                batch = reading.result()
                assert batch is not None
                self._waited += time.monotonic() - began
                following = self._get(self._actors.dealer.take.remote(self._number))
                reading = reader.submit(self._read, following)
                step, again = taken
                if again:  # a server may have applied it: not to be summed with others
                    self._push()
                self._train(step, batch)
                if again or len(self._steps) >= self._plan.downpour.push_every:
                    self._push()
                taken = following
            self._push()

    def _read(self, taken: tuple[int, bool] | None) -> Batch | None:
        if taken is None:
            return None
        return next(batches_of(self._plan.job, self._places, taken[0], taken[0] + 1))

    def _train(self, step: int, batch: Batch) -> None:
        plan, head = self._plan, self._head
        if self._fetched >= plan.downpour.fetch_every:
            self._fetch()
        while not self._get(self._actors.dealer.start.remote(self._number, step, self._base)):
            self._push()
            self._fetch()
        if not self._steps:
            self._seen_by_push = self._seen
        head.step, head.rate = step, learning_rate(plan.job.config, step=step, steps_per_epoch=plan.job.in_epoch)
        pixels = backbone.to_input(batch.pixels, self._device)
        loss = self._model(
            pixels if plan.job.config.channels_last else pixels.contiguous(), self._labels.targets(batch.rows)
        )
        loss.backward()
        self._steps.append(step)
        self._rows.append(batch.rows)
        self._losses.append(loss.item())
        self._rejected += batch.rejected
        self._fetched += 1

    def _fetch(self) -> None:
        self._base, self._head.done_before = self._get(self._actors.dealer.now.remote())
        found = self._get([server.fetch.remote() for server in self._actors.servers])
        self._seen = [count for count, *_ in found]
        with torch.no_grad():
            for (_, weights, _), own in zip(found, self._weights, strict=True):
                for tensor, values in zip(own, split(weights, own), strict=True):
                    tensor.copy_(values)
        self._fetched = 0

    def _push(self) -> None:
        if not self._steps:
            return
        norm = float(gradient_norm(self._model.parameters()))
        loss = sum(self._losses) / len(self._losses)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            images = self._plan.job.stream.images[np.concatenate(self._rows)]
            raise NonFinite(
                f"the loss is {loss}, the gradient's norm {norm} at step {self._steps[-1] + 1}; the body was not updated. "
                f"Lower learning_rate, or look at the images: {', '.join(map(str, images[:8].tolist()))}"
                f"{', ...' if len(images) > 8 else ''}. Saved states are in {self._plan.folder / STATES}."
            )
        pushes = [
            server.push.remote(
                Push(
                    self._number, tuple(self._steps), flat([_gradient(w) for w in weights]), flat(statistics),
                    self._head.rate, seen, self._head.done_before,
                )
            )
            for server, weights, statistics, seen in zip(
                self._actors.servers, self._weights, self._statistics, self._seen_by_push, strict=True
            )
        ]  # fmt: skip
        staleness = max(self._get(pushes))
        report = Report(tuple(self._steps), loss, norm, staleness, self._waited, self._rejected)
        self._get(self._actors.dealer.pushed.remote(self._number, report))
        self._start_over()

    def _start_over(self) -> None:
        """Nothing is unpushed."""
        self._steps: list[int] = []
        self._rows: list[NDArray[np.int64]] = []
        self._losses: list[float] = []
        self._rejected: list[tuple[int, str, str]] = []
        self._waited = 0.0
        self._model.zero_grad(set_to_none=True)


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad
