import math
from itertools import groupby

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import subset
from jftdata.errors import BadArgument, UnknownName, UnknownOption
from jftdata.hashing import keyed_hash
from jftdata.hierarchy import Hierarchy
from jftdata.subset.core import Subset
from jftdata.subset.strata import allot
from tests.label_cases import counted, filled, given_labels, label_catalog, labelled, long_tail, shuffled


@st.composite
def shares(draw):
    """A total, weights and bounds that it fits."""
    rows = draw(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9), st.integers(0, 20)), min_size=1, max_size=12))
    weights, low, more = (np.array(column) for column in zip(*rows, strict=True))
    high = low + more
    return draw(st.integers(int(low.sum()), int(high.sum()))), weights / 7.0, low, high


@given(shares())
def test_shares_are_in_proportion_within_their_bounds(case):
    total, weights, low, high = case
    out = allot(total, weights, low, high)
    assert out.sum() == total
    assert ((out >= low) & (out <= high)).all()
    up = max(((n - 1) / w for n, w, least in zip(out, weights, low, strict=True) if n > least), default=-math.inf)
    down = min(((n + 1) / w for n, w, most in zip(out, weights, high, strict=True) if n < most), default=math.inf)
    assert up < down + 1e-9  # what one has too much another does not lack


def poured(total, low, high):
    """Equal shares, one unit after another to whoever has least of those with room."""
    out = list(low)
    for _ in range(total - sum(low)):
        at = min((i for i in range(len(out)) if out[i] < high[i]), key=lambda i: (out[i], i))
        out[at] += 1
    return out


@given(shares())
def test_equal_shares_are_those_poured_out_one_by_one(case):
    total, weights, low, high = case
    assert allot(total, np.ones(len(weights)), low, high).tolist() == poured(total, low.tolist(), high.tolist())


def strata_of(catalog):
    """Images by their rarest label, in hash order for seed 5."""
    own = given_labels(catalog)
    n = counted(own.values())
    at = catalog.hierarchy.index
    of = {i: min(labels, key=lambda x: (n[x], at(x))) for i, labels in own.items() if labels}
    ordered = sorted(of, key=lambda i: (of[i], int(keyed_hash(np.array([i]), seed=5, stream="stratified")[0])))
    return {label: list(images) for label, images in groupby(ordered, key=of.__getitem__)}


def along_tree(graph, tree, budget, n, least):
    """Equal shares from the roots down, by recursion; a label with several parents has the first."""
    first = {x: min(graph.predecessors(x), key=tree.index, default=None) for x in tree.labels}
    own = {x: (min(least, n.get(x, 0)), n.get(x, 0)) for x in tree.labels}

    def below(label):
        parts = [own[label], *(below(x) for x in tree.labels if first[x] == label)]
        return tuple(map(sum, zip(*parts, strict=True)))

    def share(label, budget, out):
        children = [x for x in tree.labels if first[x] == label and below(x)[1]]
        bounds = [(0, 0) if label is None else own[label], *(below(x) for x in children)]
        parts = poured(budget, *zip(*bounds, strict=True))
        out[label] = parts[0]
        for child, part in zip(children, parts[1:], strict=True):
            share(child, part, out)
        return out

    return share(None, budget, {})


@settings(max_examples=20)
@given(labelled(max_images=30), st.sampled_from(["proportional", "equal", "square-root", "tree"]), st.data())
def test_strata_have_their_quotas_and_the_lowest_hashes(tmp_path_factory, case, quota, data):
    graph, lists = case
    tree = Hierarchy.from_networkx(graph)
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "strata", tree, lists)
    strata = strata_of(catalog)
    n = {label: len(images) for label, images in strata.items()}
    least = data.draw(st.integers(0, 2))
    low = sum(min(least, m) for m in n.values())
    if not n:
        with pytest.raises(BadArgument, match=r"`size` must be in 1\.\.0"):
            subset.stratified(catalog, size=1, seed=5, quota=quota)
        return
    size = data.draw(st.integers(max(1, low), sum(n.values())))
    taken = set(subset.stratified(catalog, size=size, seed=5, quota=quota, least=least).images.tolist())
    assert len(taken) == size
    got = {label: len(taken.intersection(images)) for label, images in strata.items()}
    for label, images in strata.items():
        assert taken.intersection(images) == set(images[: got[label]])
        assert got[label] >= min(least, n[label])
    if quota == "tree":
        expected = along_tree(graph, tree, size, n, least)
        assert got == {label: expected[label] for label in got}
    elif quota == "proportional" and least == 0:
        assert all(abs(got[label] - size * n[label] / sum(n.values())) < 1 for label in n)
    elif quota == "equal":
        labels = sorted(n, key=lambda x: (counted(given_labels(catalog).values())[x], tree.index(x)))
        poured_out = poured(size, [min(least, n[x]) for x in labels], [n[x] for x in labels])
        assert [got[x] for x in labels] == poured_out


