"""Detection as a task: examples, what is found on files, learning, frozen parts, going on, and the whole of it on a world."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from jftdata import backbone, images, pretrain, recipes, subset, transfer, world
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadInput
from jftdata.pretrain.ranks import Ranks
from jftdata.transfer import fit as fitting
from jftdata.transfer.annotations import read
from jftdata.transfer.annotations.core import Annotated, Annotations, Objects
from jftdata.transfer.annotations.predictions import Detections, read_coco
from jftdata.transfer.body import Body
from jftdata.transfer.detection import FILE, RECIPES, Detection, detect, example, judge
from jftdata.transfer.detector import DetectionRecipe, Detector
from jftdata.transfer.task import Inputs, Score
from tests.annotation_cases import some

HERE = Ranks(0, 1, torch.device("cpu"))
SHORT = dataclasses.replace(
    RECIPES["tiny"], batch_size=2, epochs=None, steps=4, side=64, longest=96, anchor=24.0, proposals=16, rpn_batch=32, box_batch=8,
    pyramid=32, precision="fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(photo_catalog: Any, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    out = tmp_path_factory.mktemp("run") / "run"
    return pretrain.run(subset.everything(photo_catalog), recipes.tiny(total_epochs=1.0, image_size=32), out=out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "world"
    sizes = {"num_images": 1, "num_eval": 0, "num_clean_train": 0, "num_clean_test": 0}
    world.write(out, seed=0, **sizes, num_detection=10, detection_size=96, workers=1)
    return out


@pytest.fixture(scope="module")
def data(folder: Path) -> Annotations:
    return read.boxes(folder)


def easy(folder: Path, *, num: int = 2, crowd: bool = False) -> Annotations:
    """Images of 64 pixels with a blue thing on the upper left and a red one on the lower right."""
    paths, boxes = [], []
    for seed in range(num):
        draw = np.random.default_rng(seed)
        pixels = draw.integers(90, 130, (64, 64, 3)).astype(np.uint8)
        for colour, corner in (((20, 60, 220), (4, 6)), ((230, 40, 30), (34, 30))):
            x, y = draw.integers(0, 4, 2) + corner
            wide, tall = draw.integers(18, 28, 2)
            pixels[y : y + tall, x : x + wide] = colour
            boxes.append((x, y, min(64, x + wide), min(64, y + tall)))
        paths.append(folder / f"{seed}.png")
        Image.fromarray(pixels).save(paths[-1])
    return annotations(
        paths, np.array(boxes, np.float64), np.arange(0, 2 * num + 1, 2), np.arange(2 * num) % 2, crowd=crowd
    )


def annotations(
    paths: list[Path],
    box: NDArray[np.float64],
    start: NDArray[np.int64],
    label: NDArray[np.int64],
    *,
    crowd: bool = False,
) -> Annotations:
    shapes = np.array([images.decode(path.read_bytes())[0].shape for path in paths])
    none = np.zeros(len(box), np.bool_)
    area = (box[:, 2:] - box[:, :2]).prod(axis=1)
    objects = Objects(start, box, label, area, none | crowd, none, np.arange(len(box)))
    image = np.array([7919 * (i + 5) % 1009 for i in range(len(paths))])
    split = Annotated(
        image, list(map(str, paths)), shapes[:, 1], shapes[:, 0], np.arange(len(paths)), ("blue", "red"), np.array([3, 8]), "x",
        objects,
    )  # fmt: skip
    return Annotations(split, split, "x")


def inputs(
    data: Annotations, checkpoint: Checkpoint, folder: Path, recipe: DetectionRecipe = SHORT, mode: Any = "finetune"
) -> Inputs[Annotations, DetectionRecipe]:
    folder.mkdir(exist_ok=True)
    return Inputs(checkpoint, data, mode, recipe, 0, 1, HERE, folder, folder)


def value(scores: list[Score], metric: str, num_images: int) -> float:
    (score,) = [score for score in scores if score.metric == metric]
    return score.statistic(np.ones(num_images))


def trained(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    (path,) = (folder / fitting.STATES).glob("*.safetensors")
    return {name.removeprefix("net/"): value for name, value in load_file(path).items() if name.startswith("net/")}


def test_an_example_is_resized_and_every_second_one_mirrored_with_its_boxes(tmp_path: Path) -> None:
    train = easy(tmp_path).train
    plain, mirrored = (
        example(train, 0, draw, recipe=dataclasses.replace(SHORT, side=96, longest=96)) for draw in (2, 3)
    )
    assert plain.pixels.shape == (96, 96, 3)
    assert train.objects is not None
    np.testing.assert_allclose(plain.box, train.objects.box[:2] * 1.5)
    np.testing.assert_array_equal(mirrored.pixels, plain.pixels[:, ::-1])
    np.testing.assert_allclose(mirrored.box, (96, 0, 96, 0) + plain.box[:, [2, 1, 0, 3]] * (-1, 1, -1, 1))
    for one in (plain, mirrored):
        for (x0, y0, x1, y1), label in zip(one.box.round().astype(int), one.label, strict=True):
            inner = one.pixels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].reshape(-1, 3).mean(axis=0)
            assert int(inner.argmax()) == (2, 0)[label]


def test_crowds_and_difficult_objects_are_no_examples(tmp_path: Path) -> None:
    one = example(easy(tmp_path, crowd=True).train, 0, 0, recipe=SHORT)
    assert len(one.box) == len(one.label) == 0
    assert len(one.ignore) == 2


@pytest.mark.parametrize("head", ["fpn", pytest.param("c4", marks=pytest.mark.long)])
def test_a_detector_learns_a_few_images_by_heart(head: Any, tmp_path: Path, checkpoint: Checkpoint) -> None:
    data = easy(tmp_path)
    recipe = dataclasses.replace(
        SHORT, head=head, pyramid=64, steps=30, learning_rate=0.05 if head == "fpn" else 0.02, fresh_rate=1.0, warmup=0.0,
        freeze_batch_norm=False,
    )  # fmt: skip
    scores = Detection()(inputs(data, checkpoint, tmp_path / "run", recipe))
    assert value(scores, "AP.5", 2) > 0.8
    assert value(scores, "AP.5", 2) == value(judge(data.test, read_coco(tmp_path / "run" / FILE, data.test)), "AP.5", 2)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.timeout(1200)
def test_photographs_are_learned_by_heart(shared_data: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The eight of 80 whose smallest object is largest."""
    whole = read.boxes(shared_data / "coco_mini").train
    objects = whole.objects
    assert objects is not None
    owner = np.repeat(np.arange(len(whole)), np.diff(objects.start))
    side = (objects.box[:, 2:] - objects.box[:, :2]).min(axis=1) / np.minimum(whole.width, whole.height)[owner]
    least = [side[objects.of(i)].min(initial=1.0) * bool(len(side[objects.of(i)])) for i in range(len(whole))]
    few = some(whole, np.sort(np.argsort(-np.array(least), kind="stable")[:8]))
    recipe = dataclasses.replace(RECIPES["tiny"], epochs=None, steps=150, freeze_batch_norm=False)
    scores = Detection()(inputs(Annotations(few, few, "x"), checkpoint, tmp_path / "run", recipe))
    assert value(scores, "AP.5", 8) > 0.8


