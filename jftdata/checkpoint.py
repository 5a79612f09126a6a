"""Checkpoints: weights in safetensors with the config, the label vocabulary and the subset they were trained on.

A finished training run's folder is a checkpoint. Reading one needs no torch; `load_weights` does.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jftdata import storage

if TYPE_CHECKING:
    import torch

FORMAT = "jftdata.checkpoint/1"
WEIGHTS = "model.safetensors"
LABELS = "labels.json"
METRICS = "metrics.jsonl"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network on disk."""

    path: Path
    sidecar: storage.Sidecar

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a checkpoint; reads the sidecar only.

        Raises:
            MissingInput: nothing there.
            BadInput: an artefact of another kind.
        """
        path = Path(path)
        return cls(path, storage.read_sidecar(path, kind="jftdata.checkpoint"))

    @property
    def fingerprint(self) -> str:
        return self.sidecar.fingerprint

    @property
    def config(self) -> dict[str, Any]:
        """The resolved training config."""
        config: dict[str, Any] = self.sidecar.made_with["config"]
        return config

    @property
    def num_train_images(self) -> int:
        return int(self.sidecar.facts["num_train_images"])

    def labels(self) -> list[str]:
        """Label of each output of the head."""
        labels: list[str] = json.loads((self.path / LABELS).read_text(encoding="utf-8"))
        return labels

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`: step, epoch, images seen, loss, learning rate, images a second."""
        return [json.loads(line) for line in (self.path / METRICS).read_text(encoding="utf-8").splitlines()]

    def load_weights(self) -> "dict[str, torch.Tensor]":
        """Tensors by torchvision's parameter names."""
        from safetensors.torch import load_file

        return load_file(self.path / WEIGHTS)
