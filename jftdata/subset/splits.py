"""Groups of copies and splits: one of each group; training, validation and test, or folds, that no group straddles.

Without `stratify` each image is decided on alone, by a keyed hash of its id (or of the smallest id of its group), so that images
added later change no earlier decision, and sizes are what chance makes of the shares. With `stratify` sizes and labels are as
near to the shares as can be had; then every image matters, and a grown catalog is split anew.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import dedup, ragged
from jftdata.catalog import Catalog, label_arrays
from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.hashing import keyed_hash, keyed_order, uniform
from jftdata.subset.build import Ids, Picked, all_of, builder, ids_of, result, wrapped
from jftdata.subset.core import Subset
from jftdata.subset.recipe import Step

Stratify = Literal["size", "label"] | None
STRADDLING = {"part_a": pl.String(), "part_b": pl.String(), "num_pairs": pl.Int64()}


def split(
    source: Catalog | Subset, *, shares: Mapping[str, float], seed: int, groups: pl.DataFrame | None = None,
    stratify: Stratify = None,
) -> dict[str, Subset]:  # fmt: skip
    """Disjoint parts that together are all images, each what `part` gives.

    Args:
        source: the images.
        shares: of the images by the name of the part, above 0 and 1 in all: {"train": 0.8, "val": 0.1, "test": 0.1}.
        seed: of the keyed hash. Take another one to split a part again under the same names.
        groups: what `dedup.group_pairs` returns; each group goes to one part as a whole.
        stratify: None: each image or group decided on alone. `size`: sizes as near to the shares as whole groups allow, within
            one image without groups. `label`: the images of each given label too, rarest labels first; sizes may then be off by
            some thousandths, since the only image of a label goes to the largest part.

    Returns:
        Parts by name, in the order of `shares`.

    Raises:
        UnknownOption: no such way to stratify.
        BadArgument: shares that are not above 0 or do not add up to 1.
        BadInput: a part without an image, or groups without their columns or with an image twice.

    Cost: one pass over the ids; with `stratify="label"` over the labels too, 5 s and 150 MB for a million images.

    Source: Sechidis et al. 2011 (iterative stratification), with groups in place of images.
    """
    whole = source if isinstance(source, Subset) else all_of(source)
    names = _names(shares)
    own = _assigned(whole, shares, seed, groups, stratify)
    return {name: _part(whole, own == names.index(name), name, shares, seed, groups, stratify) for name in shares}


def k_fold(
    source: Catalog | Subset, *, k: int, seed: int, groups: pl.DataFrame | None = None, stratify: Stratify = None
) -> list[tuple[Subset, Subset]]:
    """Training and validation images of each of k folds; every image is validated on once.

    Args:
        source: the images.
        k: folds, at least 2.
        seed: as for `split`.
        groups: as for `split`.
        stratify: as for `split`.

    Raises:
        BadArgument: fewer than two folds.
        BadInput, UnknownOption: as `split`.
    """
    if k < 2:
        raise BadArgument(f"`k` must be at least 2. Got {k}.")
    whole = source if isinstance(source, Subset) else all_of(source)
    shares = {f"{i:03}": 1 / k for i in range(1, k + 1)}
    own = _assigned(whole, shares, seed, groups, stratify)
    folds = []
    for i, name in enumerate(_names(shares)):
        others = [other for other in shares if other != name]
        train = _part(whole, own != i, others, shares, seed, groups, stratify)
        folds.append((train, _part(whole, own == i, name, shares, seed, groups, stratify)))
    return folds


def _part(
    whole: Subset, chosen: NDArray[np.bool_], part: str | list[str], shares: Mapping[str, float], seed: int,
    groups: pl.DataFrame | None, stratify: Stratify,
) -> Subset:  # fmt: skip
    """What the builder `part` would give, without assigning all images once more."""
    arguments = {"part": part, "shares": shares, "seed": seed, "groups": groups, "stratify": stratify}
    step = Step("part", {name: wrapped(value) for name, value in arguments.items()}, (whole.recipe,))
    return result(whole, whole.images[chosen], step)


def _why_part(
    source: Subset, image: int, *, part: str | Sequence[str], shares: Mapping[str, float], seed: int,
    groups: pl.DataFrame | None, stratify: Stratify,
) -> str:  # fmt: skip
    at = int(np.searchsorted(source.images, image))
    found = _names(shares)[_assigned(source, shares, seed, groups, stratify)[at]]
    unit = int(_units(source, groups)[at])
    return f"it is in {found!r}" + (f", with the group of image {unit}" if unit != image else "")


@builder(why=_why_part)
def part(
    source: Subset, *, part: str | Sequence[str], shares: Mapping[str, float], seed: int,
    groups: pl.DataFrame | None = None, stratify: Stratify = None,
) -> Picked:  # fmt: skip
    """One part, or several, of what `split` gives.

    Args:
        source: as for `split`, and so are the others.
        part: its name, or names.

    Raises:
        UnknownOption: no such part.
        BadArgument, BadInput: as `split`.
    """
    wanted = [part] if isinstance(part, str) else list(part)
    names = _names(shares)
    for name in wanted:
        if name not in names:
            raise one_of("part", name, names)
    own = _assigned(source, shares, seed, groups, stratify)
    return source.images[np.isin(own, [names.index(name) for name in wanted])]


@builder()
def one_per_group(source: Subset, *, groups: pl.DataFrame, keep: Sequence[str] = ("pixels", "bytes")) -> Picked:
    """Images less all but one of each group of copies; images outside the groups stay.

    Args:
        source: where to choose from. A copy that is not in it does not count.
        groups: what `dedup.group_pairs` returns.
        keep: what makes a copy worth keeping, as for `dedup.resolve`.

    Raises:
        UnknownOption: an unknown criterion.
        BadInput: groups without their columns or with an image twice, or a catalog without pixels.
    """
    own = _members(groups).filter(pl.Series(ragged.in_sorted(groups["image"].to_numpy(), source.images)))
    gone = dedup.extra_copies(own, source.catalog, keep=keep).to_numpy()
    return source.images[~ragged.in_sorted(source.images, gone)]


def straddling(parts: Mapping[str, Ids], pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs of copies of which each part has one: what leaks from one part into another.

    Args:
        parts: subsets, or image ids, by name; disjoint.
        pairs: columns `image_a` and `image_b`, what `dedup.find_pairs` or `copies.find` returns.

    Returns:
        Columns of `STRADDLING`, a row for every two parts, also without a pair, in the order of `parts`. Pairs with an image that
        is in no part do not count.

    Raises:
        BadInput: an image in two parts, or pairs without their columns.

    >>> straddling({"train": [1, 2], "test": [3]}, pl.DataFrame({"image_a": [1, 1], "image_b": [2, 3]})).rows()
    [('train', 'test', 1)]
    """
    if not {"image_a", "image_b"} <= set(pairs.columns):
        raise BadInput(f"pairs need the columns image_a and image_b. Got {pairs.columns}.")
    ids = [ids_of(images) for images in parts.values()]
    every = np.concatenate([np.empty(0, np.int64), *ids])
    order = np.argsort(every, kind="stable")
    every = every[order]
    twice = every[1:][every[1:] == every[:-1]]
    if len(twice):
        raise BadInput(f"{len(twice)} images are in two parts, for example {twice[0]}. Give disjoint parts.")
    owner = np.repeat(np.arange(len(ids)), [len(images) for images in ids])[order]
    a, b = pairs["image_a"].to_numpy(), pairs["image_b"].to_numpy()
    both = ragged.in_sorted(a, every) & ragged.in_sorted(b, every)
    a, b = (owner[np.searchsorted(every, images[both])] for images in (a, b))
    counts = np.bincount(np.minimum(a, b) * len(ids) + np.maximum(a, b), minlength=len(ids) ** 2)
    names = list(parts)
    rows = [(names[i], names[j], counts[i * len(ids) + j]) for i in range(len(ids)) for j in range(i + 1, len(ids))]
    return pl.DataFrame(rows, schema=STRADDLING, orient="row")


