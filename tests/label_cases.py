"""Label tables for tests: small catalogs without pixels, drawn cases, and the same table written in another order."""

import shutil
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import polars as pl
from hypothesis import strategies as st

from jftdata import storage
from jftdata.catalog import FORMAT, Catalog
from jftdata.hashing import keyed_hash
from jftdata.hierarchy import Hierarchy
from tests.strategies import dags


def label_catalog(out: Path, tree: Hierarchy, lists: list[list[str]]) -> Catalog:
    """A catalog of label lists, with ids that say nothing about the order; an existing one is replaced."""
    shutil.rmtree(out, ignore_errors=True)
    ids = (keyed_hash(np.arange(len(lists)), seed=0, stream="cases") >> np.uint64(1)).astype(np.int64)
    labels = [sorted({tree.index(label) for label in one}) for one in lists]
    rows = pl.DataFrame(
        {"image": ids, "labels": labels, "split": "train"}, schema_overrides={"labels": pl.List(pl.Int32)}
    )
    with storage.building(out, format=FORMAT, made_with={}, inputs={}) as build:
        (build.folder / "images").mkdir()
        tree.save(build.folder / "hierarchy.tsv")
        rows.sort("image").write_parquet(
            build.folder / "images" / "00000.parquet", row_group_size=max(7, len(lists) // 5)
        )
        build.facts.update(num_images=len(lists), splits={"train": len(lists)}, has_pixels=False)
    return Catalog.open(out)


def long_tail(out: Path, *, num_images: int = 3000) -> Catalog:
    """Images with one to four of the labels of CIFAR-100, inner ones too, few of them common."""
    tree = Hierarchy.load("cifar100")
    rng = np.random.default_rng(0)
    share = rng.permutation(1 / np.arange(1, tree.num_labels + 1) ** 1.5)
    number = rng.choice([0, 1, 2, 3, 4], num_images, p=[0.01, 0.79, 0.16, 0.03, 0.01])
    lists = [rng.choice(tree.labels, n, replace=False, p=share / share.sum()).tolist() for n in number]
    return label_catalog(out, tree, lists)


def shuffled(catalog: Catalog, out: Path) -> Catalog:
    """The same rows in another order and other row groups."""
    shutil.copytree(catalog.path, out)
    rows = catalog.scan().collect().sample(fraction=1.0, shuffle=True, seed=3)
    for path in catalog.files:
        (out / "images" / path.name).unlink()
    rows.write_parquet(out / "images" / "00000.parquet", row_group_size=997)
    return Catalog.open(out)


def given_labels(source: Catalog) -> dict[int, set[str]]:
    """The labels of each image."""
    rows = source.scan().select("image", "labels").collect()
    return {image: {source.hierarchy.labels[i] for i in labels} for image, labels in rows.iter_rows()}


def filled(graph: "nx.DiGraph[str]", labels: set[str]) -> set[str]:
    """Labels with all above them."""
    return labels.union(*(nx.ancestors(graph, label) for label in labels))


def counted(lists) -> Counter:
    return Counter(label for labels in lists for label in labels)


@st.composite
def labelled(draw, *, max_images=24, min_labels=0):
    """A graph of labels and label lists of some images."""
    graph = draw(dags(max_labels=8))
    one = st.lists(st.sampled_from(sorted(graph)), min_size=min_labels, max_size=4)
    return graph, draw(st.lists(one, min_size=1, max_size=max_images))
