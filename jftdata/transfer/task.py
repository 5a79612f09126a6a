"""The contract of a transfer task: one file a task; a checkpoint and data in, scores that can be resampled by test image out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from jftdata.checkpoint import Checkpoint
from jftdata.pretrain.ranks import Ranks
from jftdata.transfer.recipe import Recipe

Mode = Literal["frozen", "finetune"]
Statistic = Callable[[NDArray[np.float64]], float]
"""(num_test,) how often each test image counts, to a metric; nan where it is undefined."""


class Data(Protocol):
    """What a task read from what the user gave."""

    @property
    def fingerprint(self) -> str:
        """Of the labels and the images."""

    @property
    def num_train(self) -> int: ...

    @property
    def num_test(self) -> int: ...

    @property
    def test_images(self) -> NDArray[np.int64]:
        """(num_test,) content ids, in the order in which scores count them."""


D = TypeVar("D", bound=Data)
R = TypeVar("R", bound="Recipe | None")


@dataclass(frozen=True)
class Inputs(Generic[D, R]):
    """What a task gets to see."""

    checkpoint: Checkpoint
    data: D
    mode: Mode
    recipe: R
    """How to train; None for a task that does not."""
    seed: int
    workers: int | None
    ranks: Ranks
    folder: Path
    """A folder of this run that survives a kill, and becomes its results'."""
    cache: Path
    """A folder that runs share: what is kept there is the same for all."""


@dataclass(frozen=True)
class Score:
    """One metric of one task."""

    metric: str
    statistic: Statistic
    settings: dict[str, Any] = field(default_factory=dict)
    """What the task chose (a swept weight decay, k, ...)."""

    @classmethod
    def of_mean(cls, metric: str, values: NDArray[np.float64], settings: Mapping[str, Any] | None = None) -> Self:
        """A metric that is the mean of one value a test image.

        >>> Score.of_mean("top-1", np.array([1.0, 0.0])).statistic(np.array([3.0, 1.0]))
        0.75
        """

        def mean(weights: NDArray[np.float64]) -> float:
            total = weights.sum()
            return float(weights @ values / total) if total else float("nan")

        return cls(metric, mean, dict(settings or {}))


class Task(Protocol):
    """One file a task implements this."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The first is the default."""

    @property
    def recipes(self) -> Mapping[str, Recipe]:
        """By name, the first is the default; none for a task that does not train."""

    def read(self, data: Any, *, cache: Path, workers: int | None) -> Data:
        """Read and check what the user gave.

        Args:
            data: a catalog, or a folder in a published layout.
            cache: a folder that runs share, where what was made of it may be kept.
            workers: threads or processes; None is one a core.

        Raises:
            BadInput: it does not fit the task, or contradicts itself.
        """

    def __call__(self, inputs: Inputs[Any, Any]) -> list[Score]:
        """Train on the training images, judge on the test images; called on every rank, the scores of the first count."""
