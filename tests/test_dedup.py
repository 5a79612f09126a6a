import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import dedup, embed
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.hierarchy import Hierarchy
from jftdata.images import decode, encode_jpeg, resize
from jftdata.sources import from_folder
from jftdata.sources.ingest import Listed, Record, ingest
from tests.strategies import picture, unit_vectors, vectors_with_copies

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda p: p[0] != p[1]), max_size=40)


def of(vectors, images=None, embedder="toy"):
    images = np.arange(len(vectors)) if images is None else images
    return Embeddings.of(vectors, np.asarray(images), embedder=embedder)


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64).T


@given(vectors_with_copies(), st.integers(0, 2**32 - 1), st.floats(0.2, 0.99))
def test_pairs_are_those_of_the_full_matrix_each_once(vectors, seed, threshold):
    images = np.random.default_rng(seed).choice(10_000, len(vectors), replace=False)
    e = of(vectors, images)
    pairs = dedup.find_pairs(e, min_similarity=threshold)
    assert pairs.schema == dedup.PAIRS
    assert (pairs["image_a"] < pairs["image_b"]).all()
    table = exact(e.vectors, e.vectors)
    border = np.abs(table - threshold) < 2e-6
    found = set(pairs.select("image_a", "image_b").iter_rows())
    rows, columns = np.nonzero(np.triu((table >= threshold) & ~border, 1))
    must = set(zip(e.images[rows].tolist(), e.images[columns].tolist(), strict=True))
    rows, columns = np.nonzero(np.triu((table >= threshold) | border, 1))
    may = set(zip(e.images[rows].tolist(), e.images[columns].tolist(), strict=True))
    assert must <= found <= may
    assert len(found) == len(pairs)


def test_pairs_are_sorted_by_similarity_then_ids():
    v = np.array([[1, 0], [1, 0], [0.8, 0.6], [0, 1], [1, 0]], np.float32)
    pairs = dedup.find_pairs(of(v, [50, 10, 30, 40, 20]), min_similarity=0.55)
    assert pairs.select("image_a", "image_b").rows() == [
        (10, 20),
        (10, 50),
        (20, 50),
        (10, 30),
        (20, 30),
        (30, 50),
        (30, 40),
    ]
    assert pairs["similarity"].to_list() == pytest.approx([1, 1, 1, 0.8, 0.8, 0.8, 0.6])


def test_no_pair_is_an_empty_frame_that_can_be_grouped():
    pairs = dedup.find_pairs(of(np.eye(3, dtype=np.float32)))
    assert pairs.schema == dedup.PAIRS
    assert len(pairs) == 0
    groups = dedup.group_pairs(pairs)
    assert groups.schema == dedup.GROUPS
    assert len(groups) == 0


def test_a_threshold_out_of_range_is_refused():
    with pytest.raises(BadArgument, match=r"1\.4"):
        dedup.find_pairs(of(np.eye(3, dtype=np.float32)), min_similarity=1.4)


@given(PAIRS)
def test_groups_are_the_connected_components_of_networkx(pairs):
    frame = pl.DataFrame(pairs, schema={"image_a": pl.Int64, "image_b": pl.Int64}, orient="row")
    groups = dedup.group_pairs(frame)
    expected = [(min(part), image) for part in nx.connected_components(nx.Graph(pairs)) for image in part]
    assert groups.rows() == sorted(expected)
    assert groups.schema == dedup.GROUPS


def test_groups_keep_ids_of_63_bits():
    big = 2**63 - 1
    frame = pl.DataFrame({"image_a": [big - 1], "image_b": [big]})
    assert dedup.group_pairs(frame).rows() == [(big - 1, big - 1), (big - 1, big)]


def test_pairs_without_their_columns_are_refused():
    with pytest.raises(BadInput, match="no column 'image_b'"):
        dedup.group_pairs(pl.DataFrame({"image_a": [1]}))


