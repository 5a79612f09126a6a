"""Segmentation: training images and predictions against what they must be, learning, frozen bodies, going on after a stop."""

import ast
import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import jftdata as jd
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, UnknownOption
from jftdata.pretrain.augment import GREY
from jftdata.pretrain.ranks import Ranks
from jftdata.transfer import fit as loop
from jftdata.transfer import segmentation, tables
from jftdata.transfer.annotations import read
from jftdata.transfer.annotations.core import Annotated, Annotations
from jftdata.transfer.deeplab import IGNORED, STRIDE
from jftdata.transfer.segmentation import (
    CONFUSED,
    PREDICTIONS,
    RECIPES,
    Segmentation,
    SegmentationRecipe,
    network,
    predict,
    sample,
)
from jftdata.transfer.task import Inputs
from tests import annotation_cases

CPU = Ranks(0, 1, torch.device("cpu"))
SMALL = dataclasses.replace(
    RECIPES["tiny"], epochs=None, steps=2, batch_size=2, crop_size=65, longest_side=64, precision="fp32"
)

QUICK = dataclasses.replace(SMALL, crop_size=33, longest_side=33)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn images for testing, eight for training, of 96 pixels."""
    folder = tmp_path_factory.mktemp("segmentation") / "world"
    jd.world.write(
        folder,
        num_images=12,
        seed=0,
        num_eval=0,
        num_clean_train=2,
        num_clean_test=2,
        num_detection=10,
        detection_size=96,
    )
    return folder


@pytest.fixture(scope="module")
def data(world: Path) -> Annotations:
    return read.masks(world, workers=1)


@pytest.fixture(scope="module")
def checkpoint(world: Path) -> Checkpoint:
    return annotation_cases.fresh_checkpoint(world)


def test_the_papers_recipe_is_thirty_thousand_steps_on_vocs_images() -> None:
    paper, literal = RECIPES["paper"], RECIPES["paper-literal"]
    assert paper.num_steps(10_582) == literal.num_steps(10_582) == literal.num_steps(1) == 30_000
    assert (paper.crop_size, paper.batch_size, paper.rates, literal.rates) == (513, 6, (6, 12, 18, 24), (6, 12, 8, 24))
    assert paper.rate(15_000, 30_000) == pytest.approx(1e-3 * 0.5**0.9)
    assert (paper.scales, paper.mirror, paper.longest_side) == ((1.0, 1.0), False, None)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("crop_size", 512, "1 more than a multiple of 8. Got 512. Give 513"),
        ("crop_size", 0, "Got 0. Give 1"),
        ("rates", (), r"dilations of at least 1. Got \(\)"),
        ("rates", (6, 0), r"Got \(6, 0\)"),
        ("loss_at", "pixel", "Did you mean 'pixels'"),
        ("scales", (2.0, 0.5), r"lower one first. Got \(2.0, 0.5\)"),
        ("scales", (0.0, 1.0), r"Got \(0.0, 1.0\)"),
        ("longest_side", 0, "at least 1 pixel, or None. Got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(field: str, value: object, says: str) -> None:
    with pytest.raises((BadArgument, UnknownOption), match=says):
        dataclasses.replace(RECIPES["modern"], **{field: value})


def halves(height: int, width: int, at: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Dark, class 0, up to a column, then light, class 1; the last row counts for nothing."""
    labels = np.zeros((height, width), np.uint8)
    labels[:, at:] = 1
    pixels = np.repeat(np.where(labels, 200, 55)[:, :, None], 3, axis=2).astype(np.uint8)
    labels[-1] = 255
    return pixels, labels


