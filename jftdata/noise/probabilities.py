"""Probabilities of labels that a model gives images it was not trained on: the given labels and the few most probable.

They come from any model as (image, label, probability), from a checkpoint, or from `linear.cross_validated`.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.errors import BadArgument, BadInput, UnknownName
from jftdata.hierarchy import Hierarchy

PROBABILITIES = {"image": pl.Int64(), "label": pl.String(), "probability": pl.Float32()}


@dataclass(frozen=True, eq=False)
class Probabilities:
    """A sparse row an image; a label that is not in it has less than those that are, or next to nothing."""

    tree: Hierarchy
    images: NDArray[np.int64]
    """(n,) ascending."""
    start: NDArray[np.int64]
    """(n + 1,) where each image's labels begin."""
    index: NDArray[np.int32]
    """(m,) label indexes, ascending within an image."""
    value: NDArray[np.float32]
    """(m,) in 0..1."""
    exclusive: bool
    """Whether labels compete, as in a softmax: an image's sum to at most 1. Else each is for itself, as in a sigmoid."""

    @classmethod
    def of(cls, frame: pl.DataFrame, tree: Hierarchy, *, exclusive: bool = True) -> Self:
        """Check probabilities of any model.

        Args:
            frame: columns of `PROBABILITIES`, in any order. Give each image's given labels and its most probable ones, ten
                or so, and of a softmax those below a given label, which speak for it; a model must not have been trained on
                the image.
            tree: the hierarchy of the catalog.
            exclusive: False for sigmoids.

        Raises:
            BadInput: a column missing, NaN, a value outside 0..1, one label of an image twice, or exclusive ones that sum
                to more than 1.
            UnknownName: a label that is not in the hierarchy.

        >>> frame = pl.DataFrame({"image": [7], "label": ["cat"], "probability": [0.9]})
        >>> Probabilities.of(frame, Hierarchy.load("toy")).images
        array([7])
        """
        for column in PROBABILITIES:
            if column not in frame.columns:
                raise BadInput(f"probabilities have no column {column!r}. Give {', '.join(PROBABILITIES)}.")
        labels = pl.DataFrame(
            {"label": tree.labels, "at": np.arange(tree.num_labels)}, schema={"label": pl.String(), "at": pl.Int64()}
        )
        rows = frame.select(
            pl.col("image").cast(pl.Int64), pl.col("label").cast(pl.String), pl.col("probability").cast(pl.Float32)
        ).join(labels, on="label", how="left", maintain_order="left")
        unknown = rows.filter(pl.col("at").is_null())
        if len(unknown):
            tree.index(str(unknown["label"][0]))
        if rows["image"].null_count():
            raise BadInput("a probability has no image. Remove the row, or name its image.")
        value = rows["probability"].fill_null(float("nan")).to_numpy()
        at, image = rows["at"].to_numpy(), rows["image"].to_numpy()
        wrong = np.flatnonzero(~((value >= 0) & (value <= 1)))
        if len(wrong):
            raise BadInput(
                f"probabilities must be in 0..1. Got {value[wrong[0]]} for label {tree.labels[at[wrong[0]]]!r} of image "
                f"{image[wrong[0]]}, and {len(wrong) - 1:,} more. Give probabilities, not logits, and leave none empty."
            )
        order = np.lexsort((at, image))
        at, image, value = at[order], image[order], value[order]
        twice = np.flatnonzero((at[1:] == at[:-1]) & (image[1:] == image[:-1]))
        if len(twice):
            raise BadInput(
                f"label {tree.labels[at[twice[0]]]!r} of image {image[twice[0]]} has two probabilities. Give one."
            )
        images, lengths = np.unique(image, return_counts=True)
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if exclusive and len(images):
            sums = np.add.reduceat(value.astype(np.float64), start[:-1])
            most = int(sums.argmax())
            if sums[most] > 1.001:
                raise BadInput(
                    f"probabilities of image {images[most]} sum to {sums[most]:.3f}, expected at most 1. Give "
                    "exclusive=False if they are not of a softmax."
                )
        return cls(tree, images, start, at.astype(np.int32), value, exclusive)

    def frame(self) -> pl.DataFrame:
        """Columns of `PROBABILITIES`, sorted by image and label index."""
        labels = pl.Series(self.tree.labels, dtype=pl.String()).gather(self.index.astype(np.uint32))
        return pl.DataFrame(
            {"image": np.repeat(self.images, np.diff(self.start)), "label": labels, "probability": self.value},
            schema=PROBABILITIES,
        )

    def rows(self, images: NDArray[np.int64]) -> Self:
        """Those of some images, in this order.

        Raises:
            UnknownName: an image without.
        """
        if np.array_equal(images, self.images):
            return self
        found = ragged.in_sorted(images, self.images)
        if not found.all():
            raise UnknownName(
                f"{(~found).sum():,} images of the catalog have no probabilities, for example {images[~found][0]}. Give "
                "those of every image."
            )
        at = np.searchsorted(self.images, images)
        start, which = ragged.take_rows(self.start, np.arange(len(self.index)), at)  # type: ignore[arg-type]
        return type(self)(self.tree, images, start, self.index[which], self.value[which], self.exclusive)


def check_tree(one: Hierarchy, other: Hierarchy) -> None:
    """Raise BadArgument unless label indexes of one mean the same in the other."""
    if one is not other and one.labels != other.labels:
        raise BadArgument(
            f"probabilities are of the hierarchy {one.name!r}, the catalog has {other.name!r}. Give those of its labels."
        )
