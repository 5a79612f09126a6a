import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import subset
from jftdata.errors import BadArgument, BadInput, UnknownName, UnknownOption
from jftdata.hierarchy import Crosswalk, Hierarchy, match
from jftdata.subset.core import Subset
from tests.label_cases import counted, filled, given_labels, label_catalog, labelled, long_tail, shuffled

TOY = [["cat"], ["house cat", "bus"], ["dog"], [], ["pet"], ["animal", "bus"]]


@pytest.fixture
def toy(tmp_path):
    return label_catalog(tmp_path / "toy", Hierarchy.load("toy"), TOY)


def ids(make):
    """The images of a subset; none where it is refused for having none."""
    try:
        return set(make().images.tolist())
    except BadInput:
        with pytest.raises(BadInput, match="no image is left"):
            make()
        return set()


@settings(max_examples=25)
@given(labelled(), st.data(), st.sampled_from(["any", "all"]), st.booleans())
def test_labels_are_those_of_a_search_with_networkx(tmp_path_factory, case, data, any_or_all, descendants):
    graph, lists = case
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "labels", Hierarchy.from_networkx(graph), lists)
    asked = data.draw(st.lists(st.sampled_from(sorted(graph)), min_size=1))
    enough = any if any_or_all == "any" else all
    has = {i: filled(graph, own) if descendants else own for i, own in given_labels(catalog).items()}
    expected = {i for i, own in has.items() if enough(label in own for label in asked)}
    found = ids(lambda: subset.with_labels(catalog, labels=asked, descendants=descendants, any_or_all=any_or_all))
    assert found == expected
    if any_or_all == "any":
        without = ids(lambda: subset.without_labels(catalog, labels=asked, descendants=descendants))
        assert without == has.keys() - expected


@settings(max_examples=25)
@given(labelled(max_images=40), st.integers(0, 4), st.integers(0, 8), st.booleans())
def test_head_medium_and_tail_are_those_of_counted_labels(tmp_path_factory, case, few, more, only):
    graph, lists = case
    catalog = label_catalog(tmp_path_factory.getbasetemp() / "parts", Hierarchy.from_networkx(graph), lists)
    given_to = given_labels(catalog)
    n = counted(filled(graph, own) for own in given_to.values())
    cuts = (few, few + more)
    parts = {
        subset.head: {x for x in graph if n[x] > cuts[1]},
        subset.medium: {x for x in graph if cuts[0] <= n[x] <= cuts[1]},
        subset.tail: {x for x in graph if n[x] < cuts[0]},
    }
    for builder, labels in parts.items():
        expected = {i for i, own in given_to.items() if (own and own <= labels if only else own & labels)}
        assert ids(lambda b=builder: b(catalog, cuts=cuts, only=only)) == expected


def test_a_subset_is_searched_and_counted_alone(toy):
    some = subset.only(toy, images=toy.images()[:3])
    own = {i: labels for i, labels in given_labels(toy).items() if i in some}
    n = counted(own.values())
    assert ids(lambda: subset.with_labels(some, labels=["animal"])) == {
        i for i, labels in own.items() if labels & {"animal", "pet", "cat", "house cat", "dog"}
    }
    assert ids(lambda: subset.tail(some, cuts=(2, 2))) == {
        i for i, labels in own.items() if any(n[x] < 2 for x in labels)
    }


def test_labels_come_through_a_crosswalk(toy):
    expected = subset.with_labels(toy, labels=["cat", "bus"]).fingerprint
    found = match(["Cats", "BUS", "yeti"], toy.hierarchy)
    assert subset.with_labels(toy, labels=found).fingerprint == expected
    assert subset.with_labels(toy, labels=pl.DataFrame({"label": ["bus", "cat"]})).fingerprint == expected
    walk = Crosswalk("theirs", {"Cats": ("cat",), "Buses": ("bus",), "yeti": ()}, {})
    assert subset.with_labels(toy, labels=walk.apply(walk.targets)).fingerprint == expected


def test_the_same_images_whatever_the_row_order_and_from_the_recipe(tmp_path):
    table = long_tail(tmp_path / "c")
    other = shuffled(table, tmp_path / "other")
    for make in (
        lambda c: subset.with_labels(c, labels=["fish", "tank"], any_or_all="any"),
        lambda c: subset.without_labels(c, labels=["vehicles_2"]),
        lambda c: subset.tail(c),
        lambda c: subset.medium(c, only=True),
    ):
        made = make(table)
        assert make(other).fingerprint == made.fingerprint
        made.save(tmp_path / made.fingerprint)
        assert subset.make(Subset.open(tmp_path / made.fingerprint).recipe, table).fingerprint == made.fingerprint


def test_reasons_name_the_labels(toy):
    of = {tuple(sorted(labels)): i for i, labels in given_labels(toy).items()}

    def why(made, *labels):
        return subset.explain(made, of[labels])[-1].why

    animals = subset.with_labels(toy, labels=["animal", "bus"])
    assert why(animals, "bus", "house cat") == "its labels are bus (asked for), house cat (asked for as animal)"
    assert why(animals) == "it has no label"
    assert why(subset.without_labels(toy, labels=["pet"], descendants=False), "cat") == "its labels are cat"
    assert why(subset.head(toy, cuts=(2, 4)), "animal", "bus") == (
        "its labels are animal (5 images, head), bus (2 images, medium)"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": ["dogg"]}, UnknownName, "'dogg' is not in the hierarchy.* Did you mean 'dog'"),
        ({"labels": []}, BadArgument, "at least one label"),
        ({"labels": "dog"}, BadArgument, r"must be a list. Got 'dog'. Write \['dog'\]"),
        ({"labels": ["dog"], "any_or_all": "some"}, UnknownOption, "Known: all, any"),
        ({"labels": pl.DataFrame({"name": ["dog"]})}, BadInput, "column `candidate` or `label`"),
    ],
)
def test_labels_that_cannot_be_looked_for(toy, arguments, error, message):
    with pytest.raises(error, match=message):
        subset.with_labels(toy, **arguments)


@pytest.mark.parametrize("cuts", [(5,), (5, 3), (-1, 3)])
def test_cuts_that_are_none(toy, cuts):
    with pytest.raises(BadArgument, match="`cuts` must be two numbers"):
        subset.head(toy, cuts=cuts)


def test_an_image_with_a_label_twice_over_its_descendants_counts_once(tmp_path):
    catalog = label_catalog(tmp_path / "c", Hierarchy.load("toy"), [["cat", "house cat"], ["cat", "bus"]])
    both = subset.with_labels(catalog, labels=["cat", "bus"], any_or_all="all")
    assert [given_labels(catalog)[i] for i in both.images.tolist()] == [{"cat", "bus"}]
    assert np.all(both.images == subset.with_labels(catalog, labels=["bus"]).images)
