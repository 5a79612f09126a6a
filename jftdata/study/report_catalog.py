"""What the report says of a catalog: numbers, a contact sheet, the label tree and the long tail."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import tail
from jftdata.catalog import Catalog, label_rows
from jftdata.hashing import keyed_hash, keyed_order
from jftdata.hierarchy import Hierarchy
from jftdata.study.thumbnails import Thumbnail, thumbnails

SHEET = 24
"""Pictures on the contact sheet."""
WHOLE_TREE = 600
"""Labels up to which the whole tree is on the page; a larger one shows its top only."""
_TOP_DEPTH = 3
_TOP_CHILDREN = 8
_OPEN_DEPTH = 2


def numbers(catalog: Catalog, counts: pl.DataFrame) -> list[dict[str, str]]:
    """Tiles: a number, what it counts, and a remark."""
    facts = catalog.sidecar.facts
    used = int((counts["num_given"] > 0).sum())
    labelled = len(catalog) - facts["num_unlabelled"]
    reasons = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in sorted(facts["rejected"].items()))
    splits = [
        {"value": f"{n:,}", "what": f"images in {name!r}" if name else "images in no split", "note": ""}
        for name, n in sorted(catalog.splits.items())
    ]
    return [
        {"value": f"{len(catalog):,}", "what": "images", "note": f"of {facts['num_input']:,} read"},
        *(splits if 1 < len(splits) <= 4 else []),
        {"value": f"{used:,}", "what": "labels given", "note": f"of {catalog.hierarchy.num_labels:,} in the hierarchy"},
        {
            "value": f"{facts['num_given_labels'] / max(labelled, 1):.2f}",
            "what": "given labels an image",
            "note": f"{facts['num_unlabelled']:,} images have none",
        },
        {
            "value": f"{facts['num_duplicates']:,}",
            "what": "copies" if facts.get("num_merged") else "byte-identical copies",
            "note": "each joined to the one that was kept",
        },
        {"value": f"{facts['num_rejected']:,}", "what": "rejected", "note": reasons or "every image could be read"},
    ]


def contact_sheet(catalog: Catalog, *, seed: int) -> list[Thumbnail]:
    """Up to `SHEET` images drawn by keyed hash from all of them, in one streaming pass."""
    best: NDArray[np.int64] = np.empty(0, np.int64)
    for ids, _, _ in label_rows(catalog):
        pool = np.concatenate([best, ids])
        if len(pool) > SHEET:
            hashes = keyed_hash(pool, seed=seed, stream="report sheet")
            pool = pool[np.argpartition(hashes, SHEET)[:SHEET]]
        best = pool
    best = best[keyed_order(best, seed=seed, stream="report sheet")]
    found = thumbnails(catalog, best)
    return [found[int(i)] for i in best]


def tree(hierarchy: Hierarchy, counts: pl.DataFrame, *, num_images: int) -> dict[str, Any]:
    """The label tree as a flat list of rows that open and close folds.

    A label with several parents stands below the first of them. Labels that lead to just one other, with the same
    images, share a row with it.
    """
    names, given, filled = hierarchy.names, counts["num_given"].to_numpy(), counts["num_images"].to_numpy()
    children: list[list[int]] = [[] for _ in names]
    below = np.ones(len(names), np.int64)  # labels in each subtree, itself counted
    roots: list[int] = []
    for i, parents in enumerate(hierarchy.parent_lists):
        (children[parents[0]] if parents else roots).append(i)
    for i in range(len(names) - 1, -1, -1):  # parents come first, so children are done before their parent
        if hierarchy.parent_lists[i]:
            below[hierarchy.parent_lists[i][0]] += below[i]
    whole = len(names) <= WHOLE_TREE

    rows: list[dict[str, Any]] = []
    todo: list[tuple[str, int, int]] = []  # (what to do, label or number of labels, depth), last first

    def push(some: Sequence[int], depth: int) -> None:
        ranked = sorted(some, key=lambda i: (-filled[i], i))
        used = [i for i in ranked if filled[i]] or ranked
        shown = ranked if whole else used[: _TOP_CHILDREN * (4 if depth == 0 else 1)]
        kept = set(shown)
        hidden = int(sum(below[i] for i in ranked if i not in kept))
        if hidden:
            todo.append(("more", hidden, depth))
        todo.extend(("label", i, depth) for i in reversed(shown))

    push(roots, 0)
    while todo:
        what, i, depth = todo.pop()
        if what != "label":
            rows.append({"kind": what, "count": i})
            continue
        chain = [i]
        while len(children[i]) == 1 and filled[children[i][0]] == filled[i]:
            i = children[i][0]
            chain.append(i)
        row = {
            "names": [names[j] for j in chain],
            "count": int(filled[i]),
            "given": int(given[chain].sum()),
            "share": 100 * float(filled[i]) / max(num_images, 1),
            "also": [names[p] for j in chain for p in hierarchy.parent_lists[j][1:]],
            "open": depth < (_OPEN_DEPTH if whole else 1),
        }
        if not children[i]:
            rows.append({"kind": "leaf", **row})
        elif not whole and depth + 1 >= _TOP_DEPTH:
            rows.append({"kind": "leaf", **row, "hidden": int(below[i]) - 1})
        else:
            rows.append({"kind": "open", **row})
            todo.append(("close", 0, depth))
            push(children[i], depth + 1)
    return {
        "rows": rows,
        "facts": hierarchy.facts(),
        "whole": whole,
        "levels": None if whole else _levels(hierarchy, given),
    }


def _levels(hierarchy: Hierarchy, given: NDArray[np.int64]) -> list[dict[str, int]]:
    """Labels and given labels by depth."""
    labels = np.bincount(hierarchy.depths)
    used = np.bincount(hierarchy.depths, given > 0)
    return [{"depth": d, "labels": int(labels[d]), "used": int(used[d])} for d in range(len(labels))]


def long_tail(counts: pl.DataFrame) -> dict[str, Any]:
    """A lead sentence and the summaries of given labels and of labels with ancestors filled in."""
    given = tail.summary(counts.with_columns(num_images="num_given"))
    filled = tail.summary(counts)
    ranked = np.sort(counts["num_given"].to_numpy())[::-1]
    half = int(np.searchsorted(np.cumsum(ranked), ranked.sum() / 2)) + 1 if ranked.sum() else 0
    lead = f"{half:,} of {given['num_used']:,} labels hold half of all given labels. "
    if given["imbalance"] <= 1.05:
        lead += "Every label is given about equally often: this set has no long tail."
    else:
        unused = given["below_1"]
        rare = given["below_20"] - unused
        have = "label has" if rare == 1 else "labels have"
        lead += (
            f"{rare:,} used {have} fewer than 20 images; the commonest has {given['imbalance']:,.0f} times the rarest."
        )
    rows = [
        ("labels with an image", "num_used", "{:,}"), ("more than 100 images", "head", "{:,}"),
        ("20 to 100 images", "medium", "{:,}"), ("1 to 19 images", "rare", "{:,}"), ("no image", "below_1", "{:,}"),
        ("images of the commonest label", "most", "{:,}"), ("images of the median label", "median", "{:,.0f}"),
        ("commonest to rarest", "imbalance", "{:,.0f} : 1"), ("Gini coefficient", "gini", "{:.2f}"),
        ("effective labels", "effective_labels", "{:,.1f}"),
    ]  # fmt: skip
    for summary in (given, filled):
        summary["rare"] = summary["tail"] - summary["below_1"]
    table = [(name, form.format(given[key]), form.format(filled[key])) for name, key, form in rows]
    return {"lead": lead, "table": table}
