"""The paper's Figure 2: for chosen labels, images in rows by quantised distance to the label's centroids, confusions named.

As a page that needs no network, on which everything shown is data and escaped, or as one PNG. An image that cannot be read is
shown as a placeholder and counted. Cost: one image read and decoded a cell. Source: Sun et al. 2017, Figure 2.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
from PIL import Image

from jftdata import __version__, images, sheet, storage
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, UnknownName, one_of
from jftdata.noise.findings import by_label
from jftdata.pixels import PLACE, check_unchanged, map_images

SIDE = 112
"""Pixels a side of a cell."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was written."""

    path: Path
    num_labels: int
    num_images: int
    num_unread: int
    """Images on it that could not be read."""


def write(
    catalog: Catalog, audit: pl.DataFrame, *, out: Path | str, labels: Sequence[str] | None = None, num_labels: int = 6,
    num_images: int = 8, workers: int | None = None,
) -> Figure:  # fmt: skip
    """Draw images of labels by distance, nearest first; below an image that is likely mislabelled stands what it is instead.

    Args:
        catalog: the images.
        audit: what `noise.audit` returned of it, with the signal `centroids`.
        out: a .html or .png to write, whole or not at all.
        labels: which to show, in this order; None takes those with most noise that have distances.
        num_labels: how many to take then.
        num_images: images of each distance, evenly over it.
        workers: threads; None is one a core.

    Raises:
        BadArgument: another ending, or a number below one.
        BadInput: an audit without distances; a catalog without pixels.
        UnknownName: a label without distances.
    """
    out = Path(out)
    if out.suffix not in (".html", ".png"):
        raise BadArgument(f"`out` must end in .html or .png. Got {out}.")
    for name, value in {"num_labels": num_labels, "num_images": num_images}.items():
        if value < 1:
            raise BadArgument(f"`{name}` must be at least 1. Got {value}.")
    for column in ("image", "label", "wrong", "verdict", "other_label", "distance", "bin"):
        if column not in audit.columns:
            raise BadInput(f"the audit has no column {column!r}. Give what noise.audit returns.")
    far = audit.filter(pl.col("distance").is_not_null())
    if far.is_empty():
        raise BadInput(
            "the audit has no distances to draw. Audit with the signal 'centroids' and enough images a label."
        )
    there = set(far["label"].unique())
    for label in labels or ():
        if label not in there:
            raise one_of("label with distances", label, there, error=UnknownName)
    chosen = list(labels) if labels else by_label(far, catalog.hierarchy)["label"].head(num_labels).to_list()
    rows = _rows(far, chosen, num_images)
    pictures = _pictures(catalog, rows["image"], workers)
    shown = [_label(catalog, far, rows.filter(pl.col("label") == label), label, pictures) for label in chosen]
    num_unread = sum(picture is None for picture in pictures.values())
    title = f"{catalog.path.name}: images by distance to the centroids of their label"
    if out.suffix == ".html":
        storage.write_text(out, _render(title, shown, num_unread))
    else:
        _draw(out, title, shown, num_images)
    return Figure(path=out, num_labels=len(chosen), num_images=len(rows), num_unread=num_unread)


def _rows(far: pl.DataFrame, labels: Sequence[str], num_images: int) -> pl.DataFrame:
    """The images to show: of each label and distance some, evenly by rank."""
    parts = []
    for label in labels:
        part = far.filter(pl.col("label") == label).sort("distance", "image")
        for _, of_bin in part.group_by("bin", maintain_order=True):
            at = np.unique(np.linspace(0, len(of_bin) - 1, num_images).round().astype(np.int64))
            parts.append(of_bin[at])
    return pl.concat(parts)


def _pictures(catalog: Catalog, ids: pl.Series, workers: int | None) -> dict[int, Image.Image | None]:
    """Cells by image; None for those that cannot be read."""
    rows = catalog.rows(ids.unique().to_numpy(), columns=("image", *PLACE))
    known = rows["image"].to_list()

    def load(i: int, data: bytes) -> Image.Image | None:
        check_unchanged(known[i], data)
        return sheet.cell(images.decode_small(data, side=SIDE), SIDE)

    return dict(zip(known, map_images(catalog, rows, load, workers=workers, on_reject=lambda *_: None), strict=True))


def _label(
    catalog: Catalog, far: pl.DataFrame, rows: pl.DataFrame, label: str, pictures: dict[int, Image.Image | None]
) -> dict[str, Any]:
    """One label as it is shown."""
    tree = catalog.hierarchy
    mine = far.filter(pl.col("label") == label)
    bins = []
    for (number,), part in rows.group_by("bin", maintain_order=True):
        whole = mine.filter(pl.col("bin") == number)
        confused = whole.filter(pl.col("verdict") == "wrong")["other_label"].drop_nulls().value_counts()
        most = confused.sort("count", "other_label", descending=[True, False]).head(2)
        cells = [
            {"picture": pictures[row["image"]], "image": row["image"], "wrong": row["verdict"] == "wrong",
             "other": "" if row["other_label"] is None else tree.names[tree.index(row["other_label"])]}
            for row in part.iter_rows(named=True)
        ]  # fmt: skip
        bins.append({
            "low": whole["distance"].min(), "high": whole["distance"].max(), "num": len(whole), "cells": cells,
            "num_wrong": int((whole["verdict"] == "wrong").sum()),
            "confused": [(tree.names[tree.index(name)], num) for name, num in most.iter_rows()],
        })  # fmt: skip
    name = tree.names[tree.index(label)]
    return {"label": label, "name": name, "num": len(mine), "wrong": mine["wrong"].mean(), "bins": bins}


def _render(title: str, shown: list[dict[str, Any]], num_unread: int) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["uri"] = _uri
    return environment.get_template("figure.html.jinja").render(
        title=title, labels=shown, num_unread=num_unread, version=__version__, side=SIDE
    )


def _uri(picture: Image.Image) -> str:
    data = images.encode_jpeg(np.asarray(picture.convert("RGB")), quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _draw(out: Path, title: str, shown: list[dict[str, Any]], num_images: int) -> None:
    rows = []
    for label in shown:
        for i, part in enumerate(label["bins"]):
            lines = [
                f"distance {part['low']:.2f} to {part['high']:.2f}",
                f"{part['num_wrong']:,} of {part['num']:,} likely wrong",
            ]
            lines += [f"{name} ({num:,})" for name, num in part["confused"]]
            cells = [_named(cell) for cell in part["cells"]]
            rows.append((label["name"] if not i else "", lines, cells))
    sheet.draw(rows, out=out, title=title, num_cells=num_images, size=SIDE)


def _named(cell: dict[str, Any]) -> Image.Image:
    """A cell with the name of what it likely shows instead on its lower edge."""
    from PIL import ImageDraw, ImageFont

    text = cell["other"] if cell["wrong"] else ""
    picture = cell["picture"].copy() if cell["picture"] is not None else Image.new("RGB", (SIDE, SIDE), "white")
    if cell["picture"] is None:
        text = "not readable"
    if text:
        pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
        while pen.textlength(text, font=font) > picture.width - 6 and len(text) > 1:
            text = text[:-2].rstrip() + "…" if len(text) > 2 else text[:1]
        pen.rectangle((0, picture.height - 15, picture.width, picture.height), fill=(179, 38, 30))
        pen.text((3, picture.height - 15), text, fill="white", font=font)
    return picture
