"""The training loop of all tasks: batches and a model that gives losses in, trained weights out.

A killed run goes on from its last saved state; SIGTERM saves and stops; a loss or gradient that is not finite stops before the step.
Under torchrun every process trains its share of each batch.
"""

import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jftdata.errors import BadInput, Interrupted, NonFinite
from jftdata.pretrain import state
from jftdata.pretrain.monitor import rows_until
from jftdata.pretrain.ranks import Ranks, signals
from jftdata.pretrain.schedule import gradient_norm
from jftdata.progress import progress
from jftdata.subset.stream import Stream
from jftdata.transfer.recipe import Recipe

METRICS = "metrics.jsonl"
STATES = "states"
SAVE_EVERY = 60.0
"""Seconds between saved states."""
_LOG_ROWS = 100
_AHEAD = 4
"""Samples a thread works ahead, at least."""
S = TypeVar("S")
T = TypeVar("T")
B = TypeVar("B")


def order(images: NDArray[np.int64], *, recipe: Recipe, seed: int) -> Stream:
    """The order of training samples, by ids in ascending order; a set smaller than a batch is one batch.

    Raises:
        BadInput: no sample.
    """
    if not len(images):
        raise BadInput("the training split has nothing to learn from. Give another split.")
    return Stream(images=images, seed=seed, batch_size=min(recipe.batch_size, len(images)))


