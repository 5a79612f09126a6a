import base64
import json
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jftdata import copies, dedup, images, judge, look, sheet
from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources import from_folder
from jftdata.sources.ingest import Listed, Record, ingest
from tests.browser import CHROMIUM, browser
from tests.strategies import picture

LABELS = {"a": ["cat"], "b": ["house cat"], "c": ["bus", "toy"], "d": ["dog", "toy"], "e": [], "f": ["dog", "bus"]}


def catalog_of(out, labels, tree, *, first=0, size=(60, 40)):
    """A packed catalog of one picture a name."""
    pixels = {name: picture(first + i, width=size[0], height=size[1]) for i, name in enumerate(labels)}
    records = [
        Record(source=n, labels=tuple(labels[n]), split="train", data=encode_jpeg(pixels[n], quality=95))
        for n in labels
    ]
    return ingest(
        [Listed(tuple(records))], out=out, hierarchy=tree, made_with={"pack": True}, inputs={}, labels=(),
        max_rejected=0, workers=1,
    )  # fmt: skip


def ids_of(catalog):
    return dict(catalog.scan().select("source", "image").collect().iter_rows())


def pairs_of(edges, names=("image_a", "image_b"), **columns):
    """Pairs as `copies` gives them, of (left, right, probability)."""
    rows = [
        dict(zip(copies.PAIRS, (a, b, p, 0.9, "mirrored+cropped", True, 1.25, 2.0, 0.0, 0.0), strict=True)) | columns
        for a, b, p in edges
    ]
    frame = pl.DataFrame(rows, schema=copies.PAIRS).sort("probability", descending=True)
    return frame.rename(dict(zip(("image_a", "image_b"), names, strict=True)))


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Six pictures under the toy hierarchy."""
    return catalog_of(tmp_path_factory.mktemp("toys") / "toys.catalog", LABELS, Hierarchy.load("toy"))


@pytest.fixture(scope="module")
def pairs(toys):
    """All fifteen pairs of them."""
    ids = sorted(ids_of(toys).values())
    return pairs_of([(a, b, 0.9 - 0.05 * (i + j)) for i, a in enumerate(ids) for j, b in enumerate(ids) if a < b])


def shown_on(path):
    return json.loads(judge._DATA.search(path.read_text())[1])


# ---- the page --------------------------------------------------------------------------------------------------------


def test_a_page_shows_both_pictures_of_every_pair_most_probable_first(toys, pairs, tmp_path):
    shown = look.pairs_page(pairs, toys, out=tmp_path / "p.html")
    assert (shown.num_shown, shown.num_found, shown.num_unread) == (15, 15, 0)
    assert shown.num_bytes == shown.path.stat().st_size
    page = shown_on(shown.path)
    assert page["note"] == "all 15 pairs, most probable first"
    assert page["title"] == "Copies in toys.catalog"
    order = pairs.sort("probability", "image_a", "image_b", descending=[True, False, False])
    wanted = [f"image_a {a} image_b {b}" for a, b in order.select("image_a", "image_b").rows()]
    assert [item["id"] for item in page["items"]] == wanted
    rows = {
        i: (s, place)
        for s, i, *place in toys.scan().select("source", "image", "shard", "offset", "length").collect().rows()
    }
    for item in page["items"]:
        assert item["heading"] == "Found as: mirrored, cropped; right shows 80% by 50% of left"
        for image, view in zip(map(int, re.findall(r" (\d+)", item["id"])), item["pictures"], strict=True):
            source, place = rows[image]
            assert view["lines"][-1] == source
            assert f"60 × 40 pixels, {place[2]:,} bytes, train" in view["lines"]
            pixels = images.decode(base64.b64decode(view["jpeg"].split(",")[1]))[0].astype(int)
            assert np.abs(pixels - images.decode(toys.read(*place))[0]).mean() < 4
    probabilities = [float(re.search(r"copy ([\d.]+),", item["lines"][0])[1]) for item in page["items"]]
    assert probabilities == pytest.approx(order["probability"].to_list(), abs=6e-4)


def test_labels_that_conflict_are_those_of_resolve(toys, pairs, tmp_path):
    page = shown_on(look.pairs_page(pairs, toys, out=tmp_path / "p.html").path)
    names = {i: s for s, i in ids_of(toys).items()}
    seen = set()
    for item in page["items"]:
        ids = [int(i) for i in re.findall(r" (\d+)", item["id"])]
        groups = pl.DataFrame({"group": [min(ids)] * 2, "image": sorted(ids)}, schema=dedup.GROUPS)
        (truth,) = dedup.resolve(groups, toys).filter("kept")["conflicts"].to_list()
        for image, view in zip(ids, item["pictures"], strict=True):
            given = LABELS[names[image]]
            assert sorted(view["labels"] + view["conflicts"]) == sorted(given)
            assert set(view["conflicts"]) == set(truth) & set(given)
            assert ("no label" in view["lines"]) == (not given)
        seen.add(frozenset(truth))
    assert {frozenset(), frozenset({"cat", "bus", "toy"}), frozenset({"bus", "dog"})} <= seen


def test_groups_are_numbered_by_their_most_probable_pair(toys, tmp_path):
    a, b, c, d, e, _ = sorted(ids_of(toys).values())
    page = shown_on(
        look.pairs_page(pairs_of([(d, e, 0.9), (a, b, 0.8), (b, c, 0.7)]), toys, out=tmp_path / "p.html").path
    )
    assert [item["group"] for item in page["items"]] == [
        "Group 1 (2 images)",
        "Group 2 (3 images)",
        "Group 2 (3 images)",
    ]


def test_neither_the_order_of_rows_nor_threads_change_a_byte(toys, pairs, tmp_path):
    for make, ending in ((look.pairs_page, "html"), (look.pairs_sheet, "png"), (look.groups_sheet, "png")):
        one = make(pairs, toys, out=tmp_path / f"1.{ending}", workers=1)
        other = make(pairs.sample(fraction=1, shuffle=True, seed=3), toys, out=tmp_path / f"2.{ending}", workers=3)
        assert one.path.read_bytes() == other.path.read_bytes()


@given(
    st.lists(st.floats(0.1, 1), min_size=1, max_size=80).map(sorted), st.integers(1, 90), st.sampled_from(["spread", "top"])
)  # fmt: skip
def test_a_choice_has_the_number_asked_for_and_a_spread_is_even(values, num, how):
    ranked = pl.DataFrame({"probability": values[::-1], "a": range(len(values))})
    chosen = look._choose(ranked, num, how)
    assert len(chosen) == min(num, len(values))
    assert chosen["a"].is_sorted()
    if how == "top" or num >= len(values):
        assert chosen["a"].to_list() == list(range(len(chosen)))
        return
    width = max(values[-1] - values[0], 1e-12)
    bands = [min(int((p - values[0]) / width * look.BANDS), look.BANDS - 1) for p in ranked["probability"]]
    there, taken = (np.bincount([bands[i] for i in rows], minlength=look.BANDS) for rows in (ranked["a"], chosen["a"]))
    most = taken.max()
    assert all(n == size or n >= most - 1 for n, size in zip(taken, there, strict=True))


def test_what_is_left_out_is_told(toys, pairs, tmp_path):
    spread = look.pairs_page(pairs, toys, out=tmp_path / "s.html", num_pairs=4)
    assert (spread.num_shown, spread.num_found) == (4, 15)
    assert shown_on(spread.path)["note"] == "4 of 15 pairs, spread over probability, most probable first"
    top = shown_on(look.pairs_page(pairs, toys, out=tmp_path / "t.html", num_pairs=4, choose="top").path)
    assert top["note"] == "the 4 most probable of 15 pairs, most probable first"
    best = pairs.sort("probability", "image_a", "image_b", descending=[True, False, False]).head(4)
    assert [item["id"] for item in top["items"]] == [f"image_a {r[0]} image_b {r[1]}" for r in best.rows()]


def test_large_images_are_made_small(tmp_path):
    big = catalog_of(tmp_path / "c", {"x": [], "y": []}, Hierarchy.load("toy"), size=(1000, 400))
    page = look.pairs_page(pairs_of([(*sorted(big.images()), 0.9)]), big, out=tmp_path / "p.html")
    (item,) = shown_on(page.path)["items"]
    for view in item["pictures"]:
        assert images.decode(base64.b64decode(view["jpeg"].split(",")[1]))[0].shape == (102, 256, 3)


# ---- between two catalogs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A test and a training catalog whose hierarchies share some labels, and their pairs."""
    folder = tmp_path_factory.mktemp("apart")
    tree = Hierarchy.load("toy")
    other = Hierarchy.from_edges([("cat", "lynx")], labels=["bus", "dog", "zebra"])
    train = catalog_of(folder / "train.catalog", {"t1": ["house cat"], "t2": ["bus"], "t3": ["house cat", "bus"]}, tree)
    test = catalog_of(
        folder / "test.catalog",
        {"q1": ["cat"], "q2": ["dog"], "q3": ["zebra"], "q4": ["zebra", "cat"]},
        other,
        first=50,
    )
    q, t = ids_of(test), ids_of(train)
    edges = [
        (q["q1"], t["t1"], 0.9),
        (q["q1"], t["t2"], 0.8),
        (q["q2"], t["t2"], 0.7),
        (q["q3"], t["t2"], 0.6),
        (q["q4"], t["t2"], 0.5),
        (q["q1"], t["t3"], 0.4),
    ]
    return test, train, pairs_of(edges, names=("test_image", "train_image"))


