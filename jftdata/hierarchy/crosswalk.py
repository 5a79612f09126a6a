"""Which labels of one set mean the same as labels of another: candidates, a file to judge them in, and the map that results.

Candidates are found by id, WordNet synset, name, alias and simple English plurals; a person decides. A `Crosswalk` lists
every label of its source, those without a match too, so that nothing is lost unseen. Cost: 75,000 against 20,000 labels
in about 3 s.

How many of ImageNet's 1,000 labels another hierarchy has (Sun et al. 2017 find 941 in JFT): keep the candidates you trust
and count labels, `match(imagenet, other).filter(pl.col("confidence") >= 0.9)["label"].n_unique()`; or judge all of them
with `write_review`, and count the labels with targets in what `read_review` returns.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from jftdata import storage
from jftdata.errors import BadArgument, BadInput, MissingInput, UnknownName, nearest, one_of
from jftdata.hierarchy.core import SHIPPED, Hierarchy

if TYPE_CHECKING:
    import polars as pl

CONFIDENCE = {
    "id": 1.0,
    "synset": 0.98,
    "name": 0.95,
    "normalised name": 0.9,
    "alias": 0.8,
    "plural": 0.7,
    "qualifier": 0.5,
}
"""How a candidate was found, and our order of trust; not a probability."""
OTHER_WORDNET = 0.4
"""Confidence of one synset number in two notations whose names disagree: perhaps of two WordNet versions."""
HOW = (*CONFIDENCE, "broader", "same", "hand", "none")
"""What a map may say: how it was found; or `same`, `broader` (a label above the right one), `hand`, `none` (no match)."""
REVIEW = ("keep", "label", "name", "candidate", "candidate_name", "how", "confidence")
COLUMNS = ("label", "to", "how")

_BY_NAME = ("name", "normalised name", "alias", "plural", "qualifier")
_SYNSET = re.compile(r"(?:^|[:/])([nvars])(\d{8})$|(?:^|-)(\d{8})-([nvars])$")
_JOINED = re.compile(r"[\s_\-‐-―'’.,/()]+")
_QUALIFIER = re.compile(r"\s*\([^()]*\)")
_IRREGULAR = {
    "children": "child", "feet": "foot", "geese": "goose", "men": "man", "mice": "mouse", "oxen": "ox", "people": "person",
    "bikinis": "bikini", "skis": "ski", "taxis": "taxi", "teeth": "tooth", "women": "woman",
    **{f"{stem}ves": f"{stem}f" for stem in ("cal", "hal", "hoo", "lea", "loa", "scar", "shel", "thie", "wol")},
    **{f"{stem}ves": f"{stem}fe" for stem in ("kni", "li", "wi")},
}  # fmt: skip


@dataclass(frozen=True)
class Crosswalk:
    """Labels of one set and the labels of another that they mean."""

    name: str
    targets: Mapping[str, tuple[str, ...]]
    """Targets of every source label, in the order of the file; none for a label without a match."""
    how: Mapping[tuple[str, str], str]
    """How each (label, target) was found or decided, one of `HOW`."""

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Read a shipped map by name, or a TSV file by path.

        Args:
            name: such as `voc20_to_coco80` (see `shipped_maps`), or the path of a `.tsv`.

        Raises:
            UnknownName: no such shipped map.
            MissingInput: no such file.
            BadInput: wrong columns, a pair given twice, or a label both with and without a match.

        >>> Crosswalk.load("voc20_to_coco80").apply(["tvmonitor", "sofa"])
        ['tv', 'couch']
        """
        path = Path(name)
        if path.suffix != ".tsv" and len(path.parts) == 1:
            path = SHIPPED / "maps" / f"{name}.tsv"
            if not path.exists():
                raise one_of("shipped map", str(name), shipped_maps(), error=UnknownName)
        rows = [(number, label, to, how) for number, (label, to, how) in _rows(path, COLUMNS)]
        return cls._build(path, rows)

    @classmethod
    def _build(cls, path: Path, rows: Iterable[tuple[int, str, str, str]]) -> Self:
        """Rows of (line number, label, target or nothing, how)."""
        targets: dict[str, list[str]] = {}
        hows: dict[tuple[str, str], str] = {}
        line_of: dict[tuple[str, str], int] = {}
        for number, label, to, how in rows:
            if not label:
                raise BadInput(f"{path} line {number}: the label is empty. Give every row a label.")
            if how not in HOW:
                raise BadInput(
                    f"{path} line {number}: how {how!r} is not known.{nearest(how, HOW)} Known: {', '.join(HOW)}."
                )
            if (how == "none") != (not to):
                raise BadInput(
                    f"{path} line {number}: {label!r} has how {how!r} and target {to!r}. Only `none` has none."
                )
            if (label, to) in line_of:
                raise BadInput(
                    f"{path} line {number}: {label!r} to {to!r} is in line {line_of[label, to]} too. Keep one."
                )
            if label in targets and (not to or not targets[label]):
                raise BadInput(f"{path} line {number}: {label!r} is both with and without a match. Keep one.")
            line_of[label, to] = number
            targets.setdefault(label, [])
            if to:
                targets[label].append(to)
                hows[label, to] = how
        return cls(path.stem, {label: tuple(tos) for label, tos in targets.items()}, hows)

    def save(self, path: Path | str) -> Path:
        """Write the TSV, whole or not at all; labels without a match have one row too."""
        path = Path(path)
        lines = ["\t".join(COLUMNS)]
        for label, tos in self.targets.items():
            lines += ["\t".join((label, to, self.how[label, to])) for to in tos] or [f"{label}\t\tnone"]
        storage.write_text(path, "\n".join(lines) + "\n")
        return path

    def apply(self, labels: Iterable[str]) -> list[str]:
        """Targets of some labels, each once, in the order they come; a label without a match gives none.

        Raises:
            UnknownName: a label that the map does not list.
        """
        found: dict[str, None] = {}
        for label in labels:
            if label not in self.targets:
                hint = nearest(label, self.targets)
                raise UnknownName(
                    f"label {label!r} is not in the map {self.name!r}.{hint} Add a row for it, `none` if need be."
                )
            found.update(dict.fromkeys(self.targets[label]))
        return list(found)

    def check(self, a: Hierarchy | Sequence[str], b: Hierarchy | Sequence[str]) -> None:
        """Check that the map goes from labels of `a` to labels of `b`.

        Raises:
            UnknownName: a label that its side does not have.
        """
        for label, tos in self.targets.items():
            for what, x, side in (("label", label, a), *(("target", to, b) for to in tos)):
                if x not in side:
                    raise UnknownName(f"{what} {x!r} of the map {self.name!r} is not known.{nearest(x, _labels(side))}")


