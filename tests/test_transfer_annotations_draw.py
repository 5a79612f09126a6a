import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jftdata.errors import BadArgument
from jftdata.transfer.annotations import draw
from jftdata.transfer.annotations.core import Skeleton

GREY = np.full((480, 640, 3), 128, np.uint8)
SMALL = np.full((120, 160, 3), 128, np.uint8)
NAMES = (
    "bus",
    "cat",
    "a name that is much longer than any picture is wide, and goes on, and on, and on, and on, and on",
)


def has(picture, colour):
    return (picture == colour).all(-1)


def test_the_first_colours_are_far_apart_and_all_are_different():
    colours = np.array(draw.colours(), float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0
    assert apart[:21, :21].min() > 60
    assert np.ptp(colours, axis=1).min() > 40  # none is grey


@pytest.mark.parametrize(("pixels", "scale"), [(GREY, 1), (SMALL, 3)])
def test_a_box_is_outlined_in_the_colour_of_its_class(pixels, scale):
    drawn = draw.boxes(pixels, np.array([[40, 50, 90, 100]]), np.array([1]), NAMES)
    assert drawn.shape == (pixels.shape[0] * scale, pixels.shape[1] * scale, 3)
    hit = has(drawn, draw.colours()[1])
    assert hit[50 * scale, 40 * scale : 90 * scale].all()
    assert hit[100 * scale - 1, 40 * scale : 90 * scale].all()
    assert hit[50 * scale : 100 * scale, 40 * scale].all()
    assert hit[50 * scale : 100 * scale, 90 * scale - 1].all()
    assert has(drawn[65 * scale : 90 * scale, 50 * scale : 80 * scale], (128,) * 3).all()
    assert not has(drawn, draw.colours()[0]).any()
    assert (pixels == 128).all()


def test_a_crowd_is_dashed():
    box, label = np.array([[100, 100, 500, 400]]), np.array([0])
    whole, dashed = (draw.boxes(GREY, box, label, NAMES, crowd=np.array([crowd])) for crowd in (False, True))
    lines = [has(drawn, draw.colours()[0])[399, 100:500].mean() for drawn in (whole, dashed)]
    assert lines[0] == 1
    assert 0.3 < lines[1] < 0.7


@given(st.lists(st.tuples(*[st.floats(-50, 700)] * 4), max_size=6), st.integers(0, 2))
def test_any_box_can_be_drawn_and_a_name_is_never_cut_by_the_edge(corners, label):
    box = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]).reshape(-1, 4)
    drawn = draw.boxes(GREY, box, np.full(len(box), label), NAMES, score=np.linspace(0, 1, len(box)))
    assert drawn.shape == GREY.shape
    white_or_black = has(drawn, (255,) * 3)
    assert not white_or_black[:, -2:].any()
    assert not white_or_black[:, :2].any()


def test_names_do_not_cover_each_other():
    """Twenty equal boxes leave room for a few names: the others are left out, and all drawn names can be read."""
    box = np.tile([[300.0, 200, 330, 230]], (20, 1))
    one, many = (draw.boxes(GREY, box[:k], np.zeros(k, np.int64), NAMES) for k in (1, 20))
    letters = [has(drawn, (0,) * 3).sum() + has(drawn, (255,) * 3).sum() for drawn in (one, many)]
    assert letters[0] < letters[1] < 8 * letters[0]


def test_a_mask_is_a_colour_over_its_pixels():
    labels = np.zeros((120, 160), np.uint8)
    labels[20:100, 20:80], labels[20:100, 100:120] = 1, 255
    drawn = draw.mask(SMALL, labels, NAMES).astype(int)
    assert drawn.shape == (360, 480, 3)
    assert (drawn[:50] == 128).all()
    expected = np.round(128 + 0.55 * (np.array(draw.colours()[1]) - 128))
    assert np.abs(drawn[70, 70] - expected).max() <= 1
    assert np.abs(drawn[180, 330] - (128 + 0.55 * 127)).max() <= 1
    assert has(drawn[60:300, 60:240], draw.colours()[1]).any()  # the name, where the region is thickest
    assert not (draw.mask(SMALL, labels, NAMES, background=None)[:50, :50] == 128).all()
    with pytest.raises(BadArgument, match=r"`labels` has the shape \(120, 159\), the image \(120, 160\)"):
        draw.mask(SMALL, labels[:, 1:], NAMES)


SHAPE = Skeleton(("nose", "left_hand", "right_hand", "right_foot"), (0, 2, 1, 3), ((0, 1), (2, 3), (0, 3)))


def test_a_skeleton_has_lines_between_labelled_points():
    person = np.array([[300, 100, 2], [400, 100, 1], [200, 150, 2], [200, 300, 0]], np.float32)
    drawn = draw.skeleton(GREY, person[None], SHAPE)
    assert not has(drawn[100, 350:351], (128,) * 3).any()  # nose to left hand
    assert has(drawn[180:290, 195:206], (128,) * 3).all()  # the foot is not labelled
    assert has(drawn[100, 400:401], (255,) * 3).all()  # hidden
    assert not has(drawn[150, 200:201], (255,) * 3).any()
    sure = np.concatenate([person[:, :2], [[0.9], [0.2], [0.9], [0.9]]], 1)
    drawn = draw.skeleton(GREY, sure[None], SHAPE, least=0.5)
    assert has(drawn[95:106, 320:390], (128,) * 3).all()
    assert not has(drawn[230, 200:201], (128,) * 3).any()
    assert (draw.skeleton(GREY, person[:0].reshape(0, 4, 3), SHAPE) == GREY).all()


def test_a_sheet_has_truth_beside_prediction(tmp_path):
    hues = [(200, 10 * i, 0) for i in range(4)]
    shapes = ((50, 100, 3), (50, 100, 3), (100, 50, 3), (100, 50, 3))
    a, b, c, d = (np.full(shape, hue, np.uint8) for shape, hue in zip(shapes, hues, strict=True))
    path = draw.sheet([("a", a, b), ("b", c, d)], out=tmp_path / "s" / "x.png", title=9 * NAMES[2], side=100)
    with Image.open(path) as image:
        pixels = np.asarray(image)
    (ay, ax), (by, bx), (cy, cx), (dy, dx) = (np.argwhere(has(pixels, hue)).min(0).tolist() for hue in hues)
    assert ay == by == cy == dy
    assert bx - ax == dx - cx == 108
    assert has(pixels, hues[0]).sum() == 5000
    with pytest.raises(BadArgument, match=r"must end in \.png\. Got .*x\.jpg"):
        draw.sheet([], out=tmp_path / "x.jpg", title="t")
    with pytest.raises(BadArgument, match="no row to draw"):
        draw.sheet([], out=tmp_path / "x.png", title="t")
