"""Hierarchies in the files others publish them in, told apart by their content.

Every reader makes a `Hierarchy`, so cycles, self-loops and labels listed twice are errors here too. Only is-a edges
become edges; the parts of Open Images are read on their own. Cost: 75,000 labels in about a second.
"""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from jftdata import storage
from jftdata.errors import BadInput, MissingInput, one_of
from jftdata.hierarchy.core import COLUMNS, Hierarchy, shipped

Format = Literal["tsv", "edges", "open-images", "tencent", "wordtree", "wordnet-is-a", "graphml", "labels"]
"""`tsv` is our own; `labels` is one label a line without edges and is never guessed."""

_EDGES = ("parent", "child")
_TENCENT = ("category_index", "category_id", "index_of_parent_category", "category name")
_HEADERS: dict[Format, tuple[str, ...]] = {"tsv": COLUMNS, "edges": _EDGES, "tencent": _TENCENT}
_NOT_XML = {chr(i) for i in range(32)} | {"\ufffe", "\uffff"} - set("\t\n\r")


@dataclass(frozen=True)
class Rows:
    """What a file says, as it says it: an edge listed twice is here twice."""

    format: Format
    edges: list[tuple[str, str]]
    """(parent, child) in file order."""
    labels: list[str]
    """Labels in file order; those of `edges` need not be among them."""
    names: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)

    def hierarchy(self, path: Path) -> Hierarchy:
        """The hierarchy of these rows; raises what `Hierarchy.load` raises."""
        parents: dict[str, list[str]] = {}
        for label in self.labels:
            if label in parents:
                raise BadInput(f"{path}: label {label!r} is listed twice. Unite its rows.")
            parents[label] = []
        for parent, child in self.edges:
            parents.setdefault(parent, [])
            parents.setdefault(child, []).append(parent)
        rows = [
            (x, self.names.get(x, ""), list(dict.fromkeys(ps)), self.aliases.get(x, [])) for x, ps in parents.items()
        ]
        return Hierarchy._build(path.stem, rows, where=str(path))


def read(path: Path | str, *, format: Format | None = None, names: Path | str | None = None) -> Hierarchy:
    """Read a shipped hierarchy by name, or a file of any known format.

    Args:
        path: a shipped name, or a file.
        format: one of `Format`; None tells it by the content.
        names: human names by label: `id<TAB>name` or `id,name` lines, or for `wordtree` one name a line.

    Raises:
        MissingInput: no such file.
        UnknownName: no such shipped hierarchy.
        BadInput: none of the formats, or a line that does not fit.
        CycleError: a label is its own ancestor.

    >>> read("toy").num_labels
    12
    """
    if format is None and names is None and _is_shipped_name(path):
        return Hierarchy.load(path)
    path = Path(path)
    if (format or guess(path)) == "tsv":
        if names is not None:
            raise BadInput(f"{path} holds its names itself. Leave `names` out.")
        return Hierarchy.load(path)
    return read_rows(path, format=format, names=names).hierarchy(path)


def read_open_images(path: Path | str, *, names: Path | str | None = None) -> Hierarchy:
    """Read `bbox_labels_600_hierarchy.json` of Open Images; `Subcategory` is an is-a edge, `Part` is not.

    Args:
        path: nested objects with `LabelName`, `Subcategory` and `Part`.
        names: the class descriptions, `/m/01g317,Person` lines.

    Raises:
        MissingInput, BadInput, CycleError: see `read`.
    """
    return read(path, format="open-images", names=names)


def read_open_images_parts(path: Path | str) -> list[tuple[str, str]]:
    """(whole, part) pairs of an Open Images hierarchy, ascending, each once.

    Raises:
        MissingInput, BadInput: see `read`.
    """
    _, parts, _ = _open_images(Path(path))
    return sorted(set(parts))


def read_tencent(path: Path | str) -> Hierarchy:
    """Read `dictionary_and_semantic_hierarchy.txt` of Tencent ML-Images; labels are its WordNet ids.

    The first of the synonyms is the name, the others are aliases.

    Raises:
        MissingInput, BadInput, CycleError: see `read`.
    """
    return read(path, format="tencent")


def read_wordtree(path: Path | str, *, names: Path | str | None = None) -> Hierarchy:
    """Read a WordTree such as YOLO9000's `9k.tree`: `label parent_line` lines, counted from 0, -1 for a root.

    Args:
        path: the tree.
        names: one name a line in the order of the tree, or `id<TAB>name` lines.

    Raises:
        MissingInput, BadInput, CycleError: see `read`.
    """
    return read(path, format="wordtree", names=names)


def read_wordnet_is_a(path: Path | str, *, names: Path | str | None = None) -> Hierarchy:
    """Read WordNet's is-a list as ImageNet publishes it: `parent child` lines.

    Args:
        path: the pairs, split by white space.
        names: `id<TAB>name, synonym, ...` lines (ImageNet's `words.txt`); those of other labels are left out.

    Raises:
        MissingInput, BadInput, CycleError: see `read`.
    """
    return read(path, format="wordnet-is-a", names=names)


