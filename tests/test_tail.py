import itertools
import shutil
from collections import Counter

import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jftdata import ragged, tail
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources.ingest import Listed, Record, ingest
from jftdata.world.jft_table import jft300m
from tests.strategies import dags, picture

COUNTS = st.lists(st.integers(0, 3000), min_size=1, max_size=60)


def brute_force(graph, lists):
    """Images with each label given, and with it given or above a given one."""
    given_to, filled = Counter(), Counter()
    for labels in lists:
        given_to.update(set(labels))
        filled.update(set(labels).union(*(nx.ancestors(graph, label) for label in labels)))
    return given_to, filled


def counted(tree, batches):
    """Run the counting loop over batches of label lists, as `count` does."""
    counter = tail._Counter(tree)
    for lists in batches:
        counter.add(*ragged.of_lists([sorted({tree.index(x) for x in labels}) for labels in lists]))
    columns = (counter.given.tolist(), counter.filled().tolist())
    return tuple(dict(zip(tree.labels, column, strict=True)) for column in columns)


@st.composite
def labelled(draw):
    graph = draw(dags())
    return graph, draw(st.lists(st.lists(st.sampled_from(sorted(graph)), max_size=5), max_size=30))


@given(labelled(), st.integers(0, 30))
def test_counts_are_those_of_a_brute_force_count_with_networkx(case, cut):
    graph, lists = case
    tree = Hierarchy.from_networkx(graph)
    given_to, filled = counted(tree, [lists[:cut], lists[cut:]])
    expected_given, expected_filled = brute_force(graph, lists)
    assert given_to == {label: expected_given[label] for label in tree.labels}
    assert filled == {label: expected_filled[label] for label in tree.labels}


