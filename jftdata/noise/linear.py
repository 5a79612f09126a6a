"""Out-of-sample probabilities from embeddings: a linear model, cross-validated, so that no image is judged by itself.

Softmax regression over given labels, an image with several counting for each in part; or one logistic regression a label, in which
an image given `fruit` counts for `fruit` and says nothing of `apple`. Cost: about 4 n d K multiply-adds a step, 60 steps a fold;
10,000 images of 512 dimensions and 344 labels take half a minute on two cores. Memory: blocks of images by labels, never all.
"""

from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from jftdata import ragged
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.hashing import keyed_hash
from jftdata.hierarchy import targets
from jftdata.noise.given import Given, rows_in, vectors_of
from jftdata.noise.probabilities import Probabilities
from jftdata.progress import progress

Kind = Literal["auto", "softmax", "logistic"]
PENALTY = 1e-2
"""Half the squared weights, on standardised features, times this are added to the mean log loss."""
_STEPS = 60
_CELLS = 1 << 25  # images by labels at a time


def cross_validated(
    given: Given, embeddings: Embeddings, *, kind: Kind = "auto", num_folds: int = 5, top_k: int = 10, min_images: int = 5,
    groups: pl.DataFrame | None = None, seed: int = 0,
) -> Probabilities:  # fmt: skip
    """Probabilities of each image's given and most probable labels, from models fitted on the other folds.

    In a softmax those below a given label are kept too: they speak for it.

    Args:
        given: `noise.read(catalog)`.
        embeddings: a vector for each image.
        kind: `softmax`, in which labels compete, `logistic`, in which each is for itself; `auto` is softmax where no image
            has two labels.
        num_folds: models; an image's fold is a keyed hash of its id, or of its group's.
        top_k: labels kept an image beside the given ones.
        min_images: labels given to fewer images, or only within one fold, are not modelled and get no probability.
        groups: what `dedup.group_pairs` returns: copies share a fold.
        seed: of the folds.

    Returns:
        Probabilities of every image, those without a label too. The same up to rounding whatever the threads.

    Raises:
        BadArgument: a number out of range.
        UnknownOption: no such kind.
        BadInput: an image without a vector; fewer than two labels to model.
    """
    if kind not in ("auto", "softmax", "logistic"):
        raise one_of("kind", kind, ("auto", "softmax", "logistic"))
    for name, number, least in (("num_folds", num_folds, 2), ("top_k", top_k, 1), ("min_images", min_images, 1)):
        if number < least:
            raise BadArgument(f"`{name}` must be at least {least}. Got {number}.")
    exclusive = kind == "softmax" or (kind == "auto" and bool((np.diff(given.start) <= 1).all()))
    fold = _folds(given, num_folds, groups, seed)
    seen = np.unique(fold[given.owner] * given.tree.num_labels + given.index)
    in_folds = np.bincount(seen % given.tree.num_labels, minlength=given.tree.num_labels)
    modelled = np.flatnonzero((given.counts >= min_images) & (in_folds > 1))
    if len(modelled) < 2:
        raise BadInput(
            f"{len(modelled)} labels are given to {min_images} images or more of several folds, expected at least 2. Lower "
            "min_images or add images."
        )
    x = _standardised(vectors_of(given, embeddings).vectors)
    start, column, weight, unknown_start, unknown = _targets(given, modelled, exclusive)
    has = np.diff(start) > 0
    parts: list[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]] = []
    with progress("cross-validate", total=num_folds, unit="fold") as bar:
        for i in range(num_folds):
            rows = np.flatnonzero((fold != i) & has)
            held = np.flatnonzero(fold == i)
            if len(held):
                w, b = _solve(x, rows, (start, column, weight), (unknown_start, unknown), len(modelled), exclusive)
                parts.append(_predict(x, held, w, b, given, modelled, exclusive, top_k))
            bar.update(1)
    row, label, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((label, row))
    begins = np.searchsorted(row[order], np.arange(len(given.images) + 1))
    return Probabilities(given.tree, given.images, begins, label[order], value[order], exclusive)


def _folds(given: Given, num_folds: int, groups: pl.DataFrame | None, seed: int) -> NDArray[np.int64]:
    key = group_of(given, groups)
    return (keyed_hash(key, seed=seed, stream="noise folds") % np.uint64(num_folds)).astype(np.int64)


def group_of(given: Given, groups: pl.DataFrame | None) -> NDArray[np.int64]:
    """(n,) the group of each image, or the image itself where it is in none.

    Raises:
        BadInput: a column missing.
    """
    key = given.images.copy()
    if groups is not None:
        for column in ("image", "group"):
            if column not in groups.columns:
                raise BadInput(f"groups have no column {column!r}. Give what dedup.group_pairs returns.")
        mine = groups.filter(pl.col("image").is_in(pl.Series(given.images).implode()))
        key[rows_in(given.images, mine["image"].to_numpy(), "")] = mine["group"].to_numpy()
    return key


def _standardised(vectors: NDArray[np.float32]) -> torch.Tensor:
    mean, scale = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    scale[scale < 1e-6] = 1.0  # a dead feature stays zero
    return torch.from_numpy(((vectors - mean.astype(np.float32)) / scale.astype(np.float32)).astype(np.float32))


