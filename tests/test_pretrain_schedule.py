import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from jftdata import recipes
from jftdata.pretrain.schedule import Average, gradient_norm, learning_rate, optimizer


def rates(config, num_steps, steps_per_epoch):
    return [learning_rate(config, step=s, steps_per_epoch=steps_per_epoch) for s in range(num_steps)]


def flat(**changes):
    return dataclasses.replace(recipes.tiny(total_epochs=4.0), schedule="constant", warmup_epochs=0.0, **changes)


def test_the_paper_decays_by_a_tenth_every_three_million_steps():
    paper = recipes.jft300m_resnet101()
    found = [learning_rate(paper, step=s, steps_per_epoch=9_375_000) for s in (0, 2_999_999, 3_000_000, 6_000_000)]
    assert found == pytest.approx([1e-3, 1e-3, 0.9e-3, 0.81e-3])
    assert 4 * 9_375_000 == 37_500_000  # the paper rounds to 36M
    baseline = recipes.imagenet_resnet101()
    assert baseline.total_epochs * 1_281_167 / 32 == pytest.approx(5e6)
    assert learning_rate(baseline, step=2_400_000, steps_per_epoch=40_036) == pytest.approx(5e-4)


def test_cosine_ends_near_zero_after_its_warm_up():
    found = rates(recipes.tiny(), 400, 100)
    assert int(np.argmax(found)) == 40
    assert found[-1] < 1e-3 * found[40]


def test_poly_is_the_power_of_what_is_left():
    config = dataclasses.replace(flat(), schedule="poly", power=0.9)
    assert rates(config, 400, 100) == pytest.approx([1e-3 * (1 - s / 400) ** 0.9 for s in range(400)])


@pytest.mark.parametrize(("unit", "at"), [("epochs", 100), ("steps", 1), ("images", 1 / 64)])
def test_steps_fall_at_their_milestones(unit, at):
    marks = (128.0, 256.0) if unit == "images" else (1.0, 3.0)
    config = dataclasses.replace(flat(), schedule="step", decay_factor=0.1, milestones=marks, decay_unit=unit)
    found = rates(config, 400, 100)
    expected = [1e-3 * 0.1 ** sum(s >= m * at for m in marks) for s in range(400)]
    assert found == pytest.approx(expected)


def test_a_rate_an_image_grows_with_the_batch():
    config = flat(learning_rate_per="image", learning_rate=1e-5)
    assert learning_rate(config, step=0, steps_per_epoch=10) == pytest.approx(64e-5)
    assert optimizer(config, [nn.Parameter(torch.zeros(2, 2))]).param_groups[0]["lr"] == pytest.approx(64e-5)


@pytest.mark.parametrize("kind", ["sgd", "rmsprop", "adamw", "lars", "lamb"])
def test_optimizers_step_and_spare_norms_and_biases_from_decay(kind):
    if kind in ("lars", "lamb"):
        pytest.importorskip("timm")
    extra = {"momentum": 0.9} if kind in ("sgd", "rmsprop", "lars") else {}
    extra |= {"squared_decay": 0.9, "epsilon": 1.0} if kind == "rmsprop" else {}
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    opt = optimizer(flat(optimizer=kind, weight_decay=0.5, **extra), [*net.parameters(), frozen])
    assert [(len(g["params"]), g["weight_decay"]) for g in opt.param_groups] == [(1, 0.5), (3, 0.0)]
    before = net[0].weight.detach().clone()
    net(torch.randn(4, 3)).square().sum().backward()
    opt.step()
    assert not torch.equal(before, net[0].weight)
    assert frozen.sum() == 4


def test_the_papers_optimizer_is_that_of_torch():
    config = recipes.jft300m_resnet101()
    parameter = nn.Parameter(torch.ones(3))
    group = optimizer(config, [parameter]).param_groups[0]
    expected = {"lr": 1e-3, "momentum": 0.9, "alpha": 0.9, "eps": 1.0, "weight_decay": 1e-4}
    assert {name: group[name] for name in expected} == expected


def test_the_average_is_that_of_its_definition():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(net, 0.9)
    expected = net[0].weight.detach().clone()
    for step in range(200):
        with torch.no_grad():
            net[0].weight.add_(torch.randn(2, 2))
            net[1].running_mean.fill_(float(step))
            net[1].num_batches_tracked += 1
        average.update(net, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    torch.testing.assert_close(average.tensors["0.weight"], expected)
    assert average.tensors["1.running_mean"].tolist() == [199, 199]
    assert int(average.tensors["1.num_batches_tracked"]) == 200


def test_the_norm_is_that_of_all_gradients_together():
    a, b, c = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert float(gradient_norm([a, b, c])) == 5
