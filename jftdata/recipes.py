"""Named configs, each a function that returns one; derive others with `dataclasses.replace`."""

import dataclasses
import functools
from collections.abc import Callable

from jftdata.errors import one_of
from jftdata.pretrain.config import PretrainConfig


def jft300m_resnet101() -> PretrainConfig:
    """The paper's literal recipe: ResNet-101, 340 to 299 pixels, RMSProp, batch 32, 4 epochs (36M steps on 300M images).

    The paper gives neither the decay of RMSProp's average nor its epsilon; 0.9 and 1 are those of its forerunners (unverified). It
    names no exception from weight decay.

    Source: Sun et al. 2017, section 4.1.
    """
    return PretrainConfig(
        architecture="resnet101",
        bottleneck_stride="1x1",
        resize=340,
        image_size=299,
        batch_size=32,
        total_epochs=4.0,
        optimizer="rmsprop",
        learning_rate=1e-3,
        momentum=0.9,
        squared_decay=0.9,
        epsilon=1.0,
        weight_decay=1e-4,
        decay_norm_and_bias=True,
        schedule="exponential",
        decay_factor=0.9,
        decay_every=3_000_000,
        decay_unit="steps",
        precision="fp32",
        channels_last=False,
    )


def imagenet_resnet101() -> PretrainConfig:
    """The paper's ImageNet baseline: momentum 0.9, rate 5e-2, batch 32, a tenth every 1.2M steps (30 epochs), 5M steps in all.

    5M steps of 32 images are 125 passes over ImageNet's 1.28M images.

    Source: Sun et al. 2017, section 4.2.
    """
    return dataclasses.replace(
        jft300m_resnet101(), total_epochs=5e6 * 32 / 1_281_167, optimizer="sgd", learning_rate=5e-2, squared_decay=None,
        epsilon=None, decay_factor=0.1, decay_every=1_200_000,
    )  # fmt: skip


def modern_resnet101(*, num_gpus: int = 1, total_epochs: float = 4.0) -> PretrainConfig:
    """The paper's data and epochs with today's arithmetic, for 1, 8 or 64 GPUs, 256 images each.

    What differs from `jft300m_resnet101`, and why: the stride in the 3x3 convolution and blocks that begin as the identity, which
    cost nothing and are what published weights are made with; SGD with momentum at a rate in proportion to the batch, with a warm-up
    that grows with it (Goyal et al. 2017); that rate is a tenth of the usual 0.1 for 256 images, as a loss summed over thousands of
    labels has larger gradients than one softmax (ours: tune it first); above 4,096 images LAMB at a rate that grows with the root of
    the batch, since the linear rule ends about there (You et al. 2020); a cosine to zero instead of steps; no weight decay on batch
    norm and biases; the head begins at each label's log-odds; bf16 and channels last. Not yet run at this size.

    Args:
        num_gpus: 256 images a step for each.
        total_epochs: passes over the subset.
    """
    batch_size = 256 * num_gpus
    large = batch_size > 4096
    return PretrainConfig(
        architecture="resnet101",
        zero_init=True,
        prior_bias=True,
        resize=340,
        image_size=299,
        batch_size=batch_size,
        total_epochs=total_epochs,
        optimizer="lamb" if large else "sgd",
        learning_rate=2e-3 * (batch_size / 4096) ** 0.5 if large else 0.01 / 256,
        learning_rate_per="step" if large else "image",
        momentum=None if large else 0.9,
        nesterov=not large,
        weight_decay=0.02 if large else 5e-5,
        schedule="cosine",
        warmup_epochs=min(0.1 * total_epochs, 0.02 * total_epochs * max(1, num_gpus) ** 0.5),
    )


def tiny(*, total_epochs: float = 4.0, image_size: int = 64, seed: int = 0) -> PretrainConfig:
    """ResNet-10 at 64 pixels for two CPU cores: about 600 images a second."""
    return PretrainConfig(
        architecture="resnet10",
        resize=image_size + image_size // 8,
        image_size=image_size,
        batch_size=64,
        total_epochs=total_epochs,
        optimizer="adamw",  # on two label sets a lower loss than sgd at any rate tried, and one rate fits both
        learning_rate=1e-3,
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=0.1 * total_epochs,
        prior_bias=True,
        seed=seed,
    )


RECIPES: dict[str, Callable[[], PretrainConfig]] = {
    "imagenet_resnet101": imagenet_resnet101,
    "jft300m_resnet101": jft300m_resnet101,
    "modern_resnet101": modern_resnet101,
    "modern_resnet101_8gpu": functools.partial(modern_resnet101, num_gpus=8),
    "modern_resnet101_64gpu": functools.partial(modern_resnet101, num_gpus=64),
    "tiny": tiny,
}


def get(name: str) -> PretrainConfig:
    """A recipe by name.

    Raises:
        UnknownName: no such recipe; the nearest is suggested.

    >>> get("tiny").architecture
    'resnet10'
    """
    if name not in RECIPES:
        raise one_of("recipe", name, RECIPES)
    return RECIPES[name]()
