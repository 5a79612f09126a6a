"""The same images with few labels: of everything an image is labelled with, only what a small vocabulary can say.

No image is copied or lost; one that the vocabulary says nothing of is left without a label. Streams by row group.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from jftdata import storage
from jftdata.catalog import FORMAT, SCHEMA, Catalog
from jftdata.errors import BadArgument
from jftdata.hierarchy import Hierarchy
from jftdata.rewrite import rewrite


def few_labels(catalog: Catalog, labels: Sequence[str], *, out: Path | str) -> Catalog:
    """Write a catalog whose hierarchy is a flat one of some labels.

    Args:
        catalog: the images.
        labels: the vocabulary; an image has those of it that it was given, and those that lie above what it was given.
        out: folder of the new catalog; there already and made in the same way, it is returned at once.

    Returns:
        A catalog of the same images, without scores.

    Raises:
        BadArgument: no labels, or one twice.
        UnknownName: a label that the catalog's hierarchy does not have; the nearest is suggested.
        OutputExists: `out` is there, made otherwise.

    Source: Sun et al. 2017, section 5.2, Table 6.
    """
    if not labels or len(set(labels)) < len(labels):
        raise BadArgument(f"`labels` must be some different labels. Got {list(labels)}.")
    tree, few = catalog.hierarchy, Hierarchy.flat(labels)
    asked = {tree.index(label): few.index(label) for label in labels}
    says = pl.DataFrame(
        [
            (label, asked[up])
            for label in range(tree.num_labels)
            for up in (label, *tree.ancestor_ids(label).tolist())
            if up in asked
        ],
        schema={"given": pl.Int32, "says": pl.Int32},
        orient="row",
    )

    def changed(rows: pl.DataFrame) -> pl.DataFrame:
        given = rows.select("image", given="labels").explode("given").join(says, on="given")
        said = given.group_by("image").agg(pl.col("says").unique().sort())
        return rows.join(said, on="image", how="left", maintain_order="left").select(
            "image", kept=True, labels=pl.col("says").fill_null([]), scores=pl.lit(None, SCHEMA["scores"]),
            negatives=pl.lit([], SCHEMA["negatives"]),
        )  # fmt: skip

    made_with = {"source": "few_labels", "labels": sorted(labels)}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={"catalog": catalog.fingerprint}) as build:
        if build is not None:
            counted = rewrite(catalog, changed, build.folder / "images", what="few labels")
            few.save(build.folder / "hierarchy.tsv")
            for name in ("rejected.parquet", "duplicates.parquet"):
                shutil.copyfile(catalog.path / name, build.folder / name)
            build.facts = {**catalog.sidecar.facts, **counted}
    return Catalog.open(out)
