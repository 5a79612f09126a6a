import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from jftdata.errors import BadArgument, BadInput, Damaged, MissingInput
from jftdata.transfer.annotations import coco, predictions
from jftdata.transfer.annotations.core import Annotated
from jftdata.transfer.annotations.predictions import Detections
from tests.annotation_cases import write_coco


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_coco(write_coco(tmp_path_factory.mktemp("set")), kind="person_keypoints")


@pytest.fixture(scope="module")
def test(folder):
    return coco.read(folder).test


def made(lengths, *, seed=0, num_points=None):
    """Random detections on as many images as there are lengths, by falling score."""
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    corner = rng.uniform(-5, 40, (count, 2))
    score = np.concatenate([np.sort(rng.random(length))[::-1] for length in lengths]) if count else np.zeros(0)
    points = None if num_points is None else rng.uniform(0, 40, (count, num_points, 3))
    box = np.concatenate([corner, corner + rng.uniform(0, 20, (count, 2))], 1)
    if points is not None:
        box = np.concatenate([points[:, :, :2].min(1), points[:, :, :2].max(1)], 1)
    return Detections(np.concatenate([[0], np.cumsum(lengths)]), box, score, rng.integers(0, 2, count), points)


def same(one, other):
    for name in ("start", "score", "label"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.allclose(one.box, other.box, rtol=0, atol=1e-12)
    assert (one.keypoints is None) == (other.keypoints is None)
    assert one.keypoints is None or np.array_equal(one.keypoints, other.keypoints)


images = st.integers(0, 5)


@given(lengths=st.tuples(images, images, images), seed=st.integers(0, 99), points=st.sampled_from([None, 3]))
def test_results_are_read_back_as_they_were_written(lengths, seed, points, tmp_path_factory, folder):
    split = coco.read(folder, keypoints=points is not None).test
    found = made(lengths, seed=seed, num_points=points if sum(lengths) else None)
    path = tmp_path_factory.mktemp("results") / "results.json"
    same(predictions.read_coco(predictions.write_coco(path, split, found), split), found)


@pytest.mark.parametrize("points", [None, 3])
def test_pycocotools_loads_the_results(folder, tmp_path, points):
    keypoints = points is not None
    split, found = coco.read(folder, keypoints=keypoints).test, made((2, 0, 3), num_points=points)
    predictions.write_coco(tmp_path / "r.json", split, found)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(folder / "annotations" / f"{coco.KINDS[keypoints]}_test.json")
        loaded = truth.loadRes(str(tmp_path / "r.json"))
    for row, number in enumerate(split.number.tolist()):
        results = loaded.loadAnns(loaded.getAnnIds(imgIds=[number]))
        at = found.of(row)
        assert [r["score"] for r in results] == found.score[at].tolist()
        assert [r["category_id"] for r in results] == split.class_number[found.label[at]].tolist()
        for r, i in zip(results, range(at.start, at.stop), strict=True):
            x0, y0, x1, y1 = found.box[i]
            assert np.allclose(r["bbox"], [x0, y0, x1 - x0, y1 - y0], atol=1e-9)
            assert not keypoints or r["keypoints"] == found.keypoints[i].ravel().tolist()


def test_results_may_come_in_any_order_and_of_more_classes(test, tmp_path):
    results = [
        {"image_id": 13, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.2},
        {"image_id": 11, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 13, "category_id": 99, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 13, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 0.4},
    ]
    (tmp_path / "r.json").write_text(json.dumps(results))
    found = predictions.read_coco(tmp_path / "r.json", test)
    assert found.start.tolist() == [0, 1, 1, 3]
    assert found.score.tolist() == [0.5, 0.4, 0.2]
    assert found.label.tolist() == [0, 0, 1]
    assert found.num_left_out == 1


GOOD = {"image_id": 11, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": []}, r"has no list of results"),
        ([GOOD, {**GOOD, "image_id": 5}], r"result 1 is of the unknown image 5"),
        ([GOOD, {**GOOD, "image_id": [11]}], r"result 1 is of the unknown image \[11\]"),
        ([{**GOOD, "category_id": 5}], r"no detection of a class of the set: its categories are 5, those of the set 3, 7"),
        ([{**GOOD, "bbox": [1, 2, 3]}], r"result 0 has the bbox \[1, 2, 3\], not 4 numbers"),
        ([GOOD, {**GOOD, "bbox": [1, 2, float("nan"), 1]}], r"result 1 has the bbox \[1, 2, nan, 1\] and score 0\.5, not fin"),
        ([{**GOOD, "bbox": [1, 2, -3, 1]}], r"not finite numbers and a size of at least 0; so have 1 in all"),
        ([{"image_id": 11, "category_id": 3, "bbox": [1, 2, 3, 1]}], r"result 0 has the bbox .* and score None, not finite"),
        ([{"image_id": 11, "category_id": 3, "keypoints": [1, 2], "score": 1}], r"has the keypoints \[1, 2\], not 3 numbers a"),
    ],
)  # fmt: skip
def test_bad_results_are_refused(test, tmp_path, content, message):
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=message):
        predictions.read_coco(tmp_path / "r.json", test)


