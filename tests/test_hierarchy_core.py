import csv
import itertools
import json

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadInput, CycleError, MissingInput, UnknownName
from jftdata.hierarchy import Hierarchy, shipped, shipped_facts
from tests.strategies import dags

HEADER = "label\tname\tparents\taliases\n"
DIAMOND = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]
TEXT = st.text(st.characters(exclude_characters="\t\n\r|", exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def tsv(folder, body, header=HEADER):
    path = folder / "tree.tsv"
    path.write_text(header + body, encoding="utf-8")
    return path


# ---- against networkx ------------------------------------------------------------------------------------------------


@given(dags())
def test_ancestors_descendants_and_depth_are_those_of_networkx(graph):
    tree = Hierarchy.from_networkx(graph)
    closure = nx.transitive_closure_dag(graph)
    longest = {}
    for node in nx.topological_sort(graph):
        longest[node] = max((longest[p] + 1 for p in graph.predecessors(node)), default=0)
    for node in graph:
        assert tree.ancestors(node) == sorted(closure.predecessors(node), key=tree.index)
        assert tree.descendants(node) == sorted(closure.successors(node), key=tree.index)
        assert sorted(tree.parents(node)) == sorted(graph.predecessors(node))
        assert sorted(tree.children(node)) == sorted(graph.successors(node))
        assert tree.depth(node) == longest[node]
    assert tree.facts() == {
        "num_labels": len(graph),
        "num_edges": graph.size(),
        "num_roots": sum(d == 0 for _, d in graph.in_degree()),
        "num_leaves": sum(d == 0 for _, d in graph.out_degree()),
        "max_depth": nx.dag_longest_path_length(graph),
        "max_children": max(d for _, d in graph.out_degree()),
        "num_multi_parent": sum(d > 1 for _, d in graph.in_degree()),
    }


@given(dags())
def test_parents_come_before_their_children(graph):
    tree = Hierarchy.from_networkx(graph)
    assert all(p < i for i, parents in enumerate(tree.parent_lists) for p in parents)
    assert sorted(tree.labels) == sorted(graph)


@given(dags(), st.randoms(use_true_random=False))
def test_label_indexes_do_not_depend_on_row_order(graph, random):
    edges, labels = list(graph.edges), list(graph)
    one = Hierarchy.from_edges(edges, labels=labels)
    random.shuffle(edges)
    random.shuffle(labels)
    other = Hierarchy.from_edges(edges, labels=labels)
    assert one.labels == other.labels
    assert one.parent_lists == other.parent_lists
    assert one.ancestor_index.tolist() == other.ancestor_index.tolist()


@given(dags())
def test_to_networkx_and_back_changes_nothing(graph):
    nx.set_node_attributes(graph, {node: f"name of {node}" for node in graph}, "name")
    back = Hierarchy.from_networkx(graph).to_networkx()
    assert set(back.edges) == set(graph.edges)
    assert dict(back.nodes(data="name")) == dict(graph.nodes(data="name"))


@given(dags())
def test_questions_about_two_labels_agree_with_networkx(graph):
    tree = Hierarchy.from_networkx(graph)
    above = {label: {label, *nx.ancestors(graph, label)} for label in graph}
    down = dict(nx.all_pairs_shortest_path_length(graph))
    for a in graph:
        for b in graph:
            common = above[a] & above[b]
            lowest = {c for c in common if not any(c in nx.ancestors(graph, d) for d in common)}
            assert set(tree.lowest_common_ancestors(a, b)) == lowest
            expected = min((down[c][a] + down[c][b] for c in common), default=None)
            assert tree.distance(a, b) == expected == tree.distance(b, a)
            way = tree.path(a, b)
            assert bool(way) == (expected is not None)
            if way:
                assert (way[0], way[-1]) == (a, b)
                assert all(graph.has_edge(x, y) or graph.has_edge(y, x) for x, y in itertools.pairwise(way))
                assert common & set(way)


@given(dags())
def test_subtree_sizes_levels_and_most_children_agree_with_networkx(graph):
    tree = Hierarchy.from_networkx(graph)
    assert tree.subtree_sizes().tolist() == [len(nx.descendants(graph, label)) for label in tree.labels]
    rounds = [sorted(level) for level in nx.topological_generations(graph)]
    assert tree.levels() == rounds
    assert graph.out_degree(tree.most_children()) == max(dict(graph.out_degree).values())


# ---- small truths ----------------------------------------------------------------------------------------------------


def test_ancestors_of_a_diamond_are_listed_once():
    tree = Hierarchy.from_edges(DIAMOND)
    assert tree.ancestors("bottom") == ["top", "left", "right"]
    assert tree.descendants("top") == ["left", "right", "bottom"]


def test_an_edge_given_twice_counts_once():
    assert Hierarchy.from_edges([("a", "b"), ("a", "b")]).num_edges == 1


def test_separate_trees_have_no_way_between_them():
    tree = Hierarchy.flat(["a", "b"])
    assert tree.path("a", "b") == []
    assert tree.distance("a", "b") is None
    assert tree.lowest_common_ancestors("a", "b") == []
    assert tree.path("a", "a") == ["a"]


def test_a_hierarchy_without_labels_has_no_most_children():
    with pytest.raises(BadInput, match="has no labels"):
        Hierarchy.flat([]).most_children()


def test_a_chain_of_five_thousand_labels_does_not_recurse_out():
    names = [f"{i:04d}" for i in range(5000)]
    tree = Hierarchy.from_edges(itertools.pairwise(names))
    assert tree.max_depth == 4999
    assert tree.ancestors(names[-1]) == names[:-1]
    assert tree.descendants(names[0]) == names[1:]


def test_a_cycle_of_five_thousand_labels_is_found_and_shown_in_short():
    names = [f"{i:04d}" for i in range(5000)]
    with pytest.raises(CycleError, match="5000 labels form a cycle") as caught:
        Hierarchy.from_edges([*itertools.pairwise(names), (names[-1], names[0])])
    assert len(str(caught.value)) < 300


def test_an_unknown_label_is_answered_with_the_nearest_or_the_one_of_that_name():
    tree = Hierarchy.from_edges([("n01", "n02")], names={"n02": "cat"})
    with pytest.raises(UnknownName, match=r"'n1'.*Did you mean 'n0[12]'"):
        tree.index("n1")
    with pytest.raises(UnknownName, match="The label named so is 'n02'"):
        tree.ancestors("cat")
    with pytest.raises(UnknownName, match="'bus'"):
        tree.depth("bus")
    assert "n01" in tree
    assert "cat" not in tree


# ---- files -----------------------------------------------------------------------------------------------------------


@given(dags(), st.data())
def test_saved_and_loaded_is_the_same(tmp_path_factory, graph, data):
    names = {label: data.draw(TEXT) for label in graph if data.draw(st.booleans())}
    tree = Hierarchy.from_edges(graph.edges, labels=graph, names=names)
    path = tree.save(tmp_path_factory.mktemp("tree") / "tree.tsv")
    back = Hierarchy.load(path)
    for part in ("labels", "names", "aliases", "parent_lists"):
        assert getattr(back, part) == getattr(tree, part)
    assert back.depths.tolist() == tree.depths.tolist()
    assert back.ancestor_index.tolist() == tree.ancestor_index.tolist()
    again = back.save(path.with_name("again.tsv"))
    assert again.read_bytes() == path.read_bytes()


@given(st.lists(TEXT, unique=True, min_size=1, max_size=5))
def test_labels_of_any_script_survive_the_file(tmp_path_factory, labels):
    tree = Hierarchy.flat(labels)
    assert Hierarchy.load(tree.save(tmp_path_factory.mktemp("tree") / "t.tsv")).labels == tuple(sorted(labels))


def test_aliases_survive_the_file(tmp_path):
    path = tsv(tmp_path, "cat\t\t\ttabby|mouser\n")
    assert Hierarchy.load(path).aliases == (("tabby", "mouser"),)
    Hierarchy.load(path).save(path)
    assert Hierarchy.load(path).aliases == (("tabby", "mouser"),)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_files_of_other_editors_load(tmp_path, ending, mark):
    path = tmp_path / "tree.tsv"
    path.write_bytes((mark + (HEADER + "a\t\t\t\nb\t\ta\tx\n\n").replace("\n", ending)).encode())
    tree = Hierarchy.load(path)
    assert (tree.labels, tree.parents("b"), tree.aliases[1]) == (("a", "b"), ["a"], ("x",))


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            "a\t\tc\t\nb\t\ta\t\nc\t\tb\t\n",
            CycleError,
            r"3 labels form a cycle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)\.",
        ),
        ("a\t\ta\t\n", BadInput, "'a' is its own parent"),
        (
            "animal\t\t\t\ncat\t\tanimol\t\n",
            UnknownName,
            "'cat' has the unknown parent 'animol'. Did you mean 'animal'",
        ),
        ("a\t\t\t\na\t\t\t\n", BadInput, "'a' is listed twice"),
        ("a\t\t\n", BadInput, "line 2: expected 4 columns, got 3"),
        ("a\t\t\t\nb\t\t\t\tx\n", BadInput, "line 3: expected 4 columns, got 5"),
        ("\tname\t\t\n", BadInput, "a label is empty"),
        ("a|b\t\t\t\n", BadInput, "holds a tab, a line break or"),
    ],
    ids=["cycle", "self parent", "unknown parent", "duplicate", "few columns", "many columns", "empty", "bar"],
)
def test_a_wrong_row_is_named(tmp_path, body, kind, message):
    with pytest.raises(kind, match=message):
        Hierarchy.load(tsv(tmp_path, body))


