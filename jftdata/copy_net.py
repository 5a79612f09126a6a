"""The embedder `copies`: a small ResNet that learns from the catalog at hand what a copy of an image may look like.

Every step takes images and a changed copy of each (`changes`), and asks for vectors that are near for the two and far for any
others: InfoNCE, and an entropy term that pushes the nearest other image away so that the vectors fill the sphere.
Order, kind of change and strength are functions of (image, epoch, seed), so a killed run goes on to the same network.
On 10,000 images of Tiny ImageNet it puts the original of a planted copy first in 96% and among twenty in 99% of cases,
`descriptor` in 86% and 91% (mirrored 97 against 17, half crops 70 against 35), but in 91 against 100 of grey ones. So take it for
candidates; at one threshold it is hardly better, and `dedup.MIN_SIMILARITY`, made for `descriptor`, does not suit it.
Cost: 0.6 core-seconds a step, 2 to 5 minutes on two cores for the default 400, for any number of images; memory is that of
the ids. Measured by `benchmarks/bench_embedders.py`.
Source: Pizzi et al. 2022 (SSCD) for the loss, its temperature and the entropy term; sizes, changes and schedule are ours.
"""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from jftdata import backbone, images, storage
from jftdata.catalog import Catalog
from jftdata.changes import KINDS, change
from jftdata.checkpoint import METRICS, WEIGHTS, Checkpoint
from jftdata.errors import BadArgument, BadInput, NonFinite
from jftdata.hashing import keyed_hash, keyed_order, stream_key
from jftdata.pixels import PLACE, map_images
from jftdata.pretrain import PretrainConfig, state
from jftdata.pretrain.input import steps_per_epoch
from jftdata.pretrain.monitor import rows_until
from jftdata.pretrain.schedule import learning_rate, optimizer
from jftdata.progress import progress

FORMAT = "jftdata.copy_net/1"
DIMENSIONS = 256
_SIZE = 64
_BATCH = 128
_TEMPERATURE = 0.05
_ENTROPY = 1.0  # weight; SSCD takes 30 with batches of 4,096 images, here 5 found fewer copies
_KINDS = (*KINDS, *["two", "flipped", "cropped_50"] * 4)  # what is harder to learn comes more often
_LONG = 160  # pixels of the longer side that changes are made on
_LOG = 50


def train(
    catalog: Catalog, *, out: Path | str, split: str | None = None, num_steps: int = 400, seed: int = 0,
    workers: int | None = None, device: str = "auto", save_every: float = 60.0,
) -> Checkpoint:  # fmt: skip
    """Train `copies` on a catalog.

    Args:
        catalog: the images; no label is looked at.
        out: folder of the network; the same call again returns it at once or goes on where a killed one stopped.
        split: only this split.
        num_steps: of 128 images and their copies.
        seed: of the weights, the order and the changes.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu` or `cuda`, one GPU.
        save_every: seconds between saved states, at least the 50 steps between two rows of `metrics.jsonl`.

    Returns:
        The network for `embed.run`; `facts` counts images, steps, and the reads of an image that failed, which leave it out of
        the step.

    Raises:
        BadArgument: fewer than one step.
        BadInput: fewer than two images that can be read in a step.
        NonFinite: the loss is NaN or infinite.
        OutputExists: `out` was made otherwise.
    """
    if num_steps < 1:
        raise BadArgument(f"`num_steps` must be at least 1. Got {num_steps}.")
    place = backbone.pick_device(device)
    ids = catalog.images(split=split)
    if len(ids) < 2:
        raise BadInput(f"`copies` learns from at least 2 images. {catalog.path} has {len(ids)}. Use `descriptor`.")
    batch_size = min(_BATCH, len(ids))
    in_epoch = steps_per_epoch(len(ids), batch_size)
    epochs = num_steps / in_epoch
    config = PretrainConfig(
        architecture="resnet10", resize=_SIZE, image_size=_SIZE, batch_size=batch_size, total_epochs=epochs,
        optimizer="adamw", learning_rate=1e-3, weight_decay=0.05, schedule="cosine", warmup_epochs=0.1 * epochs, seed=seed,
    )  # fmt: skip
    made_with = {"config": dataclasses.asdict(config), "num_steps": num_steps, "split": split}
    inputs = {"catalog": catalog.fingerprint}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
        if build is not None:
            ids = ids[keyed_order(ids, seed=seed, stream="copies 0")[: num_steps * batch_size]]
            table = catalog.rows(np.sort(ids), columns=["image", *PLACE])
            unread = _train(catalog, table, config, num_steps, in_epoch, build.folder, workers, place, save_every)
            build.facts = {"num_train_images": len(ids), "num_steps": num_steps, "num_unread": unread}
    return Checkpoint(Path(out), storage.read_sidecar(out, kind="jftdata.copy_net"))


def embedder(net: Checkpoint, *, device: str = "auto") -> backbone.NetEmbedder:
    """A trained network as an embedder of 256 dimensions."""
    name, config = f"copies/{net.fingerprint}", net.config
    return backbone.NetEmbedder(
        backbone.load(net), name=name, size=config["image_size"], precision=config["precision"], device=device
    )


