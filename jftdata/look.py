"""Look at copies before any is dropped: a page of pairs to judge, contact sheets of pairs and of groups, marks read back.

Pairs are those of `copies.find` or `copies.find_between`. An image that cannot be read is shown as a placeholder with its
name, and counted. Cost: one image read and decoded a picture; results do not depend on threads or on the order of rows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from jftdata import dedup, images, judge, sheet
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput
from jftdata.pixels import PLACE, check_unchanged, map_images
from jftdata.plural import plural

Choose = Literal["spread", "top"]
SIDE = 256
"""Longest side of a picture on a page, in pixels; smaller images keep their size."""
QUALITY = 85
QUESTION = "Is one of these two pictures a copy of the other?"
GUIDE = (
    "Yes: both come from one picture, though it may have been resized, cropped, mirrored, turned, recoloured or written on. "
    "No: they are two pictures, even of the same thing."
)
WORDS = {"same pixels": "the same pixels", "same frame": "neither cropped nor turned", "overlaid": "partly covered"}
"""Kinds of change whose name in `copies` does not speak for itself."""
BANDS = 10
"""Equal parts of the range of probabilities that a spread takes pairs from."""
_INSIDE, _BETWEEN = ("image_a", "image_b"), ("test_image", "train_image")
_COLUMNS = ("probability", "similarity", "kind", "scale_x", "scale_y")
_ITEM = re.compile(r"(\w+) (\d{1,19}) (\w+) (\d{1,19})")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What was written."""

    path: Path
    num_shown: int
    """Pairs or groups on it."""
    num_found: int
    """Pairs or groups there are."""
    num_unread: int
    """Images on it that could not be read."""
    num_bytes: int


def pairs_page(
    pairs: pl.DataFrame, catalog: Catalog, *, out: Path | str, test: Catalog | None = None, num_pairs: int = 200,
    choose: Choose = "spread", workers: int | None = None,
) -> Shown:  # fmt: skip
    """Write a page on which a person says of each pair whether it is a copy; `read_marks` reads the answers.

    Args:
        pairs: `Copies.pairs`, or some rows of it.
        catalog: the images; the training images where pairs are between a test and a training set.
        out: a .html to write.
        test: the test images of such pairs. Labels of the two conflict only where both hierarchies have them.
        num_pairs: how many at most, in [1, `judge.MAX_ITEMS`].
        choose: when there are more, `top` takes the most probable, `spread` as many from each tenth of the range of
            probabilities as it has, evenly by rank.
        workers: threads; None is one a core.

    Raises:
        BadArgument: another ending, a number or choice that is not allowed.
        BadInput: no pairs, a column missing, an image that is not in its catalog, a catalog without pixels or none for
            the test images.

    Cost: about 20 KB a picture of 256 pixels; 200 pairs of photographs are 8 MB, 1,000 are 42 MB.
    """
    if not 1 <= num_pairs <= judge.MAX_ITEMS:
        raise BadArgument(f"`num_pairs` must be in [1, {judge.MAX_ITEMS:,}]. Got {num_pairs:,}.")
    names = _names(pairs, test)
    chosen = _choose(_numbered(pairs, names), num_pairs, choose)
    both, num_unread = _both(chosen, catalog, test, _jpeg, workers)
    items = []
    for row, (a, b, marked) in zip(chosen.iter_rows(named=True), both, strict=True):
        size = plural(row["size"], "image" if names == _INSIDE else "pair")
        items.append(
            judge.Item(
                id=f"{names[0]} {row['a']} {names[1]} {row['b']}",
                heading=f"Found as: {_change(row['kind'], row['scale_x'], row['scale_y'])}",
                pictures=[_picture(a, marked), _picture(b, marked)],
                lines=[f"Probability of a copy {row['probability']:.3f}, similarity {row['similarity']:.2f}"],
                group=f"{_group(row, names).capitalize()} ({size})",
            )
        )
    title = f"Copies of {test.path.name} in {catalog.path.name}" if test else f"Copies in {catalog.path.name}"
    note = _told(len(items), len(pairs), choose, num_unread)
    page = judge.write(items, out=out, title=title, question=QUESTION, guide=GUIDE, note=note)
    return _shown(page.path, len(items), len(pairs), num_unread)


