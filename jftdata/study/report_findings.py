"""What the report says of near-duplicates, overlap with test sets and label noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from jftdata import dedup
from jftdata.catalog import Catalog
from jftdata.errors import BadInput, UnknownName, one_of
from jftdata.study.thumbnails import Thumbnail, thumbnails

PAIRS_SHOWN = 8
ROW_SHOWN = 8
CONFUSIONS_SHOWN = 12
TOP_SUSPECTS = 100
PAPER_OVERLAP = (890, 50_000)
"""ImageNet validation images with a near-duplicate in JFT-300M. Source: Sun et al. 2017, section 4.3."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Copies of one test set's images in the training set."""

    found: pl.DataFrame
    """What `dedup.find_overlap` or `overlap.find` returns."""
    num_test_images: int
    """Images of the test set."""
    test: Catalog | None = None
    """The test set's catalog; with it the copies are shown as pictures."""


def duplicates(catalog: Catalog, pairs: pl.DataFrame) -> dict[str, Any]:
    """Numbers and pictures of near-duplicate pairs; label conflicts are pairs without a label in common.

    A label and its ancestor are no conflict, and an image without a label is in none. Pairs that have a probability (`copies.find`)
    are told by it, others by their similarity.
    """
    measure = _measure(pairs)
    pairs = pairs.sort(measure, "image_a", "image_b", descending=[True, False, False])
    groups = dedup.group_pairs(pairs)
    ids = groups["image"].to_numpy()
    given = dict(catalog.rows(ids, columns=["image", "labels"]).iter_rows())
    closure = {i: {*x, *(int(a) for j in x for a in catalog.hierarchy.ancestor_ids(j))} for i, x in given.items()}
    conflict = [
        bool(given[a] and given[b] and closure[a].isdisjoint(given[b]) and closure[b].isdisjoint(given[a]))
        for a, b in pairs.select("image_a", "image_b").iter_rows()
    ]
    once = (
        pairs.with_columns(conflict=pl.Series(conflict, dtype=pl.Boolean))
        .join(groups, left_on="image_a", right_on="image", maintain_order="left")
        .unique("group", keep="first", maintain_order=True)
    )
    spread = once[np.unique(np.linspace(0, len(once) - 1, PAIRS_SHOWN).round().astype(int))] if len(once) else once
    odd = (
        once.filter("conflict")
        .join(spread, on=["image_a", "image_b"], how="anti", maintain_order="left")
        .head(PAIRS_SHOWN)
    )
    shown = pl.concat([spread, odd])
    pictures = thumbnails(catalog, np.concatenate([shown["image_a"].to_numpy(), shown["image_b"].to_numpy()]))
    num_groups = groups["group"].n_unique()
    return {
        "num_pairs": len(pairs),
        "num_groups": num_groups,
        "num_images": len(groups),
        "num_extra": len(groups) - num_groups,
        "num_conflicts": sum(conflict),
        "share": 100 * (len(groups) - num_groups) / max(len(catalog), 1),
        "measure": measure,
        "least": pairs[measure].min(),
        "spread": _pair_views(spread, pictures),
        "odd": _pair_views(odd, pictures),
    }


