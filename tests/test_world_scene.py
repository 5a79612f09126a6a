"""Scenes: determinism, geometry that agrees with itself, and planted copies that are what they say."""

import numpy as np
import pytest
from PIL import Image

from jftdata.errors import BadArgument
from jftdata.world import contact_sheet, copy_of, scene
from jftdata.world.dice import dice
from jftdata.world.kinds import kinds
from jftdata.world.kinds.people import MIRROR
from jftdata.world.leaves import leaves_of
from jftdata.world.scene import Thing, _draw_thing, draw


@pytest.mark.parametrize("stream", ["main", "eval", "clean-train", "detection-test"])
def test_a_scene_is_a_function_of_seed_stream_and_index(stream):
    for index in (0, 5, 77):
        one, two = scene(3, index, stream=stream), scene(3, index, stream=stream)
        assert np.array_equal(one.image, two.image)
        assert one.labels == two.labels
    assert not np.array_equal(scene(3, 1, stream=stream).image, scene(4, 1, stream=stream).image)


@pytest.mark.parametrize("size", [32, 64, 97, 160, 340])
def test_every_size_gives_a_square_uint8_image(size):
    for index in range(4):
        image = draw(0, index, size=size, stream="main").image
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8
        assert image.std() > 3


@pytest.mark.parametrize("stream", ["main", "eval", "detection-train"])
def test_boxes_are_tight_around_masks_and_masks_do_not_overlap(stream):
    for index in range(60):
        drawn = scene(1, index, size=96, stream=stream)
        height, width = drawn.image.shape[:2]
        total = np.zeros((height, width), dtype=int)
        for thing in drawn.objects:
            assert thing.mask.shape == (height, width)
            total += thing.mask
            assert 0 <= thing.visible_share <= 1
            if not thing.mask.any():
                continue
            y, x = np.nonzero(thing.mask)
            assert thing.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert total.max() <= 1


def test_keypoints_are_in_the_image_or_flagged_and_visible_ones_lie_on_the_person():
    people = [thing for i in range(150) for thing in scene(2, i, size=96, stream="detection-train").objects]
    people = [thing for thing in people if thing.keypoints is not None]
    assert len(people) > 15
    assert {thing.kind for thing in people} == {"person"}
    on_it = []
    for thing in people:
        assert thing.keypoints.shape == (17, 3)
        outside = thing.keypoints[:, 2] == 0
        assert (thing.keypoints[outside] == 0).all()
        x, y, seen = thing.keypoints[~outside].T
        assert ((x >= 0) & (x < 96) & (y >= 0) & (y < 96)).all()
        on_it += thing.mask[y[seen == 2].astype(int), x[seen == 2].astype(int)].tolist()
    assert all(on_it)
    assert len(on_it) > 0.6 * 17 * len(people)


def test_a_mirrored_person_keeps_left_and_right():
    drawn = next(s for s in (draw(5, i, size=96, stream="detection-train") for i in range(300)) if _whole_person(s))
    from jftdata.world.copies import transform

    mirrored = transform(drawn, "flipped", dice(0, "x", 0))
    person, other = _whole_person(drawn), _whole_person(mirrored)
    expected = person.keypoints[list(MIRROR)] * (-1, 1, 1) + (96, 0, 0)
    assert np.allclose(other.keypoints, expected)
    assert np.array_equal(mirrored.image, drawn.image[:, ::-1])
    assert np.array_equal(other.mask, person.mask[:, ::-1])


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_kind_drawn_alone_covers_a_sensible_share_of_its_square(kind):
    for leaf in leaves_of(kind):
        canvas, owners = Image.new("RGB", (192, 192), (200, 200, 200)), Image.new("L", (96, 96))
        _draw_thing(dice(0, leaf.label, 0), canvas, owners, Thing(leaf, 0.5, 0.5, 0.4), number=1, size=96)
        area = np.asarray(owners).mean() / (0.8 * 0.8)
        assert 0.07 < area < 0.95, leaf.label
        assert np.asarray(canvas).std() > 4, leaf.label


def test_labels_are_seen_objects_main_one_first():
    drawn = scene(0, 11, stream="eval")
    assert drawn.labels[0] == drawn.objects[-1].label
    assert set(drawn.labels) == {thing.label for thing in drawn.objects if thing.visible_share >= 0.25}


def test_copies_point_to_earlier_images_that_are_no_copies():
    found = {i: copy_of(9, i) for i in range(4000)}
    copies = {i: c for i, c in found.items() if c is not None}
    assert 0.022 < len(copies) / 4000 < 0.045
    assert all(c.original < i and found[c.original] is None for i, c in copies.items())
    assert {c.kind for c in copies.values()} == {
        "identical", "recompressed", "resized", "cropped", "recoloured", "flipped", "text",
    }  # fmt: skip


@pytest.mark.parametrize("stream", ["eval", "clean-test"])
def test_three_in_a_hundred_test_images_copy_an_early_noisy_one(stream):
    found = [copy_of(seed, i, stream=stream) for seed in range(4) for i in range(3000)]
    copies = [copied for copied in found if copied is not None]
    assert 0.025 < len(copies) / len(found) < 0.035
    assert all(copied.original < 1000 and copied.kind != "identical" for copied in copies)
    assert copy_of(9, 0, stream="clean-train") is None


def test_recompressed_copies_are_close_in_pixels_and_resized_ones_differ_in_size():
    seen = set()
    for index in range(1500):
        copied = copy_of(9, index)
        if copied is None or copied.kind in seen:
            continue
        seen.add(copied.kind)
        one, two = scene(9, copied.original), scene(9, index)
        assert one.labels == two.labels
        if copied.kind == "resized":
            assert two.image.shape[0] < 64
            continue
        gap = np.abs(one.image.astype(int) - two.image.astype(int)).mean()
        limit = {"identical": 0, "recompressed": 14, "text": 25}.get(copied.kind, 255)
        assert (gap <= limit) if copied.kind == "identical" else (0 < gap < limit)
    assert len(seen) == 7


def test_bad_arguments_say_the_value_and_the_range():
    with pytest.raises(BadArgument, match=r"`size` must be in \[32, 340\] pixels. Got 12."):
        scene(0, 0, size=12)
    with pytest.raises(BadArgument, match="Got 'mian'"):
        scene(0, 0, stream="mian")
    with pytest.raises(BadArgument, match="Got -1"):
        scene(0, -1)
    with pytest.raises(BadArgument, match="at least 1"):
        contact_sheet(0, num_images=0)


def test_a_contact_sheet_has_a_cell_for_every_image():
    assert contact_sheet(0, num_images=5, size=40, columns=3).size == (3 * 44, 2 * (40 + 12 + 4))


def _whole_person(drawn):
    people = [t for t in drawn.objects if t.keypoints is not None and (t.keypoints[:, 2] > 0).all()]
    return people[0] if len(people) == 1 else None
