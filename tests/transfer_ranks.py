"""Run by torchrun in two processes: a fit whose weights test_transfer_fit.py compares with those of one process."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import distributed

from jftdata import progress
from jftdata.errors import Interrupted
from jftdata.pretrain.ranks import joined
from tests.test_transfer_fit import RECIPE, fitted


def main(out: Path) -> None:
    progress.set_quiet(True)
    distributed.init_process_group("gloo")
    with joined("cpu") as ranks:
        whole = fitted(out / "two", ranks=ranks)
        with suppress(Interrupted):
            fitted(out / "cut", ranks=ranks, on_row=stop_one(ranks.rank))
        if ranks.first:
            torch.save(whole.state_dict(), out / "two.pt")
    distributed.destroy_process_group()


def stop_one(rank: int):
    loaded = iter(range(10**6))

    def on_row() -> None:
        if rank == 1 and next(loaded) == RECIPE.batch_size:  # one of the two is told, in its second step or so
            os.kill(os.getpid(), signal.SIGTERM)

    return on_row


if __name__ == "__main__":
    main(Path(sys.argv[1]))