def overlaps(catalog: Catalog | None, found: Mapping[str, Overlap]) -> list[dict[str, Any]]:
    """Number, share and pictures of copies for each test set.

    Raises:
        BadInput: a test set without images, or with fewer than have a copy.
    """
    views = []
    for name, overlap in found.items():
        num, of = overlap.found["test_image"].n_unique(), overlap.num_test_images
        if not 0 < of >= num:
            raise BadInput(
                f"test set {name!r} has {of} images, {num} with a copy. Give `num_test_images` of the whole set."
            )
        shown = []
        if catalog is not None and overlap.test is not None and num:
            measure = _measure(overlap.found)
            ranked = overlap.found.sort(measure, "test_image", "train_image", descending=[True, False, False])
            top = ranked.select("test_image", "train_image", measure).unique(
                "test_image", keep="first", maintain_order=True
            )
            top = top.head(PAIRS_SHOWN // 2)
            left = thumbnails(overlap.test, top["test_image"].to_numpy())
            right = thumbnails(catalog, top["train_image"].to_numpy())
            shown = [
                {"a": left[a], "b": right[b], "measure": measure, "value": value, "conflict": False}
                for a, b, value in top.iter_rows()
            ]
        views.append({"name": name, "num": num, "of": of, "share": 100 * num / of, "pairs": shown})
    return views


def noise(
    catalog: Catalog, audit: pl.DataFrame, *, label: str | None, wrong_labels: pl.DataFrame | None
) -> dict[str, Any]:
    """One label's images by distance, the commonest confusions, and how many planted errors rank high.

    Raises:
        BadInput: an empty audit.
        UnknownName: `label` was not audited.
    """
    audit = audit.filter(pl.col("distance").is_not_null())
    if audit.is_empty():
        raise BadInput("the audit has no distances. Leave it out, or audit with the signal centroids.")
    label = label or _choose_label(audit)
    rows = audit.filter(pl.col("label") == label).sort("distance", "image")
    if rows.is_empty():
        raise one_of("audited label", label, audit["label"].unique(), error=UnknownName)
    planted = set() if wrong_labels is None else set(wrong_labels.select("image", "label").iter_rows())
    bins = []
    for (number,), part in rows.partition_by("bin", as_dict=True, maintain_order=True).items():
        at = np.unique(np.linspace(0, len(part) - 1, ROW_SHOWN).round().astype(int))
        bins.append({"bin": number, "rows": part[at], "low": part["distance"][0], "high": part["distance"][-1],
                     "share": 100 * int((part["verdict"] == "wrong").sum()) / len(part)})  # fmt: skip
    pictures = thumbnails(catalog, pl.concat([b["rows"]["image"] for b in bins]).to_numpy())
    for b in bins:
        b["images"] = [
            {
                "picture": pictures[row["image"]],
                "other": _name(catalog, row["other_label"])
                if row["other_label"] and row["verdict"] == "wrong"
                else None,
                "planted": (row["image"], label) in planted,
            }
            for row in b.pop("rows").iter_rows(named=True)
        ]
    name = catalog.hierarchy.names[catalog.hierarchy.index(label)]
    return {
        "label": name,
        "num_label": len(rows),
        "bins": bins,
        "num_audited": len(audit),
        "num_nearer": int((audit["verdict"] == "wrong").sum()),
        "confusions": _confusions(catalog, audit),
        "truth": _truth(audit, wrong_labels) if wrong_labels is not None else None,
    }


def _choose_label(audit: pl.DataFrame) -> str:
    """The label whose far images are nearer to another label most, and its near images least; it must fill the rows."""
    near, far = pl.col("bin") == 0, pl.col("bin") == pl.col("bin").max()
    by = audit.group_by("label").agg(
        num=pl.len(),
        bins=pl.col("bin").max() + 1,
        rise=(pl.col("verdict") == "wrong").filter(far).mean() - (pl.col("verdict") == "wrong").filter(near).mean(),
    )
    enough = by.filter(pl.col("num") >= ROW_SHOWN * pl.col("bins"))
    ranked = enough.sort("rise", "num", "label", descending=[True, True, False])
    if ranked.is_empty():
        ranked = by.sort("num", "label", descending=[True, False])
    return str(ranked["label"][0])


def _confusions(catalog: Catalog, audit: pl.DataFrame) -> list[dict[str, Any]]:
    total = audit.group_by("label").agg(of=pl.len())
    found = audit.filter((pl.col("verdict") == "wrong") & pl.col("other_label").is_not_null())
    top = found.group_by("label", "other_label").agg(num=pl.len()).join(total, on="label")
    top = top.sort("num", "label", "other_label", descending=[True, False, False]).head(CONFUSIONS_SHOWN)
    return [
        {"label": _name(catalog, r["label"]), "other": _name(catalog, r["other_label"]), "num": r["num"],
         "share": 100 * r["num"] / r["of"]}
        for r in top.iter_rows(named=True)
    ]  # fmt: skip


def _truth(audit: pl.DataFrame, wrong_labels: pl.DataFrame) -> dict[str, Any]:
    """Planted errors among the most suspicious given labels, and among all of them."""
    wrong = wrong_labels.select("image", "label").unique().with_columns(planted=True)
    hit = (
        audit.sort("wrong", "image", "label", descending=[True, False, False], nulls_last=True)
        .join(wrong, on=["image", "label"], how="left", maintain_order="left")["planted"]
        .fill_null(False)
    )
    top = min(TOP_SUSPECTS, len(hit))
    return {"top": top, "hits": int(hit.head(top).sum()), "share": 100 * float(hit.sum()) / len(hit)}


def _measure(pairs: pl.DataFrame) -> str:
    """The column that says how sure a pair is."""
    return "probability" if "probability" in pairs.columns else "similarity"


def _pair_views(pairs: pl.DataFrame, pictures: dict[int, Thumbnail]) -> list[dict[str, Any]]:
    return [
        {
            "a": pictures[r["image_a"]],
            "b": pictures[r["image_b"]],
            "measure": (measure := _measure(pairs)),
            "value": r[measure],
            "conflict": r["conflict"],
        }
        for r in pairs.iter_rows(named=True)
    ]


def _name(catalog: Catalog, label: str) -> str:
    return catalog.hierarchy.names[catalog.hierarchy.index(label)]
