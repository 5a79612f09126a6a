"""Recipes: the steps that chose a subset, as a readable file that makes the same subset again.

A recipe file is JSON, or TOML written by hand:

    [[steps]]
    builder = "with_labels"
    labels = ["dog", "cat"]

    [[steps]]
    builder = "without"
    images = { file = "copies.csv" }

A step takes the images of the step before it, or of those named in `from`; the first takes the whole catalog. `name` is
optional. Tables are written `{ file = ... }` (.csv or .parquet, relative to the recipe) and embeddings `{ embeddings = ... }`;
what came from memory is kept beside the recipe, under its SHA-256, as `{ data = ... }`.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from jftdata import storage
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput, Damaged, MissingInput, UnknownName, one_of

RECIPE = "recipe.json"
DATA = "data"
_OWN = ("name", "builder", "from")


class Table:
    """A table that a step was given: in memory, or in a file that is read when it is needed."""

    def __init__(self, frame: pl.DataFrame | None = None, *, path: Path | None = None, expected: str | None = None):
        self._frame, self._path, self._expected = frame, path, expected

    @cached_property
    def frame(self) -> pl.DataFrame:
        if self._frame is not None:
            return self._frame
        path = self._path
        assert path is not None
        if not path.is_file():
            raise MissingInput(f"{path}, which the recipe needs, is not there. Put it back or correct the recipe.")
        if path.suffix not in (".csv", ".parquet"):
            raise BadInput(f"a table of a recipe must end in .csv or .parquet. Got {path}.")
        try:
            frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path, glob=False)
        except pl.exceptions.PolarsError as error:
            raise BadInput(f"{path}, which the recipe needs, cannot be read ({error}). Write it anew.") from error
        if self._expected is not None and _digest(frame) != self._expected:
            raise Damaged(f"{path} has changed since the subset was made. Restore it.")
        return frame

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of columns and values, whatever they were stored in."""
        return self._expected or _digest(self.frame)


class Vectors:
    """Embeddings that a step was given, opened when they are needed."""

    def __init__(self, embeddings: Embeddings | None = None, *, path: Path | None = None, expected: str | None = None):
        self._embeddings, self.path, self._expected = embeddings, path, expected

    @cached_property
    def embeddings(self) -> Embeddings:
        if self._embeddings is not None:
            return self._embeddings
        if self.path is None:
            raise MissingInput(
                f"the recipe needs the embeddings {(self._expected or '')[:16]}, which were in memory only. "
                "Write their folder into the recipe: { embeddings = ... }."
            )
        found = Embeddings.open(self.path)
        if self._expected is not None and found.fingerprint != self._expected:
            raise BadInput(
                f"{self.path} are other embeddings than the subset was made with (fingerprint {found.fingerprint[:12]}, "
                f"expected {self._expected[:12]}). Give the old ones or make the subset anew."
            )
        return found

    @property
    def fingerprint(self) -> str:
        return self._expected or self.embeddings.fingerprint


