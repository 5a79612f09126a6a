"""Progress on stderr with rate and time left: a bar on a terminal, a line every ten seconds elsewhere, or silent."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Turn all progress off or on for this process."""
    global _quiet
    _quiet = quiet


@contextmanager
def progress(
    what: str, *, total: int | None, unit: str, initial: int = 0, hidden: bool = False
) -> Iterator["tqdm[Any]"]:
    """A tqdm bar that names the step; call `.update(n)` on it.

    Args:
        what: the step, a few words.
        total: number of units, None when unknown.
        unit: what is counted, for example `image`.
        initial: units that were done before; the rate leaves them out.
        hidden: show nothing, in a process beside the one that shows it.
    """
    terminal = sys.stderr.isatty()
    bar: tqdm[Any] = tqdm(
        total=total,
        initial=initial,
        desc=what,
        unit=f" {unit}",
        disable=_quiet or hidden,
        file=sys.stderr,
        mininterval=0.2 if terminal else 10.0,
        dynamic_ncols=terminal,
        ascii=not terminal,
        leave=True,
    )
    with bar:
        yield bar


def say(line: str) -> None:
    """One line on stderr, above any bar; silent on request."""
    if not _quiet:
        tqdm.write(line, file=sys.stderr)
