"""Sheets of truth beside prediction, on the built-in world and by the calls they make."""

import numpy as np
import pytest
from PIL import Image

from jftdata import world
from jftdata.transfer import pictures
from jftdata.transfer.annotations import draw, predictions, read
from jftdata.transfer.annotations.predictions import Detections


@pytest.fixture(scope="module")
def detection(tmp_path_factory):
    few = {"num_eval": 0, "num_clean_train": 0, "num_clean_test": 0}
    folder = tmp_path_factory.mktemp("pictures") / "world"
    return world.write(folder, num_images=1, seed=2, num_detection=50, detection_size=96, workers=1, **few).detection


def as_found(test, *, score=0.9):
    objects = test.objects
    scores = np.full(len(objects), score)
    return Detections(objects.start, objects.box, scores, objects.label, objects.keypoints)


def test_images_with_objects_come_first_and_the_choice_goes_by_id(detection):
    test = read.boxes(detection).test
    rows = pictures.chosen(test, seed=0)
    assert len(rows) == pictures.NUM == len(set(rows.tolist()))
    num = np.diff(test.objects.start)
    assert (num[rows] > 0).sum() == min(pictures.NUM, (num > 0).sum())
    assert pictures.chosen(test, seed=0).tolist() == rows.tolist() != pictures.chosen(test, seed=1).tolist()


def test_what_is_sure_or_the_best_is_drawn(detection, tmp_path, monkeypatch):
    test = read.boxes(detection).test
    found = as_found(test)
    found.score[:] = 0.1
    found.score[found.start[:-1][np.diff(found.start) > 0]] = 0.2  # the best of each image
    found.score[-1] = 0.5
    told = []

    def boxes(pixels, box, label, classes, *, score=None, crowd=None):
        told.append(None if score is None else score.tolist())
        return pixels

    monkeypatch.setattr(draw, "boxes", boxes)
    pictures.boxes(test, found, folder=tmp_path, seed=0)
    assert told[::2] == [None] * pictures.NUM
    assert all(shown in ([], [0.2], [0.5], [0.2, 0.5]) for shown in told[1::2])
    assert [0.2] in told


def test_sheets_of_boxes_poses_and_masks_are_written(detection, tmp_path):
    boxes, people = read.boxes(detection).test, read.keypoints(detection).test
    pictures.boxes(boxes, as_found(boxes), folder=tmp_path / "boxes", seed=0)
    pictures.poses(people, as_found(people), folder=tmp_path / "poses", seed=0)
    masks = read.masks(detection / "voc" / "VOC2012").test
    truth = (np.where(labels == 255, 0, labels) for labels in map(masks.labels, range(len(masks))))
    predictions.write_masks(tmp_path / "labels", masks, truth)
    pictures.masks(masks, tmp_path / "labels", folder=tmp_path / "masks", seed=0)
    for kind in ("boxes", "poses", "masks"):
        with Image.open(tmp_path / kind / pictures.FILE) as sheet:
            assert sheet.size[0] > 1900
            assert sheet.size[1] > 1900


def test_a_perfect_prediction_looks_like_the_truth(detection, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(draw, "sheet", lambda rows, **_: told.extend(rows))
    masks = read.masks(detection / "voc" / "VOC2012").test
    whole = [np.where(labels == 255, 0, labels) for labels in map(masks.labels, range(len(masks)))]
    predictions.write_masks(tmp_path, masks, whole)
    monkeypatch.setattr(type(masks), "labels", lambda self, row: whole[row])
    pictures.masks(masks, tmp_path, folder=tmp_path, seed=0)
    assert told
    assert all(np.array_equal(truth, predicted) for _, truth, predicted in told)
