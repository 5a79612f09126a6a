import itertools
import json
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadArgument, BadInput, MissingInput, UnknownName
from jftdata.hierarchy import Hierarchy, crosswalk, formats
from jftdata.hierarchy.crosswalk import CONFIDENCE, Crosswalk, match, read_review, write_review

WORDS = st.sampled_from(
    ["cat", "Cat", "cats", "hot dog", "hotdogs", "hot_dog", "crane (bird)", "crane", "a, b", "b", "bus"]
)


def rows(frame, label):
    return [row[1:] for row in frame.iter_rows() if row[0] == label]


def named(names, aliases=None):
    """A flat hierarchy with names by label."""
    tree = Hierarchy.from_edges((), labels=names, names=names)
    if aliases:
        tree = Hierarchy._build("named", [(x, names[x], [], aliases.get(x, [])) for x in names], where="named")
    return tree


# ---- matching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "how"),
    [
        (["cat"], ["cat"], "id"),
        (named({"n1": "cat"}), named({"x": "cat"}), "name"),
        (["Dining_Table"], ["dining-table"], "normalised name"),
        (["hot dog"], ["hotdog"], "normalised name"),
        (["cafe\u0301"], ["CAFÉ"], "normalised name"),
        (["couch"], named({"x": "sofa"}, {"x": ["couch"]}), "alias"),
        (named({"x": "object, physical object"}), ["physical object"], "alias"),
        (named({"cat": "n1"}), named({"x": "cat"}), "alias"),
        (["hot dogs"], ["hot dog"], "plural"),
        (["mice"], ["mouse"], "plural"),
        (["wolves"], ["wolf"], "plural"),
        (["berries"], ["berry"], "plural"),
        (["buses"], ["bus"], "plural"),
        (["skis"], ["ski"], "plural"),
        (["glasses"], ["glass"], "plural"),
        (["crane (bird)"], ["crane"], "qualifier"),
        (["cranes (bird)"], ["crane (machine)"], "qualifier"),
        (["n02084071"], ["oewn-02084071-n"], "synset"),
        (["0:n00002452"], ["n00002452"], "synset"),
    ],
)
def test_how_two_labels_agree(a, b, how):
    for one, other in ((a, b), (b, a)):
        found = match(one, other)
        assert found["how"].to_list() == [how]
        assert found["confidence"].to_list() == [CONFIDENCE[how]]


@pytest.mark.parametrize(
    ("a", "b"),
    [("cat", "bus"), ("bus", "bu"), ("glass", "glas"), ("n02084071", "n02084072"), ("a02084071", "n02084071")],
)
def test_what_does_not_agree_is_listed_without_a_candidate(a, b):
    assert match([a], [b]).rows() == [(a, None, None, None)]


def test_one_synset_number_with_other_names_is_doubted():
    a, b = named({"n02084071": "dog", "n1": "mouse"}), named({"02084071-n": "fence", "02084072-n": "dog"})
    found = rows(match(a, b), "n02084071")
    assert found == [("02084072-n", "name", 0.95), ("02084071-n", "synset", crosswalk.OTHER_WORDNET)]
    same = named({"02084071-n": "Dog"})
    assert rows(match(a, same), "n02084071") == [("02084071-n", "synset", 0.98)]


def test_several_candidates_come_by_confidence_then_label():
    b = named({"z": "crane", "y": "crane", "x": "Crane", "w": "cranes", "v": "bus"})
    assert rows(match(["crane"], b), "crane") == [
        ("y", "name", 0.95),
        ("z", "name", 0.95),
        ("x", "normalised name", 0.9),
        ("w", "plural", 0.7),
    ]


def test_candidates_of_equal_confidence_come_by_label_whatever_name_they_share():
    a, b = named({"n": "sofa"}, {"n": ["couch"]}), named({"z": "divan", "c": "couch"}, {"z": ["sofa"]})
    assert rows(match(a, b), "n") == [("c", "alias", 0.8), ("z", "alias", 0.8)]


def best_way(form, other):
    levels = [max(form[key], other[key]) for key in form.keys() & other.keys()]
    return min(levels) if levels else None


