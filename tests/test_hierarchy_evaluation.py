import math
import time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy, evaluation
from jftdata.hierarchy.evaluation import distances, most_specific_correct, precision_recall, summary
from tests.strategies import dags


def pairs_of(data, size):
    found = data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=12))
    return np.array([a for a, _ in found], np.int64), np.array([b for _, b in found], np.int64)


def upward(graph, label):
    return nx.ancestors(graph, label) | {label}


# ---- against networkx ------------------------------------------------------------------------------------------------


@given(dags(), st.data(), st.sampled_from([1, 3, 1 << 16]))
def test_what_a_prediction_got_right_is_common_with_nothing_common_below(graph, data, chunk):
    tree = Hierarchy.from_networkx(graph)
    true, predicted = pairs_of(data, tree.num_labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "_CHUNK", chunk)
        start, index = most_specific_correct(tree, true, predicted)
    assert len(start) == len(true) + 1
    for row, (a, b) in enumerate(zip(true, predicted, strict=True)):
        common = upward(graph, tree.labels[a]) & upward(graph, tree.labels[b])
        lowest = {label for label in common if not nx.descendants(graph, label) & common}
        found = index[start[row] : start[row + 1]].tolist()
        assert found == sorted(tree.index(label) for label in lowest)
        assert [tree.labels[i] for i in found] == tree.lowest_common_ancestors(tree.labels[a], tree.labels[b])


@given(dags(), st.data(), st.sampled_from([1, 3, 1 << 16]))
def test_distance_is_the_shortest_way_over_a_common_ancestor(graph, data, chunk):
    tree = Hierarchy.from_networkx(graph)
    true, predicted = pairs_of(data, tree.num_labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "_CHUNK", chunk)
        found = distances(tree, true, predicted)
    steps = dict(nx.all_pairs_shortest_path_length(graph))
    for got, a, b in zip(found, true, predicted, strict=True):
        a, b = tree.labels[a], tree.labels[b]
        ways = [steps[top][a] + steps[top][b] for top in graph if a in steps[top] and b in steps[top]]
        assert got == min(ways, default=-1)
        assert (None if got < 0 else got) == tree.distance(a, b)


@given(dags(), st.data(), st.booleans())
def test_precision_and_recall_are_those_of_sets_with_ancestors(graph, data, count_root):
    tree = Hierarchy.from_networkx(graph)
    sets = st.lists(st.lists(st.integers(0, tree.num_labels - 1), max_size=4), min_size=5, max_size=5)
    true, predicted = data.draw(sets), data.draw(sets)
    roots = {node for node, degree in graph.in_degree() if not degree}
    left_out = roots if len(roots) == 1 and not count_root else set()
    both = right = given = 0
    for a, b in zip(true, predicted, strict=True):
        a, b = ({x for i in side for x in upward(graph, tree.labels[i])} - left_out for side in (a, b))
        both, right, given = both + len(a & b), right + len(a), given + len(b)
    found = precision_recall(tree, true, predicted, count_root=count_root)
    expected = {"precision": both / given if given else math.nan, "recall": both / right if right else math.nan}
    expected["f"] = 2 * both / (given + right) if given and right else math.nan
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, nan_ok=True), key


@given(dags(), st.data())
def test_arrays_and_lists_of_one_label_score_the_same(graph, data):
    tree = Hierarchy.from_networkx(graph)
    true, predicted = pairs_of(data, tree.num_labels)
    lists = precision_recall(tree, [[int(i)] for i in true], [[int(i)] for i in predicted])
    assert precision_recall(tree, true, predicted) == pytest.approx(lists, nan_ok=True)


# ---- small truths ----------------------------------------------------------------------------------------------------


def test_a_diamond_has_two_most_specific_correct_labels():
    tree = Hierarchy.from_edges([("pet", "cat"), ("hunter", "cat"), ("pet", "dog"), ("hunter", "dog")])
    start, index = most_specific_correct(tree, [tree.index("cat")], [tree.index("dog")])
    assert (start.tolist(), [tree.labels[i] for i in index]) == ([0, 2], ["hunter", "pet"])


def test_a_summary_counts_hits_near_misses_and_strangers():
    tree = Hierarchy.from_edges([("animal", "cat"), ("animal", "dog"), ("vehicle", "bus")])
    cat, dog, bus = (tree.index(label) for label in ("cat", "dog", "bus"))
    found = summary(tree, np.array([cat, cat, cat, bus]), np.array([cat, dog, bus, bus]))
    assert found == {
        "num_images": 4,
        "accuracy": 0.5,
        "mean_mistake_distance": 2.0,
        "share_unrelated": 0.25,
        "precision": 5 / 8,
        "recall": 5 / 8,
        "f": 5 / 8,
    }


def test_no_images_give_empty_answers_and_no_summary():
    tree, none = Hierarchy.load("toy"), np.empty(0, np.int64)
    assert distances(tree, none, none).shape == (0,)
    assert [part.tolist() for part in most_specific_correct(tree, none, none)] == [[0], []]
    assert all(math.isnan(value) for value in precision_recall(tree, none, none).values())
    with pytest.raises(BadInput, match="no predictions"):
        summary(tree, none, none)


@pytest.mark.parametrize("ask", [distances, most_specific_correct, precision_recall, summary])
@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([0, 1], [0], "has 2 images, `predicted` 1"),
        ([12], [0], r"0\.\.11\. Got 12"),
        ([0], [-1], r"0\.\.11\. Got -1"),
        ([0.5], [0], "one whole number an image. Got float64"),
        ([[0]], [[0]], r"shape \(1, 1\)"),
    ],
)
def test_wrong_labels_are_refused(ask, true, predicted, message):
    with pytest.raises(BadInput, match=message):
        ask(Hierarchy.load("toy"), np.array(true), np.array(predicted))


def test_a_million_predictions_take_seconds():
    tree = Hierarchy.from_edges((f"{i // 4:05d}", f"{i:05d}") for i in range(1, 18_000))
    rng = np.random.default_rng(0)
    true = rng.integers(0, tree.num_labels, 1_000_000)
    predicted = np.where(rng.random(1_000_000) < 0.9, true, rng.integers(0, tree.num_labels, 1_000_000))
    began = time.perf_counter()
    found = summary(tree, true, predicted)
    assert time.perf_counter() - began < 30
    assert 0.89 < found["accuracy"] < 0.91
