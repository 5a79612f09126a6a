"""A catalog with other labels: given labels taken away or replaced, as an audit or a person says.

No image is copied: the new catalog points at the bytes the old one points at, which must stay where they are. Cost: one pass
over the rows, a row group at a time, and memory for the images that change.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from jftdata import storage, tail
from jftdata.catalog import FORMAT, REJECTED, SCHEMA, Catalog
from jftdata.errors import BadInput
from jftdata.progress import say
from jftdata.rewrite import SAID, rewrite

CHANGES = {"image": pl.Int64(), "label": pl.String(), "new_label": pl.String()}
"""A given label of an image, and what it becomes; null takes it away."""


def relabel(catalog: Catalog, changes: pl.DataFrame, *, out: Path | str) -> Catalog:
    """Write a catalog in which some given labels are gone or are others.

    Args:
        catalog: the images.
        changes: columns of `CHANGES`, each pair of image and label once.
        out: folder of the new catalog; there already and made in the same way, it is returned at once.

    Returns:
        A catalog. A label that takes the place of another has no score; one that the image has already is given once. A
        verified negative that contradicts a new label goes. Images that are left without any label are left out and listed
        among the rejected, reason `no label left`, so that `num_input` is still `num_images` + `num_duplicates` +
        `num_rejected`. Among the facts are `num_removed_labels` and `num_replaced_labels`.

    Raises:
        BadInput: a column missing, a pair twice, an image that is not in the catalog, a label that it was not given; a
            catalog without pixels.
        UnknownName: a new label that is not in the hierarchy.
        OutputExists: `out` is there, made otherwise.
    """
    for column in CHANGES:
        if column not in changes.columns:
            raise BadInput(f"changes have no column {column!r}. Give the columns {', '.join(CHANGES)}.")
    changes = changes.select(pl.col(name).cast(kind) for name, kind in CHANGES.items()).sort("image", "label")
    twice = changes.filter(pl.struct("image", "label").is_duplicated())
    if len(twice):
        raise BadInput(
            f"label {twice['label'][0]!r} of image {twice['image'][0]} is changed twice. Keep one of the two."
        )
    digest = hashlib.sha256(changes.write_ndjson().encode()).hexdigest()
    made_with = {"source": "relabel", "changes": digest}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={"catalog": catalog.fingerprint}) as build:
        if build is not None:
            changed, counts = _changed(catalog, changes)
            counted = rewrite(catalog, changed, build.folder / "images", what="relabel")
            lost = changed.filter(~pl.col("kept"))
            rejected = pl.read_parquet(catalog.path / "rejected.parquet", glob=False)
            now = lost.select(
                "source", reason=pl.lit("no label left"), message=pl.lit("all its labels were taken away")
            )
            pl.concat([rejected, now.select(*REJECTED)]).write_parquet(build.folder / "rejected.parquet")
            for name in ("hierarchy.tsv", "duplicates.parquet"):
                shutil.copyfile(catalog.path / name, build.folder / name)
            before = catalog.sidecar.facts
            reasons = {**before["rejected"], **({"no label left": len(lost)} if len(lost) else {})}
            refused = {"num_rejected": before["num_rejected"] + len(lost), "rejected": reasons}
            build.facts = {**before, **counted, **counts, **refused}
    made = Catalog.open(out)
    if build is not None:
        change = tail.compare(tail.label_counts(catalog), tail.label_counts(made))
        say(
            f"{counts['num_removed_labels']:,} labels taken away, {counts['num_replaced_labels']:,} replaced, {len(lost):,} images "
            f"left without one: {tail.describe_change(change)}"
        )
    return made


def _changed(catalog: Catalog, changes: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """What each image with a change says from now on, ascending by id."""
    tree = catalog.hierarchy
    asked: dict[int, dict[int, int | None]] = {}
    for image, label, new in changes.iter_rows():
        asked.setdefault(image, {})[tree.index(label)] = None if new is None else tree.index(new)
    rows = catalog.rows(np.array(list(asked), np.int64), columns=("image", "source", *SAID))
    said = []
    for row in rows.iter_rows(named=True):
        own = asked[row["image"]]
        if unknown := sorted(own.keys() - set(row["labels"])):
            raise BadInput(
                f"image {row['image']} was not given the label {tree.labels[unknown[0]]!r}. Make the changes from this catalog."
            )
        scores = dict(zip(row["labels"], row["scores"] or [None] * len(row["labels"]), strict=True))
        kept = {label: scores[label] for label in row["labels"] if label not in own}
        new = {label for label in own.values() if label is not None}
        labels = sorted(kept.keys() | new)
        above = new.union(*(tree.ancestor_ids(x).tolist() for x in new))
        negatives = [x for x in row["negatives"] if x not in above]
        told = [kept.get(label) for label in labels] if row["scores"] is not None else None
        said.append((row["image"], row["source"], bool(labels), labels, told, negatives))
    schema = {"image": pl.Int64(), "source": pl.String(), "kept": pl.Boolean(), **{c: SCHEMA[c] for c in SAID}}
    replaced = int(changes["new_label"].is_not_null().sum())
    counts = {"num_removed_labels": len(changes) - replaced, "num_replaced_labels": replaced}
    return pl.DataFrame(said, schema=schema, orient="row").sort("image"), counts
