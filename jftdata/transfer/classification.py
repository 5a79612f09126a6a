"""Fine-tuned classification: all weights trained on the task from the checkpoint's, with a fresh softmax head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from jftdata import backbone, images
from jftdata.pixels import PLACE, map_images
from jftdata.pretrain.augment import Augmentation
from jftdata.pretrain.input import Batch, batches
from jftdata.transfer.fit import fit, order
from jftdata.transfer.labelled import Labelled, read
from jftdata.transfer.metrics import top_k
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.task import Inputs, Mode, Score

_TEST_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(Recipe):
    """How to fine-tune a classifier."""

    freeze_batch_norm: bool = False
    image_size: int | None = None
    """Width and height of a crop; None is the checkpoint's own."""
    min_area: float | None = None
    """Smallest share of the image that a training crop is cut from; None crops at random from the image resized as in pretraining."""


_MODERN = ClassificationRecipe(
    batch_size=256, learning_rate=0.02, epochs=20, warmup=0.1, clip_norm=1.0, min_area=0.25, fresh_rate=10.0
)
RECIPES: dict[str, ClassificationRecipe] = {
    "tiny": ClassificationRecipe(batch_size=32, learning_rate=0.01, epochs=6, warmup=0.1),
    "modern": _MODERN,
    "paper": ClassificationRecipe(
        batch_size=32, learning_rate=1e-3, epochs=100, schedule="step", milestones=(0.3, 0.6, 0.9), image_size=299
    ),
}
"""`paper` fine-tunes at 1e-3 for 4M steps of 32 ImageNet images, which are 100 epochs, and divides the rate by ten every 30 of them
(Sun et al. 2017, sections 4.2 and 5.1)."""


class Classification:
    """Top-1 and top-5 of a single crop after fine-tuning."""

    modes: tuple[Mode, ...] = ("finetune",)
    recipes: Mapping[str, Recipe] = RECIPES

    def read(self, data: Any, *, cache: Path, workers: int | None) -> Labelled:
        """See `labelled.read`."""
        return read(data, cache=cache, workers=workers)

    def __call__(self, inputs: Inputs[Labelled, ClassificationRecipe]) -> list[Score]:
        data, recipe, ranks, config = inputs.data, inputs.recipe, inputs.ranks, inputs.checkpoint.config
        net = backbone.load(inputs.checkpoint)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(inputs.seed)
            net.fc = nn.Linear(net.fc.in_features, len(data.classes))
        model = _Loss(net, recipe, ranks.device, torch.from_numpy(data.targets[0].copy()))
        model.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        stream = order(data.train["image"].to_numpy(), recipe=recipe, seed=inputs.seed)
        num_steps = recipe.num_steps(len(data.train))
        size = recipe.image_size or config["image_size"]
        augmentation = Augmentation(round(config["resize"] * size / config["image_size"]), size)
        if recipe.min_area is not None:
            augmentation = Augmentation(size, size, "resized", recipe.min_area)

        def made(first_step: int) -> Iterator[Batch]:
            return batches(
                data.catalog, data.train, augmentation, stream=stream, first_step=first_step, num_steps=num_steps,
                workers=inputs.workers, world_size=ranks.world_size, rank=ranks.rank,
            )  # fmt: skip

        fit(
            model, made, recipe=recipe, num_steps=num_steps, ranks=ranks, folder=inputs.folder, what="fine-tune",
            fresh=lambda name: name.startswith("net.fc."),
        )  # fmt: skip
        if not ranks.first:
            return []
        scores, answer = _predict(net, inputs, size), data.targets[1]
        return [Score.of_mean(f"top-{k}", top_k(scores, answer, k=k)) for k in (1, 5)]


class _Loss(nn.Module):
    """A batch of images in, cross-entropy out."""

    def __init__(self, net: nn.Module, recipe: Recipe, device: torch.device, target: Tensor) -> None:
        super().__init__()
        self.net = net
        self._recipe, self._device, self._target = recipe, device, target.to(device)
        self._still = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)] if recipe.freeze_batch_norm else []
        for module in self._still:
            module.requires_grad_(False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with backbone.autocast(self._device, self._recipe.precision):
            logits = self.net(backbone.to_input(batch.pixels, self._device))
        return {"loss": F.cross_entropy(logits.float(), self._target[torch.from_numpy(batch.rows).to(self._device)])}

    def train(self, mode: bool = True) -> "_Loss":
        """Frozen batch norm stays in evaluation."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self


@torch.inference_mode()
def _predict(net: nn.Module, inputs: Inputs[Labelled, ClassificationRecipe], size: int) -> NDArray[np.float64]:
    """(num_test, num_classes) logits of the whole images, resized."""
    device = inputs.ranks.device

    def load(_: int, data: bytes) -> NDArray[np.uint8]:
        return images.resize(images.decode(data)[0], width=size, height=size)

    def logits(pixels: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        with backbone.autocast(device, inputs.recipe.precision):
            found: Tensor = net(backbone.to_input(np.stack(pixels), device))
        return found.double().cpu().numpy()

    net.eval()
    scores, waiting = [], []
    for pixels in map_images(inputs.data.catalog, inputs.data.test.select(PLACE), load, workers=inputs.workers):
        waiting.append(pixels)
        if len(waiting) == _TEST_BATCH:
            scores.append(logits(waiting))
            waiting = []
    if waiting:
        scores.append(logits(waiting))
    return np.concatenate(scores)
