import polars as pl
import pytest

from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.noise import PROBABILITIES, Probabilities
from jftdata.noise.probabilities import check_tree

TREE = Hierarchy.load("toy")


def frame(*rows):
    return pl.DataFrame(rows, schema=PROBABILITIES, orient="row")


def test_probabilities_come_back_sorted_by_image_and_label():
    found = Probabilities.of(frame((9, "dog", 0.25), (4, "cat", 0.5), (9, "cat", 0.75)), TREE)
    assert found.images.tolist() == [4, 9]
    assert found.frame().rows() == [(4, "cat", 0.5), (9, "cat", 0.75), (9, "dog", 0.25)]
    assert found.rows(found.images[1:]).frame().rows() == [(9, "cat", 0.75), (9, "dog", 0.25)]


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), None])
def test_what_is_no_probability_is_refused_by_name(value):
    with pytest.raises(BadInput, match=r"must be in 0..1. Got .* for label 'dog' of image 9"):
        Probabilities.of(frame((4, "cat", 0.5), (9, "dog", value)), TREE)


def test_bad_rows_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'cat'"):
        Probabilities.of(frame((4, "catt", 0.5)), TREE)
    with pytest.raises(BadInput, match="'cat' of image 4 has two probabilities"):
        Probabilities.of(frame((4, "cat", 0.5), (4, "cat", 0.4)), TREE)
    with pytest.raises(BadInput, match=r"of image 4 sum to 1.400"):
        Probabilities.of(frame((4, "cat", 0.7), (4, "dog", 0.7)), TREE)
    assert len(Probabilities.of(frame((4, "cat", 0.7), (4, "dog", 0.7)), TREE, exclusive=False).index) == 2
    with pytest.raises(BadInput, match="no column 'probability'"):
        Probabilities.of(frame().drop("probability"), TREE)
    with pytest.raises(UnknownName, match="1 images of the catalog have no probabilities, for example 5"):
        Probabilities.of(frame((4, "cat", 0.7)), TREE).rows(pl.Series([4, 5]).to_numpy())
    with pytest.raises(BadArgument, match="of the hierarchy 'toy', the catalog has 'flat'"):
        check_tree(TREE, Hierarchy.flat(["a"]))