# ---- which copy stays, on planted copies -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Ten pictures; of the first three there are copies of another size or quality."""
    root = tmp_path_factory.mktemp("planted") / "p"
    (root / "a").mkdir(parents=True)
    for i in range(10):
        pixels = picture(100 + i, width=120, height=96)
        (root / "a" / f"{i}.jpg").write_bytes(encode_jpeg(pixels, quality=90))
        if i < 3:
            small = resize(pixels, width=60, height=48)
            (root / "a" / f"{i} small.jpg").write_bytes(encode_jpeg(small, quality=90))
            (root / "a" / f"{i} poor.jpg").write_bytes(encode_jpeg(pixels, quality=50))
    catalog = from_folder(root, out=root.parent / "c", workers=1)
    return catalog, embed.run(catalog, out=root.parent / "e")


def test_planted_copies_are_grouped_and_nothing_else(planted):
    catalog, embeddings = planted
    groups = dedup.group_pairs(dedup.find_pairs(embeddings))
    named = groups.join(catalog.scan().select("image", "source").collect(), on="image")
    found = {frozenset(part["source"]) for part in named.partition_by("group")}
    assert found == {frozenset({f"a/{i}.jpg", f"a/{i} small.jpg", f"a/{i} poor.jpg"}) for i in range(3)}


def test_of_each_group_the_largest_image_stays_then_the_one_with_most_bytes(planted):
    catalog, embeddings = planted
    groups = dedup.group_pairs(dedup.find_pairs(embeddings))
    dropped = dedup.extra_copies(groups, catalog)
    assert dropped.is_sorted()
    names = set(catalog.rows(dropped.to_numpy(), columns=["source"])["source"])
    assert names == {f"a/{i} {kind}.jpg" for i in range(3) for kind in ("small", "poor")}


def test_no_group_drops_nothing(planted):
    catalog, _ = planted
    assert dedup.extra_copies(pl.DataFrame(schema=dedup.GROUPS), catalog).to_list() == []


# ---- chains, and who stays -------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda p: p[0] < p[1]), min_size=1, unique=True)
)
def test_the_longest_chain_of_a_group_is_its_diameter_in_networkx(edges):
    pairs = pl.DataFrame(edges, schema=["image_a", "image_b"], orient="row")
    graph = nx.Graph(edges)
    expected = {
        min(part): (len(part), graph.subgraph(part).number_of_edges(), nx.diameter(graph.subgraph(part)))
        for part in nx.connected_components(graph)
    }
    found = dedup.chains(dedup.group_pairs(pairs), pairs)
    assert {g: (n, m, d) for g, n, m, d in found.iter_rows()} == expected
    assert found["longest"].is_sorted(descending=True)


def test_a_listed_image_stays_before_all_others(planted):
    catalog = planted[0]
    ids = catalog.images()
    groups = pl.DataFrame({"group": [0] * 4, "image": ids[:4]})
    usual = dedup.resolve(groups, catalog).filter("kept")["image"].item()
    for wanted in ids[:4]:
        assert dedup.resolve(groups, catalog, prefer=[wanted]).filter("kept")["image"].item() == wanted
        others = [i for i in ids[:4] if i != wanted]
        assert dedup.resolve(groups, catalog, prefer=[wanted, *others]).filter("kept")["image"].item() == wanted
    assert dedup.resolve(groups, catalog, prefer=ids[4:]).filter("kept")["image"].item() == usual


