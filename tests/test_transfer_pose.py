"""Pose: training pictures, boxes, learning by heart, frozen bodies, going on after a stop, shares of ranks."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import Tensor

import jftdata as jd
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput
from jftdata.pretrain.ranks import Ranks
from jftdata.ragged import owners
from jftdata.transfer import fit as loop
from jftdata.transfer import pose
from jftdata.transfer.annotations import predictions, read
from jftdata.transfer.annotations.core import Annotated, Annotations
from jftdata.transfer.pose import FILE, RECIPES, Pose, PoseRecipe, boxes_of, collate, network, parts, predict, sample
from jftdata.transfer.pose_net import Pictures, PoseNet
from jftdata.transfer.task import Inputs
from tests import annotation_cases

CPU = Ranks(0, 1, torch.device("cpu"))
SMALL = dataclasses.replace(
    RECIPES["tiny"], epochs=None, steps=2, batch_size=2, height=65, width=49, radius=6.0, precision="fp32"
)
QUICK = dataclasses.replace(SMALL, height=33, width=25, radius=4.0)
HANDS = dataclasses.replace(QUICK, sigmas=(0.1, 0.1, 0.1))
"""For the three keypoints of `annotation_cases`."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images, five of them for testing, with a person on every fifth or so."""
    folder = tmp_path_factory.mktemp("pose") / "world"
    jd.world.write(
        folder, num_images=12, seed=1, num_eval=0, num_clean_train=0, num_clean_test=0, num_detection=30, workers=1
    )
    return folder


@pytest.fixture(scope="module")
def data(world: Path) -> Annotations:
    return read.keypoints(world, workers=1)


@pytest.fixture(scope="module")
def checkpoint(world: Path) -> Checkpoint:
    return annotation_cases.fresh_checkpoint(world)


@pytest.fixture
def hands(tmp_path: Path) -> Annotations:
    """Small images with three keypoints, a crowd, and an image of nobody."""
    return read.keypoints(annotation_cases.write_coco(tmp_path / "hands", kind="person_keypoints"), workers=1)


def inputs(
    checkpoint: Checkpoint, data: Annotations, folder: Path, recipe: PoseRecipe, *, mode: str = "finetune"
) -> Inputs[Annotations, PoseRecipe]:
    folder.mkdir(exist_ok=True)
    return Inputs(checkpoint, data, mode, recipe, 0, 1, CPU, folder, folder)


def final(folder: Path) -> dict[str, Tensor]:
    (path,) = (folder / loop.STATES).glob("*.safetensors")
    return load_file(path)


def test_the_papers_recipe_is_450_thousand_steps_on_cocos_people() -> None:
    paper, literal = RECIPES["paper"], RECIPES["paper-literal"]
    assert paper.num_steps(150_000) == literal.num_steps(1) == 450_000
    assert (paper.height, paper.width) == (353, 257)
    assert paper.rate(250_000, 450_000) == pytest.approx(0.1 * paper.rate(249_999, 450_000))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("height", 352, "1 more than a multiple of 8. Got 352. Give 353"),
        ("width", 1, "Got 1. Give 9"),
        ("radius", 0.0, "above 0. Got 0.0"),
        ("auxiliary_weight", -1.0, "at least 0. Got -1.0"),
        ("enlarge_training", (1.5, 1.0), r"lower one first. Got \(1.5, 1.0\)"),
        ("nms", 0.0, r"in \(0, 1\]; 1 leaves out none. Got 0.0"),
        ("least_box_score", 0.5, "there are no `boxes`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(field: str, value: object, says: str) -> None:
    with pytest.raises(BadArgument, match=says):
        dataclasses.replace(RECIPES["modern"], **{field: value})


def dots(folder: Path) -> tuple[Annotated, NDArray[np.uint8]]:
    """Two people on one image whose keypoints are dots of the same three colours; the second lacks its right hand."""
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)
    points = np.array([[[30, 20, 2], [20, 40, 1], [44, 46, 2]], [[64, 22, 2], [58, 38, 2], [0, 0, 0]]])
    image = Image.new("RGB", (96, 64), (128, 128, 128))
    for x, y, label, colour in np.concatenate([points, np.tile(np.arange(3), (2, 1))[..., None]], 2).reshape(-1, 4):
        if label:
            ImageDraw.Draw(image).ellipse((x - 4, y - 4, x + 3, y + 3), fill=tuple(colours[colour].tolist()))
    image.save(folder / "dots.png")
    case = annotation_cases.write_coco(folder / "set", kind="person_keypoints")
    split = read.keypoints(case, workers=1).train
    objects, _, _ = parts(split)
    people = dataclasses.replace(
        objects, start=np.array([0, 2]), box=np.array([[16.0, 16, 48, 50], [54, 18, 68, 42]]), label=np.zeros(2, np.int64),
        area=np.ones(2), crowd=np.zeros(2, np.bool_), difficult=np.zeros(2, np.bool_), id=np.array([5, 3]),
        keypoints=points.astype(np.float32),
    )  # fmt: skip
    one = np.array([0])
    return dataclasses.replace(
        split, objects=people, path=[str(folder / "dots.png")], image=one, width=one + 96, height=one + 64, number=one
    ), colours


