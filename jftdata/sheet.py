"""A contact sheet of a catalog: a row a label, with some of its images beside its name and count, as one PNG.

Cost: one image read and decoded a cell.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from jftdata import storage, tail
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput
from jftdata.images import decode
from jftdata.plural import plural

BANDS = ("head", "medium", "tail")
"""More than 100 images, 20 to 100, fewer than 20: the cuts of Sun et al. 2017, section 3."""
_GAP = 6
_GREY, _PALE = (110, 110, 110), (243, 243, 243)


def contact_sheet(
    catalog: Catalog,
    *,
    out: Path | str,
    seed: int,
    labels: Sequence[str] | Literal["spread", "frequent"] = "spread",
    num_labels: int = 12,
    num_images: int = 8,
    size: int = 112,
) -> Path:
    """Draw a contact sheet.

    Args:
        catalog: where labels and images come from.
        out: a .png to write.
        seed: which images of a label are drawn, in [0, 2**63).
        labels: labels to show, in this order; `frequent` takes those with most images, `spread` as many of the head as of
            the middle and the tail, within each evenly by rank.
        num_labels: how many to take for `spread` and `frequent`.
        num_images: how many images a label.
        size: pixels a side of each.

    Returns:
        The path. Counts and images of a label are of those below it too.

    Raises:
        BadArgument: another ending, or a number out of range.
        UnknownName: a label that is not in the hierarchy.
        BadInput: no image has a label; a catalog without pixels.
        ImageRejected: the file of an image is gone.
    """
    out = Path(out)
    check(out, num_labels=num_labels, num_images=num_images, size=size)
    counts = tail.label_counts(catalog)
    if isinstance(labels, str):
        chosen = _choose(counts, labels, num_labels)
    else:
        chosen = list(labels)
    if not chosen:
        raise BadInput(f"no image of {catalog.path} has a label, so there is nothing to show. Give labelled images.")
    numbers = dict(counts.select("label", "num_images").iter_rows())
    rows = []
    for label in chosen:
        name = catalog.hierarchy.names[catalog.hierarchy.index(label)]
        count = numbers[label]
        told = f"{plural(count, 'image')}, {_band(count)}"
        rows.append((name, [told], _cells(catalog, label, num_images, size, seed)))
    num_used = int((counts["num_images"] > 0).sum())
    title = f"{catalog.path.name}: {plural(len(catalog), 'image')}, {len(chosen):,} of {num_used:,} labels in use"
    return draw(rows, out=out, title=title, num_cells=num_images, size=size)


def check(out: Path, *, size: int, **numbers: int) -> None:
    """Raise BadArgument unless `out` ends in .png, `size` is at least 16 and the other numbers are at least 1."""
    if out.suffix != ".png":
        raise BadArgument(f"`out` must end in .png. Got {out}.")
    for name, value in {**numbers, "size": size}.items():
        least = 16 if name == "size" else 1
        if value < least:
            raise BadArgument(f"`{name}` must be at least {least}. Got {value}.")


def _choose(counts: pl.DataFrame, how: str, num_labels: int) -> list[str]:
    """Labels given at least once: the most frequent, or as many of the head as of the middle and the tail."""
    if how not in ("spread", "frequent"):
        raise BadArgument(f"`labels` must be spread, frequent or a list of labels. Got {how!r}.")
    used = counts.filter(pl.col("num_given") > 0).sort(["num_images", "label"], descending=[True, False])
    if how == "frequent" or len(used) <= num_labels:
        return used["label"].head(num_labels).to_list()
    bands = [used.filter(pl.col("num_images").map_elements(_band, pl.String) == band)["label"] for band in BANDS]
    return [band[i] for band, at in zip(bands, spread([len(b) for b in bands], num_labels), strict=True) for i in at]


def spread(sizes: Sequence[int], total: int) -> list[list[int]]:
    """Positions to show of lists of these sizes, `total` in all: as many of each as it has, evenly within each.

    >>> spread([2, 9], 5), spread([1, 0], 5)
    ([[0, 1], [0, 4, 8]], [[0], []])
    """
    shares = [0] * len(sizes)
    while sum(shares) < min(total, sum(sizes)):  # one to each in turn, as long as it has some left
        for i, size in enumerate(sizes):
            shares[i] += shares[i] < size and sum(shares) < total
    return [
        np.linspace(0, size - 1, share).round().astype(int).tolist() for size, share in zip(sizes, shares, strict=True)
    ]


def _band(num_images: int) -> str:
    few, many = tail.CUTS
    return "head" if num_images > many else "medium" if num_images >= few else "tail"


def _cells(catalog: Catalog, label: str, num_images: int, size: int, seed: int) -> list[Image.Image]:
    """Images of a label, each whole within a square of `size` pixels."""
    cells = []
    for row in catalog.sample(label=label, count=num_images, seed=seed).iter_rows(named=True):
        pixels, _ = decode(catalog.read(row["shard"], row["offset"], row["length"]))
        cells.append(cell(pixels, size))
    return cells


def cell(pixels: NDArray[np.uint8], size: int) -> Image.Image:
    """An (H, W, 3) image, whole within a square of `size` pixels."""
    image = Image.fromarray(pixels)
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def draw(
    rows: Sequence[tuple[str, Sequence[str], Sequence[Image.Image]]], *, out: Path, title: str, num_cells: int,
    size: int, num_columns: int = 1,
) -> Path:  # fmt: skip
    """Write a PNG of rows, each with a name, smaller lines below it, and pictures on the right.

    Args:
        rows: name, lines and pictures of each; long lines are cut.
        out: a .png, written whole or not at all.
        title: a line above all.
        num_cells: pictures a row has at most.
        size: pixels a side of the square that holds each.
        num_columns: rows run down the first column, then down the next.
    """
    tall, low = max(13, size // 6), max(11, size // 8)
    large, small = ImageFont.load_default(tall), ImageFont.load_default(low)
    text, step, head = max(150, 2 * size), size + _GAP, 2 * tall
    wide, high = text + num_cells * step + _GAP, -(-len(rows) // num_columns)
    sheet = Image.new("RGB", (num_columns * wide, head + high * step + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text(
        (2 * _GAP, tall / 2), _wrap(title, pen, large, sheet.width - 4 * _GAP, lines=1)[0], fill="black", font=large
    )
    for i, (name, told, cells) in enumerate(rows):
        edge, top = i // high * wide, head + i % high * step + _GAP
        lines = _wrap(name, pen, large, text - 3 * _GAP, lines=2)
        above = top + (size - 1.2 * (len(lines) * tall + len(told) * low)) / 2
        for line in lines:
            pen.text((edge + 2 * _GAP, above), line, fill="black", font=large)
            above += 1.2 * tall
        for line in told:
            pen.text(
                (edge + 2 * _GAP, above), _wrap(line, pen, small, text - 3 * _GAP, lines=1)[0], fill=_GREY, font=small
            )
            above += 1.2 * low
        for j, picture in enumerate(cells):
            left = edge + text + j * step
            pen.rectangle((left, top, left + size - 1, top + size - 1), fill=_PALE)
            sheet.paste(picture, (left + (size - picture.width) // 2, top + (size - picture.height) // 2))
    with storage.atomic_path(out) as temp:
        sheet.save(temp, "PNG")
    return out


def _wrap(name: str, pen: ImageDraw.ImageDraw, font: Any, width: float, *, lines: int) -> list[str]:
    """So many lines at most, cut with an ellipsis."""
    found = [""]
    for word in name.split():
        longer = f"{found[-1]} {word}".strip()
        if found[-1] and pen.textlength(longer, font=font) > width:
            found.append(word)
        else:
            found[-1] = longer
    kept = found[:lines]
    for i, line in enumerate(kept):
        cut = len(found) > lines and i == lines - 1
        while pen.textlength(line + ("…" if cut else ""), font=font) > width and len(line) > 1:
            line, cut = line[:-1], True
        kept[i] = line + ("…" if cut else "")
    return kept
