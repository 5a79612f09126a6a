"""What decides a pretraining run. Needs no torch, so the command line can check it at once."""

import itertools
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jftdata.errors import BadArgument, one_of
from jftdata.override import kinds_of


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """All settings of a run; `jftdata.recipes` has named ones. Workers, device and the number of processes are no part of it: they
    change no result but by the rounding of sums.
    """

    # the network
    architecture: Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    """Which ResNet; see `jftdata.backbone.ARCHITECTURES`."""
    bottleneck_stride: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck halves the picture: the 3x3 (v1.5, torchvision, timm) or the first 1x1 (v1, He et al. 2015)."""
    stem: Literal["large", "small"] = "large"
    """large is 7x7 with stride 2 and a max-pool; small is 3x3 with stride 1 and none, for images of 32 to 64 pixels."""
    zero_init: bool = False
    """Start the last batch norm of each block at zero, so that a block begins as the identity (Goyal et al. 2017)."""
    prior_bias: bool = False
    """Start the head at each label's log-odds in the subset."""
    freeze_below: Literal["layer1", "layer2", "layer3", "layer4", "fc"] | None = None
    """Train this part and those above it only; what lies below keeps its weights and batch-norm statistics."""

    # images
    resize: int
    """Width and height images are resized to, in pixels, before a random crop; and before the central crop of validation."""
    image_size: int
    """Width and height of the crop."""
    crop: Literal["random", "resized"] = "random"
    """random cuts from the resized image, as in the paper; resized cuts a random part of the whole one and resizes that."""
    min_area: float | None = None
    """For crop=resized: smallest share of the area that is cut; its aspect is 3/4 to 4/3."""
    policy: Literal["trivial-augment", "rand-augment"] | None = None
    """torchvision's TrivialAugmentWide or RandAugment after the crop."""
    erase: float = 0.0
    """Probability of an erased rectangle (Zhong et al. 2020)."""
    batch_size: int
    """Images a step, over all processes."""
    accumulate: int = 1
    """Parts a batch is cut into, one after another, where it does not fit the device; batch norm sees a part."""
    total_epochs: float
    """Passes over the subset; 0 keeps the fresh weights. A last batch that is not full is left out."""

    # the objective
    loss: Literal["logistic", "focal", "asymmetric", "softmax", "tree-softmax"] = "logistic"
    """logistic is the paper's: every label for itself, ancestors filled in, summed over labels; see `pretrain.objective` and
    `pretrain.softmax` for the others."""
    smoothing: float = 0.0
    """For logistic and softmax: this much of each target is spread over the other answers."""
    logit_adjustment: float | None = None
    """For logistic and softmax: times the log-odds or log-share of a label, added to its logits in training (Menon et al. 2021)."""
    absent: Literal["negative", "unknown"] = "negative"
    """What a label is that nothing was said of; unknown trains on given labels and verified negatives only."""
    split_head: bool = False
    """Each process holds and trains a share of the labels; for heads too large for one. Its first weights differ from those of a head
    in one piece."""

    # optimisation
    optimizer: Literal["sgd", "rmsprop", "adamw", "lars", "lamb"]
    """sgd, rmsprop and lars use `momentum`; adamw and lamb have their own betas. lars and lamb are timm's (extra `timm`)."""
    learning_rate: float
    """At the start of the schedule, after warm-up; for a loss summed over labels and averaged over images."""
    learning_rate_per: Literal["step", "image"] = "step"
    """image multiplies it by the batch size: the linear scaling rule."""
    momentum: float | None = None
    """For sgd, rmsprop and lars."""
    nesterov: bool = False
    """For sgd and lars."""
    squared_decay: float | None = None
    """For rmsprop: of the average of squared gradients."""
    epsilon: float | None = None
    """For rmsprop: added to the root of that average."""
    weight_decay: float = 0.0
    """L2 for sgd and rmsprop, decoupled for adamw, part of the scaled update for lars and lamb."""
    decay_norm_and_bias: bool = False
    """Whether weight decay also holds for batch-norm parameters and biases."""
    clip_norm: float | None = None
    """Largest norm of the gradient of all weights; a longer one is scaled down to it."""
    ema_decay: float | None = None
    """Keep an average of the weights with this decay a step, and make it the checkpoint's weights."""
    schedule: Literal["constant", "exponential", "step", "cosine", "poly"] = "constant"
    """exponential multiplies by `decay_factor` every `decay_every`, step at `milestones`; cosine and poly end at zero."""
    decay_factor: float | None = None
    """For exponential and step."""
    decay_every: float | None = None
    """For exponential, in `decay_unit`."""
    milestones: tuple[float, ...] | None = None
    """For step, in `decay_unit`."""
    decay_unit: Literal["steps", "images", "epochs"] | None = None
    """For exponential and step: the paper decays per steps, its forerunner per images."""
    power: float | None = None
    """For poly: the rate is (1 - done) ** power of the first."""
    warmup_epochs: float = 0.0
    """Linear warm-up from zero."""

    # arithmetic
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 runs matrix products in bfloat16 and keeps weights in float32."""
    channels_last: bool = True
    """Memory layout of images and convolutions; faster wherever bf16 is."""
    compile: bool = False
    """torch.compile the network: a minute or more before the first step."""
    checkpoint_activations: bool = False
    """Compute the activations of each stage again in the backward pass instead of keeping them."""
    seed: int = 0
    """Of the weights, the order of images and the augmentation."""

    def __post_init__(self) -> None:
        for name in _CHOICES:
            value, allowed = getattr(self, name), _choices(name)
            if value not in allowed:
                raise one_of(f"`{name}`", str(value), map(str, allowed))
        if self.milestones is not None:
            object.__setattr__(self, "milestones", tuple(self.milestones))  # a list of JSON
        for name, (good, within) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not good(self, value):
                raise BadArgument(f"`{name}` must be {within(self)}. Got {value!r}.")
        for name, (of, users) in _NEEDED.items():
            value, choice = getattr(self, name), getattr(self, of)
            if (value is not None) != (choice in users):
                expected = "given" if choice in users else f"left out: {choice} does not use it"
                raise BadArgument(f"`{name}` must be {expected}. Got {value!r}.")
        if self.bottleneck_stride == "1x1" and self.architecture in ("resnet10", "resnet18", "resnet34"):
            raise BadArgument(
                f"`bottleneck_stride` must be left out: {self.architecture} has no bottlenecks. Got '1x1'."
            )
        if self.smoothing and self.loss not in ("logistic", "softmax"):
            raise BadArgument(f"`smoothing` must be left out: {self.loss} does not use it. Got {self.smoothing}.")
        if self.logit_adjustment is not None and self.loss not in ("logistic", "softmax"):
            raise BadArgument(
                f"`logit_adjustment` must be left out: {self.loss} does not use it. Got {self.logit_adjustment}."
            )
        if self.absent == "unknown" and self.loss in ("softmax", "tree-softmax"):
            raise BadArgument(f"`absent` must be negative: {self.loss} compares all labels. Got 'unknown'.")
        if self.split_head and self.optimizer in ("lars", "lamb"):
            raise BadArgument(
                f"`split_head` must be left out: {self.optimizer} needs all labels in one place. Got True."
            )
        if self.split_head and (self.ema_decay is not None or self.accumulate > 1):
            raise BadArgument("`split_head` goes with neither `ema_decay` nor `accumulate`. Leave them out.")
        if self.nesterov and self.optimizer not in ("sgd", "lars"):
            raise BadArgument(f"`nesterov` must be left out: {self.optimizer} does not use it. Got True.")

    @property
    def step_rate(self) -> float:
        """`learning_rate` a step."""
        return self.learning_rate * (self.batch_size if self.learning_rate_per == "image" else 1)


_CHOICES = (
    "architecture", "bottleneck_stride", "stem", "freeze_below", "crop", "policy", "loss", "absent", "optimizer", "learning_rate_per",
    "schedule", "decay_unit", "precision",
)  # fmt: skip
_NEEDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "min_area": ("crop", ("resized",)),
    "momentum": ("optimizer", ("sgd", "rmsprop", "lars")),
    "squared_decay": ("optimizer", ("rmsprop",)),
    "epsilon": ("optimizer", ("rmsprop",)),
    "decay_factor": ("schedule", ("exponential", "step")),
    "decay_every": ("schedule", ("exponential",)),
    "milestones": ("schedule", ("step",)),
    "decay_unit": ("schedule", ("exponential", "step")),
    "power": ("schedule", ("poly",)),
}
"""Fields that some choices need and the others do not use."""
_Range = tuple[Callable[[PretrainConfig, Any], bool], Callable[[PretrainConfig], str]]


def _is(good: Callable[[Any], bool], expected: str) -> _Range:
    return lambda _, value: good(value), lambda _: expected


_RANGES: dict[str, _Range] = {
    "image_size": _is(lambda v: v >= 32, "at least 32, or bf16 training is not repeatable"),
    "resize": (lambda c, v: v >= c.image_size, lambda c: f"at least image_size ({c.image_size})"),
    "min_area": _is(lambda v: 0 < v <= 1, "in (0, 1]"),
    "erase": _is(lambda v: 0 <= v <= 1, "in [0, 1]"),
    "batch_size": _is(lambda v: v >= 2, "at least 2, for batch norm"),
    "accumulate": (
        lambda c, v: v >= 1 and c.batch_size % v == 0 and c.batch_size // v >= 2,
        lambda c: f"a divisor of batch_size ({c.batch_size}) that leaves 2 images or more",
    ),
    "total_epochs": _is(lambda v: v >= 0, "at least 0"),
    "smoothing": _is(lambda v: 0 <= v < 1, "in [0, 1)"),
    "logit_adjustment": _is(lambda v: v > 0, "above 0"),
    "learning_rate": _is(lambda v: v > 0, "above 0"),
    "momentum": _is(lambda v: 0 <= v < 1, "in [0, 1)"),
    "squared_decay": _is(lambda v: 0 <= v < 1, "in [0, 1)"),
    "epsilon": _is(lambda v: v > 0, "above 0"),
    "weight_decay": _is(lambda v: v >= 0, "at least 0"),
    "clip_norm": _is(lambda v: v > 0, "above 0"),
    "ema_decay": _is(lambda v: 0 < v < 1, "in (0, 1)"),
    "decay_factor": _is(lambda v: 0 < v <= 1, "in (0, 1]"),
    "decay_every": _is(lambda v: v > 0, "above 0"),
    "milestones": _is(
        lambda v: len(v) > 0 and v[0] > 0 and all(a < b for a, b in itertools.pairwise(v)), "rising numbers above 0"
    ),
    "power": _is(lambda v: v > 0, "above 0"),
    "warmup_epochs": (lambda c, v: 0 <= v <= c.total_epochs, lambda _: "in [0, total_epochs]"),
    "seed": _is(lambda v: 0 <= v < 1 << 63, "in [0, 2**63)"),
}


def _choices(name: str) -> list[Any]:
    choices: list[Any] = []
    for part in _kinds(name):
        choices += [None] if part is type(None) else list(typing.get_args(part)) or [part]
    return choices


def _kinds(name: str) -> tuple[Any, ...]:
    """The alternatives of a field's type: `float | None` gives (float, NoneType), a Literal itself."""
    return kinds_of(typing.get_type_hints(PretrainConfig)[name])
