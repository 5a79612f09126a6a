"""The processes of a run: one alone, or those that torchrun started, one a GPU or a CPU process each.

Start with `torchrun --nproc-per-node 8 -m jftdata pretrain ...`; nothing else changes. Rank 0 writes, all read.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed

from jftdata import backbone
from jftdata.errors import BadArgument

_PATIENCE = timedelta(minutes=30)
"""How long ranks wait for one that reads, saves or validates."""


@dataclass(frozen=True)
class Ranks:
    """Who we are among the processes of a run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean over ranks of a small tensor, the same on all."""
        return self.sum(value) / self.world_size

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Which of them hold on any rank."""
        if self.world_size == 1:
            return flags
        there = torch.tensor(flags, dtype=torch.float32, device=self.device)
        distributed.all_reduce(there, distributed.ReduceOp.MAX)
        return tuple(bool(flag) for flag in there.tolist())

    def sum(self, value: Tensor) -> Tensor:
        """The sum over ranks of a small tensor."""
        if self.world_size > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def from_first(self, value: Any) -> Any:
        """What rank 0 says."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, 0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """What each rank says, on all of them."""
        if self.world_size == 1:
            return [value]
        said: list[Any] = [None] * self.world_size
        distributed.all_gather_object(said, value)
        return said

    def wait(self) -> None:
        """Until all are here."""
        if self.world_size > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the other processes of torchrun, if there are any, for the block.

    Args:
        device: `auto`, `cpu` or `cuda`; with several GPUs each process takes that of its local rank.

    Raises:
        BadArgument: more processes on this machine than GPUs.
    """
    target = backbone.pick_device(device)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Ranks(0, 1, target)
        return
    if target.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise BadArgument(
                f"process {local} of this machine has no GPU of its own: there are {torch.cuda.device_count()}. Lower "
                "--nproc-per-node or give device='cpu'."
            )
        target = torch.device("cuda", local)
        torch.cuda.set_device(target)
    ours = not distributed.is_initialized()
    if ours:
        distributed.init_process_group("nccl" if target.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), target)
    finally:
        if ours:
            distributed.destroy_process_group()


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list while the block runs (main thread only), so that a step ends before we stop."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
