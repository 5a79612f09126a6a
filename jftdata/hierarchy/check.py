"""What is odd about a hierarchy though it loads: notes for a person, not errors.

Cycles, self-loops, unknown parents and labels listed twice are errors and are raised by the readers. Cost: 75,000 labels in
about a second.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jftdata.hierarchy import formats
from jftdata.hierarchy.core import Hierarchy

Kind = Literal["several roots", "orphan", "duplicate name", "redundant edge", "duplicate edge"]
"""In the order in which they are listed."""


@dataclass(frozen=True)
class Finding:
    """One oddity."""

    kind: Kind
    labels: tuple[str, ...]
    """Those it is about; of an edge the parent, then the child."""
    text: str
    """A sentence that says what it means."""


def check(
    hierarchy: Hierarchy | Path | str, *, format: formats.Format | None = None, names: Path | str | None = None
) -> list[Finding]:
    """Look through a hierarchy, or the file of one.

    Args:
        hierarchy: a hierarchy, a shipped name or a path; only a file can show duplicate edges.
        format: of the file, see `formats.read`.
        names: human names of the file's labels, see `formats.read`.

    Returns:
        Findings in the order of `Kind`, then of the labels: several roots (labels above others), labels with neither parents
        nor children in a hierarchy with edges, names that several labels have, edges to a parent that is also an ancestor of
        another parent, and edges that the file lists more than once (not for `open-images`, which repeats subtrees).

    Raises:
        MissingInput, BadInput, CycleError: see `formats.read`.

    >>> [finding.kind for finding in check(Hierarchy.from_edges([("a", "b"), ("b", "c"), ("a", "c")]))]
    ['redundant edge']
    """
    twice: list[tuple[str, str]] = []
    if isinstance(hierarchy, Hierarchy):
        tree = hierarchy
    else:
        tree = formats.read(hierarchy, format=format, names=names)
        if Path(hierarchy).is_file():
            twice = _twice(hierarchy, format)
    return [
        *_roots(tree),
        *_orphans(tree),
        *_names(tree),
        *_redundant(tree),
        *(
            Finding("duplicate edge", edge, f"the edge {edge[0]!r} to {edge[1]!r} is listed more than once")
            for edge in twice
        ),
    ]


def _twice(path: Path | str, format: formats.Format | None) -> list[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    again: dict[tuple[str, str], None] = {}
    for edge in formats.read_rows(path, format=format).edges:
        if edge in seen:
            again[edge] = None
        seen.add(edge)
    return sorted(again)


def _roots(tree: Hierarchy) -> Iterable[Finding]:
    roots = [tree.labels[i] for i, parents in enumerate(tree.parent_lists) if not parents and tree.child_lists[i]]
    if len(roots) > 1:
        shown = ", ".join(map(repr, roots[:5])) + (", ..." if len(roots) > 5 else "")
        yield Finding("several roots", tuple(roots), f"{len(roots)} labels stand at the top of something: {shown}")


def _orphans(tree: Hierarchy) -> Iterable[Finding]:
    if tree.num_edges:
        for label, parents, children in zip(tree.labels, tree.parent_lists, tree.child_lists, strict=True):
            if not parents and not children:
                yield Finding("orphan", (label,), f"{label!r} has neither parents nor children")


def _names(tree: Hierarchy) -> Iterable[Finding]:
    labels_of: dict[str, list[str]] = {}
    for label, name in zip(tree.labels, tree.names, strict=True):
        labels_of.setdefault(name, []).append(label)
    for name, labels in labels_of.items():
        if len(labels) > 1:
            shown = ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
            yield Finding(
                "duplicate name", tuple(labels), f"the name {name!r} belongs to {len(labels)} labels: {shown}"
            )


def _redundant(tree: Hierarchy) -> Iterable[Finding]:
    for i, parents in enumerate(tree.parent_lists):
        if len(parents) > 1:
            above = {int(a): p for p in parents for a in tree.ancestor_ids(p)}
            for parent in parents:
                if parent in above:
                    edge = (tree.labels[parent], tree.labels[i])
                    by = tree.labels[above[parent]]
                    yield Finding("redundant edge", edge, f"{edge[1]!r} is under {edge[0]!r} already through {by!r}")
