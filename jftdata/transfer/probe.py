"""Frozen features judged without training the network: weighted nearest neighbours and a linear probe."""

import numpy as np
import torch
from numpy.typing import NDArray

from jftdata import neighbors
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput
from jftdata.hashing import keyed_order
from jftdata.transfer.metrics import top_k
from jftdata.transfer.task import Inputs, Score

KNN_K = (10, 20, 100, 200)
"""Numbers of neighbours, as far as there are so many training images."""
KNN_TEMPERATURE = 0.07
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Swept L2 penalties of the linear probe, as half the squared weights times the penalty beside the mean log loss."""
_HELD_OUT = 0.2


class Knn:
    """k nearest training images, votes weighted by exp(similarity / 0.07); one metric for each k."""

    modes: tuple[str, ...] = ("frozen",)
    wants_features: bool = True

    def __call__(self, inputs: Inputs) -> list[Score]:
        train, test = _halves(inputs)
        target = inputs.data.train["target"].to_numpy()
        answer = inputs.data.test["target"].to_numpy()
        ks = [k for k in KNN_K if k <= len(train)] or [len(train)]
        positions, similarity = neighbors.nearest(test, train, k=max(ks))
        out = []
        for k in ks:
            votes = np.zeros((len(test), len(inputs.data.classes)))
            weight = np.exp((similarity[:, :k] - 1.0) / KNN_TEMPERATURE)
            np.add.at(votes, (np.arange(len(test))[:, None], target[positions[:, :k]]), weight)
            out.append(Score(f"top-1 (k={k})", top_k(votes, answer, k=1), {"k": k, "temperature": KNN_TEMPERATURE}))
        return out


class LinearProbe:
    """Multinomial logistic regression on standardised features, solved exactly by L-BFGS; the penalty is chosen on held-out
    training images and reported."""

    modes: tuple[str, ...] = ("frozen",)
    wants_features: bool = True

    def __call__(self, inputs: Inputs) -> list[Score]:
        train, test = _halves(inputs)
        x, mean, scale = _standardise(train.vectors)
        y = inputs.data.train["target"].to_numpy()
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
        answer = inputs.data.test["target"].to_numpy()
        return [
            Score("top-1", top_k(scores, answer, k=1), settings),
            Score("top-5", top_k(scores, answer, k=5), settings),
        ]


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


def _halves(inputs: Inputs) -> tuple[Embeddings, Embeddings]:
    if inputs.features is None:
        raise BadInput("this task needs features. Call it through transfer.run.")
    train = inputs.features.select(inputs.data.train["image"].to_numpy())
    test = inputs.features.select(inputs.data.test["image"].to_numpy())
    return train, test