@given(st.lists(WORDS, unique=True, max_size=6), st.lists(WORDS, max_size=11), st.integers(1, 4))
def test_matches_are_the_best_of_all_pairs(labels, names, most):
    side = named({f"i{i}": name for i, name in enumerate(names)})
    a, b = crosswalk._forms(labels), crosswalk._forms(side)
    expected = []
    for i, label in enumerate(labels):
        ways = [(best_way(a[i], b[j]), side.labels[j]) for j in range(side.num_labels)]
        kept = sorted((way, candidate) for way, candidate in ways if way is not None)[:most]
        hows = ["name", "normalised name", "alias", "plural", "qualifier"]
        expected += [(label, c, hows[w], CONFIDENCE[hows[w]]) for w, c in kept] or [(label, None, None, None)]
    assert match(labels, side, max_candidates=most).rows() == expected


@pytest.mark.parametrize("name", ["toy", "cifar100", "coco80", "world"])
def test_every_label_of_a_hierarchy_matches_itself_first(name):
    tree = Hierarchy.load(name)
    best = match(tree, tree).group_by("label", maintain_order=True).first()
    assert best["label"].to_list() == best["candidate"].to_list() == list(tree.labels)
    assert set(best["how"]) == {"id"}


def test_ten_thousand_labels_of_one_name_stay_few_candidates():
    many = named({f"n{i:05d}": "thing" for i in range(10_000)})
    found = match(many, many, max_candidates=3)
    assert len(found) <= 30_000
    assert rows(found, "n00500") == [("n00500", "id", 1.0), ("n00000", "name", 0.95), ("n00001", "name", 0.95)]


def test_wrong_lists_and_limits_are_refused():
    with pytest.raises(BadInput, match="'a' is listed twice"):
        match(["a", "a"], ["b"])
    with pytest.raises(BadInput, match="tab or a line break"):
        match(["a"], ["b\tc"])
    with pytest.raises(BadArgument, match=r"at least 1\. Got 0"):
        match(["a"], ["b"], max_candidates=0)
    assert match([], ["a"]).shape == (0, 4)


# ---- the review ------------------------------------------------------------------------------------------------------


def test_a_review_asks_only_where_it_is_not_clear(tmp_path):
    a = named({"n1": "cat", "n2": "crane", "n3": "mice", "n4": "yeti"})
    b = named({"x": "cat", "y1": "crane", "y2": "crane", "z": "mouse"})
    path = write_review(match(a, b), tmp_path / "review.tsv", a=a, b=b)
    assert path.read_text().splitlines() == [
        "keep\tlabel\tname\tcandidate\tcandidate_name\thow\tconfidence",
        "keep\tn1\tcat\tx\tcat\tname\t0.95",
        "\tn2\tcrane\ty1\tcrane\tname\t0.95",
        "\tn2\tcrane\ty2\tcrane\tname\t0.95",
        "\tn3\tmice\tz\tmouse\tplural\t0.7",
        "drop\tn4\tyeti\t\t\t\t",
    ]
    with pytest.raises(BadInput, match="3 rows say neither keep nor drop, the first in line 3"):
        read_review(path, a, b)
    path.write_text(path.read_text().replace("\n\t", "\nkeep\t") + "keep\tn4\t\tx\t\tbroader\t\n")
    judged = read_review(path, a, b)
    assert judged.targets == {"n1": ("x",), "n2": ("y1", "y2"), "n3": ("z",), "n4": ("x",)}
    assert judged.how["n4", "x"] == "broader"
    assert judged.apply(["n4", "n1", "n2"]) == ["x", "y1", "y2"]
    saved = Crosswalk.load(judged.save(tmp_path / "map.tsv"))
    assert (saved.targets, saved.how) == (judged.targets, judged.how)


