"""A checkpoint's ResNet without its head, taken apart where the tasks need it: below and above conv5, stage by stage, dilated."""

from collections.abc import Iterable
from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from jftdata import backbone
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, one_of

STAGES = ("layer1", "layer2", "layer3", "layer4")
"""conv2 to conv5 of He et al. 2015."""
PARTS = ("conv1", "bn1", *STAGES)
"""What has weights, lowest first."""
OutputStride = Literal[32, 16, 8]


class Body(nn.Module):
    """conv1 to layer4 of a ResNet, with torchvision's parameter names.

    Args:
        net: its modules become this one's.
        freeze_batch_norm: batch norm keeps its statistics and its scale and shift.
    """

    def __init__(self, net: ResNet, *, freeze_batch_norm: bool = True) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self._still: list[nn.Module] = []
        if freeze_batch_norm:
            self._keep_still(module for module in self.modules() if isinstance(module, nn.BatchNorm2d))
            self.train(self.training)

    @property
    def channels(self) -> dict[str, int]:
        """Channels of the output of each of `STAGES`."""
        found = {}
        for name in STAGES:
            last = getattr(self, name)[-1]
            found[name] = int((last.conv2 if isinstance(last, BasicBlock) else last.conv3).out_channels)
        return found

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, H, W) in [-1, 1] to the output of layer4."""
        return self.top(self.below(pixels))

    def below(self, pixels: Tensor) -> Tensor:
        """conv1 to conv4: (n, 3, H, W) to the output of layer3."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(pixels))))
        found: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return found

    def top(self, x: Tensor) -> Tensor:
        """conv5: the output of layer3, or crops of it, to that of layer4."""
        found: Tensor = self.layer4(x)
        return found

    def stages(self, pixels: Tensor) -> dict[str, Tensor]:
        """The output of each of `STAGES`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(pixels))))
        found = {}
        for name in STAGES:
            found[name] = x = getattr(self, name)(x)
        return found

    def train(self, mode: bool = True) -> "Body":
        """What is frozen stays in evaluation."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def freeze(self, below: str = "head") -> None:
        """Keep the weights and statistics of all parts below one, for example `layer4`; `head` keeps all.

        Raises:
            UnknownName: no such part.
        """
        if below not in (*PARTS, "head"):
            raise one_of("part", below, (*PARTS, "head"))
        frozen = PARTS[: PARTS.index(below)] if below in PARTS else PARTS
        self._keep_still(getattr(self, name) for name in frozen)
        self.train(self.training)

    def _keep_still(self, modules: Iterable[nn.Module]) -> None:
        for module in modules:
            module.requires_grad_(False)
            self._still.append(module)


def of_checkpoint(checkpoint: Checkpoint, *, freeze_batch_norm: bool = True, output_stride: OutputStride = 32) -> Body:
    """The body of a checkpoint, every weight matched.

    Args:
        checkpoint: a ResNet.
        freeze_batch_norm: see `Body`.
        output_stride: pixels of the image a pixel of layer4's output stands for, with the large stem. Below 32 the strides of layer4,
            and of layer3, become dilations of what follows: where the features were, they stay the same.

    Raises:
        BadArgument: another stride.
    """
    net = backbone.load(checkpoint)
    if output_stride not in (32, 16, 8):
        raise BadArgument(f"`output_stride` must be 32, 16 or 8. Got {output_stride}.")
    if output_stride == 16:
        dilate(net.layer4, before=1)
    if output_stride == 8:
        dilate(net.layer3, before=1)
        dilate(net.layer4, before=2)
    return Body(net, freeze_batch_norm=freeze_batch_norm)


def dilate(stage: nn.Sequential, *, before: int) -> None:
    """Take the stride of 2 out of a stage and dilate what follows it, so that its output is the old one at every second place.

    Args:
        stage: blocks of a ResNet; changed in place.
        before: dilation of what enters, 1 where no earlier stage was dilated.
    """
    strided = False
    for module in stage.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        shortcut = strided and module.stride == (2, 2)  # the block's other way, which comes after its convolutions
        if module.kernel_size == (3, 3):
            own = before * (2 if strided else 1)
            module.dilation, module.padding = (own, own), (own, own)
        if module.stride == (2, 2) and not shortcut:
            strided = True
        module.stride = (1, 1)