def test_a_cycle_below_good_labels_is_shown_alone():
    with pytest.raises(CycleError, match=r"2 labels form a cycle: (x -> y -> x|y -> x -> y)\."):
        Hierarchy.from_edges([("root", "x"), ("x", "y"), ("y", "x"), ("y", "leaf")])


def test_a_wrong_header_is_shown(tmp_path):
    with pytest.raises(BadInput, match=r"line 1: expected the columns label, name, parents, aliases.*'id\\tname'"):
        Hierarchy.load(tsv(tmp_path, "", header="id\tname\n"))


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "tree.tsv"
    path.write_bytes(HEADER.encode() + "Bär\t\t\t\n".encode("latin-1"))
    with pytest.raises(BadInput, match="is not UTF-8"):
        Hierarchy.load(path)


@pytest.mark.parametrize("name", ["line\nbreak", "tab\there"])
def test_a_name_that_would_break_the_file_is_refused(name):
    with pytest.raises(BadInput, match="name or alias of 'a'"):
        Hierarchy.from_edges([("a", "b")], names={"a": name})


def test_an_unknown_shipped_name_is_suggested_and_a_missing_file_named(tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'cifar100'"):
        Hierarchy.load("cifar10")
    with pytest.raises(MissingInput, match="nowhere"):
        Hierarchy.load(tmp_path / "nowhere.tsv")
    with pytest.raises(UnknownName, match="Did you mean 'coco80'"):
        shipped_facts("coco")


# ---- the shipped ones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_hierarchy_has_its_golden_counts_and_its_source_and_licence(name):
    facts = shipped_facts(name)
    assert Hierarchy.load(name).facts() == facts["golden"]
    assert facts["name"] == name
    assert facts["source"]
    assert facts["licence"]
    assert facts["title"]


def test_the_promised_hierarchies_are_shipped():
    assert {"toy", "cifar100", "coco80", "voc20", "world"} <= set(shipped())


def test_person_is_one_label_without_a_parent_in_coco_and_voc():
    for name in ("coco80", "voc20"):
        tree = Hierarchy.load(name)
        assert tree.parents("person") == []
        assert tree.children("person") == []


def test_every_voc_label_is_a_coco_label_or_has_one_as_its_alias():
    voc, coco = Hierarchy.load("voc20"), Hierarchy.load("coco80")
    for label in voc.leaves:
        known = [label, *voc.aliases[voc.index(label)]]
        assert sum(name in coco.leaves for name in known) == 1, label
        match = next(name for name in known if name in coco.leaves)
        assert match == label or label in coco.aliases[coco.index(match)]


# ---- real ones -------------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_real_hierarchies_have_the_counts_networkx_finds(shared_data):
    paths = sorted((shared_data / "hierarchies").glob("*.edges.tsv"))
    assert paths
    for path in paths:
        with path.open(encoding="utf-8") as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            next(rows)
            edges = [(parent, child) for parent, child in rows]
        graph = nx.DiGraph(edges)
        tree = Hierarchy.from_edges(edges)
        longest = {}
        for node in nx.topological_sort(graph):
            longest[node] = max((longest[p] + 1 for p in graph.predecessors(node)), default=0)
        assert (tree.num_labels, tree.num_edges, tree.max_depth) == (len(graph), graph.size(), max(longest.values())), (
            path
        )
        assert tree.max_children == max(d for _, d in graph.out_degree())
        for label in tree.labels[:: max(1, len(tree.labels) // 50)]:
            assert set(tree.ancestors(label)) == nx.ancestors(graph, label)
            assert set(tree.descendants(label)) == nx.descendants(graph, label)


@pytest.mark.shared
def test_cifar100_is_the_published_tree_without_its_root(shared_data):
    lines = (shared_data / "hierarchies" / "cifar100.edges.tsv").read_text().splitlines()[1:]
    published = {tuple(line.split("\t")) for line in lines if not line.startswith("root\t")}
    tree = Hierarchy.load("cifar100")
    ours = {(tree.names[tree.index(p)], label) for label in tree.leaves for p in tree.parents(label)}
    assert ours == published


@pytest.mark.shared
def test_coco80_is_the_published_list(shared_data):
    text = (shared_data / "coco_mini" / "annotations" / "instances_val2017.json").read_text()
    tree = Hierarchy.load("coco80")
    for category in json.loads(text)["categories"]:
        above = [] if category["name"] == category["supercategory"] else [category["supercategory"]]
        assert tree.parents(category["name"]) == above
    assert len(tree.leaves) == 80
