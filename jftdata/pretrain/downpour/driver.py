"""A run from its arguments to its checkpoint, with Ray started and shut down around it."""

import dataclasses
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from jftdata import storage
from jftdata.checkpoint import FORMAT, METRICS, Checkpoint
from jftdata.errors import BadArgument
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.downpour.layout import Layout
from jftdata.pretrain.downpour.settings import Downpour, check
from jftdata.pretrain.downpour.supervisor import Supervisor
from jftdata.pretrain.downpour.worker import Plan
from jftdata.pretrain.job import Job, model_of, places_of
from jftdata.pretrain.keep import finish
from jftdata.pretrain.ranks import Ranks
from jftdata.subset import Subset


def run(
    subset: Subset, config: PretrainConfig, *, out: Path | str, downpour: Downpour, init: Checkpoint | None = None,
    max_rejects: float = 0.001, threads: int = 1, device: Literal["cpu", "cuda"] = "cpu", save_every: float = 60.0,
) -> Checkpoint:  # fmt: skip
    """Pretrain a ResNet asynchronously; a step is the gradient of one batch of `config.batch_size` images.

    Ray is started on this machine and shut down after, unless it is running or RAY_ADDRESS names a cluster; all of its machines have
    to see `out` and the images at the same paths. A worker that dies is replaced and its steps are done again, each applied once by
    each server. When a server or this process dies, the same call goes on from the last saved state.

    Args:
        subset: as for `pretrain.run`.
        config: as for `pretrain.run`, without what needs the whole gradient, all weights or all logits in one place.
        out: folder of the checkpoint; the same call again returns it at once or goes on where a killed one stopped.
        downpour: who trains.
        init: start from its weights.
        max_rejects: as for `pretrain.run`.
        threads: decoding threads of each worker.
        device: of the workers; `cuda` is a GPU each.
        save_every: seconds between saved states; nothing is trained while one is written.

    Returns:
        The checkpoint. Rows of `metrics.jsonl` also hold `staleness_mean` and `staleness_max`; its facts have the same of the whole
        run, `staleness` (number of pushes by their staleness) and `num_workers_replaced`.

    Raises:
        BadArgument: Ray is not installed; a config or more servers than can be trained so; too few cores or GPUs in the cluster.
        OutputExists: `out` was made with another subset, config or `downpour`.
        NonFinite: the loss or gradient is NaN or infinite; the images are named.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        TooManyRejects: more images are gone or damaged than `max_rejects`.
        JftDataError: a server died, or three workers in a row before a step was done.

    Cost: beside the network's, a step sends the body's parameters and gradient once each, and the features twice to each head server.
    """
    check(config)
    job = Job(subset, config, init, threads, max_rejects, Ranks(0, 1, torch.device(device)))
    made_with = {**job.made_with(), "downpour": dataclasses.asdict(downpour)}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=job.inputs()) as build:
        if build is not None:
            build.facts = _train(job, build.folder.resolve(), downpour, save_every)
    return Checkpoint.open(out)


def _train(job: Job, folder: Path, downpour: Downpour, save_every: float) -> dict[str, Any]:
    """Train to the end and write the checkpoint's files; returns its facts."""
    model, taken_over = model_of(dataclasses.replace(job, ranks=Ranks(0, 1, torch.device("cpu"))))
    layout = Layout.of(model.net, downpour)
    facts = job.facts(taken_over)
    if job.num_steps:
        places_of(job, folder)
        body = {name: v.numpy() for name, v in model.net.state_dict().items() if not name.startswith("fc.")}
        plan = Plan(job, downpour, layout, body, folder)
        processes = downpour.num_workers + downpour.num_servers + downpour.head_shards + 1
        with _cluster(processes, downpour.num_workers if job.ranks.device.type == "cuda" else 0):
            facts |= Supervisor(plan, model).train(save_every)
    else:
        (folder / METRICS).touch()
    labels = job.subset.catalog.hierarchy.labels
    return facts | finish(folder, model, None, job.stream.seen(job.num_steps), labels, job.ranks)


@contextmanager
def _cluster(num_cpus: int, num_gpus: int) -> Iterator[None]:
    """Ray, started for the block if it is not running.

    Raises:
        BadArgument: it is not installed, or too small.
    """
    try:
        import ray
    except ImportError:
        raise BadArgument("Ray is not installed. Install jftdata[ray], or use pretrain.run.") from None
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if "RAY_ADDRESS" in os.environ:
            ray.init(address="auto", **quiet)
        else:
            os.environ.setdefault(
                "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"
            )  # or each process gets an environment of its own
            ray.init(num_cpus=num_cpus, include_dashboard=False, **quiet)
    try:
        there = ray.cluster_resources()
        for kind, needed in (("CPU", num_cpus), ("GPU", num_gpus)):
            if there.get(kind, 0) < needed:
                raise BadArgument(
                    f"the run needs {needed} of Ray's {kind}s, one a process, and the cluster has {there.get(kind, 0):g}. Lower "
                    "num_workers, num_servers or head_shards, or start Ray with more."
                )
        yield
    finally:
        if ours:
            ray.shutdown()
