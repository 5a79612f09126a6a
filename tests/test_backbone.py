import numpy as np
import pytest
import torch

from jftdata import backbone
from jftdata.errors import BadArgument, UnknownOption


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "resnet101"])
def test_weights_load_strictly_into_torchvision_with_equal_outputs(architecture):
    import torchvision.models

    ours = backbone.build(architecture, num_outputs=11, seed=0).eval()
    theirs = getattr(torchvision.models, architecture)(weights=None, num_classes=11).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(x), theirs(x))


def test_weights_load_strictly_into_timm_with_equal_outputs():
    timm = pytest.importorskip("timm")
    ours = backbone.build("resnet50", num_outputs=11, seed=0).eval()
    theirs = timm.create_model("resnet50", num_classes=11).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)


def test_the_stride_moves_to_the_first_convolution_and_back():
    new, old = (
        backbone.build("resnet50", num_outputs=5, seed=0, bottleneck_stride=where).eval() for where in ("3x3", "1x1")
    )
    strides = [
        [(m.conv1.stride[0], m.conv2.stride[0]) for m in (net.layer1[0], net.layer2[0], net.layer2[1], net.layer4[0])]
        for net in (new, old)
    ]
    assert strides == [[(1, 1), (1, 2), (1, 1), (1, 2)], [(1, 1), (2, 1), (1, 1), (2, 1)]]
    x = torch.randn(1, 3, 64, 64)
    assert new(x).shape == old(x).shape == (1, 5)
    assert not torch.equal(new(x), old(x))
    assert all(torch.equal(a, b) for a, b in zip(new.state_dict().values(), old.state_dict().values(), strict=True))


def test_a_small_stem_keeps_the_resolution():
    features = {}
    for stem in ("large", "small"):
        net = backbone.build("resnet10", num_outputs=5, seed=0, stem=stem).eval()
        net.layer1.register_forward_hook(lambda *args, stem=stem: features.__setitem__(stem, args[2].shape))
        assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    assert features == {"large": (1, 64, 8, 8), "small": (1, 64, 32, 32)}


def test_zero_init_makes_every_block_the_identity():
    net = backbone.build("resnet18", num_outputs=5, seed=0, zero_init=True).eval()
    x = torch.rand(1, 64, 8, 8)
    assert torch.equal(net.layer1(x), x)


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    a = backbone.build("resnet10", num_outputs=3, seed=7)
    torch.manual_seed(2)
    b, c = (backbone.build("resnet10", num_outputs=3, seed=seed) for seed in (7, 8))
    assert torch.equal(a.fc.weight, b.fc.weight)
    assert not torch.equal(a.fc.weight, c.fc.weight)


def test_a_config_without_the_newer_fields_is_read():
    net = backbone.of_config({"architecture": "resnet10"}, num_outputs=4)
    assert net.conv1.kernel_size == (7, 7)
    small = backbone.of_config({"architecture": "resnet10", "stem": "small"}, num_outputs=4)
    assert small.conv1.kernel_size == (3, 3)
    with pytest.raises(UnknownOption, match="Did you mean 'resnet18'"):
        backbone.of_config({"architecture": "resnet81"}, num_outputs=4)


def test_pixels_become_minus_one_to_one():
    x = backbone.to_input(np.array([[[[0, 255, 127]]]], np.uint8), torch.device("cpu"))
    assert x.flatten().tolist() == pytest.approx([-1, 1, -1 / 255])


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(BadArgument, match="auto, cpu or cuda"):
        backbone.pick_device("tpu!")
    if not torch.cuda.is_available():
        with pytest.raises(BadArgument, match="no CUDA device"):
            backbone.pick_device("cuda")