def pairs_sheet(
    pairs: pl.DataFrame, catalog: Catalog, *, out: Path | str, test: Catalog | None = None, num_pairs: int = 24,
    choose: Choose = "spread", size: int = 128, workers: int | None = None,
) -> Shown:  # fmt: skip
    """Draw pairs as one PNG, in two columns.

    Args:
        pairs: as in `pairs_page`, and so `catalog`, `test`, `choose` and `workers`.
        out: a .png to write.
        num_pairs: how many at most.
        size: pixels a side of each image.

    Raises:
        BadArgument: another ending, a number or choice that is not allowed.
        BadInput: as `pairs_page`.
    """
    out = Path(out)
    sheet.check(out, num_pairs=num_pairs, size=size)
    names = _names(pairs, test)
    chosen = _choose(_numbered(pairs, names), num_pairs, choose)
    both, num_unread = _both(chosen, catalog, test, lambda data: _cell(data, size), workers)
    rows = []
    for row, (a, b, marked) in zip(chosen.iter_rows(named=True), both, strict=True):
        lines = [f"probability {row['probability']:.3f}, {_group(row, names)}"]
        lines += [f"left: {_listed(a.labels.values())}", f"right: {_listed(b.labels.values())}"]
        lines += ["labels conflict"] if marked else []
        change = _change(row["kind"], row["scale_x"], row["scale_y"])
        rows.append((change, lines, [_drawn(a, size), _drawn(b, size)]))
    of = f"{test.path.name} in {catalog.path.name}" if test else catalog.path.name
    title = f"{of}: {_told(len(rows), len(pairs), choose, num_unread)}"
    sheet.draw(rows, out=out, title=title, num_cells=2, size=size, num_columns=min(2, len(rows)))
    return _shown(out, len(rows), len(pairs), num_unread)


def groups_sheet(
    pairs: pl.DataFrame, catalog: Catalog, *, out: Path | str, num_groups: int = 16, num_images: int = 6,
    keep: Sequence[str] = ("pixels", "bytes"), size: int = 112, workers: int | None = None,
) -> Shown:  # fmt: skip
    """Draw groups of copies as one PNG, the largest first: a row a group, the image that is kept first.

    Args:
        pairs: `Copies.pairs` of one catalog, or some rows of it.
        catalog: the images.
        out: a .png to write.
        num_groups: how many at most.
        num_images: images of a group at most; how many more it has stands beside them.
        keep: what makes an image worth keeping, as in `dedup.resolve`.
        size: pixels a side of each image.
        workers: threads; None is one a core.

    Raises:
        BadArgument: another ending, a number out of range, an unknown criterion.
        BadInput: as `pairs_page`; pairs between two catalogs, which have no groups.
    """
    out = Path(out)
    sheet.check(out, num_groups=num_groups, num_images=num_images, size=size)
    if set(_BETWEEN) <= set(pairs.columns):
        raise BadInput("pairs between a test and a training set have no groups. Give pairs of one catalog.")
    groups = _numbered(pairs, _names(pairs, None)).select("group", "number", "size").unique()
    shown = groups.sort("size", "number", descending=[True, False]).head(num_groups)
    members = dedup.group_pairs(pairs).filter(pl.col("group").is_in(shown["group"].implode()))
    settled = dedup.resolve(members, catalog, keep=keep).sort("kept", "image", descending=[True, False])
    inside = pairs.filter(pl.col("image_a").is_in(members["image"].implode()))
    links = dict(dedup.chains(members, inside).select("group", "longest").iter_rows())
    parts = [settled.filter(pl.col("group") == group) for group in shown["group"]]
    first = np.concatenate([part["image"].head(num_images).to_numpy() for part in parts])
    views = _views(catalog, first, lambda data: _cell(data, size), workers)
    rows = []
    for number, part in zip(shown["number"], parts, strict=True):
        kept, ids = part.row(0, named=True), part["image"].head(num_images)
        more = f", {len(part) - len(ids):,} not shown" if len(part) > len(ids) else ""
        lines = [_listed(_name(catalog, label) for label in kept["labels"])]
        lines += [f"in conflict: {_listed(_name(catalog, x) for x in kept['conflicts'])}"] if kept["conflicts"] else []
        lines += [f"a chain: up to {links[kept['group']]:,} links apart"] if links[kept["group"]] > 2 else []
        lines.append(views[kept["image"]].source)
        rows.append((f"group {number:,}: {len(part):,} images{more}", lines, [_drawn(views[i], size) for i in ids]))
    num_unread = _unread(views)
    title = f"{catalog.path.name}: {len(rows):,} of {len(groups):,} groups, largest first; the first image is kept"
    title += _unread_words(num_unread)
    sheet.draw(rows, out=out, title=title, num_cells=num_images, size=size)
    return _shown(out, len(rows), len(groups), num_unread)


