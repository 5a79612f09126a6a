"""What a run says of itself while it goes: rows of `metrics.jsonl`, and TensorBoard where it is installed and asked for."""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jftdata import storage

PEAK = {
    "A100": 312e12, "H100": 989e12, "H200": 989e12, "GH200": 989e12, "B200": 2250e12, "A10": 125e12, "L4": 121e12,
    "L40S": 362e12, "V100": 125e12, "T4": 65e12, "RTX 4090": 165e12,
}  # fmt: skip
"""Dense bfloat16 (V100, T4: float16) multiply-adds count two: operations a second, from the makers' data sheets."""


def operations(net: nn.Module, image_size: int) -> int:
    """Floating-point operations of a training step an image: those of the forward pass three times (Kaplan et al. 2020)."""
    was_training = net.training
    net.eval()
    parameter = next(net.parameters())
    image = torch.zeros(1, 3, image_size, image_size, device=parameter.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image)
    net.train(was_training)
    return 3 * int(counter.get_total_flops())


def peak(device: torch.device) -> float | None:
    """Operations a second the device is sold with; None where we don't know."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    known = [chip for chip in PEAK if chip in name]
    return PEAK[max(known, key=len)] if known else None


def rows_until(path: Path, done: int) -> list[dict[str, Any]]:
    """Rows of a file as `metrics.jsonl` up to a step that is gone on from; those after it are dropped from the file, which is there
    afterwards."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    rows = [row for row in rows if row["step"] <= done]
    storage.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


class Monitor:
    """Averages over some steps, appended to `metrics.jsonl`; rows after a resumed step are dropped first.

    A row holds `step`, `epoch`, `images`, `lr`, `loss`, `gradient_norm`, `images_per_second`, `waiting` (share of the time spent
    waiting for images), `memory_bytes` (peak of the process, or of the GPU), `utilisation` (of the GPU's peak, where known), and
    after a validation its scores.
    """

    def __init__(
        self, path: Path, done: int, *, every: int, operations_an_image: int, peak_operations: float | None,
        device: torch.device, tensorboard: bool = False,
    ) -> None:  # fmt: skip
        self._path, self._every, self._device = path, every, device
        self._operations, self._peak = operations_an_image, peak_operations
        rows = rows_until(path, done)
        self._writer = _tensorboard(path.parent / "tensorboard", done) if tensorboard else None
        self._last_images = rows[-1]["images"] if rows else 0
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._waited = 0.0
        self._since = time.monotonic()
        self._row: dict[str, Any] = {}
        self.last_loss = math.nan

    def add(
        self, *, step: int, epoch: float, images: int, loss: float, gradient_norm: float, lr: float, waited: float
    ) -> None:
        """A step that has been done; every so many, a row is written."""
        self._losses.append(loss)
        self._norms.append(gradient_norm)
        self._waited += waited
        self._row = {"step": step, "epoch": round(epoch, 4), "images": images, "lr": lr}
        if step % self._every == 0:
            self.flush()

    def flush(self, **scores: float) -> None:
        """Write a row of what has been added since the last, and scores of a validation."""
        if not self._losses and not scores:
            return
        now = time.monotonic()
        spent = max(now - self._since, 1e-9)
        row = dict(self._row)
        if self._losses:
            rate = (row["images"] - self._last_images) / spent
            self.last_loss = sum(self._losses) / len(self._losses)
            row |= {
                "loss": round(self.last_loss, 6),
                "gradient_norm": round(sum(self._norms) / len(self._norms), 6),
                "images_per_second": round(rate, 1),
                "waiting": round(self._waited / spent, 4),
                "memory_bytes": _memory(self._device),
            }
            if self._peak is not None:
                row["utilisation"] = round(rate * self._operations / self._peak, 4)
        row |= {name: round(value, 6) for name, value in scores.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._writer is not None:
            for name, value in row.items():
                if name != "step":
                    self._writer.add_scalar(name, value, row["step"])
            self._writer.flush()
        self._losses, self._norms, self._waited = [], [], 0.0
        self._last_images = int(row["images"])
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave out what was not training: a validation, a save."""
        self._since = time.monotonic()


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _tensorboard(folder: Path, done: int) -> Any:
    """A TensorBoard writer that hides what a killed run wrote beyond the step it goes on from.

    Raises:
        BadArgument: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        from jftdata.errors import BadArgument

        raise BadArgument(
            "TensorBoard is not installed. Install jftdata[tensorboard], or leave `tensorboard` out."
        ) from None
    return SummaryWriter(str(folder), purge_step=done + 1)
