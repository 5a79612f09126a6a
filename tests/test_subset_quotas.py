import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from jftdata import subset
from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.subset.core import Subset
from tests.label_cases import counted, filled, given_labels, label_catalog, labelled, long_tail, shuffled

LIMITS = st.integers(1, 4)


@st.composite
def limited(draw):
    """A labelled case, and a number for all labels or for some of them."""
    graph, lists = draw(labelled())
    some = st.dictionaries(st.sampled_from(sorted(graph)), LIMITS, min_size=1)
    return graph, lists, draw(LIMITS | some)


def sets_of(catalog, graph, ancestors):
    """What each image counts for."""
    return {i: filled(graph, own) if ancestors else own for i, own in given_labels(catalog).items()}


def solved(sets, limit, *, cover, keep=()):
    """The exact number of images, by integer programming: most below the limits, or fewest that reach them."""
    n = counted(sets.values())
    labels = [x for x in n if x in limit]
    if not labels:
        return len(keep) if cover else len(sets)
    table = np.array([[x in own for own in sets.values()] for x in labels], float)
    limits = np.array([min(limit[x], n[x]) for x in labels])
    within = LinearConstraint(table, limits, np.inf) if cover else LinearConstraint(table, -np.inf, limits)
    kept = np.array([i in keep for i in sets], float)
    cost = np.ones(len(sets)) if cover else -np.ones(len(sets))
    found = milp(cost, constraints=within, integrality=np.ones(len(sets)), bounds=Bounds(kept, 1))
    return round(abs(found.fun))


def by_label(graph, limits):
    return limits if isinstance(limits, dict) else dict.fromkeys(graph, limits)


@settings(max_examples=25)
@given(limited(), st.booleans(), st.integers(0, 3))
def test_capped_images_are_many_and_no_label_is_above_its_cap(tmp_path_factory, case, ancestors, seed):
    graph, lists, limits = case
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "cap", Hierarchy.from_networkx(graph), lists)
    sets, most = sets_of(catalog, graph, ancestors), by_label(graph, limits)
    taken = set(subset.cap(catalog, most=limits, seed=seed, ancestors=ancestors).images.tolist())
    n, whole = counted(sets[i] for i in taken), counted(sets.values())
    assert all(n[x] <= most[x] for x in most)
    for left in sets.keys() - taken:  # none of them could be added
        assert any(n[x] == most.get(x) for x in sets[left])
    binding = {x for x in most if whole[x] > most[x]}
    bound = max(1, max(len(own & binding) for own in sets.values()))
    best = solved(sets, {x: most[x] for x in binding}, cover=False)
    assert best / bound <= len(taken) <= best


def test_capped_images_are_nearly_as_many_as_possible(tmp_path):
    rng = np.random.default_rng(0)
    tree = Hierarchy.flat([f"l{i:02d}" for i in range(40)])
    share = 1 / np.arange(5, 45)
    kept = best = 0
    for _ in range(5):
        lists = [rng.choice(tree.labels, k, replace=False, p=share / share.sum()) for k in rng.integers(1, 5, 400)]
        most = dict.fromkeys(tree.labels, 8)
        sets = {i: set(own.tolist()) for i, own in enumerate(lists)}
        best += solved(sets, most, cover=False)
        catalog = label_catalog(tmp_path / "c", tree, [own.tolist() for own in lists])
        kept += len(subset.cap(catalog, most=8, seed=0))
    assert kept > 0.95 * best


@settings(max_examples=25)
@given(limited(), st.booleans(), st.integers(0, 3), st.data())
def test_floors_are_reached_with_few_images(tmp_path_factory, case, ancestors, seed, data):
    graph, lists, limits = case
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "floor", Hierarchy.from_networkx(graph), lists)
    sets, least = sets_of(catalog, graph, ancestors), by_label(graph, limits)
    keep = data.draw(st.sets(st.sampled_from(sorted(sets))))
    n = counted(sets.values())
    if not keep and not any(n[x] for x in least):
        with pytest.raises(BadInput, match="no image is left"):
            subset.floor(catalog, least=limits, seed=seed, ancestors=ancestors)
        return
    kept = np.array(sorted(keep), np.int64) if keep else None
    taken = set(subset.floor(catalog, least=limits, seed=seed, ancestors=ancestors, keep=kept).images.tolist())
    assert keep <= taken
    have = counted(sets[i] for i in taken)
    need = {x: min(least[x], n[x]) for x in least}
    assert all(have[x] >= need[x] for x in need)
    for i in taken - keep:  # none of them could be left out
        assert any(have[x] == need.get(x) for x in sets[i])
    added, most = solved(sets, least, cover=True, keep=keep) - len(keep), max(map(len, sets.values()))
    assert added <= len(taken) - len(keep) <= added * sum(1 / k for k in range(1, most + 1)) + 1e-9