def _targets(
    given: Given, modelled: NDArray[np.int64], exclusive: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Of each image the columns that are positive with their weights, and those that nothing is known of."""
    tree, num = given.tree, given.tree.num_labels
    column = np.full(num, -1, np.int64)
    column[modelled] = np.arange(len(modelled))

    def columns(start: NDArray[np.int64], index: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        found = column[index]
        keep = found >= 0
        row = ragged.owners(start)[keep]
        return np.searchsorted(row, np.arange(len(start))), found[keep]

    if exclusive:
        start, positive = columns(given.start, given.index)
        none = np.zeros(len(start), np.int64)
        weight = np.repeat(1 / np.maximum(np.diff(start), 1), np.diff(start)).astype(np.float32)
        return start, positive, weight, none, np.empty(0, np.int64)
    above = targets.fill_in(tree, given.start, given.index)
    below_start, below = ragged.transpose(tree.ancestor_start, tree.ancestor_index, num)
    cut, more = ragged.take_rows(below_start, below, given.index)
    row = np.repeat(given.owner, np.diff(cut))
    keys = np.setdiff1d(row * num + more, ragged.owners(above[0]) * num + above[1])
    start, positive = columns(*above)
    unknown_start, unknown = columns(*ragged.from_keys(keys, num_rows=len(given.images), width=num))
    return start, positive, np.ones(len(positive), np.float32), unknown_start, unknown


def _solve(
    x: torch.Tensor, rows: NDArray[np.int64], positive: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    unknown: tuple[NDArray[np.int64], NDArray[np.int64]], num_columns: int, exclusive: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Weights and bias by L-BFGS; the loss is summed over blocks of images in a fixed order."""
    n, d = len(rows), x.shape[1]
    step = max(1, _CELLS // num_columns)
    blocks = []
    for first in range(0, n, step):
        some = rows[first : first + step]
        cut, at = ragged.take_rows(positive[0], np.arange(len(positive[1])), some)  # type: ignore[arg-type]
        hidden_cut, hidden = ragged.take_rows(unknown[0], unknown[1], some)  # type: ignore[arg-type]
        flat = ragged.owners(cut) * num_columns + positive[1][at]
        blank = ragged.owners(hidden_cut) * num_columns + hidden
        blocks.append((x[torch.from_numpy(some)], *map(torch.from_numpy, (flat, positive[2][at], blank))))
    w, b = torch.zeros(d, num_columns), torch.zeros(num_columns)
    solver = torch.optim.LBFGS(
        [w, b], max_iter=_STEPS, tolerance_grad=1e-6, tolerance_change=1e-8, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        w.grad, b.grad = w * PENALTY, torch.zeros_like(b)
        total = 0.5 * PENALTY * float(w.square().sum())
        for features, flat, weight, blank in blocks:
            scores = torch.addmm(b, features, w)
            if exclusive:
                error = torch.log_softmax(scores, dim=1)
                total -= float((error.view(-1)[flat] * weight).sum()) / n
                error.exp_()
            else:
                cost = torch.nn.functional.softplus(scores)
                cost.view(-1)[blank] = 0.0
                total += float(cost.sum() - scores.view(-1)[flat].sum()) / n
                error = scores.sigmoid_()
                error.view(-1)[blank] = 0.0
            error.view(-1)[flat] -= weight
            error /= n
            w.grad.addmm_(features.T, error)
            b.grad += error.sum(dim=0)
        return total

    with torch.no_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return w, b


def _predict(
    x: torch.Tensor, rows: NDArray[np.int64], w: torch.Tensor, b: torch.Tensor, given: Given, modelled: NDArray[np.int64],
    exclusive: bool, top_k: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:  # fmt: skip
    """Row, label and probability of the given and the most probable labels, each once."""
    num, step = given.tree.num_labels, max(1, _CELLS // len(modelled))
    column = np.full(num, -1, np.int64)
    column[modelled] = np.arange(len(modelled))
    below = ragged.transpose(given.tree.ancestor_start, given.tree.ancestor_index, num)
    found_rows, found_labels, found_values = [], [], []
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        scores = torch.addmm(b, x[torch.from_numpy(some)], w)
        values = (torch.softmax(scores, dim=1) if exclusive else scores.sigmoid_()).numpy()
        k = min(top_k, len(modelled))
        best = np.argpartition(-values, k - 1, axis=1)[:, :k]
        cut, labels = ragged.take_rows(given.start, given.index, some)
        owner = ragged.owners(cut)
        if exclusive:
            lengths, more = ragged.take_rows(*below, labels)
            owner, labels = np.concatenate([owner, np.repeat(owner, np.diff(lengths))]), np.concatenate([labels, more])
        mine = column[labels]
        row = np.concatenate([np.repeat(np.arange(len(some)), k), owner[mine >= 0]])
        keys = ragged.unique(row * len(modelled) + np.concatenate([best.ravel(), mine[mine >= 0]]))
        row, at = keys // len(modelled), keys % len(modelled)
        found_rows.append(some[row])
        found_labels.append(modelled[at].astype(np.int32))
        found_values.append(values[row, at])
    return np.concatenate(found_rows), np.concatenate(found_labels), np.concatenate(found_values)
