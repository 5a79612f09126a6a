"""From how well two images agree to the probability that one is a copy of the other.

A logistic model on ten features, each with a weight of at least 0, so that more agreement never lowers a probability.
It is fitted on copies planted in the catalog at hand and on pairs of it known not to be copies; a probability is for a
pair of which, before it was looked at, a copy was as likely as a hard non-copy. Where one thing is drawn or photographed
many times in one way, non-copies are far more common than that: ask for a higher probability there. A catalog too small
to plant copies in takes `SHIPPED`, learned on the built-in world.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from jftdata.changes import KINDS
from jftdata.errors import BadInput
from jftdata.register import FEATURES, SIZE

MIN_IMAGES = 100
"""Images a catalog needs for a calibration of its own."""
TRUE_COPY = 0.98
"""Pairs to which `SHIPPED` gives at least this are taken for real copies, not for known non-copies; of the non-copies that
it was learned on, scenes with the same drawn thing among them, none reaches it."""
_RIDGE = 1e-3
_F64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What turns features into a probability, and how well it did."""

    learned_on: str
    """Which images it was fitted on."""
    weights: tuple[float, ...]
    """One for each of `register.FEATURES`, at least 0."""
    offset: float
    num_copies: int
    num_non_copies: int
    num_excluded: int = 0
    """Pairs that agree too well to be known non-copies: the catalog has copies of its own."""
    kinds: dict[str, dict[str, float]] = field(default_factory=dict)
    """By kind of change: share of the planted copies with a probability of at least 0.5 (`recall`), and above the threshold
    that lets one non-copy through for 99 copies (`recall_at_99`)."""
    false_alarms: float = 0.0
    """Share of the non-copies with a probability of at least 0.5."""

    def probability(self, features: _F64) -> _F64:
        """(n,) probabilities of (n, 10) features; 0 where nothing was found alike."""
        score = expand(features) @ np.array(self.weights) + self.offset
        return np.where(features[:, 0] > 0, 1 / (1 + np.exp(-np.clip(score, -50, 50))), 0.0)

    def to_json(self) -> dict[str, Any]:
        """JSON values, to be saved beside a result."""
        return {**asdict(self), "weights": list(self.weights), "features": list(FEATURES)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            BadInput: other features than this version measures, or a part is missing.
        """
        if list(value.get("features", ())) != list(FEATURES) or len(value.get("weights", ())) != len(FEATURES):
            raise BadInput(f"the calibration is for {value.get('features')}, not {list(FEATURES)}. Calibrate again.")
        parts: dict[str, Any] = {name: part for name, part in value.items() if name != "features"}
        try:
            return cls(**{**parts, "weights": tuple(parts.get("weights", ()))})
        except TypeError as error:
            raise BadInput(f"the calibration is not whole ({error}). Calibrate again.") from error


def expand(features: _F64) -> _F64:
    """The (n, 10) values the weights are for: each rises with agreement, correlations on Fisher's scale."""
    x = features.copy()
    correlations = [*range(1, 6), 9]
    x[:, correlations] = np.arctanh(np.clip(x[:, correlations], -0.5, 0.995))
    x[:, 7] = np.clip(x[:, 7], 0, 1)
    x[:, 8] = -x[:, 8]
    return x


def fit(
    copies: _F64, kinds: NDArray[np.int64], non_copies: _F64, *, learned_on: str, num_excluded: int = 0,
    trust: _F64 | None = None,
) -> Calibration:  # fmt: skip
    """Fit the model; copies and non-copies weigh the same in all.

    Args:
        copies: (n, 10) features of planted copies.
        kinds: (n,) which of `changes.KINDS` each is of, by position.
        non_copies: (m, 10) features of pairs known not to be copies.
        learned_on: which images they are from.
        num_excluded: pairs left out of the non-copies.
        trust: (m,) how sure it is that each is none; None is 1.

    Raises:
        BadInput: no copies or no non-copies.
    """
    from scipy.optimize import minimize

    if not len(copies) or not len(non_copies):
        raise BadInput(f"nothing to calibrate on: {len(copies)} copies, {len(non_copies)} non-copies. Give both.")
    x = np.concatenate([expand(copies), expand(non_copies)])
    sign = np.concatenate([np.ones(len(copies)), -np.ones(len(non_copies))])
    trust = np.ones(len(non_copies)) if trust is None else trust
    weight = np.concatenate([np.full(len(copies), 0.5 / len(copies)), 0.5 * trust / trust.sum()])
    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
    z = (x - mean) / spread

    def loss(theta: _F64) -> tuple[float, _F64]:
        margin = sign * (z @ theta[:-1] + theta[-1])
        slope = -sign * weight / (1 + np.exp(np.clip(margin, -50, 50)))
        value = float((weight * np.logaddexp(0, -margin)).sum() + _RIDGE * (theta[:-1] ** 2).sum())
        return value, np.append(z.T @ slope + 2 * _RIDGE * theta[:-1], slope.sum())

    bounds = [(0.0, None)] * len(FEATURES) + [(None, None)]
    best = minimize(loss, np.zeros(len(FEATURES) + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = best[:-1] / spread
    fitted = Calibration(
        learned_on=learned_on,
        weights=tuple(round(float(w), 6) for w in weights),
        offset=round(float(best[-1] - weights @ mean), 6),
        num_copies=len(copies),
        num_non_copies=len(non_copies),
        num_excluded=num_excluded,
    )
    return judged(fitted, copies, kinds, non_copies, trust=trust)


def judged(
    calibration: Calibration, copies: _F64, kinds: NDArray[np.int64], non_copies: _F64, *, trust: _F64
) -> Calibration:
    """The calibration with what it reaches on some copies and non-copies, by kind of change."""
    good, bad = calibration.probability(copies), calibration.probability(non_copies)
    # the lowest threshold that lets no more than one non-copy through for 99 copies
    order = np.argsort(-bad, kind="stable")
    limit = bad[order][min(int(np.searchsorted(np.cumsum(trust[order]), len(good) / 99)), len(bad) - 1)]
    shares = {}
    for at, kind in enumerate(KINDS):
        own = good[kinds == at]
        if len(own):
            shares[kind] = {"recall": float((own >= 0.5).mean()), "recall_at_99": float((own > limit).mean())}
    return replace(calibration, kinds=shares, false_alarms=float(trust[bad >= 0.5].sum() / trust.sum()))


def twins(views: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Non-copies made to fool: what `views` and `others` (n, 32, 32, 3) make when they share only what does not count.

    Returns:
        (2n, 32, 32, 3): the inside of the other within the border of the first, then the colour layout of the first
        (means of 8x8 cells) with the detail of the other.
    """
    edge = SIZE // 8
    framed = views.copy()
    framed[:, edge:-edge, edge:-edge] = others[:, edge:-edge, edge:-edge]

    def layout(x: NDArray[np.uint8]) -> NDArray[np.float32]:
        cells: NDArray[np.float32] = x.reshape(len(x), 8, 4, 8, 4, 3).mean(axis=(2, 4), dtype=np.float32)
        return cells.repeat(4, axis=1).repeat(4, axis=2)

    mixed = np.clip(layout(views) + others - layout(others), 0, 255).astype(np.uint8)
    return np.concatenate([framed, mixed])


def surely_copies(features: _F64) -> NDArray[np.bool_]:
    """(n,) which pairs of neighbours agree so well that they must not be taken for known non-copies."""
    return SHIPPED.probability(features) >= TRUE_COPY


SHIPPED = Calibration(
    learned_on="3,860 scenes of the built-in world (seed 11, planted copies left out), 400 of them copied",
    weights=(0.0, 1.165936, 0.519988, 0.817672, 1.351363, 0.410171, 0.0, 3.503905, 2.838085, 2.062091),
    offset=-8.068898, num_copies=6800, num_non_copies=9824, false_alarms=0.003,
)  # fmt: skip
"""Learned on the built-in world; used for catalogs of fewer than `MIN_IMAGES` images."""
