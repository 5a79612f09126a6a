"""Ragged integer tables, as the pair (start, index): row i is index[start[i]:start[i + 1]]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ragged = tuple[NDArray[np.int64], NDArray[np.int32]]


def unique(values: NDArray[Any]) -> NDArray[Any]:
    """Sorted distinct values; on millions several times as fast as np.unique."""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def ascending(values: NDArray[Any]) -> NDArray[Any]:
    """Sorted distinct values; the same array if it is so already."""
    return values if (values[1:] > values[:-1]).all() else unique(values)


def in_sorted(values: NDArray[Any], ascending: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are among the ascending ones; nothing is built anew.

    >>> in_sorted(np.array([3, 1, 9]), np.array([1, 2, 3]))
    array([ True,  True, False])
    """
    found = np.zeros(len(values), np.bool_)
    at = np.searchsorted(ascending, values)
    inside = at < len(ascending)
    found[inside] = ascending[at[inside]] == values[inside]
    return found


def ranges(first: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers first[i], first[i] + 1, ... of each range, one range after another.

    >>> ranges(np.array([5, 0]), np.array([2, 3]))
    array([5, 6, 0, 1, 2])
    """
    ends = np.cumsum(lengths)
    steps = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
    return steps + np.repeat(first - (ends - lengths), lengths).astype(np.int64, copy=False)


def of_lists(rows: Any) -> Ragged:
    """A table of sequences of integers."""
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=start[1:])
    return start, np.array([value for row in rows for value in row], np.int32)


def owners(start: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each entry."""
    return np.repeat(np.arange(len(start) - 1), np.diff(start))


def take_rows(start: NDArray[np.int64], index: NDArray[np.int32], rows: NDArray[Any]) -> Ragged:
    """Some rows, in the order asked for."""
    lengths = start[1:][rows] - start[:-1][rows]
    out = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out, index[ranges(start[rows], lengths)]


def sort_rows(start: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each row ascending."""
    return index[np.lexsort((index, owners(start)))]


def transpose(start: NDArray[np.int64], index: NDArray[Any], num: int) -> Ragged:
    """The rows that hold each number below `num`, ascending."""
    out = np.zeros(num + 1, np.int64)
    np.cumsum(np.bincount(index, minlength=num), out=out[1:])
    return out, owners(start).astype(np.int32)[np.argsort(index, kind="stable")]


def from_keys(keys: NDArray[np.int64], *, num_rows: int, width: int) -> Ragged:
    """A table from the keys row * width + value: rows ascending, each value once."""
    keys = unique(keys)
    start = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(keys // width, minlength=num_rows), out=start[1:])
    return start, (keys % width).astype(np.int32)