def test_what_is_drawn_as_found_scores_1_and_nothing_0(data: Annotations) -> None:
    objects, num = data.test.objects, data.num_test
    assert objects is not None
    perfect = Detections(objects.start, objects.box, np.ones(len(objects)), objects.label)
    assert value(judge(data.test, perfect), "AP", num) == pytest.approx(1.0)
    none = Detections(np.zeros(num + 1, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert value(judge(data.test, none), "AP", num) == 0.0


def test_vocs_metrics_are_given_for_its_layout(folder: Path) -> None:
    test = read.boxes(folder / "detection" / "voc").test
    assert test.objects is not None
    found = Detections(test.objects.start, test.objects.box, np.ones(len(test.objects)), test.objects.label)
    scores = judge(test, found)
    assert scores[0].metric == "mAP (11-point)"
    assert value(scores, "mAP (all-point)", len(test)) == pytest.approx(1.0)
    assert value(scores, "AP", len(test)) == pytest.approx(1.0)
    assert judge(dataclasses.replace(test, layout="coco"), found)[0].metric == "AP"


def test_a_difficult_object_is_no_miss(tmp_path: Path) -> None:
    test = easy(tmp_path).test
    assert test.objects is not None
    hard = dataclasses.replace(test.objects, difficult=np.array([True, False, False, False]))
    found = Detections(np.array([0, 1, 3]), test.objects.box[1:], np.ones(3), test.objects.label[1:])
    assert value(judge(test, found), "AP", 2) == pytest.approx(0.75, abs=0.01)  # blue 0.5, red 1
    assert value(judge(dataclasses.replace(test, objects=hard), found), "AP", 2) == pytest.approx(1.0)


@pytest.mark.parametrize(("head", "moving"), [("c4", {"layer4"}), ("fpn", set())])
def test_frozen_parts_keep_their_weights_bit_for_bit(
    head: Any, moving: set[str], data: Annotations, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(SHORT, head=head)
    Detection()(inputs(data, checkpoint, tmp_path / "run", recipe, "frozen"))
    before, after = checkpoint.load_weights(), trained(tmp_path / "run")
    changed = {
        name.split(".")[1] for name, weight in after.items()
        if name.startswith("body.") and not torch.equal(weight, before[name.removeprefix("body.")])
    }  # fmt: skip
    assert changed == moving


def test_a_run_that_goes_on_ends_with_the_same_weights_and_detections(
    data: Annotations, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Detection()(inputs(data, checkpoint, tmp_path / "whole"))
    monkeypatch.setattr(fitting, "SAVE_EVERY", 0.0)
    steps: list[int] = []

    def stopped(*arguments: Any, **named: Any) -> Iterator[Any]:
        for batch in fitting.samples(*arguments, **named):
            if len(steps) == 2:
                steps.append(0)
                raise KeyboardInterrupt
            steps.append(0)
            yield batch

    monkeypatch.setattr(transfer.detection, "samples", stopped)
    with pytest.raises(KeyboardInterrupt):
        Detection()(inputs(data, checkpoint, tmp_path / "parts"))
    Detection()(inputs(data, checkpoint, tmp_path / "parts"))
    assert len(steps) == 5  # two, one that failed, and the two that were left
    whole, parts = trained(tmp_path / "whole"), trained(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert (tmp_path / "whole" / FILE).read_bytes() == (tmp_path / "parts" / FILE).read_bytes()


class _Rank(Ranks):
    """One of two that run as threads."""

    barrier = threading.Barrier(2)
    said: ClassVar[dict[int, Any]] = {}

    def gather(self, value: Any) -> list[Any]:
        self.said[self.rank] = value
        self.barrier.wait(timeout=60)
        return [self.said[rank] for rank in range(self.world_size)]


@pytest.mark.parametrize("group", [3, 8])
def test_two_ranks_find_what_one_does(group: int, data: Annotations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.detection, "_GROUP", group)
    body = Body(backbone.build("resnet10", num_outputs=2, seed=0))
    model = Detector(body, SHORT, num_classes=len(data.classes), seed=0).eval()

    def found(ranks: Ranks) -> Detections:
        return detect(model, data.train, ranks=ranks, workers=1)

    alone = found(HERE)
    assert len(alone.start) == data.num_train + 1
    with ThreadPoolExecutor(2) as pool:
        for both in pool.map(found, [_Rank(rank, 2, torch.device("cpu")) for rank in (0, 1)]):
            for name in ("start", "box", "score", "label"):
                np.testing.assert_array_equal(getattr(both, name), getattr(alone, name))


def test_odd_images_are_learned_from_and_searched(checkpoint: Checkpoint, tmp_path: Path) -> None:
    shapes = {"grey": (40, 30), "dot": (1, 1), "strip": (3, 90, 3), "usual": (48, 64, 3), "cmyk": (32, 32, 4)}
    paths = []
    for name, shape in shapes.items():
        pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
        paths.append(tmp_path / f"{name}.{'jpg' if name == 'cmyk' else 'png'}")
        Image.fromarray(pixels, mode="CMYK" if name == "cmyk" else None).save(paths[-1])
    boxes = np.array([[0, 0, 1, 1], [2, 2, 60, 40], [0, 0, 0.01, 0.01]])
    data = annotations(paths, boxes, np.array([0, 0, 1, 1, 3, 3]), np.array([0, 1, 1]))
    found = Detection()(
        inputs(data, checkpoint, tmp_path / "run", dataclasses.replace(SHORT, batch_size=5, least_score=0.0))
    )
    assert 0 <= value(found, "AR 100", 5) <= 1
    seen = read_coco(tmp_path / "run" / FILE, data.test)
    owner = np.repeat(np.arange(5), np.diff(seen.start))
    sizes = np.stack([data.test.width, data.test.height] * 2, axis=1)[owner]
    assert ((seen.box >= -1e-3) & (seen.box <= sizes + 1e-3)).all()


def test_a_training_split_without_images_is_refused(data: Annotations, checkpoint: Checkpoint, tmp_path: Path) -> None:
    objects = dataclasses.replace(data.train.objects, start=np.zeros(1, np.int64))  # type: ignore[type-var]
    empty = dataclasses.replace(data.train, image=data.train.image[:0], path=[], objects=objects)
    with pytest.raises(BadInput, match="nothing to learn from"):
        Detection()(inputs(dataclasses.replace(data, train=empty), checkpoint, tmp_path / "run"))


def test_a_world_is_learned_and_judged_in_one_call(folder: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    results = transfer.run(checkpoint, task="detection", data=folder, out=tmp_path / "r", recipe=SHORT, workers=1)
    assert {"AP", "AP.5", "AR 100"} <= set(results.rows["metric"])
    assert set(results.rows["num_task_train"]) == {8}
    assert set(results.rows["mode"]) == {"finetune"}
    assert isinstance(json.loads((tmp_path / "r" / FILE).read_text()), list)
    again = transfer.run(checkpoint, task="detection", data=folder, out=tmp_path / "r", recipe=SHORT, workers=1)
    assert again.rows.equals(results.rows)


def test_the_papers_recipes_have_its_numbers() -> None:
    paper, voc, literal = RECIPES["paper"], RECIPES["paper-voc"], RECIPES["paper-literal"]
    assert paper.num_steps(115_287) == literal.num_steps(1) == 3_000_000
    assert paper.rate(2_499_999, 3_000_000) == 4e-4
    assert paper.rate(2_500_000, 3_000_000) == pytest.approx(4e-5)
    assert voc.num_steps(16_551) == 700_000
    assert voc.rate(500_000, 700_000) == pytest.approx(3e-5)
    assert RECIPES["paper-frozen"].rate(900_000, 1_500_000) == pytest.approx(4e-5)
    assert (paper.rpn_batch, paper.box_batch) == (literal.box_batch, literal.rpn_batch) == (256, 64)
