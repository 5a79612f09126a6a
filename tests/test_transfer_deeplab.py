"""DeepLab-ASPP-L: dilation against the undilated net and torchvision's, the head and the loss against NumPy."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet50

from jftdata import backbone
from jftdata.errors import UnknownOption
from jftdata.transfer.body import Body, dilate
from jftdata.transfer.deeplab import IGNORED, STRIDE, Aspp, DeepLab, fitting, loss, to_pixels


def net_of(architecture: str, **options: str) -> nn.Module:
    """In evaluation and float64, with batch norm that has seen something."""
    net = backbone.build(architecture, num_outputs=1, seed=0, **options).double().eval()
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return net


def dilated(net: nn.Module) -> Body:
    net = copy.deepcopy(net)
    dilate(net.layer3, before=1)
    dilate(net.layer4, before=2)
    return Body(net)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(height=st.integers(9, 60), width=st.integers(9, 60), seed=st.integers(0, 9))
@settings(max_examples=8)
@torch.inference_mode()
def test_dilated_features_are_the_undilated_ones_at_any_size(height: int, width: int, seed: int) -> None:
    net = net_of("resnet10")
    x = picture(height, width, seed)
    torch.testing.assert_close(dilated(net)(x)[..., ::4, ::4], Body(net)(x), rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_dilation_is_torchvisions() -> None:
    net = net_of("resnet50")
    theirs = resnet50(num_classes=1, replace_stride_with_dilation=[False, True, True]).double().eval()
    theirs.load_state_dict(net.state_dict())
    fine, x = dilated(net), picture(41, 34)
    torch.testing.assert_close(fine(x), Body(theirs)(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("stem", "place"), [("large", (13, 14)), ("small", (4, 5))])
def test_a_feature_is_of_the_pixel_at_eight_times_its_place(stem: str, place: tuple[int, int]) -> None:
    net = net_of("resnet10", stem=stem)
    linear = copy.deepcopy(net)
    linear.relu = nn.Identity()
    for stage in (linear.layer1, linear.layer2, linear.layer3, linear.layer4):
        for block in stage:
            block.relu = nn.Identity()
    if stem == "large":
        linear.maxpool = nn.AvgPool2d(3, 2, 1)
    i, j = place
    x = picture(16 * i + 1, 16 * j + 1).requires_grad_()
    (dilated(linear) if stem == "large" else Body(linear))(x)[0, :, i, j].sum().backward()
    assert x.grad is not None
    rows, columns = x.grad[0].abs().sum(dim=0).nonzero(as_tuple=True)
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (16 * i, 16 * j)
    assert rows.min() > 0


@given(size=st.integers(1, 2000))
def test_a_fitting_size_has_a_logit_on_both_edges_and_is_the_next_one(size: int) -> None:
    found = fitting(size)
    assert size <= found < size + STRIDE
    assert (found - 1) % STRIDE == 0


def test_an_image_of_513_pixels_has_65_logits_of_each_class() -> None:
    net = DeepLab(dilated(net_of("resnet10")), num_classes=21, seed=0).to("meta").float()
    assert net(torch.empty(1, 3, 513, 513, device="meta")).shape == (1, 21, 65, 65)


@torch.no_grad()
def test_the_head_sums_its_branches() -> None:
    rates = (1, 2, 5, 9)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = Aspp(3, 2, rates).double()
        for branch in head.branches:
            branch.bias.normal_()
        x = torch.randn(1, 3, 7, 8, dtype=torch.float64)
    padded = np.pad(x[0].numpy(), ((0, 0), (9, 9), (9, 9)))
    expected = np.zeros((2, 7, 8))
    for rate, branch in zip(rates, head.branches, strict=True):
        weight = branch.weight.numpy()
        for i in range(7):
            for j in range(8):
                seen = padded[:, i + 9 - rate : i + 10 + rate : rate, j + 9 - rate : j + 10 + rate : rate]
                expected[:, i, j] += (weight * seen).sum(axis=(1, 2, 3)) + branch.bias.numpy()
    np.testing.assert_allclose(head(x)[0].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    body = Body(backbone.build("resnet10", num_outputs=1, seed=0))
    first, again, other = (DeepLab(body, num_classes=3, seed=seed).head for seed in (5, 5, 6))
    for (name, a), b, c in zip(
        first.state_dict().items(), again.state_dict().values(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == name.endswith("bias")


def interpolated(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(h, w) to (8h - 7, 8w - 7), one axis after the other."""
    for axis in (0, 1):
        n = logits.shape[axis]
        at = np.arange(STRIDE * (n - 1) + 1) / STRIDE
        logits = np.apply_along_axis(lambda line, at=at, n=n: np.interp(at, np.arange(n), line), axis, logits)
    return logits


@given(h=st.integers(1, 5), w=st.integers(1, 5), seed=st.integers(0, 99))
def test_loss_and_pixels_are_numpys(h: int, w: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, 3, h, w))
    labels = random.integers(-1, 3, (2, 8 * h - 7, 8 * w - 7))
    fine = np.stack([[interpolated(plane) for plane in image] for image in logits])
    np.testing.assert_allclose(to_pixels(torch.tensor(logits)).numpy(), fine, atol=1e-12)
    for at, scores, classes in (("pixels", fine, labels), ("logits", logits, labels[:, ::8, ::8])):
        image, y, x = np.nonzero(classes != IGNORED)
        chosen = scores[image, :, y, x]
        expected = np.log(np.exp(chosen).sum(axis=1)) - chosen[np.arange(len(image)), classes[image, y, x]]
        total, count = loss(torch.tensor(logits), torch.tensor(labels), at=at)
        assert int(count) == len(image)
        assert float(total) == pytest.approx(expected.sum(), abs=1e-9)


@pytest.mark.parametrize("at", ["logits", "pixels"])
def test_labels_that_all_do_not_count_give_no_loss_and_no_gradient(at: str) -> None:
    logits = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    total, count = loss(logits, torch.full((1, 9, 9), IGNORED), at=at)
    total.backward()
    assert (float(total.detach()), int(count)) == (0.0, 0)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_another_place_of_the_loss_is_refused() -> None:
    with pytest.raises(UnknownOption, match="Did you mean 'pixels'"):
        loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64), at="pixel")
