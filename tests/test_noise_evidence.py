from collections import defaultdict

import networkx as nx
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from jftdata.hierarchy import Hierarchy
from jftdata.noise import evidence
from jftdata.noise.probabilities import Probabilities
from tests.noise_cases import given_of
from tests.strategies import dags


def probabilities(tree, rows, *, exclusive=True):
    """Rows of {label: probability}."""
    start = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    pairs = [sorted((tree.index(k), v) for k, v in row.items()) for row in rows]
    index = np.array([i for row in pairs for i, _ in row], np.int32)
    value = np.array([v for row in pairs for _, v in row], np.float32)
    return Probabilities(tree, np.arange(len(rows)), start, index, value, exclusive)


def test_a_given_ancestor_is_supported_and_a_probable_ancestor_says_nothing():
    tree = Hierarchy.load("toy")
    given = given_of(tree, [["animal"], ["cat"], ["cat"]])
    rows = [{"dog": 0.7, "bus": 0.2}, {"animal": 0.6, "cat": 0.1, "dog": 0.2}, {"house cat": 0.5, "cat": 0.2}]
    found = evidence.of_probabilities(given, probabilities(tree, rows))
    assert found.own.tolist() == pytest.approx([0.7, 0.1, 0.7])
    assert found.above.tolist() == pytest.approx([0.0, 0.6, 0.0])
    assert found.support.tolist() == pytest.approx([0.7, 0.25, 0.7])
    assert found.weight.tolist() == pytest.approx([0.2, 0.2])


def test_a_neighbour_called_fruit_neither_supports_nor_contradicts_apple():
    tree = Hierarchy.from_edges([("fruit", "apple"), ("fruit", "pear"), ("thing", "table")])
    given = given_of(tree, [["apple"], ["fruit"], ["apple", "table"], ["pear"], ["table"], []])
    positions = np.array([[1, 2, 3, 4, 5]] + [[0, 0, 0, 0, 0]] * 5)
    weights = np.array([[1.0, 2.0, 3.0, 4.0, 9.0]] + [[1.0, 0, 0, 0, 0]] * 5)
    found = evidence.of_neighbours(given, positions, weights)
    assert found.own[0] == pytest.approx(0.2)  # of those with labels
    assert found.above[0] == pytest.approx(0.1)
    assert found.support[0] == pytest.approx(0.2 / 0.9)
    others = dict(zip(found.label[: found.start[1]].tolist(), found.weight[: found.start[1]], strict=True))
    assert others == pytest.approx({tree.index("pear"): 0.3, tree.index("table"): 0.4})
    assert found.own[1] == pytest.approx(1.0)  # apple supports fruit


def test_what_another_given_label_says_already_is_no_contradiction():
    tree = Hierarchy.load("toy")
    found = evidence.of_probabilities(given_of(tree, [["bus", "dog"]]), probabilities(tree, [{"bus": 0.6, "dog": 0.3}]))
    assert found.aside.tolist() == pytest.approx([0.3, 0.6])
    assert found.support.tolist() == pytest.approx([0.6 / 0.7, 0.3 / 0.4])
    assert len(found.label) == 0


def test_independent_probabilities_are_not_shared_out():
    tree = Hierarchy.load("toy")
    rows = [{"bus": 0.9, "cat": 0.8, "house cat": 0.9, "animal": 1.0}]
    found = evidence.of_probabilities(given_of(tree, [["cat"]]), probabilities(tree, rows, exclusive=False))
    assert found.own.tolist() == pytest.approx([0.9])
    assert found.above.tolist() == [0.0]
    assert found.weight.tolist() == pytest.approx([0.1 * 0.9])


def test_a_label_that_the_model_does_not_have_is_unknown():
    tree = Hierarchy.load("toy")
    found = evidence.of_probabilities(
        given_of(tree, [["dog"], ["cat"]]), probabilities(tree, [{"cat": 0.5}, {"cat": 0.5}])
    )
    assert np.isnan(found.own).tolist() == [True, False]


@drawn(dags(max_labels=8), st.integers(0, 2**31))
def test_evidence_is_what_the_definition_says(graph, seed):
    rng = np.random.default_rng(seed)
    tree = Hierarchy.from_networkx(graph)
    names = list(tree.labels)
    lists = [list(rng.choice(names, rng.integers(0, min(3, len(names)) + 1), replace=False)) for _ in range(6)]
    given = given_of(tree, lists)
    rows = []
    for _ in lists:
        some = rng.choice(names, rng.integers(1, len(names) + 1), replace=False)
        rows.append(dict(zip(some, rng.dirichlet(np.ones(len(some) + 1))[:-1], strict=True)))
    found = evidence.of_probabilities(given, probabilities(tree, rows))
    known = {name for row in rows for name in row}
    for entry, (row, index) in enumerate(zip(given.owner.tolist(), given.index.tolist(), strict=True)):
        label = tree.labels[index]
        others = [tree.labels[i] for i in given.index[given.start[row] : given.start[row + 1]] if i != index]
        told = {x for z in others for x in (z, *nx.ancestors(graph, z))}
        sums = defaultdict(float)
        for name, p in rows[row].items():
            if name == label or label in nx.ancestors(graph, name):
                sums["own"] += p
            elif name in nx.ancestors(graph, label):
                sums["above"] += p
            elif name in told:
                sums["aside"] += p
            else:
                sums[name] += p
        if label in known:
            assert found.own[entry] == pytest.approx(sums["own"], abs=1e-6)
        else:
            assert np.isnan(found.own[entry])
        assert found.above[entry] == pytest.approx(sums["above"], abs=1e-6)
        assert found.aside[entry] == pytest.approx(sums["aside"], abs=1e-6)
        part = slice(found.start[entry], found.start[entry + 1])
        there = {tree.labels[i]: w for i, w in zip(found.label[part], found.weight[part], strict=True)}
        expected = {k: v for k, v in sums.items() if k not in ("own", "above", "aside")}
        assert there == pytest.approx(expected, abs=1e-6)


@drawn(st.integers(0, 2**31))
def test_smoothed_probabilities_are_the_weighted_mean(seed):
    rng = np.random.default_rng(seed)
    tree = Hierarchy.flat([f"l{i}" for i in range(6)])
    n, k = 7, 3
    given = given_of(tree, [[f"l{i % 6}"] for i in range(n)])
    dense = rng.dirichlet(np.ones(6), n)
    rows = probabilities(tree, [{f"l{j}": dense[i, j] for j in range(6)} for i in range(n)])
    positions, weights = rng.integers(0, n, (n, k)), rng.random((n, k))
    weights[0] = 0
    found = evidence.smoothed(rows, given, positions, weights, share=np.full(n, 0.3))
    for i in range(n):
        mean = dense[i] if i == 0 else 0.7 * dense[i] + 0.3 * (weights[i] / weights[i].sum()) @ dense[positions[i]]
        part = slice(found.start[i], found.start[i + 1])
        assert found.index[part].tolist() == list(range(6))
        assert found.value[part].tolist() == pytest.approx(mean, abs=1e-5)
