"""The same images with few labels, against networkx's ancestors."""

from pathlib import Path

import networkx as nx
import polars as pl
import pytest

from jftdata import relabel, sources, storage
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.study.named.few_labels import few_labels

FEW = ["vehicle", "red", "dog", "pet"]


@pytest.fixture(scope="module")
def noisy(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The photographs under a tree with other labels, some of them with two."""
    edges = [("pet", "cat"), ("animal", "pet"), ("animal", "dog"), ("red", "bus"), ("vehicle", "bus")]
    at, tree = tmp_path_factory.mktemp("few"), Hierarchy.from_edges(edges)
    catalog = sources.from_folder(photos, hierarchy=tree, out=at / "one", workers=1)
    some = (
        catalog.scan()
        .select("image", "labels")
        .collect()
        .filter(pl.col("labels").list.first() == tree.index("bus"))[:4]
    )
    changes = pl.DataFrame({"image": some["image"], "label": "bus", "new_label": ["vehicle", "dog", "red", "animal"]})
    return relabel.relabel(catalog, changes, out=at / "few")


def said(catalog: Catalog) -> dict[int, set[str]]:
    names = catalog.hierarchy.labels
    rows = catalog.scan().select("image", "labels").collect()
    return {image: {names[i] for i in labels} for image, labels in rows.iter_rows()}


def test_an_image_keeps_what_the_vocabulary_says_of_it(noisy: Catalog, tmp_path: Path) -> None:
    limited = few_labels(noisy, FEW, out=tmp_path / "few")
    graph = noisy.hierarchy.to_networkx()
    wanted = {
        image: {up for label in labels for up in {label, *nx.ancestors(graph, label)}} & set(FEW)
        for image, labels in said(noisy).items()
    }
    assert said(limited) == wanted
    assert any(wanted.values())
    assert not all(wanted.values())  # some are left without a label, and stay
    assert limited.hierarchy.labels == tuple(sorted(FEW))
    facts = storage.verify(limited.path).facts
    assert facts["num_images"] == len(noisy)
    assert facts["num_given_labels"] == sum(map(len, wanted.values()))
    assert facts["num_unlabelled"] == sum(not labels for labels in wanted.values())
    row = limited.scan().select("shard", "offset", "length", "image").first().collect().row(0)
    assert limited.read(*row[:3]) == noisy.read(
        *noisy.rows(limited.images()[:1], columns=["shard", "offset", "length"]).row(0)
    )
    assert few_labels(noisy, FEW, out=tmp_path / "few").fingerprint == limited.fingerprint


def test_a_vocabulary_is_of_the_catalogs_labels(noisy: Catalog, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="dog"):
        few_labels(noisy, ["dogg"], out=tmp_path / "few")
    for labels in ([], ["dog", "dog"]):
        with pytest.raises(BadArgument, match="different labels"):
            few_labels(noisy, labels, out=tmp_path / "few")
    assert not (tmp_path / "few").exists()
