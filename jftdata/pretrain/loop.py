"""The training loop: a Subset and a config in, a Checkpoint out, going on from the last saved state after any kill.

On a CPU a killed and resumed run ends with the bits of an undisturbed one. A NaN loss stops before the step. SIGINT and SIGTERM
save and stop.
"""

import dataclasses
import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor

from jftdata import backbone, storage
from jftdata.catalog import label_arrays
from jftdata.checkpoint import FORMAT, IMAGES, LABELS, METRICS, WEIGHTS, Checkpoint
from jftdata.errors import BadArgument, Interrupted, NonFinite
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.targets import fill_in
from jftdata.pixels import PLACE
from jftdata.pretrain import state
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.input import Augmentation, Batch, batches, steps_per_epoch
from jftdata.pretrain.objective import log_odds, logistic
from jftdata.pretrain.schedule import learning_rate, optimizer
from jftdata.progress import progress
from jftdata.subset import Subset
from jftdata.subset.stream import Stream

_LOG_ROWS = 100
"""About so many rows of metrics a run."""


def run(
    subset: Subset, config: PretrainConfig, *, out: Path | str, workers: int | None = None, device: str = "auto",
    save_every: float = 60.0,
) -> Checkpoint:  # fmt: skip
    """Pretrain a ResNet on a subset with per-label logistic loss, ancestors filled in.

    Args:
        subset: the images; their bytes are read from where they are. With weights an image comes that often an epoch.
        config: everything that decides the result.
        out: folder of the checkpoint; the same call again returns it at once or goes on where a killed one stopped.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu` or `cuda`.
        save_every: seconds between saved states.

    Returns:
        The checkpoint; its folder also holds `metrics.jsonl`.

    Raises:
        OutputExists: `out` was made with another subset or config.
        NonFinite: the loss is NaN or infinite; the images of the batch are named.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        ImageRejected: bytes that are gone or damaged.

    Source: Sun et al. 2017, sections 4.1 and 4.2.
    """
    target = backbone.pick_device(device)
    an_epoch = len(subset) if subset.weights is None else int(subset.weights.sum())
    if an_epoch < 2:
        raise BadArgument(f"`subset` must have at least 2 images an epoch, for batch norm. Got {an_epoch}.")
    stream = Stream(
        images=subset.images, weights=subset.weights, seed=config.seed, batch_size=min(config.batch_size, an_epoch)
    )
    made_with = {"config": dataclasses.asdict(config)}
    inputs = {"subset": subset.fingerprint, "catalog": subset.catalog.fingerprint}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
        if build is not None:
            steps = _train(subset, stream, config, build.folder, workers, target, save_every)
            build.facts = {
                "num_train_images": len(subset) if steps else 0,
                "num_steps": steps,
                "num_images_seen": steps * stream.batch_size,
                "catalog_path": str(subset.catalog.path.resolve()),
            }
    return Checkpoint.open(out)


