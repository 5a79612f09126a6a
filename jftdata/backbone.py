"""ResNets with torchvision's parameter names: build one, read one back from a Checkpoint, use one as an embedder.

Pixels are scaled to [-1, 1], as in the paper. Embedding is shared by the questions about data and by transfer, which is why this
lies below both. Loads torch.
"""

import copy
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput, one_of

Precision = Literal["bf16", "fp32"]
ARCHITECTURES: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}
"""Block and blocks a stage; `resnet10` is not in He et al. 2015, it is the smallest net of the family."""


def build(
    architecture: str, *, num_outputs: int, seed: int, bottleneck_stride: str = "3x3", stem: str = "large",
    zero_init: bool = False,
) -> ResNet:  # fmt: skip
    """A ResNet with fresh weights that depend on the seed alone.

    Args:
        architecture: one of `ARCHITECTURES`.
        num_outputs: columns of the head, `fc`.
        seed: of the weights.
        bottleneck_stride: which convolution of a bottleneck halves the picture, `3x3` as in torchvision and timm, or `1x1` as in
            He et al. 2015.
        stem: `large`, 7x7 with stride 2 and a max-pool, or `small`, 3x3 with stride 1 and none.
        zero_init: start the last batch norm of each block at zero.

    Raises:
        UnknownName: no such architecture.

    >>> sum(p.numel() for p in build("resnet18", num_outputs=1000, seed=0).parameters())
    11689512
    """
    if architecture not in ARCHITECTURES:
        raise one_of("architecture", architecture, ARCHITECTURES)
    block, layers = ARCHITECTURES[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ResNet(block, layers, num_classes=num_outputs, zero_init_residual=zero_init)
        if stem == "small":
            net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
            net.maxpool = nn.Identity()
    if bottleneck_stride == "1x1":
        for module in net.modules():
            if isinstance(module, Bottleneck):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    return net


def of_config(config: Mapping[str, Any], *, num_outputs: int, seed: int = 0) -> ResNet:
    """The network a pretraining config describes; fields that an older config does not have take their defaults."""
    known = ("bottleneck_stride", "stem", "zero_init")
    options = {name: config[name] for name in known if name in config}
    return build(config["architecture"], num_outputs=num_outputs, seed=seed, **options)


def load(checkpoint: Checkpoint) -> ResNet:
    """The network of a checkpoint with its weights, every one of them matched.

    Raises:
        BadInput: the weights do not fit the config.
    """
    weights = checkpoint.load_weights()
    net = of_config(checkpoint.config, num_outputs=len(weights["fc.bias"]))
    try:
        net.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise BadInput(
            f"the weights of {checkpoint.path} do not fit a {checkpoint.config['architecture']}: {error}"
        ) from error
    return net


def pick_device(name: str) -> torch.device:
    """`auto` is cuda where there is one, else cpu; never a silent step from one to the other when named.

    Raises:
        BadArgument: a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BadArgument(f"`device` is {name!r} and no CUDA device is there. Use device='cpu'.")
    try:
        return torch.device(name)
    except RuntimeError:
        raise BadArgument(f"`device` must be auto, cpu or cuda. Got {name!r}.") from None


def to_input(pixels: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    """(n, H, W, 3) uint8 to (n, 3, H, W) float32 in [-1, 1], channels last in memory."""
    there = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
    batch = there.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return batch.float().div_(127.5).sub_(1.0)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bf16 products with float32 weights, or plain float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


class NetEmbedder:
    """A network as an embedder, with one copy of it on each device; safe to call from as many threads at once.

    Args:
        net: (n, 3, size, size) in [-1, 1] to (n, d).
        name: says which weights they are.
        size: width and height of the images it takes.
        precision: of the products.
        device: `auto` or `cuda` is every GPU there is; which one a batch is given to changes nothing.
        prepare: what is done to the pixels of a whole image first, (H, W, 3) to (size, size, 3); None resizes it.
    """

    def __init__(
        self, net: nn.Module, *, name: str, size: int, precision: Precision = "bf16", device: str = "auto",
        prepare: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.size = size
        self.prepare = prepare
        first = pick_device(device)
        devices = [first]
        if first.type == "cuda" and first.index is None:
            devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
        self.lanes = len(devices)
        self._precision = precision
        self._free: SimpleQueue[tuple[nn.Module, torch.device]] = SimpleQueue()
        for place in devices:
            own = copy.deepcopy(net).eval().to(place)
            self._free.put((own.to(memory_format=torch.channels_last), place))

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        net, device = self._free.get()
        try:
            with autocast(device, self._precision):
                features: Tensor = net(to_input(pixels, device))
            return features.float().cpu().numpy()
        finally:
            self._free.put((net, device))


class CheckpointEmbedder(NetEmbedder):
    """Pooled features of a checkpoint's backbone, at the image size it was trained at."""

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto") -> None:
        net = load(checkpoint)
        net.fc = nn.Identity()
        name, config = f"checkpoint/{checkpoint.fingerprint}", checkpoint.config
        super().__init__(net, name=name, size=config["image_size"], precision=config["precision"], device=device)
