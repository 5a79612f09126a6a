"""The page on which a person says of each sampled pair whether its label is right, and the answers read back.

What could prime the answer is not shown: no score, no stratum, no other label of the image; the order is random.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jftdata import images, judge
from jftdata.catalog import Catalog
from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.pixels import PLACE, check_unchanged, map_images

SIDE = 512
"""Longest side of a picture, in pixels; smaller images keep their size."""
QUALITY = 85
QUESTION = "Is the label right?"
GUIDE = (
    "Yes: it is there, whole or in part, however small, or something of a narrower kind is. "
    "No: it is not there, even if something alike, or of a broader or a neighbouring kind, is. "
    "Unsure: the image does not let you tell, or you do not know what the label means and could not look it up; "
    "unsure answers are counted and left out of the precision."
)
ANSWERS = {"image": pl.Int64(), "label": pl.String(), "answer": pl.String()}
_ITEM = re.compile(r"image (\d{1,19}) label (.+)")
_FEW = 6


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A page that was written."""

    page: judge.Page
    num_unread: int
    """Images that could not be read; a placeholder with the reason stands for each."""


def write_page(sample: pl.DataFrame, catalog: Catalog, *, out: Path | str, workers: int | None = None) -> Asked:
    """Write a page that asks of each pair "Is there a <label> in this image?".

    Args:
        sample: what `precision.sample` drew, or some of its rows, in the order they are asked for.
        catalog: the images.
        out: a .html to write, whole or not at all.
        workers: threads; None is one a core.

    Raises:
        BadArgument: another ending, or more than `judge.MAX_ITEMS` rows.
        BadInput: no rows, a page of more than `judge.MAX_BYTES`, a catalog without pixels, an image not in it.
        UnknownName: a label that is not in its hierarchy.

    Cost: about 60 KB a photograph.
    """
    columns = ("image", *PLACE)
    rows = catalog.rows(sample["image"].to_numpy(), columns=columns)
    ids, labels = rows["image"].to_list(), sample["label"].to_list()

    def load(i: int, data: bytes) -> tuple[bytes | None, str]:
        check_unchanged(ids[i], data)
        return images.small_jpeg(data, side=SIDE, quality=QUALITY), "the image in question"

    found = map_images(
        catalog, rows, load, workers=workers, on_reject=lambda _, error: (None, f"could not be read: {error}")
    )
    items, num_unread = [], 0
    for image, label, (jpeg, alt) in zip(ids, labels, found, strict=True):
        heading, lines = _told(catalog.hierarchy, label)
        items.append(
            judge.Item(
                id=f"image {image} label {label}",
                heading=heading,
                pictures=[judge.Picture(jpeg=jpeg, alt=alt)],
                lines=lines,
            )
        )
        num_unread += jpeg is None
    note = f"{len(items):,} given labels drawn at random, in random order"
    note += f"; {num_unread:,} could not be read, answer unsure for them" if num_unread else ""
    page = judge.write(
        items, out=out, title=f"Precision of {catalog.path.name}", question=QUESTION, guide=GUIDE, note=note
    )
    return Asked(page=page, num_unread=num_unread)


def read_answers(paths: Path | str | Sequence[Path | str], *, page: Path | str | None = None) -> pl.DataFrame:
    """What was answered on one page.

    Args:
        paths: one saved file, or several, of several people or sittings.
        page: the page they answer; None checks only that the files answer the same one.

    Returns:
        `image`, `label`, `answer`, sorted by image and label; pairs without an answer are not in it. Answers to several
        pages of a sample are read page by page and concatenated.

    Raises:
        BadInput: answers to other things than an image and a label; and what `judge.read` raises.
    """
    rows = []
    for item, answer in judge.read(paths, page=page).iter_rows():
        match = _ITEM.fullmatch(item)
        if match is None or int(match[1]) >= 1 << 63:
            raise BadInput(f"{item!r} is no image with a label. Give what a page of `noise sample` saved.")
        rows.append((int(match[1]), match[2], answer))
    return pl.DataFrame(sorted(rows), schema=ANSWERS, orient="row")


def _told(tree: Hierarchy, label: str) -> tuple[str, list[str]]:
    """The question of a label, and what says which meaning of its name is asked for.

    >>> _told(Hierarchy.load("toy"), "cat")
    ('Is there a cat in this image?', ['animal › pet › cat', 'for example: house cat'])
    """
    index = tree.index(label)
    name = tree.names[index]
    lines = [" › ".join(path) for path in _paths(tree, index)]
    if tree.aliases[index]:
        lines.append(f"also called: {_listed(tree.aliases[index])}")
    kinds = [tree.names[i] for i in tree.child_lists[index]]
    if kinds:
        lines.append(f"for example: {_listed(kinds)}")
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return f"Is there {article} {name} in this image?", lines


def _paths(tree: Hierarchy, index: int) -> list[list[str]]:
    """Names from a root down to the label, over each parent that is not above another one too; three at most."""
    parents = tree.parent_lists[index]
    above = {int(i) for parent in parents for i in tree.ancestor_ids(parent)}
    paths = []
    for at in [parent for parent in parents if parent not in above][:3]:
        path = [index, at]
        while tree.parent_lists[path[-1]]:
            path.append(tree.parent_lists[path[-1]][-1])  # the deepest
        paths.append([tree.names[i] for i in reversed(path)])
    return paths


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW:,} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"