def test_images_with_one_label_are_capped_and_floored_exactly(tmp_path):
    table = long_tail(tmp_path / "c")
    alone = subset.by_value(table, of="num_labels", most=1)
    n = alone.counts["num_given"].to_numpy()
    capped = subset.cap(alone, most=3, seed=1)
    assert capped.counts["num_given"].to_list() == np.minimum(n, 3).tolist()
    assert (
        subset.floor(alone, least=3, seed=1, ancestors=False).counts["num_given"].to_list() == np.minimum(n, 3).tolist()
    )
    assert len(subset.cap(alone, most=3, seed=2) & capped) < len(capped)


def test_a_floor_adds_to_a_capped_subset_what_is_missing(tmp_path):
    table = long_tail(tmp_path / "c")
    capped = subset.cap(table, most=2, seed=0)
    both = subset.floor(table, least=3, seed=0, ancestors=False, keep=capped)
    assert len(both & capped) == len(capped)
    have, n = both.counts["num_given"].to_numpy(), table_counts(table)
    assert (have >= np.minimum(n, 3)).all()
    assert len(both - capped) <= np.maximum(np.minimum(n, 3) - capped.counts["num_given"].to_numpy(), 0).sum()
    assert len(subset.floor(table, least=2, seed=0, ancestors=False, keep=both)) == len(both)


def table_counts(table):
    return subset.everything(table).counts["num_given"].to_numpy()


def test_the_same_images_whatever_the_row_order_and_from_the_recipe(tmp_path):
    table = long_tail(tmp_path / "c")
    other = shuffled(table, tmp_path / "other")
    for make in (
        lambda c: subset.cap(c, most={"fish": 20, "tank": 2}, seed=3, ancestors=True),
        lambda c: subset.cap(c, most=2, seed=3),
        lambda c: subset.floor(c, least=2, seed=3, keep=subset.sample(c, size=100, seed=1)),
    ):
        made = make(table)
        assert make(other).fingerprint == made.fingerprint
        made.save(tmp_path / made.fingerprint)
        assert subset.make(Subset.open(tmp_path / made.fingerprint).recipe, table).fingerprint == made.fingerprint


def test_reasons_give_counts_and_limits(tmp_path):
    catalog = label_catalog(tmp_path / "c", Hierarchy.load("toy"), [["dog"], ["cat", "bus"], ["dog"], []])
    of = {tuple(sorted(labels)): i for i, labels in given_labels(catalog).items()}
    capped = subset.cap(catalog, most=1, seed=0)
    assert "it competes for dog (2 images, at most 1)" in subset.explain(capped, of["dog",])[-1].why
    assert "none of its labels has more images" in subset.explain(capped, of["bus", "cat"])[-1].why
    floored = subset.floor(catalog, least={"pet": 2}, seed=0, keep=[of[()]])
    assert subset.explain(floored, of["dog",])[-1].why == "it counts for pet (3 images, at least 2)"
    assert subset.explain(floored, of[()])[-1].why == "it is one of those kept in any case"


@pytest.mark.parametrize("number", [0, -3, 1.5, float("nan")])
def test_limits_that_are_none(photo_catalog, number):
    with pytest.raises(BadArgument, match=rf"`most` must be a whole number, at least 1\. Got {number}.*without_labels"):
        subset.cap(photo_catalog, most=number, seed=0)
    with pytest.raises(BadArgument, match=r"`least` must be a whole number, at least 1"):
        subset.floor(photo_catalog, least={"cat": number}, seed=0)


def test_limits_of_unknown_labels_and_images_are_refused(photo_catalog):
    with pytest.raises(UnknownName, match="Did you mean 'cat'"):
        subset.cap(photo_catalog, most={"cta": 2}, seed=0)
    with pytest.raises(BadInput, match="not among the 24"):
        subset.floor(photo_catalog, least=2, seed=0, keep=[17])
