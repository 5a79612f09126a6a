"""Labels: the shipped hierarchy, the long tail, and label noise at the planned rates."""

import tomllib
from collections import Counter

import numpy as np
import pytest

from jftdata.hierarchy import Hierarchy, shipped_facts
from jftdata.world import clean_labels, confusables, label_frequencies
from jftdata.world.dice import dice
from jftdata.world.kinds import kinds
from jftdata.world.labels import give_labels
from jftdata.world.leaves import CLEAN_ONLY, leaves
from jftdata.world.scene import plan


@pytest.fixture(scope="module")
def hierarchy():
    return Hierarchy.load("world")


@pytest.fixture(scope="module")
def given():
    """(true labels, given labels) of 6000 images."""
    out = []
    for index in range(6000):
        true = [thing.leaf.label for thing in reversed(plan(0, index, stream="main"))]
        out.append((true, give_labels(dice(0, "main/given", index), true)))
    return out


def test_the_hierarchy_has_the_promised_size_and_depth(hierarchy):
    assert hierarchy.num_labels >= 150
    assert hierarchy.max_depth >= 7
    assert len(hierarchy.roots) == 1


def test_the_hierarchy_agrees_with_its_golden_counts(hierarchy):
    golden = shipped_facts("world")["golden"]
    edges = sum(len(hierarchy.parents(label)) for label in hierarchy.labels)
    assert golden["num_labels"] == hierarchy.num_labels
    assert golden["num_edges"] == edges
    assert golden["max_depth"] == hierarchy.max_depth
    assert golden["max_children"] == max(len(hierarchy.children(label)) for label in hierarchy.labels)
    assert golden["num_multi_parent"] == sum(len(hierarchy.parents(label)) > 1 for label in hierarchy.labels)


def test_goldfish_and_toy_car_have_two_parents(hierarchy):
    assert set(hierarchy.parents("goldfish")) == {"fish", "pet"}
    assert set(hierarchy.parents("toy car")) == {"car", "toy"}
    assert hierarchy.ancestors("goldfish").count("animal") == 1


def test_every_leaf_of_the_hierarchy_can_be_drawn_and_every_kind_is_a_label(hierarchy):
    assert set(hierarchy.leaves) == set(leaves())
    for leaf in leaves().values():
        assert leaf.kind == leaf.label or leaf.kind in hierarchy.ancestors(leaf.label)
    assert set(kinds()) - set(hierarchy.labels) == set(CLEAN_ONLY)


def test_frequencies_are_a_long_tail_spread_over_kinds():
    shares = label_frequencies()
    values = np.array(list(shares.values()))
    assert set(shares) == set(leaves())
    assert values.sum() == pytest.approx(1)
    assert (np.diff(values) <= 0).all()
    assert (values * 10_000 < 20).mean() > 0.4
    assert values[:10].sum() > 0.4
    assert len({leaves()[label].kind for label in list(shares)[:24]}) >= 20
    tail = Counter(leaves()[label].kind for label in list(shares)[86:])
    assert len(tail) > 45


def test_main_objects_follow_the_frequencies(given):
    seen = Counter(true[0] for true, _ in given)
    label, share = next(iter(label_frequencies().items()))
    assert seen[label] / len(given) == pytest.approx(share, rel=0.15)


def test_a_fifth_of_the_given_labels_is_wrong_in_two_ways(given):
    errors = Counter(entry.error for _, labels in given for entry in labels)
    total = errors.total()
    assert 1 - errors[""] / total == pytest.approx(0.2, abs=0.015)
    assert errors["confusable"] / (total - errors[""]) == pytest.approx(0.6, abs=0.05)


def test_an_image_has_one_and_a_quarter_given_labels(given):
    counts = Counter(len(labels) for _, labels in given)
    assert set(counts) == {1, 2, 3}
    assert sum(len(labels) for _, labels in given) / len(given) == pytest.approx(1.25, abs=0.03)


def test_wrong_labels_are_never_true_and_right_ones_always_are(given, hierarchy):
    for true, labels in given:
        closure = {label for leaf in true for label in (leaf, *hierarchy.ancestors(leaf))}
        for entry in labels:
            assert (entry.label in closure) == (entry.error == "")
        assert len({entry.label for entry in labels}) == len(labels)


def test_some_right_labels_are_less_specific_and_some_objects_go_unmentioned(given, hierarchy):
    right = [entry.label for _, labels in given for entry in labels if not entry.error]
    assert 0.1 < sum(label not in leaves() for label in right) / len(right) < 0.25
    assert sum(len(set(true)) > len(labels) for true, labels in given) > 0.2 * len(given)


def test_confusables_are_mutual_other_leaves():
    alike = confusables()
    assert set(alike) == set(leaves())
    for label, others in alike.items():
        assert label not in others
        assert all(label in alike[other] for other in others)
    assert "tin bucket" in alike["red mug"]
    assert "tortoise" in alike["tortoise-shell glasses"]
    assert sum(bool(others) for others in alike.values()) > 0.95 * len(alike)


def test_clean_labels_map_to_known_labels_but_two(hierarchy):
    entries = clean_labels()
    assert 20 <= len(entries) <= 40
    assert sum(entry.world_label == "" for entry in entries) == 2
    for entry in entries:
        assert entry.world_label == "" or entry.world_label in hierarchy
        assert set(entry.kinds) <= set(kinds())


def test_the_licence_is_stated():
    from pathlib import Path

    path = Path(__file__).parents[1] / "hierarchy" / "world.toml"
    assert tomllib.loads(path.read_text())["licence"] == "Apache-2.0, part of jftdata"


def test_importing_the_world_loads_neither_torch_nor_datasets():
    import subprocess
    import sys

    code = "import sys, jftdata.world; sys.exit(any(m in sys.modules for m in ('torch', 'datasets', 'faiss')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_first_images_of_world_0_stay_what_they_are():
    # a change here changes every world: raise GENERATOR in jftdata/world/write.py with it
    assert [_true_and_given(index) for index in range(5)] == [
        (["lighthouse"], ["lighthouse", "building"]),
        (["chef", "red mug"], ["chef", "white mug"]),
        (["sunflower"], ["sunflower"]),
        (["snake", "open book", "daisy"], ["vertebrate"]),
        (["yellow ladybird"], ["yellow ladybird"]),
    ]


def _true_and_given(index):
    true = [thing.leaf.label for thing in reversed(plan(0, index, stream="main"))]
    return true, [entry.label for entry in give_labels(dice(0, "main/given", index), true)]
