"""Tables of results, against scikit-learn's confusion matrix and hand-made rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from jftdata.errors import BadArgument
from jftdata.results import SCHEMA, Results
from jftdata.transfer.tables import BY_CLASS, CONFUSED, by_class, confused


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_confused_pairs_are_the_wrong_ones_of_scikit_learns_matrix(pairs: list[tuple[int, int]]) -> None:
    names = ["a", "b", "c", "d"]
    truth, predicted = [t for t, _ in pairs], [p for _, p in pairs]
    matrix = confusion_matrix(truth, predicted, labels=range(4)) if pairs else np.zeros((4, 4))
    table = confused(matrix.astype(np.float64), names)
    assert dict(table.schema) == CONFUSED
    assert table["pixels"].is_sorted(descending=True)
    wrong = [(t, p) for t, p in pairs if t != p]
    assert len(table) == len(set(wrong))
    for t, p, pixels, share in table.iter_rows():
        pair = names.index(t), names.index(p)
        assert pixels == wrong.count(pair)
        assert share == pytest.approx(pixels / truth.count(pair[0]))


def test_a_matrix_of_another_size_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"must have 2 rows and columns, one a class. Got \(3, 3\)"):
        confused(np.zeros((3, 3)), ["sky", "kite"])


def test_classes_are_told_from_other_metrics_and_the_lowest_comes_first() -> None:
    rows = []
    values = {"mean IoU": 0.5, "IoU (cat)": 0.7, "IoU (dog)": 0.3, "mAP (11-point)": 0.1, "AP (cat)": 0.2}
    for metric, value in values.items():
        row = dict.fromkeys(SCHEMA)
        rows.append(
            {**row, "task": "segmentation", "mode": "frozen", "checkpoint": "c", "metric": metric, "value": value}
        )
    table = by_class(Results.of(rows), ["cat", "dog", "11-point"], metric="IoU")
    assert dict(table.schema) == BY_CLASS
    assert table.select("class", "value").rows() == [("dog", 0.3), ("cat", 0.7)]
    assert len(by_class(Results.of(rows), [], metric="IoU")) == 0
