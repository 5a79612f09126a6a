"""Targets against networkx, in every layout; three-valued targets against a definition by hand."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import ragged
from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy, targets
from tests.strategies import dags

DIAMOND = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]


def closed(tree: Hierarchy, graph: "nx.DiGraph[str]", lists: list[list[str]], reach) -> np.ndarray:
    out = np.zeros((len(lists), len(graph)), bool)
    for row, labels in enumerate(lists):
        for label in labels:
            out[row, [tree.index(x) for x in {label, *reach(graph, label)}]] = True
    return out


def label_lists(graph) -> st.SearchStrategy[list[list[str]]]:
    return st.lists(st.lists(st.sampled_from(sorted(graph)), max_size=5), max_size=6)


@given(dags(), st.data())
def test_multi_hot_is_the_union_of_labels_and_their_networkx_ancestors(graph, data):
    tree = Hierarchy.from_networkx(graph)
    lists = data.draw(label_lists(graph))
    expected = closed(tree, graph, lists, nx.ancestors)
    assert (tree.multi_hot(lists) == expected).all()
    as_indexes = [[tree.index(x) for x in labels] for labels in lists]
    assert (targets.multi_hot(tree, as_indexes, sparse=True).toarray() == expected).all()
    assert (targets.multi_hot(tree, lists, device="cpu").numpy() == expected).all()
    sparse = targets.multi_hot(tree, lists, sparse=True, device="cpu")
    assert sparse.shape == expected.shape
    assert (sparse.to_dense().numpy() == expected).all()
    start, index = targets.fill_in(tree, *ragged.of_lists(as_indexes))
    for row in range(len(lists)):
        assert index[start[row] : start[row + 1]].tolist() == np.flatnonzero(expected[row]).tolist()


@given(dags(), st.data(), st.booleans(), st.booleans(), st.sampled_from(["negative", "unknown"]))
def test_three_values_follow_the_policy(graph, data, ancestors, descendants, absent):
    tree = Hierarchy.from_networkx(graph)
    yes = data.draw(label_lists(graph))
    no = [data.draw(st.lists(st.sampled_from(sorted(graph)), max_size=4)) for _ in yes]
    policy = targets.FillIn(ancestors=ancestors, descendants=descendants, absent=absent)
    got = targets.three_valued(tree, yes, no, policy=policy)
    nothing = lambda graph, label: set()  # noqa: E731
    positive = closed(tree, graph, yes, nx.ancestors if ancestors else nothing)
    negative = closed(tree, graph, no, nx.descendants if descendants else nothing)
    assert (got.positive == positive).all()
    assert (got.known == (True if absent == "negative" else positive | negative)).all()
    assert got.num_conflicts == (positive & negative).sum()


def test_no_image_and_no_label_give_empty_targets():
    tree = Hierarchy.from_edges(DIAMOND)
    assert tree.multi_hot([]).shape == (0, 4)
    assert not tree.multi_hot([[]]).any()
    assert targets.fill_in(tree, *ragged.of_lists([]))[0].tolist() == [0]
    assert Hierarchy.flat([]).multi_hot([[]]).shape == (1, 0)


@pytest.mark.parametrize("index", [-1, 4])
def test_a_label_index_out_of_range_is_refused(index):
    with pytest.raises(BadInput, match=rf"0\.\.3\. Got {index}"):
        Hierarchy.from_edges(DIAMOND).multi_hot([[index]])


def test_unknown_labels_and_lists_of_two_lengths_are_refused():
    tree = Hierarchy.from_edges(DIAMOND)
    with pytest.raises(UnknownName, match="'bus'"):
        tree.multi_hot([["bus"]])
    with pytest.raises(BadInput, match="labels of 2 images and negatives of 1"):
        targets.three_valued(tree, [[], []], [[]])
    with pytest.raises(BadArgument, match="`absent` must be negative or unknown"):
        targets.FillIn(absent="maybe")  # type: ignore[arg-type]


@pytest.mark.gpu
def test_targets_on_a_gpu_are_those_on_the_cpu():
    tree = Hierarchy.load("world")
    lists = [[i % tree.num_labels, (7 * i) % tree.num_labels] for i in range(100)]
    assert (targets.multi_hot(tree, lists, device="cuda").cpu().numpy() == tree.multi_hot(lists)).all()
