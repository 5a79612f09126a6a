"""Fine-tuned classification: all weights trained on the task from the checkpoint's, with a fresh softmax head."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from jftdata import backbone, images
from jftdata.pixels import PLACE, map_images
from jftdata.pretrain.input import Augmentation, batches
from jftdata.progress import progress
from jftdata.subset.stream import Stream
from jftdata.transfer.metrics import top_k
from jftdata.transfer.task import Inputs, Score

EPOCHS = 6
BATCH_SIZE = 32
LEARNING_RATE = 0.02
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
"""The same schedule for every checkpoint of a comparison: SGD, cosine to zero after a tenth of warm-up."""


class Classification:
    """Top-1 and top-5 of a single crop after fine-tuning."""

    modes: tuple[str, ...] = ("finetune",)
    wants_features: bool = False

    def __call__(self, inputs: Inputs) -> list[Score]:
        config = inputs.checkpoint.config
        device = backbone.pick_device(inputs.device)
        train, catalog = inputs.data.train, inputs.data.catalog
        target = torch.from_numpy(train["target"].to_numpy().copy()).to(device)
        net = backbone.load(inputs.checkpoint)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(inputs.seed)
            net.fc = nn.Linear(net.fc.in_features, len(inputs.data.classes))
        net.train().to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        order = Stream(images=train["image"].to_numpy(), seed=inputs.seed, batch_size=min(BATCH_SIZE, len(train)))
        num_steps = EPOCHS * order.num_steps(0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=LEARNING_RATE, total_steps=num_steps, pct_start=0.1, cycle_momentum=False
        )
        augmentation = Augmentation(config["resize"], config["image_size"])
        stream = batches(
            catalog, train, augmentation, stream=order, first_step=0, num_steps=num_steps, workers=inputs.workers
        )  # fmt: skip
        with progress("fine-tune", total=num_steps * order.batch_size, unit="image") as bar:
            for batch in stream:
                with backbone.autocast(device, config["precision"]):
                    logits = net(backbone.to_input(batch.pixels, device))
                loss = F.cross_entropy(logits.float(), target[torch.from_numpy(batch.rows).to(device)])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                bar.update(len(batch.rows))
        scores = self._predict(net, inputs, device)
        answer = inputs.data.test["target"].to_numpy()
        settings = {
            "epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
        }  # fmt: skip
        return [
            Score("top-1", top_k(scores, answer, k=1), settings),
            Score("top-5", top_k(scores, answer, k=5), settings),
        ]

    @torch.inference_mode()
    def _predict(self, net: nn.Module, inputs: Inputs, device: torch.device) -> NDArray[np.float64]:
        size = inputs.checkpoint.config["image_size"]

        def load(_: int, data: bytes) -> NDArray[np.uint8]:
            return images.resize(images.decode(data)[0], width=size, height=size)

        net.eval()
        scores = []
        pixels = list(map_images(inputs.data.catalog, inputs.data.test.select(PLACE), load, workers=inputs.workers))
        for first in range(0, len(pixels), 256):
            with backbone.autocast(device, inputs.checkpoint.config["precision"]):
                logits = net(backbone.to_input(np.stack(pixels[first : first + 256]), device))
            scores.append(logits.double().cpu().numpy())
        return np.concatenate(scores)
