"""The detector: its body against torchvision, targets and coding against their definitions, odd images, what is frozen."""

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from jftdata import backbone
from jftdata.errors import BadArgument, UnknownOption
from jftdata.transfer.body import Body
from jftdata.transfer.detector import DetectionRecipe, Detector, Example, _Boxes, _place_in_class, draw

SMALL = DetectionRecipe(
    batch_size=2, learning_rate=0.01, steps=3, side=64, longest=96, anchor=32.0, proposals=20, rpn_batch=16, box_batch=8,
    pyramid=32, precision="fp32",
)  # fmt: skip
NONE = np.zeros((0, 4), np.float32)


def detector(head: str = "c4", *, num_classes: int = 3, **changes: Any) -> Detector:
    recipe = dataclasses.replace(SMALL, head=head, **changes)
    net = backbone.build("resnet10", num_outputs=2, seed=0)
    return Detector(Body(net), recipe, num_classes=num_classes, seed=0)


@cache
def usual() -> tuple[Any, Any]:
    """A proposal network that puts all anchors in the loss, and the anchors of a picture."""
    model = detector(rpn_batch=4000)
    images, features = model._features([picture()])
    return model.rpn, model.rpn.anchor_generator(images, list(features.values()))[0]


def picture(height: int = 64, width: int = 96, *, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def example(box: Any = NONE, ignore: Any = NONE, *, draw: int = 5, pixels: Any = None) -> Example:
    boxes, beside = (np.array(x, np.float32).reshape(-1, 4) for x in (box, ignore))
    return Example(picture() if pixels is None else pixels, boxes, np.arange(len(boxes)) % 3, beside, draw)


def table(boxes: Any, others: Any, *, own: bool = False) -> NDArray[np.float64]:
    """(n, m) intersection over union, or over the area of the first box."""
    a, b = np.array(boxes, np.float64).reshape(-1, 1, 4), np.array(others, np.float64).reshape(1, -1, 4)
    wide = (np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])).clip(0)
    tall = (np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])).clip(0)
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b)]
    return np.asarray(wide * tall / (areas[0] if own else areas[0] + areas[1] - wide * tall))


