import csv
import json

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadInput, CycleError, MissingInput, UnknownName, UnknownOption
from jftdata.hierarchy import Hierarchy, formats
from tests.strategies import dags

XML_TEXT = st.text(
    st.characters(exclude_characters="\t\n\r|\ufffe\uffff", exclude_categories=["Cs", "Cc"]), min_size=1
).filter(str.strip)


def file(folder, text, name="tree.txt"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def same(one, other):
    assert one.labels == other.labels
    assert one.names == other.names
    assert one.aliases == other.aliases
    assert one.parent_lists == other.parent_lists


# ---- every format, small ---------------------------------------------------------------------------------------------

OPEN_IMAGES = {
    "LabelName": "/m/thing",
    "Subcategory": [
        {"LabelName": "/m/person", "Part": [{"LabelName": "/m/arm", "Part": [{"LabelName": "/m/hand"}]}]},
        {"LabelName": "/m/toy", "Subcategory": [{"LabelName": "/m/bear"}]},
        {"LabelName": "/m/animal", "Subcategory": [{"LabelName": "/m/bear"}]},
    ],
}


def test_open_images_parts_are_no_edges(tmp_path):
    path = file(tmp_path, json.dumps(OPEN_IMAGES))
    names = file(tmp_path, "/m/bear,Teddy bear\n/m/arm,Human arm\n/m/else,Else\n", "names.csv")
    tree = formats.read_open_images(path, names=names)
    assert tree.ancestors("/m/bear") == ["/m/thing", "/m/animal", "/m/toy"]
    assert tree.parents("/m/arm") == tree.parents("/m/hand") == []
    assert tree.names[tree.index("/m/bear")] == "Teddy bear"
    assert "/m/else" not in tree
    assert formats.read_open_images_parts(path) == [("/m/arm", "/m/hand"), ("/m/person", "/m/arm")]


def test_tencent_synonyms_are_aliases(tmp_path):
    header = "category_index\tcategory_id\tindex_of_parent_category\tcategory name\n"
    tree = formats.read_tencent(file(tmp_path, header + "0\tn1\t-1\tobject, physical object\n1\tn2\t0\trock\n"))
    assert (tree.names, tree.aliases) == (("object", "rock"), (("physical object",), ()))
    assert tree.parents("n2") == ["n1"]


def test_wordtree_parents_are_lines_counted_from_0(tmp_path):
    path = file(tmp_path, "n1 -1\nn2 -1\nn3 1\n")
    assert formats.read_wordtree(path).parents("n3") == ["n2"]
    names = file(tmp_path, "thing\nanimal\nhot dog\n", "names.txt")
    assert formats.read_wordtree(path, names=names).names == ("thing", "animal", "hot dog")


def test_wordnet_is_a_takes_names_of_its_own_labels_only(tmp_path):
    names = file(tmp_path, "n1\tanimal, beast\nn9\trock\n", "words.txt")
    tree = formats.read_wordnet_is_a(file(tmp_path, "n1 n2\nn1 n3\n"), names=names)
    assert (tree.labels, tree.names[0], tree.aliases[0]) == (("n1", "n2", "n3"), "animal", ("beast",))


def test_edges_agree_with_load_edges(tmp_path):
    path = file(tmp_path, "parent\tchild\na\tb\na\tc\n")
    names = file(tmp_path, "id\tname\na\tanimal\nd\tdog, hound\n", "names.tsv")
    same(formats.read(path, names=names), Hierarchy.load_edges(path, names=names))


def test_a_list_of_labels_has_no_edges(tmp_path):
    tree = formats.read(file(tmp_path, "hot dog\ncat\n"), format="labels")
    assert (tree.labels, tree.num_edges) == (("cat", "hot dog"), 0)


def test_the_format_is_told_by_content(tmp_path):
    header = "category_index\tcategory_id\tindex_of_parent_category\tcategory name\n"
    texts = {
        "tsv": "label\tname\tparents\taliases\na\t\t\t\n",
        "edges": "parent\tchild\na\tb\n",
        "open-images": "\n  " + json.dumps(OPEN_IMAGES),
        "tencent": header + "0\tn1\t-1\tobject\n",
        "wordtree": "n1 -1\nn2 0\n",
        "wordnet-is-a": "n1 n2\n",
    }
    for format, text in texts.items():
        path = file(tmp_path, text)
        assert formats.guess(path) == format
        same(formats.read(path), formats.read(path, format=format))


# ---- GraphML ---------------------------------------------------------------------------------------------------------


@given(dags(), st.data())
def test_graphml_reads_back_equal(tmp_path_factory, graph, data):
    names = {label: data.draw(XML_TEXT) for label in graph if data.draw(st.booleans())}
    tree = Hierarchy.from_edges(graph.edges, labels=graph, names=names)
    path = formats.write_graphml(tree, tmp_path_factory.mktemp("tree") / "tree.graphml")
    same(formats.read(path), tree)
    assert set(nx.read_graphml(path).edges) == set(graph.edges)


def test_graphml_keeps_aliases(tmp_path):
    tree = Hierarchy.load("toy")
    assert any(tree.aliases)
    same(formats.read(formats.write_graphml(tree, tmp_path / "toy.graphml")), tree)


def test_what_xml_cannot_hold_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(BadInput, match="control character"):
        formats.write_graphml(Hierarchy.from_edges([("a\x0b", "b")]), tmp_path / "t.graphml")
    assert not list(tmp_path.iterdir())


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "text", "kind", "message"),
    [
        ("wordtree", "n1 -1\nn2 2\n", BadInput, r"line 2: the parent must be in -1\.\.1\. Got '2'"),
        ("wordtree", "n1 -1\nn2 x\n", BadInput, "line 2.*Got 'x'"),
        ("wordtree", "n1 -1\nn1 0\n", BadInput, "'n1' is listed twice"),
        ("wordtree", "n1 1\nn2 0\n", CycleError, "2 labels form a cycle"),
        ("wordtree", "n1 0\n", BadInput, "'n1' is its own parent"),
        ("wordnet-is-a", "n1 n2\n\nn3\n", BadInput, "line 3: expected a parent and a child"),
        ("edges", "a\tb\n", BadInput, "line 1: expected the columns parent and child"),
        ("edges", "parent\tchild\na\t\n", BadInput, "line 2: expected a parent and a child"),
        ("tencent", "category_index\n", BadInput, "line 1: expected the columns category_index"),
        ("open-images", "{", BadInput, "not readable JSON"),
        ("open-images", "[" * 100_000, BadInput, "not readable JSON"),
        ("open-images", '{"LabelName": "a", "Subcategory": [{"Name": "b"}]}', BadInput, "has no `LabelName`"),
        ("open-images", '{"LabelName": "a", "Part": {}}', BadInput, "the Part of 'a' is not a list"),
        ("graphml", "<graphml>", BadInput, "is not GraphML"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, format, text, kind, message):
    path = file(tmp_path, text)
    with pytest.raises(kind, match=message) as caught:
        formats.read(path, format=format)
    assert str(path) in str(caught.value)


def test_a_file_of_no_known_format_a_missing_one_and_a_misspelt_format_are_refused(tmp_path):
    with pytest.raises(BadInput, match="one of: tsv, edges"):
        formats.read(file(tmp_path, "one two three\n"))
    with pytest.raises(MissingInput, match="nowhere"):
        formats.read(tmp_path / "nowhere.txt")
    with pytest.raises(UnknownName, match="Did you mean 'world'"):
        formats.read("wrld")
    with pytest.raises(UnknownOption, match="Did you mean 'wordtree'"):
        formats.read(file(tmp_path, "n1 -1\n"), format="wordtre")


def test_names_that_fit_no_label_or_another_number_of_labels_are_refused(tmp_path):
    with pytest.raises(BadInput, match="names none of the labels"):
        formats.read(file(tmp_path, "n1 n2\n"), names=file(tmp_path, "x\ty\n", "names"))
    with pytest.raises(BadInput, match="3 names for 2 labels"):
        formats.read(file(tmp_path, "n1 -1\nn2 0\n"), names=file(tmp_path, "a\nb\nc\n", "names"))


# ---- real ones, counted by networkx ----------------------------------------------------------------------------------


def counts(graph):
    longest = {}
    for node in nx.topological_sort(graph):
        longest[node] = max((longest[p] + 1 for p in graph.predecessors(node)), default=0)
    return {
        "num_labels": len(graph),
        "num_edges": graph.size(),
        "num_roots": sum(d == 0 for _, d in graph.in_degree()),
        "num_leaves": sum(d == 0 for _, d in graph.out_degree()),
        "max_depth": max(longest.values()),
        "max_children": max(d for _, d in graph.out_degree()),
        "num_multi_parent": sum(d > 1 for _, d in graph.in_degree()),
    }


def published(path):
    with path.open(encoding="utf-8") as opened:
        rows = list(csv.reader(opened, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [tuple(row) for row in rows[1:]]


@pytest.mark.shared
def test_every_real_edge_list_with_its_names_has_the_counts_networkx_finds(shared_data):
    paths = sorted((shared_data / "hierarchies").glob("*.edges.tsv"))
    assert len(paths) == 6
    for path in paths:
        nodes = path.with_name(path.name.replace(".edges.", ".nodes."))
        graph = nx.DiGraph(published(path))
        graph.add_nodes_from(label for label, _ in published(nodes))
        assert formats.guess(path) == "edges"
        assert formats.read(path, names=nodes).facts() == counts(graph), path


@pytest.mark.shared
@pytest.mark.parametrize(
    ("raw", "format", "name"),
    [
        ("bbox_labels_600_hierarchy.json", "open-images", "open_images_600"),
        ("9k.tree", "wordtree", "yolo9000_wordtree"),
        ("dictionary_and_semantic_hierarchy.txt", "tencent", "tencent_ml_images"),
    ],
)
def test_a_published_file_is_the_edge_list_made_from_it(shared_data, raw, format, name):
    folder = shared_data / "hierarchies"
    assert formats.guess(folder / "raw" / raw) == format
    tree = formats.read(folder / "raw" / raw)
    graph = nx.DiGraph([[x.split(":")[-1] for x in edge] for edge in published(folder / f"{name}.edges.tsv")])
    graph.add_nodes_from(label.split(":")[-1] for label, _ in published(folder / f"{name}.nodes.tsv"))
    assert set(tree.to_networkx().edges) == set(graph.edges)
    assert tree.facts() == counts(graph)


@pytest.mark.shared
def test_open_images_parts_stay_apart_from_its_edges(shared_data):
    path = shared_data / "hierarchies" / "raw" / "bbox_labels_600_hierarchy.json"
    parts = formats.read_open_images_parts(path)
    assert len(parts) == 38
    assert not set(parts) & set(formats.read_open_images(path).to_networkx().edges)
