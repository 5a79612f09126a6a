"""COCO metrics against pycocotools and faster-coco-eval, on all images once and on images repeated."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jftdata.errors import BadArgument, BadInput
from jftdata.transfer import coco_metrics
from jftdata.transfer.annotations.core import Objects
from jftdata.transfer.annotations.predictions import Detections

Case = tuple[Objects, Detections, int]
"""Objects, detections, classes."""
BOX_STATS = (
    "AP", "AP.5", "AP.75", "AP small", "AP medium", "AP large",
    "AR 1", "AR 10", "AR 100", "AR small", "AR medium", "AR large",
)  # fmt: skip
POSE_STATS = ("AP", "AP.5", "AP.75", "AP medium", "AP large", "AR", "AR.5", "AR.75", "AR medium", "AR large")


def case_of(seed: int, *, num_images: int, num_classes: int, most: int, ties: bool, points: int = 0) -> Case:
    """Boxes on whole pixels, so that areas and overlaps hit their limits; scores are often equal, within an image if `ties`."""
    rng = np.random.default_rng(seed)
    num_objects, num_found = rng.integers(0, 5, num_images), rng.integers(0, most, num_images)
    start, found_start = (np.concatenate([[0], np.cumsum(num)]) for num in (num_objects, num_found))
    m, n = start[-1], found_start[-1]
    box = boxes_of(rng, m)
    label = rng.integers(0, num_classes, m)
    area = (box[:, 2:] - box[:, :2]).prod(axis=1) * rng.choice([0.5, 1.0], m)
    area[rng.random(m) < 0.1] = 32.0**2
    crowd = rng.random(m) < 0.15
    found_box, found_label = boxes_of(rng, n), rng.integers(0, num_classes, n)
    image = np.repeat(np.arange(num_images), num_found)
    near = start[image] + (rng.random(n) * num_objects[image]).astype(int)
    taken = (rng.random(n) < 0.7) & (num_objects[image] > 0)
    found_box[taken] = box[near[taken]] + rng.choice([0, 0, 0, 1, 2], (taken.sum(), 4))
    found_label[taken] = label[near[taken]]
    score = np.concatenate([np.zeros(0), *(rng.permutation(most)[:num] / 8 for num in num_found)])
    if ties:
        score = rng.integers(0, 4, n) / 4
    keypoints = poses = None
    if points:
        size = box[:, None, 2:] - box[:, None, :2]
        place = box[:, None, :2] + (size * rng.random((m, points, 2))).round()
        seen = rng.integers(0, 3, (m, points, 1)) * (rng.random((m, 1, 1)) < 0.8)
        keypoints = np.concatenate([place, seen], axis=2).astype(np.float32)
        poses = rng.integers(0, 200, (n, points, 3)).astype(np.float64)
        moved = rng.integers(-2, 3, (n, points, 2)) * rng.integers(0, 4, (n, 1, 1))
        poses[taken, :, :2] = place[near[taken]] + moved[taken]
    objects = Objects(start, box, label, area, crowd, np.zeros(m, bool), np.arange(1, m + 1), keypoints)
    return objects, Detections(found_start, found_box, score, found_label, poses), num_classes


def boxes_of(rng: np.random.Generator, num: int) -> NDArray[np.float64]:
    corner, size = rng.integers(0, 60, (num, 2)), rng.choice([6, 12, 32, 33, 96, 110], (num, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float64)


def as_coco(case: Case, times: NDArray[np.int64]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The set and the results in COCO's formats, each image as often as it says, under a new id."""
    truth, found, num_classes = case
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for row, num in enumerate(times):
        for copy in range(num):
            images.append({"id": 100 * row + copy, "width": 400, "height": 400})
            for kind, there in ((annotations, truth), (results, found)):
                for i in range(there.start[row], there.start[row + 1]):
                    x0, y0, x1, y1 = there.box[i].tolist()
                    one = {
                        "image_id": images[-1]["id"],
                        "category_id": int(there.label[i]) + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                    }
                    if isinstance(there, Objects):
                        one |= {"id": len(kind) + 1, "iscrowd": int(there.crowd[i]), "area": float(there.area[i])}
                    else:
                        one["score"] = float(there.score[i])
                    if there.keypoints is not None:
                        one["keypoints"] = there.keypoints[i].ravel().tolist()
                        one["num_keypoints"] = int((there.keypoints[i, :, 2] > 0).sum())
                        if kind is results:
                            del one["bbox"]
                    kind.append(one)
    categories = [{"id": i + 1, "name": str(i)} for i in range(num_classes)]
    return {"images": images, "annotations": annotations, "categories": categories, "info": {}}, results