@dataclass(frozen=True, eq=False)
class Step:
    """A builder, its arguments and the steps whose images it takes."""

    builder: str
    arguments: Mapping[str, Any]
    """JSON values, `Table` and `Vectors`."""
    sources: tuple["Step", ...] = ()

    @cached_property
    def key(self) -> str:
        """SHA-256 of this step and all before it."""
        plain = [self.builder, encoded(self.arguments), [source.key for source in self.sources]]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def steps(self) -> list["Step"]:
        """This step and all before it, each once, sources first."""
        found: dict[str, Step] = {}

        def visit(step: Step) -> None:
            if step.key not in found:
                for source in step.sources:
                    visit(source)
                found[step.key] = step

        visit(self)
        return list(found.values())

    def listed(self) -> list[dict[str, Any]]:
        """The steps as JSON values, named 1, 2, ...; `from` is left out where it is the step before."""
        steps = self.steps()
        number = {step.key: str(i) for i, step in enumerate(steps, 1)}
        rows = []
        for i, step in enumerate(steps):
            before = [str(i)] if i else []
            origin = [number[source.key] for source in step.sources]
            row = {"name": str(i + 1), "builder": step.builder, "from": origin, **encoded(step.arguments)}
            if origin == before:
                del row["from"]
            rows.append(row)
        return rows

    def write(self, path: Path) -> None:
        """Write the recipe as JSON, and the tables that came from memory beside it."""
        for table in _tables(self.steps()):
            target = path.parent / DATA / f"{table.fingerprint[:16]}.parquet"
            target.parent.mkdir(exist_ok=True)
            with storage.atomic_path(target) as temp:
                table.frame.write_parquet(temp)
        storage.write_json(path, {"steps": self.listed()})

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """The last step of a recipe file.

        Raises:
            MissingInput: no such file.
            BadInput: not JSON or TOML, no steps, a step without a builder, or one from a step that is not before it.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingInput(f"{path} does not exist. Give a recipe, .json or .toml.")
        try:
            text = path.read_text(encoding="utf-8")
            content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        except ValueError as error:  # of both parsers
            raise BadInput(f"{path} is not a recipe ({error}). Write it as JSON (.json) or TOML (.toml).") from error
        rows = content.get("steps") if isinstance(content, dict) else None
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise BadInput(f"{path} has no list of `steps`. Give at least one step with a `builder`.")
        return cls._of(rows, path)

    @classmethod
    def _of(cls, rows: list[dict[str, Any]], path: Path) -> Self:
        named: dict[str, Self] = {}
        last: Self | None = None
        for i, row in enumerate(rows, 1):
            if "builder" not in row:
                raise BadInput(f"step {i} of {path} has no `builder`. Name one.")
            builder = str(row["builder"])
            origin = row.get("from")
            if origin is None:
                whole = cls("everything", {"split": None})
                sources: tuple[Step, ...] = () if builder == "everything" else (last or whole,)
            else:
                names = [str(name) for name in (origin if isinstance(origin, list) else [origin])]
                for name in names:
                    if name not in named:
                        raise one_of(f"step {i} of {path} takes a step that", name, named, error=UnknownName)
                sources = tuple(named[name] for name in names)
            arguments = {key: _decoded(value, path.parent) for key, value in row.items() if key not in _OWN}
            last = cls(builder, arguments, sources)
            name = str(row.get("name", i))
            if name in named:
                raise BadInput(f"{path} has two steps named {name!r}. Name each once.")
            named[name] = last
        assert last is not None
        return last


def encoded(value: Any) -> Any:
    """An argument as JSON values.

    Raises:
        BadInput: a value that a recipe cannot hold.
    """
    if isinstance(value, Table):
        return {"data": value.fingerprint}
    if isinstance(value, Vectors):
        return {"embeddings": None if value.path is None else str(value.path), "fingerprint": value.fingerprint}
    if isinstance(value, Mapping):
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise BadInput(f"a recipe cannot hold {value!r} ({type(value).__name__}). Give numbers, text, lists or a table.")


def _decoded(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_decoded(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"data"}:
        return Table(path=folder / DATA / f"{value['data'][:16]}.parquet", expected=value["data"])
    if value.keys() == {"file"}:
        return Table(path=folder / value["file"])
    if value.keys() in ({"embeddings"}, {"embeddings", "fingerprint"}):
        path = None if value["embeddings"] is None else folder / value["embeddings"]
        return Vectors(path=path, expected=value.get("fingerprint"))
    return {key: _decoded(item, folder) for key, item in value.items()}


def _tables(value: Any) -> Iterator[Table]:
    if isinstance(value, Table):
        yield value
    elif isinstance(value, Step):
        yield from _tables(value.arguments)
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tables(item)


def _digest(frame: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for column in frame.get_columns():
        digest.update(f"{column.name}\n{len(column)}\n".encode())
        _digest_column(digest, column)
    return digest.hexdigest()


def _digest_column(digest: Any, column: pl.Series) -> None:
    digest.update(column.is_null().to_numpy().tobytes())
    if isinstance(column.dtype, pl.List):
        digest.update(column.list.len().fill_null(0).cast(pl.Int64).to_numpy().tobytes())
        _digest_column(digest, column.drop_nulls().explode(empty_as_null=False))
    elif column.dtype.is_float():
        digest.update(column.cast(pl.Float64).fill_null(0.0).to_numpy().tobytes())
    elif column.dtype.is_integer() or column.dtype == pl.Boolean:
        digest.update(column.cast(pl.Int64).fill_null(0).to_numpy().tobytes())
    else:
        texts = [text.encode() for text in column.cast(pl.String).fill_null("")]
        digest.update(np.array([len(text) for text in texts], np.int64).tobytes())
        digest.update(b"".join(texts))