def samples(
    load: Callable[[int, int], S], stream: Stream, *, first_step: int, num_steps: int, ranks: Ranks, workers: int | None,
) -> Iterator[list[S]]:  # fmt: skip
    """This rank's share of the batches of steps `first_step` to `num_steps`; the same for any number of threads.

    Args:
        load: gets a row of `stream.images` and a random number of (seed, place in the order), on a thread.
        stream: the order.
        first_step: resuming here gives what an undisturbed run would have given.
        num_steps: step to end before.
        ranks: whose share.
        workers: threads; None is one a core.

    Raises:
        What `load` raises.
    """
    threads = workers or os.cpu_count() or 1
    waiting: deque[list[Future[S]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for batch in stream.batches(first_step, num_steps, world_size=ranks.world_size, rank=ranks.rank):
            draws = stream.draw(batch.epoch, batch.positions)
            waiting.append([
                pool.submit(load, row, draw) for row, draw in zip(batch.rows.tolist(), draws.tolist(), strict=True)
            ])  # fmt: skip
            if len(waiting) > 1 + math.ceil(threads * _AHEAD / max(1, len(batch.rows))):
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(function: Callable[[T], S], items: Iterable[T], *, workers: int | None) -> Iterator[S]:
    """What a function gives for each item, in order, computed on threads a few items ahead.

    Args:
        function: called on a thread.
        items: taken as they are needed.
        workers: threads; None is one a core.

    >>> list(ahead(abs, [-1, 2, -3], workers=2))
    [1, 2, 3]
    """
    threads = workers or os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)
    try:
        coming = (pool.submit(function, item) for item in items)
        waiting = deque(islice(coming, threads * _AHEAD))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(islice(coming, 1))
            yield done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def fit(
    model: nn.Module, batches: Callable[[int], Iterator[B]], *, recipe: Recipe, num_steps: int, ranks: Ranks, folder: Path,
    what: str, fresh: Callable[[str], bool] = lambda name: False,
) -> None:  # fmt: skip
    """Train a model in place; it is left in evaluation.

    Args:
        model: on its device; called with a batch it gives losses by name, each a mean over this rank's share, of which the sum is
            made small. Parameters without `requires_grad` are left alone.
        batches: this rank's batches from a step on.
        recipe: rates, decay, schedule.
        num_steps: in all.
        ranks: who trains.
        folder: `states/` and `metrics.jsonl` lie there; a folder with states is gone on from.
        what: says on the bar what is trained.
        fresh: which parameters, by name, are not from the checkpoint.

    Raises:
        NonFinite: a loss or gradient is NaN or infinite; nothing was updated.
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    opt = _optimizer(model, recipe, fresh)
    done = state.load(folder / STATES, model, opt)
    log = _Log(folder / METRICS if ranks.first else None, done, every=max(1, num_steps // _LOG_ROWS))
    trained = model if ranks.world_size == 1 or done == num_steps else DistributedDataParallel(model)
    model.train()
    made = batches(done) if done < num_steps else iter(())
    shown = progress(what, total=num_steps, unit="step", initial=done, hidden=not ranks.first)
    with signals() as caught, shown as bar:
        saved = time.monotonic()
        for step in range(done, num_steps):
            rate = recipe.rate(step, num_steps)
            for group in opt.param_groups:
                group["lr"] = rate * group["times"]
            losses = _gradients(trained, opt, next(made), recipe, step, ranks)
            opt.step()
            log.add(step + 1, rate, losses)
            bar.update(1)
            stop, due = ranks.any(bool(caught), time.monotonic() - saved > SAVE_EVERY)
            if stop or due:
                state.save(folder / STATES, step + 1, model, opt, ranks=ranks, keep=1)
                saved = time.monotonic()
            if stop:
                number = caught[0] if caught else signal.SIGTERM
                raise Interrupted(number, f"stopped by a signal after step {step + 1}; run the same command to go on.")
    if num_steps > done:
        state.save(folder / STATES, num_steps, model, opt, ranks=ranks, keep=1)
    model.eval()


def _optimizer(model: nn.Module, recipe: Recipe, fresh: Callable[[str], bool]) -> torch.optim.Optimizer:
    """SGD; weight decay on weights, not on biases and batch norm."""
    groups = []
    for times, is_fresh in ((1.0, False), (recipe.fresh_rate, True)):
        mine = [p for name, p in model.named_parameters() if p.requires_grad and fresh(name) == is_fresh]
        for decay, parameters in (
            (recipe.weight_decay, [p for p in mine if p.ndim > 1]), (0.0, [p for p in mine if p.ndim <= 1])
        ):  # fmt: skip
            if parameters:
                groups.append({"params": parameters, "weight_decay": decay, "times": times})
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)


def _gradients(
    model: nn.Module, opt: torch.optim.Optimizer, batch: object, recipe: Recipe, step: int, ranks: Ranks
) -> dict[str, float]:
    """Losses of a batch; the gradients lie on the weights, clipped."""
    opt.zero_grad(set_to_none=True)
    losses: dict[str, Tensor] = model(batch)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    parameters = [p for group in opt.param_groups for p in group["params"] if p.grad is not None]
    norm = gradient_norm(parameters)
    numbers = ranks.mean(torch.stack([*(loss.detach().float() for loss in losses.values()), norm.float()])).tolist()
    found = dict(zip((*losses, "gradient_norm"), numbers, strict=True))
    if not all(map(math.isfinite, numbers)):
        raise NonFinite(
            f"step {step + 1} gave {found}; nothing was updated. Lower `learning_rate` or give `clip_norm`."
        )
    if recipe.clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, recipe.clip_norm, norm)
    return found


class _Log:
    """Rows of `metrics.jsonl`: means of the losses since the last row; rows after a resumed step are dropped."""

    def __init__(self, path: Path | None, done: int, *, every: int) -> None:
        self._path, self._every = path, every
        self._since: list[dict[str, float]] = []
        self._began = time.monotonic()
        if path is not None:
            rows_until(path, done)

    def add(self, step: int, rate: float, losses: dict[str, float]) -> None:
        self._since.append(losses)
        if step % self._every or self._path is None:
            return
        spent = time.monotonic() - self._began
        row = {"step": step, "lr": rate, "steps_per_second": round(len(self._since) / max(spent, 1e-9), 3)}
        row |= {name: round(sum(r[name] for r in self._since) / len(self._since), 6) for name in losses}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._since, self._began = [], time.monotonic()
