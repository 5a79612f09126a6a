"""The label hierarchy: a DAG of labels, parents first, with the table of every label's ancestors.

A label may have several parents and there may be several roots. Label indexes follow (depth, label), so they do not
depend on the order of the rows in a file. On disk it is one TSV (`label, name, parents, aliases`; lists split by `|`);
a shipped hierarchy has a TOML beside it with source, licence and golden counts. The only module that imports networkx.
Cost: 75,000 labels load, check and get their ancestor table in about 0.6 s.
"""

import itertools
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from jftdata import ragged, storage
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
        labels = [row[0] for row in rows]
        _check_text(rows, where)
        position = {label: i for i, label in enumerate(labels)}
        if len(position) < len(rows):
            twice = next(label for i, label in enumerate(labels) if position[label] != i)
            raise BadInput(f"{where}: label {twice!r} is listed twice. Unite its rows.")
        parents: list[int] = []
        start = np.zeros(len(rows) + 1, np.int64)
        for i, row in enumerate(rows):
            for parent in dict.fromkeys(row[2]) if len(row[2]) > 1 else row[2]:
                if parent == row[0]:
                    raise BadInput(f"{where}: label {parent!r} is its own parent. Remove that parent.")
                at = position.get(parent)
                if at is None:
                    raise UnknownName(
                        f"{where}: label {row[0]!r} has the unknown parent {parent!r}."
                        f"{nearest(parent, position)} Add a row for it."
                    )
                parents.append(at)
            start[i + 1] = len(parents)
        parent_index = np.array(parents, np.int32)
        depth = _depths(start, parent_index, labels, where)
        by_name = np.empty(len(rows), np.int64)
        by_name[sorted(range(len(rows)), key=labels.__getitem__)] = np.arange(len(rows))
        order = np.lexsort((by_name, depth))
        new = np.empty(len(rows), np.int32)
        new[order] = np.arange(len(rows), dtype=np.int32)
        start, parent_index = ragged.take_rows(start, new[parent_index], order)
        parent_index = ragged.sort_rows(start, parent_index)
        cut, flat = start.tolist(), parent_index.tolist()
        ancestor_start, ancestor_index = _ancestor_table(start, parent_index, depth[order])
        chosen = order.tolist()
        return cls(
            name=name,
            labels=tuple(labels[i] for i in chosen),
            names=tuple(rows[i][1] or labels[i] for i in chosen),
            aliases=tuple(tuple(rows[i][3]) for i in chosen),
            parent_lists=tuple(tuple(flat[cut[i] : cut[i + 1]]) for i in range(len(rows))),
            depths=depth[order],
            ancestor_start=ancestor_start,
            ancestor_index=ancestor_index,
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

    def levels(self) -> list[list[str]]:
        """Labels by depth, roots first.

        >>> [len(level) for level in Hierarchy.load("toy").levels()]
        [3, 4, 4, 1]
        """
        cuts = np.searchsorted(self.depths, np.arange(self.max_depth + 2)).tolist()
        return [list(self.labels[first:last]) for first, last in itertools.pairwise(cuts)]

    def subtree_sizes(self) -> NDArray[np.int64]:
        """(num_labels,) labels below each label, each once: the paper's 1,165 kinds of animal.

        >>> tree = Hierarchy.load("toy")
        >>> int(tree.subtree_sizes()[tree.index("cat")])
        1
        """
        return np.bincount(self.ancestor_index, minlength=self.num_labels)

    def most_children(self) -> str:
        """The label with most children; the first of several.

        Raises:
            BadInput: the hierarchy has no labels.
        """
        if not self.labels:
            raise BadInput(f"the hierarchy {self.name!r} has no labels.")
        return self.labels[max(range(self.num_labels), key=lambda i: (len(self.child_lists[i]), -i))]

    def lowest_common_ancestors(self, a: str, b: str) -> list[str]:
        """Labels at or above both with none of their own kind below them; several in a DAG, none in separate trees.

        >>> Hierarchy.load("toy").lowest_common_ancestors("house cat", "dog")
        ['pet']
        """
        common = np.intersect1d(self._upward(self.index(a)), self._upward(self.index(b)), assume_unique=True)
        above = np.concatenate([np.empty(0, np.int32), *(self.ancestor_ids(i) for i in common.tolist())])
        return [self.labels[i] for i in np.setdiff1d(common, above).tolist()]

    def path(self, a: str, b: str) -> list[str]:
        """A shortest way from `a` up to a common ancestor and down to `b`, both ends included; empty without one.

        Of several shortest ways, the one over the common ancestor, and then the parents, of lowest index.

        >>> Hierarchy.load("toy").path("house cat", "dog")
        ['house cat', 'cat', 'pet', 'dog']
        """
        up, down = self._steps_up(self.index(a)), self._steps_up(self.index(b))
        common = up.keys() & down.keys()
        if not common:
            return []
        top = min(common, key=lambda i: (up[i][0] + down[i][0], i))
        way, back = [top], [top]
        while up[way[-1]][0]:
            way.append(up[way[-1]][1])
        while down[back[-1]][0]:
            back.append(down[back[-1]][1])
        return [self.labels[i] for i in (*reversed(way), *back[1:])]

    def distance(self, a: str, b: str) -> int | None:
        """Edges on a shortest way from `a` to `b` over a common ancestor; None without one.

        >>> Hierarchy.load("toy").distance("house cat", "dog")
        3
        """
        way = self.path(a, b)
        return len(way) - 1 if way else None

    def _upward(self, index: int) -> NDArray[np.int32]:
        return np.append(self.ancestor_ids(index), np.int32(index))

    def _steps_up(self, index: int) -> dict[int, tuple[int, int]]:
        """Every label at or above: the fewest edges up to it, and the label below it on that way."""
        steps = {index: (0, index)}
        edge = [index]
        while edge:
            found: dict[int, tuple[int, int]] = {}
            for i in sorted(edge):
                for parent in self.parent_lists[i]:
                    if parent not in steps:
                        found.setdefault(parent, (steps[i][0] + 1, i))
            steps |= found
            edge = list(found)
        return steps

    # ---- targets -------------------------------------------------------------------------------------------------

    def multi_hot(self, label_lists: Sequence[Sequence[str | int]]) -> NDArray[np.bool_]:
        """(n, num_labels) bool targets with ancestors filled in; sparse, on a GPU or three-valued: `hierarchy.targets`.

        >>> Hierarchy.load("toy").multi_hot([["dog"], []]).sum(axis=1)
        array([3, 0])
        """
        from jftdata.hierarchy import targets

        return targets.multi_hot(self, label_lists)


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
    return [item for item in cell.split("|") if item] if cell else []


def _check_text(rows: Sequence[tuple[str, str, list[str], list[str]]], where: str) -> None:
    """Raise BadInput for an empty label, or a character that splits cells of the TSV."""
    text = "".join([cell for row in rows for cell in (row[0], *row[3])])  # one look at all of it first
    if any(c in text for c in "\t\n\r|") or any(c in "".join([row[1] for row in rows]) for c in "\t\n\r"):
        for label, human, _, aliases in rows:
            if set("\t\n\r|") & set(label):
                raise BadInput(f"{where}: label {label!r} holds a tab, a line break or `|`. Rename it.")
            if set("\t\n\r") & set(human) or any(set("\t\n\r|") & set(alias) for alias in aliases):
                raise BadInput(f"{where}: a name or alias of {label!r} holds a tab, a line break or `|`. Change it.")
    if any(not row[0] or row[0].isspace() for row in rows):
        raise BadInput(f"{where}: a label is empty. Give every row a label.")


def _depths(
    start: NDArray[np.int64], parents: NDArray[np.int32], labels: Sequence[str], where: str
) -> NDArray[np.int32]:
    """Longest-path depth of each label: the round in which the last of its parents has been peeled off."""
    num = len(start) - 1
    waiting = np.diff(start)
    child_start, child = ragged.transpose(start, parents, num)
    depth = np.zeros(num, np.int32)
    ready = np.flatnonzero(waiting == 0)
    done, round_ = 0, 0
    while len(ready):
        depth[ready] = round_
        done += len(ready)
        freed = ragged.take_rows(child_start, child, ready)[1]
        np.subtract.at(waiting, freed, 1)
        ready = ragged.unique(freed[waiting[freed] == 0])
        round_ += 1
    if done < num:
        import networkx as nx

        left = waiting > 0
        owner = ragged.owners(start)
        kept = left[owner] & left[parents]
        graph = nx.DiGraph(zip(parents[kept].tolist(), owner[kept].tolist(), strict=True))
        cycle = [labels[parent] for parent, _ in nx.find_cycle(graph)]
        shown = " -> ".join([*cycle[:10], *(["..."] if len(cycle) > 10 else []), cycle[0]])
        raise CycleError(f"{where}: {len(cycle)} labels form a cycle: {shown}. Remove one of these parents.")
    return depth


def _ancestor_table(
    start: NDArray[np.int64], parents: NDArray[np.int32], depths: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Ancestors of every label, ascending, level by level: a label's are its parents' and the parents themselves."""
    num = len(depths)
    sizes = np.zeros(num, np.int64)
    out_start = np.zeros(num + 1, np.int64)
    levels = np.searchsorted(depths, np.arange(1, depths.max(initial=0) + 2))
    index = np.empty(num, np.int32)  # grows by doubling
    first = int(levels[0]) if len(levels) else 0
    for last in levels[1:].tolist():
        own = parents[start[first] : start[last]]
        count = np.diff(start[first : last + 1])
        owner = ragged.owners(start[first : last + 1])
        # one entry a (label, parent): the parent's ancestors, then the parent, which comes after all of them
        lengths = sizes[own]
        total = np.concatenate([[0], np.cumsum(lengths + 1)])
        entries = np.empty(int(total[-1]), np.int32)
        entries[total[1:] - 1] = own
        is_parent = np.zeros(len(entries), np.bool_)
        is_parent[total[1:] - 1] = True
        entries[~is_parent] = index[ragged.ranges(out_start[own], lengths)]
        who = np.repeat(owner, lengths + 1)
        if (count > 1).any():
            key = ragged.unique(who * np.int64(num) + entries)
            who, entries = key // num, (key % num).astype(np.int32)
        sizes[first:last] = np.bincount(who, minlength=last - first)
        np.cumsum(sizes[first:last], out=out_start[first + 1 : last + 1])
        out_start[first + 1 : last + 1] += out_start[first]
        if out_start[last] > len(index):
            index = np.concatenate([index, np.empty(max(len(index), int(out_start[last])), np.int32)])
        index[out_start[first] : out_start[last]] = entries
        first = last
    return out_start, index[: out_start[-1]].copy()
