"""Embeddings: one unit-length vector an image, with the image ids, made by a named embedder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from jftdata import storage
from jftdata.errors import BadInput
from jftdata.ragged import in_sorted, unique

FORMAT = "jftdata.embeddings/1"


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of images; `vectors[i]` belongs to `images[i]`."""

    vectors: NDArray[np.float32]
    """(n, d) float32, unit length; a read-only memory map when opened from disk."""
    images: NDArray[np.int64]
    """(n,) image ids, ascending."""
    embedder: str
    """Name and version of what made them; vectors of two embedders cannot be compared."""
    fingerprint: str
    path: Path | None = None
    """Where they were opened from; None for those held in memory."""

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, vectors: NDArray[np.float32], images: NDArray[np.int64], *, embedder: str) -> Self:
        """Embeddings held in memory, checked and put in image-id order.

        Raises:
            BadInput: wrong shapes, an image twice, NaN or infinite values, or a vector that is not of unit length.

        >>> e = Embeddings.of(np.eye(2, dtype=np.float32), np.array([9, 4]), embedder="toy")
        >>> e.images.tolist(), e.vectors[0].tolist()
        ([4, 9], [0.0, 1.0])
        """
        if vectors.ndim != 2 or len(vectors) != len(images):
            raise BadInput(f"expected one vector an image. Got vectors {vectors.shape} for {len(images)} images.")
        order = np.argsort(images, kind="stable")
        images = np.ascontiguousarray(images[order], np.int64)
        if len(images) > 1 and (images[1:] == images[:-1]).any():
            twice = images[:-1][images[1:] == images[:-1]][0]
            raise BadInput(f"image {twice} has two vectors. Give each image once.")
        vectors = np.ascontiguousarray(vectors[order], np.float32)
        check_unit(vectors, images)
        digest = hashlib.sha256(images.tobytes())
        digest.update(vectors.tobytes())
        return cls(vectors, images, embedder, digest.hexdigest())

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open from disk; vectors are memory-mapped."""
        path = Path(path)
        sidecar = storage.read_sidecar(path, kind="jftdata.embeddings")
        vectors = np.load(path / "vectors.npy", mmap_mode="r")
        return cls(vectors, np.load(path / "images.npy"), sidecar.made_with["embedder"], sidecar.fingerprint, path)

    def select(self, images: NDArray[np.int64]) -> "Embeddings":
        """The vectors of some images.

        Raises:
            BadInput: an image without a vector.
        """
        wanted = unique(images)
        found = in_sorted(wanted, self.images)
        if not found.all():
            raise BadInput(
                f"{(~found).sum()} images have no vector, for example {wanted[~found][0]}. Embed them first."
            )
        return Embeddings.of(self.vectors[np.searchsorted(self.images, wanted)], wanted, embedder=self.embedder)


def check_unit(vectors: NDArray[np.float32], images: NDArray[np.int64]) -> None:
    """Check that vectors are finite and of unit length within 1e-3, a block at a time.

    Raises:
        BadInput: naming the first bad image; a search would otherwise lose it in silence.
    """
    for first in range(0, len(vectors), 1 << 16):
        block = np.asarray(vectors[first : first + (1 << 16)])
        norms = np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64))
        bad = ~(np.abs(norms - 1.0) < 1e-3)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise BadInput(
                f"the vector of image {images[first + i]} has length {norms[i]:.4g}, expected 1. Normalise it."
            )