def test_the_kept_image_has_all_labels_and_contradictions_are_named(tmp_path):
    tree = Hierarchy.load("toy")
    sizes = {"a": (80, 60), "b": (40, 30), "c": (80, 60), "d": (20, 20), "e": (20, 20), "f": (20, 20)}
    labels = {"a": ("cat",), "b": ("house cat",), "c": ("bus",), "d": ("dog",), "e": (), "f": ("dog",)}
    records = [
        Record(source=k, labels=labels[k], split="train", data=encode_jpeg(picture(i, width=w, height=h)))
        for i, (k, (w, h)) in enumerate(sizes.items())
    ]
    catalog = ingest(
        [Listed(tuple(records))], out=tmp_path / "c", hierarchy=tree, made_with={"pack": True}, inputs={}, labels=(),
        max_rejected=0, workers=1,
    )  # fmt: skip
    at = dict(catalog.scan().select("source", "image").collect().iter_rows())
    edges = [("a", "b"), ("b", "c"), ("d", "e"), ("e", "f")]
    pairs = pl.DataFrame([tuple(sorted((at[x], at[y]))) for x, y in edges], schema=["image_a", "image_b"], orient="row")
    groups = dedup.group_pairs(pairs)
    found = dedup.resolve(groups, catalog).filter("kept")
    by_first = {row["image"]: row for row in found.iter_rows(named=True)}
    assert len(by_first) == 2
    big = next(row for image, row in by_first.items() if image in (at["a"], at["c"]))
    assert set(big["labels"]) == {"bus", "cat", "house cat"}
    assert set(big["conflicts"]) == {"bus", "cat", "house cat"}  # a house cat is a cat, but no bus
    small = next(row for image, row in by_first.items() if image in (at["d"], at["e"], at["f"]))
    assert (small["labels"], small["conflicts"]) == (["dog"], [])
    by_labels = dedup.resolve(groups, catalog, keep=["labels"]).filter("kept")["image"].to_list()
    assert at["e"] not in by_labels
    dropped = dedup.extra_copies(groups, catalog)
    assert sorted([*dropped, *by_first]) == sorted(at.values())
    with pytest.raises(UnknownOption, match="'pixels'"):
        dedup.resolve(groups, catalog, keep=["pixel"])


# ---- overlap with test images ----------------------------------------------------------------------------------------


@given(vectors_with_copies(max_count=30), st.integers(0, 2**32 - 1))
def test_overlap_is_every_pair_above_the_threshold(train, seed):
    rng = np.random.default_rng(seed)
    test = np.concatenate([train[rng.integers(len(train), size=4)], unit_vectors(seed, 4, train.shape[1])])
    a, b = of(test, 1000 + np.arange(8)), of(train, rng.choice(500, len(train), replace=False))
    overlap = dedup.find_overlap(a, b, min_similarity=0.9)
    assert overlap.schema == dedup.OVERLAP
    table = exact(a.vectors, b.vectors)
    found = {(i, j) for i, j, _ in overlap.iter_rows()}
    assert len(found) == len(overlap)
    for i, j in np.ndindex(*table.shape):
        if abs(table[i, j] - 0.9) > 2e-6:
            assert ((a.images[i], b.images[j]) in found) == (table[i, j] >= 0.9)
    assert overlap["similarity"].is_sorted(descending=True)


def test_the_same_file_in_both_sets_counts_as_overlap():
    v = unit_vectors(0, 3, 8)
    overlap = dedup.find_overlap(of(v[:1], [7]), of(v, [7, 8, 9]))
    assert overlap.select("test_image", "train_image").rows() == [(7, 7)]


def test_recompressed_test_images_are_found_in_training(planted, tmp_path):
    catalog, embeddings = planted
    (tmp_path / "t" / "a").mkdir(parents=True)
    for row in catalog.scan().filter(pl.col("source").is_in(["a/7.jpg", "a/8.jpg"])).collect().iter_rows(named=True):
        pixels, _ = decode(catalog.read(row["shard"], row["offset"], row["length"]))
        (tmp_path / "t" / row["source"]).write_bytes(encode_jpeg(resize(pixels, width=90, height=72), quality=60))
    (tmp_path / "t" / "a" / "new.jpg").write_bytes(encode_jpeg(picture(999)))
    test = from_folder(tmp_path / "t", out=tmp_path / "c", workers=1)
    overlap = dedup.find_overlap(embed.run(test, out=tmp_path / "e"), embeddings)
    pairs = {
        (
            test.rows(np.array([a]), columns=["source"]).item(),
            catalog.rows(np.array([b]), columns=["source"]).item(),
        )
        for a, b, _ in overlap.iter_rows()
    }
    assert pairs == {("a/7.jpg", "a/7.jpg"), ("a/8.jpg", "a/8.jpg")}


def test_sets_of_two_embedders_are_not_compared():
    with pytest.raises(BadInput, match="two embedders"):
        dedup.find_overlap(of(np.eye(3, dtype=np.float32)), of(np.eye(3, dtype=np.float32), embedder="other"))
