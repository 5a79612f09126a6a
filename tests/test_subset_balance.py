import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import subset
from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.hashing import keyed_hash, uniform
from jftdata.hierarchy import Hierarchy
from jftdata.subset.core import Subset
from tests.label_cases import counted, filled, given_labels, label_catalog, labelled, long_tail, shuffled

RULES = {
    "square-root": lambda n, beta: 1 / math.sqrt(n),
    "effective-number": lambda n, beta: (1 - beta) / (1 - beta**n),
    "equal": lambda n, beta: 1 / n,
}


def by_id(made):
    return dict(zip(made.images.tolist(), made.weights.tolist(), strict=True))


@settings(max_examples=25)
@given(labelled(max_images=30), st.floats(0.01, 1), st.booleans())
def test_repeat_factors_are_those_of_the_definition(tmp_path_factory, case, threshold, ancestors):
    graph, lists = case
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "repeat", Hierarchy.from_networkx(graph), lists)
    given_to = given_labels(catalog)
    n = counted(filled(graph, own) if ancestors else own for own in given_to.values())
    found = by_id(subset.repeat_factors(catalog, threshold=threshold, ancestors=ancestors))
    for image, own in given_to.items():
        factors = [max(1, math.sqrt(threshold / (n[x] / len(lists)))) for x in own]
        assert found[image] == pytest.approx(max(factors, default=1))


@settings(max_examples=25)
@given(labelled(max_images=30), st.sampled_from(sorted(RULES)), st.floats(0, 0.999), st.integers(0, 9), st.data())
def test_weights_and_draws_are_those_of_the_definition(tmp_path_factory, case, rule, beta, seed, data):
    graph, lists = case
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "weights", Hierarchy.from_networkx(graph), lists)
    own = {i: labels for i, labels in given_labels(catalog).items() if labels}
    n = counted(own.values())
    weight = {i: max(RULES[rule](n[x], beta) for x in labels) for i, labels in own.items()}
    if not own:
        with pytest.raises(BadArgument, match=r"1\.\.0"):
            subset.balanced(catalog, size=1, seed=seed, rule=rule)
        with pytest.raises(BadInput, match="no image is left"):
            subset.balanced(catalog, seed=seed, rule=rule)
        return
    found = by_id(subset.balanced(catalog, seed=seed, rule=rule, beta=beta))
    mean = sum(weight.values()) / len(weight)
    assert found == pytest.approx({i: w / mean for i, w in weight.items()})
    draw = {i: uniform(keyed_hash(np.array([i]), seed=seed, stream="balanced"))[0] for i in own}
    ordered = sorted(own, key=lambda i: -np.log1p(-draw[i]) / weight[i])
    size = data.draw(st.integers(1, len(own)))
    drawn = subset.balanced(catalog, size=size, seed=seed, rule=rule, beta=beta)
    assert set(drawn.images.tolist()) == set(ordered[:size])


def test_the_first_draw_is_in_proportion_to_the_weights(tmp_path):
    lists = [["bus"]] * 16 + [["dog"]] * 4 + [["cat", "bus"]]
    catalog = label_catalog(tmp_path / "c", Hierarchy.load("toy"), lists)
    own, source = given_labels(catalog), subset.everything(catalog)
    drawn = counted(own[subset.balanced(source, size=1, seed=s, rule="equal").images[0]] for s in range(200))
    share = 1 / (2 + 16 / 17)  # the weights are 1/17 for 16 buses, 1/4 for 4 dogs and 1 for the cat
    for often in (drawn["dog"], drawn["cat"]):
        assert abs(often - 200 * share) < 4 * math.sqrt(200 * share * (1 - share))


def test_balance_evens_out_the_labels_and_sizes_nest(tmp_path):
    table = long_tail(tmp_path / "c")
    sizes = [50, 300, 1200]
    made = [subset.balanced(table, size=size, seed=0) for size in sizes]
    assert [len(s) for s in made] == sizes
    for small, large in itertools.pairwise(made):
        assert len(small & large) == len(small)
    even = subset.balanced(table, size=300, seed=0, rule="equal")
    used = [(s.counts["num_given"] > 0).sum() for s in (subset.sample(table, size=300, seed=0), made[1], even)]
    assert used[0] < used[1] < used[2]


def test_the_same_images_and_weights_whatever_the_row_order_and_from_the_recipe(tmp_path):
    table = long_tail(tmp_path / "c")
    other = shuffled(table, tmp_path / "other")
    for make in (
        lambda c: subset.repeat_factors(c, threshold=0.01),
        lambda c: subset.balanced(c, seed=1, rule="effective-number"),
        lambda c: subset.balanced(c, size=777, seed=1),
    ):
        made = make(table)
        assert make(other).fingerprint == made.fingerprint
        made.save(tmp_path / made.fingerprint)
        assert subset.make(Subset.open(tmp_path / made.fingerprint).recipe, table).fingerprint == made.fingerprint


def test_reasons_give_the_weight(tmp_path):
    catalog = label_catalog(tmp_path / "c", Hierarchy.load("toy"), [["dog"], ["cat", "dog"], ["dog"], ["dog"], []])
    of = {tuple(sorted(labels)): i for i, labels in given_labels(catalog).items()}
    factors = subset.repeat_factors(catalog, threshold=0.8)
    assert subset.explain(factors, of["cat", "dog"])[-1].why == (
        "weight 2, the largest of cat (1 images, 2), dog (4 images, 1)"
    )
    assert subset.explain(factors, of[()])[-1].why == "weight 1, the largest of no label"
    even = subset.balanced(catalog, seed=0, rule="equal", size=2)
    assert subset.explain(even, of["dog",])[-1].why.startswith(
        "weight 0.25 before scaling, of its rarest label dog (4 images);"
    )
    assert subset.explain(even, of[()])[-1].why == "it has no label"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, BadArgument, r"1\.\.24, the images with a label\. Got 0"),
        ({"size": 25}, BadArgument, r"1\.\.24, the images with a label\. Got 25"),
        ({"rule": "sqrt"}, UnknownOption, "Known: effective-number, equal, square-root"),
        ({"beta": 1}, BadArgument, r"`beta` must be in \[0, 1\)\. Got 1"),
    ],
)
def test_balances_that_are_none(photo_catalog, options, error, message):
    with pytest.raises(error, match=message):
        subset.balanced(photo_catalog, seed=0, **options)


@pytest.mark.parametrize("threshold", [0, 1.5, -1])
def test_thresholds_that_are_no_share(photo_catalog, threshold):
    with pytest.raises(BadArgument, match=rf"share of images in \(0, 1\]\. Got {threshold}"):
        subset.repeat_factors(photo_catalog, threshold=threshold)
