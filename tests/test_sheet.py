import numpy as np
import polars as pl
import pytest
from PIL import Image

from jftdata import tail
from jftdata.errors import BadArgument, BadInput, ImageRejected, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sheet import _choose, _wrap, contact_sheet
from jftdata.sources import from_folder
from tests.test_catalog import labels_only  # noqa: F401  a fixture
from tests.test_sources_folder import place

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Three red images, two green, one blue, all wider than high, each of its own shade."""
    folder = tmp_path_factory.mktemp("colours")
    for i, name in enumerate(["red"] * 3 + ["green"] * 2 + ["blue"]):
        (folder / "p" / name).mkdir(parents=True, exist_ok=True)
        pixels = np.full((20, 40, 3), COLOURS[name], np.uint8) + np.uint8(i)
        (folder / "p" / name / f"{i}.jpg").write_bytes(encode_jpeg(pixels, quality=100))
    return from_folder(folder / "p", out=folder / "c", workers=1)


def cells(path, *, num_labels, num_images, size):
    """Mean colour of the middle of each cell, row by row."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        sheet = np.asarray(image).astype(int)
    step = size + 6
    height, width = sheet.shape[:2]
    top, left = height - num_labels * step - 6, width - num_images * step - 6
    middle = size // 2 + 6
    return [
        [
            sheet[top + i * step + middle - 2 : top + i * step + middle + 3, left + j * step + size // 2].mean(axis=0)
            for j in range(num_images)
        ]
        for i in range(num_labels)
    ]


def test_each_row_shows_images_of_its_label_and_none_of_another(colours, tmp_path):
    out = contact_sheet(colours, out=tmp_path / "s.png", seed=0, num_images=3, size=48)
    found = cells(out, num_labels=3, num_images=3, size=48)
    for row, (name, count) in zip(found, [("red", 3), ("green", 2), ("blue", 1)], strict=True):
        for j, colour in enumerate(row):
            expected = COLOURS[name] if j < count else (255, 255, 255)
            assert np.abs(colour - expected).max() < 12, (name, j)


def test_labels_are_shown_in_the_order_given_and_images_keep_their_shape(colours, tmp_path):
    out = contact_sheet(colours, out=tmp_path / "s.png", seed=0, labels=["blue", "red"], num_images=1, size=48)
    (blue,), (red,) = cells(out, num_labels=2, num_images=1, size=48)
    assert np.abs(blue - COLOURS["blue"]).max() < 12
    assert np.abs(red - COLOURS["red"]).max() < 12
    with Image.open(out) as sheet:
        left, top = sheet.width - 54, sheet.height - 2 * 54
        column = np.asarray(sheet)[top : top + 54, left + 24].astype(int)
    assert 20 <= (np.abs(column - COLOURS["blue"]).max(axis=1) < 12).sum() <= 26  # 48 wide, so 24 high


def test_the_same_seed_draws_the_same_file_and_another_one_other_images(photo_catalog, tmp_path):
    made = [
        contact_sheet(photo_catalog, out=tmp_path / f"{i}.png", seed=seed, num_images=2).read_bytes()
        for i, seed in enumerate([0, 0, 1])
    ]
    assert made[0] == made[1] != made[2]


def test_a_spread_takes_as_many_of_the_head_as_of_the_middle_and_the_tail():
    sizes = {"h": [900, 800, 700, 600, 500, 400], "m": [90, 80, 70], "t": list(range(19, 0, -1))}
    given = [(f"{band}{i}", n) for band, counts in sizes.items() for i, n in enumerate(counts)]
    counts = pl.DataFrame(
        {"label": [name for name, _ in given], "num_images": [n for _, n in given], "num_given": 1},
        schema={"label": pl.String, "num_images": pl.Int64, "num_given": pl.Int64},
    )
    assert _choose(counts, "spread", 6) == ["h0", "h5", "m0", "m2", "t0", "t18"]
    assert _choose(counts, "spread", 12) == [
        "h0", "h1", "h2", "h4", "h5", "m0", "m1", "m2", "t0", "t6", "t12", "t18"
    ]  # fmt: skip
    assert _choose(counts, "frequent", 3) == ["h0", "h1", "h2"]
    assert len(_choose(counts, "spread", 100)) == len(given)


def test_labels_nobody_gave_are_left_out_and_counts_hold_those_below(tmp_path):
    root = place(tmp_path / "p", "cat/1.jpg", "house cat/2.jpg")
    catalog = from_folder(root, out=tmp_path / "c", hierarchy=Hierarchy.load("toy"), workers=1)
    counts = tail.label_counts(catalog)
    assert _choose(counts, "spread", 10) == ["cat", "house cat"]
    out = contact_sheet(catalog, out=tmp_path / "s.png", seed=0, labels=["animal"], num_images=3, size=48)
    (row,) = cells(out, num_labels=1, num_images=3, size=48)
    assert [bool((colour == 255).all()) for colour in row] == [False, False, True]


def test_long_names_are_wrapped_and_cut():
    from PIL import ImageDraw, ImageFont

    pen, font = ImageDraw.Draw(Image.new("RGB", (9, 9))), ImageFont.load_default(14)
    assert _wrap("cat", pen, font, 200, lines=2) == ["cat"]
    assert _wrap("one two", pen, font, 40, lines=2) == ["one", "two"]
    long = _wrap("one two three four", pen, font, 40, lines=2)
    assert long[0] == "one"
    assert long[1].endswith("…")
    (word,) = _wrap("m" * 50, pen, font, 60, lines=1)
    assert word.endswith("…")
    assert pen.textlength(word, font=font) <= 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "s.jpg"}, r"must end in \.png"),
        ({"size": 8}, "`size` must be at least 16. Got 8"),
        ({"num_images": 0}, "`num_images` must be at least 1"),
        ({"num_labels": 0}, "`num_labels` must be at least 1"),
        ({"labels": "rare"}, "must be spread, frequent or a list of labels. Got 'rare'"),
    ],
)
def test_wrong_arguments_are_errors(photo_catalog, tmp_path, options, message):
    with pytest.raises(BadArgument, match=message):
        contact_sheet(photo_catalog, **{"out": tmp_path / "s.png", "seed": 0, **options})


def test_what_cannot_be_shown_is_an_error(photo_catalog, labels_only, tmp_path):  # noqa: F811
    with pytest.raises(UnknownName, match="'cta'"):
        contact_sheet(photo_catalog, out=tmp_path / "s.png", seed=0, labels=["cta"])
    with pytest.raises(BadInput, match="has labels but no pixels"):
        contact_sheet(labels_only, out=tmp_path / "s.png", seed=0)
    root = place(tmp_path / "p", "a/1.jpg")
    unlabelled = from_folder(root, out=tmp_path / "none", layout="none", workers=1)
    with pytest.raises(BadInput, match=r"no image of .* has a label"):
        contact_sheet(unlabelled, out=tmp_path / "s.png", seed=0)
    gone = from_folder(root, out=tmp_path / "gone", workers=1)
    (root / "a" / "1.jpg").unlink()
    with pytest.raises(ImageRejected, match=r"1\.jpg"):
        contact_sheet(gone, out=tmp_path / "s.png", seed=0)
    assert not (tmp_path / "s.png").exists()