def write_graphml(hierarchy: Hierarchy, path: Path | str) -> Path:
    """Write GraphML for graph tools, whole or not at all; edges go from parent to child, aliases are split by `|`.

    Raises:
        BadInput: a label or name with a control character, which XML cannot hold.
    """
    path = Path(path)
    for label, name, aliases in zip(hierarchy.labels, hierarchy.names, hierarchy.aliases, strict=True):
        if _NOT_XML & set("".join((label, name, *aliases))):
            raise BadInput(f"label {label!r} or a name of it holds a control character. Remove it to write GraphML.")
    import networkx as nx

    graph = hierarchy.to_networkx()
    for label, aliases in zip(hierarchy.labels, hierarchy.aliases, strict=True):
        if aliases:
            graph.nodes[label]["aliases"] = "|".join(aliases)
    with storage.atomic_path(path) as temp:
        nx.write_graphml_xml(graph, temp)
    return path


def guess(path: Path | str) -> Format:
    """The format of a file, by its ending or its first lines.

    Raises:
        MissingInput: no such file.
        BadInput: none of the formats.
    """
    path = Path(path)
    lines = _lines(path)
    first = next((line for line in lines if line.strip()), "")
    cells = tuple(first.split("\t"))
    pairs = [line.split() for line in lines if line.strip()]
    if path.suffix == ".graphml":
        return "graphml"
    if first.lstrip().startswith("{"):
        return "open-images"
    for format, header in _HEADERS.items():
        if cells == header:
            return format
    if pairs and all(len(pair) == 2 for pair in pairs):
        return "wordtree" if any(pair[1] == "-1" for pair in pairs) else "wordnet-is-a"
    raise BadInput(
        f"{path} line 1: {first[:80]!r} is not the start of a known format. "
        f"Name the format, one of: {', '.join(get_args(Format))}."
    )


def read_rows(path: Path | str, *, format: Format | None = None, names: Path | str | None = None) -> Rows:
    """Edges, labels and names of a file before they are united; raises what `read` raises but for cycles."""
    path = Path(path)
    format = format or guess(path)
    if format not in _READERS:
        raise one_of("hierarchy format", format, _READERS)
    rows = _READERS[format](path)
    if names is None:
        return rows
    found = _names(Path(names), in_order=rows.labels if format == "wordtree" else [])
    known = {*rows.labels, *(label for edge in rows.edges for label in edge)}
    if not known & found.keys():
        raise BadInput(f"{names} names none of the labels of {path}. Give the names of this hierarchy.")
    listed = list(found) if rows.format == "edges" else []  # its names file lists labels without an edge too
    united = dict(rows.names)
    aliases = dict(rows.aliases)
    for label, text in found.items():
        if text:
            united[label], aliases[label] = _synonyms(text) if format == "wordnet-is-a" else (text, [])
    return Rows(rows.format, rows.edges, [*rows.labels, *listed], united, aliases)


def _own(path: Path) -> Rows:
    Hierarchy.load(path)  # says what is wrong with which row
    edges, labels, names, aliases = [], [], {}, {}
    for line in _lines(path)[1:]:
        if line.strip():
            label, name, parents, others = line.split("\t")
            labels.append(label)
            edges += [(parent, label) for parent in parents.split("|") if parent]
            names[label] = name
            aliases[label] = [alias for alias in others.split("|") if alias]
    return Rows("tsv", edges, labels, names, aliases)


def _edges(path: Path) -> Rows:
    lines = _lines(path)
    if not lines or tuple(lines[0].split("\t")) != _EDGES:
        raise BadInput(f"{path} line 1: expected the columns parent and child split by a tab. Got {lines[:1]}.")
    edges = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != 2 or not all(cells):
            raise BadInput(f"{path} line {number}: expected a parent and a child split by a tab. Got {line!r}.")
        edges.append((cells[0], cells[1]))
    return Rows("edges", edges, [])


def _tencent(path: Path) -> Rows:
    lines = _lines(path)
    if not lines or tuple(lines[0].split("\t")) != _TENCENT:
        raise BadInput(f"{path} line 1: expected the columns {', '.join(_TENCENT)} split by tabs. Got {lines[:1]}.")
    cells = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(cells, 2):
        if len(row) != 4 or row[0] != str(number - 2):
            raise BadInput(f"{path} line {number}: expected {number - 2} and three more columns. Got {row}.")
    labels = [row[1] for row in cells]
    names, aliases = {}, {}
    for row in cells:
        names[row[1]], aliases[row[1]] = _synonyms(row[3])
    return Rows("tencent", _edges_by_line(path, labels, [row[2] for row in cells], first=2), labels, names, aliases)


def _wordtree(path: Path) -> Rows:
    cells = _pairs(path, "a label and the line of its parent")
    labels = [label for label, _ in cells]
    return Rows("wordtree", _edges_by_line(path, labels, [parent for _, parent in cells], first=1), labels)