def _names(shares: Mapping[str, float]) -> list[str]:
    """Parts in the order of the hash; not that of `shares`, which a recipe file may not keep."""
    return sorted(shares)


def _assigned(
    source: Subset, shares: Mapping[str, float], seed: int, groups: pl.DataFrame | None, stratify: Stratify
) -> NDArray[np.int8]:
    """(n,) the part of each image, as a position in `_names`."""
    if not shares or any(not share > 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise BadArgument(f"`shares` must be above 0 and add up to 1. Got {dict(shares)}.")
    if len(shares) > 127:
        raise BadArgument(f"`shares` must name at most 127 parts. Got {len(shares)}.")
    if stratify not in (None, "size", "label"):
        raise one_of("way to stratify", stratify, ("size", "label"))
    names = _names(shares)
    stream = f"split {json.dumps(names)}"  # folds of a training part are drawn afresh
    wanted = np.array([shares[name] for name in names])
    units = _units(source, groups)
    if stratify is None:
        ends = np.cumsum(wanted)[:-1]
        drawn = uniform(keyed_hash(units, seed=seed, stream=stream))
        return np.searchsorted(ends, drawn, side="right").astype(np.int8)
    ids, unit, size = np.unique(units, return_inverse=True, return_counts=True)
    start, index = np.zeros(len(ids) + 1, np.int64), np.empty(0, np.int32)
    if stratify == "label":
        start, index = _labels(source, unit, len(ids))
    order = keyed_order(ids, seed=seed, stream=stream)
    order = order[np.argsort(-size[order], kind="stable")]
    num_labels = source.catalog.hierarchy.num_labels
    found = _stratified(*ragged.take_rows(start, index, order), size[order], wanted, num_labels)
    own = np.empty(len(ids), np.int8)
    own[order] = found
    return own[unit]


def _units(source: Subset, groups: pl.DataFrame | None) -> NDArray[np.int64]:
    """(n,) what is decided on together: the smallest id of an image's group, or its own."""
    units = np.array(source.images)
    if groups is not None:
        rows = _members(groups).sort("image")
        own = rows["image"].to_numpy()
        there = ragged.in_sorted(units, own)
        smallest = rows.select(pl.col("image").min().over("group"))["image"].to_numpy()
        units[there] = smallest[np.searchsorted(own, units[there])]
    return units


def _members(groups: pl.DataFrame) -> pl.DataFrame:
    """Columns `group` and `image`.

    Raises:
        BadInput: one is missing, or an image is in two groups.
    """
    if not set(dedup.GROUPS) <= set(groups.columns):
        raise BadInput(f"groups need the columns {', '.join(dedup.GROUPS)}. Give what dedup.group_pairs returns.")
    twice = groups["image"].filter(groups["image"].is_duplicated())
    if len(twice):
        raise BadInput(f"image {twice[0]} is in groups twice. Group all pairs together.")
    return groups.select("group", "image")


def _labels(source: Subset, unit: NDArray[np.intp], num_units: int) -> ragged.Ragged:
    """Given labels of each unit, one entry an image and label."""

    def read(rows: Any) -> tuple[int, NDArray[np.int64], NDArray[np.int32]]:
        start, index = label_arrays(rows.column("labels"))
        return len(rows), np.diff(start), index

    pieces = list(source.map_rows(read, columns=["labels"]))
    owner = np.repeat(unit, np.concatenate([lengths for _, lengths, _ in pieces]))
    label = np.concatenate([index for _, _, index in pieces])
    start = np.zeros(num_units + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=num_units), out=start[1:])
    return start, label[np.argsort(owner, kind="stable")]