def coded(true: Any, box: Any) -> list[float]:
    """Huang et al. 2016: shifts of the centre in widths and heights times 10, logarithms of the sides' ratios times 5."""
    sides, wanted = ((b[2] - b[0], b[3] - b[1]) for b in (box, true))
    middle, aim = (((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (box, true))
    return [
        *(10 * (aim[i] - middle[i]) / sides[i] for i in (0, 1)), *(5 * np.log(wanted[i] / sides[i]) for i in (0, 1))
    ]  # fmt: skip


def boxes_in(most: int = 4, *, wide: int = 96, tall: int = 64) -> st.SearchStrategy[list[tuple[float, ...]]]:
    def box(x: int, y: int, w: int, h: int) -> tuple[float, ...]:
        return (float(x), float(y), float(min(wide, x + w)), float(min(tall, y + h)))

    sides = st.integers(0, wide - 4), st.integers(0, tall - 4), st.integers(3, wide), st.integers(3, tall)
    return st.lists(st.builds(box, *sides), max_size=most)


def test_a_torchvision_state_dict_loads_and_the_parts_give_its_features() -> None:
    theirs = resnet18(weights=None).eval()
    net = backbone.build("resnet18", num_outputs=1000, seed=0)
    net.load_state_dict(theirs.state_dict(), strict=True)
    body = Body(net).eval()
    x = torch.randn(1, 3, 64, 96)
    wanted = create_feature_extractor(theirs, ["layer3", "layer4"])(x)
    below = body.below(x)
    torch.testing.assert_close(below, wanted["layer3"])
    torch.testing.assert_close(body.top(below), wanted["layer4"])


def test_conv5_takes_crops_at_stride_1_with_the_checkpoints_weights() -> None:
    net = backbone.build("resnet50", num_outputs=2, seed=0, bottleneck_stride="1x1")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = Detector(Body(net), SMALL, num_classes=3, seed=0)
    assert model.body.top(torch.randn(2, 1024, 7, 7)).shape == (2, 2048, 7, 7)
    for name, value in model.body.state_dict().items():
        assert torch.equal(value, before[name])


def test_fresh_layers_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    a = detector("fpn").state_dict()
    torch.manual_seed(2)
    b = detector("fpn").state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_anchors_are_four_sizes_of_three_shapes_at_every_16_pixels() -> None:
    model = detector(anchor=64.0)
    images, features = model._features([picture(64, 96)])
    anchors = model.rpn.anchor_generator(images, list(features.values()))[0]
    assert len(anchors) == 4 * 6 * 12
    sides = (anchors[:12, 2:] - anchors[:12, :2]).prod(dim=1).sqrt()
    np.testing.assert_allclose(sorted(sides.tolist()), np.repeat([16, 32, 64, 128], 3), rtol=0.07)  # rounded to pixels


@given(box=boxes_in(), ignore=boxes_in(2))
def test_anchors_are_positive_negative_or_neither_by_definition(box: list[Any], ignore: list[Any]) -> None:
    rpn, anchors = usual()
    target = {"boxes": torch.tensor(box).reshape(-1, 4), "ignore": torch.tensor(ignore).reshape(-1, 4), "draw": 3}
    (label,), (matched,) = rpn.assign_targets_to_anchors([anchors], [target])
    like = table(anchors.numpy(), box)
    best = like.max(axis=1, initial=0.0)
    positive = (best >= 0.7) | (like >= like.max(axis=0, initial=0.0) - 1e-6).any(axis=1)
    negative = ~positive & (best < 0.3) & ~(table(anchors.numpy(), ignore, own=True) >= 0.5).any(axis=1)
    np.testing.assert_array_equal(label, np.where(positive, 1, np.where(negative, 0, -1)))
    deltas = rpn.box_coder.encode_single(matched, anchors)
    for i in np.flatnonzero(positive):
        assert table(anchors[i].numpy(), matched[i].numpy()) == pytest.approx(best[i])
        np.testing.assert_allclose(deltas[i], coded(matched[i].tolist(), anchors[i].tolist()), atol=1e-4)


@given(box=boxes_in(3), ignore=boxes_in(2), proposal=boxes_in(12))
def test_proposals_have_the_class_of_what_they_overlap_by_half(
    box: list[Any], ignore: list[Any], proposal: list[Any]
) -> None:
    boxes = _Boxes(dataclasses.replace(SMALL, box_batch=400), None, None)
    labels = torch.arange(len(box)) % 3 + 1
    target = {"boxes": torch.tensor(box).reshape(-1, 4), "labels": labels, "draw": 3}
    target["ignore"] = torch.tensor(ignore).reshape(-1, 4)
    chosen, label, deltas = boxes.drawn([torch.tensor(proposal).reshape(-1, 4)], [target])
    every = [*proposal, *box]
    like, beside = table(every, box), (table(every, ignore, own=True) >= 0.5).any(axis=1)
    wanted: list[tuple[int, Any]] = []
    for i, one in enumerate(every):
        if like[i].max(initial=0.0) >= 0.5:
            wanted.append((int(labels[like[i].argmax()]), coded(box[like[i].argmax()], one)))
        elif not beside[i]:
            wanted.append((0, None))
    assert label.tolist() == [number for number, _ in wanted]
    assert len(chosen[0]) == len(deltas) == len(wanted)
    for delta, (number, code) in zip(deltas, wanted, strict=True):
        if number:
            np.testing.assert_allclose(delta, code, atol=1e-4)


@given(
    label=st.lists(st.integers(-1, 2), min_size=1, max_size=40),
    num=st.integers(1, 50),
    positive=st.sampled_from([0.25, 0.5]),
)
def test_drawn_boxes_are_as_many_as_asked_for_and_as_there_are(label: list[int], num: int, positive: float) -> None:
    given = torch.tensor(label)
    drawn = draw(given, 7, num=num, positive=positive)
    taken = drawn >= 0
    assert torch.equal(drawn[taken], given[taken])
    wanted = min(int(num * positive), int((given > 0).sum()))
    assert (drawn > 0).sum() == wanted
    assert (drawn == 0).sum() == min(num - wanted, int((given == 0).sum()))
    assert torch.equal(drawn, draw(given, 7, num=num, positive=positive))


def test_each_box_is_drawn_equally_often() -> None:
    label = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    times = sum((draw(label, seed, num=4, positive=0.25) >= 0).int() for seed in range(2000))
    assert isinstance(times, torch.Tensor)
    np.testing.assert_allclose(times[:4] / 2000, 1 / 4, atol=0.04)
    np.testing.assert_allclose(times[4:] / 2000, 3 / 6, atol=0.04)


@pytest.mark.parametrize("head", ["c4", "fpn"])
def test_losses_are_finite_whatever_is_on_an_image(head: str) -> None:
    model = detector(head)
    model.train()
    grey = np.full((50, 40, 3), 128, np.uint8)
    odd = [
        example(), example(ignore=[[0, 0, 96, 64]]), example([[0, 0, 96, 64]] * 30), example([[10, 10, 10.001, 10.002]]),
        example([[0, 0, 1, 1]], pixels=grey[:1, :1]), example([[0, 0, 3, 90]], pixels=np.repeat(grey[:, :3], 2, axis=0)),
        example([[1, 1, 30, 30]], pixels=grey),
    ]  # fmt: skip
    for batch in (odd[:1], odd[1:2], odd):
        losses = model(batch)
        total = torch.stack(list(losses.values())).sum()
        assert torch.isfinite(total), losses
        model.zero_grad()
        total.backward()
        for name, parameter in model.named_parameters():
            assert not parameter.requires_grad or torch.isfinite(parameter.grad).all(), name
    assert model([odd[0]])["box"] == 0


def test_losses_depend_on_an_examples_own_number_alone() -> None:
    model = detector()
    model.train()
    boxes = [[5, 5, 40, 40], [30, 10, 80, 60]]
    torch.manual_seed(0)
    first = model([example(boxes)])
    torch.manual_seed(1)
    again, other = model([example(boxes)]), model([example(boxes, draw=6)])
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("head", ["c4", "fpn"])
def test_what_is_found_lies_in_the_image_best_first_and_does_not_depend_on_its_neighbours(head: str) -> None:
    model = detector(head, most_detections=40).eval()
    pixels = [picture(seed=seed) for seed in range(3)]
    found = model.detect(pixels)
    for one, image in zip(found, pixels, strict=True):
        (alone,) = model.detect([image])
        np.testing.assert_allclose(one.box, alone.box, atol=1e-3)
        assert one.label.tolist() == alone.label.tolist()
        assert 0 < len(one.score) <= 40
        assert (np.diff(one.score) <= 0).all()
        assert ((one.box >= 0) & (one.box <= [96, 64, 96, 64])).all()
        assert set(one.label.tolist()) <= {0, 1, 2}


def test_at_most_100_of_a_class_are_found() -> None:
    model = detector("fpn", num_classes=1, proposals=300, box_nms=1.0).eval()
    (found,) = model.detect([picture(96, 96)])
    assert len(found.label) == 100


@given(label=st.lists(st.integers(0, 3), max_size=30))
def test_the_place_in_a_class_is_how_many_came_before(label: list[int]) -> None:
    assert _place_in_class(torch.tensor(label).long()).tolist() == [label[:i].count(x) for i, x in enumerate(label)]


@pytest.mark.parametrize(("head", "moving"), [("c4", ("layer4",)), ("fpn", ())])
def test_frozen_parts_keep_their_weights_and_the_others_get_gradients(head: str, moving: tuple[str, ...]) -> None:
    model = detector(head)
    model.freeze()
    model.train()
    for module in model.body.modules():
        assert not (isinstance(module, torch.nn.BatchNorm2d) and module.training)
    losses = model([example([[5, 5, 40, 40]])])
    torch.stack(list(losses.values())).sum().backward()
    trained = {name.split(".")[1] for name, p in model.body.named_parameters(prefix="body") if p.grad is not None}
    assert trained == set(moving)
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("body."))


def test_all_but_batch_norm_is_trained_when_nothing_is_frozen() -> None:
    model = detector()
    norms = {id(p) for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()}
    assert norms
    assert all(p.requires_grad == (id(p) not in norms) for p in model.parameters())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"longest": 10}, "`longest` must be at least `side`, 64. Got 10"), ({"proposals": 0}, "`proposals`"),
        ({"anchor": 0.0}, "`anchor`"), ({"box_nms": 1.5}, "`box_nms`"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(BadArgument, match=says):
        dataclasses.replace(SMALL, **wrong)
    with pytest.raises(UnknownOption, match="c5"):
        dataclasses.replace(SMALL, head="c5")  # type: ignore[arg-type]