@given(labelled(), st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_row_order(case, random):
    graph, lists = case
    tree = Hierarchy.from_networkx(graph)
    shuffled = list(lists)
    random.shuffle(shuffled)
    assert counted(tree, [lists]) == counted(tree, [shuffled])


def test_an_image_counts_once_for_the_top_of_a_diamond():
    tree = Hierarchy.from_edges([("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")])
    given_to, filled = counted(tree, [[["bottom", "left"], ["right"]]])
    assert filled == {"top": 2, "left": 1, "right": 2, "bottom": 1}
    assert given_to == {"top": 0, "left": 1, "right": 1, "bottom": 1}


# ---- through a catalog -----------------------------------------------------------------------------------------------

IMAGES = [encode_jpeg(picture(i, width=16, height=16)) for i in range(12)]


def catalog_of(out, tree, lists, splits=None):
    splits = splits or ["train"] * len(lists)
    made = [
        Record(source=str(i), labels=tuple(labels), split=split, data=IMAGES[i])
        for i, (labels, split) in enumerate(zip(lists, splits, strict=True))
    ]
    return ingest(
        [Listed(tuple(made))],
        out=out,
        hierarchy=tree,
        made_with={"pack": True},
        inputs={},
        labels=(),
        max_rejected=0,
        workers=1,
    )


@settings(max_examples=15)
@given(labelled().filter(lambda case: case[1]))
def test_counts_of_a_catalog_are_those_of_a_brute_force_count(tmp_path_factory, case):
    graph, lists = case[0], case[1][: len(IMAGES)]
    tree = Hierarchy.from_networkx(graph)
    counts = tail.label_counts(catalog_of(tmp_path_factory.mktemp("tail") / "c", tree, lists))
    expected_given, expected_filled = brute_force(graph, lists)
    assert counts.schema == tail.COUNTS
    assert counts["label"].to_list() == list(tree.labels)
    assert counts["num_given"].to_list() == [expected_given[label] for label in tree.labels]
    assert counts["num_images"].to_list() == [expected_filled[label] for label in tree.labels]
    assert counts["depth"].to_list() == [tree.depth(label) for label in tree.labels]


def test_a_catalog_in_several_files_is_counted_as_one_in_a_single_file(tmp_path, monkeypatch):
    tree = Hierarchy.load("toy")
    lists = [["cat"], ["cat"], [], ["house cat", "cat"], ["cat"], ["animal"], ["dog", "cat"], *[["cat"]] * 5]
    one = catalog_of(tmp_path / "one", tree, lists)
    monkeypatch.setattr("jftdata.sources.ingest._ROWS_PER_FILE", 1)
    many = catalog_of(tmp_path / "many", tree, lists)
    assert len(many.files) == 12
    assert many.scan().collect().equals(one.scan().collect())
    assert tail.label_counts(many).equals(tail.label_counts(one))


def test_a_split_is_counted_alone(tmp_path):
    tree = Hierarchy.load("toy")
    catalog = catalog_of(tmp_path / "c", tree, [["cat"], ["dog"], ["cat"], []], ["train", "train", "val", "val"])
    by_split = {
        s: dict(tail.label_counts(catalog, split=s).select("label", "num_images").iter_rows()) for s in catalog.splits
    }
    assert (by_split["train"]["cat"], by_split["train"]["pet"], by_split["val"]["pet"]) == (1, 2, 1)
    whole = dict(tail.label_counts(catalog).select("label", "num_images").iter_rows())
    assert whole == {label: by_split["train"][label] + by_split["val"][label] for label in whole}
    with pytest.raises(UnknownName, match="Did you mean 'val'"):
        tail.label_counts(catalog, split="vla")


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_counts_do_not_depend_on_threads_or_row_groups(tmp_path, workers):
    table = jft300m(30_000, out=tmp_path / "c")
    whole = tail.count(table, workers=workers)
    small = tmp_path / "small"
    shutil.copytree(tmp_path / "c", small)
    rows = pl.read_parquet(table.files[0]).sample(fraction=1.0, shuffle=True, seed=3)
    rows.write_parquet(small / "images" / "00000.parquet", row_group_size=997)
    other = tail.count(Catalog.open(small), workers=workers)
    assert other.labels.equals(whole.labels)
    assert other.an_image.equals(whole.an_image)


def test_some_images_are_counted_alone(tmp_path):
    tree = Hierarchy.load("toy")
    catalog = catalog_of(tmp_path / "c", tree, [["cat"], ["dog"], ["cat", "bus"], []])
    rows = catalog.scan().select("image", "source").collect()
    chosen = rows.filter(pl.col("source").is_in(["0", "3"]))["image"].to_numpy()
    found = tail.count(catalog, images=chosen)
    assert dict(found.labels.filter(pl.col("num_images") > 0).select("label", "num_images").iter_rows()) == {
        "animal": 1, "pet": 1, "cat": 1
    }  # fmt: skip
    assert found.num_unlabelled == 1
    assert found.an_image.rows() == [(0, 1), (1, 1)]
    assert tail.count(catalog).an_image.rows() == [(0, 1), (1, 2), (2, 1)]


@settings(max_examples=15)
@given(labelled().filter(lambda case: case[1]), st.integers(1, 3))
def test_pairs_of_labels_are_those_of_a_brute_force_count(tmp_path_factory, case, least):
    graph, lists = case[0], case[1][: len(IMAGES)]
    tree = Hierarchy.from_networkx(graph)
    pairs = tail.co_occurrence(catalog_of(tmp_path_factory.mktemp("tail") / "c", tree, lists), min_images=least)
    given_to, _ = brute_force(graph, lists)
    expected = Counter(
        pair for labels in lists for pair in itertools.combinations(sorted(set(labels), key=tree.index), 2)
    )
    assert {(a, b): n for a, b, n, _ in pairs.iter_rows()} == {k: n for k, n in expected.items() if n >= least}
    for a, b, n, pmi in pairs.iter_rows():
        assert 2**pmi == pytest.approx(n * len(lists) / (given_to[a] * given_to[b]))


# ---- the summary -----------------------------------------------------------------------------------------------------


def frame(counts):
    return pl.DataFrame({"num_images": counts}, schema={"num_images": pl.Int64})


@given(COUNTS)
def test_the_summary_is_what_the_definitions_say(counts):
    s = tail.summary(frame(counts))
    used = [n for n in counts if n]
    assert s["num_labels"] == len(counts)
    assert s["num_used"] == len(used)
    for cut in (1, 20, 100, 1000):
        assert s[f"below_{cut}"] == sum(n < cut for n in counts)
    assert s["head"] + s["medium"] + s["tail"] == len(counts)
    assert s["head"] == sum(n > 100 for n in counts)
    assert s["tail"] == sum(n < 20 for n in counts)
    assert s["most"] == max(counts)
    if used:
        assert s["median"] == np.median(used)
        assert s["imbalance"] == pytest.approx(max(used) / min(used))
        entropy = stats.entropy(used)
        assert s["effective_labels"] == pytest.approx(np.exp(entropy))
        assert s["entropy"] == pytest.approx(entropy / np.log(len(used)) if len(used) > 1 else 0)
        # mean absolute difference over twice the mean
        assert s["gini"] == pytest.approx(
            np.abs(np.subtract.outer(counts, counts)).mean() / (2 * np.mean(counts)), abs=1e-9
        )


def test_equal_counts_have_no_tail_and_one_label_with_all_has_the_longest():
    even = tail.summary(frame([50] * 10))
    assert (even["gini"], even["imbalance"]) == (pytest.approx(0), 1)
    assert even["entropy"] == pytest.approx(1)
    assert even["effective_labels"] == pytest.approx(10)
    alone = tail.summary(frame([500] + [0] * 9))
    assert alone["gini"] == pytest.approx(0.9)
    assert alone["effective_labels"] == pytest.approx(1)


def test_no_image_at_all_is_a_summary_of_zeros():
    s = tail.summary(frame([0, 0]))
    assert (s["num_used"], s["below_1"], s["gini"], s["median"], s["effective_labels"]) == (0, 2, 0, 0, 0)


def test_counts_beyond_32_bits_are_right():
    s = tail.summary(frame([3_000_000_000, 3_000_000_000, 6_000_000_000]))
    assert s["most"] == 6_000_000_000
    assert s["gini"] == pytest.approx(1 / 6)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=20))
