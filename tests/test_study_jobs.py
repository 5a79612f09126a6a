"""Cells as processes: how many at once, in which order, and what becomes of those that fail."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from jftdata import recipes
from jftdata.errors import BadArgument, Interrupted, Locked, StudyFailed, UnknownOption
from jftdata.study.jobs import cell_command, run_together
from jftdata.study.plan import Arm, Cell, Study

CHILD = """
import sys, time
from pathlib import Path
folder, seconds, code, log = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
def note(what):
    with log.open("a") as file:
        file.write(f"{what} {folder.name}\\n")
note("begin")
time.sleep(seconds)
note("end")
if code == 0:
    folder.mkdir(parents=True)
    (folder / "artefact.json").write_text("{}")
sys.exit(code)
"""


def _study(*arms: tuple[str, str | None]) -> Study:
    made = [
        Arm(name=name, subset=lambda _: pytest.fail("read"), num_images=9, recipe=recipes.tiny(), init=init)
        for name, init in arms
    ]
    return Study(name="s", question="?", arms=made, judges=[], seeds=[0])


class _Commands:
    """Children that sleep, note when they began and ended, and leave a finished cell or a code."""

    def __init__(self, out: Path, *, seconds: float = 0.3, codes: dict[str, int] | None = None) -> None:
        self.out, self.seconds, self.codes, self.log = out, seconds, codes or {}, out / "log"
        out.mkdir(exist_ok=True)

    def __call__(self, cell: Cell) -> list[str]:
        code = self.codes.get(cell.arm.name, 0)
        return [sys.executable, "-c", CHILD, *map(str, (self.out / cell.name, self.seconds, code, self.log))]

    def most_at_once(self) -> int:
        now = most = 0
        for line in self.log.read_text().splitlines():
            now += 1 if line.startswith("begin") else -1
            most = max(most, now)
        return most

    def begun(self) -> list[str]:
        return [line.split()[1] for line in self.log.read_text().splitlines() if line.startswith("begin")]


def test_as_many_as_asked_run_at_once_and_each_after_what_it_needs(tmp_path: Path) -> None:
    commands = _Commands(tmp_path / "s")
    run_together(_study(("a", None), ("b", "a"), ("c", None), ("d", None)), out=commands.out, command=commands, jobs=2)
    assert commands.most_at_once() == 2
    lines = commands.log.read_text().splitlines()
    assert lines.index("end a-s0") < lines.index("begin b-s0")
    assert sorted(commands.begun()) == ["a-s0", "b-s0", "c-s0", "d-s0"]
    run_together(_study(("a", None)), out=commands.out, command=commands, jobs=2)
    assert len(commands.begun()) == 4


def test_a_failed_cell_takes_only_those_that_need_it_with_it(tmp_path: Path) -> None:
    commands = _Commands(tmp_path / "s", seconds=0.0, codes={"a": 7})
    with pytest.raises(StudyFailed, match="2 cells failed, the first runs/a-s0 with exit code 7") as failed:
        run_together(_study(("a", None), ("b", "a"), ("c", None)), out=commands.out, command=commands, jobs=3)
    assert failed.value.exit_code == 7
    assert sorted(commands.begun()) == ["a-s0", "c-s0"]
    assert (commands.out / "logs" / "runs-a-s0.log").exists()


def test_what_is_made_elsewhere_is_no_failure(tmp_path: Path) -> None:
    commands = _Commands(tmp_path / "s", seconds=0.0, codes={"a": Locked.exit_code})
    with pytest.raises(Locked, match="2 cells are being made by other processes"):
        run_together(_study(("a", None), ("b", "a"), ("c", None)), out=commands.out, command=commands, jobs=2)
    assert (commands.out / "runs" / "c-s0").exists()


def test_only_what_was_asked_is_run(tmp_path: Path) -> None:
    commands = _Commands(tmp_path / "s", seconds=0.0)
    study = _study(("a", None), ("b", "a"), ("c", None))
    run_together(study, out=commands.out, command=commands, jobs=2, only=["runs/b-s0"])
    assert commands.begun() == ["a-s0", "b-s0"]
    with pytest.raises(UnknownOption, match="runs/b-s0"):
        run_together(study, out=commands.out, command=commands, jobs=2, only=["runs/bb-s0"])
    with pytest.raises(BadArgument, match=r"at least 1\. Got 0"):
        run_together(study, out=commands.out, command=commands, jobs=0)


def test_a_signal_stops_what_runs(tmp_path: Path) -> None:
    commands = _Commands(tmp_path / "s", seconds=30.0)

    def stop() -> None:
        while not commands.log.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run_together(_study(("a", None), ("b", None)), out=commands.out, command=commands, jobs=2)
    assert time.monotonic() - began < 20
    assert "end" not in commands.log.read_text()


def test_the_command_of_a_cell_is_complete(tmp_path: Path) -> None:
    cell = Cell(_study(("a", None)).arms[0], 3)
    made = cell_command(["x.toml"], cell, out=tmp_path, workers=2, device="cpu")
    assert made[1:] == ["-m", "jftdata", "study", "run", "x.toml", "--out", str(tmp_path), "--cell", "runs/a-s3", "--device", "cpu",
                        "--quiet", "--workers", "2"]  # fmt: skip