@settings(max_examples=20)
@given(labelled(max_images=30, min_labels=1), st.data())
def test_given_quotas_count_images_below_and_each_image_once(tmp_path_factory, case, data):
    graph, lists = case
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "given", Hierarchy.from_networkx(graph), lists)
    has = {i: filled(graph, own) for i, own in given_labels(catalog).items()}
    n = counted(has.values())
    asked = data.draw(st.sets(st.sampled_from(sorted(n)), min_size=1))
    rarity = {x: (n[x], catalog.hierarchy.index(x)) for x in asked}
    of = {i: min(own & asked, key=rarity.__getitem__) for i, own in has.items() if own & asked}
    room = counted([label] for label in of.values())
    quota = {x: data.draw(st.integers(1, room[x])) for x in asked if room[x]}
    if quota.keys() < asked:
        with pytest.raises(BadArgument, match=r"must be in 1\.\.0"):
            subset.stratified(catalog, seed=5, quota=dict.fromkeys(asked, 1))
        return
    taken = subset.stratified(catalog, seed=5, quota=quota).images.tolist()
    assert counted([of[i]] for i in taken) == quota


def test_the_budget_is_shared_at_every_label_of_the_tree(tmp_path):
    tree = Hierarchy.from_networkx(nx.DiGraph([("animal", "cat"), ("animal", "dog"), ("vehicle", "bus")]))
    lists = [["cat"]] * 50 + [["dog"]] * 50 + [["bus"]] * 50 + [["vehicle"]] * 3
    catalog = label_catalog(tmp_path / "c", tree, lists)
    got = subset.stratified(catalog, size=40, seed=0, quota="tree").counts
    assert dict(got.select("label", "num_given").iter_rows()) == {
        "animal": 0,
        "vehicle": 3,
        "cat": 10,
        "dog": 10,
        "bus": 17,
    }


def test_the_same_images_whatever_the_row_order_and_from_the_recipe(tmp_path):
    table = long_tail(tmp_path / "c")
    other = shuffled(table, tmp_path / "other")
    for options in ({"quota": "tree", "size": 1200}, {"quota": {"fish": 20, "tank": 1}}):
        made = subset.stratified(table, seed=1, **options)
        assert subset.stratified(other, seed=1, **options).fingerprint == made.fingerprint
        made.save(tmp_path / made.fingerprint)
        assert subset.make(Subset.open(tmp_path / made.fingerprint).recipe, table).fingerprint == made.fingerprint


def test_reasons_name_stratum_and_quota(tmp_path):
    catalog = label_catalog(tmp_path / "c", Hierarchy.load("toy"), [["dog"], ["cat", "dog"], ["dog"], []])
    of = {tuple(sorted(labels)): i for i, labels in given_labels(catalog).items()}
    made = subset.stratified(catalog, size=2, seed=0)
    assert subset.explain(made, of["cat", "dog"])[-1].why == "it is of the stratum cat: 1 of 1 images, by keyed hash"
    assert subset.explain(made, of[()])[-1].why == "it has no label with a quota"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 25}, BadArgument, r"`size` must be in 3\.\.24, .*Got 25"),
        ({"size": 2}, BadArgument, r"from 1 for each label"),
        ({"size": 30, "least": 10}, BadArgument, r"24\.\.24"),
        ({}, BadArgument, "Got None"),
        ({"size": 5, "quota": "eqal"}, UnknownOption, "Did you mean 'equal'"),
        ({"quota": {"cta": 5}}, UnknownName, "Did you mean 'cat'"),
        ({"quota": {"cat": 9}}, BadArgument, r"'cat' must be in 1\.\.8, .*Got 9"),
        ({"quota": {"cat": 0}}, BadArgument, "Got 0"),
        ({"quota": {"cat": 3}, "size": 4}, BadArgument, "`size` must be 3, the sum of the quotas"),
    ],
)
def test_quotas_that_cannot_be_met(photo_catalog, options, error, message):
    with pytest.raises(error, match=message):
        subset.stratified(photo_catalog, seed=0, **options)
