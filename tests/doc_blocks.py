"""The code blocks of a Markdown page, run in order in one folder, with what they print compared with what the page shows.

- `console`: lines after `$ ` are run (`\\` goes on), the lines below are what they print, with `...` for what is left out; none
  shown, nothing compared. `jftdata` runs in this process, `torchrun` with two processes on the CPU, the rest in a shell.
- `python`: run in one namespace a page; a `text` block right below is what it prints.
- a language and a file name, as in `toml recipe.toml`: the block is that file.
- `long` after the language: run only when asked for.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from jftdata import cli

_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RANKS = ("--nproc-per-node", "2")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    words: tuple[str, ...]
    """What follows the language: `long`, or a file name."""
    code: str
    line: int
    """Of its first line of code in the page."""
    shown: str | None = None
    """What a Python block prints, where the page says so."""

    @property
    def file(self) -> str | None:
        return next((word for word in self.words if "." in word), None)


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, a `text` block with the Python block it belongs to."""
    found: list[Block] = []
    end = 0
    for match in _BLOCK.finditer(text):
        language, words, code = match[1], tuple(match[2].split()), match[3]
        if language == "text" and found and found[-1].language == "python" and not text[end : match.start()].strip():
            last = found.pop()
            found.append(Block(last.language, last.words, last.code, last.line, shown=code))
        else:
            found.append(Block(language, words, code, text.count("\n", 0, match.start()) + 2))
        end = match.end()
    return found


def commands(code: str) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of a console block."""
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield command, shown


def run(page: Path, folder: Path, *, long: bool = False) -> None:
    """Run a page in a folder; raises AssertionError with the line of the page where something differs or fails."""
    names: dict[str, Any] = {"__name__": "__page__"}
    with contextlib.chdir(folder), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        for block in blocks(page.read_text(encoding="utf-8")):
            where = f"{page.name}:{block.line}"
            if "long" in block.words and not long:
                continue
            if block.file is not None:
                Path(block.file).write_text(block.code, encoding="utf-8")
            elif block.language == "python":
                lined = "\n" * (block.line - 1) + block.code
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(compile(lined, str(page), "exec"), names)
                _compare(where, block.code, block.shown, printed.getvalue())
            elif block.language == "console":
                for command, shown in commands(block.code):
                    _compare(where, command, shown or None, _printed(where, command))


def _printed(where: str, command: str) -> str:
    """What a command prints; it must end well."""
    words = shlex.split(command, comments=True)
    if words[0] == "jftdata":
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
            code = cli.run(words[1:])
        assert code == 0, f"{where}: {command}\nleft with {code}\n{error.getvalue()}"
        return out.getvalue()
    settings = dict(os.environ)
    if words[0] == "torchrun":
        at = words.index(_RANKS[0])
        words[at : at + 2] = _RANKS
        command = shlex.join([sys.executable, "-m", "torch.distributed.run", *words[1:], "--device", "cpu"])
        settings["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=settings)
    assert done.returncode == 0, f"{where}: {command}\nleft with {done.returncode}\n{done.stderr}"
    return done.stdout


def _compare(where: str, code: str, shown: str | None, printed: str) -> None:
    if shown is not None:
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        same = doctest.OutputChecker().check_output(shown, printed, options)
        assert same, f"{where}: {code.strip()}\nthe page shows\n{shown}\nbut it printed\n{printed}"
