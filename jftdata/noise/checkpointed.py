"""Out-of-sample probabilities from a checkpoint: its own head on images that it was not trained on.

Cost: decoding and one pass of the network, as `embed`.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray

from jftdata import backbone, images
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput
from jftdata.noise import given as given_labels
from jftdata.noise.probabilities import Probabilities
from jftdata.pixels import PLACE, check_unchanged, map_images
from jftdata.progress import progress

_BATCH = 256


def of_checkpoint(
    checkpoint: Checkpoint, catalog: Catalog, *, top_k: int = 10, split: str | None = None, workers: int | None = None,
    device: str = "auto",
) -> Probabilities:  # fmt: skip
    """Sigmoids of a checkpoint's head for each image's given and most probable labels.

    Args:
        checkpoint: trained on other images.
        catalog: the images; labels of the head that its hierarchy does not have are left out.
        top_k: labels kept an image beside the given ones.
        split: only this split.
        workers: decoding threads; None is one a core.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        BadArgument: `top_k` below 1.
        BadInput: an image that the checkpoint saw in training; no label in common.
        ImageRejected: an image that cannot be read.
        MissingInput: a checkpoint that does not know which images it saw.
    """
    if top_k < 1:
        raise BadArgument(f"`top_k` must be at least 1. Got {top_k}.")
    given = given_labels.read(catalog, split=split)
    seen = np.intersect1d(given.images, checkpoint.images())
    if len(seen):
        raise BadInput(
            f"{checkpoint.path} was trained on {len(seen):,} of these images, for example {seen[0]}: what it says of them is not "
            "out of sample. Give a checkpoint trained on others, or embeddings to cross-validate."
        )
    tree = catalog.hierarchy
    index = np.array([tree.index(x) if x in tree else -1 for x in checkpoint.labels()], np.int64)
    kept = np.flatnonzero(index >= 0)
    if not len(kept):
        raise BadInput(
            f"no label of {checkpoint.path} is in the hierarchy {tree.name!r}. Give a catalog of its labels."
        )
    column = np.full(tree.num_labels, -1, np.int64)
    column[index[kept]] = np.arange(len(kept))
    config = checkpoint.config
    net = backbone.NetEmbedder(
        backbone.load(checkpoint), name="head", size=config["image_size"], precision=config["precision"], device=device
    )

    def load(i: int, data: bytes) -> NDArray[np.uint8]:
        check_unchanged(int(given.images[i]), data)
        small = images.decode_small(data, side=2 * net.size)
        return images.resize(small, width=net.size, height=net.size)

    keys, values = [], []
    with progress("predict", total=len(given.images), unit="image") as bar:
        found = map_images(catalog, catalog.rows(given.images, columns=PLACE), load, workers=workers)
        for first in range(0, len(given.images), _BATCH):
            batch = np.stack(list(itertools.islice(found, _BATCH)))
            p = torch.from_numpy(net(batch)[:, kept]).sigmoid().numpy()
            k = min(top_k, len(kept))
            best = np.argsort(-p, axis=1, kind="stable")[:, :k]
            labels = given.index[given.start[first] : given.start[first + len(batch)]]
            row = given.owner[given.start[first] : given.start[first + len(batch)]] - first
            mine = column[labels] >= 0
            rows = np.concatenate([np.repeat(np.arange(len(batch)), k), row[mine]])
            columns = np.concatenate([best.ravel(), column[labels][mine]])
            at = np.unique(rows * len(kept) + columns)
            rows, columns = np.divmod(at, len(kept))
            keys.append((rows + first) * tree.num_labels + index[kept][columns])
            values.append(p[rows, columns])
            bar.update(len(batch))
    key, value = np.concatenate(keys), np.concatenate(values)
    order = np.argsort(key)
    row, label = np.divmod(key[order], tree.num_labels)
    start = np.searchsorted(row, np.arange(len(given.images) + 1))
    return Probabilities(tree, given.images, start, label.astype(np.int32), value[order], False)
