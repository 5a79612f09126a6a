"""From how well two images agree to the probability that one is a copy of the other.

A logistic model on ten features, each with a weight of at least 0, so that more agreement never lowers a probability,
gives a score. It is fitted on copies planted in the catalog at hand, and on the same planted copies beside the neighbours
of their original. How fast non-copies thin out above a score is measured on those; with the number of pairs of a search
it says how many non-copies to expect at a score, and what is seen beyond that says how many copies: the probability is
the share of copies. A catalog too small to plant copies in takes `SHIPPED`, learned on the built-in world.
Source of the idea: the local false discovery rate, B. Efron, Large-Scale Inference, 2010.
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
TRUE_COPY = 3.0
"""Pairs to which `SHIPPED` gives at least this score are taken for real copies, not for known non-copies; of the non-copies
that it was learned on, scenes with the same drawn thing among them, about 2 in 100,000 reach it."""
_RIDGE = 1e-3
_TAIL = 0.02  # share of the non-copies whose scores are taken for their upper end
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
    """By kind of change: share of the planted copies with a score of at least 0 (`recall`), and above the threshold
    that lets one non-copy through for 99 copies (`recall_at_99`)."""
    false_alarms: float = 0.0
    """Share of the non-copies with a score of at least 0."""
    tail_from: float = 0.0
    """The score that a share of `tail_share` of the non-copies exceeds."""
    tail_share: float = _TAIL
    tail_slope: float = 1.0
    """How fast they thin out above it: one in e is left after 1 / `tail_slope`."""
    copies_from: float = 0.0
    """The score that 19 of 20 planted copies exceed."""
    copies_spread: float = 1.0
    """From there to the score that 1 of 20 exceeds."""
    copies_slope: float = 1.0
    """How fast planted copies thin out below `copies_from`."""
    marks: tuple[float, float] = (1.0, 0.0)
    """What a person's answers say the logarithm of the odds is to be multiplied with, and what is to be added."""
    num_marks: int = 0

    def score(self, features: _F64) -> _F64:
        """(n,) scores of (n, 10) features, rising with agreement; minus infinity where nothing was found alike."""
        score: _F64 = expand(features) @ np.array(self.weights) + self.offset
        return np.where(features[:, 0] > 0, score, -np.inf)

    def probability(self, features: _F64) -> _F64:
        """(n,) probabilities of all pairs of one search, (n, 10): how common copies are is taken from them."""
        score = self.score(features)
        return np.where(np.isfinite(score), 1 / (1 + np.exp(-np.clip(self._log_odds(score), -50, 50))), 0.0)

    def _log_odds(self, score: _F64) -> _F64:
        high = self.tail_share * np.isfinite(score).sum()  # non-copies above `tail_from`
        by_chance = high * np.exp(-self.tail_slope * (self.copies_from - self.tail_from))
        copies = max(1.0, ((score >= self.copies_from).sum() - by_chance) / 0.95)
        odds = np.log(copies / self.copies_spread) - np.log(max(high, 1e-9) * self.tail_slope)
        rare = self.copies_slope * np.maximum(self.copies_from - score, 0)
        log_odds: _F64 = odds + self.tail_slope * (score - self.tail_from) - rare
        return self.marks[0] * log_odds + self.marks[1]

    def with_marks(self, features: _F64, marked: NDArray[np.int64], copies: NDArray[np.bool_]) -> Self:
        """The calibration corrected by a person's answers; a few of them move it a little, many decide.

        Args:
            features: (n, 10) of all pairs of the search.
            marked: (m,) positions of the pairs that were judged.
            copies: (m,) whether each is a copy.

        The odds are scaled and moved as the answers are likeliest, with a Gaussian before them: scale 1, give or take
        0.5, and move 0, give or take 2.
        """
        from scipy.optimize import minimize

        if not len(marked):
            return self
        odds = np.clip(replace(self, marks=(1.0, 0.0))._log_odds(self.score(features))[marked], -50, 50)
        sign = np.where(copies, 1.0, -1.0)

        def loss(theta: _F64) -> float:
            before = ((theta[0] - 1) / 0.5) ** 2 / 2 + (theta[1] / 2) ** 2 / 2
            return float(np.logaddexp(0, -sign * (theta[0] * odds + theta[1])).sum() + before)

        scale, move = minimize(loss, np.array([1.0, 0.0]), bounds=[(0.05, None), (None, None)]).x
        return replace(self, marks=(round(float(scale), 6), round(float(move), 6)), num_marks=len(marked))

    def to_json(self) -> dict[str, Any]:
        """JSON values, to be saved beside a result."""
        return {**asdict(self), "weights": list(self.weights), "marks": list(self.marks), "features": list(FEATURES)}

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
            return cls(**{**parts, "weights": tuple(parts["weights"]), "marks": tuple(parts.get("marks", (1.0, 0.0)))})
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
    copies: _F64, kinds: NDArray[np.int64], non_copies: _F64, *, learned_on: str, trust: _F64 | None = None,
    fooling: _F64 | None = None, num_excluded: int = 0,
) -> Calibration:  # fmt: skip
    """Fit the model; copies and non-copies weigh the same in all.

    Args:
        copies: (n, 10) features of planted copies.
        kinds: (n,) which of `changes.KINDS` each is of, by position.
        non_copies: (m, 10) features of pairs known not to be copies, all of a sample, alike or not.
        learned_on: which images they are from.
        trust: (m,) how sure it is that each is none; None is 1.
        fooling: (k, 10) features of non-copies made to fool; they teach the model, not how common such pairs are.
        num_excluded: pairs left out of the non-copies.

    Raises:
        BadInput: no copies, or no non-copies that are alike.
    """
    from scipy.optimize import minimize

    trust = np.ones(len(non_copies)) if trust is None else trust
    alike = non_copies[:, 0] > 0
    non_copies, trust = non_copies[alike], trust[alike]
    if not len(copies) or not trust.sum():
        raise BadInput(f"nothing to calibrate on: {len(copies)} copies, {len(non_copies)} non-copies. Give both.")
    made = np.empty((0, len(FEATURES))) if fooling is None else fooling[fooling[:, 0] > 0]
    x = np.concatenate([expand(copies), expand(non_copies), expand(made)])
    sign = np.concatenate([np.ones(len(copies)), -np.ones(len(non_copies) + len(made))])
    believed = np.concatenate([trust, np.ones(len(made))])
    weight = np.concatenate([np.full(len(copies), 0.5 / len(copies)), 0.5 * believed / believed.sum()])
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
    return _measured(fitted, fitted.score(copies), kinds, fitted.score(non_copies), trust)


