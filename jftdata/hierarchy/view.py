"""A hierarchy to look at: a page with the tree folded up, or a picture with the labels around a circle.

A label with several parents is shown once, under the parent on its longest path; under the others stands a link (page) or
goes a dashed line (picture). Both are one file that loads nothing, reads in light and dark, and escapes every label. The
page is whole without its script, which only finds labels. Cost: 75,000 labels in about 2 s, most of it cut and told so.
"""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jftdata import __version__, storage
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy.core import Hierarchy

if TYPE_CHECKING:
    import polars as pl

MAX_LABELS = {".html": 5_000, ".svg": 400}
"""Labels shown when `max_labels` is None. A page of 5,000 labels has about 2 MB; a picture with more is not readable."""
MAX_LEVELS = 200
"""Levels of a page; browsers stop nesting at about 500 elements."""
INDENTED = 12
"""Levels of a page that are indented further than the one above."""
OPEN_ROWS = 60
"""A page opens its upper levels while they have no more rows than this."""
HUES = 6
"""Colours of the branches of a picture; they repeat."""

MAX_RINGS = 24
"""Levels of a picture."""

_ROW, _RING, _LETTER = 17, 100, 8  # pixels: between two labels on the rim, between two rings, of a letter
_NOT_XML = dict.fromkeys({*range(32), 0xFFFE, 0xFFFF} - {9, 10, 13}, "\ufffd")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the page: opens a label, or stands for one shown elsewhere."""

    name: str
    label: str
    """The id where the name does not tell it, else nothing."""
    anchor: int
    link: bool
    """The label is shown under another parent."""
    num_parents: int
    has_rows: bool
    is_open: bool
    deep: bool
    """So far down that it is no longer indented."""
    num_hidden: int
    """Children left out."""
    num_below: int
    count: int | None
    share: float
    closes: tuple[int, ...]
    """For each list that ends after this row, the innermost first: how many of its labels are left out."""


def write_view(
    hierarchy: Hierarchy,
    path: Path | str,
    *,
    counts: "pl.DataFrame | None" = None,
    max_labels: int | None = None,
    title: str | None = None,
) -> Path:
    """Write a page (`.html`) or a picture (`.svg`), whole or not at all.

    Args:
        hierarchy: what to show.
        path: ends in `.html` or `.svg`.
        counts: what `tail.label_counts` returns, or any frame with `label` and `num_images`; drawn as bars or dots.
        max_labels: at most so many labels, those nearest to the roots first; a picture is cut between two levels. None
            takes `MAX_LABELS`. What is left out is counted on the page.
        title: heading; None takes the name of the hierarchy.

    Raises:
        BadArgument: another ending, or `max_labels` below 1.
        BadInput: no labels, or counts that lack a column or a label or have negative images.
    """
    path = Path(path)
    if path.suffix not in MAX_LABELS:
        raise BadArgument(f"a view must end in .html or .svg. Got {path}.")
    most = MAX_LABELS[path.suffix] if max_labels is None else max_labels
    if most < 1:
        raise BadArgument(f"`max_labels` must be at least 1. Got {most}.")
    if not hierarchy.num_labels:
        raise BadInput(f"the hierarchy {hierarchy.name!r} has no labels. There is nothing to show.")
    images = None if counts is None else _images(hierarchy, counts)
    draw = _page if path.suffix == ".html" else _picture
    storage.write_text(path, draw(hierarchy, images, most, title or hierarchy.name))
    return path


# ---- the page --------------------------------------------------------------------------------------------------------


def _page(tree: Hierarchy, images: NDArray[np.int64] | None, most: int, title: str) -> str:
    shown = min(most, int(np.searchsorted(tree.depths, MAX_LEVELS)))  # labels are in order of depth
    lines = _lines(tree, images, shown)
    script = _SCRIPT.strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _render(
        "view.html.jinja",
        title=title,
        facts=tree.facts(),
        lines=lines,
        with_images=images is not None,
        most_images=int(images.max()) if images is not None else 0,
        num_shown=shown,
        num_hidden=tree.num_labels - shown,
        script=script,
        digest=digest,
    )


def _lines(tree: Hierarchy, images: NDArray[np.int64] | None, shown: int) -> list[Line]:
    """Rows in reading order; no recursion, so that a chain of thousands of labels is no trouble."""
    home = _home(tree, shown)
    below = np.bincount(tree.ancestor_index, minlength=tree.num_labels)
    open_levels = _open_levels(tree, shown)
    bars = np.log1p(images) / max(math.log1p(int(images.max())), 1e-9) if images is not None else None
    roots = _by_images([i for i in range(shown) if not tree.parent_lists[i]], images)
    todo: list[tuple[int, int, bool, tuple[int, ...]]] = [(i, 0, False, ()) for i in reversed(roots)]
    found: list[Line] = []
    while todo:
        i, level, link, closes = todo.pop()
        children = [] if link else _by_images([c for c in tree.child_lists[i] if c < shown], images)
        num_hidden = 0 if link else len(tree.child_lists[i]) - len(children)
        rows: list[tuple[int, int, bool, tuple[int, ...]]] = [(c, level + 1, home[c] != i, ()) for c in children[:-1]]
        rows += [(c, level + 1, home[c] != i, (num_hidden, *closes)) for c in children[-1:]]
        todo += reversed(rows)
        found.append(
            Line(
                name=tree.names[i],
                label=tree.labels[i] if tree.labels[i] != tree.names[i] else "",
                anchor=i,
                link=link,
                num_parents=len(tree.parent_lists[i]),
                has_rows=bool(rows),
                is_open=level < open_levels,
                deep=level >= INDENTED,
                num_hidden=num_hidden,
                num_below=int(below[i]),
                count=int(images[i]) if images is not None else None,
                share=float(bars[i]) if bars is not None else 0.0,
                closes=() if rows else closes,
            )
        )
    return found


def _by_images(children: list[int], images: NDArray[np.int64] | None) -> list[int]:
    return children if images is None else sorted(children, key=lambda c: (-int(images[c]), c))


def _home(tree: Hierarchy, shown: int) -> list[int]:
    """The parent under which each label is shown, the deepest; -1 for a root."""
    return [max(tree.parent_lists[i], key=lambda p: (tree.depths[p], -p), default=-1) for i in range(shown)]


def _open_levels(tree: Hierarchy, shown: int) -> int:
    """Levels whose rows together stay below `OPEN_ROWS`; a small tree is open to the end."""
    rows = np.cumsum(np.bincount(tree.depths[:shown]))
    return max(1, int(np.searchsorted(rows, OPEN_ROWS, side="right")) - 1) if rows[-1] > OPEN_ROWS else len(rows)


# ---- the picture -----------------------------------------------------------------------------------------------------


def _picture(tree: Hierarchy, images: NDArray[np.int64] | None, most: int, title: str) -> str:
    shown, levels = _cut_between_levels(tree, most)
    home = _home(tree, shown)
    children: list[list[int]] = [[] for _ in range(shown)]
    for i, parent in enumerate(home):
        if parent >= 0:
            children[parent].append(i)
    roots = [i for i in range(shown) if home[i] < 0]
    ring = [int(d) + (len(roots) > 1) for d in tree.depths[:shown]]  # several roots stand around an empty middle
    turn, num_rim = _turns(roots, children)
    rim = max(num_rim * _ROW / (2 * math.pi), _RING * max(max(ring), 1))
    step = rim / max(max(ring), 1)
    radius = [step * ring[i] if children[i] or not ring[i] else rim for i in range(shown)]
    branch = _branches(tree, roots, home, shown)
    size = rim + 40 + _LETTER * max(len(_short(name)) for name in tree.names[:shown])
    nodes = [_node(tree, images, i, radius[i], turn[i], bool(children[i])) | {"hue": branch[i]} for i in range(shown)]
    lines = [_link(radius[p], turn[p], radius[i], turn[i]) | {"hue": branch[i]} for i, p in enumerate(home) if p >= 0]
    extra = [
        _link(radius[p], turn[p], radius[i], turn[i])
        for i in range(shown)
        for p in tree.parent_lists[i]
        if p != home[i]
    ]
    return _render(
        "view.svg.jinja",
        title=title,
        size=round(size),
        rings=[f"{step * level:.1f}" for level in range(1, max(ring) + 1)],
        nodes=nodes,
        lines=lines,
        extra=extra,
        hues=HUES,
        text=max(15, round(size / 48)),
        caption=", ".join(_caption(tree, shown, levels)),
        notes=[*_caption(tree, shown, levels), *_notes(images, extra)],
    )


def _node(
    tree: Hierarchy, images: NDArray[np.int64] | None, i: int, radius: float, turn: float, inner: bool
) -> dict[str, object]:
    """A dot and its text: outside of it on the rim, inside of it elsewhere, never upside down."""
    x, y = _at(radius, turn)
    degrees = math.degrees(turn) - 90
    left = turn > math.pi
    middle = radius < 1
    size = math.sqrt(images[i] / max(int(images.max()), 1)) if images is not None else 0.0
    side = 1 if left == inner else -1  # the text is to the right of the dot, or to the left
    return {
        "x": f"{x:.1f}",
        "y": f"{y:.1f}",
        "turn": "0" if middle else f"{degrees + 180 if left else degrees:.1f}",
        "anchor": "middle" if middle else "start" if side > 0 else "end",
        "dx": f"{0 if middle else side * (6 + 9 * size):.1f}",
        "dy": "-14" if middle else "3.5",
        "inner": inner,
        "r": f"{2.5 + 9 * size:.1f}",
        "name": _short(tree.names[i]),
        "full": tree.names[i] if images is None else f"{tree.names[i]}: {int(images[i]):,} images",
    }


def _cut_between_levels(tree: Hierarchy, most: int) -> tuple[int, int]:
    """How many labels, and levels, fit; where the roots alone are too many, the first of them."""
    upto = np.searchsorted(tree.depths, np.arange(1, tree.max_depth + 2))
    fitting = upto[:MAX_RINGS][upto[:MAX_RINGS] <= most]
    return (int(fitting[-1]), len(fitting)) if len(fitting) else (min(most, int(upto[0])), 1)


def _turns(roots: Sequence[int], children: Sequence[Sequence[int]]) -> tuple[list[float], int]:
    """The angle of every label, clockwise from the top: labels on the rim evenly, others between their children."""
    order: list[int] = []
    todo = list(reversed(roots))
    while todo:
        order.append(todo.pop())
        todo += reversed(children[order[-1]])
    rim = [i for i in order if not children[i]]
    turn = [0.0] * len(children)
    for at, i in enumerate(rim):
        turn[i] = 2 * math.pi * (at + 0.5) / len(rim)
    for i in reversed(order):
        if children[i]:
            turn[i] = (turn[children[i][0]] + turn[children[i][-1]]) / 2
    return turn, len(rim)


def _branches(tree: Hierarchy, roots: Sequence[int], home: Sequence[int], shown: int) -> list[int]:
    """A colour a branch: by root, or by the first labels that part where there is one root; -1 above them."""
    tops = list(roots)
    below: list[list[int]] = [[] for _ in range(shown)]
    for i, parent in enumerate(home):
        if parent >= 0:
            below[parent].append(i)
    while len(tops) == 1 and below[tops[0]]:
        tops = below[tops[0]]
    branch = [-1] * shown
    for at, i in enumerate(tops):
        branch[i] = at % HUES
    for i in range(shown):
        if branch[i] < 0 and home[i] >= 0:
            branch[i] = branch[home[i]]
    return branch


def _link(from_radius: float, from_turn: float, to_radius: float, to_turn: float) -> dict[str, object]:
    """A line that leaves and arrives along the radius."""
    half = (from_radius + to_radius) / 2
    points = [_at(from_radius, from_turn), _at(half, from_turn), _at(half, to_turn), _at(to_radius, to_turn)]
    start, one, two, end = (f"{x:.1f},{y:.1f}" for x, y in points)
    return {"d": f"M{start}C{one} {two} {end}"}


def _at(radius: float, turn: float) -> tuple[float, float]:
    return radius * math.sin(turn), -radius * math.cos(turn)


def _short(name: str) -> str:
    """The first of several synonyms, cut where it is long."""
    name = name.split(", ")[0]
    return name if len(name) <= 28 else name[:27].rstrip() + "…"


def _caption(tree: Hierarchy, shown: int, levels: int) -> list[str]:
    lines = [f"{tree.num_labels:,} labels, {tree.num_edges:,} edges, depth {tree.max_depth}"]
    hidden = tree.num_labels - shown
    if hidden and shown < int((tree.depths < levels).sum()):
        lines.append(f"the first {shown:,} labels without a parent; {hidden:,} labels are left out")
    elif hidden:
        lines.append(f"the upper {levels} of {tree.max_depth + 1} levels; {hidden:,} labels below are left out")
    return lines


def _notes(images: NDArray[np.int64] | None, extra: Sequence[object]) -> list[str]:
    notes = []
    if images is not None:
        notes.append(f"area of a dot: images, at most {int(images.max()):,}")
    if extra:
        notes.append("dashed: a further parent")
    return notes


# ---- both ------------------------------------------------------------------------------------------------------------


def _images(tree: Hierarchy, counts: "pl.DataFrame") -> NDArray[np.int64]:
    """(num_labels,) images of each label."""
    if not {"label", "num_images"} <= set(counts.columns):
        raise BadInput(f"counts need the columns label and num_images. Got {', '.join(counts.columns)}.")
    by_label = dict(zip(counts["label"].to_list(), counts["num_images"].to_list(), strict=True))
    without = [label for label in tree.labels if not isinstance(by_label.get(label), int)]
    if without:
        raise BadInput(
            f"counts lack {len(without)} labels, the first is {without[0]!r}. Count this hierarchy's images."
        )
    images = np.array([by_label[label] for label in tree.labels], np.int64)
    if images.min() < 0:
        raise BadInput(f"counts must be at least 0. Got {images.min()} for {tree.labels[int(images.argmin())]!r}.")
    return images


def _render(template: str, **values: object) -> str:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template(template)
    return page.render(version=__version__, **values).translate(_NOT_XML)


_SCRIPT = """
"use strict";
const box = document.getElementById("find"), told = document.getElementById("told"), tree = document.getElementById("tree");
document.getElementById("tools").hidden = false;
const rows = [...tree.querySelectorAll("[data-row]")];
const texts = rows.map(row => row.querySelector(".what").textContent.toLowerCase());
let hits = [], at = -1;
function reveal(row) {
  for (let up = row.parentElement; up && up !== tree; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
  row.scrollIntoView({block: "center"});
}
function next() {
  if (!hits.length) return;
  if (at >= 0) hits[at].classList.remove("now");
  at = (at + 1) % hits.length;
  hits[at].classList.add("now");
  reveal(hits[at]);
  told.textContent = (at + 1) + " of " + hits.length;
}
box.addEventListener("input", () => {
  const wanted = box.value.trim().toLowerCase();
  for (const row of hits) row.classList.remove("hit", "now");
  hits = wanted ? rows.filter((row, i) => texts[i].includes(wanted)) : [];
  at = -1;
  for (const row of hits) row.classList.add("hit");
  told.textContent = wanted ? (hits.length ? hits.length + " found; Enter goes to the next" : "none") : "";
});
box.addEventListener("keydown", event => { if (event.key === "Enter") next(); });
document.getElementById("unfold").addEventListener("click", () => { for (const d of tree.querySelectorAll("details")) d.open = true; });
document.getElementById("fold").addEventListener("click", () => { for (const d of tree.querySelectorAll("details")) d.open = false; });
"""
