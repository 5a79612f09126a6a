"""What a run was asked, and what it works with: the network with its objective, the labels of a batch, the images.

Shared by the synchronous loop and the parameter servers.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from jftdata.catalog import label_arrays
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.targets import FillIn, fill_in, signed
from jftdata.pretrain.augment import Augmentation
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.head import SplitHead
from jftdata.pretrain.input import Batch, batches, steps_per_epoch
from jftdata.pretrain.keep import STATES, Keeping
from jftdata.pretrain.model import Trained, fresh, start_from
from jftdata.pretrain.objective import Asymmetric, Focal, Logistic, Objective, Targets, log_odds
from jftdata.pretrain.places import Places
from jftdata.pretrain.ranks import Ranks
from jftdata.pretrain.softmax import Softmax, TreeSoftmax, log_share
from jftdata.subset import Subset
from jftdata.subset.stream import Stream

if TYPE_CHECKING:
    import pyarrow as pa

LOG_ROWS = 100
"""About so many rows of metrics a run."""
OBJECTIVES: dict[str, type[Objective]] = {
    "logistic": Logistic,
    "focal": Focal,
    "asymmetric": Asymmetric,
    "softmax": Softmax,
    "tree-softmax": TreeSoftmax,
}


@dataclass(frozen=True)
class Job:
    """What a run was asked.

    Raises:
        BadArgument: a subset of fewer than 2 images.
    """

    subset: Subset
    config: PretrainConfig
    init: Checkpoint | None
    workers: int | None
    max_rejects: float
    ranks: Ranks
    validation: Subset | None = None
    keeping: Keeping = field(default_factory=Keeping)

    def __post_init__(self) -> None:
        if self._an_epoch < 2:
            raise BadArgument(f"`subset` must have at least 2 images an epoch, for batch norm. Got {self._an_epoch}.")

    @property
    def _an_epoch(self) -> int:
        return len(self.subset) if self.subset.weights is None else int(self.subset.weights.sum())

    @cached_property
    def stream(self) -> Stream:
        """The order of images; a subset smaller than a batch is one batch."""
        return Stream(
            images=self.subset.images, weights=self.subset.weights, seed=self.config.seed,
            batch_size=min(self.config.batch_size, self._an_epoch),
        )  # fmt: skip

    @property
    def in_epoch(self) -> int:
        """Steps an epoch."""
        return steps_per_epoch(int(self.stream.mean_length), self.stream.batch_size)

    @property
    def num_steps(self) -> int:
        return round(self.config.total_epochs * self.in_epoch)

    def made_with(self) -> dict[str, Any]:
        """Arguments for the sidecar."""
        made_with: dict[str, Any] = {"config": dataclasses.asdict(self.config)}
        if self.validation is not None:
            made_with["validate_every"] = self.keeping.validate_every
        return made_with

    def inputs(self) -> dict[str, str]:
        """Fingerprints for the sidecar."""
        inputs = {"subset": self.subset.fingerprint, "catalog": self.subset.catalog.fingerprint}
        for role, given in (("init", self.init), ("validation", self.validation)):
            if given is not None:
                inputs[role] = given.fingerprint
        return inputs

    def facts(self, taken_over: int | None) -> dict[str, Any]:
        """What the sidecar says of a finished run."""
        return {
            "num_train_images": len(self.subset) if self.num_steps else 0,
            "num_steps": self.num_steps,
            "num_images_seen": self.num_steps * self.stream.batch_size,
            **({} if taken_over is None else {"num_labels_taken_over": taken_over}),
            "catalog_path": str(self.subset.catalog.path.resolve()),
        }


def model_of(job: Job) -> tuple[Trained, int | None]:
    """The network with its objective, on its device, and how many labels of a checkpoint's head it took over."""
    config, tree, device = job.config, job.subset.catalog.hierarchy, job.ranks.device
    net = fresh(config, tree.num_labels)
    counts, total = _counts(job) if config.prior_bias or config.logit_adjustment is not None else (None, 0)
    split = None
    if config.split_head:
        split = SplitHead(net.fc.in_features, tree.num_labels, seed=config.seed, device=device)
    if config.prior_bias and counts is not None:
        bias = torch.from_numpy(log_odds(counts, total))
        if split is None:
            net.fc.bias.data.copy_(bias)
        else:
            split.bias.data[: split.last - split.first] = bias[split.first : split.last]
    taken_over = None if job.init is None else start_from(net, split, job.init, tree)
    model = Trained(net, _objective(config, tree, counts, total, device), config, split)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model.to(memory_format=layout).to(device).train()
    return model, taken_over


