"""The training loop: a Subset and a config in, a Checkpoint out, going on from the last saved state after any kill.

On a CPU a killed and resumed run ends with the bits of an undisturbed one. A loss or gradient that is not finite stops before the
step. SIGINT and SIGTERM save and stop. Under torchrun every process trains its share of each batch; a run may go on with another
number of processes.
"""

import math
import signal
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jftdata import backbone, storage
from jftdata.checkpoint import FORMAT, METRICS, Checkpoint
from jftdata.errors import Interrupted, NonFinite
from jftdata.pretrain import memory, state
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.input import Batch
from jftdata.pretrain.job import LOG_ROWS, Job, Labels, batches_of, model_of, places_of
from jftdata.pretrain.keep import STATES, Best, Keeping, Rejected, finish, weights
from jftdata.pretrain.model import Trained, fresh
from jftdata.pretrain.monitor import Monitor, operations, peak
from jftdata.pretrain.ranks import Ranks, joined, signals
from jftdata.pretrain.schedule import Average, gradient_norm, learning_rate, optimizer
from jftdata.progress import progress
from jftdata.subset import Subset


def run(
    subset: Subset, config: PretrainConfig, *, out: Path | str, init: Checkpoint | None = None,
    validation: Subset | None = None, max_rejects: float = 0.001, workers: int | None = None, device: str = "auto",
    keeping: Keeping | None = None,
) -> Checkpoint:  # fmt: skip
    """Pretrain a ResNet on a subset.

    Args:
        subset: the images; their bytes are read from where they are. With weights an image comes that often an epoch.
        config: everything that decides the weights; `jftdata.recipes` has named ones.
        out: folder of the checkpoint; the same call again returns it at once or goes on where a killed one stopped.
        init: start from its weights; its head is taken over label by label.
        validation: images with the same labels to compute mAP@100 on while training; the weights with the best are kept, too.
        max_rejects: share of the images that may be gone or damaged, and ten at least; another image of the batch stands in for
            them, and they are listed in `rejected.parquet`. 0 allows none.
        workers: decoding threads of each process; None is one a core.
        device: `auto`, `cpu` or `cuda`.
        keeping: what is saved, and how often; None is every minute.

    Returns:
        The checkpoint; its folder also holds `metrics.jsonl`.

    Raises:
        OutputExists: `out` was made with another subset or config.
        NonFinite: the loss or gradient is NaN or infinite; the images of the batch are named.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        TooManyRejects: more images are gone or damaged than `max_rejects`.
        TooLittleMemory: a step cannot fit; said before the first.
        BadInput: weights to start from or images to validate on that do not fit.

    Source: Sun et al. 2017, sections 4.1 and 4.2.
    """
    with joined(device) as ranks:
        job = Job(
            subset, config, init, workers, max_rejects, ranks, validation=validation, keeping=keeping or Keeping()
        )  # fmt: skip
        made_with, inputs = job.made_with(), job.inputs()
        if ranks.first:
            with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
                ranks.from_first(None if build is None else build.folder)
                if build is not None:
                    build.facts = _train(job, build.folder)
        else:
            folder = ranks.from_first(None)
            if folder is not None:
                _train(job, folder)
        ranks.wait()
    return Checkpoint.open(out)


def _train(job: Job, folder: Path) -> dict[str, Any]:
    """Train to the end and write the checkpoint's files; returns its facts."""
    config, stream, ranks, keeping = job.config, job.stream, job.ranks, job.keeping
    if job.num_steps:
        num_labels = job.subset.catalog.hierarchy.num_labels
        memory.check(memory.needed(config, num_labels=num_labels, world_size=ranks.world_size), ranks.device)
    model, taken_over = model_of(job)
    opt = optimizer(config, model.parameters())
    average = None if config.ema_decay is None else Average(model.net, config.ema_decay)
    in_epoch, num_steps = job.in_epoch, job.num_steps
    done = state.load(folder / STATES, model, opt, average=average, split=model.split)
    monitor = _monitor(job, folder, model, done, num_steps)
    best, every = Best.read(folder), max(1, round(keeping.validate_every * in_epoch))
    trained: nn.Module = _parallel(model) if ranks.world_size > 1 and num_steps else model
    places = places_of(job, folder)
    made, labels = batches_of(job, places, done, num_steps), Labels(places, config, ranks.device)
    rejected = Rejected(folder / STATES, ranks.rank)
    with signals() as caught, _bar(job, done, num_steps) as bar:
        saved = time.monotonic()
        for step in range(done, num_steps):
            asked = time.monotonic()
            batch = next(made)
            rejected.add(batch.rejected)
            waited = time.monotonic() - asked
            rate = learning_rate(config, step=step, steps_per_epoch=in_epoch)
            for group in opt.param_groups:
                group["lr"] = rate
            loss, norm = _gradients(job, trained, opt, batch, labels)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise NonFinite(_non_finite(step, loss, norm, stream.images[batch.rows], folder))
            opt.step()
            if average is not None:
                average.update(model.net, step)
            monitor.add(
                step=step + 1, epoch=(step + 1) / in_epoch, images=(step + 1) * stream.batch_size, loss=loss,
                gradient_norm=norm, lr=rate, waited=waited,
            )  # fmt: skip
            bar.update(stream.batch_size)
            stop, due = ranks.any(bool(caught), time.monotonic() - saved > keeping.save_every)
            if job.validation is not None and ((step + 1) % every == 0 or step + 1 == num_steps):
                monitor.flush()
                best = _validate(job, folder, model, average, monitor, best, step + 1)
            if stop or due:
                monitor.flush()
                state.save(
                    folder / STATES, step + 1, model, opt, average=average, split=model.split, ranks=ranks,
                    keep=keeping.states,
                )  # fmt: skip
                saved = time.monotonic()
                monitor.restart_clock()
            if stop:
                number = caught[0] if caught else signal.SIGTERM
                raise Interrupted(number, f"stopped by a signal after step {step + 1}; run the same command to go on.")
        monitor.flush()
        if math.isfinite(monitor.last_loss):
            bar.set_postfix_str(f"loss {monitor.last_loss:.3f}")
    seen = stream.seen(num_steps) if ranks.first else stream.images[:0]
    facts = finish(folder, model, average, seen, job.subset.catalog.hierarchy.labels, ranks)
    return {**job.facts(taken_over), **facts}


