"""What all verbs share: `--json`, `--quiet` and `--dry-run`, and how an answer is printed."""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import storage
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.progress import set_quiet

_F = TypeVar("_F", bound=Callable[..., "Answer"])
_G = TypeVar("_G", bound=Callable[..., Any])

EXISTING = click.Path(path_type=Path)
"""A path argument; whether it is there is checked by the library, which says what to do about it."""


@dataclass(frozen=True)
class Answer:
    """What a verb found: text for people, data for programs."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)


class PathFirst(click.Group):
    """Tells those who name a path first, as the verb once took it, which command it is now."""

    def __init__(self, *args: Any, instead: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._instead = instead

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and Path(args[0]).exists():
            said = f"jftdata {ctx.info_name} {self._instead} {' '.join(args)}"
            raise click.UsageError(f"{args[0]!r} is a path, not a command. Run `{said}`.")
        return super().resolve_command(ctx, args)


def answers(function: _F) -> Callable[..., None]:
    """Add `--json` and `--quiet`, and print what the verb returns."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @click.option("--quiet", is_flag=True, help="No progress on stderr.")
    @functools.wraps(function)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> None:
        set_quiet(quiet)
        answer = function(*args, **kwargs)
        if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one speaks
            click.echo(json.dumps(answer.data, default=str, ensure_ascii=False) if as_json else answer.text)

    return wrapped


def dry_run(function: _G) -> _G:
    """Add `--dry-run` to a verb that writes."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done and write nothing.")(function)


def plan(what: str, **details: Any) -> Answer:
    """The answer of a dry run."""
    lines = "\n".join(f"  {key.replace('_', ' ')}: {value}" for key, value in details.items())
    return Answer(f"would {what}\n{lines}", {"dry_run": True, "would": what, **details})


def without(function: _G) -> _G:
    """Add `--without` to a verb that chooses images."""
    return click.option(
        "--without",
        multiple=True,
        type=EXISTING,
        help="Images never to take: a .parquet or .csv with a column `image`.",
    )(function)


def read_images(paths: Sequence[Path]) -> NDArray[np.int64]:
    """Image ids of the files of `--without`, ascending, each once.

    Raises:
        MissingInput: no such file.
        BadInput: not a .parquet or .csv, or no whole numbers in a column `image`.
    """
    found = [np.empty(0, np.int64)]
    for path in paths:
        if not path.is_file():
            raise MissingInput(f"{path} does not exist. Give the file that `jftdata dedup --drop` wrote.")
        if path.suffix not in (".parquet", ".csv"):
            raise BadInput(f"a list of images must end in .parquet or .csv. Got {path}.")
        frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path, glob=False)
        if "image" not in frame.columns or not (frame["image"].dtype.is_integer() or frame.is_empty()):
            raise BadInput(f"{path} has no column `image` of whole numbers, only {frame.columns}. Name the ids so.")
        found.append(frame["image"].cast(pl.Int64).to_numpy())
    return np.unique(np.concatenate(found))


def read_table(path: Path, schema: Mapping[str, Any], what: str) -> pl.DataFrame:
    """A table from a .parquet or .csv, with the columns of a schema in its types.

    Raises:
        MissingInput: no such file.
        BadInput: another ending, a column missing or of another type.
    """
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Give {what}.")
    if path.suffix not in (".parquet", ".csv"):
        raise BadInput(f"{what} must be a .parquet or .csv. Got {path}.")
    try:
        if path.suffix == ".csv":
            frame = pl.read_csv(path, infer_schema=False)
        else:
            frame = pl.read_parquet(path, glob=False)
        return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} has not the columns {', '.join(schema)} ({error}). Give {what}.") from error


def write_frame(frame: pl.DataFrame, out: Path) -> None:
    """Write findings as .parquet or .csv, whole or not at all.

    Raises:
        BadArgument: another ending.
    """
    writers: dict[str, Callable[[Path], None]] = {".parquet": frame.write_parquet, ".csv": frame.write_csv}
    if out.suffix not in writers:
        raise BadArgument(f"`--out` must end in .parquet or .csv. Got {out}.")
    with storage.atomic_path(out) as temp:
        writers[out.suffix](temp)


def table(frame: pl.DataFrame, *, rows: int) -> str:
    """The first rows of findings as aligned text."""
    head = frame.head(rows)
    cells = [head.columns, *[[_cell(v) for v in row] for row in head.iter_rows()]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    more = [f"... {len(frame) - rows:,} more"] if len(frame) > rows else []
    return "\n".join([*lines, *more])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