def _objective(
    config: PretrainConfig, tree: Hierarchy, counts: NDArray[np.int64] | None, total: int, device: torch.device
) -> Objective:
    offset = None
    if config.logit_adjustment is not None and counts is not None:
        prior = log_odds(counts, total) if config.loss == "logistic" else log_share(counts)
        offset = torch.from_numpy(prior).to(device) * config.logit_adjustment
    if config.loss == "logistic":
        return Logistic(smoothing=config.smoothing, offset=offset)
    if config.loss == "softmax":
        return Softmax(smoothing=config.smoothing, offset=offset)
    return TreeSoftmax.of(tree, device=device) if config.loss == "tree-softmax" else OBJECTIVES[config.loss]()


def _counts(job: Job) -> tuple[NDArray[np.int64], int]:
    """Images of each label in an epoch, filled in if the loss wants it so, and images in all."""
    tree, subset = job.subset.catalog.hierarchy, job.subset
    counts = np.zeros(tree.num_labels)
    filled = OBJECTIVES[job.config.loss].fills_in

    def count(rows: "pa.Table") -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        start, index = label_arrays(rows.column("labels"))
        return rows.column("image").to_numpy(), *(fill_in(tree, start, index) if filled else (start, index))

    for images, start, index in subset.map_rows(count, columns=["labels"]):
        times = None
        if subset.weights is not None:
            times = np.repeat(subset.weights[np.searchsorted(subset.images, images)], np.diff(start))
        counts += np.bincount(index, times, minlength=tree.num_labels)
    return counts.round().astype(np.int64), round(job.stream.mean_length)


@dataclass(frozen=True)
class Labels:
    """What a batch is to be told of its images; ancestors are filled in batch by batch."""

    places: Places
    config: PretrainConfig
    device: torch.device

    def targets(self, rows: NDArray[np.int64]) -> Targets:
        """Of the images at some rows of the subset."""
        tree, fills_in = self.places.catalog.hierarchy, OBJECTIVES[self.config.loss].fills_in
        positive, negative = self.places.lists("labels", rows), None
        if self.config.absent == "unknown":
            policy = FillIn(ancestors=fills_in, absent="unknown")
            positive, negative = signed(tree, positive, self.places.lists("negatives", rows), policy=policy)
        elif fills_in:
            positive = fill_in(tree, *positive)
        return Targets.of(positive, negative, num_labels=tree.num_labels, device=self.device)


def places_of(job: Job, folder: Path) -> Places:
    """Where the images are, and their labels; rank 0 writes the arrays, all map them."""
    lists = ("labels", "negatives") if job.config.absent == "unknown" else ("labels",)
    if job.ranks.first:
        Places.of_subset(job.subset, lists=lists, folder=folder / STATES / "places")
    job.ranks.wait()
    return Places.of_subset(job.subset, lists=lists, folder=folder / STATES / "places")


def batches_of(job: Job, places: Places, done: int, num_steps: int) -> Iterator[Batch]:
    device, config = job.ranks.device, job.config
    changes = Augmentation(
        resize=config.resize, image_size=config.image_size, crop=config.crop, min_area=config.min_area,
        policy=config.policy, erase=config.erase,
    )  # fmt: skip
    return batches(
        job.subset.catalog, places, changes, stream=job.stream, first_step=done,
        num_steps=num_steps, workers=job.workers, device=device if device.type == "cuda" else None,
        world_size=job.ranks.world_size, rank=job.ranks.rank, max_rejects=job.max_rejects,
    )  # fmt: skip
