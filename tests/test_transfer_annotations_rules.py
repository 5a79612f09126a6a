import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadInput
from jftdata.transfer.annotations import rules

WIDTH, HEIGHT = np.array([10, 7, 20]), np.array([8, 9, 5])
place = st.floats(-30, 30, allow_nan=False).map(lambda x: round(x, 2))
size = st.one_of(st.just(0.0), st.floats(0.01, 40)).map(lambda x: round(x, 2))
objects = st.lists(st.tuples(st.integers(0, 2), place, place, size, size), max_size=12)


def columns(rows, **others):
    """Objects of (row, x, y, width, height), with ids that fall."""
    box = np.array([[x, y, x + w, y + h] for _, x, y, w, h in rows], np.float64).reshape(-1, 4)
    count = len(rows)
    values = {
        "row": np.array([row for row, *_ in rows], np.int64), "box": box, "label": np.arange(count), "area": np.ones(count),
        "crowd": np.zeros(count, bool), "difficult": np.zeros(count, bool), "id": np.arange(count)[::-1], "name": str,
    }  # fmt: skip
    return rules.Given(**{**values, **others})


@given(objects)
def test_a_box_becomes_its_part_inside_the_image_or_is_left_out(rows):
    kept, found = rules.checked(columns(rows), WIDTH, HEIGHT)
    inside = {}
    for i, (row, x, y, w, h) in enumerate(rows):
        part = [max(x, 0.0), max(y, 0.0), min(x + w, float(WIDTH[row])), min(y + h, float(HEIGHT[row]))]
        if w > 0 and h > 0 and part[0] < part[2] and part[1] < part[3]:
            inside[i] = part
    assert dict(zip(kept.label.tolist(), kept.box.tolist(), strict=True)) == inside
    left_out = [int(i) for rule in (rules.OUTSIDE, rules.NO_AREA) for i in found.get(rule, [])]
    assert sorted([*left_out, *inside]) == list(range(len(rows)))
    assert all(rows[int(i)][3] == 0 or rows[int(i)][4] == 0 for i in found.get(rules.NO_AREA, []))


@given(objects)
def test_what_is_clipped_is_named_and_nothing_else(rows):
    kept, found = rules.checked(columns(rows), WIDTH, HEIGHT)
    given_boxes = columns(rows).box
    changed = {i for i, box in zip(kept.label, kept.box, strict=True) if np.abs(given_boxes[i] - box).max() > 1e-3}
    assert {int(name) for name in found.get(rules.CLIPPED, [])} == changed


@given(objects, st.randoms())
def test_objects_go_by_image_and_id_in_whatever_order_they_come(rows, random):
    first, found = rules.checked(columns(rows), WIDTH, HEIGHT)
    order = list(range(len(rows)))
    random.shuffle(order)
    at = np.array(order, np.int64)
    whole = columns(rows)
    turned = {name: getattr(whole, name)[at] for name in ("row", "box", "label", "area", "crowd", "difficult", "id")}
    second, again = rules.checked(rules.Given(**turned, name=lambda i: str(order[i])), WIDTH, HEIGHT)
    assert found == again
    for name in ("start", "box", "label", "id"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    owner = np.repeat(np.arange(3), np.diff(first.start))
    assert [(rows[i][0], len(rows) - 1 - i) for i in first.label] == sorted(zip(owner, first.id, strict=True))


@given(st.lists(st.tuples(place, place, st.integers(0, 2)), min_size=4, max_size=4))
def test_labelled_keypoints_outside_are_taken_back_and_the_others_stay(points):
    keypoints = np.array(points, np.float32).reshape(2, 2, 3)
    kept, found = rules.checked(columns([(0, 1, 1, 5, 5), (0, 0, 0, 9, 2)], keypoints=keypoints), WIDTH, HEIGHT)
    expected, named = keypoints.copy(), set()
    for i in range(2):
        for k in range(2):
            x, y, visible = keypoints[i, k]
            if visible and not (0 <= x <= 10 and 0 <= y <= 8):
                expected[i, k], _ = 0, named.add(str(i))
    assert np.array_equal(kept.keypoints, expected[kept.label])
    assert set(found.get(rules.POINT_OUTSIDE, [])) == named


def test_a_thousandth_of_a_pixel_is_rounding():
    kept, found = rules.checked(columns([(0, -0.0009, 0, 10.0009, 8.0009)]), WIDTH, HEIGHT)
    assert (kept.box.tolist(), found) == ([[0, 0, 10, 8]], {})


def test_how_many_are_refused_is_said():
    bad = columns([(0, 1, 1, 2, 2)] * 3, area=np.array([1, np.nan, -4]))
    with pytest.raises(BadInput, match=r"1 has the area nan, not a number of at least 0; 2 objects have such\. Mend"):
        rules.checked(bad, WIDTH, HEIGHT)