def _is_a(path: Path) -> Rows:
    return Rows("wordnet-is-a", _pairs(path, "a parent and a child"), [])


def _labels(path: Path) -> Rows:
    return Rows("labels", [], [line for line in _lines(path) if line.strip()])


def _graphml(path: Path) -> Rows:
    import networkx as nx

    _text(path)
    try:
        graph = nx.read_graphml(path)
    except Exception as error:  # an XML parser's own, and networkx's for what is no graph
        raise BadInput(f"{path} is not GraphML ({error}). Write it again.") from error
    if not graph.is_directed():
        raise BadInput(f"{path} is an undirected graph. Direct its edges from parent to child.")
    nodes = {str(node): attrs for node, attrs in graph.nodes(data=True)}
    return Rows(
        "graphml",
        [(str(parent), str(child)) for parent, child in graph.edges()],
        list(nodes),
        {label: str(attrs["name"]) for label, attrs in nodes.items() if "name" in attrs},
        {label: str(attrs["aliases"]).split("|") for label, attrs in nodes.items() if attrs.get("aliases")},
    )


def _open_images_rows(path: Path) -> Rows:
    is_a, _, labels = _open_images(path)
    return Rows("open-images", is_a, labels)


_READERS: dict[str, Callable[[Path], Rows]] = {
    "tsv": _own,
    "edges": _edges,
    "open-images": _open_images_rows,
    "tencent": _tencent,
    "wordtree": _wordtree,
    "wordnet-is-a": _is_a,
    "graphml": _graphml,
    "labels": _labels,
}


def _open_images(path: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[str]]:
    """Is-a edges, parts and labels; a label with two parents has its subtree in the file twice, and here once."""
    try:
        top: Any = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not readable JSON ({error}). Fetch it again.") from error
    pairs: dict[str, dict[tuple[str, str], None]] = {"Subcategory": {}, "Part": {}}
    labels: dict[str, None] = {}
    todo = [top]
    while todo:
        node = todo.pop()
        label = _label_name(node, path)
        labels[label] = None
        for kind, found in pairs.items():
            below = node.get(kind, [])
            if not isinstance(below, list):
                raise BadInput(f"{path}: the {kind} of {label!r} is not a list. Fetch the file again.")
            found.update(dict.fromkeys((label, _label_name(child, path)) for child in below))
            todo += below
    return list(pairs["Subcategory"]), list(pairs["Part"]), list(labels)


def _label_name(node: Any, path: Path) -> str:
    if not isinstance(node, dict) or not isinstance(node.get("LabelName"), str):
        raise BadInput(f"{path}: {str(node)[:80]!r} has no `LabelName`. Give the Open Images hierarchy.")
    return str(node["LabelName"])


def _edges_by_line(path: Path, labels: list[str], parents: Iterable[str], *, first: int) -> list[tuple[str, str]]:
    """Edges of a file that names parents by their line, counted from 0; `first` is the line number of the first label."""
    edges = []
    for at, cell in enumerate(parents):
        if not cell.lstrip("-").isdecimal() or not -1 <= int(cell) < len(labels):
            raise BadInput(f"{path} line {at + first}: the parent must be in -1..{len(labels) - 1}. Got {cell!r}.")
        if int(cell) >= 0:
            edges.append((labels[int(cell)], labels[at]))
    return edges


def _pairs(path: Path, what: str) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(_lines(path), 1):
        cells = line.split()
        if cells and len(cells) != 2:
            raise BadInput(f"{path} line {number}: expected {what} split by white space. Got {line[:80]!r}.")
        if cells:
            pairs.append((cells[0], cells[1]))
    return pairs


def _names(path: Path, *, in_order: list[str]) -> dict[str, str]:
    lines = _lines(path)
    if lines and in_order and not any("\t" in line for line in lines):
        if len(lines) != len(in_order):
            raise BadInput(f"{path} has {len(lines)} names for {len(in_order)} labels. Give one name a line.")
        return dict(zip(in_order, lines, strict=True))
    tabs = bool(lines) and "\t" in lines[0]
    found = {}
    for number, cells in enumerate(
        csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines), 1
    ):
        if len(cells) != 2:
            raise BadInput(f"{path} line {number}: expected a label and its name. Got {cells}.")
        if number > 1 or tuple(cells) not in (("id", "name"), ("LabelName", "DisplayName")):
            found[cells[0]] = cells[1]
    return found


def _synonyms(text: str) -> tuple[str, list[str]]:
    """Name and aliases of a WordNet synset written as `name, alias, alias`."""
    name, *aliases = dict.fromkeys(part.strip() for part in text.split(","))
    return name, [alias for alias in aliases if alias]


def _lines(path: Path) -> list[str]:
    lines = [line.rstrip("\r") for line in _text(path).split("\n")]
    return lines if lines[-1] else lines[:-1]


def _text(path: Path) -> str:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Check the path.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error


def _is_shipped_name(path: Path | str) -> bool:
    bare = not Path(path).suffix and len(Path(path).parts) == 1
    return bare and (str(path) in shipped() or not Path(path).exists())
