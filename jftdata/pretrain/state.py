"""Where a run stands: weights, their average and the optimizer's, in one safetensors file a save, whole or absent.

The rows of a split head lie beside it, a file a rank, and are read by any number of ranks. Nothing else needs saving: order and
augmentation are functions of the step.
"""

import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jftdata import storage
from jftdata.errors import Damaged, MissingInput
from jftdata.pretrain.head import SplitHead, load_rows, save_rows
from jftdata.pretrain.ranks import Ranks
from jftdata.pretrain.schedule import Average

_NAME = re.compile(r"step-(\d{9})\.safetensors$")
_SPLIT = "split."


def save(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, *, average: Average | None = None,
    split: SplitHead | None = None, ranks: Ranks | None = None, keep: int = 2,
) -> None:  # fmt: skip
    """Write the state before `step` (so many steps are done), and drop all but the newest `keep`.

    The main file comes last: where it is, all of the state is. `split` is a part of the model called `split`.
    """
    folder.mkdir(exist_ok=True)
    tensors = {f"net/{name}": value for name, value in model.state_dict().items() if not name.startswith(_SPLIT)}
    tensors |= {f"average/{name}": value for name, value in (average.tensors if average else {}).items()}
    rows: dict[str, Tensor] = {}
    for name, parameter in _names(model, optimizer):
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                continue  # momentum that has not begun
            if name.startswith(_SPLIT) and value.ndim:
                rows[f"{name}/{key}"] = value
            else:
                tensors[f"optimizer/{name}/{key}"] = value
    for i, group in enumerate(optimizer.param_groups):
        tensors |= {f"group/{i}/{key}": value for key, value in group.items() if isinstance(value, Tensor)}
    if split is not None:
        head = _head(folder, step)
        head.mkdir(exist_ok=True)
        save_rows(head, split, rows)
    _wait(ranks)
    if ranks is None or ranks.first:
        with storage.atomic_path(folder / f"step-{step:09d}.safetensors") as temp:
            save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temp)
        for old in saved(folder)[keep:]:
            old.unlink()
            shutil.rmtree(_head(folder, _step(old)), ignore_errors=True)
    _wait(ranks)


def load(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, average: Average | None = None,
    split: SplitHead | None = None,
) -> int:  # fmt: skip
    """Load the newest state that can be read; returns the number of steps done, 0 when there is none."""
    for path in saved(folder):
        try:
            tensors = load_file(path)
            rows = {} if split is None else load_rows(_head(folder, _step(path)), split)
        except (SafetensorError, OSError, Damaged, MissingInput):
            continue  # a damaged file: the one before it is as good
        own = {f"{_SPLIT}{name}": value for name, value in ({} if split is None else split.state_dict()).items()}
        model.load_state_dict(own | {k.removeprefix("net/"): v for k, v in tensors.items() if k.startswith("net/")})
        if average is not None:
            for name, value in average.tensors.items():
                value.copy_(tensors[f"average/{name}"])
        for i, group in enumerate(optimizer.param_groups):
            head = f"group/{i}/"
            group |= {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}
        for name, parameter in _names(model, optimizer):
            mine = {
                key.removeprefix(f"optimizer/{name}/"): value
                for key, value in tensors.items()
                if key.startswith(f"optimizer/{name}/")
            }
            mine |= {key.removeprefix(f"{name}/"): value for key, value in rows.items() if key.startswith(f"{name}/")}
            for key, value in mine.items():
                if (
                    value.shape == parameter.shape
                ):  # same memory layout as the weights, or vectorised sums round otherwise
                    value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                optimizer.state[parameter][key] = value
        return _step(path)
    return 0


def saved(folder: Path) -> list[Path]:
    """The main files of the states there are, the newest first."""
    return sorted((p for p in folder.glob("step-*.safetensors") if _NAME.match(p.name)), reverse=True)


def _wait(ranks: Ranks | None) -> None:
    if ranks is not None:
        ranks.wait()


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    """The trained parameters by name; those of a split head are `split.weight` and `split.bias`."""
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [(name, p) for name, p in model.named_parameters() if id(p) in trained]


def _head(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}.head"


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-").removesuffix(".safetensors"))
