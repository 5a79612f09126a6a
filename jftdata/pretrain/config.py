"""What decides a pretraining run. Needs no torch, so the command line can check it at once."""

import dataclasses
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from jftdata.errors import BadArgument, one_of


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """All settings of a run; `jftdata.recipes` has named ones. Workers and device are no part of it: they change no result."""

    architecture: Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    """Which ResNet; see `jftdata.backbone.ARCHITECTURES`."""
    resize: int
    """Images are resized to this width and height first, in pixels."""
    image_size: int
    """Then randomly cropped to this width and height, and randomly mirrored."""
    batch_size: int
    """Images a step."""
    total_epochs: float
    """Passes over the subset; 0 keeps the fresh weights. A last batch that is not full is left out."""
    optimizer: Literal["sgd", "rmsprop", "adamw"]
    """sgd and rmsprop use `momentum`; adamw has its own betas."""
    learning_rate: float
    """At the start of the schedule, after warm-up; for a loss summed over labels and averaged over images."""
    momentum: float | None = None
    """For sgd and rmsprop."""
    weight_decay: float = 0.0
    """L2 for sgd and rmsprop, decoupled for adamw."""
    decay_norm_and_bias: bool = False
    """Whether weight decay also holds for batch-norm parameters and biases."""
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    """exponential multiplies by `decay_factor` every `decay_every`; cosine ends at zero."""
    decay_factor: float | None = None
    """For the exponential schedule."""
    decay_every: float | None = None
    """For the exponential schedule, in `decay_unit`."""
    decay_unit: Literal["steps", "images", "epochs"] | None = None
    """For the exponential schedule: the paper decays per steps, its forerunner per images."""
    warmup_epochs: float = 0.0
    """Linear warm-up from zero."""
    prior_bias: bool = False
    """Start the head at each label's log-odds in the subset."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 runs matrix products in bfloat16 and keeps weights in float32."""
    seed: int = 0
    """Of the weights, the order of images and the augmentation."""

    def __post_init__(self) -> None:
        for name in ("architecture", "optimizer", "schedule", "decay_unit", "precision"):
            value, allowed = getattr(self, name), _choices(name)
            if value not in allowed:
                raise one_of(f"`{name}`", str(value), map(str, allowed))
        _check("image_size", self.image_size, self.image_size >= 32, "at least 32, or bf16 training is not repeatable")
        _check("resize", self.resize, self.resize >= self.image_size, f"at least image_size ({self.image_size})")
        _check("batch_size", self.batch_size, self.batch_size >= 2, "at least 2, for batch norm")
        _check("total_epochs", self.total_epochs, self.total_epochs >= 0, "at least 0")
        _check("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _check(
            "warmup_epochs", self.warmup_epochs, 0 <= self.warmup_epochs <= self.total_epochs, "in [0, total_epochs]"
        )
        _check("seed", self.seed, 0 <= self.seed < 1 << 63, "in [0, 2**63)")
        if self.optimizer == "adamw":
            _check("momentum", self.momentum, self.momentum is None, "left out: adamw does not use it")
        else:
            _check("momentum", self.momentum, self.momentum is not None and 0 <= self.momentum < 1, "in [0, 1)")
        for name in ("decay_factor", "decay_every", "decay_unit"):
            value, used = getattr(self, name), self.schedule == "exponential"
            _check(
                name,
                value,
                (value is not None) == used,
                "given" if used else f"left out: {self.schedule} does not use it",
            )
        if self.decay_factor is not None and self.decay_every is not None:
            _check("decay_factor", self.decay_factor, 0 < self.decay_factor <= 1, "in (0, 1]")
            _check("decay_every", self.decay_every, self.decay_every > 0, "above 0")


def override(config: PretrainConfig, assignments: Iterable[str]) -> PretrainConfig:
    """A config with `field=value` strings applied, as from `--set` on the command line.

    Raises:
        UnknownName: no such field; the nearest is suggested.
        BadArgument: a value of the wrong type or out of range.

    >>> from jftdata import recipes
    >>> override(recipes.tiny(), ["batch_size=32"]).batch_size
    32
    """
    fields = {f.name: f for f in dataclasses.fields(PretrainConfig)}
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign:
            raise BadArgument(f"expected field=value. Got {assignment!r}.")
        if name not in fields:
            raise one_of("config field", name, fields)
        values[name] = _parse(name, text)
    return dataclasses.replace(config, **values)


def _parse(name: str, text: str) -> Any:
    kinds = _kinds(name)
    if type(None) in kinds and text.lower() == "none":
        return None
    try:
        if bool in kinds:
            return {"true": True, "false": False}[text.lower()]
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
    except (ValueError, KeyError):
        wanted = "true or false" if bool in kinds else "a whole number" if int in kinds else "a number"
        raise BadArgument(f"config field `{name}` must be {wanted}. Got {text!r}.") from None
    return text


def _choices(name: str) -> list[Any]:
    choices: list[Any] = []
    for part in _kinds(name):
        choices += [None] if part is type(None) else list(typing.get_args(part)) or [part]
    return choices


def _kinds(name: str) -> tuple[Any, ...]:
    """The alternatives of a field's type: `float | None` gives (float, NoneType), a Literal itself."""
    hint = typing.get_type_hints(PretrainConfig)[name]
    return (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise BadArgument(f"`{name}` must be {expected}. Got {value!r}.")
