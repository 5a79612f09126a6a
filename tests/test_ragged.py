"""Ragged tables against lists of lists."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jftdata import ragged

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=12)


def lists(start, index):
    return [index[a:b].tolist() for a, b in itertools.pairwise(start)]


@given(ROWS, st.data())
def test_tables_hold_what_lists_hold(rows, data):
    start, index = ragged.of_lists(rows)
    assert lists(start, index) == rows
    assert ragged.owners(start).tolist() == [i for i, row in enumerate(rows) for _ in row]
    assert lists(start, ragged.sort_rows(start, index)) == [sorted(row) for row in rows]
    if rows:
        asked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)), np.int64)
        assert lists(*ragged.take_rows(start, index, asked)) == [rows[i] for i in asked]
    back = ragged.transpose(start, index, 10)
    assert lists(*back) == [[i for i, row in enumerate(rows) for x in row if x == number] for number in range(10)]
    keys = ragged.owners(start) * 10 + index
    assert lists(*ragged.from_keys(keys, num_rows=len(rows), width=10)) == [sorted(set(row)) for row in rows]


@given(st.lists(st.integers(-5, 5)))
def test_distinct_values_are_sorted(values):
    assert ragged.unique(np.array(values, np.int64)).tolist() == sorted(set(values))