def read_marks(paths: Path | str | Sequence[Path | str], *, page: Path | str | None = None) -> pl.DataFrame:
    """What was answered on a page of pairs.

    Args:
        paths: one saved file, or several.
        page: the page they answer; None checks only that the files answer the same one.

    Returns:
        `image_a`, `image_b` (between two catalogs `test_image`, `train_image`) and `answer`, which is yes, no or unsure;
        sorted by ids. Pairs without an answer are not in it.

    Raises:
        BadInput: answers to other things than pairs; and what `judge.read` raises.
    """
    names, rows = _INSIDE, list[tuple[int, int, str]]()
    for item, answer in judge.read(paths, page=page).iter_rows():
        first, a, second, b = match.groups() if (match := _ITEM.fullmatch(item)) else ("", "0", "", "0")
        names = names if rows else (first, second)
        if names not in (_INSIDE, _BETWEEN) or names != (first, second) or max(int(a), int(b)) >= 1 << 63:
            raise BadInput(f"{item!r} is no pair of images. Give what a page of pairs saved.")
        rows.append((int(a), int(b), answer))
    schema = {names[0]: pl.Int64(), names[1]: pl.Int64(), "answer": pl.String()}
    return pl.DataFrame(sorted(rows), schema=schema, orient="row")


# ---- which pairs -----------------------------------------------------------------------------------------------------


def _names(pairs: pl.DataFrame, test: Catalog | None) -> tuple[str, str]:
    """The columns of the two images."""
    names = _BETWEEN if set(_BETWEEN) <= set(pairs.columns) else _INSIDE
    for column in (*names, *_COLUMNS):
        if column not in pairs.columns:
            raise BadInput(f"pairs have no column {column!r}. Give the pairs that copies.find returns.")
    if pairs.is_empty():
        raise BadInput("there are no pairs to show. Look for some with a lower `min_probability`.")
    if (names == _BETWEEN) != (test is not None):
        why = "pairs have test images" if test is None else "`test` is given, but pairs are of one catalog"
        raise BadInput(f"{why}. Give `test` with the pairs of copies.find_between, and only with them.")
    return names


def _numbered(pairs: pl.DataFrame, names: tuple[str, str]) -> pl.DataFrame:
    """Pairs as columns `a` and `b`, most probable first, with their `group`, its `size`, and a `number` to call it by.

    Between two catalogs a group is a test image, and its size the pairs it is in.
    """
    order = ("probability", "similarity", "a", "b")
    ranked = pairs.select(*_COLUMNS, a=names[0], b=names[1]).sort(order, descending=[True, True, False, False])
    if names == _INSIDE:
        groups = dedup.group_pairs(pairs).with_columns(size=pl.len().over("group").cast(pl.Int64))
        ranked = ranked.join(groups, left_on="a", right_on="image", maintain_order="left")
    else:
        ranked = ranked.with_columns(group=pl.col("a"), size=pl.len().over("a").cast(pl.Int64))
    numbers = ranked.select("group").unique(maintain_order=True).with_columns(number=pl.int_range(1, pl.len() + 1))
    return ranked.join(numbers, on="group", maintain_order="left")