def test_compare_counts_what_was_lost(pairs):
    pairs = [(was, min(was, now)) for was, now in pairs]
    labels = [f"l{i:02d}" for i in range(len(pairs))]
    before, after = (pl.DataFrame({"label": labels, "num_images": list(side)}) for side in zip(*pairs, strict=True))
    change = tail.compare(before, after.reverse())
    assert change["lost"] == sum(was > 0 and now == 0 for was, now in pairs)
    assert change["pushed_below_20"] == sum(was >= 20 and now < 20 for was, now in pairs)
    assert change["pushed_below_100"] == sum(was >= 100 and now < 100 for was, now in pairs)
    kept = {label: now / was for label, (was, now) in zip(labels, pairs, strict=True) if was}
    least = min(kept.values(), default=1)
    assert change["most_reduced"] == (min(k for k, v in kept.items() if v == least) if least < 1 else None)


def test_compare_by_subtree_names_the_most_reduced_first():
    tree = Hierarchy.from_edges(
        [("animal", "cat"), ("animal", "dog"), ("vehicle", "bus"), ("top", "vehicle"), ("top", "animal")]
    )
    before, after = (counts_of(tree, n) for n in ({"cat": 9, "dog": 30, "bus": 10}, {"cat": 9, "dog": 30, "bus": 1}))
    change = tail.compare(before, after, hierarchy=tree)
    assert [row["label"] for row in change["subtrees"]] == ["vehicle", "animal"]
    assert change["subtrees"][0] == {"label": "vehicle", "was": 10, "now": 1}
    with pytest.raises(BadInput, match="Use one hierarchy"):
        tail.compare(before, after.head(2))
    with pytest.raises(BadInput, match="only 0 of 6 labels"):
        tail.compare(before, after.with_columns(label=pl.col("label") + "x"))


def counts_of(tree, given_to):
    counter = tail._Counter(tree)
    counter.add(*ragged.of_lists([[tree.index(label)] for label, n in given_to.items() for _ in range(n)]))
    return pl.DataFrame({
        "label": tree.labels, "name": tree.names, "depth": tree.depths, "num_given": counter.given,
        "num_images": counter.filled(),
    })  # fmt: skip


def test_subtrees_and_depths_count_their_labels():
    tree = Hierarchy.load("toy")
    counts = counts_of(tree, {"cat": 25, "dog": 3, "bus": 1})
    subtrees = tail.by_subtree(counts, tree, depth=0)
    assert subtrees.select("label", "num_images", "num_labels", "num_used", "num_below_20").rows() == [
        ("animal", 28, 7, 4, 4), ("vehicle", 1, 4, 2, 4), ("toy", 0, 2, 0, 2)
    ]  # fmt: skip
    assert tail.by_depth(counts)["num_labels"].to_list() == [3, 4, 4, 1]
    assert set(tail.unused(counts)["label"]) == set(tree.labels) - {"cat", "dog", "bus", "animal", "pet", "vehicle"}
    with pytest.raises(BadInput, match="not of the hierarchy 'toy'"):
        tail.by_subtree(counts.reverse(), tree)


def test_fits_find_the_planted_curve():
    rank = np.arange(1, 2001)
    power = tail.fit(frame(np.rint(1e7 * rank**-1.2).astype(np.int64)))
    zipf, normal = power.iter_rows(named=True)
    assert zipf["exponent"] == pytest.approx(1.2, abs=0.01)
    assert zipf["scale"] == pytest.approx(1e7, rel=0.05)
    assert zipf["r2"] > 0.999 > normal["r2"]
    assert zipf["ks"] < 0.01 < normal["ks"]
    drawn = np.exp(np.random.default_rng(0).normal(6, 1.5, 4000)).astype(np.int64)
    used = drawn[drawn > 0]
    zipf, normal = tail.fit(frame(drawn)).iter_rows(named=True)
    assert (normal["mu"], normal["sigma"]) == (pytest.approx(6, abs=0.1), pytest.approx(1.5, abs=0.1))
    assert normal["r2"] > 0.99 > zipf["r2"]
    assert normal["ks"] == pytest.approx(
        stats.kstest(np.log(used), "norm", (normal["mu"], normal["sigma"])).statistic, abs=0.01
    )


def test_a_fit_of_equal_or_too_few_counts():
    zipf, normal = tail.fit(frame([7, 7, 7, 0])).iter_rows(named=True)
    assert (zipf["exponent"], normal["sigma"]) == (pytest.approx(0, abs=1e-9), 0)
    with pytest.raises(BadInput, match=r"three used labels\. Got 2"):
        tail.fit(frame([1, 2, 0]))


def test_pairs_on_less_than_one_image_are_refused(tmp_path):
    with pytest.raises(BadArgument, match=r"at least 1\. Got 0"):
        tail.co_occurrence(catalog_of(tmp_path / "c", Hierarchy.load("toy"), [["cat"]]), min_images=0)


def test_the_sentence_holds_the_numbers():
    text = tail.describe(tail.summary(frame([12_000, 50, 5, 0])))
    assert text == "3 of 4 labels used; 2 below 20 images, 3 below 100; imbalance 2,400 to 1; Gini 0.75"