def _train(
    subset: Subset, stream: Stream, config: PretrainConfig, folder: Path, workers: int | None, device: torch.device,
    save_every: float,
) -> int:  # fmt: skip
    tree = subset.catalog.hierarchy
    table = subset.catalog.rows(subset.images, columns=["image", *PLACE, "labels"])
    start, index = fill_in(tree, *label_arrays(table["labels"]))
    net = backbone.build(config.architecture, num_outputs=tree.num_labels, seed=config.seed)
    if config.prior_bias:
        times = None if subset.weights is None else np.repeat(subset.weights, np.diff(start))
        counts = np.bincount(index, times, minlength=tree.num_labels).round().astype(np.int64)
        net.fc.bias.data.copy_(torch.from_numpy(log_odds(counts, round(stream.mean_length))))
    net.train().to(device, memory_format=torch.channels_last)
    opt = optimizer(config, net)
    batch_size = stream.batch_size
    in_epoch = steps_per_epoch(int(stream.mean_length), batch_size)
    num_steps = round(config.total_epochs * in_epoch)
    states = folder / "states"
    done = state.load(states, net, opt)
    metrics = _Metrics(folder / METRICS, done, every=max(1, num_steps // _LOG_ROWS))
    made = batches(
        subset.catalog, table, Augmentation(config.resize, config.image_size), stream=stream, first_step=done,
        num_steps=num_steps, workers=workers,
    )  # fmt: skip
    with _signals() as signals, progress(f"pretrain {len(subset)}", total=num_steps * batch_size, unit="image") as bar:
        bar.update(done * batch_size)
        saved = time.monotonic()
        for step, batch in enumerate(made, done):
            rate = learning_rate(config, step=step, steps_per_epoch=in_epoch)
            for group in opt.param_groups:
                group["lr"] = rate
            image, label = _targets(batch, start, index, device)
            with backbone.autocast(device, config.precision):
                logits: Tensor = net(backbone.to_input(batch.pixels, device))
            loss = logistic(logits.float(), image, label)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NonFinite(_non_finite(step, value, table, batch, folder))
            opt.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            opt.step()
            metrics.add(step=step + 1, epoch=(step + 1) / in_epoch, images=(step + 1) * batch_size, loss=value, lr=rate)
            bar.update(batch_size)
            if signals or time.monotonic() - saved > save_every:
                metrics.flush()
                state.save(states, step + 1, net, opt)
                saved = time.monotonic()
            if signals:
                raise Interrupted(
                    signals[0], f"stopped by a signal after step {step + 1}; run the same command to go on."
                )
        metrics.flush()
        if math.isfinite(metrics.last_loss):
            bar.set_postfix_str(f"loss {metrics.last_loss:.3f}")
    _write(folder, net, tree)
    with storage.atomic_path(folder / IMAGES) as temp:
        pl.DataFrame({"image": stream.seen(num_steps)}, schema={"image": pl.Int64}).write_parquet(temp)
    shutil.rmtree(states, ignore_errors=True)
    return num_steps


def _targets(batch: Batch, start: np.ndarray, index: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of each positive of a batch."""
    lengths = start[batch.rows + 1] - start[batch.rows]
    image = np.repeat(np.arange(len(batch.rows)), lengths)
    at = np.concatenate([np.arange(start[r], start[r + 1]) for r in batch.rows])
    return torch.from_numpy(image).to(device), torch.from_numpy(index[at].astype(np.int64)).to(device)


class _Metrics:
    """Averages over some steps, appended to `metrics.jsonl`; rows after a resumed step are dropped first."""

    def __init__(self, path: Path, done: int, *, every: int) -> None:
        self._path, self._every = path, every
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        storage.write_text(path, "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= done))
        self._losses: list[float] = []
        self._last_images = rows[-1]["images"] if rows and done else 0
        self._since = time.monotonic()
        self.last_loss = float("nan")

    def add(self, *, step: int, epoch: float, images: int, loss: float, lr: float) -> None:
        self._losses.append(loss)
        self._row = {"step": step, "epoch": round(epoch, 4), "images": images, "lr": lr}
        if step % self._every == 0:
            self.flush()

    def flush(self) -> None:
        if not self._losses:
            return
        now = time.monotonic()
        rate = (self._row["images"] - self._last_images) / max(now - self._since, 1e-9)
        self.last_loss = float(np.mean(self._losses))
        row = {**self._row, "loss": round(self.last_loss, 6), "images_per_second": round(rate, 1)}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._losses, self._last_images, self._since = [], int(self._row["images"]), now


def _non_finite(step: int, loss: float, table: pl.DataFrame, batch: Batch, folder: Path) -> str:
    names = table["image"][batch.rows.tolist()].to_list()
    shown = ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "")
    return (
        f"the loss is {loss} at step {step + 1}; nothing was updated. Lower learning_rate or look at the batch's images: "
        f"{shown}. Saved states are in {folder}."
    )


def _write(folder: Path, net: torch.nn.Module, tree: Hierarchy) -> None:
    with storage.atomic_path(folder / WEIGHTS) as temp:
        save_file({name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}, temp)
    storage.write_json(folder / LABELS, list(tree.labels))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list while the block runs (main thread only), so that a step ends before we stop."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