def reference(
    dataset: dict[str, Any], results: list[dict[str, Any]], kind: str, sigmas: Any, *, faster: bool = False
) -> dict[str, float]:
    """Their numbers under our names, nan for -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = FasterCOCO() if faster else COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation: Any = (COCOeval_faster if faster else COCOeval)(coco, coco.loadRes(results), kind)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = BOX_STATS if kind == "bbox" else POSE_STATS
    out = dict(zip(names, evaluation.stats, strict=False))
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    if precision.shape[2] > 1:
        out |= {f"AP ({c})": precision[:, :, c].mean() for c in range(precision.shape[2])}
    return {name: float("nan") if value == -1 else float(value) for name, value in out.items()}


def ours(matches: coco_metrics.Matches, weights: NDArray[np.int64]) -> dict[str, float]:
    classes = [str(i) for i in range(matches.num_classes)]
    return {s.metric: s.statistic(weights.astype(np.float64)) for s in coco_metrics.scores(matches, classes)}


def check_equal(found: dict[str, float], expected: dict[str, float]) -> None:
    assert list(found) == list(expected)
    np.testing.assert_allclose(
        list(found.values()), list(expected.values()), rtol=0, atol=1e-9, err_msg=str(list(found))
    )


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 3), st.integers(1, 24))
def test_boxes_are_judged_as_by_pycocotools(seed: int, num_images: int, num_classes: int, most: int) -> None:
    case = case_of(seed, num_images=num_images, num_classes=num_classes, most=most, ties=True)
    dataset, results = as_coco(case, np.ones(num_images, int))
    found = ours(coco_metrics.boxes(case[0], case[1], num_classes=num_classes), np.ones(num_images, int))
    if results:
        check_equal(found, reference(dataset, results, "bbox", None))
    else:
        assert np.nansum(list(found.values())) == 0


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 3), st.data())
def test_weights_are_images_repeated(seed: int, num_images: int, num_classes: int, data: st.DataObject) -> None:
    times = np.array([data.draw(st.integers(0, 3)) for _ in range(num_images)])
    case = case_of(seed, num_images=num_images, num_classes=num_classes, most=24, ties=False)
    dataset, results = as_coco(case, times)
    found = ours(coco_metrics.boxes(case[0], case[1], num_classes=num_classes), times)
    if results:
        check_equal(found, reference(dataset, results, "bbox", None))
    else:
        assert np.nansum(list(found.values())) == 0


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 2), st.sampled_from([1, 3, 17]), st.data())
def test_poses_are_judged_as_by_pycocotools_with_images_repeated(
    seed: int, num_images: int, num_classes: int, points: int, data: st.DataObject
) -> None:
    times = np.array([data.draw(st.sampled_from([1, 1, 0, 2])) for _ in range(num_images)])
    case = case_of(seed, num_images=num_images, num_classes=num_classes, most=26, ties=False, points=points)
    sigmas = None if points == 17 else [0.05, 0.1, 0.2][:points]
    dataset, results = as_coco(case, times)
    found = ours(coco_metrics.keypoints(case[0], case[1], num_classes=num_classes, sigmas=sigmas), times)
    if results:
        check_equal(found, reference(dataset, results, "keypoints", sigmas))
    else:
        assert np.nansum(list(found.values())) == 0


@pytest.mark.parametrize("points", [0, 17])
def test_faster_coco_eval_agrees_on_many_detections(points: int) -> None:
    case = case_of(1, num_images=40, num_classes=3 if not points else 1, most=130, ties=True, points=points)
    kind, judge = ("keypoints", coco_metrics.keypoints) if points else ("bbox", coco_metrics.boxes)
    dataset, results = as_coco(case, np.ones(40, int))
    found = ours(judge(case[0], case[1], num_classes=case[2]), np.ones(40, int))
    check_equal(found, reference(dataset, results, kind, None))
    check_equal(found, reference(dataset, results, kind, None, faster=True))
    assert 0.05 < found["AP"] < 0.95


def test_without_objects_metrics_are_undefined_and_without_detections_zero() -> None:
    truth, found, _ = case_of(3, num_images=30, num_classes=2, most=9, ties=True)
    none = dataclasses.replace(
        found, start=0 * found.start, box=found.box[:0], score=found.score[:0], label=found.label[:0]
    )
    assert set(ours(coco_metrics.boxes(truth, none, num_classes=2), np.ones(30, int)).values()) == {0.0}
    matches = coco_metrics.boxes(truth, found, num_classes=2)
    assert np.isnan(list(ours(matches, np.zeros(30, int)).values())).all()
    crowds = dataclasses.replace(truth, crowd=np.ones(len(truth), bool))
    assert np.isnan(list(ours(coco_metrics.boxes(crowds, found, num_classes=2), np.ones(30, int)).values())).all()


def test_order_of_an_image_s_detections_changes_nothing() -> None:
    truth, found, _ = case_of(4, num_images=1, num_classes=2, most=30, ties=False)
    order = np.random.default_rng(0).permutation(len(found))
    parts = {name: getattr(found, name)[order] for name in ("box", "score", "label")}
    again = dataclasses.replace(found, **parts)
    both = [ours(coco_metrics.boxes(truth, one, num_classes=2), np.ones(1, int)) for one in (found, again)]
    check_equal(both[0], both[1])


def test_bad_input_is_named() -> None:
    truth, found, _ = case_of(5, num_images=3, num_classes=1, most=9, ties=False, points=3)
    with pytest.raises(BadArgument, match="2 names for 1 classes"):
        coco_metrics.scores(coco_metrics.boxes(truth, found, num_classes=1), ["a", "b"])
    with pytest.raises(BadArgument, match="there are 3 keypoints, and COCO has sigmas for 17 only"):
        coco_metrics.keypoints(truth, found, num_classes=1)
    without = dataclasses.replace(truth, keypoints=None)
    with pytest.raises(BadInput, match="the objects have no keypoints"):
        coco_metrics.keypoints(without, found, num_classes=1, sigmas=[0.1] * 3)
    assert found.keypoints is not None
    other = dataclasses.replace(found, keypoints=found.keypoints[:, :2])
    with pytest.raises(BadInput, match=r"keypoints of objects are \(\d+, 3, 3\), of \d+ detections \(\d+, 2, 3\)"):
        coco_metrics.keypoints(truth, other, num_classes=1, sigmas=[0.1] * 3)
    broken = found.keypoints.copy()
    broken[found.start[1], 1, 0] = np.nan
    with pytest.raises(BadInput, match="a keypoint of image 1 is no finite number"):
        coco_metrics.keypoints(truth, dataclasses.replace(found, keypoints=broken), num_classes=1, sigmas=[0.1] * 3)


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["bbox", "keypoints"])
def test_on_real_annotations_all_are_as_by_pycocotools(kind: str, shared_data: Path) -> None:
    name = "instances" if kind == "bbox" else "person_keypoints"
    dataset = json.loads((shared_data / f"coco_mini/annotations/{name}_val2017.json").read_text())
    rows = {number: row for row, number in enumerate(sorted(image["id"] for image in dataset["images"]))}
    labels = {number: label for label, number in enumerate(sorted(c["id"] for c in dataset["categories"]))}
    rng = np.random.default_rng(0)
    results = []
    for one in dataset["annotations"] * 3:
        bbox = np.array(one["bbox"]) + rng.normal(0, 0.1, 4) * np.tile(one["bbox"][2:], 2)
        result = {"image_id": one["image_id"], "category_id": one["category_id"], "score": float(rng.random())}
        if kind == "bbox":
            result["bbox"] = [*bbox[:2], *bbox[2:].clip(0)]
        else:
            spread = rng.normal(0, 0.03, 51) * np.sqrt(one["area"]) * rng.integers(0, 4)
            result["keypoints"] = [*np.array(one["keypoints"], float) + spread]
        results.append(result)

    def arrays(given: list[dict[str, Any]]) -> tuple[NDArray[np.int64], dict[str, Any]]:
        given = sorted(given, key=lambda one: rows[one["image_id"]])
        start = np.searchsorted([rows[one["image_id"]] for one in given], np.arange(len(rows) + 1))
        columns = {"label": np.array([labels[one["category_id"]] for one in given])}
        bbox = np.array([one.get("bbox", [0.0] * 4) for one in given])
        columns["box"] = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
        if kind == "keypoints":
            columns["keypoints"] = np.array([one["keypoints"] for one in given], float).reshape(len(given), -1, 3)
        for key, column in (("area", "area"), ("iscrowd", "crowd"), ("score", "score"), ("id", "id")):
            if key in given[0]:
                columns[column] = np.array([one[key] for one in given])
        return start, columns

    start, columns = arrays(dataset["annotations"])
    columns["crowd"] = columns["crowd"].astype(bool)
    truth = Objects(start, difficult=columns["crowd"], **columns)
    start, columns = arrays(results)
    judge = coco_metrics.boxes if kind == "bbox" else coco_metrics.keypoints
    matches = judge(truth, Detections(start, **columns), num_classes=len(labels))
    found = ours(matches, np.ones(len(rows), int))
    assert 0.05 < found["AP"] < 0.95
    expected = reference(dataset, results, kind, None)
    check_equal(found, expected)