def loss(vectors: Tensor, *, temperature: float = _TEMPERATURE, entropy: float = _ENTROPY) -> Tensor:
    """InfoNCE and entropy of images and their copies.

    Args:
        vectors: (2n, d), unit length; row n + i is the copy of row i.
        temperature: of the softmax over all other rows.
        entropy: weight of the mean log distance to the nearest row that is no copy, which is to be large.

    >>> apart = torch.eye(4)
    >>> bool(loss(torch.cat([apart, apart])) < loss(torch.cat([apart, apart.flip(0)])))
    True
    """
    n = len(vectors) // 2
    similar = vectors @ vectors.T  # (2n, 2n)
    own = torch.eye(2 * n, dtype=torch.bool, device=vectors.device)
    target = torch.arange(2 * n, device=vectors.device).roll(n)
    nearest = similar.masked_fill(own | own.roll(n, dims=0), -1.0).amax(dim=1)
    spread = (2.0 - 2.0 * nearest).clamp(min=1e-6).sqrt().log().mean()
    return F.cross_entropy(similar.masked_fill(own, -torch.inf) / temperature, target) - entropy * spread


def _train(
    catalog: Catalog, table: pl.DataFrame, config: PretrainConfig, num_steps: int, in_epoch: int, folder: Path,
    workers: int | None, device: torch.device, save_every: float,
) -> int:  # fmt: skip
    net = backbone.build(config.architecture, num_outputs=DIMENSIONS, seed=config.seed)
    net.train().to(device, memory_format=torch.channels_last)
    opt = optimizer(config, net.parameters())
    states, metrics = folder / "states", folder / METRICS
    done = state.load(states, net, opt)
    rows = rows_until(metrics, done)
    losses: list[float] = []
    unread, saved = 0, time.monotonic()
    with progress("train copies", total=num_steps, unit="step") as bar:
        bar.update(done)
        for step, pairs in enumerate(_batches(catalog, table, config, done, num_steps, workers), done):
            unread += config.batch_size - len(pairs) // 2
            if len(pairs) < 4:
                raise BadInput(
                    f"of the {config.batch_size} images of step {step + 1} fewer than 2 can be read. Mend the catalog."
                )
            rate = learning_rate(config, step=step, steps_per_epoch=in_epoch)
            for group in opt.param_groups:
                group["lr"] = rate
            with backbone.autocast(device, config.precision):
                vectors = net(backbone.to_input(pairs, device))
            value = loss(F.normalize(vectors.float()))
            losses.append(float(value.detach()))
            if not math.isfinite(losses[-1]):
                raise NonFinite(
                    f"the loss is {losses[-1]} at step {step + 1} of `copies`; nothing was updated. Use another seed."
                )
            opt.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            opt.step()
            bar.update(1)
            if (step + 1) % _LOG == 0 or step + 1 == num_steps:
                rows.append({"step": step + 1, "loss": round(float(np.mean(losses)), 6), "unread": unread})
                storage.write_text(metrics, "".join(json.dumps(row) + "\n" for row in rows))
                losses, unread = [], 0
                if time.monotonic() - saved > save_every:
                    state.save(states, step + 1, net, opt)
                    saved = time.monotonic()
    with storage.atomic_path(folder / WEIGHTS) as temp:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}, temp)
    shutil.rmtree(states, ignore_errors=True)
    return sum(row["unread"] for row in rows)


def _batches(
    catalog: Catalog, table: pl.DataFrame, config: PretrainConfig, first_step: int, num_steps: int, workers: int | None
) -> Iterator[NDArray[np.uint8]]:
    """(2n, 64, 64, 3) of each step, images first; those that cannot be read are left out."""
    ids, size = table["image"].to_numpy(), config.batch_size
    in_epoch = steps_per_epoch(len(ids), size)
    step = first_step
    while step < num_steps:
        epoch, skipped = divmod(step, in_epoch)
        stop = min(in_epoch, num_steps - epoch * in_epoch)
        order = keyed_order(ids, seed=config.seed, stream=f"copies {epoch}")[skipped * size : stop * size]
        drawn = keyed_hash(ids[order], seed=config.seed, stream=f"copies kind {epoch}") % np.uint64(len(_KINDS))
        key = stream_key(config.seed, f"copies change {epoch}") >> 1
        wanted = ids[order]

        def load(i: int, data: bytes) -> NDArray[np.uint8]:
            return _pair(data, int(wanted[i]), _KINDS[int(drawn[i])], key)  # noqa: B023

        places = table.select(PLACE)[order]
        ready: list[NDArray[np.uint8] | None] = []
        for pair in map_images(catalog, places, load, workers=workers, ahead=4 * size, on_reject=lambda *_: None):
            ready.append(pair)
            if len(ready) == size:
                good = [pair for pair in ready if pair is not None]
                yield (
                    np.stack([p[0] for p in good] + [p[1] for p in good]) if good else np.empty((0, 0, 0, 3), np.uint8)
                )
                ready = []
        step += stop - skipped


def _pair(data: bytes, image: int, kind: str, seed: int) -> NDArray[np.uint8]:
    """(2, 64, 64, 3): an image and its changed copy."""
    pixels = images.shrink(images.decode_small(data, side=2 * _SIZE), side=_LONG, least=8)
    copy = change(pixels, kind=kind, image=image, seed=seed)
    return np.stack([images.resize(x, width=_SIZE, height=_SIZE) for x in (pixels, copy)])