def test_pairs_between_catalogs_show_the_test_image_on_the_left(apart, tmp_path):
    test, train, pairs = apart
    page = shown_on(look.pairs_page(pairs, train, test=test, out=tmp_path / "p.html").path)
    assert page["title"] == "Copies of test.catalog in train.catalog"
    sources = [[view["lines"][-1] for view in item["pictures"]] for item in page["items"]]
    assert sources == [["q1", "t1"], ["q1", "t2"], ["q2", "t2"], ["q3", "t2"], ["q4", "t2"], ["q1", "t3"]]
    assert [item["group"] for item in page["items"]] == [
        "Test image 1 (3 pairs)", "Test image 1 (3 pairs)", "Test image 2 (1 pair)", "Test image 3 (1 pair)",
        "Test image 4 (1 pair)", "Test image 1 (3 pairs)",
    ]  # fmt: skip
    marked = [[view["conflicts"] for view in item["pictures"]] for item in page["items"]]
    assert marked == [
        [[], []],
        [["cat"], ["bus"]],
        [["dog"], ["bus"]],
        [[], []],
        [["cat"], ["bus"]],
        [[], ["bus"]],
    ]  # training knows no zebra
    assert look.pairs_sheet(pairs, train, test=test, out=tmp_path / "p.png").num_shown == 6


