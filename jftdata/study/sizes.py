"""The paper's Figure 4 as a study: nested subsets, one pretraining each and seed, every task on every checkpoint."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jftdata import subset
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument
from jftdata.pretrain.config import PretrainConfig
from jftdata.results import Results
from jftdata.study.plan import Arm, Cell, Factor, Judge, Study, cells
from jftdata.study.runner import run
from jftdata.subset import Subset

TASKS = ("knn", "linear-probe", "classification")
Fixed = Literal["epochs", "images-seen"]


def data_size(
    catalog: Catalog, recipe: PretrainConfig, *, data: Catalog, sizes: Sequence[int], seeds: Sequence[int], out: Path | str,
    tasks: Sequence[str] = TASKS, split: str | None = None, without: ArrayLike = (), untrained: bool = True,
    fixed: Fixed = "epochs", workers: int | None = None, device: str = "auto",
    on_cell: Callable[[str, int, int], None] = lambda *_: None,
) -> Results:  # fmt: skip
    """Transfer scores by number of pretraining images.

    Args:
        catalog: images to pretrain on.
        recipe: the same for every cell; its seed is replaced by each of `seeds`.
        data: the transfer task's catalog.
        sizes: numbers of images; for each seed the smaller sets lie within the larger.
        seeds: each draws its own subsets, weights and order.
        out: folder of the study; the same call again goes on where it stopped and runs nothing twice.
        tasks: names of `transfer.TASKS`.
        split: pretrain on this split only.
        without: image ids never to pretrain on (near-duplicates, copies of test images).
        untrained: also judge fresh weights, as size 0.
        fixed: what all sizes share: passes over their images, or images seen in all.
        workers: decoding threads.
        device: `auto`, `cpu` or `cuda`.
        on_cell: told what comes next: `pretrain` or a task, the number of images, the seed.

    Returns:
        All rows of all cells.

    Source: Sun et al. 2017, section 5.2, Figure 4: sizes of 10M, 30M, 100M and 300M, the number of epochs kept.
    """
    source = subset.everything(catalog, split=split)
    if np.size(without):
        source = subset.without(source, images=without)
    study = Study(
        name="data-size",
        question="What would more images buy?",
        arms=size_arms(source, recipe, sizes=sizes, untrained=untrained, fixed=fixed),
        judges=[Judge(task=task, data=lambda: data) for task in tasks],
        seeds=seeds,
    )

    def tell(cell: Cell) -> None:
        passes = cell.arm.recipe.total_epochs
        what = "pretrain" if cell.judge is None else cell.judge.task
        on_cell(what, cell.arm.num_images if passes else 0, cell.seed)

    run(study, out=out, workers=workers, device=device, on_cell=tell)
    return Results.concat(Results.open(Path(out) / cell.name) for cell in cells(study) if cell.judge is not None)


def size_arms(
    source: Subset | Callable[[], Subset], recipe: PretrainConfig, *, sizes: Sequence[int], untrained: bool = True,
    fixed: Fixed = "epochs", prefix: str = "", factors: Mapping[str, Factor] | None = None,
) -> list[Arm]:  # fmt: skip
    """An arm for each number of images, and one of fresh weights.

    Args:
        source: images to take from; a function is called when the first arm runs.
        recipe: of the largest size.
        sizes: numbers of images; for each seed the smaller sets lie within the larger.
        untrained: begin with fresh weights, as size 0.
        fixed: as in `data_size`.
        prefix: put before each arm's name, the number of images.
        factors: of every arm.

    Raises:
        BadArgument: no sizes, or one below 2.
    """
    if not sizes or min(sizes) < 2:
        raise BadArgument(f"`sizes` must be numbers of images of at least 2. Got {list(sizes)}.")
    numbers = sorted(set(sizes))
    told = dict(factors or {})

    @functools.cache
    def drawn(seed: int) -> tuple[Subset, ...]:
        whole = source if isinstance(source, Subset) else source()
        return tuple(subset.nested(whole, sizes=numbers, seed=seed))

    def arm(name: str, at: int, config: PretrainConfig) -> Arm:
        return Arm(
            name=prefix + name, subset=lambda seed: drawn(seed)[at], num_images=numbers[at], recipe=config, factors=told
        )

    fresh = dataclasses.replace(recipe, total_epochs=0.0, warmup_epochs=0.0)
    return [
        *([arm("0", 0, fresh)] if untrained else []),
        *(arm(str(n), i, epochs_of(recipe, n, largest=numbers[-1], fixed=fixed)) for i, n in enumerate(numbers)),
    ]


def epochs_of(recipe: PretrainConfig, num_images: int, *, largest: int, fixed: Fixed) -> PretrainConfig:
    """The recipe of the largest size for a smaller one.

    With images seen kept, passes, warm-up and a decay that is counted in epochs grow as the set shrinks.

    >>> from jftdata import recipes
    >>> epochs_of(recipes.tiny(total_epochs=4), 100, largest=1000, fixed="images-seen").total_epochs
    40.0
    """
    if fixed not in ("epochs", "images-seen"):
        raise BadArgument(f"`fixed` must be epochs or images-seen. Got {fixed!r}.")
    times = largest / num_images
    if fixed == "epochs" or times == 1:
        return recipe
    changes: dict[str, object] = {
        "total_epochs": recipe.total_epochs * times,
        "warmup_epochs": recipe.warmup_epochs * times,
    }
    if recipe.decay_unit == "epochs":
        if recipe.decay_every is not None:
            changes["decay_every"] = recipe.decay_every * times
        if recipe.milestones:
            changes["milestones"] = tuple(at * times for at in recipe.milestones)
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]