def _measured(
    calibration: Calibration, good: _F64, kinds: NDArray[np.int64], bad: _F64, trust: _F64
) -> Calibration:  # fmt: skip
    """The calibration with the upper end of the non-copies and what it reaches, from the scores of both."""
    order = np.argsort(-bad, kind="stable")
    above = np.cumsum(trust[order])
    start = bad[order][min(int(np.searchsorted(above, _TAIL * trust.sum())), len(bad) - 1)]
    high = bad > start
    mean_excess = float((trust * (bad - start))[high].sum() / trust[high].sum()) if trust[high].sum() else 1.0
    # the lowest threshold that lets no more than one non-copy through for 99 copies
    limit = bad[order][min(int(np.searchsorted(above, len(good) / 99)), len(bad) - 1)]
    shares = {}
    for at, kind in enumerate(KINDS):
        own = good[kinds == at]
        if len(own):
            shares[kind] = {"recall": float((own >= 0).mean()), "recall_at_99": float((own > limit).mean())}
    alike = good[np.isfinite(good)]
    low, top = np.quantile(alike, [0.05, 0.95])
    below = alike[alike < low]
    mean_deficit = float((low - below).mean()) if len(below) else 1.0
    return replace(
        calibration, kinds=shares, false_alarms=float(trust[bad >= 0].sum() / trust.sum()),
        tail_from=round(float(start), 6), tail_slope=round(1 / max(mean_excess, 0.1), 6),
        copies_from=round(float(low), 6), copies_spread=round(max(float(top - low), 0.1), 6),
        copies_slope=round(1 / max(mean_deficit, 0.1), 6),
    )  # fmt: skip


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


SHIPPED = Calibration(
    learned_on="4,000 scenes of the built-in world (seed 11, planted copies left out), 400 of them copied",
    weights=(0.0, 1.355555, 0.0, 0.0, 2.392947, 0.0, 0.0, 2.264806, 3.929174, 2.691702),
    offset=-6.751089, num_copies=6800, num_non_copies=4647, false_alarms=0.003658,
    tail_from=-1.059154, tail_slope=1.641292, copies_from=1.941634, copies_spread=7.459537, copies_slope=1.252425,
)  # fmt: skip
"""Learned on the built-in world; used for catalogs of fewer than `MIN_IMAGES` images."""
