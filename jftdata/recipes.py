"""Named configs, each a function that returns one; derive others with `dataclasses.replace`."""

from jftdata.errors import one_of
from jftdata.pretrain.config import PretrainConfig


def jft300m_resnet101() -> PretrainConfig:
    """The paper's literal recipe: ResNet-101, 340 to 299 pixels, RMSProp, batch 32, 4 epochs (36M steps on 300M images).

    Source: Sun et al. 2017, section 4.1.
    """
    return PretrainConfig(
        architecture="resnet101",
        resize=340,
        image_size=299,
        batch_size=32,
        total_epochs=4.0,
        optimizer="rmsprop",
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=1e-4,
        decay_norm_and_bias=True,  # the paper names no exception
        schedule="exponential",
        decay_factor=0.9,
        decay_every=3_000_000,
        decay_unit="steps",
        precision="fp32",
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


RECIPES = {"jft300m_resnet101": jft300m_resnet101, "tiny": tiny}


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
