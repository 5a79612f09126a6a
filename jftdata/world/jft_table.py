"""A label table with the published proportions of JFT-300M: 300M images, 375M labels, 18,291 labels, no pixels.

What is published of JFT-300M holds exactly: the depth, the largest number of children, the numbers of animals and
vehicles, the sizes of the named labels, how many labels are rare. The rest (names, which label lies where, the shape of
the curve between the published points) is ours. Source: Sun et al. 2017, section 3.

Cost: 300M images take about two minutes and 4 GB of disk on two cores.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jftdata import storage
from jftdata.catalog import FORMAT, Catalog
from jftdata.errors import BadArgument
from jftdata.hashing import keyed_hash, stream_key, uniform
from jftdata.hierarchy import Hierarchy
from jftdata.permute import mix, permuted
from jftdata.progress import progress

NUM_IMAGES = 300_000_000
NUM_LABELS = 18_291
MAX_DEPTH = 12
MAX_CHILDREN = 2_876
NUM_BELOW = {"animal": 1_165, "vehicle": 5_720}
NUM_GIVEN = {"flower": 2_100_000, "subaru 360": 3_250, "train conductor": 131}
NUM_BELOW_20, NUM_BELOW_100 = 2_000, 3_050
"""Rare labels by images given; the paper says about 2,000 and more than 3,000."""
LABELS_AN_IMAGE = (0.80, 0.16, 0.03, 0.01)
"""Shares of images with 1, 2, 3 and 4 labels: 1.25 on average."""
NUM_HEAD = 400
"""Commonest labels, from which an image's second to fourth label come; counts of the others are exact."""
_BRANCHES = ("artefact", "person", "plant", "food", "place", "activity", "event", "substance")
_ROUNDS = 4
"""Of the permutations that deal labels out: even enough here, and half the time of `permute.ROUNDS`."""
_ROW_GROUP = 1 << 20
_FILE_ROWS = 16 * _ROW_GROUP


def jft300m(num_images: int = NUM_IMAGES, seed: int = 0, *, out: Path | str, workers: int | None = None) -> Catalog:
    """Write a catalog without pixels whose labels are distributed like those of JFT-300M.

    Args:
        num_images: with fewer than 300M, every label's count shrinks in proportion, to zero for the rarest.
        seed: draws the image ids and which images share which labels; the hierarchy is the same for all.
        out: folder of the catalog.
        workers: threads; the bytes do not depend on them.

    Returns:
        A catalog with the columns `image`, `split` and `labels`.

    Raises:
        BadArgument: fewer than 100 images.
        OutputExists: another catalog is there.
    """
    if not 100 <= num_images <= 1 << 40:
        raise BadArgument(f"`num_images` must be in 100..{1 << 40}. Got {num_images}.")
    tree = hierarchy()
    made_with = {"source": "jft300m", "num_images": num_images, "seed": seed}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs={}) as build:
        if build is not None:
            (build.folder / "images").mkdir(exist_ok=True)
            tree.save(build.folder / "hierarchy.tsv")
            table = _Table(num_images, seed)
            write = functools.partial(_write_file, table, build.folder / "images", num_images)
            with (
                ThreadPoolExecutor(workers or os.cpu_count()) as pool,
                progress("label table", total=num_images, unit="image") as bar,
            ):
                for num_rows in pool.map(write, range(0, num_images, _FILE_ROWS)):
                    bar.update(num_rows)
            build.facts.update({
                "num_images": num_images, "num_rejected": 0, "num_duplicates": 0, "num_input": num_images,
                "num_given_labels": table.num_given, "num_unlabelled": 0, "splits": {"train": num_images},
                "rejected": {}, "has_pixels": False,
            })  # fmt: skip
    return Catalog.open(out)


