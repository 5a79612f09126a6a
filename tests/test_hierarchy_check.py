import networkx as nx
import pytest
from hypothesis import example, given

from jftdata.errors import CycleError, MissingInput
from jftdata.hierarchy import Hierarchy, formats
from jftdata.hierarchy.check import check
from tests.strategies import dags


def kinds(findings):
    return [(finding.kind, finding.labels) for finding in findings]


def of(findings, kind):
    return [finding.labels for finding in findings if finding.kind == kind]


def test_a_tidy_tree_has_no_findings():
    assert check(Hierarchy.from_edges([("a", "b"), ("a", "c")])) == []


def test_every_oddity_is_found_and_said(tmp_path):
    path = tmp_path / "edges.tsv"
    path.write_text("parent\tchild\na\tb\nb\tc\na\tc\na\tb\na\tb\nx\ty\n")
    names = tmp_path / "names.tsv"
    names.write_text("id\tname\nb\tbank\ny\tbank\nalone\t\n")
    found = check(path, names=names)
    assert kinds(found) == [
        ("several roots", ("a", "x")),
        ("orphan", ("alone",)),
        ("duplicate name", ("b", "y")),
        ("redundant edge", ("a", "c")),
        ("duplicate edge", ("a", "b")),
    ]
    assert found[3].text == "'c' is under 'a' already through 'b'"


def test_labels_without_any_edge_are_no_orphans():
    assert check(Hierarchy.flat(["a", "b"])) == []


def test_a_parent_listed_twice_in_our_own_format_is_found(tmp_path):
    path = tmp_path / "tree.tsv"
    path.write_text("label\tname\tparents\taliases\na\t\t\t\nb\t\ta|a\t\n")
    assert kinds(check(path)) == [("duplicate edge", ("a", "b"))]


def test_errors_stay_errors(tmp_path):
    path = tmp_path / "edges.tsv"
    path.write_text("parent\tchild\na\tb\nb\ta\n")
    with pytest.raises(CycleError, match="2 labels form a cycle"):
        check(path)
    with pytest.raises(MissingInput, match="nowhere"):
        check(tmp_path / "nowhere.tsv")


@example(nx.DiGraph([("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")]))
@given(dags())
def test_redundant_edges_are_those_the_transitive_reduction_leaves_out(graph):
    findings = check(Hierarchy.from_networkx(graph))
    assert set(of(findings, "redundant edge")) == set(graph.edges) - set(nx.transitive_reduction(graph).edges)
    orphans = {node for node in graph if not graph.degree(node)} if graph.size() else set()
    assert {label for (label,) in of(findings, "orphan")} == orphans


@pytest.mark.parametrize("name", ["cifar100", "coco80", "voc20", "world"])
def test_shipped_hierarchies_have_no_redundant_edges_or_shared_names(name):
    found = check(name)
    assert not of(found, "redundant edge")
    assert not of(found, "duplicate name")


@pytest.mark.shared
def test_wordnet_has_redundant_edges_as_networkx_finds_them(shared_data):
    path = shared_data / "hierarchies" / "oewn_nouns.edges.tsv"
    graph = formats.read(path).to_networkx()
    found = of(check(path), "redundant edge")
    assert set(found) == set(graph.edges) - set(nx.transitive_reduction(graph).edges)
    assert found
