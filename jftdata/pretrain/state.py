"""Where a run stands: weights and optimizer state in one safetensors file a save, whole or absent; the newest two are kept.

Nothing else needs saving: order and augmentation are functions of the step.
"""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from jftdata import storage

_KEEP = 2
_NAME = re.compile(r"step-(\d{9})\.safetensors$")


def save(folder: Path, step: int, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state before `step` (so many steps are done)."""
    folder.mkdir(exist_ok=True)
    tensors = {f"net/{name}": value for name, value in net.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer/{index}/{name}"] = value if isinstance(value, torch.Tensor) else torch.tensor(value)
    with storage.atomic_path(folder / f"step-{step:09d}.safetensors") as temp:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temp)
    for old in _saved(folder)[_KEEP:]:
        old.unlink()


def load(folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest state that can be read; returns the number of steps done, 0 when there is none."""
    for path in _saved(folder):
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError):
            continue  # a damaged file: the one before it is as good
        net.load_state_dict({k.removeprefix("net/"): v for k, v in tensors.items() if k.startswith("net/")})
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/")
                like = parameters[int(index)]
                if value.shape == like.shape:  # same memory layout as the weights, or vectorised sums round otherwise
                    value = torch.empty_like(like, dtype=value.dtype).copy_(value)
                state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return _step(path)
    return 0


def _saved(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*.safetensors") if _NAME.match(p.name)), reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-").removesuffix(".safetensors"))
