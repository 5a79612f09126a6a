import base64
import hashlib
import itertools
import re
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.view import MAX_RINGS, write_view
from tests.strategies import dags

VOID = {"meta", "input"}
HOSTILE = "<script>alert('x')</script> & \"quoted\" </summary>"


class Page(HTMLParser):
    """Rows of a page with the row they are folded under; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.tags, self.texts = [], [], [], []
        self.folds, self.open = [], 0
        self.feed(text)
        assert not self.tags

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in VOID:
            self.tags.append(tag)
        if tag == "details":
            self.folds.append(None)
            self.open += "open" in attrs
        if attrs.get("class") == "row" and "id" in attrs:
            above = [row for row in self.folds if row is not None]
            self.rows.append((above[-1] if above else None, int(attrs["id"][1:])))
            if self.folds and self.folds[-1] is None:
                self.folds[-1] = self.rows[-1][1]
        if tag == "a":
            self.links.append((self.folds[-1], int(attrs["href"][2:])))

    def handle_endtag(self, tag):
        assert self.tags.pop() == tag
        if tag == "details":
            self.folds.pop()

    def handle_data(self, data):
        self.texts.append((self.tags[-1] if self.tags else "", data))


def page(tree, folder, **options):
    return Page(write_view(tree, folder / "view.html", **options).read_text())


def picture(tree, folder, **options):
    text = write_view(tree, folder / "view.svg", **options).read_text()
    return ET.fromstring(text), text


def counts_of(tree, numbers):
    return pl.DataFrame({"label": tree.labels, "num_images": numbers})


# ---- the page --------------------------------------------------------------------------------------------------------


@given(dags())
def test_a_page_shows_every_label_once_and_every_edge_once(tmp_path_factory, graph):
    tree = Hierarchy.from_networkx(graph)
    found = page(tree, tmp_path_factory.mktemp("view"))
    assert sorted(i for _, i in found.rows) == list(range(tree.num_labels))
    edges = [(p, i) for i, parents in enumerate(tree.parent_lists) for p in parents]
    assert sorted([*((p, i) for p, i in found.rows if p is not None), *found.links]) == sorted(edges)
    assert [i for p, i in found.rows if p is None] == [i for i, parents in enumerate(tree.parent_lists) if not parents]


@given(dags(), st.integers(1, 15))
def test_a_cut_page_says_how_many_labels_are_left_out_and_where(tmp_path_factory, graph, most):
    tree = Hierarchy.from_networkx(graph)
    found = page(tree, tmp_path_factory.mktemp("view"), max_labels=most)
    assert sorted(i for _, i in found.rows) == list(range(min(most, tree.num_labels)))
    text = " ".join(data for _, data in found.texts)
    hidden = max(0, tree.num_labels - most)
    assert re.findall(r"(\d+) labels below or beside", text) == ([str(hidden)] if hidden else [])
    told = sum(map(int, re.findall(r"(\d+) (?:more|below) not shown", text)))
    assert told == sum(c >= most for i in range(min(most, tree.num_labels)) for c in tree.child_lists[i])


def test_diamonds_on_diamonds_do_not_multiply(tmp_path):
    edges = []
    for i in range(50):  # 2**50 paths from top to bottom
        edges += [(f"{i}", f"{i}l"), (f"{i}", f"{i}r"), (f"{i}l", f"{i + 1}"), (f"{i}r", f"{i + 1}")]
    tree = Hierarchy.from_edges(edges)
    found = page(tree, tmp_path)
    assert (len(found.rows), len(found.links)) == (151, 50)


def test_a_label_is_shown_under_its_deepest_parent(tmp_path):
    tree = Hierarchy.from_edges([("top", "a"), ("a", "deep"), ("top", "z"), ("z", "x"), ("deep", "x"), ("top", "x")])
    found = page(tree, tmp_path)
    assert (tree.index("deep"), tree.index("x")) in found.rows
    assert {tree.labels[p] for p, i in found.links if tree.labels[i] == "x"} == {"top", "z"}


def test_labels_and_names_and_titles_are_escaped(tmp_path):
    tree = Hierarchy.from_edges([("a", HOSTILE), (HOSTILE, "b")], names={"b": HOSTILE})
    found = page(tree, tmp_path, title=HOSTILE)
    assert sum(data == HOSTILE for tag, data in found.texts if tag in ("span", "h1")) == 3
    scripts = [data for tag, data in found.texts if tag == "script"]
    assert len(scripts) == 1
    assert "alert" not in scripts[0]
    root, text = picture(tree, tmp_path, title=HOSTILE)
    assert "<script" not in text
    assert root.find("{*}title").text.startswith(HOSTILE)
    assert [node.find("{*}title").text for node in root.iterfind(".//{*}g")] == ["a", HOSTILE, HOSTILE]


def test_control_characters_do_not_break_the_files(tmp_path):
    tree = Hierarchy.flat(["a\x0b\x00b"])
    root, _ = picture(tree, tmp_path)
    assert [node.find("{*}title").text for node in root.iterfind(".//{*}g")] == ["a\ufffd\ufffdb"]
    assert len(page(tree, tmp_path).rows) == 1


def test_only_the_script_that_comes_with_the_page_may_run(tmp_path):
    text = write_view(Hierarchy.load("toy"), tmp_path / "view.html").read_text()
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.search(r"(src|href)=\"(?!#)", text)


def test_children_come_by_images_and_bars_are_logarithmic(tmp_path):
    tree = Hierarchy.from_edges([("top", "rare"), ("top", "many"), ("top", "none")])
    counts = counts_of(tree, [{"top": 999, "many": 999, "rare": 9, "none": 0}[label] for label in tree.labels])
    found = page(tree, tmp_path, counts=counts)
    assert [tree.labels[i] for _, i in found.rows] == ["top", "many", "rare", "none"]
    widths = re.findall(r"width:([\d.]+)%", (tmp_path / "view.html").read_text())
    assert [float(w) for w in widths if w != "100"] == [100.0, 100.0, 33.3, 0.0]


def test_a_large_tree_is_folded_and_a_small_one_open(tmp_path):
    assert page(Hierarchy.load("toy"), tmp_path).open == 7
    wide = Hierarchy.from_edges((f"{i}", f"{i}.{j}") for i in range(20) for j in range(20))
    assert (
        page(Hierarchy.from_edges([("top", f"{i}") for i in range(20)] + list(wide.to_networkx().edges)), tmp_path).open
        == 1
    )


# ---- the picture -----------------------------------------------------------------------------------------------------


@given(dags())
def test_a_picture_has_a_dot_and_a_text_a_label_and_a_line_an_edge(tmp_path_factory, graph):
    tree = Hierarchy.from_networkx(graph)
    root, _ = picture(tree, tmp_path_factory.mktemp("view"))
    assert sorted(node.find("{*}title").text for node in root.iterfind(".//{*}g")) == sorted(tree.labels)
    texts = [text.text for text in root.iterfind(".//{*}text") if "transform" in text.attrib]
    assert sorted(texts) == sorted(tree.labels)
    extra = [path for path in root.iterfind(".//{*}path") if path.get("class") == "extra"]
    assert len(list(root.iterfind(".//{*}path"))) == tree.num_edges
    assert len(extra) == sum(max(0, len(parents) - 1) for parents in tree.parent_lists)
    places = [node.get("transform") for node in root.iterfind(".//{*}g")]
    assert len(set(places)) == tree.num_labels


def test_a_large_picture_is_cut_between_levels_and_says_so(tmp_path):
    edges = [("top", f"{i}") for i in range(20)] + [(f"{i}", f"{i}.{j}") for i in range(20) for j in range(30)]
    root, text = picture(Hierarchy.from_edges(edges), tmp_path)
    assert len(list(root.iterfind(".//{*}g"))) == 21
    assert "the upper 2 of 3 levels; 600 labels below are left out" in text


def test_a_picture_of_very_many_roots_shows_some_and_says_so(tmp_path):
    root, text = picture(Hierarchy.flat(f"{i:04d}" for i in range(1000)), tmp_path, max_labels=50)
    assert len(list(root.iterfind(".//{*}g"))) == 50
    assert "the first 50 labels without a parent; 950 labels are left out" in text


def test_dots_grow_with_images(tmp_path):
    tree = Hierarchy.from_edges([("top", "few"), ("top", "many")])
    root, text = picture(tree, tmp_path, counts=counts_of(tree, [400, 100, 400]))
    assert [node.find("{*}circle").get("r") for node in root.iterfind(".//{*}g")] == ["11.5", "7.0", "11.5"]
    assert "few: 100 images" in text


# ---- both ------------------------------------------------------------------------------------------------------------


def test_a_chain_of_five_thousand_labels_is_cut_and_does_not_recurse(tmp_path):
    tree = Hierarchy.from_edges(itertools.pairwise(f"{i:04d}" for i in range(5000)))
    found = page(tree, tmp_path)
    assert len(found.rows) == 200
    root, _ = picture(tree, tmp_path)
    assert len(list(root.iterfind(".//{*}g"))) == MAX_RINGS


def test_seventy_five_thousand_labels_take_seconds(tmp_path):
    tree = Hierarchy.from_edges((f"{i // 7:05d}", f"{i:05d}") for i in range(1, 75_000))
    began = time.perf_counter()
    assert len(page(tree, tmp_path).rows) == 5000
    picture(tree, tmp_path)
    assert time.perf_counter() - began < 10


def test_equal_hierarchies_give_equal_bytes(tmp_path):
    for name in ("a.html", "a.svg"):
        one = write_view(Hierarchy.load("world"), tmp_path / name).read_bytes()
        assert write_view(Hierarchy.load("world"), tmp_path / name).read_bytes() == one


def test_wrong_arguments_are_refused(tmp_path):
    tree = Hierarchy.load("toy")
    with pytest.raises(BadArgument, match=r"must end in \.html or \.svg"):
        write_view(tree, tmp_path / "view.pdf")
    with pytest.raises(BadArgument, match=r"at least 1\. Got 0"):
        write_view(tree, tmp_path / "view.svg", max_labels=0)
    with pytest.raises(BadInput, match="has no labels"):
        write_view(Hierarchy.flat([]), tmp_path / "view.html")
    with pytest.raises(BadInput, match=r"columns label and num_images\. Got label"):
        write_view(tree, tmp_path / "view.html", counts=pl.DataFrame({"label": ["cat"]}))
    with pytest.raises(BadInput, match="counts lack 11 labels"):
        write_view(tree, tmp_path / "view.html", counts=pl.DataFrame({"label": ["cat"], "num_images": [1]}))
    with pytest.raises(BadInput, match="Got -1 for 'animal'"):
        write_view(tree, tmp_path / "view.html", counts=counts_of(tree, [-1] + [0] * 11))
    assert not list(tmp_path.iterdir())
