"""Compiled greedy choices against the same written plainly in NumPy, with many equal vectors."""

import itertools

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from jftdata.subset import greedy
from tests.strategies import unit_vectors, vectors_with_copies


def products(x, y):
    """Similarities, summed in float32 in the order of the dimensions."""
    out = np.zeros((len(x), len(y)), np.float32)
    for j in range(x.shape[1]):
        out += x[:, j, None] * y[:, j]
    return out


def plainly(vectors, first, size):
    chosen = [first]
    nearest = np.full(len(vectors), np.float32(-2))
    while len(chosen) < size:
        nearest = np.maximum(nearest, products(vectors, vectors[chosen[-1:]])[:, 0])
        nearest[chosen] = 9
        chosen.append(int(nearest.argmin()))
    return chosen


@given(vectors_with_copies(), st.data())
@example(unit_vectors(1, 1500, 4), None)
@example(unit_vectors(1, 300, 5)[np.arange(2100) // 7], None)
def test_the_farthest_come_first_as_one_by_one(vectors, data):
    size = data.draw(st.integers(1, len(vectors))) if data else 700
    first = data.draw(st.integers(0, len(vectors) - 1)) if data else 11
    assert greedy.farthest_first(vectors, first=first, size=size).tolist() == plainly(vectors, first, size)


@given(vectors_with_copies(max_count=150))
def test_the_most_similar_one_before(vectors):
    alike = np.where(np.tri(len(vectors), k=-1, dtype=np.bool_), products(vectors, vectors), np.float32(-2))
    assert greedy.most_alike_before(vectors).tolist() == alike.max(axis=1).tolist()


@st.composite
def tables(draw):
    """Values of 1 to 9 candidates for 1 to 9 to serve, many of them equal or none."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    return np.array(draw(st.lists(values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))).reshape(shape)


@given(tables(), st.data())
def test_a_lazy_choice_is_the_greedy_one_and_near_the_best(table, data):
    size = data.draw(st.integers(1, len(table)))
    start = np.concatenate([[0], np.cumsum((table > 0).sum(axis=1))])
    row, served = np.nonzero(table)
    found = greedy.best_served(
        start, served.astype(np.int32), table[row, served], num_served=table.shape[1], size=size
    ).tolist()
    chosen = []
    for _ in range(size):
        best = table[chosen].max(axis=0, initial=0.0)
        gain = np.maximum(table - best, 0).sum(axis=1)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
    assert found == chosen
    optimum = max(table[list(some)].max(axis=0).sum() for some in itertools.combinations(range(len(table)), size))
    assert table[found].max(axis=0).sum() >= (1 - 1 / np.e) * optimum