def _parallel(model: Trained) -> DistributedDataParallel:
    """All gradients are averaged over ranks but those of a split head, which has done so."""
    own = ["split.weight", "split.bias"] if model.split is not None else []
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, own)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(model)


def _gradients(
    job: Job, trained: nn.Module, opt: torch.optim.Optimizer, batch: Batch, labels: Labels
) -> tuple[float, float]:
    """Loss and gradient norm of a batch; the gradients are clipped and lie on the weights."""
    config, ranks = job.config, job.ranks
    opt.zero_grad(set_to_none=True)
    total = torch.zeros((), device=ranks.device)
    parts = config.accumulate if len(batch.rows) % config.accumulate == 0 else 1
    for i in range(parts):
        own = slice(i, None, parts)
        last = i + 1 == parts
        alone = nullcontext() if last or not isinstance(trained, DistributedDataParallel) else trained.no_sync()
        with alone:
            pixels = backbone.to_input(batch.pixels[own], ranks.device)
            loss: Tensor = (
                trained(pixels if config.channels_last else pixels.contiguous(), labels.targets(batch.rows[own]))
                / parts
            )
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    model: Trained = trained.module if isinstance(trained, DistributedDataParallel) else trained  # type: ignore[assignment]
    norm = _norm(model, ranks)
    if config.clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(
            [p for p in model.parameters() if p.grad is not None], config.clip_norm, norm
        )
    return float(ranks.mean(total)), float(norm)


def _norm(model: Trained, ranks: Ranks) -> Tensor:
    """Norm of all gradients; the rows of a split head are summed over ranks."""
    if model.split is None:
        return gradient_norm(model.parameters())
    rest, rows = gradient_norm(model.net.parameters()), gradient_norm(model.split.parameters())
    return torch.sqrt(rest**2 + ranks.sum(rows**2))


def _validate(
    job: Job, folder: Path, model: Trained, average: Average | None, monitor: Monitor, best: Best, step: int
) -> Best:
    """Score the weights that would be kept, write a row, and keep them if they are the best so far.

    Every rank scores a share of the images. Weights with a split head are scored and not kept: they lie on all ranks.
    """
    from jftdata.pretrain import validate

    assert job.validation is not None
    config, ranks = job.config, job.ranks
    arguments: dict[str, Any] = {
        "resize": config.resize, "image_size": config.image_size, "part": (ranks.rank, ranks.world_size),
        "workers": job.workers,
    }  # fmt: skip
    if model.split is not None:
        found = validate.rank(model.top, job.validation, device=ranks.device, **arguments)
    else:
        net = fresh(config, model.net.fc.out_features)
        net.load_state_dict(weights(model, average))
        found = validate.evaluate(net.to(ranks.device), job.validation, precision=config.precision, **arguments)
    if ranks.world_size > 1:
        found = validate.gather(found)
    scores = found.result(train_counts=job.subset.counts["num_images"].to_numpy()).scores
    monitor.flush(**{name: score for name, score in scores.items() if score is not None})
    score = scores["mAP@100"]
    if model.split is not None or score is None or not ranks.first:
        return best
    return best.or_this(folder, step, score, weights(model, average))


def _monitor(job: Job, folder: Path, model: Trained, done: int, num_steps: int) -> Monitor:
    """Rank 0's writes; the others measure for nothing, into a file that is dropped."""
    path = folder / METRICS if job.ranks.first else folder / STATES / f"metrics-{job.ranks.rank}.jsonl"
    path.parent.mkdir(exist_ok=True)
    known = peak(job.ranks.device)
    return Monitor(
        path, done, every=max(1, num_steps // LOG_ROWS), device=job.ranks.device,
        operations_an_image=operations(model.net, job.config.image_size) if known else 0,
        peak_operations=None if known is None else known * job.ranks.world_size,
        tensorboard=job.keeping.tensorboard and job.ranks.first,
    )  # fmt: skip


def _bar(job: Job, done: int, num_steps: int) -> AbstractContextManager[Any]:
    size = job.stream.batch_size
    return progress(
        f"pretrain {len(job.subset)}",
        total=num_steps * size,
        unit="image",
        initial=done * size,
        hidden=not job.ranks.first,
    )


def _non_finite(step: int, loss: float, norm: float, images: NDArray[np.int64], folder: Path) -> str:
    shown = ", ".join(map(str, images[:8].tolist())) + (", ..." if len(images) > 8 else "")
    what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm}"
    return (
        f"the {what} at step {step + 1}; nothing was updated. Lower learning_rate, give clip_norm, or look at the batch's "
        f"images: {shown}. Saved states are in {folder / STATES}."
    )