def _choose(ranked: pl.DataFrame, num_pairs: int, how: Choose) -> pl.DataFrame:
    """At most so many rows, in their order."""
    if how not in ("spread", "top"):
        raise BadArgument(f"`choose` must be spread or top. Got {how!r}.")
    if how == "top" or len(ranked) <= num_pairs:
        return ranked.head(num_pairs)
    p = ranked["probability"].to_numpy()
    band = np.minimum((p - p.min()) / max(p.max() - p.min(), 1e-12) * BANDS, BANDS - 1).astype(int)
    bands = [np.flatnonzero(band == i) for i in range(BANDS)]
    taken = [at[some] for at, some in zip(bands, sheet.spread([len(at) for at in bands], num_pairs), strict=True)]
    return ranked[np.sort(np.concatenate(taken))]


# ---- the images ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """An image as it is shown."""

    picture: Any
    """JPEG bytes or a cell; None where it could not be read."""
    problem: str
    """Why not."""
    source: str
    facts: str
    labels: dict[str, str]
    """Names of the given labels, by label."""
    related: dict[str, set[str]]
    """Of each label, itself and its ancestors."""


def _both(
    chosen: pl.DataFrame, catalog: Catalog, test: Catalog | None, make: Callable[[bytes], Any], workers: int | None
) -> tuple[list[tuple[_View, _View, set[str]]], int]:
    """Both images of each pair and the labels that conflict, and how many images could not be read."""
    a, b = chosen["a"].to_numpy(), chosen["b"].to_numpy()
    if test is None:
        left = right = _views(catalog, np.concatenate([a, b]), make, workers)
        shared, num_unread = None, _unread(left)
    else:
        left, right = _views(test, a, make, workers), _views(catalog, b, make, workers)
        shared, num_unread = set(test.hierarchy.labels) & set(catalog.hierarchy.labels), _unread(left) + _unread(right)
    views = [(left[i], right[j]) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    return [(one, other, _conflicts(one, other, shared)) for one, other in views], num_unread


def _views(
    catalog: Catalog, ids: NDArray[np.int64], make: Callable[[bytes], Any], workers: int | None
) -> dict[int, _View]:
    """Views by image id."""
    columns = ("image", *PLACE, "width", "height", "split", "labels", "source")
    rows = catalog.rows(np.unique(ids), columns=columns)
    images_of = rows["image"].to_list()

    def load(i: int, data: bytes) -> tuple[Any, str]:
        check_unchanged(images_of[i], data)
        return make(data), ""

    found = map_images(catalog, rows, load, workers=workers, on_reject=lambda _, error: (None, str(error)))
    tree = catalog.hierarchy
    views = {}
    for row, (picture, problem) in zip(rows.iter_rows(named=True), found, strict=True):
        split = f", {row['split']}" if row["split"] else ""
        facts = f"{row['width']:,} × {row['height']:,} pixels, {row['length']:,} bytes{split}"
        labels = {tree.labels[i]: tree.names[i] for i in row["labels"]}
        related = {label: {label, *tree.ancestors(label)} for label in labels}
        views[row["image"]] = _View(picture, problem, row["source"], facts, labels, related)
    return views


def _conflicts(a: _View, b: _View, shared: set[str] | None) -> set[str]:
    """Labels of either image that contradict the other's, as `dedup.resolve` has it of two copies.

    With `shared`, the labels that both hierarchies have, only those of them, where both images have one.
    """
    related = {x: a.related.get(x, set()) | b.related.get(x, set()) for x in (*a.labels, *b.labels)}
    found = set(dedup.conflicts([list(a.labels), list(b.labels)], related))
    if shared is None:
        return found
    return found & shared if shared & a.labels.keys() and shared & b.labels.keys() else set()


def _unread(views: Mapping[int, _View]) -> int:
    return sum(view.picture is None for view in views.values())


def _jpeg(data: bytes) -> bytes:
    return images.small_jpeg(data, side=SIDE, quality=QUALITY)


def _picture(view: _View, marked: set[str]) -> judge.Picture:
    """What a page shows of an image."""
    if view.picture is None:
        alt = f"{view.source} could not be read: {view.problem}"
    else:
        alt = f"Picture labelled {_listed(view.labels.values())}"
    return judge.Picture(
        jpeg=view.picture,
        alt=alt,
        lines=[*([] if view.labels else ["no label"]), view.facts, view.source],
        labels=[name for label, name in view.labels.items() if label not in marked],
        conflicts=[name for label, name in view.labels.items() if label in marked],
    )


def _cell(data: bytes, size: int) -> Image.Image:
    return sheet.cell(images.decode_small(data, side=size), size)


def _drawn(view: _View, size: int) -> Image.Image:
    """The cell of an image on a sheet, or a placeholder with its name."""
    if view.picture is not None:
        cell: Image.Image = view.picture
        return cell
    cell = Image.new("RGB", (size, size), "white")
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(max(10, size // 9))
    pen.rectangle((0, 0, size - 1, size - 1), outline="black")
    name = view.source
    while pen.textlength("…" + name, font=font) > size - 8 and len(name) > 1:
        name = name[1:]
    pen.text((4, 4), f"not readable\n{name if name == view.source else '…' + name}", fill="black", font=font)
    return cell


# ---- words -----------------------------------------------------------------------------------------------------------


def _change(kind: str, scale_x: float, scale_y: float) -> str:
    """What was done, in words; of a crop which picture shows a part of the other, and how much of it.

    >>> _change("mirrored+cropped", 1.25, 2.0)
    'mirrored, cropped; right shows 80% by 50% of left'
    """
    words = ", ".join(WORDS.get(part, part) for part in kind.split("+"))
    if "cropped" in kind.split("+") and (min(scale_x, scale_y) > 1 or max(scale_x, scale_y) < 1):
        part, whole = ("right", "left") if scale_x > 1 else ("left", "right")
        wide, high = (min(scale, 1 / scale) for scale in (scale_x, scale_y))
        words += f"; {part} shows {wide:.0%} by {high:.0%} of {whole}"
    return words


def _group(row: Mapping[str, Any], names: tuple[str, str]) -> str:
    return f"{'group' if names == _INSIDE else 'test image'} {row['number']:,}"


def _told(num_shown: int, num_found: int, choose: Choose, num_unread: int) -> str:
    """How many pairs there are, which of them are shown, and what is missing."""
    if num_shown == num_found:
        told = f"all {num_found:,} pairs" if num_found > 1 else "the only pair"
    elif choose == "top":
        told = f"the {num_shown:,} most probable of {num_found:,} pairs"
    else:
        told = f"{num_shown:,} of {num_found:,} pairs, spread over probability"
    return f"{told}, most probable first{_unread_words(num_unread)}"


def _unread_words(num: int) -> str:
    return f"; {plural(num, 'image')} could not be read" if num else ""


def _listed(names: Any) -> str:
    return ", ".join(names) or "no label"


def _name(catalog: Catalog, label: str) -> str:
    return catalog.hierarchy.names[catalog.hierarchy.index(label)]


def _shown(out: Path, num_shown: int, num_found: int, num_unread: int) -> Shown:
    return Shown(
        path=out, num_shown=num_shown, num_found=num_found, num_unread=num_unread, num_bytes=out.stat().st_size
    )