def test_keypoints_lie_on_what_they_name_in_every_training_picture(tmp_path: Path) -> None:
    split, colours = dots(tmp_path)
    recipe = dataclasses.replace(HANDS, height=129, width=97)
    mirrored, sizes = 0, []
    for draw in range(40):
        made = sample(split, 0, 0, draw, recipe=recipe)
        assert made.pixels.shape == (129, 97, 3)
        assert made.keypoints[:, 2].tolist() in ([2, 1, 2], [2, 2, 1])
        swapped = made.keypoints[1, 2] == 2  # the hidden hand is called the right one now
        mirrored += swapped
        colour = colours[[0, 2, 1]] if swapped else colours
        people = np.concatenate([made.keypoints[None], made.others])
        for x, y, k in ((*p[k, :2], k) for p in people for k in range(3) if p[k, 2]):
            if 3 < x < 94 and 3 < y < 126:
                assert np.abs(made.pixels[int(y), int(x)].astype(int) - colour[k]).max() < 40
        sizes.append(np.hypot(*(made.keypoints[1, :2] - made.keypoints[2, :2])))
        again = sample(split, 0, 0, draw, recipe=recipe)
        np.testing.assert_array_equal(again.pixels, made.pixels)
    assert 10 < mirrored < 30
    assert 1.3 < max(sizes) / min(sizes) < 1.5


def test_others_are_those_with_a_keypoint_near_the_picture(tmp_path: Path) -> None:
    split, _ = dots(tmp_path)
    wide = dataclasses.replace(HANDS, enlarge_training=(3.0, 3.0), mirror=False)
    narrow = dataclasses.replace(HANDS, enlarge_training=(1.0, 1.0), mirror=False)
    assert [len(sample(split, 0, person, 0, recipe=wide).others) for person in (0, 1)] == [1, 1]
    assert [len(sample(split, 0, person, 0, recipe=narrow).others) for person in (0, 1)] == [0, 0]
    batch = collate([sample(split, 0, person, 0, recipe=recipe) for person, recipe in ((0, narrow), (1, wide))])
    assert (batch.owner.tolist(), batch.others.shape, batch.pixels.shape) == ([1], (1, 3, 3), (2, 33, 25, 3))


