"""Run by torchrun in two processes: runs whose results test_pretrain_loop.py compares with those of one process."""

import dataclasses
import os
import signal
import sys
from pathlib import Path

from torch import distributed

from jftdata import pretrain, progress, recipes, subset
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import Interrupted
from jftdata.pretrain.monitor import Monitor


def config(**changes):
    base = recipes.tiny(total_epochs=1.0, image_size=32)
    return dataclasses.replace(
        base,
        **{
            "batch_size": 8,
            "precision": "fp32",
            "warmup_epochs": 0.0,
            "optimizer": "sgd",
            "momentum": 0.9,
            "learning_rate": 1e-3,
            **changes,
        },
    )


def main(catalog: str, out: Path) -> None:
    progress.set_quiet(True)
    everything = subset.everything(Catalog.open(catalog))
    distributed.init_process_group("gloo")
    start = Checkpoint.open(out / "start")
    shared = {"device": "cpu", "workers": 1}
    pretrain.run(everything, config(), out=out / "two", init=start, validation=everything, **shared)
    pretrain.run(
        everything,
        config(split_head=True, clip_norm=1.0),
        out=out / "split",
        init=start,
        validation=everything,
        **shared,
    )
    add = Monitor.add

    def stop(self, *, step, **rest):
        add(self, step=step, **rest)
        if step == 2 and distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # one of the two is told

    for name, settings in (("cut", config()), ("cut-split", config(split_head=True))):
        Monitor.add = stop
        try:
            pretrain.run(everything, settings, out=out / name, **shared)
        except Interrupted:
            pass
        finally:
            Monitor.add = add
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
