"""Several cells of a study at once, each a process of its own: as many as asked on this machine, each on its own GPU.

On a cluster the queue does this: every cell is one command (`jftdata study cells`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import torch

from jftdata.errors import BadArgument, Interrupted, Locked, StudyFailed
from jftdata.pretrain.ranks import signals
from jftdata.progress import say
from jftdata.study.plan import Cell, Study
from jftdata.study.runner import asked, is_done, write

_WAIT = 0.1
"""Seconds between looks at the processes."""


def run_together(
    study: Study, *, out: Path | str, command: Callable[[Cell], Sequence[str]], jobs: int, only: Sequence[str] = (),
    device: str = "auto",
) -> pl.DataFrame:  # fmt: skip
    """Run the cells of a study that are not done, several at a time.

    Args:
        study: what to run.
        out: the study's folder.
        command: that runs one cell.
        jobs: processes at a time.
        only: names of cells; those they need are run first. None are all.
        device: with GPUs, process i gets number i of them, counted round.

    Returns:
        What `runner.table` returns.

    Raises:
        BadArgument: fewer than one job.
        StudyFailed: cells failed; all others that do not need them were run. What a failed one said is in `logs/`.
        Locked: nothing failed, and other processes are still making the rest.
        Interrupted: SIGINT or SIGTERM; the cells that ran have saved their state.
    """
    if jobs < 1:
        raise BadArgument(f"`jobs` must be at least 1. Got {jobs}.")
    out = Path(out)
    todo = [cell for cell in asked(study, only) if not is_done(out, cell.name)]
    running: dict[int, tuple[Cell, subprocess.Popen[bytes]]] = {}  # by slot
    failed: dict[str, int] = {}
    elsewhere: list[str] = []
    gpus = [] if device == "cpu" else _gpus()
    with signals() as caught:
        while todo or running:
            if caught:
                _stop(running)
                raise Interrupted(caught[0], f"stopped; {len(running)} cells have saved what they did. Run it again.")
            for slot, (cell, process) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[slot]
                if code == Locked.exit_code:
                    elsewhere.append(cell.name)
                elif code or not is_done(out, cell.name):
                    failed[cell.name] = code or 1
                    say(f"{cell.name} failed with exit code {code}; see {_log(out, cell)}")
            todo = [cell for cell in todo if not _hopeless(cell, failed, elsewhere)]
            ready = [cell for cell in todo if all(is_done(out, name) for name in cell.needs)]
            for slot in range(jobs):
                if slot not in running and ready:
                    cell = ready.pop(0)
                    todo.remove(cell)
                    running[slot] = cell, _start(cell, command(cell), out, slot, jobs, gpus)
            time.sleep(_WAIT)
    found = write(study, out)
    if failed:
        name, code = next(iter(failed.items()))
        raise StudyFailed(
            f"{len(failed)} cells failed, the first {name} with exit code {code}; what they said is in {out / 'logs'}. Mend the "
            "cause and run it again: nothing is done twice.",
            code,
        )
    if elsewhere:
        raise Locked(
            f"{len(elsewhere)} cells are being made by other processes, {elsewhere[0]} the first. Wait for them."
        )
    return found


def _start(
    cell: Cell, command: Sequence[str], out: Path, slot: int, jobs: int, gpus: Sequence[str]
) -> subprocess.Popen[bytes]:
    log = _log(out, cell)
    log.parent.mkdir(parents=True, exist_ok=True)
    cores = max(1, len(os.sched_getaffinity(0)) // jobs)
    variables = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    if gpus:
        variables["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    say(f"{cell.name}")
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables, start_new_session=True)


def _stop(running: dict[int, tuple[Cell, subprocess.Popen[bytes]]]) -> None:
    for _, process in running.values():
        process.terminate()
    for _, process in running.values():
        process.wait()


def _hopeless(cell: Cell, failed: dict[str, int], elsewhere: list[str]) -> bool:
    """Whether what a cell needs will not be made here; then it counts like that."""
    for name in cell.needs:
        if name in failed:
            failed[cell.name] = failed[name]
            return True
        if name in elsewhere:
            elsewhere.append(cell.name)
            return True
    return False


def _log(out: Path, cell: Cell) -> Path:
    return out / "logs" / f"{cell.name.replace('/', '-')}.log"


def _gpus() -> list[str]:
    """What CUDA calls the GPUs that this process sees."""
    num, told = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return told.split(",")[:num] if told else [str(i) for i in range(num)]


def cell_command(spec: Sequence[str], cell: Cell, *, out: Path, workers: int | None, device: str) -> list[str]:
    """The command that runs one cell on any machine that sees the study's folder.

    Args:
        spec: the study as `jftdata study run` is given it.
        cell: which.
        out: the study's folder.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu` or `cuda`.
    """
    threads = [] if workers is None else ["--workers", str(workers)]
    return [
        sys.executable, "-m", "jftdata", "study", "run", *spec, "--out", str(out), "--cell", cell.name, "--device", device,
        "--quiet", *threads,
    ]  # fmt: skip
