"""Checkpoints: weights in safetensors with the config, the label vocabulary and the images they were trained on.

A finished training run's folder is a checkpoint. Reading one needs no torch; `load_weights` does.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import storage
from jftdata.errors import Damaged, MissingInput

if TYPE_CHECKING:
    import torch

FORMAT = "jftdata.checkpoint/1"
WEIGHTS = "model.safetensors"
LABELS = "labels.json"
METRICS = "metrics.jsonl"
IMAGES = "images.parquet"
BEST = "best.safetensors"
REJECTED = "rejected.parquet"


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

    @property
    def catalog_path(self) -> Path | None:
        """Where the catalog it was trained on was; None in a checkpoint that does not say, made before it was kept."""
        path = self.sidecar.facts.get("catalog_path")
        return None if path is None else Path(path)

    @property
    def knows_images(self) -> bool:
        """Whether `images` can be asked; a checkpoint made before they were kept cannot."""
        return IMAGES in self.sidecar.files

    def images(self) -> NDArray[np.int64]:
        """(n,) ids of the images that were in at least one of its batches, ascending; none for untrained weights.

        Raises:
            MissingInput: a checkpoint made before they were kept.
            Damaged: the file's bytes have changed.
        """
        if not self.knows_images:
            raise MissingInput(
                f"{self.path} does not know which images it saw: it was made by {self.sidecar.made_by}, before they were "
                "kept. Pretrain it again, or take the ids of its subset."
            )
        return pl.read_parquet(self._unchanged(IMAGES), glob=False)["image"].to_numpy()

    def labels(self) -> list[str]:
        """Label of each output of the head."""
        labels: list[str] = json.loads((self.path / LABELS).read_text(encoding="utf-8"))
        return labels

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`: step, epoch, images seen, loss, learning rate, images a second."""
        return [json.loads(line) for line in (self.path / METRICS).read_text(encoding="utf-8").splitlines()]

    def load_weights(self) -> "dict[str, torch.Tensor]":
        """Tensors by torchvision's parameter names.

        Raises:
            Damaged: the file's bytes have changed.

        Cost: the check, 0.1 s for a ResNet-101, is a third of what building the network takes.
        """
        from safetensors.torch import load_file

        return load_file(self._unchanged(WEIGHTS))

    def _unchanged(self, name: str) -> Path:
        """Path of a file whose SHA-256 is the sidecar's."""
        path = self.path / name
        if not path.exists() or storage.sha256_file(path) != self.sidecar.files[name]["sha256"]:
            raise Damaged(f"{path} is gone or has changed bytes. Make the checkpoint again or restore a copy.")
        return path
