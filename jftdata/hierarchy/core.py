"""The label hierarchy: a DAG of labels, parents first, with the table of every label's ancestors.

A label may have several parents and there may be several roots. Label indexes follow (depth, label), so they do not
depend on the order of the rows in a file. On disk it is one TSV (`label, name, parents, aliases`; lists split by `|`);
a shipped hierarchy has a TOML beside it with source, licence and golden counts. The only module that imports networkx.
Cost: 75,000 labels load, check and get their ancestor table in about 0.6 s.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from jftdata import storage
from jftdata.errors import BadInput, CycleError, MissingInput, UnknownName, nearest, one_of

if TYPE_CHECKING:
    import networkx as nx

COLUMNS = ("label", "name", "parents", "aliases")
_PACKAGE = Path(__file__).parents[1]
SHIPPED = next((p for p in (_PACKAGE / "hierarchies", _PACKAGE.parent / "hierarchy") if p.is_dir()), _PACKAGE)
"""Where the shipped hierarchies are: inside the wheel, or at the top of a checkout."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Labels with their ancestors; build it with `load`, `from_edges` or `from_networkx`."""

    name: str
    labels: tuple[str, ...]
    """Label ids, parents first: sorted by (depth, label)."""
    names: tuple[str, ...]
    """A human name each; the label itself where none was given."""
    aliases: tuple[tuple[str, ...], ...]
    """Other names each."""
    parent_lists: tuple[tuple[int, ...], ...]
    """Indexes of the parents of each label, ascending."""
    depths: NDArray[np.int32]
    """(num_labels,) edges on the longest path from a root."""
    ancestor_start: NDArray[np.int64]
    """(num_labels + 1,) where each label's row of `ancestor_index` begins."""
    ancestor_index: NDArray[np.int32]
    """Ancestors of each label without itself, ascending, each once."""

    # ---- ways in -------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Read a shipped hierarchy by name, or a TSV file by path.

        Args:
            name: `toy`, `cifar100`, `coco80`, `voc20`, `world`, or the path of a `.tsv`.

        Raises:
            UnknownName: no such shipped hierarchy.
            MissingInput: no such file.
            BadInput: wrong columns, duplicate label, unknown parent, self-loop.
            CycleError: a label is its own ancestor.

        >>> Hierarchy.load("toy").ancestors("house cat")
        ['animal', 'pet', 'cat']
        """
        path = Path(name)
        if path.suffix != ".tsv" and len(path.parts) == 1:
            path = SHIPPED / f"{name}.tsv"
            if not path.exists():
                raise one_of("shipped hierarchy", str(name), shipped(), error=UnknownName)
        if not path.is_file():
            raise MissingInput(f"hierarchy {path} does not exist. Give a .tsv file or one of: {', '.join(shipped())}.")
        rows = []
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
        if tuple(lines[0].rstrip("\r").split("\t")) != COLUMNS:
            raise BadInput(f"{path} line 1: expected the columns {', '.join(COLUMNS)} split by tabs. Got {lines[0]!r}.")
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            cells = line.rstrip("\r").split("\t")
            if len(cells) != len(COLUMNS):
                raise BadInput(f"{path} line {number}: expected {len(COLUMNS)} columns, got {len(cells)}: {line!r}.")
            rows.append((cells[0], cells[1], _list(cells[2]), _list(cells[3])))
        return cls._build(path.stem, rows, where=str(path))

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[str, str]],
        *,
        labels: Iterable[str] = (),
        name: str = "edges",
        names: dict[str, str] | None = None,
    ) -> Self:
        """Build from (parent, child) pairs.

        Args:
            edges: pairs; an edge given twice counts once.
            labels: labels without any edge.
            name: what to call it.
            names: human names by label.

        Raises:
            BadInput: an empty label or a self-loop.
            CycleError: a label is its own ancestor.

        >>> Hierarchy.from_edges([("fruit", "apple"), ("red thing", "apple")]).ancestors("apple")
        ['fruit', 'red thing']
        """
        parents: dict[str, dict[str, None]] = {label: {} for label in labels}
        for parent, child in edges:
            parents.setdefault(parent, {})
            parents.setdefault(child, {})[parent] = None
        names = names or {}
        return cls._build(
            name, [(label, names.get(label, ""), list(ps), []) for label, ps in parents.items()], where=name
        )

    @classmethod
    def load_edges(cls, path: Path | str, *, names: Path | str | None = None) -> Self:
        """Read an edge list: a TSV with the columns `parent` and `child`, and perhaps one with `id` and `name`.

        Raises:
            MissingInput: no such file.
            BadInput: wrong columns, a self-loop.
            CycleError: a label is its own ancestor.
        """
        edges = _two_columns(Path(path), ("parent", "child"))
        named = _two_columns(Path(names), ("id", "name")) if names is not None else []
        return cls.from_edges(
            edges, labels=[label for label, _ in named], names={k: v for k, v in named if v}, name=Path(path).stem
        )

    @classmethod
    def flat(cls, labels: Iterable[str], *, name: str = "flat") -> Self:
        """Labels without any parent, for sets that come without a hierarchy.

        >>> Hierarchy.flat(["cat", "bus"]).labels
        ('bus', 'cat')
        """
        return cls.from_edges((), labels=labels, name=name)

    @classmethod
    def from_networkx(cls, graph: "nx.DiGraph[str]", *, name: str = "networkx") -> Self:
        """Build from a directed graph whose edges go from parent to child; node attribute `name` is kept.

        >>> import networkx as nx
        >>> Hierarchy.from_networkx(nx.DiGraph([("animal", "cat")])).parents("cat")
        ['animal']
        """
        names = {str(node): str(attrs["name"]) for node, attrs in graph.nodes(data=True) if "name" in attrs}
        edges = ((str(parent), str(child)) for parent, child in graph.edges)
        return cls.from_edges(edges, labels=map(str, graph.nodes), name=name, names=names)

    @classmethod
    def _build(cls, name: str, rows: Sequence[tuple[str, str, list[str], list[str]]], *, where: str) -> Self:
        position: dict[str, int] = {}
        for label, human, parents, aliases in rows:
            if not label.strip():
                raise BadInput(f"{where}: a label is empty. Give every row a label.")
            if set("\t\n\r|") & set(label):
                raise BadInput(f"{where}: label {label!r} holds a tab, a line break or `|`. Rename it.")
            if set("\t\n\r") & set(human) or any(set("\t\n\r|") & set(alias) for alias in aliases):
                raise BadInput(f"{where}: a name or alias of {label!r} holds a tab, a line break or `|`. Change it.")
            if label in position:
                raise BadInput(f"{where}: label {label!r} is listed twice. Unite its rows.")
            if label in parents:
                raise BadInput(f"{where}: label {label!r} is its own parent. Remove that parent.")
            position[label] = len(position)
        for label, _, parents, _ in rows:
            for parent in parents:
                if parent not in position:
                    raise UnknownName(
                        f"{where}: label {label!r} has the unknown parent {parent!r}."
                        f"{nearest(parent, position)} Add a row for it."
                    )
        parent_of = [[position[p] for p in dict.fromkeys(parents)] for _, _, parents, _ in rows]
        depth = _depths(parent_of, [row[0] for row in rows], where)
        order = sorted(range(len(rows)), key=lambda i: (depth[i], rows[i][0]))
        new = [0] * len(rows)
        for to, old in enumerate(order):
            new[old] = to
        parent_lists = tuple(tuple(sorted(new[p] for p in parent_of[old])) for old in order)
        start, index = _ancestor_table(parent_lists)
        return cls(
            name=name,
            labels=tuple(rows[i][0] for i in order),
            names=tuple(rows[i][1] or rows[i][0] for i in order),
            aliases=tuple(tuple(rows[i][3]) for i in order),
            parent_lists=parent_lists,
            depths=np.array([depth[i] for i in order], np.int32),
            ancestor_start=start,
            ancestor_index=index,
        )

    # ---- ways out ------------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> Path:
        """Write the TSV, whole or not at all; rows are in label-index order: equal hierarchies give equal files."""
        path = Path(path)
        lines = ["\t".join(COLUMNS)]
        for i, label in enumerate(self.labels):
            parents = "|".join(self.labels[p] for p in self.parent_lists[i])
            name = "" if self.names[i] == label else self.names[i]
            lines.append("\t".join((label, name, parents, "|".join(self.aliases[i]))))
        storage.write_text(path, "\n".join(lines) + "\n")
        return path

    def to_networkx(self) -> "nx.DiGraph[str]":
        """A DiGraph from parent to child with the node attribute `name`."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from((label, {"name": name}) for label, name in zip(self.labels, self.names, strict=True))
        graph.add_edges_from((self.labels[p], self.labels[i]) for i, ps in enumerate(self.parent_lists) for p in ps)
        return graph

    # ---- questions -----------------------------------------------------------------------------------------------

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @cached_property
    def num_edges(self) -> int:
        return sum(map(len, self.parent_lists))

    @cached_property
    def child_lists(self) -> tuple[tuple[int, ...], ...]:
        """Indexes of the children of each label, ascending."""
        children: list[list[int]] = [[] for _ in self.labels]
        for i, parents in enumerate(self.parent_lists):
            for p in parents:
                children[p].append(i)
        return tuple(map(tuple, children))

    @property
    def max_depth(self) -> int:
        """Edges on the longest path from a root."""
        return int(self.depths.max(initial=0))

    @property
    def max_children(self) -> int:
        """Children of the label with most of them."""
        return max(map(len, self.child_lists), default=0)

    @property
    def roots(self) -> list[str]:
        return [self.labels[i] for i, parents in enumerate(self.parent_lists) if not parents]

    @property
    def leaves(self) -> list[str]:
        return [self.labels[i] for i, children in enumerate(self.child_lists) if not children]

    def facts(self) -> dict[str, int]:
        """Counts that identify a hierarchy; the shipped ones are tested against the `golden` table of their TOML.

        >>> Hierarchy.load("toy").facts()["max_depth"]
        3
        """
        return {
            "num_labels": self.num_labels,
            "num_edges": self.num_edges,
            "num_roots": len(self.roots),
            "num_leaves": len(self.leaves),
            "max_depth": self.max_depth,
            "max_children": self.max_children,
            "num_multi_parent": sum(len(parents) > 1 for parents in self.parent_lists),
        }

    @cached_property
    def _position(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def __contains__(self, label: object) -> bool:
        return label in self._position

    def index(self, label: str) -> int:
        """Index of a label.

        Raises:
            UnknownName: no such label; the nearest label or the label of that human name is suggested.
        """
        try:
            return self._position[label]
        except KeyError:
            by_name = [self.labels[i] for i, name in enumerate(self.names) if name == label]
            hint = f" The label named so is {by_name[0]!r}." if by_name else nearest(label, self.labels)
            raise UnknownName(f"label {label!r} is not in the hierarchy {self.name!r}.{hint}") from None

    def ancestor_ids(self, index: int) -> NDArray[np.int32]:
        """Indexes of all ancestors of a label, ascending."""
        return self.ancestor_index[self.ancestor_start[index] : self.ancestor_start[index + 1]]

    def ancestors(self, label: str) -> list[str]:
        """All labels above, nearest to the root first, each once.

        >>> Hierarchy.load("toy").ancestors("dog")
        ['animal', 'pet']
        """
        return [self.labels[i] for i in self.ancestor_ids(self.index(label))]

    def descendants(self, label: str) -> list[str]:
        """All labels below, each once, in index order.

        >>> Hierarchy.load("toy").descendants("cat")
        ['house cat']
        """
        seen: set[int] = set()
        todo = [self.index(label)]
        while todo:
            for child in self.child_lists[todo.pop()]:
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
        return [self.labels[i] for i in sorted(seen)]

    def parents(self, label: str) -> list[str]:
        return [self.labels[i] for i in self.parent_lists[self.index(label)]]

    def children(self, label: str) -> list[str]:
        return [self.labels[i] for i in self.child_lists[self.index(label)]]

    def depth(self, label: str) -> int:
        """Edges on the longest path from a root to the label."""
        return int(self.depths[self.index(label)])

    # ---- targets -------------------------------------------------------------------------------------------------

    def fill_in(self, label_lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Given labels with all their ancestors, sparse.

        Args:
            label_lists: label indexes of each image.

        Returns:
            start: (n + 1,) where each image's labels begin.
            index: label indexes of all images in turn, ascending within an image, each once.
        """
        rows = [self._closure(labels) for labels in label_lists]
        start = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=start[1:])
        index = np.concatenate(rows) if rows else np.empty(0, np.int32)
        return start, index.astype(np.int32)

    def multi_hot(self, label_lists: Sequence[Sequence[str | int]]) -> NDArray[np.bool_]:
        """Targets of images with ancestors filled in, dense.

        Args:
            label_lists: labels (or label indexes) of each image.

        Returns:
            (n, num_labels) bool.

        Raises:
            UnknownName: a label that is not in the hierarchy.
            BadInput: a label index out of range.

        >>> Hierarchy.load("toy").multi_hot([["dog"], []]).sum(axis=1)
        array([3, 0])
        """
        ids = [[self.index(x) if isinstance(x, str) else x for x in labels] for labels in label_lists]
        for labels in ids:
            for i in labels:
                if not 0 <= i < self.num_labels:
                    raise BadInput(f"label indexes must be in 0..{self.num_labels - 1}. Got {i}.")
        start, index = self.fill_in(ids)
        out = np.zeros((len(ids), self.num_labels), np.bool_)
        out[np.repeat(np.arange(len(ids)), np.diff(start)), index] = True
        return out

    def _closure(self, labels: Sequence[int]) -> NDArray[Any]:
        if len(labels) == 1:  # ancestors are ascending and come before their descendant
            return np.append(self.ancestor_ids(labels[0]), np.int32(labels[0]))
        parts = [np.asarray(labels, np.int32), *(self.ancestor_ids(i) for i in labels)]
        return np.unique(np.concatenate(parts))


def shipped() -> list[str]:
    """Names of the hierarchies that come with the library.

    >>> "toy" in shipped()
    True
    """
    return sorted(path.stem for path in SHIPPED.glob("*.tsv"))


def shipped_facts(name: str) -> dict[str, Any]:
    """Title, source, licence and golden counts of a shipped hierarchy."""
    path = SHIPPED / f"{name}.toml"
    if not path.exists():
        raise one_of("shipped hierarchy", name, shipped(), error=UnknownName)
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _two_columns(path: Path, header: tuple[str, str]) -> list[tuple[str, str]]:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Check the path.")
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or tuple(lines[0].split("\t")) != header:
        raise BadInput(f"{path} line 1: expected the columns {' and '.join(header)} split by a tab. Got {lines[:1]}.")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != 2 or not cells[0]:
            raise BadInput(f"{path} line {number}: expected {' and '.join(header)}. Got {line!r}.")
        rows.append((cells[0], cells[1]))
    return rows


def _list(cell: str) -> list[str]:
    return [item for item in cell.split("|") if item]


def _depths(parent_of: Sequence[Sequence[int]], labels: Sequence[str], where: str) -> list[int]:
    """Longest-path depth by peeling off labels whose parents are all done; no recursion."""
    children: list[list[int]] = [[] for _ in parent_of]
    waiting = [len(parents) for parents in parent_of]
    for i, parents in enumerate(parent_of):
        for p in parents:
            children[p].append(i)
    depth = [0] * len(parent_of)
    ready = [i for i, n in enumerate(waiting) if n == 0]
    done = 0
    while ready:
        i = ready.pop()
        done += 1
        for child in children[i]:
            depth[child] = max(depth[child], depth[i] + 1)
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    if done < len(parent_of):
        import networkx as nx

        left = {i for i, n in enumerate(waiting) if n > 0}
        graph = nx.DiGraph([(p, i) for i in left for p in parent_of[i] if p in left])
        cycle = [labels[parent] for parent, _ in nx.find_cycle(graph)]
        shown = " -> ".join([*cycle[:10], *(["..."] if len(cycle) > 10 else []), cycle[0]])
        raise CycleError(f"{where}: {len(cycle)} labels form a cycle: {shown}. Remove one of these parents.")
    return depth


def _ancestor_table(parent_lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    rows: list[NDArray[np.int32]] = []
    empty = np.empty(0, np.int32)
    for parents in parent_lists:
        if not parents:
            rows.append(empty)
        elif len(parents) == 1:
            rows.append(np.append(rows[parents[0]], np.int32(parents[0])))
        else:
            own = np.array(parents, np.int32)
            rows.append(np.unique(np.concatenate([own, *(rows[p] for p in parents)])))
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=start[1:])
    return start, np.concatenate(rows) if rows else empty