@given(
    height=st.integers(1, 90), width=st.integers(1, 90), draw=st.integers(0, 2**64 - 1), mirror=st.booleans(),
    scales=st.sampled_from([(1.0, 1.0), (0.5, 2.0)]), longest=st.sampled_from([None, 40]),
)  # fmt: skip
def test_pixels_and_labels_of_a_training_image_stay_together(
    height: int, width: int, draw: int, mirror: bool, scales: tuple[float, float], longest: int | None
) -> None:
    recipe = dataclasses.replace(SMALL, scales=scales, mirror=mirror, longest_side=longest)
    given_pixels, given_labels = halves(height, width, width // 2)
    pixels, labels = sample(given_pixels, given_labels, draw, recipe=recipe, ignore=255)
    assert (pixels.shape, labels.shape) == ((65, 65, 3), (65, 65))
    assert set(np.unique(labels)) <= {IGNORED, 0, 1}
    grey = pixels[:, :, 0].astype(int)
    sure = (labels != IGNORED) & (abs(grey - 127.5) > 50)
    assert np.array_equal(labels[sure] == 1, grey[sure] > 127)
    again = sample(given_pixels, given_labels, draw, recipe=recipe, ignore=255)
    assert np.array_equal(again[0], pixels)
    assert np.array_equal(again[1], labels)


def test_a_smaller_image_is_filled_up_on_the_right_and_below_and_nothing_of_it_is_lost() -> None:
    recipe = dataclasses.replace(SMALL, mirror=False, longest_side=None)
    given_pixels, given_labels = halves(30, 50, 20)
    pixels, labels = sample(given_pixels, given_labels, 7, recipe=recipe, ignore=255)
    assert np.array_equal(pixels[:30, :50], given_pixels)
    assert np.array_equal(labels[:29, :50], given_labels[:29])
    assert (pixels[30:] == GREY).all()
    assert (pixels[:, 50:] == GREY).all()
    assert (labels[29:] == IGNORED).all()
    assert (labels[:, 50:] == IGNORED).all()
    every = sample(given_pixels, given_labels, 7, recipe=recipe, ignore=None)[1]
    assert (every[29, :50] == 255).all()


def test_a_larger_image_is_cut_anywhere_in_it() -> None:
    recipe = dataclasses.replace(SMALL, mirror=False, longest_side=None)
    place = np.arange(70 * 80).reshape(70, 80)
    pixels = np.stack([place // 256, place % 256, place * 0], axis=2).astype(np.uint8)
    corners = set()
    for draw in range(300):
        cut, labels = sample(pixels, np.zeros((70, 80), np.uint8), draw, recipe=recipe, ignore=None)
        top, left = divmod(int(cut[0, 0, 0]) * 256 + int(cut[0, 0, 1]), 80)
        assert np.array_equal(cut, pixels[top : top + 65, left : left + 65])
        assert not labels.any()
        corners.add((top, left))
    assert {top for top, _ in corners} == set(range(6))
    assert {left for _, left in corners} == set(range(16))


def test_every_second_image_is_mirrored_and_sizes_are_spread_over_their_range() -> None:
    recipe = dataclasses.replace(SMALL, scales=(0.5, 2.0), longest_side=None)
    given_pixels, given_labels = halves(31, 30, 10)
    mirrored, tall = 0, []
    for draw in range(200):
        labels = sample(given_pixels, given_labels, draw, recipe=recipe, ignore=255)[1]
        mirrored += int(labels[0, 0] == 1)
        tall.append(int((labels[:, 0] != IGNORED).sum()) / 30)
    assert 70 < mirrored < 130
    assert 0.45 < min(tall) < 0.6 < 1.9 < max(tall) < 2.1
    assert abs(np.mean(tall) - 1.25) < 0.1


class Oracle(nn.Module):
    """Knows the class of every eighth pixel by how light it is."""

    def forward(self, pixels: Tensor) -> Tensor:
        light = pixels[:, :1, ::STRIDE, ::STRIDE]
        return torch.cat([-light, light + 1e-3], dim=1)  # in the middle of two places: light


def annotated(folder: Path, images: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> Annotated:
    """Written as PNGs."""
    paths: dict[str, list[str]] = {"image": [], "mask": []}
    for i, (pixels, labels) in enumerate(images):
        for kind, what in (("image", pixels), ("mask", labels)):
            path = folder / f"{kind}-{i}.png"
            Image.fromarray(what).save(path)
            paths[kind].append(str(path))
    sizes = np.array([labels.shape for _, labels in images], np.int64).reshape(-1, 2)
    return Annotated(
        image=np.arange(len(images))[::-1] + 10, path=paths["image"], width=sizes[:, 1], height=sizes[:, 0],
        number=np.arange(1, len(images) + 1), classes=("dark", "light"), class_number=np.array([0, 1]),
        mask=paths["mask"], ignore=255, fingerprint="",
    )  # fmt: skip


def test_predictions_have_the_size_of_the_mask_and_are_right_up_to_the_border(tmp_path: Path) -> None:
    sizes = [(30, 50), (65, 65), (64, 100), (120, 31), (1, 1), (66, 9)]
    pictures = [halves(height, width, 8 * (width // 16) + 4) for height, width in sizes]
    test = annotated(tmp_path, pictures)
    recipe = dataclasses.replace(SMALL, longest_side=None)
    options = {"recipe": recipe, "device": CPU.device, "workers": 2}
    found = dict(predict(Oracle(), test, [range(4), range(4, 6)], **options))
    assert list(found) == list(range(6))
    for row, (pixels, _) in enumerate(pictures):
        assert np.array_equal(found[row], pixels[:, :, 0] > 127), sizes[row]
    alone = dict(predict(Oracle(), test, [[row] for row in range(6)], **options))
    assert all(np.array_equal(found[row], alone[row]) for row in range(6))


def test_an_image_that_was_shrunk_is_judged_at_its_own_size(tmp_path: Path) -> None:
    pixels, labels = halves(150, 200, 100)
    recipe = dataclasses.replace(SMALL, longest_side=64)
    test = annotated(tmp_path, [(pixels, labels)])
    ((_, found),) = predict(Oracle(), test, [[0]], recipe=recipe, device=CPU.device, workers=1)
    assert found.shape == (150, 200)
    assert (found == (pixels[:, :, 0] > 127)).mean() > 0.95


def inputs(
    checkpoint: Checkpoint, data: Annotations, folder: Path, recipe: SegmentationRecipe, *, mode: str = "finetune"
) -> Inputs[Annotations, SegmentationRecipe]:
    folder.mkdir(exist_ok=True)
    return Inputs(checkpoint, data, mode, recipe, 0, 1, CPU, folder, folder)


def final(folder: Path) -> dict[str, Tensor]:
    (path,) = (folder / loop.STATES).glob("*.safetensors")
    return load_file(path)


def test_a_frozen_body_stays_bit_for_bit_and_the_head_learns(
    checkpoint: Checkpoint, data: Annotations, tmp_path: Path
) -> None:
    for freeze_batch_norm in (True, False):
        folder = tmp_path / str(freeze_batch_norm)
        recipe = dataclasses.replace(QUICK, freeze_batch_norm=freeze_batch_norm)
        Segmentation()(inputs(checkpoint, data, folder, recipe, mode="frozen"))
        before = network(checkpoint, recipe=recipe, num_classes=len(data.classes), mode="frozen", seed=0).state_dict()
        after = {
            name.removeprefix("net/net."): value for name, value in final(folder).items() if name.startswith("net/")
        }
        assert after.keys() == before.keys()
        for name, value in before.items():
            assert torch.equal(after[name], value) == name.startswith("body."), name


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    checkpoint: Checkpoint, data: Annotations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(QUICK, steps=4, scales=(0.5, 2.0))
    whole = Segmentation()(inputs(checkpoint, data, tmp_path / "whole", recipe))
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    forward = segmentation.Training.forward
    calls = []

    def third_fails(self: nn.Module, batch: list[segmentation.Sample]) -> dict[str, Tensor]:
        calls.append(batch)
        if len(calls) == 3:
            raise OSError("the disk is gone")
        return forward(self, batch)

    monkeypatch.setattr(segmentation.Training, "forward", third_fails)
    with pytest.raises(OSError, match="the disk is gone"):
        Segmentation()(inputs(checkpoint, data, tmp_path / "cut", recipe))
    again = Segmentation()(inputs(checkpoint, data, tmp_path / "cut", recipe))
    assert len(calls) == 3 + 2
    states = final(tmp_path / "whole"), final(tmp_path / "cut")
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    ones = np.ones(data.num_test)
    np.testing.assert_array_equal([s.statistic(ones) for s in whole], [s.statistic(ones) for s in again])


def test_training_does_not_depend_on_the_order_of_the_images(
    checkpoint: Checkpoint, data: Annotations, tmp_path: Path
) -> None:
    train = data.train
    turned = dataclasses.replace(
        train, image=train.image[::-1], path=train.path[::-1], mask=train.mask[::-1], width=train.width[::-1],
        height=train.height[::-1],
    )  # fmt: skip
    for name, one in (("as it is", train), ("turned", turned)):
        Segmentation()(inputs(checkpoint, dataclasses.replace(data, train=one), tmp_path / name, QUICK))
    states = final(tmp_path / "as it is"), final(tmp_path / "turned")
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("at", ["logits", "pixels"])
def test_a_batch_in_which_nothing_counts_teaches_nothing(checkpoint: Checkpoint, at: str) -> None:
    recipe = dataclasses.replace(SMALL, loss_at=at)
    net = network(checkpoint, recipe=recipe, num_classes=3, mode="frozen", seed=0)
    batch = [(np.zeros((65, 65, 3), np.uint8), np.full((65, 65), IGNORED, np.int16))]
    loss = segmentation.Training(net, recipe, CPU)(batch)["loss"]
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(not p.grad.any() for p in net.head.parameters())


def test_the_loss_is_the_mean_over_pixels_that_count(checkpoint: Checkpoint) -> None:
    net = network(checkpoint, recipe=SMALL, num_classes=3, mode="frozen", seed=0)
    for branch in net.head.branches:
        nn.init.zeros_(branch.weight)
    some, all_of_it = np.full((65, 65), IGNORED, np.int16), np.zeros((65, 65), np.int16)
    some[:3, :5] = 2
    batch = [(np.zeros((65, 65, 3), np.uint8), labels) for labels in (some, all_of_it)]
    loss = segmentation.Training(net, SMALL, CPU)(batch)["loss"]
    assert float(loss.detach()) == pytest.approx(np.log(3), rel=1e-6)


def test_a_net_with_a_small_stem_has_a_logit_every_eight_pixels_too(checkpoint: Checkpoint) -> None:
    made_with = {"config": {**checkpoint.config, "stem": "small"}}
    fine = jd.backbone.build("resnet10", num_outputs=1, seed=0, stem="small").state_dict()

    class Small(Checkpoint):
        def load_weights(self) -> dict[str, Tensor]:
            return fine

    small = Small(checkpoint.path, dataclasses.replace(checkpoint.sidecar, made_with=made_with))
    net = network(small, recipe=SMALL, num_classes=3, mode="frozen", seed=0)
    assert net(torch.zeros(1, 3, 65, 41)).shape == (1, 3, 9, 6)


def test_two_test_images_with_one_name_are_refused_before_training(
    checkpoint: Checkpoint, data: Annotations, tmp_path: Path
) -> None:
    test = dataclasses.replace(data.test, path=[data.test.path[0]] * len(data.test))
    with pytest.raises(BadArgument, match="different names"):
        Segmentation()(inputs(checkpoint, dataclasses.replace(data, test=test), tmp_path / "run", SMALL))
    assert not (tmp_path / "run" / loop.METRICS).exists()


def only(annotated: Annotated, num: int) -> Annotated:
    """The first images."""
    columns = ("image", "path", "mask", "width", "height", "number")
    return dataclasses.replace(annotated, **{name: getattr(annotated, name)[:num] for name in columns})


def test_two_images_are_learnt_by_heart(checkpoint: Checkpoint, data: Annotations, tmp_path: Path) -> None:
    few = only(data.train, 2)
    recipe = dataclasses.replace(
        SMALL, steps=24, learning_rate=0.1, fresh_rate=1.0, mirror=False, crop_size=97, longest_side=None
    )
    seen = dataclasses.replace(data, train=few, test=few)
    found = Segmentation()(inputs(checkpoint, seen, tmp_path / "run", recipe))
    scores = {score.metric: score.statistic(np.ones(2)) for score in found}
    assert scores["mean IoU"] > 0.8
    assert scores["pixel accuracy"] > 0.9
    written = np.asarray(Image.open(tmp_path / "run" / PREDICTIONS / f"{Path(few.path[1]).stem}.png"))
    truth = few.labels(1)
    assert (written == truth)[truth != 255].mean() > 0.9


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.timeout(1500)
def test_eight_photographs_are_learnt_by_heart(checkpoint: Checkpoint, shared_data: Path, tmp_path: Path) -> None:
    read_all = read.masks(shared_data / "voc_mini", workers=1)
    few = only(read_all.train, 8)
    recipe = dataclasses.replace(
        RECIPES["tiny"], epochs=None, steps=160, batch_size=4, learning_rate=0.1, fresh_rate=1.0, mirror=False, crop_size=257,
        longest_side=257,
    )  # fmt: skip
    seen = dataclasses.replace(read_all, train=few, test=few)
    found = Segmentation()(inputs(checkpoint, seen, tmp_path / "run", recipe))
    scores = {score.metric: score.statistic(np.ones(8)) for score in found}
    assert scores["mean IoU"] > 0.8, scores


TWO = """
import pickle, sys
from pathlib import Path
import numpy as np
from jftdata import progress
from jftdata.pretrain.ranks import joined
from jftdata.transfer.segmentation import Segmentation
from jftdata.transfer.task import Inputs

progress.set_quiet(True)
given, folder = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
checkpoint, data, recipe = given
with joined("cpu") as ranks:
    scores = Segmentation()(Inputs(checkpoint, data, "finetune", recipe, 0, 1, ranks, folder, folder))
    (folder / f"scores-{ranks.rank}.txt").write_text(repr([float(s.statistic(np.ones(data.num_test))) for s in scores]))
"""


@pytest.mark.long
def test_two_processes_train_and_judge_as_one(checkpoint: Checkpoint, data: Annotations, tmp_path: Path) -> None:
    test = only(data.train, 8)
    both = dataclasses.replace(data, test=dataclasses.replace(
        test, **{name: [*getattr(test, name), *getattr(data.test, name)] for name in ("path", "mask")},
        **{name: np.concatenate([getattr(test, name), getattr(data.test, name)]) for name in ("image", "width", "height")},
        number=np.arange(1, 11),
    ))  # fmt: skip
    one = Segmentation()(inputs(checkpoint, both, tmp_path / "one", QUICK))
    (tmp_path / "two").mkdir()
    (tmp_path / "given.pickle").write_bytes(pickle.dumps((checkpoint, both, QUICK)))
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(tmp_path / "two.py"), str(tmp_path / "given.pickle"), str(tmp_path / "two")],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    states = final(tmp_path / "one"), final(tmp_path / "two")
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4)
    expected = [score.statistic(np.ones(10)) for score in one]
    for rank in range(2):
        found = ast.literal_eval((tmp_path / "two" / f"scores-{rank}.txt").read_text().replace("nan", "-1.0"))
        np.testing.assert_allclose(found, np.nan_to_num(expected, nan=-1.0), atol=0.02)
    assert len(list((tmp_path / "two" / PREDICTIONS).glob("*.png"))) == 10


def test_one_call_judges_a_checkpoint_on_the_world(checkpoint: Checkpoint, world: Path, tmp_path: Path) -> None:
    options = {"task": "segmentation", "data": world, "recipe": QUICK, "workers": 1, "device": "cpu"}
    results = jd.transfer.run(checkpoint, **options, mode="frozen", out=tmp_path / "results")
    table = results.rows.filter(results.rows["metric"] == "mean IoU")
    assert len(table) == 1
    assert 0 <= table["low"][0] <= table["value"][0] <= table["high"][0] <= 1
    assert (table["num_task_train"][0], table["num_task_test"][0], table["mode"][0]) == (8, 2, "frozen")
    assert len(list((tmp_path / "results" / PREDICTIONS).glob("*.png"))) == 2
    assert jd.transfer.run(checkpoint, **options, mode="frozen", out=tmp_path / "results").rows.equals(results.rows)
    table = pl.read_csv(tmp_path / "results" / CONFUSED)
    assert table.columns == list(tables.CONFUSED)
    assert table["share"].is_between(0, 1).all()
    rows = [json.loads(line) for line in (tmp_path / "results" / loop.METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