@numba.njit(cache=True, nogil=True)
def _stratified(
    start: NDArray[Any], index: NDArray[Any], size: NDArray[Any], wanted: NDArray[Any], num_labels: int
) -> NDArray[Any]:
    """The part of each unit: the rarest label left first, its units in order to the part that lacks most of it."""
    num = len(size)
    left = np.zeros(num_labels, np.int64)
    for label in index:
        left[label] += 1
    begin = np.zeros(num_labels + 1, np.int64)
    begin[1:] = np.cumsum(left)
    fill = begin[:-1].copy()
    members = np.empty(len(index), np.int64)
    for u in range(num):
        for label in index[start[u] : start[u + 1]]:
            members[fill[label]] = u
            fill[label] += 1
    lacking = np.outer(left.astype(np.float64), wanted)  # (labels, parts)
    room = wanted * size.sum()
    part = np.full(num, -1, np.int8)
    for _ in range(num_labels):
        rarest = -1
        for label in range(num_labels):
            if left[label] > 0 and (rarest < 0 or left[label] < left[rarest]):
                rarest = label
        if rarest < 0:
            break
        for u in members[begin[rarest] : begin[rarest + 1]]:
            if part[u] >= 0:
                continue
            best = 0
            for p in range(1, len(wanted)):
                more = lacking[rarest, p] - lacking[rarest, best]
                if more > 1e-9 or (more > -1e-9 and room[p] > room[best]):
                    best = p
            part[u] = best
            room[best] -= size[u]
            for label in index[start[u] : start[u + 1]]:
                lacking[label, best] -= 1
                left[label] -= 1
    for u in range(num):
        if part[u] < 0:
            part[u] = np.argmax(room)
            room[part[u]] -= size[u]
    return part