@functools.cache
def hierarchy() -> Hierarchy:
    """18,291 labels in the published proportions, one in fifty with a second parent.

    >>> tree = hierarchy()
    >>> tree.num_labels, tree.max_depth, tree.max_children, tree.most_children()
    (18291, 12, 2876, 'car')
    >>> int(tree.subtree_sizes()[tree.index("animal")]), int(tree.subtree_sizes()[tree.index("vehicle")])
    (1165, 5720)
    """
    edges: list[tuple[str, str]] = []
    depth = {"entity": 0}

    def hang(label: str, parent: str) -> None:
        edges.append((parent, label))
        depth[label] = depth[parent] + 1

    def grow(root: str, num: int, *named: str) -> list[str]:
        """Hang `num` labels below `root`, each below one of the first quarter so far, a fiftieth below another too."""
        labels = [root]
        names = [*(f"{root} {i:04d}" for i in range(1, num - len(named) + 1)), *named]
        draw = uniform(keyed_hash(np.arange(3 * num), seed=0, stream=f"jft300m {root}")).reshape(num, 3)
        for name, (first, second, also) in zip(names, draw.tolist(), strict=True):
            open_ = [x for x in labels[: max(1, len(labels) // 4)] if depth[x] < MAX_DEPTH - 1]
            hang(name, open_[int(first * len(open_))])
            if also < 0.02:
                lower = [x for x in open_ if depth[x] < depth[name] and (x, name) != edges[-1]]
                edges.extend([(lower[int(second * len(lower))], name)] if lower else [])
            labels.append(name)
        return labels

    for branch in ("animal", "vehicle", *_BRANCHES):
        hang(branch, "entity")
    grow("animal", NUM_BELOW["animal"])
    hang("car", "vehicle")
    for name in ("subaru 360", *(f"car {i:04d}" for i in range(1, MAX_CHILDREN))):
        hang(name, "car")
    grow("vehicle", NUM_BELOW["vehicle"] - MAX_CHILDREN - 1)
    deepest = "artefact"
    for i in range(2, MAX_DEPTH + 1):
        hang(f"artefact of depth {i:02d}", deepest)
        deepest = f"artefact of depth {i:02d}"
    left = NUM_LABELS - len(depth)
    named = {"person": ("train conductor",), "plant": ("flower",)}
    for i, branch in enumerate(_BRANCHES):
        share = left // len(_BRANCHES) + (i < left % len(_BRANCHES))
        grow(branch, share, *named.get(branch, ()))
    return Hierarchy.from_edges(edges, name="jft300m")


def given_counts(num_images: int = NUM_IMAGES) -> NDArray[np.int64]:
    """(num_labels,) how often each label of `hierarchy()` is given.

    >>> n = given_counts()
    >>> int(n.sum()), int((n < 20).sum()), int((n < 100).sum()), int(n[hierarchy().index("subaru 360")])
    (375000000, 2000, 3050, 3250)
    """
    tree = hierarchy()
    draw = uniform(keyed_hash(np.arange(tree.num_labels), seed=0, stream="jft300m rank"))
    order = np.argsort(draw)
    leaf = np.array([not tree.child_lists[i] for i in order])
    rare = np.flatnonzero(leaf)[-NUM_BELOW_100:]  # inner labels gather what lies below them
    order = np.concatenate([np.delete(order, rare), order[rare]])
    curve = _curve()
    for name, wanted in NUM_GIVEN.items():
        at = int(np.abs(curve - wanted).argmin())
        was = int(np.flatnonzero(order == tree.index(name))[0])
        order[at], order[was] = order[was], order[at]
        curve[0] += curve[at] - wanted
        curve[at] = wanted
    counts = np.empty(tree.num_labels, np.int64)
    counts[order] = curve
    return _apportion(counts, num_images + int(_num_further(num_images).sum()))


def _curve() -> NDArray[np.int64]:
    """Images a label at full size, the commonest first: a shifted power law down to 100 images, then straight lines."""
    rare = np.concatenate([
        np.linspace(99, 20, NUM_BELOW_100 - NUM_BELOW_20), np.linspace(19.99, 1, NUM_BELOW_20)
    ]).astype(np.int64)  # fmt: skip
    total = NUM_IMAGES + int(_num_further(NUM_IMAGES).sum()) - int(rare.sum())
    rank = np.arange(1, NUM_LABELS - len(rare) + 1) + 100.0
    low, high = 1.0, 4.0
    for _ in range(60):
        power = (low + high) / 2
        low, high = (power, high) if (100 * (rank[-1] / rank) ** power).sum() < total else (low, power)
    common = np.ceil(100 * (rank[-1] / rank) ** low).astype(np.int64)
    common[0] += total - common.sum()
    return np.concatenate([common, rare])


def _num_further(num_images: int) -> NDArray[np.int64]:
    """Images with a second, third and fourth label."""
    shares = [sum(LABELS_AN_IMAGE[k:]) for k in range(1, len(LABELS_AN_IMAGE))]
    return np.array([round(share * num_images) for share in shares], np.int64)


def _apportion(weights: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to the weights that sum to `total`, by largest remainders."""
    exact = weights * (total / weights.sum())
    out: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    out[np.argsort(out - exact, kind="stable")[: total - int(out.sum())]] += 1
    return out


class _Table:
    """What the compiled loop needs to make any of the rows."""

    def __init__(self, num_images: int, seed: int) -> None:
        counts = given_counts(num_images)
        further = _num_further(num_images)
        self.num_given = int(counts.sum())
        head = np.argsort(-counts, kind="stable")[:NUM_HEAD]
        of_head = _apportion(counts[head], int(further.sum()))
        first = counts.copy()
        first[head] -= of_head
        self._arguments = (
            num_images, further, *_lookup(first), *_lookup(of_head), head.astype(np.int32),
            np.array([stream_key(seed, f"jft300m {what}") for what in ("first", "number", "further", "id")], np.uint64),
        )  # fmt: skip

    def rows(self, first: int, last: int) -> pa.Table:
        """Rows first to last."""
        num = last - first
        images, start = np.empty(num, np.int64), np.zeros(num + 1, np.int32)
        labels = np.empty(num * len(LABELS_AN_IMAGE), np.int32)
        _draw(first, *self._arguments, images, start, labels)
        split = pa.DictionaryArray.from_arrays(np.zeros(num, np.int8), ["train"])
        lists = pa.ListArray.from_arrays(start, labels[: start[-1]])
        return pa.table({"image": images, "split": split, "labels": lists})


def _write_file(table: _Table, folder: Path, num_images: int, first: int) -> int:
    """One file of up to 16 row groups; returns its rows."""
    last = min(first + _FILE_ROWS, num_images)
    with storage.atomic_path(folder / f"{first // _FILE_ROWS:05d}.parquet") as temp:
        piece = table.rows(first, first)
        with pq.ParquetWriter(
            temp, piece.schema, compression="none", use_dictionary=["split", "labels.list.element"],
            column_encoding={"image": "DELTA_BINARY_PACKED"}, write_statistics=False, store_schema=False,
        ) as writer:  # fmt: skip
            for at in range(first, last, _ROW_GROUP):
                writer.write_table(table.rows(at, min(at + _ROW_GROUP, last)), row_group_size=_ROW_GROUP)
    return last - first


def _lookup(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
    """Where each label's slots end, the label of every 2^shift-th slot, and the shift."""
    ends = np.cumsum(counts)
    shift = max(0, int(ends[-1]).bit_length() - 16)
    every = np.arange(0, int(ends[-1]) + 1, 1 << shift)
    return ends, np.searchsorted(ends, every, side="right").astype(np.int32), shift


@numba.njit(cache=True, nogil=True)
def _draw(
    first_row: int, num_images: int, further: NDArray[Any], ends: NDArray[Any], at: NDArray[Any], shift: int,
    head_ends: NDArray[Any], head_at: NDArray[Any], head_shift: int, head: NDArray[Any], keys: NDArray[Any],
    images: NDArray[Any], start: NDArray[Any], labels: NDArray[Any],
) -> None:  # fmt: skip
    """Ids and labels of consecutive images; every image takes label slots that three permutations deal out."""
    side = np.int64(np.ceil(np.sqrt(num_images)))
    num_further = further.sum()
    further_side = np.int64(np.ceil(np.sqrt(num_further)))
    gap = (np.int64(1) << np.int64(62)) // num_images * 2
    out = 0
    for row in range(len(images)):
        i = first_row + row
        images[row] = i * gap + np.int64(mix(np.uint64(i) + keys[3]) % np.uint64(gap))
        begin = out
        slot = permuted(i, num_images, side, keys[0], _ROUNDS)
        label = at[slot >> shift]
        while ends[label] <= slot:
            label += 1
        labels[out] = label
        out += 1
        number = permuted(i, num_images, side, keys[1], _ROUNDS)
        before = 0
        for k in range(len(further)):
            if number >= further[k]:
                break
            slot = permuted(before + number, num_further, further_side, keys[2], _ROUNDS)
            which = head_at[slot >> head_shift]
            while head_ends[which] <= slot:
                which += 1
            fresh = False
            while not fresh:  # a label the image has already gives way to the next
                fresh = True
                for j in range(begin, out):
                    if labels[j] == head[which]:
                        fresh = False
                        which = (which + 1) % len(head)
                        break
            labels[out] = head[which]
            out += 1
            before += further[k]
        labels[begin:out].sort()
        start[row + 1] = out
