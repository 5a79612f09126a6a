"""A checkpoint's body taken apart, against the whole network."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from jftdata import backbone
from jftdata.errors import BadArgument, UnknownOption
from jftdata.transfer import body
from jftdata.transfer.body import Body

NETS = {
    "basic": ("resnet18", "3x3"),
    "bottleneck": ("resnet50", "3x3"),
    "stride in the first 1x1": ("resnet50", "1x1"),
}


def net_of(kind, seed=0):
    """A network in float64 whose batch norm has statistics."""
    architecture, stride = NETS[kind]
    net = backbone.build(architecture, num_outputs=3, seed=seed, bottleneck_stride=stride).double()
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return net.eval()


@pytest.fixture(params=NETS)
def net(request):
    return net_of(request.param)


def checkpoint_of(net, monkeypatch):
    monkeypatch.setattr(backbone, "load", lambda checkpoint: copy.deepcopy(net))
    return SimpleNamespace()


@torch.no_grad()
def test_the_parts_together_are_the_whole_network(net):
    pixels = torch.rand(2, 3, 70, 97, dtype=torch.float64)
    parts = Body(copy.deepcopy(net)).eval()
    pooled = torch.flatten(net.avgpool(parts.top(parts.below(pixels))), 1)
    assert torch.equal(net.fc(pooled), net(pixels))
    stages = parts.stages(pixels)
    assert torch.equal(stages["layer4"], parts(pixels))
    assert {name: x.shape[1] for name, x in stages.items()} == parts.channels


@torch.no_grad()
@pytest.mark.parametrize("shape", [(64, 64), (65, 97), (33, 70)])
@pytest.mark.parametrize(("stride", "times"), [(16, {"layer3": 1, "layer4": 2}), (8, {"layer3": 2, "layer4": 4})])
def test_dilation_keeps_every_feature_where_it_was(net, monkeypatch, shape, stride, times):
    pixels = torch.rand(1, 3, *shape, dtype=torch.float64)
    plain = Body(copy.deepcopy(net)).eval().stages(pixels)
    finer = body.of_checkpoint(checkpoint_of(net, monkeypatch), output_stride=stride).eval().stages(pixels)
    for name, step in times.items():
        torch.testing.assert_close(finer[name][..., ::step, ::step], plain[name], atol=1e-10, rtol=0)
        assert finer[name].shape[-2] > (plain[name].shape[-2] - 1) * step
    assert torch.equal(finer["layer2"], plain["layer2"])


def test_dilated_weights_load_into_torchvision(monkeypatch):
    net = net_of("bottleneck")
    found = body.of_checkpoint(checkpoint_of(net, monkeypatch), output_stride=8).state_dict()
    theirs = resnet50(weights=None).double()
    missing, unexpected = theirs.load_state_dict(found, strict=False)
    assert (sorted(missing), unexpected) == (["fc.bias", "fc.weight"], [])


def test_an_imagenet_layout_state_dict_loads():
    weights = {name: value for name, value in resnet18(weights=None).state_dict().items() if not name.startswith("fc.")}
    Body(resnet18(weights=None)).load_state_dict(weights, strict=True)


def test_frozen_batch_norm_keeps_everything_and_the_rest_learns(net):
    parts = Body(net).train()
    before = {name: value.clone() for name, value in parts.state_dict().items()}
    parts(torch.rand(2, 3, 64, 64, dtype=torch.float64)).sum().backward()
    norms = {f"{name}." for name, module in parts.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, parameter in parts.named_parameters():
        assert (parameter.grad is None) == any(name.startswith(norm) for norm in norms), name
    assert all(torch.equal(value, before[name]) for name, value in parts.state_dict().items())


def test_batch_norm_learns_when_it_is_not_frozen(net):
    parts = Body(net, freeze_batch_norm=False).train()
    before = parts.bn1.running_mean.clone()
    parts(torch.rand(2, 3, 64, 64, dtype=torch.float64)).sum().backward()
    assert parts.bn1.weight.grad is not None
    assert not torch.equal(parts.bn1.running_mean, before)


@pytest.mark.parametrize(
    ("below", "learns"), [("layer4", {"layer4"}), ("head", set()), ("layer3", {"layer3", "layer4"})]
)
def test_freezing_below_a_part(below, learns):
    parts = Body(net_of("basic"), freeze_batch_norm=False)
    parts.freeze(below)
    parts.train()
    assert {name.split(".")[0] for name, p in parts.named_parameters() if p.requires_grad} == learns
    assert {name.split(".")[0] for name, m in parts.named_modules() if m.training and "." in name} == learns


def test_what_is_no_part_or_stride_is_named(monkeypatch):
    net = net_of("basic")
    with pytest.raises(UnknownOption, match="Did you mean 'layer4'"):
        Body(copy.deepcopy(net)).freeze("layer5")
    with pytest.raises(BadArgument, match=r"`output_stride` must be 32, 16 or 8\. Got 4"):
        body.of_checkpoint(checkpoint_of(net, monkeypatch), output_stride=4)