def test_a_file_of_results_must_be_there_and_be_json(test, tmp_path):
    with pytest.raises(MissingInput, match=r"detections .*r\.json do not exist"):
        predictions.read_coco(tmp_path / "r.json", test)
    (tmp_path / "r.json").write_text("[{")
    with pytest.raises(Damaged, match=r"r\.json is not readable JSON"):
        predictions.read_coco(tmp_path / "r.json", test)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (made((1, 2)), r"detections of 2 images for 3"),
        (Detections(np.array([0, 0, 0, 1]), np.zeros((1, 4)), np.ones(1), np.array([2])), r"classes 2 to 2, there are 2"),
        (Detections(np.array([0, 0, 0, 1]), np.full((1, 4), np.nan), np.ones(1), np.array([1])), r"1 of 1 .* have boxes that"),
        (Detections(np.array([0, 0, 0, 1]), np.zeros((1, 4)), np.full(1, np.inf), np.array([1])), r"have scores that are no"),
    ],
)  # fmt: skip
def test_detections_that_cannot_be_of_the_set_are_not_written(test, tmp_path, found, message):
    for write in (
        lambda: predictions.write_coco(tmp_path / "r.json", test, found),
        lambda: predictions.write_voc(tmp_path / "voc", test, found),
    ):
        with pytest.raises(BadArgument, match=message):
            write()
    assert not list(tmp_path.iterdir())


def test_voc_lists_have_a_file_a_class_and_pixels_from_one(test, tmp_path):
    found = Detections(
        np.array([0, 1, 1, 2]), np.array([[0, 0, 40, 24], [2.5, 1, 3, 4]]), np.array([0.25, 1 / 3]), np.array([1, 1])
    )
    paths = predictions.write_voc(tmp_path, test, found, split="val")
    assert [path.name for path in paths] == ["comp3_det_val_bus.txt", "comp3_det_val_cup.txt"]
    assert paths[0].read_text() == ""
    assert paths[1].read_text() == (
        "test0 0.25 1.000000 1.000000 40.000000 24.000000\ntest2 0.333333333 3.500000 2.000000 3.000000 4.000000\n"
    )


def split_of_masks(count, *, first=0):
    paths = [f"/x/i{i}.jpg" for i in range(count)]
    whole = np.full(count, 3)
    return Annotated(
        np.arange(count), paths, whole, whole - 1, np.arange(count), ("a", "b"), np.arange(first, first + 2), "f"
    )


def test_masks_are_written_with_the_numbers_of_the_set_and_in_colour(tmp_path):
    given = [np.array([[0, 1, 1], [1, 0, i]], np.uint8) for i in (0, 1)]
    paths = predictions.write_masks(tmp_path, split_of_masks(2, first=1), iter(given))
    assert [path.name for path in paths] == ["i0.png", "i1.png"]
    for path, labels in zip(paths, given, strict=True):
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]  # VOC's colours of 1 and 2
            assert (np.asarray(image) == labels + 1).all()
    more = predictions.write_masks(tmp_path / "some", split_of_masks(4), iter(given), rows=[3, 1])
    assert [path.name for path in more] == ["i3.png", "i1.png"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([np.zeros((2, 3), np.uint8)], r"fewer masks than 2 images"),
        ([np.zeros((2, 3), np.uint8)] * 3, r"more masks than 2 images"),
        ([np.zeros((3, 3), np.uint8)] * 2, r"the mask of /x/i0\.jpg has the shape \(3, 3\), the image \(2, 3\)"),
        ([np.full((2, 3), 2, np.uint8)] * 2, r"the mask of /x/i0\.jpg has the class 2 of 2"),
    ],
)
def test_masks_that_cannot_be_of_the_set_are_refused(tmp_path, given, message):
    with pytest.raises(BadArgument, match=message):
        predictions.write_masks(tmp_path, split_of_masks(2), given)
