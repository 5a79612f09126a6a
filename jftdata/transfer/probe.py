"""Frozen features judged without training the network: nearest neighbours, a linear probe, few-shot ridge regression."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jftdata import embed, neighbors
from jftdata.embeddings import Embeddings
from jftdata.hashing import keyed_order
from jftdata.transfer.labelled import Labelled, read
from jftdata.transfer.metrics import top_k
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.task import Inputs, Mode, Score

KNN_K = (10, 20, 100, 200)
"""Numbers of neighbours, as far as there are so many training images."""
KNN_TEMPERATURE = 0.07
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Swept L2 penalties of the linear probe, as half the squared weights times the penalty beside the mean log loss."""
SHOTS = (1, 5, 10, 25)
"""Training images a class of the few-shot task, as far as every class has so many."""
RIDGE_PENALTIES = tuple(4.0**i for i in range(-6, 7))
"""Swept penalties of the few-shot task, on the sum of squared errors of unit-length features."""
DRAWS = 3
"""Draws of the few-shot training images; the score is their mean."""
_HELD_OUT = 0.2


class Probe:
    """What the tasks on frozen features share."""

    modes: tuple[Mode, ...] = ("frozen",)
    recipes: Mapping[str, Recipe] = {}

    def read(self, data: Any, *, cache: Path, workers: int | None) -> Labelled:
        """See `labelled.read`."""
        return read(data, cache=cache, workers=workers)


class Knn(Probe):
    """k nearest training images, votes weighted by exp(similarity / 0.07); one metric for each k."""

    def __call__(self, inputs: Inputs[Labelled, None]) -> list[Score]:
        train, test = features(inputs)
        target, answer = inputs.data.targets
        ks = [k for k in KNN_K if k <= len(train)] or [len(train)]
        positions, similarity = neighbors.nearest(test, train, k=max(ks))
        out = []
        for k in ks:
            votes = np.zeros((len(test), len(inputs.data.classes)))
            weight = np.exp((similarity[:, :k] - 1.0) / KNN_TEMPERATURE)
            np.add.at(votes, (np.arange(len(test))[:, None], target[positions[:, :k]]), weight)
            settings = {"k": k, "temperature": KNN_TEMPERATURE}
            out.append(Score.of_mean(f"top-1 (k={k})", top_k(votes, answer, k=1), settings))
        return out


class LinearProbe(Probe):
    """Multinomial logistic regression on standardised features, solved exactly by L-BFGS; the penalty is chosen on held-out
    training images and reported."""

    def __call__(self, inputs: Inputs[Labelled, None]) -> list[Score]:
        train, test = features(inputs)
        x, mean, scale = _standardise(train.vectors)
        y, answer = inputs.data.targets
        classes = len(inputs.data.classes)
        order = keyed_order(train.images, seed=inputs.seed, stream="probe held out")
        cut = max(1, round(_HELD_OUT * len(order)))
        held, fit = order[:cut], order[cut:]
        sweep: dict[float, float] = {}
        start = None
        for penalty in sorted(PENALTIES, reverse=True):  # each answer is close to the next one
            w, b = start = solve(x[fit], y[fit], num_classes=classes, penalty=penalty, start=start)
            sweep[penalty] = float(top_k(x[held] @ w + b, y[held], k=1).mean())
        best = max(PENALTIES, key=lambda p: (sweep[p], p))
        w, b = solve(x, y, num_classes=classes, penalty=best)
        scores = ((np.asarray(test.vectors) - mean) / scale) @ w + b
        settings = {"penalty": best, "sweep": sweep}
        return [Score.of_mean(f"top-{k}", top_k(scores, answer, k=k), settings) for k in (1, 5)]


class FewShot(Probe):
    """Ridge regression onto one-hot classes, in closed form, from 1, 5, 10 or 25 training images a class; top-1, the mean of three
    draws. The larger draws hold the smaller. The penalty is the one with the least leave-one-out error.

    Source: Kolesnikov et al. 2020 (1912.11370), section 3, for the protocol.
    """

    def __call__(self, inputs: Inputs[Labelled, None]) -> list[Score]:
        train, test = features(inputs)
        target, answer = inputs.data.targets
        classes = len(inputs.data.classes)
        smallest = int(np.bincount(target, minlength=classes).min())
        drawn = [_ranks(train.images, target, seed=inputs.seed * DRAWS + draw) for draw in range(DRAWS)]
        out = []
        for shots in [n for n in SHOTS if n <= smallest]:
            right, penalties = np.zeros(len(test)), []
            for place in drawn:
                rows = np.flatnonzero(place < shots)
                w, b, penalty = ridge(np.asarray(train.vectors)[rows], target[rows], num_classes=classes)
                right += top_k(np.asarray(test.vectors, np.float64) @ w + b, answer, k=1) / DRAWS
                penalties.append(penalty)
            out.append(Score.of_mean(f"top-1 ({shots} a class)", right, {"draws": DRAWS, "penalties": penalties}))
        return out


