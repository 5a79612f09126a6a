"""What a run leaves: the weights of its end and of its best validation, the labels, the images it saw."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from jftdata import storage
from jftdata.checkpoint import BEST, IMAGES, LABELS, REJECTED, WEIGHTS
from jftdata.errors import BadArgument
from jftdata.pixels import UNREAD
from jftdata.pretrain.head import SplitHead, save_rows
from jftdata.pretrain.model import Trained
from jftdata.pretrain.ranks import Ranks
from jftdata.pretrain.schedule import Average
from jftdata.ragged import in_sorted

STATES = "states"
_BEST = "best.json"


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is saved while a run goes, and how often; no part of the config, as it changes no weights."""

    save_every: float = 60.0
    """Seconds between saved states."""
    states: int = 2
    """How many states are kept while the run goes; none is when it is done."""
    validate_every: float = 1.0
    """Epochs between validations, where there are images to validate on; the last step is validated, too."""
    tensorboard: bool = False
    """Write TensorBoard files, too (extra `tensorboard`)."""

    def __post_init__(self) -> None:
        if self.states < 1:
            raise BadArgument(f"`states` must be at least 1. Got {self.states}.")
        if not self.validate_every > 0:
            raise BadArgument(f"`validate_every` must be above 0 epochs. Got {self.validate_every}.")


@dataclass(frozen=True)
class Best:
    """The best validation so far; its weights lie beside it."""

    step: int = 0
    score: float = -1.0

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What an earlier part of the run left; nothing yet if it left none."""
        path = folder / _BEST
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def or_this(self, folder: Path, step: int, score: float, weights: dict[str, Tensor]) -> "Best":
        """The better of the two, written down; an equal score does not replace an earlier one."""
        if score <= self.score:
            return self
        write_weights(folder / BEST, weights)
        storage.write_json(folder / _BEST, {"step": step, "score": score})
        return Best(step, score)


class Rejected:
    """Images that could not be read, as a rank meets them; a line each, so that a kill loses none."""

    def __init__(self, states: Path, rank: int) -> None:
        self._path = states / f"rejected-{rank}.jsonl"

    def add(self, rows: list[tuple[int, str, str]]) -> None:
        """Rows of `pixels.UNREAD`."""
        if rows:
            with self._path.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)

    @staticmethod
    def of_all(states: Path) -> pl.DataFrame:
        """Those of all ranks and of earlier parts of the run, each image once, ascending."""
        rows = [json.loads(line) for path in states.glob("rejected-*.jsonl") for line in path.read_text().splitlines()]
        return (
            pl.DataFrame(rows, UNREAD, orient="row")
            .sort("image", "reason", "message")
            .unique("image", keep="first", maintain_order=True)
        )


def weights(model: Trained, average: Average | None) -> dict[str, Tensor]:
    """What counts as the weights: their average where there is one."""
    return model.net.state_dict() if average is None else average.tensors


def write_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, whole or absent."""
    with storage.atomic_path(path) as temp:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temp)


def finish(
    folder: Path, model: Trained, average: Average | None, seen: NDArray[Any], labels: tuple[str, ...], ranks: Ranks
) -> dict[str, Any]:
    """Write the checkpoint's files; called on every rank, as each holds a part of a split head.

    Returns:
        The number of images that could not be read, and the step of the best validation and its score, if there were any.
    """
    tensors = dict(weights(model, average))
    if model.split is not None:
        head = folder / STATES / "whole.head"
        if ranks.first:
            shutil.rmtree(head, ignore_errors=True)
            head.mkdir(parents=True)
        ranks.wait()
        save_rows(head, model.split)
        ranks.wait()
        if ranks.first:
            tensors |= {f"fc.{name}": value for name, value in _whole(head, model.split).items()}
    if not ranks.first:
        return {}
    write_weights(folder / WEIGHTS, tensors)
    bad = Rejected.of_all(folder / STATES)
    if len(bad):
        with storage.atomic_path(folder / REJECTED) as temp:
            bad.write_parquet(temp)
    storage.write_json(folder / LABELS, list(labels))
    with storage.atomic_path(folder / IMAGES) as temp:
        seen = seen[~in_sorted(seen, bad["image"].to_numpy())]
        pl.DataFrame({"image": seen}, schema={"image": pl.Int64}).write_parquet(temp)
    best = Best.read(folder)
    (folder / _BEST).unlink(missing_ok=True)
    shutil.rmtree(folder / STATES, ignore_errors=True)
    found = {"best_step": best.step, "best_score": best.score} if best.step else {}
    return {"num_rejected": len(bad), **found}


def _whole(folder: Path, head: SplitHead) -> dict[str, Tensor]:
    """A split head in one piece."""
    parts = [load_file(path) for path in sorted(folder.glob("head-*.safetensors"))]
    return {name: torch.cat([part[name] for part in parts]) for name in ("weight", "bias")}