def test_nobody_with_a_keypoint_is_refused_and_images_without_people_are_not(
    checkpoint: Checkpoint, hands: Annotations, tmp_path: Path
) -> None:
    scores = Pose()(inputs(checkpoint, hands, tmp_path / "run", HANDS))
    objects, keypoints, _ = parts(hands.train)
    (ap,) = (score for score in scores if score.metric == "AP")
    assert (ap.settings["num_people"], ap.settings["people_left_out"], len(objects)) == (2, 1, 3)
    none = dataclasses.replace(objects, keypoints=keypoints * 0)
    nobody = dataclasses.replace(hands, train=dataclasses.replace(hands.train, objects=none))
    with pytest.raises(BadInput, match="none of the 3 people to learn from has a labelled keypoint"):
        Pose()(inputs(checkpoint, nobody, tmp_path / "nobody", HANDS))
    with pytest.raises(BadArgument, match="3 keypoints, and COCO has sigmas for 17 only"):
        Pose()(inputs(checkpoint, hands, tmp_path / "run", QUICK))


def test_boxes_of_a_file_are_clipped_and_those_left_out_are_counted(hands: Annotations, tmp_path: Path) -> None:
    number, category = hands.test.number.tolist(), int(hands.test.class_number[0])
    given = [
        (number[1], [-5, -5, 15, 15], 0.9), (number[1], [30, 10, 90, 90], 0.8), (number[0], [50, 3, 4, 4], 0.9),
        (number[0], [2, 2, 0, 5], 0.9), (number[0], [2, 2, 5, 5], 0.2), (number[0], [2, 2, 6, 6], 0.4),
    ]  # fmt: skip
    rows = [{"image_id": i, "category_id": category, "bbox": box, "score": s} for i, box, s in given]
    rows.append({"image_id": number[0], "category_id": 99, "bbox": [1, 1, 2, 2], "score": 1.0})
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(rows))
    boxes, facts = boxes_of(hands.test, dataclasses.replace(HANDS, boxes=str(file), least_box_score=0.3))
    assert np.diff(boxes.start).tolist() == [1, 2, 0]
    assert boxes.box.tolist() == [[2, 2, 8, 8], [0, 0, 10, 10], [30, 10, 40, 24]]
    names = ("boxes_of_other_classes", "boxes_outside", "boxes_below_score", "num_boxes")
    assert [facts[name] for name in names] == [1, 2, 1, 3]


def test_boxes_of_the_annotations_are_of_people_with_a_labelled_keypoint(hands: Annotations) -> None:
    objects, keypoints, _ = parts(hands.test)
    boxes, facts = boxes_of(hands.test, HANDS)
    counts = (keypoints[:, :, 2] > 0).any(1) & ~objects.crowd
    assert 0 < facts["num_boxes"] == counts.sum() < len(objects)
    assert facts["boxes_without_keypoints"] == (~counts).sum()
    np.testing.assert_array_equal(boxes.box, objects.box[counts])
    np.testing.assert_array_equal(owners(boxes.start), owners(objects.start)[counts])