def shipped_maps() -> list[str]:
    """Names of the maps that come with the library, judged by hand.

    >>> "coco80_to_world" in shipped_maps()
    True
    """
    return sorted(path.stem for path in (SHIPPED / "maps").glob("*.tsv"))


def match(a: Hierarchy | Sequence[str], b: Hierarchy | Sequence[str], *, max_candidates: int = 10) -> "pl.DataFrame":
    """Candidates in `b` for every label of `a`.

    Names are compared as they are; then without case, spaces, hyphens and underscores; then as aliases (a label itself and
    each part of a name like `object, physical object` count as such); then in the singular; then without what stands in
    brackets. `confidence` is that of the best way in which two labels agree.

    Args:
        a: a hierarchy or labels.
        b: a hierarchy or labels.
        max_candidates: at most so many a label, the best ones.

    Returns:
        label, candidate, how, confidence; in the order of `a`, then by falling confidence, then by candidate. A label
        without candidates has one row with null in the last three columns.

    Raises:
        BadArgument: `max_candidates` below 1.
        BadInput: a label given twice, or one with a tab or line break.

    >>> match(["dining_table", "mice", "yeti"], ["dining table", "mouse"])["candidate"].to_list()
    ['dining table', 'mouse', None]
    """
    import polars as pl

    if max_candidates < 1:
        raise BadArgument(f"`max_candidates` must be at least 1. Got {max_candidates}.")
    labels, others = _labels(a), _labels(b)
    forms, other_forms = _forms(a), _forms(b)
    known = set(others)
    by_form, by_synset = _by_form(others, other_forms, max_candidates), _by_synset(others)
    position = {label: i for i, label in enumerate(others)}
    rows: list[tuple[str, str | None, str | None, float | None]] = []
    for at, label in enumerate(labels):
        found: dict[str, tuple[float, str]] = {}
        for form, level in forms[at].items():
            for other_level, candidates in enumerate(by_form.get(form, ())):
                how = _BY_NAME[max(level, other_level)]
                for candidate in candidates:
                    found[candidate] = max(found.get(candidate, (0.0, "")), (CONFIDENCE[how], how))
        for candidate, notation in by_synset.get(_synset(label)[0], ()) if _synset(label)[0] else ():
            agree = notation == _synset(label)[1] or candidate in found
            nameless = forms[at].keys() <= {_form(label), "\0" + label} or other_forms[position[candidate]].keys() <= {
                _form(candidate),
                "\0" + candidate,
            }
            sure = CONFIDENCE["synset"] if agree or nameless else OTHER_WORDNET
            found[candidate] = max(found.get(candidate, (0.0, "")), (sure, "synset"))
        if label in known:
            found[label] = (CONFIDENCE["id"], "id")
        best = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))[:max_candidates]
        rows += [(label, candidate, how, sure) for candidate, (sure, how) in best] or [(label, None, None, None)]
    schema = {"label": pl.String, "candidate": pl.String, "how": pl.String, "confidence": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def write_review(
    matches: "pl.DataFrame",
    path: Path | str,
    *,
    a: Hierarchy | None = None,
    b: Hierarchy | None = None,
) -> Path:
    """Write candidates as a TSV in which a person decides.

    The column `keep` says `keep` or `drop`. Where the best candidate has a confidence of 0.9 or more and no rival as good,
    it is set to keep and the others to drop; elsewhere it is left empty and has to be filled in. To give another candidate,
    add a row with the label, the candidate and `keep`; its `how` may say `broader`.

    Args:
        matches: what `match` returns, or part of its rows.
        path: the TSV.
        a: tells the names of labels.
        b: tells the names of candidates.
    """
    import polars as pl

    top = pl.col("confidence").max().over("label")
    best = pl.col("confidence") == top
    clear = (top >= CONFIDENCE["normalised name"]) & (best.sum().over("label") == 1)
    keep = (
        pl.when(pl.col("candidate").is_null()).then(pl.lit("drop"))
        .when(clear).then(pl.when(best).then(pl.lit("keep")).otherwise(pl.lit("drop")))
        .otherwise(pl.lit(""))
    )  # fmt: skip
    lines = ["\t".join(REVIEW)]
    for decided, label, candidate, how, sure in matches.select(
        keep.alias("keep"), "label", "candidate", "how", "confidence"
    ).iter_rows():
        name = a.names[a.index(label)] if a is not None else ""
        candidate_name = b.names[b.index(candidate)] if b is not None and candidate is not None else ""
        shown = "" if sure is None else f"{sure:g}"
        lines.append("\t".join((decided, label, name, candidate or "", candidate_name, how or "", shown)))
    path = Path(path)
    storage.write_text(path, "\n".join(lines) + "\n")
    return path


def read_review(path: Path | str, a: Hierarchy | Sequence[str], b: Hierarchy | Sequence[str]) -> Crosswalk:
    """Read a judged file of `write_review` into a map from `a` to `b`.

    Raises:
        MissingInput: no such file.
        UnknownName: a label or candidate that its side does not have.
        BadInput: wrong columns, an undecided row, a pair judged twice, `keep` without a candidate, or a label of `a` without
            any row.
    """
    path = Path(path)
    labels, candidates = set(_labels(a)), set(_labels(b))
    line_of: dict[tuple[str, str], int] = {}
    undecided: list[int] = []
    kept: dict[str, list[tuple[int, str, str, str]]] = {}
    for number, (keep, label, _, candidate, _, how, _) in _rows(path, REVIEW):
        if label not in labels:
            raise UnknownName(f"{path} line {number}: label {label!r} is not known.{nearest(label, labels)}")
        if candidate and candidate not in candidates:
            raise UnknownName(
                f"{path} line {number}: candidate {candidate!r} is not known.{nearest(candidate, candidates)}"
            )
        if (label, candidate) in line_of:
            first = line_of[label, candidate]
            raise BadInput(
                f"{path} line {number}: {label!r} to {candidate!r} is judged in line {first} too. Remove one row."
            )
        if keep not in ("keep", "drop", ""):
            raise BadInput(f"{path} line {number}: `keep` must say keep or drop. Got {keep!r}.")
        if keep == "keep" and not candidate:
            raise BadInput(f"{path} line {number}: {label!r} is to keep, but has no candidate. Give one or say drop.")
        line_of[label, candidate] = number
        kept.setdefault(label, [])
        if not keep:
            undecided.append(number)
        elif keep == "keep":
            kept[label].append((number, label, candidate, how or "hand"))
    if undecided:
        raise BadInput(
            f"{path}: {len(undecided)} rows say neither keep nor drop, the first in line {undecided[0]}. Decide them."
        )
    without = [label for label in _labels(a) if label not in kept]
    if without:
        raise BadInput(
            f"{path}: labels are without any row, the first of {len(without)} is {without[0]!r}. Add rows that say drop."
        )
    rows = [row for label in _labels(a) for row in kept[label] or [(0, label, "", "none")]]
    return Crosswalk._build(path, rows)


def _by_form(others: Sequence[str], other_forms: Sequence[Mapping[str, int]], most: int) -> dict[str, list[list[str]]]:
    """Candidates by form and level, ascending; more than `most` of one form and level could never be chosen."""
    found: dict[str, list[list[str]]] = {}
    for at in sorted(range(len(others)), key=others.__getitem__):
        for form, level in other_forms[at].items():
            levels = found.setdefault(form, [[] for _ in _BY_NAME])
            if len(levels[level]) < most:
                levels[level].append(others[at])
    return found


def _by_synset(others: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for label in others:
        synset, notation = _synset(label)
        if synset:
            found.setdefault(synset, []).append((label, notation))
    return found


def _synset(label: str) -> tuple[str, int]:
    """Part of speech and number of a WordNet id, and which notation it is in; empty for other labels.

    >>> _synset("n02084071"), _synset("oewn-02084071-n"), _synset("dog")
    (('n02084071', 1), ('n02084071', 2), ('', 0))
    """
    hit = _SYNSET.search(label)
    if hit is None:
        return "", 0
    kind, number = (hit[1], hit[2]) if hit[1] else (hit[4], hit[3])
    return ("a" if kind == "s" else kind) + number, 1 if hit[1] else 2


def _forms(side: Hierarchy | Sequence[str]) -> list[dict[str, int]]:
    """How each label may be written, with the place in `_BY_NAME` of the way that leads there."""
    labels = _labels(side)
    names = side.names if isinstance(side, Hierarchy) else labels
    aliases = side.aliases if isinstance(side, Hierarchy) else [()] * len(labels)
    found = []
    for label, name, others in zip(labels, names, aliases, strict=True):
        forms = {"\0" + name: 0}
        parts = name.split(",") if "," in name else []
        for text, level in ((name, 1), *((other, 2) for other in (label, *others, *parts))):
            bare = _QUALIFIER.sub("", text)
            ways = [(_form(text), level), (_form(_singular(text)), max(level, 3))]
            if bare != text and bare.strip():
                ways += [(_form(bare), 4), (_form(_singular(bare)), 4)]
            for form, way in ways:
                forms[form] = min(forms.get(form, way), way)
        found.append(forms)
    return found


@lru_cache(maxsize=1 << 16)
def _form(text: str) -> str:
    """A name without case, spaces, hyphens, underscores and the like.

    >>> _form("Dining_Table"), _form("dining-table")
    ('diningtable', 'diningtable')
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _JOINED.sub("", plain) or plain


def _singular(text: str) -> str:
    """A name with its last word in the singular, by the simple rules of English.

    >>> [_singular(x) for x in ("hot dogs", "Cherries", "buses", "glass", "knives", "men", "bus")]
    ['hot dog', 'cherry', 'bus', 'glass', 'knife', 'man', 'bus']
    """
    text = text.replace("_", " ").strip()
    before, _, last = text.rpartition(" ")
    word = last.casefold()
    if word in _IRREGULAR:
        word = _IRREGULAR[word]
    elif word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes", "buses")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    else:
        return text
    return f"{before} {word}".strip()


def _labels(side: Hierarchy | Sequence[str]) -> Sequence[str]:
    if isinstance(side, Hierarchy):
        return side.labels
    seen: set[str] = set()
    for label in side:
        if label in seen or not label.strip() or set("\t\n\r") & set(label):
            what = "is listed twice" if label in seen else "is empty or holds a tab or a line break"
            raise BadInput(f"label {label!r} {what}. Give every label once, on one line.")
        seen.add(label)
    return side


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Check the path.")
    try:
        lines = [line.rstrip("\r") for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
    if tuple(lines[0].split("\t")) != tuple(columns):
        raise BadInput(f"{path} line 1: expected the columns {', '.join(columns)} split by tabs. Got {lines[0]!r}.")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            cells = line.split("\t")
            if len(cells) != len(columns):
                raise BadInput(f"{path} line {number}: expected {len(columns)} columns, got {len(cells)}: {line!r}.")
            rows.append((number, cells))
    return rows
