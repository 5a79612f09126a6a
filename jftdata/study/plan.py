"""What a study is: pretrainings (arms), seeds, transfer tasks (judges), and the cells these expand to.

A cell is one artefact, named by its folder in the study's: a checkpoint `runs/<arm>-s<seed>` or scores
`transfer/<arm>-s<seed>-<judge>`. Nothing is read or drawn until a cell runs.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, one_of
from jftdata.pretrain.config import PretrainConfig
from jftdata.results import SCHEMA
from jftdata.subset import Subset
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.run import TASKS, recipe_of

Factor = str | int | float | bool
OWN = ("study", "arm", "cell")
"""Columns of a study's table that stand before its factors."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to pretrain; each seed makes a checkpoint of it."""

    name: str
    """In folder names: letters, digits and . _ + -"""
    subset: Callable[[int], Subset]
    """The images of a seed; called when the arm runs."""
    num_images: int
    """How many these are, for the plan; about, where it is only known later."""
    recipe: PretrainConfig
    """Its seed is replaced by each of the study's."""
    init: "str | Checkpoint | None" = None
    """Start from the arm of this name with the same seed, or from a checkpoint."""
    validation: Callable[[int], Subset] | None = None
    """Images to compute mAP@100 on while it trains."""
    validate_every: float = 1.0
    """Epochs between validations."""
    factors: Mapping[str, Factor] = field(default_factory=dict)
    """What tells this arm from others: columns of the study's table."""
    judged: bool = True
    """False where it is only there for others to start from."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A transfer task that every judged arm goes through in the same way."""

    task: str
    data: "Callable[[], Catalog | Path]"
    """Called when a cell of it runs."""
    mode: str | None = None
    """None takes the task's first."""
    recipe: Recipe | str | None = None
    """None takes the task's first."""
    overlap: Path | str | None = "auto"
    """As in `transfer.run`."""
    test_catalog: Callable[[], Catalog] | None = None
    """As in `transfer.run`."""
    name: str = ""
    """In folder names; the task, with the mode where one is given, if left empty."""

    @property
    def key(self) -> str:
        return self.name or (self.task if self.mode is None else f"{self.task}-{self.mode}")


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms x seeds x judges, and what they are to tell.

    Raises:
        BadArgument: nothing to run, names that are not unique or do not fit a folder, an arm that starts from one that does not come
            before it, a factor called like a column of results, seeds given twice.
        UnknownOption: no such task or transfer recipe.
    """

    name: str
    question: str
    arms: Sequence[Arm]
    """Arms that others start from come before these."""
    judges: Sequence[Judge]
    seeds: Sequence[int] = (0, 1, 2)
    x: str = "num_train_images"
    """The column that curves are over."""
    by: Sequence[str] = ()
    """Factors that tell curves apart, besides task, mode and metric."""
    notes: str = ""
    """What a reader must know."""
    finding: str = ""
    """What the paper found, for a study of the paper's."""
    paper: Sequence[Mapping[str, Any]] = ()
    """The paper's numbers, as rows."""
    verdict: Callable[[pl.DataFrame], str] | None = None
    """Says in words what the finished table shows."""

    def __post_init__(self) -> None:
        if not self.arms or not self.seeds:
            raise BadArgument(
                f"a study needs arms and seeds. Got {len(self.arms)} arms and {len(self.seeds)} seeds. Add some."
            )
        _unique("arm", [arm.name for arm in self.arms])
        _unique("judge", [judge.key for judge in self.judges])
        if len(set(self.seeds)) < len(self.seeds):
            raise BadArgument(f"`seeds` must differ from each other. Got {list(self.seeds)}.")
        before: set[str] = set()
        kinds: dict[str, type] = {}
        for arm in self.arms:
            if isinstance(arm.init, str) and arm.init not in before:
                raise BadArgument(
                    f"arm {arm.name!r} starts from {arm.init!r}, which is no arm before it. Known: {sorted(before)}."
                )
            before.add(arm.name)
            for name, value in arm.factors.items():
                if name in SCHEMA or name in OWN:
                    raise BadArgument(f"a factor must not be called like a column of results. Got {name!r}.")
                kind = kinds.setdefault(name, type(value))
                if kind is not type(value):
                    raise BadArgument(
                        f"factor {name!r} must be of one type. Got {value!r} in arm {arm.name!r} after a {kind.__name__}."
                    )
        for judge in self.judges:
            recipe_of(judge.task, judge.recipe)
            modes = TASKS[judge.task].modes
            if judge.mode is not None and judge.mode not in modes:
                raise one_of(f"mode of {judge.task}", judge.mode, modes)

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of all factors, in the order in which arms name them."""
        return tuple(dict.fromkeys(name for arm in self.arms for name in arm.factors))


@dataclass(frozen=True)
class Cell:
    """One pretraining, or one task on its checkpoint."""

    arm: Arm
    seed: int
    judge: Judge | None = None
    """None for the pretraining."""

    @property
    def name(self) -> str:
        """Its folder in the study's."""
        stem = f"{self.arm.name}-s{self.seed}"
        return f"runs/{stem}" if self.judge is None else f"transfer/{stem}-{self.judge.key}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the cells that must be done before."""
        if self.judge is not None:
            return (f"runs/{self.arm.name}-s{self.seed}",)
        return (f"runs/{self.arm.init}-s{self.seed}",) if isinstance(self.arm.init, str) else ()

    @property
    def config(self) -> PretrainConfig:
        """The recipe of its pretraining, with its seed."""
        return dataclasses.replace(self.arm.recipe, seed=self.seed)

    @property
    def passes(self) -> int:
        """Images that its pretraining sees, each as often as it comes."""
        return round(self.arm.num_images * self.arm.recipe.total_epochs)


def cells(study: Study) -> list[Cell]:
    """Every cell of a study, seed by seed, each after those it needs.

    >>> from jftdata import recipes
    >>> arm = Arm(name="all", subset=lambda seed: None, num_images=9, recipe=recipes.tiny())
    >>> judge = Judge(task="knn", data=lambda: Path("x"))
    >>> [c.name for c in cells(Study(name="s", question="?", arms=[arm], judges=[judge], seeds=[0]))]
    ['runs/all-s0', 'transfer/all-s0-knn']
    """
    found = []
    for seed in study.seeds:
        for arm in study.arms:
            found.append(Cell(arm, seed))
            found += [Cell(arm, seed, judge) for judge in study.judges if arm.judged]
    return found


def _unique(what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadArgument(
                f"the name of {what} {name!r} must be letters, digits and . _ + - only, as it names folders."
            )
        if name in seen:
            raise BadArgument(f"two {what}s are called {name!r}. Give each a name of its own.")
        seen.add(name)