class Oracle(PoseNet):
    """Finds the brightest red, green and blue of a picture, and points at it."""

    def maps(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        tall, wide = (torch.arange(0, side, 8) + 0.5 for side in (self.height, self.width))
        flat = (pixels.float() - pixels.float().mean(3, keepdim=True)).flatten(1, 2)  # (n, pixels, 3)
        best = (flat > 60).float().transpose(1, 2)
        place = torch.arange(flat.shape[1])
        x, y = ((best * at).sum(2) / best.sum(2) + 0.5 for at in (place % self.width, place // self.width))
        gap_x = (x[:, :, None, None] - wide).expand(-1, -1, len(tall), -1)
        gap_y = (y[:, :, None, None] - tall[:, None]).expand(-1, -1, -1, len(wide))
        return torch.zeros_like(gap_x), torch.stack([gap_x, gap_y], 2)


@pytest.fixture
def oracle(checkpoint: Checkpoint) -> PoseNet:
    net = network(checkpoint, recipe=HANDS, num_keypoints=3, mode="frozen", seed=0)
    net.__class__ = Oracle
    return net


def test_poses_come_back_in_the_pixels_of_the_image(tmp_path: Path, oracle: PoseNet) -> None:
    split, _ = dots(tmp_path)
    boxes, _ = boxes_of(split, HANDS)
    boxes = predictions.Detections(np.array([0, 1]), boxes.box[:1], np.ones(1), np.zeros(1, np.int64))
    found = predict(oracle, split, boxes, recipe=HANDS, ranks=CPU, workers=1)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[0, :, :2], [[30, 20], [20, 40], [44, 46]], atol=0.6)
    assert found.score[0] == pytest.approx(found.keypoints[0, :, 2].mean())


def test_of_poses_that_are_alike_the_best_is_kept(tmp_path: Path, oracle: PoseNet) -> None:
    split, _ = dots(tmp_path)
    box = np.array([[16.0, 16, 48, 50], [15, 15, 49, 51], [54, 18, 68, 42]])
    boxes = predictions.Detections(np.array([0, 3]), box, np.ones(3), np.zeros(3, np.int64))
    counts = {}
    for nms in (0.5, 1.0):
        recipe = dataclasses.replace(HANDS, nms=nms)
        found = predict(oracle, split, boxes, recipe=recipe, ranks=CPU, workers=1)
        counts[nms] = len(found)
        assert (np.diff(found.score) <= 0).all()
    assert counts == {0.5: 2, 1.0: 3}


def test_no_box_gives_no_pose(tmp_path: Path, oracle: PoseNet) -> None:
    split, _ = dots(tmp_path)
    boxes = predictions.Detections(np.array([0, 0]), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    found = predict(oracle, split, boxes, recipe=HANDS, ranks=CPU, workers=1)
    assert found.start.tolist() == [0, 0]
    assert found.keypoints is not None
    assert found.keypoints.shape == (0, 3, 3)


def test_two_ranks_find_what_one_finds(
    checkpoint: Checkpoint, hands: Annotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pose, "_GROUP", 1)
    net = network(checkpoint, recipe=HANDS, num_keypoints=3, mode="frozen", seed=0).eval()
    split = hands.train
    boxes, _ = boxes_of(split, HANDS)
    assert len(boxes) > 1
    whole = predict(net, split, boxes, recipe=HANDS, ranks=CPU, workers=2)
    shares: list[Tensor] = []

    class Rank(Ranks):
        def sum(self, value: Tensor) -> Tensor:
            shares.append(value)
            return sum(shares)  # type: ignore[return-value]

    for rank in (0, 1):
        last = predict(net, split, boxes, recipe=HANDS, ranks=Rank(rank, 2, CPU.device), workers=1)
    np.testing.assert_array_equal(last.keypoints, whole.keypoints)  # type: ignore[arg-type]
    np.testing.assert_array_equal(last.start, whole.start)


def test_a_frozen_body_stays_bit_for_bit_and_the_head_learns(
    checkpoint: Checkpoint, hands: Annotations, tmp_path: Path
) -> None:
    for freeze_batch_norm in (True, False):
        folder = tmp_path / str(freeze_batch_norm)
        recipe = dataclasses.replace(HANDS, freeze_batch_norm=freeze_batch_norm)
        Pose()(inputs(checkpoint, hands, folder, recipe, mode="frozen"))
        before = network(checkpoint, recipe=recipe, num_keypoints=3, mode="frozen", seed=0).state_dict()
        after = {name.removeprefix("net/"): tensor for name, tensor in final(folder).items() if name.startswith("net/")}
        assert after.keys() == before.keys()
        for name, value in before.items():
            assert torch.equal(after[name], value) == name.startswith("body."), name


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    checkpoint: Checkpoint, hands: Annotations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(HANDS, steps=4)
    Pose()(inputs(checkpoint, hands, tmp_path / "whole", recipe))
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    forward = PoseNet.forward
    calls = []

    def third_fails(self: PoseNet, batch: Pictures) -> dict[str, Tensor]:
        calls.append(batch)
        if len(calls) == 3:
            raise OSError("the disk is gone")
        return forward(self, batch)

    monkeypatch.setattr(PoseNet, "forward", third_fails)
    with pytest.raises(OSError, match="the disk is gone"):
        Pose()(inputs(checkpoint, hands, tmp_path / "cut", recipe))
    Pose()(inputs(checkpoint, hands, tmp_path / "cut", recipe))
    assert len(calls) == 3 + 2
    states = final(tmp_path / "whole"), final(tmp_path / "cut")
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert (tmp_path / "whole" / FILE).read_text() == (tmp_path / "cut" / FILE).read_text()


def by_heart(
    checkpoint: Checkpoint, split: Annotated, folder: Path, recipe: PoseRecipe
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Scores of learning and judging the same people, and the poses."""
    seen = Annotations(split, split, "")
    scores = Pose()(inputs(checkpoint, seen, folder, recipe))
    found = {score.metric: score.statistic(np.ones(len(split))) for score in scores}
    return found, json.loads((folder / FILE).read_text())


def test_a_few_people_are_learnt_by_heart(checkpoint: Checkpoint, data: Annotations, tmp_path: Path) -> None:
    objects, _, _ = parts(data.train)
    large = np.unique(owners(objects.start)[np.argsort(-objects.area, kind="stable")[:3]])
    recipe = dataclasses.replace(
        SMALL, steps=30, batch_size=4, learning_rate=0.04, mirror=False, enlarge_training=(1.25, 1.25),
        height=49, width=41, radius=5.0, freeze_batch_norm=False,
    )  # fmt: skip
    found, poses = by_heart(checkpoint, annotation_cases.some(data.train, large), tmp_path / "run", recipe)
    assert found["AP"] > 0.7
    assert found["AP.5"] == pytest.approx(1.0)
    assert all(len(one["keypoints"]) == 51 for one in poses)


def test_one_call_judges_a_checkpoint_on_the_world(checkpoint: Checkpoint, world: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "task": "pose", "data": world, "recipe": QUICK, "workers": 1, "device": "cpu", "mode": "frozen"
    }  # fmt: skip
    results = jd.transfer.run(checkpoint, **options, out=tmp_path / "results")
    rows = results.rows.filter(results.rows["metric"] == "AR")
    assert len(rows) == 1
    assert 0 <= rows["low"][0] <= rows["value"][0] <= rows["high"][0] <= 1
    assert (rows["num_task_train"][0], rows["num_task_test"][0], rows["mode"][0]) == (24, 6, "frozen")
    assert (tmp_path / "results" / FILE).exists()
    assert jd.transfer.run(checkpoint, **options, out=tmp_path / "results").rows.equals(results.rows)


@pytest.mark.shared
@pytest.mark.long
def test_people_on_photographs_are_learnt_by_heart(checkpoint: Checkpoint, shared_data: Path, tmp_path: Path) -> None:
    train = read.keypoints(shared_data / "coco_mini", workers=1).train
    objects, keypoints, _ = parts(train)
    order = np.argsort(-(keypoints[:, :, 2] > 0).sum(1) - 1e-9 * objects.area, kind="stable")
    people = np.sort(order[:12])
    few = dataclasses.replace(objects, crowd=~np.isin(np.arange(len(objects)), people))  # a crowd is not learnt
    split = annotation_cases.some(dataclasses.replace(train, objects=few), np.unique(owners(objects.start)[people]))
    recipe = dataclasses.replace(
        SMALL, steps=150, batch_size=12, learning_rate=0.04, mirror=False, enlarge_training=(1.25, 1.25),
        height=129, width=97, radius=9.0, freeze_batch_norm=False,
    )  # fmt: skip
    found, poses = by_heart(checkpoint, split, tmp_path / "run", recipe)
    print(f"\nkeypoint AP of {len(poses)} people learnt by heart: {found['AP']:.3f}")
    assert found["AP"] > 0.7