def test_the_catalog_of_the_test_images_goes_with_their_pairs_only(apart, toys, pairs, tmp_path):
    test, train, between = apart
    with pytest.raises(BadInput, match=r"pairs have test images\. Give `test`"):
        look.pairs_page(between, train, out=tmp_path / "p.html")
    with pytest.raises(BadInput, match="`test` is given, but pairs are of one catalog"):
        look.pairs_sheet(pairs, toys, test=test, out=tmp_path / "p.png")
    with pytest.raises(BadInput, match="have no groups"):
        look.groups_sheet(between, train, out=tmp_path / "p.png")


# ---- sheets ----------------------------------------------------------------------------------------------------------

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220), "white": (255, 255, 255)}


@pytest.fixture
def colours(tmp_path):
    """Three red images of which the second is the largest, two green ones, in files."""
    for name, sides in {"red": (20, 30, 25), "green": (30, 20)}.items():
        for i, side in enumerate(sides):
            path = tmp_path / "p" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (side, side), tuple(c + i for c in COLOURS[name])).save(path)
    return from_folder(tmp_path / "p", out=tmp_path / "c.catalog", workers=1)


def cells(path, *, left, top, num_rows, num_cells, size):
    """The name of the colour in the middle of each cell."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        sheet = np.asarray(image).astype(int)
    step = size + 6
    middles = [
        [sheet[top + i * step + size // 2, left + j * step + size // 2] for j in range(num_cells)]
        for i in range(num_rows)
    ]
    return [[min(COLOURS, key=lambda c: np.abs(colour - COLOURS[c]).sum()) for colour in row] for row in middles]


def test_a_row_of_the_groups_sheet_is_a_group_the_kept_image_first(colours, tmp_path):
    at = ids_of(colours)
    red, green = (sorted(i for s, i in at.items() if name in s) for name in ("red", "green"))
    pairs = pairs_of([(*green, 0.9), (red[0], red[1], 0.8), (red[1], red[2], 0.7)])
    shown = look.groups_sheet(pairs, colours, out=tmp_path / "s.png", num_images=4, size=48)
    assert (shown.num_shown, shown.num_found, shown.num_unread) == (2, 2, 0)
    place = {"left": 150, "top": 32, "num_cells": 4, "size": 48}
    assert cells(shown.path, num_rows=2, **place) == [
        ["red", "red", "red", "white"],
        ["green", "green", "white", "white"],
    ]
    with Image.open(shown.path) as sheet:  # the kept one is the second, one shade lighter than the first
        assert sheet.getpixel((150 + 24, 32 + 24)) == (221, 31, 31)
    one = look.groups_sheet(pairs, colours, out=tmp_path / "one.png", num_groups=1, num_images=2, size=48)
    assert (one.num_shown, one.num_found) == (1, 2)
    assert cells(one.path, num_rows=1, **place | {"num_cells": 2}) == [["red", "red"]]
    with pytest.raises(UnknownOption, match="'pixels'"):
        look.groups_sheet(pairs, colours, out=tmp_path / "s.png", keep=["pixel"])


def test_a_pairs_sheet_runs_down_two_columns(colours, tmp_path):
    at = ids_of(colours)
    red, green = (sorted(i for s, i in at.items() if name in s) for name in ("red", "green"))
    pairs = pairs_of([(red[0], green[0], 0.9), (*sorted(green), 0.8), (red[0], red[1], 0.7)])
    shown = look.pairs_sheet(pairs, colours, out=tmp_path / "s.png", size=48)
    assert shown.num_shown == 3
    place = {"top": 32, "num_cells": 2, "size": 48}
    assert cells(shown.path, left=150, num_rows=2, **place) == [["red", "green"], ["green", "green"]]
    assert cells(shown.path, left=2 * 150 + 2 * 54 + 6, num_rows=1, **place) == [["red", "red"]]


@pytest.fixture
def drawn(monkeypatch):
    """What sheets write, as text: a list of rows for each."""
    seen, draw = [], sheet.draw

    def noted(rows, **options):
        seen.append([options["title"], *((name, *lines) for name, lines, _ in rows)])
        return draw(rows, **options)

    monkeypatch.setattr(sheet, "draw", noted)
    return seen


def test_sheets_say_what_is_shown(toys, tmp_path, drawn):
    at = ids_of(toys)
    chain = [(*sorted((at[x], at[y])), p) for x, y, p in [("a", "b", 0.9), ("b", "c", 0.8), ("c", "e", 0.7)]]
    pairs = pairs_of([*chain, (*sorted((at["d"], at["f"])), 0.95)])
    look.pairs_sheet(pairs.sort("probability").head(1), toys, out=tmp_path / "p.png")
    left, right = ("no label" if i == at["e"] else "toy, bus" for i in sorted((at["c"], at["e"])))
    assert drawn.pop() == [
        "toys.catalog: the only pair, most probable first",
        (
            "mirrored, cropped; right shows 80% by 50% of left",
            "probability 0.700, group 1",
            f"left: {left}",
            f"right: {right}",
        ),
    ]
    look.groups_sheet(pairs, toys, out=tmp_path / "g.png", num_images=3)
    settled = dedup.resolve(dedup.group_pairs(pairs), toys).filter("kept")
    names = {i: s for s, i in at.items()}
    by_labels = {tuple(sorted(row["labels"])): names[row["image"]] for row in settled.iter_rows(named=True)}
    title, (first, *one), (second, *other) = drawn.pop()
    assert title == "toys.catalog: 2 of 2 groups, largest first; the first image is kept"
    assert (first, second) == ("group 2: 4 images, 1 not shown", "group 1: 2 images")
    assert sorted(one[0].split(", ")) == ["bus", "cat", "house cat", "toy"]
    assert sorted(one[1].removeprefix("in conflict: ").split(", ")) == ["bus", "cat", "house cat", "toy"]
    assert one[2:] == ["a chain: up to 3 links apart", by_labels["bus", "cat", "house cat", "toy"]]
    assert sorted(other[1].removeprefix("in conflict: ").split(", ")) == ["bus", "toy"]
    assert other[2:] == [by_labels["bus", "dog", "toy"]]


# ---- what cannot be shown --------------------------------------------------------------------------------------------


def test_images_that_are_gone_or_changed_are_placeholders_and_counted(colours, tmp_path):
    at = ids_of(colours)
    red = [at[f"red/{i}.png"] for i in range(3)]
    pairs = pairs_of([(*sorted(red[:2]), 0.9), (*sorted(red[1:]), 0.8)])
    (tmp_path / "p" / "red" / "1.png").unlink()  # in both pairs, counted once
    Image.new("RGB", (25, 25), "black").save(tmp_path / "p" / "red" / "2.png")
    page = look.pairs_page(pairs, colours, out=tmp_path / "p.html")
    assert page.num_unread == 2
    data = shown_on(page.path)
    assert data["note"].endswith("; 2 images could not be read")
    lost = sorted(v["alt"] for item in data["items"] for v in item["pictures"] if v["jpeg"] is None)
    assert len(lost) == 3
    assert re.search(r"red/1\.png could not be read: .*No such file", lost[0])
    assert "red/2.png could not be read: " in lost[2]
    both = look.pairs_sheet(pairs, colours, out=tmp_path / "p.png", size=48)
    groups = look.groups_sheet(pairs, colours, out=tmp_path / "g.png", size=48)
    assert (both.num_unread, groups.num_unread) == (2, 2)
    found = cells(groups.path, left=150, top=32, num_rows=1, num_cells=3, size=48)
    assert sorted(found[0]) == ["red", "white", "white"]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (look.pairs_page, {"out": "p.png"}, r"must end in \.html"),
        (look.pairs_page, {"num_pairs": 0}, r"`num_pairs` must be in \[1, 1,000\]. Got 0"),
        (look.pairs_page, {"num_pairs": 1001}, "Got 1,001"),
        (look.pairs_page, {"choose": "random"}, "`choose` must be spread or top. Got 'random'"),
        (look.pairs_sheet, {"out": "p.html"}, r"must end in \.png"),
        (look.pairs_sheet, {"num_pairs": 0}, "`num_pairs` must be at least 1"),
        (look.pairs_sheet, {"size": 8}, "`size` must be at least 16"),
        (look.groups_sheet, {"num_groups": 0}, "`num_groups` must be at least 1"),
        (look.groups_sheet, {"num_images": 0}, "`num_images` must be at least 1"),
    ],
)
def test_wrong_arguments_are_errors(toys, pairs, tmp_path, make, options, message):
    out = tmp_path / ("p.html" if make is look.pairs_page else "p.png")
    with pytest.raises(BadArgument, match=message):
        make(pairs, toys, **{"out": out, **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [look.pairs_page, look.pairs_sheet, look.groups_sheet])
def test_pairs_that_cannot_be_shown_are_errors(toys, pairs, tmp_path, make):
    out = tmp_path / ("p.html" if make is look.pairs_page else "p.png")
    with pytest.raises(BadInput, match="there are no pairs to show"):
        make(pairs.clear(), toys, out=out)
    with pytest.raises(BadInput, match="pairs have no column 'kind'"):
        make(pairs.drop("kind"), toys, out=out)
    with pytest.raises(BadInput, match=r"1 images are not in .*toys\.catalog"):
        make(pairs_of([(5, toys.images()[0], 0.9)]), toys, out=out)
    assert not list(tmp_path.iterdir())


# ---- marks -----------------------------------------------------------------------------------------------------------


def save(folder, given):
    content = {"format": judge.FORMAT, "page": "f" * 64, "answers": given}
    (folder / "m.json").write_text(json.dumps(content))
    return folder / "m.json"


def test_marks_are_pairs_with_answers_sorted_by_ids(tmp_path):
    found = look.read_marks(save(tmp_path, {"image_a 10 image_b 11": "no", "image_a 9 image_b 12": "yes"}))
    assert found.rows() == [(9, 12, "yes"), (10, 11, "no")]
    assert found.schema == {"image_a": pl.Int64, "image_b": pl.Int64, "answer": pl.String}
    between = look.read_marks(save(tmp_path, {f"test_image {2**63 - 1} train_image 0": "unsure"}))
    assert between.rows(named=True) == [{"test_image": 2**63 - 1, "train_image": 0, "answer": "unsure"}]
    none = look.read_marks(save(tmp_path, {}))
    assert (none.shape, none.columns) == ((0, 3), ["image_a", "image_b", "answer"])


@pytest.mark.parametrize(
    "given",
    [
        {"cat 1": "yes"},
        {f"image_a 1 image_b {2**63}": "yes"},
        {"image_a 1 train_image 2": "yes"},
        {"image_a 1 image_b 2": "yes", "test_image 1 train_image 2": "no"},
    ],
)
def test_marks_of_other_things_are_errors(tmp_path, given):
    with pytest.raises(BadInput, match=r"is no pair of images\. Give what a page of pairs saved"):
        look.read_marks(save(tmp_path, given))


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed here")
def test_what_a_person_answers_on_the_page_is_read_back(toys, pairs, tmp_path):
    page = look.pairs_page(pairs, toys, out=tmp_path / "p.html").path
    with browser(tmp_path) as tab:
        tab.open(page.as_uri())
        tab.press("y", "n", "u", "ArrowRight", "y", "s")
        marks = look.read_marks(tab.saved(), page=page)
        assert tab.problems == []
    order = pairs.sort("probability", "image_a", "image_b", descending=[True, False, False]).select(
        "image_a", "image_b"
    )
    given = {0: "yes", 1: "no", 2: "unsure", 4: "yes"}
    assert marks.rows() == sorted((*order.row(i), answer) for i, answer in given.items())
    assert marks.join(pairs, on=["image_a", "image_b"]).height == 4  # as a calibration joins them
