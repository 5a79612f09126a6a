"""Web signals: every pair is a function of its place, signals rise with the truth, labels differ and rare ones hold less often."""

import numpy as np
import polars as pl
import pytest

from jftdata.errors import BadArgument
from jftdata.hierarchy import Hierarchy
from jftdata.world.signals import LABELS_AN_IMAGE, SIGNALS, web_signals

TREE = Hierarchy.load("world")


@pytest.fixture(scope="module")
def pairs():
    return web_signals(60_000, seed=3, hierarchy=TREE)


def test_a_pair_is_a_function_of_its_place_and_seed(pairs):
    assert pairs.schema == pl.Schema(SIGNALS)
    piece = web_signals(1_000, seed=3, hierarchy=TREE, first=12_345)
    text = pl.col("label", "source").cast(pl.String)
    assert piece.with_columns(text).equals(pairs.slice(12_345, 1_000).with_columns(text))
    assert not web_signals(1_000, seed=4, hierarchy=TREE)["score"].equals(pairs["score"][:1_000])


def test_an_image_has_different_labels(pairs):
    by_image = pairs.group_by("image").agg(pl.len(), num=pl.col("label").n_unique())
    assert by_image["len"].unique().to_list() == [LABELS_AN_IMAGE]
    assert by_image["num"].unique().to_list() == [LABELS_AN_IMAGE]


def test_every_signal_is_higher_where_the_label_holds(pairs):
    means = (
        pairs.group_by("correct")
        .agg(pl.col("score", "text", "feedback").mean(), pl.col("clicks").median())
        .sort("correct")
    )
    for name in ("score", "text", "clicks", "feedback"):
        assert means[name][1] > means[name][0], name
    assert pairs["score"].is_between(0, 1).all()
    assert 0.9 < pairs["feedback"].null_count() / len(pairs) < 1


def test_signals_agree_beyond_the_truth(pairs):
    wrong = pairs.filter(~pl.col("correct")).drop_nulls(["text", "score"])
    assert np.corrcoef(wrong["score"], wrong["text"])[0, 1] > 0.1


def test_labels_differ_and_rare_ones_hold_less_often():
    pairs = web_signals(200_000, seed=5, hierarchy=TREE)
    by_label = pairs.group_by("label").agg(num=pl.len(), share=pl.col("correct").mean()).sort("num", descending=True)
    assert by_label["num"][0] > 20 * by_label["num"][-1]
    assert by_label["share"].std() > 0.1
    assert by_label["share"][:25].mean() > by_label["share"][-100:].mean() + 0.05


def test_too_few_labels_and_negative_numbers_are_refused():
    with pytest.raises(BadArgument, match=r"need 3 labels\. Got 2"):
        web_signals(1, seed=0, hierarchy=Hierarchy.flat(["a", "b"]))
    with pytest.raises(BadArgument, match=r"at least 0\. Got -1"):
        web_signals(-1, seed=0, hierarchy=TREE)
