"""What the scripts here share: a name for the hardware, a process of its own for a piece of work, a CSV of what was found.

Importing it loads no library, so that a piece of work whose memory is counted begins small.
"""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
CORES = len(os.sched_getaffinity(0))


def hardware(*, gpu: bool = False) -> str:
    """`cpu2`, or with `gpu` the name of the first GPU where there is one."""
    if gpu:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(0).removeprefix("NVIDIA ").lower().replace(" ", "-")
    return f"cpu{CORES}"


def csv_path(name: str, *, gpu: bool = False, folder: Path = RESULTS) -> Path:
    """`<folder>/<name>_<hardware>_<yyyymm>.csv`."""
    return folder / f"{name}_{hardware(gpu=gpu)}_{datetime.date.today():%Y%m}.csv"


def write(name: str, rows: Any, *, gpu: bool = False, folder: Path = RESULTS) -> Path:
    """Write dicts, one a row and not all with the same keys, or a polars frame; may be called again when there is more."""
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    path = csv_path(name, gpu=gpu, folder=folder)
    (rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)).write_csv(path)
    return path


def alone(*arguments: object) -> Any:
    """What the running script prints last, as JSON, when it is called with these arguments: a dict or a list of them.

    Each dict also gets `peak_gib` unless it says so itself: the most memory the process held as the kernel counts it, which is never
    below what this process holds. Where it ended badly, `{"failed": "exit 1"}`.
    """
    child = subprocess.Popen([sys.executable, sys.argv[0], *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        return {"failed": f"signal {status & 127}" if status & 127 else f"exit {status >> 8}"}
    found, peak = json.loads(text.splitlines()[-1]), {"peak_gib": round(usage.ru_maxrss / 2**20, 2)}
    return [row | peak | row for row in found] if isinstance(found, list) else found | peak | found
