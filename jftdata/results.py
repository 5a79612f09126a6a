"""Results: one row for each (checkpoint, task, mode, metric), on disk as `results.jsonl`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl

from jftdata import storage
from jftdata.errors import BadInput, OutputExists

FORMAT = "jftdata.results/2"
FORMATS = ("jftdata.results/1", FORMAT)
"""What `Results.open` reads; in version 1 the columns of `LATER` are not there, and `data` is taken from the sidecar."""
LATER: dict[str, pl.DataType] = {
    "data": pl.String(),  # fingerprint of the task's catalog
    "overlap": pl.String(),  # fingerprint of the pairs that say which test images have a copy; null: not known
    "num_copies": pl.Int64(),  # test images with a copy among the images the checkpoint saw; null: not known
    "value_clean": pl.Float64(),  # value on the other test images; null also where none is left
    "low_clean": pl.Float64(),  # 95% bootstrap interval of it
    "high_clean": pl.Float64(),
    "difference": pl.Float64(),  # value - value_clean: what the copies add to the score
    "difference_low": pl.Float64(),  # 95% interval of it, both scores on the same resamples
    "difference_high": pl.Float64(),
}
"""Columns that a row may leave out; they are null then."""
SCHEMA: dict[str, pl.DataType] = {
    "checkpoint": pl.String(),  # fingerprint
    "subset": pl.String(),  # fingerprint of the images it was trained on
    "num_train_images": pl.Int64(),  # images it was pretrained on
    "seed": pl.Int64(),  # seed of the pretraining
    "task": pl.String(),
    "mode": pl.String(),
    "metric": pl.String(),
    "value": pl.Float64(),
    "low": pl.Float64(),  # 95% bootstrap interval over test images
    "high": pl.Float64(),
    "num_task_train": pl.Int64(),
    "num_task_test": pl.Int64(),
    "settings": pl.String(),  # JSON: what the task chose or was told
    **LATER,
}
FILE = "results.jsonl"


@dataclass(frozen=True, eq=False)
class Results:
    """Rows of `SCHEMA`, sorted by task, mode, metric, images and seed."""

    rows: pl.DataFrame

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """Results of plain rows; the columns of `LATER` may be left out.

        Raises:
            BadInput: a missing or unknown column.
        """
        rows = [{**dict.fromkeys(LATER), **row} for row in rows]
        for row in rows:
            odd = row.keys() ^ SCHEMA.keys()
            if odd:
                raise BadInput(
                    f"a result row must have just the columns {', '.join(SCHEMA)}. Missing or unknown: {odd}."
                )
        return cls._sorted(pl.DataFrame(rows, schema=SCHEMA))

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Read results from an artefact's folder.

        Raises:
            MissingInput: nothing there.
            BadInput: an artefact of another kind, or of a later version.
        """
        sidecar = storage.read_sidecar(path, kind="jftdata.results")
        if sidecar.format not in FORMATS:
            raise BadInput(f"{path} is a {sidecar.format}; known are {', '.join(FORMATS)}. Update jftdata to read it.")
        lines = (Path(path) / FILE).read_text(encoding="utf-8").splitlines()
        return cls.of({"data": sidecar.inputs.get("data"), **json.loads(line)} for line in lines)

    @classmethod
    def concat(cls, parts: Iterable["Results"]) -> Self:
        """Rows of several results together."""
        frames = [part.rows for part in parts]
        if not frames:
            raise BadInput("no results to put together. Run a transfer first.")
        return cls._sorted(pl.concat(frames))

    @classmethod
    def _sorted(cls, frame: pl.DataFrame) -> Self:
        return cls(frame.sort("task", "mode", "metric", "num_train_images", "seed", "checkpoint"))

    def __len__(self) -> int:
        return len(self.rows)

    def save(self, out: Path | str, *, made_with: Mapping[str, Any], inputs: Mapping[str, str]) -> Path:
        """Write the rows as an artefact; where the same rows are there already, nothing is written.

        Raises:
            OutputExists: results made with other arguments, or other rows made with the same ones.
        """
        with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
            if build is not None:
                self.write(build.folder)
                build.facts = {"num_rows": len(self)}
        if build is None and not Results.open(out).rows.equals(self.rows):
            raise OutputExists(
                f"{out} holds other rows, made with the same arguments: something else has changed. Remove it or give "
                "another `out`."
            )
        return Path(out)

    def write(self, folder: Path) -> None:
        """Write the rows into the folder of an artefact that is being made."""
        text = "".join(json.dumps(row) + "\n" for row in self.rows.iter_rows(named=True))
        storage.write_text(folder / FILE, text)