HEADER = "\t".join(crosswalk.REVIEW) + "\n"


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("keep\tcta\t\tx\t\t\t\n", UnknownName, "line 2: label 'cta' is not known. Did you mean 'cat'"),
        ("keep\tcat\t\txx\t\t\t\n", UnknownName, "line 2: candidate 'xx' is not known"),
        ("keep\tcat\t\tx\t\t\t\ndrop\tcat\t\tx\t\t\t\n", BadInput, "line 3: 'cat' to 'x' is judged in line 2 too"),
        ("yes\tcat\t\tx\t\t\t\n", BadInput, "line 2: `keep` must say keep or drop. Got 'yes'"),
        ("keep\tcat\t\t\t\t\t\n", BadInput, "line 2: 'cat' is to keep, but has no candidate"),
        ("keep\tcat\t\tx\t\tgues\t\ndrop\tdog\t\t\t\t\t\n", BadInput, "line 2: how 'gues' is not known"),
        ("keep\tcat\t\tx\t\tnone\t\ndrop\tdog\t\t\t\t\t\n", BadInput, "line 2: 'cat' has how 'none' and target 'x'"),
        ("keep\tcat\t\tx\n", BadInput, "line 2: expected 7 columns, got 4"),
        ("keep\tcat\t\tx\t\t\t\n", BadInput, "without any row, the first of 1 is 'dog'"),
    ],
)
def test_a_wrong_row_of_a_review_is_named(tmp_path, body, kind, message):
    path = tmp_path / "review.tsv"
    path.write_text(HEADER + body)
    with pytest.raises(kind, match=message):
        read_review(path, ["cat", "dog"], ["x", "y"])


# ---- maps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("cat\tx\tsame\ncat\tx\tname\n", "line 3: 'cat' to 'x' is in line 2 too"),
        ("cat\tx\tsame\ncat\t\tnone\n", "line 3: 'cat' is both with and without a match"),
        ("cat\t\tnone\ncat\tx\tsame\n", "line 3: 'cat' is both with and without a match"),
        ("cat\t\tsame\n", "line 2: 'cat' has how 'same' and target ''"),
        ("\tx\tsame\n", "line 2: the label is empty"),
        ("cat\tx\n", "line 2: expected 3 columns, got 2"),
    ],
)
def test_a_wrong_row_of_a_map_is_named(tmp_path, body, message):
    path = tmp_path / "map.tsv"
    path.write_text("label\tto\thow\n" + body)
    with pytest.raises(BadInput, match=message):
        Crosswalk.load(path)


