"""Losses of the pose network against a loop over pixels."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jftdata import backbone
from jftdata.transfer.body import Body, dilate
from jftdata.transfer.pose_net import Pictures, PoseNet

HEIGHT, WIDTH, RADIUS, K = 41, 33, 6.0, 3


@pytest.fixture(scope="module")
def net() -> PoseNet:
    resnet = backbone.build("resnet10", num_outputs=2, seed=0)
    dilate(resnet.layer3, before=1)
    dilate(resnet.layer4, before=2)
    made = PoseNet(
        Body(resnet), num_keypoints=K, height=HEIGHT, width=WIDTH, radius=RADIUS, heat_weight=4.0, offset_weight=1.5,
        auxiliary_weight=0.5, precision="fp32", seed=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for layer in (made.head, made.auxiliary):
            assert layer is not None
            torch.nn.init.normal_(layer.weight, std=0.05)
    return made.train()


@pytest.fixture
def batch() -> Pictures:
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(-4, 44, (4, K, 2)), rng.integers(0, 3, (4, K, 1))], axis=2)
    keypoints[:2, :, 2] = [[2], [0]]
    others = np.concatenate([rng.uniform(0, 33, (3, K, 2)), rng.integers(0, 2, (3, K, 1))], axis=2)
    others[0, 0] = (*(keypoints[0, 0, :2] + 3), 1)  # their disks meet
    pixels = rng.integers(0, 256, (4, HEIGHT, WIDTH, 3)).astype(np.uint8)
    owner = np.array([0, 0, 2])
    return Pictures(*map(torch.from_numpy, (pixels, keypoints.astype(np.float32), others.astype(np.float32), owner)))


def part(batch: Pictures, first: int, last: int) -> Pictures:
    mine = (batch.owner >= first) & (batch.owner < last)
    return Pictures(
        batch.pixels[first:last], batch.keypoints[first:last], batch.others[mine], batch.owner[mine] - first
    )


def test_losses_are_those_of_a_loop_over_pixels(net: PoseNet, batch: Pictures) -> None:
    with torch.no_grad():
        losses = net(batch)
        heat, offset = net.maps(batch.pixels)
        below = net.body.below(backbone.to_input(batch.pixels, torch.device("cpu")))
        assert net.auxiliary is not None
        early = net.auxiliary(below).double().numpy()
    assert heat.shape == (4, K, 6, 5)

    def large(maps: torch.Tensor) -> np.ndarray:
        found = F.interpolate(maps.double(), (HEIGHT, WIDTH), mode="bilinear", align_corners=True)
        return found.numpy()

    heats, offsets = large(heat), large(offset.flatten(1, 2)).reshape(4, K, 2, HEIGHT, WIDTH)
    sums = dict.fromkeys(("heat", "offset", "auxiliary"), 0.0)
    for i, person in enumerate(batch.keypoints.double().numpy()):
        others = batch.others.double().numpy()[batch.owner.numpy() == i]
        for k, (at_x, at_y, label) in enumerate(person):
            if not label:
                continue
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    gap = np.array([at_x - (x + 0.5), at_y - (y + 0.5)])
                    near = math.hypot(*gap) <= RADIUS
                    sums["heat"] += 4.0 * np.logaddexp(0, -heats[i, k, y, x] if near else heats[i, k, y, x])
                    if near:
                        wrong = math.hypot(*(offsets[i, k, :, y, x] - gap))
                        sums["offset"] += 1.5 * (0.5 * wrong**2 if wrong < 1 else wrong - 0.5) / RADIUS
                    if x % 8 == 0 and y % 8 == 0:
                        far = [math.hypot(o[k, 0] - (x + 0.5), o[k, 1] - (y + 0.5)) > RADIUS for o in others if o[k, 2]]
                        if near or all(far):
                            value = early[i, k, y // 8, x // 8]
                            sums["auxiliary"] += 4.0 * 0.5 * 64 * np.logaddexp(0, -value if near else value)
    for name, value in sums.items():
        assert losses[name].item() == pytest.approx(value / (math.pi * RADIUS**2 * 4 * K), rel=1e-5)


def test_a_loss_is_the_mean_of_those_of_equal_shares(net: PoseNet, batch: Pictures) -> None:
    whole, shares = net(batch), [net(part(batch, first, first + 2)) for first in (0, 2)]
    for name, value in whole.items():
        assert value.item() == pytest.approx((shares[0][name] + shares[1][name]).item() / 2, rel=1e-5)


def test_where_a_keypoint_that_is_not_labelled_lies_changes_nothing(net: PoseNet, batch: Pictures) -> None:
    moved = batch.keypoints.clone()
    moved[..., :2] += 5.0 * (moved[..., 2:] == 0)
    other = dataclasses.replace(batch, keypoints=moved)
    assert not torch.equal(moved, batch.keypoints)
    assert {k: v.item() for k, v in net(other).items()} == {k: v.item() for k, v in net(batch).items()}


def test_without_a_labelled_keypoint_there_is_nothing_to_learn(net: PoseNet, batch: Pictures) -> None:
    net.zero_grad()
    keypoints = batch.keypoints * torch.tensor([1.0, 1.0, 0.0])
    losses = net(Pictures(batch.pixels, keypoints, batch.others[:0], batch.owner[:0]))
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert [loss.item() for loss in losses.values()] == [0.0, 0.0, 0.0]
    assert all(not p.grad.any() for p in net.parameters() if p.grad is not None)
    net.zero_grad()


def test_a_right_map_has_almost_no_loss(net: PoseNet, batch: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    keypoints = torch.tensor([[[16.0, 20.0, 2.0]] * K])
    x, y = (torch.arange(0, side, 8) + 0.5 for side in (WIDTH, HEIGHT))
    offset = torch.stack([(16.0 - x).expand(6, 5), (20.0 - y)[:, None].expand(6, 5)]).expand(1, K, 2, 6, 5)
    heat = torch.zeros(1, K, 6, 5)
    monkeypatch.setattr(PoseNet, "_run", lambda self, pixels: (heat, offset, None))
    losses = net(Pictures(batch.pixels[:1], keypoints, batch.others[:0], batch.owner[:0]))
    assert losses["offset"].item() == pytest.approx(0, abs=1e-10)
    assert losses["heat"].item() == pytest.approx(4 * math.log(2) * HEIGHT * WIDTH / (math.pi * RADIUS**2), rel=1e-5)


def test_fresh_layers_depend_on_the_seed_alone() -> None:
    def head(seed: int) -> torch.Tensor:
        net = PoseNet(
            Body(backbone.build("resnet10", num_outputs=2, seed=0)), num_keypoints=2, height=17, width=17, radius=4.0,
            heat_weight=4.0, offset_weight=1.0, auxiliary_weight=0.0, precision="fp32", seed=seed,
        )  # fmt: skip
        assert net.auxiliary is None
        return net.head.weight

    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))
