"""The paper's Figure 4 as a study: nested subsets, one pretraining each and seed, every task on every checkpoint.

Each cell is an artefact of its own: run again, the study goes on where it stopped and runs nothing twice.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from jftdata import pretrain, subset, transfer
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument
from jftdata.pretrain.config import PretrainConfig
from jftdata.results import Results

TASKS = ("knn", "linear-probe", "classification")


def data_size(
    catalog: Catalog, recipe: PretrainConfig, *, data: Catalog, sizes: Sequence[int], seeds: Sequence[int], out: Path | str,
    tasks: Sequence[str] = TASKS, split: str | None = None, without: ArrayLike = (), untrained: bool = True,
    workers: int | None = None, device: str = "auto", on_cell: Callable[[str, int, int], None] = lambda *_: None,
) -> Results:  # fmt: skip
    """Transfer scores by number of pretraining images.

    Args:
        catalog: images to pretrain on.
        recipe: the same for every cell; its seed is replaced by each of `seeds`.
        data: the transfer task's catalog.
        sizes: numbers of images; for each seed the smaller sets lie within the larger.
        seeds: each draws its own subsets, weights and order.
        out: folder; `out/runs` holds checkpoints, `out/transfer` results.
        tasks: names of `transfer.TASKS`.
        split: pretrain on this split only.
        without: image ids never to pretrain on (near-duplicates, copies of test images).
        untrained: also judge fresh weights, as size 0.
        workers: decoding threads.
        device: `auto`, `cpu` or `cuda`.
        on_cell: told what comes next: `pretrain` or a task, the number of images, the seed.

    Returns:
        All rows of all cells.

    Source: Sun et al. 2017, section 5.2, Figure 4: sizes of 10M, 30M, 100M and 300M, the number of epochs kept.
    """
    out = Path(out)
    parts = []
    for size, seed, checkpoint_of in _cells(
        catalog, recipe, sizes, seeds, out, split, without, untrained, workers, device
    ):
        on_cell("pretrain", size, seed)
        checkpoint = checkpoint_of()
        for task in tasks:
            on_cell(task, size, seed)
            where = out / "transfer" / f"{size}-s{seed}-{task}"
            parts.append(transfer.run(
                checkpoint, task=task, data=data, out=where, seed=seed, cache=out / "features", workers=workers,
                device=device,
            ))  # fmt: skip
    return Results.concat(parts)


def _cells(
    catalog: Catalog, recipe: PretrainConfig, sizes: Sequence[int], seeds: Sequence[int], out: Path, split: str | None,
    without: ArrayLike, untrained: bool, workers: int | None, device: str,
) -> Iterator[tuple[int, int, Callable[[], Checkpoint]]]:  # fmt: skip
    """Number of images, seed and maker of every checkpoint."""
    if not sizes or not seeds:
        raise BadArgument(f"a study needs sizes and seeds. Got {list(sizes)} and {list(seeds)}.")
    source = subset.everything(catalog, split=split)
    if np.size(without):
        source = subset.without(source, images=without)
    for seed in seeds:
        subsets = subset.nested(source, sizes=sizes, seed=seed)
        config = dataclasses.replace(recipe, seed=seed)
        jobs = [(len(s), s, config) for s in subsets]
        if untrained:
            fresh = dataclasses.replace(config, total_epochs=0.0, warmup_epochs=0.0)
            jobs.insert(0, (0, subsets[0], fresh))
        for size, chosen, settings in jobs:
            where = out / "runs" / f"{size}-s{seed}"
            yield size, seed, partial(pretrain.run, chosen, settings, out=where, workers=workers, device=device)