def test_an_unknown_map_a_missing_file_and_an_unlisted_label_are_named(tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'voc20_to_toy'"):
        Crosswalk.load("voc_to_toy")
    with pytest.raises(MissingInput, match="nowhere"):
        Crosswalk.load(tmp_path / "nowhere.tsv")
    with pytest.raises(UnknownName, match=r"'tvmonitr' is not in the map.*Did you mean 'tvmonitor'"):
        Crosswalk.load("voc20_to_toy").apply(["tvmonitr"])
    with pytest.raises(UnknownName, match="target 'airplane' of the map"):
        Crosswalk.load("voc20_to_coco80").check(Hierarchy.load("voc20"), Hierarchy.load("world"))


def test_the_promised_maps_are_shipped():
    pairs = [("voc20", "coco80"), *itertools.product(("coco80", "voc20"), ("cifar100", "world", "toy"))]
    assert set(crosswalk.shipped_maps()) == {f"{a}_to_{b}" for a, b in pairs}


@pytest.mark.parametrize("name", crosswalk.shipped_maps())
def test_a_shipped_map_lists_every_leaf_and_keeps_to_its_two_sets(name):
    walk = Crosswalk.load(name)
    source, target = (Hierarchy.load(side) for side in name.split("_to_"))
    assert set(walk.targets) == set(source.leaves)
    walk.check(source, target)
    assert set(walk.how.values()) <= {"same", "broader"}


@pytest.mark.parametrize("name", crosswalk.shipped_maps())
def test_same_in_a_shipped_map_is_what_the_matcher_proposes_but_for_named_exceptions(name):
    by_hand = {("person", "people"), ("cow", "cattle"), ("keyboard", "computer_keyboard")}
    walk = Crosswalk.load(name)
    source, target = (Hierarchy.load(side) for side in name.split("_to_"))
    proposed = set(match(source, target).select("label", "candidate").rows())
    same = {pair for pair, how in walk.how.items() if how == "same"}
    assert same - proposed <= by_hand


def test_maps_agree_where_two_ways_lead_to_one_label():
    through = Crosswalk.load("voc20_to_coco80")
    for end in ("cifar100", "world", "toy"):
        direct, second = Crosswalk.load(f"voc20_to_{end}"), Crosswalk.load(f"coco80_to_{end}")
        for label in direct.targets:
            assert direct.apply([label]) == second.apply(through.apply([label])) or label == "tvmonitor", (label, end)


def test_a_mouse_of_a_desk_is_not_a_mouse_of_a_field():
    assert rows(match(["mouse"], Hierarchy.load("cifar100")), "mouse") == [("mouse", "id", 1.0)]
    assert Crosswalk.load("coco80_to_cifar100").apply(["mouse"]) == []


# ---- real ones -------------------------------------------------------------------------------------------------------


@pytest.fixture
def trees(shared_data):
    folder = shared_data / "hierarchies"
    yolo = formats.read(folder / "raw" / "9k.tree", names=folder / "yolo9000_wordtree.nodes.tsv")
    lines = [line.split()[0] for line in (folder / "raw" / "9k.tree").read_text().splitlines()]
    return yolo, formats.read_tencent(folder / "raw" / "dictionary_and_semantic_hierarchy.txt"), lines


@pytest.mark.shared
def test_coco_names_find_most_of_the_labels_that_yolo9000_gives_them(shared_data, trees):
    """Measured: 55 and 60 of 80 first, 56 and 64 among the candidates. The published map goes to a broader label for most
    of the others (boat to vessel, cake to dessert), where names do not agree."""
    yolo, tencent, lines = trees
    folder = shared_data / "hierarchies" / "raw"
    truth = [lines[int(i)] for i in (folder / "coco9k.map").read_text().split()]
    text = (shared_data / "coco_mini" / "annotations" / "instances_val2017.json").read_text()
    coco = [category["name"] for category in json.loads(text)["categories"]]
    for tree, first, among in ((yolo, 55, 56), (tencent, 60, 64)):
        found = match(coco, tree)
        pairs = found.select("label", "candidate").rows()
        best = found.group_by("label", maintain_order=True).first().select("label", "candidate").rows()
        wanted = set(zip(coco, truth, strict=True))
        assert len(wanted & set(best)) >= first
        assert len(wanted & set(pairs)) >= among


@pytest.mark.shared
def test_names_of_the_imagenet_detection_labels_find_their_synsets_in_another_tree(shared_data, trees):
    """Measured: 191 of 200 first, all among the candidates; homonyms come in the order of their ids."""
    yolo, tencent, lines = trees
    wnids = [lines[int(i)] for i in (shared_data / "hierarchies" / "raw" / "inet9k.map").read_text().split()]
    name_of = {wnid: yolo.names[yolo.index(wnid)] for wnid in wnids}
    assert len(set(name_of.values())) == len(wnids) == 200
    found = match(list(name_of.values()), tencent)
    best = dict(found.group_by("label", maintain_order=True).first().select("label", "candidate").iter_rows())
    pairs = set(found.select("label", "candidate").rows())
    assert sum(best[name] == wnid for wnid, name in name_of.items()) >= 191
    assert sum((name, wnid) in pairs for wnid, name in name_of.items()) >= 200


@pytest.mark.shared
def test_two_versions_of_wordnet_are_matched_by_name_in_a_few_seconds(shared_data, trees):
    folder = shared_data / "hierarchies"
    oewn = formats.read(folder / "oewn_nouns.edges.tsv", names=folder / "oewn_nouns.nodes.tsv")
    began = time.perf_counter()
    found = match(oewn, trees[1])
    assert time.perf_counter() - began < 15
    assert found["label"].n_unique() == oewn.num_labels
    numbers = found.filter(pl.col("how") == "synset")
    assert (numbers["confidence"] == crosswalk.OTHER_WORDNET).sum() > len(numbers) / 2
