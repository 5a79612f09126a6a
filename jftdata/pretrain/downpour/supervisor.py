"""Keeps a run's servers and workers at work: the dead replaced, states saved, reports written down."""

import json
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jftdata import storage
from jftdata.checkpoint import METRICS
from jftdata.errors import Interrupted, JftDataError
from jftdata.pretrain.downpour.dealer import Dealer
from jftdata.pretrain.downpour.layout import moving
from jftdata.pretrain.downpour.servers import HeadServer, Server, split
from jftdata.pretrain.downpour.worker import Actors, Plan, Worker
from jftdata.pretrain.input import check_rejects
from jftdata.pretrain.job import LOG_ROWS
from jftdata.pretrain.keep import STATES, Rejected
from jftdata.pretrain.model import Trained
from jftdata.pretrain.monitor import Monitor
from jftdata.pretrain.objective import Logistic, Objective
from jftdata.pretrain.ranks import signals
from jftdata.pretrain.schedule import learning_rate
from jftdata.progress import progress, say

_LOOK = 0.5
"""Seconds between looks at what was reported."""
_DEATHS = 3
"""Workers that die with no step done between them, after which a run gives up."""
_INDEX = "index.json"
_STATES_KEPT = 2


class Supervisor:
    """The actors of a run, and what they have done so far.

    Args:
        plan: the run.
        model: the network before training; has the weights after it.
    """

    def __init__(self, plan: Plan, model: Trained) -> None:
        import ray

        self._ray, self._plan, self._model = ray, plan, model
        self._states = plan.folder / STATES
        saved = next(iter(_saved(self._states)), None)
        index: dict[str, Any] = {"first": 0, "left": [], "staleness": {}, "num_workers_replaced": 0}
        if saved is not None:
            index = json.loads((saved / _INDEX).read_text())
        self._done: int = index["first"] - len(index["left"])
        self._staleness = Counter({int(steps): pushes for steps, pushes in index["staleness"].items()})
        self._replaced, self._deaths = index["num_workers_replaced"], 0
        self._rejected = Rejected(self._states, 0)
        self._bad: set[int] = set()
        self._monitor = Monitor(
            plan.folder / METRICS, self._done, every=plan.job.num_steps + 1, operations_an_image=0, peak_operations=None,
            device=torch.device("cpu"),
        )  # fmt: skip
        self._unwritten: list[int] = []
        """Staleness of the pushes since the last row of metrics."""
        self._start_servers(index["first"], index["left"])
        if saved is not None:
            places = zip(self._kept_in(saved).items(), index["applied"], strict=True)
            ray.get([server.load.remote(path, applied) for (server, path), applied in places])
        self._told = ray.put(plan), ray.put(self._actors)
        self._workers: dict[Any, tuple[int, Any]] = {}
        """Number and actor of each worker, by what its run returns."""
        self._num_started = 0

    def _start_servers(self, first: int, left: list[int]) -> None:
        plan, config, layout = self._plan, self._plan.job.config, self._plan.layout
        tensors = {name: value.numpy() for name, value in self._model.net.state_dict().items()}
        body, head, dealer = (
            self._ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(kind) for kind in (Server, HeadServer, Dealer)
        )
        servers = [
            body.remote(config, [tensors[name] for name in weights], [tensors[name] for name in statistics])
            for weights, statistics in zip(layout.weights, layout.statistics, strict=True)
        ]
        heads = [
            head.remote(
                config, tensors["fc.weight"][low:high], tensors["fc.bias"][low:high],
                of_columns(self._model._objective, low, high),
            )
            for low, high in layout.spans
        ]  # fmt: skip
        deals = dealer.remote(plan.job.num_steps, plan.downpour.max_staleness, first=first, left=left)
        self._actors = Actors(servers, heads, deals)

    def train(self, save_every: float) -> dict[str, Any]:
        """Keep workers at work until all steps are done; returns facts.

        Raises:
            What `run` says.
        """
        plan, ray, dealer = self._plan, self._ray, self._actors.dealer
        size = plan.job.stream.batch_size
        total, done = plan.job.num_steps * size, self._done * size
        try:
            with (
                signals() as caught,
                progress(f"pretrain {len(plan.job.subset)}", total=total, initial=done, unit="image") as bar,
            ):
                for _ in range(plan.downpour.num_workers):
                    self._start_worker()
                saved, held = time.monotonic(), None
                while self._workers:
                    if held is None and (caught or time.monotonic() - saved > save_every):
                        held = dealer.hold.remote()
                    ready, _ = ray.wait([*self._workers, *([] if held is None else [held])], timeout=_LOOK)
                    bar.update(self._note() * size)
                    for ended in ready:
                        if ended in self._workers:
                            self._end_worker(ended)
                    if held in ready:
                        bar.update(self._note() * size)
                        self._save(*ray.get(held))
                        if caught:
                            raise Interrupted(
                                caught[0],
                                f"stopped by a signal after {self._done} steps; run the same command to go on.",
                            )
                        ray.get(dealer.release.remote())
                        saved, held = time.monotonic(), None
                        self._monitor.restart_clock()
                bar.update(self._note() * size)
                self._write_row()
            self._gather()
        except ray.exceptions.RayActorError as error:
            raise _server_lost(error) from error
        finally:
            workers = (actor for _, actor in self._workers.values())
            for actor in (*workers, *self._actors.servers, *self._actors.heads, dealer):
                ray.kill(actor)
        pushes = list(self._staleness.elements())
        return {
            "staleness": {str(steps): self._staleness[steps] for steps in sorted(self._staleness)},
            "staleness_mean": round(float(np.mean(pushes)), 6),
            "staleness_max": max(pushes),
            "num_workers_replaced": self._replaced,
        }

    def _start_worker(self) -> None:
        needs = {"num_cpus": 1, "num_gpus": int(self._plan.job.ranks.device.type == "cuda")}
        actor = self._ray.remote(**needs)(Worker).remote(self._num_started, *self._told)
        self._workers[actor.run.remote()] = (self._num_started, actor)
        self._num_started += 1

    def _end_worker(self, ended: Any) -> None:
        """A worker has no more to do, failed, or died and is replaced."""
        errors, actors = self._ray.exceptions, self._actors
        number, _ = self._workers.pop(ended)
        try:
            self._ray.get(ended)
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RayActorError):
                raise _server_lost(error.cause) from error
            raise error.cause from error
        except errors.RayActorError as error:
            self._replaced, self._deaths = self._replaced + 1, self._deaths + 1
            if self._deaths >= _DEATHS:
                raise JftDataError(
                    f"{_DEATHS} workers in a row died before a step was done; the last: {_first_line(error)} Look for what ends "
                    "them, as too little memory, and run the same command to go on."
                ) from error
            say(f"worker {number} died; another takes its place and does its steps again")
            self._ray.get([server.dismiss.remote(number) for server in (*actors.servers, *actors.heads)])
            self._ray.get(actors.dealer.lost.remote(number))
            self._start_worker()

    def _note(self) -> int:
        """Count what was done since the last look, and write a row of metrics when one is due; returns the steps."""
        plan, before = self._plan, self._done
        for report in self._ray.get(self._actors.dealer.reports.remote()):
            self._deaths = 0
            self._done += len(report.steps)
            self._staleness[report.staleness] += 1
            self._unwritten.append(report.staleness)
            self._reject(report.rejected)
            self._monitor.add(
                step=self._done, epoch=self._done / plan.job.in_epoch, images=self._done * plan.job.stream.batch_size,
                loss=report.loss, gradient_norm=report.gradient_norm, waited=report.waited / plan.downpour.num_workers,
                lr=learning_rate(plan.job.config, step=report.steps[-1], steps_per_epoch=plan.job.in_epoch),
            )  # fmt: skip
        if len(self._unwritten) * plan.downpour.push_every >= max(1, plan.job.num_steps // LOG_ROWS):
            self._write_row()
        return self._done - before

    def _write_row(self) -> None:
        if self._unwritten:
            self._monitor.flush(
                staleness_mean=float(np.mean(self._unwritten)), staleness_max=float(max(self._unwritten))
            )
            self._unwritten = []

    def _reject(self, rows: list[tuple[int, str, str]]) -> None:
        plan = self._plan
        self._rejected.add(rows)
        self._bad.update(image for image, *_ in rows)
        if rows:
            image, _, message = rows[-1]
            check_rejects(len(self._bad), len(plan.job.subset), plan.job.max_rejects, image, message)

    def _save(self, first: int, left: list[int]) -> None:
        """The state of all servers, whole or not at all, while nothing is trained."""
        folder = self._states / f"step-{self._done:09d}"
        self._write_row()
        if not self._done or folder.exists():
            return
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        saves = [server.save.remote(path, self._done) for server, path in self._kept_in(partial).items()]
        state = {
            "first": first, "left": left, "applied": self._ray.get(saves), "staleness": self._staleness,
            "num_workers_replaced": self._replaced,
        }  # fmt: skip
        storage.write_json(partial / _INDEX, state)
        os.replace(partial, folder)
        for old in _saved(self._states)[_STATES_KEPT:]:
            shutil.rmtree(old)

    def _kept_in(self, folder: Path) -> dict[Any, Path]:
        """Where each server keeps its part of a state."""
        kinds = {"body": self._actors.servers, "head": self._actors.heads}
        return {server: folder / f"{kind}-{i:03d}" for kind, all_ in kinds.items() for i, server in enumerate(all_)}

    @torch.no_grad()
    def _gather(self) -> None:
        """The servers' weights and statistics into the model."""
        net, layout, ray = self._model.net, self._plan.layout, self._ray
        tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        names = [*zip(layout.weights, layout.statistics, strict=True)]
        for server, (weights, statistics) in zip(self._actors.servers, names, strict=True):
            _, *found = ray.get(server.fetch.remote())
            for values, own in zip(found, (weights, statistics), strict=True):
                own_tensors = [tensors[name] for name in own]
                for tensor, value in zip(own_tensors, split(values, own_tensors), strict=True):
                    tensor.copy_(value)
        for server, (low, high) in zip(self._actors.heads, layout.spans, strict=True):
            own_tensors = [net.fc.weight[low:high], net.fc.bias[low:high]]
            for tensor, value in zip(own_tensors, split(ray.get(server.fetch.remote())[1], own_tensors), strict=True):
                tensor.copy_(value)
        for _, norm in moving(net):
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked += self._plan.job.num_steps


def of_columns(objective: Objective, first: int, last: int) -> Objective:
    """A loss of one label at a time for labels `first` to before `last` alone."""
    if isinstance(objective, Logistic) and objective.offset is not None:
        return Logistic(smoothing=objective.smoothing, offset=objective.offset[first:last])
    return objective


def _server_lost(error: Exception) -> JftDataError:
    return JftDataError(
        f"a parameter server died: {_first_line(error)} Run the same command to go on from the last saved state."
    )


def _first_line(error: Exception) -> str:
    """What Ray says happened, without where."""
    return str(error).splitlines()[0]


def _saved(states: Path) -> list[Path]:
    """Whole states, the newest first."""
    return sorted((p.parent for p in states.glob(f"step-*[0-9]/{_INDEX}")), reverse=True)
