"""Sets of subsets: union, intersection, difference, mixing by ratio, weights, and what two subsets differ in.

`a | b`, `a & b` and `a - b` do the same as `union`, `intersection` and `difference`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import tail
from jftdata.errors import BadArgument, BadInput
from jftdata.ragged import in_sorted, unique
from jftdata.subset.build import BUILDERS, Builder, Ids, Picked, builder, members, result
from jftdata.subset.core import Subset
from jftdata.subset.recipe import Step


def _many(pick: Callable[..., Picked]) -> Callable[..., Subset]:
    def build(*sources: Subset) -> Subset:
        if len(sources) < 2:
            raise BadArgument(f"{pick.__name__} needs two subsets or more. Got {len(sources)}.")
        first = sources[0].catalog
        for other in sources[1:]:
            if other.catalog.fingerprint != first.fingerprint:
                raise BadInput(
                    f"subsets of two catalogs, {first.path} and {other.catalog.path}, cannot be one. Merge the catalogs."
                )
        step = Step(pick.__name__, {}, tuple(source.recipe for source in sources))
        return result(Subset(first, None, step), pick(*sources), step)

    BUILDERS[pick.__name__] = Builder(build, many=True, why=None)
    build.__name__, build.__doc__ = pick.__name__, pick.__doc__
    return build


@_many
def union(*sources: Subset) -> Picked:
    """Images of any of the subsets, with the largest of their weights.

    Raises:
        BadInput: subsets of two catalogs.
    """
    ids = unique(np.concatenate([source.images for source in sources]))
    if all(source.weights is None for source in sources):
        return ids
    weights = np.zeros(len(ids))
    for source in sources:
        at = np.searchsorted(ids, source.images)
        weights[at] = np.maximum(weights[at], 1.0 if source.weights is None else source.weights)
    return ids, weights


@_many
def intersection(*sources: Subset) -> Picked:
    """Images that all of the subsets have, with the weights of the first.

    Raises:
        BadInput: subsets of two catalogs, or no image in common.
    """
    kept = np.ones(len(sources[0]), np.bool_)
    for other in sources[1:]:
        kept &= in_sorted(sources[0].images, other.images)
    return _some(sources[0], kept)


@_many
def difference(*sources: Subset) -> Picked:
    """Images of the first subset that none of the others has, with their weights.

    Raises:
        BadInput: subsets of two catalogs, or no image left.
    """
    kept = np.ones(len(sources[0]), np.bool_)
    for other in sources[1:]:
        kept &= ~in_sorted(sources[0].images, other.images)
    return _some(sources[0], kept)


@builder()
def mix(
    source: Subset, *, parts: Mapping[str, Ids], ratios: Mapping[str, float], images_an_epoch: int | None = None
) -> Picked:
    """Images of several parts, weighted so that an epoch has them in a given ratio (clean and noisy, ImageNet and JFT).

    Args:
        source: what all parts lie in; for two catalogs, their merged one (`merge.catalogs`).
        parts: image ids or a subset by name. An image of two parts comes as often as both ask.
        ratios: share of the epoch by name, in any unit.
        images_an_epoch: length of an epoch; None is the number of images.

    Raises:
        BadArgument: names that differ, or a ratio that is not above 0.
        BadInput: an image that is not in the source, or a part without one.
    """
    if not parts or parts.keys() != ratios.keys() or any(not ratio > 0 for ratio in ratios.values()):
        raise BadArgument(f"`ratios` needs a number above 0 for each of {list(parts)}. Got {dict(ratios)}.")
    chosen = {name: members(source, images) for name, images in parts.items()}
    for name, images in chosen.items():
        if not len(images):
            raise BadInput(f"part {name!r} has no image. Leave it out.")
    ids = unique(np.concatenate(list(chosen.values())))
    length = len(ids) if images_an_epoch is None else images_an_epoch
    if length < 1:
        raise BadArgument(f"`images_an_epoch` must be at least 1. Got {length}.")
    weights, total = np.zeros(len(ids)), sum(ratios.values())
    for name, images in chosen.items():
        weights[np.searchsorted(ids, images)] += ratios[name] / total * length / len(images)
    return ids, weights


@builder()
def weighted(source: Subset, *, weights: pl.DataFrame) -> Picked:
    """All images, with given weights.

    Args:
        source: the images.
        weights: columns `image` and `weight` (how often in an epoch, on average, above 0), a row for each image.

    Raises:
        BadInput: an image without a weight or with two, or a weight that is not above 0 and finite.
    """
    if not {"image", "weight"} <= set(weights.columns):
        raise BadInput(f"weights need the columns `image` and `weight`. Got {weights.columns}.")
    rows = weights.sort("image")
    ids, values = rows["image"].to_numpy(), rows["weight"].cast(pl.Float64).to_numpy()
    if (ids[1:] == ids[:-1]).any():
        raise BadInput(f"image {ids[1:][ids[1:] == ids[:-1]][0]} has two weights. Give each image once.")
    missing = ~in_sorted(source.images, ids)
    if missing.any():
        raise BadInput(f"{missing.sum()} images have no weight, for example {source.images[missing][0]}. Give all.")
    values = values[np.searchsorted(ids, source.images)]
    if not (np.isfinite(values) & (values > 0)).all():
        wrong = ~(np.isfinite(values) & (values > 0))
        raise BadInput(
            f"image {source.images[wrong][0]} has the weight {values[wrong][0]}, expected above 0. Leave it out."
        )
    return np.asarray(source.images), values


def diff(old: Subset, new: Subset) -> dict[str, Any]:
    """What changed from one subset to another, of the same catalog or of a grown one.

    Returns:
        `both`, `only_old`, `only_new` (numbers of images), `images_only_old` and `images_only_new` (ids, ascending) and
        `tail`, what `tail.compare` says of the labels (None for catalogs of other labels).
    """
    gone = old.images[~in_sorted(old.images, new.images)]
    came = new.images[~in_sorted(new.images, old.images)]
    same = old.catalog.hierarchy.labels == new.catalog.hierarchy.labels
    return {
        "both": len(old) - len(gone), "only_old": len(gone), "only_new": len(came), "images_only_old": gone,
        "images_only_new": came, "tail": tail.compare(old.counts, new.counts) if same else None,
    }  # fmt: skip


def _some(source: Subset, kept: NDArray[np.bool_]) -> Picked:
    return source.images[kept] if source.weights is None else (source.images[kept], source.weights[kept])