def features(inputs: Inputs[Labelled, Any]) -> tuple[Embeddings, Embeddings]:
    """The checkpoint's features of the training and test images, unit length; computed once for all tasks that share a cache."""
    data, checkpoint = inputs.data, inputs.checkpoint
    at = inputs.cache / f"{checkpoint.fingerprint[:16]}-{data.fingerprint[:16]}"
    device = str(inputs.ranks.device)
    found = embed.run(
        data.catalog, embedder=checkpoint, out=at, max_rejected=0.0, workers=inputs.workers, device=device
    )  # fmt: skip
    return found.select(data.train["image"].to_numpy()), found.select(data.test["image"].to_numpy())


def _ranks(images: NDArray[np.int64], target: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """(n,) place of each image among those of its class, drawn by its id."""
    order = keyed_order(images, seed=seed, stream="few-shot")
    order = order[np.argsort(target[order], kind="stable")]
    first = np.searchsorted(target[order], target[order])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - first
    return place


def ridge(
    x: NDArray[Any], y: NDArray[np.int64], *, num_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Least squares onto one-hot classes with the penalty of least leave-one-out error, in closed form.

    Args:
        x: (n, d).
        y: (n,) class numbers.
        num_classes: also those that do not occur.

    Returns:
        (d, num_classes) weights, (num_classes,) bias that is not penalised, and the penalty.

    Cost: one eigendecomposition of (n, n).
    """
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=0)
    centred = x - mean
    hot = np.zeros((len(y), num_classes))
    hot[np.arange(len(y)), y] = 1.0
    level = hot.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ (hot - level)
    best, found = np.inf, RIDGE_PENALTIES[-1]
    for penalty in RIDGE_PENALTIES:
        shrink = values / (values + penalty)
        own = np.square(vectors) @ shrink + 1.0 / len(y)  # leverage, the bias's with it
        error = (hot - level - vectors @ (shrink[:, None] * turned)) / np.maximum(1.0 - own, 1e-12)[:, None]
        if (loss := float(np.square(error).sum())) < best * (1 - 1e-9):
            best, found = loss, penalty
    w = centred.T @ (vectors @ (turned / (values + found)[:, None]))
    return w, level - mean @ w, found


def solve(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    *,
    num_classes: int,
    penalty: float,
    start: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of multinomial logistic regression: mean log loss + penalty / 2 * |w|^2, the bias free.

    Args:
        x: (n, d) float64.
        y: (n,) class numbers.
        num_classes: also those that do not occur.
        start: weights and bias to begin from; they change the time only.
        penalty: above 0, which makes the answer unique but for a constant on the bias.

    Returns:
        (d, num_classes) weights and (num_classes,) bias.
    """
    n, d = x.shape
    features, target = torch.tensor(x), torch.tensor(y)
    w = torch.zeros(d, num_classes, dtype=torch.float64) if start is None else torch.tensor(start[0])
    b = torch.zeros(num_classes, dtype=torch.float64) if start is None else torch.tensor(start[1])
    rows = torch.arange(n)
    # torch's solver and not SciPy's: the threads of two BLAS libraries in one process keep each other from the cores
    solver = torch.optim.LBFGS(
        [w, b], max_iter=500, tolerance_grad=1e-4, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        log_p = torch.log_softmax(torch.addmm(b, features, w), dim=1)
        value = 0.5 * penalty * w.square().sum() - log_p[rows, target].mean()
        error = log_p.exp_()
        error[rows, target] -= 1.0
        error /= n
        w.grad = (features.T @ error).add_(w, alpha=penalty)
        b.grad = error.sum(dim=0)
        return float(value)

    solver.step(loss)  # type: ignore[no-untyped-call]
    return w.numpy(), b.numpy()


def _standardise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    x = np.asarray(vectors, np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-6] = 1.0  # a dead feature stays zero
    return (x - mean) / scale, mean, scale
