"""Web signals with planted truth: what is known of an image and a label that might be its own, before anyone looks.

A drawn stand-in for what a search engine logs: clicks, text on the page, a classifier's score, feedback of users, and where
the image was met. The signals agree with each other beyond the truth, some are often missing, labels differ in how often
they hold and in how far the classifier is biased for them, alike for labels near each other in the hierarchy, and rare
labels hold less often. All of it is ours; nothing is published of the real ones.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.errors import BadArgument
from jftdata.hashing import keyed_hash, keyed_order, uniform
from jftdata.hierarchy import Hierarchy

SIGNALS = {
    "image": pl.Int64(),
    "label": pl.Categorical(),
    "score": pl.Float32(),  # of a classifier, 0..1, not calibrated
    "text": pl.Float32(),  # share of the label's words on the page, in quarters; null without a page
    "clicks": pl.Int32(),  # of people who searched for the label; null where it was never shown
    "feedback": pl.Int8(),  # 1 or -1 from a user; mostly null
    "source": pl.Categorical(),  # where the image was met
    "correct": pl.Boolean(),  # the planted truth
}
LABELS_AN_IMAGE = 3
SOURCES = {"search": (0.35, 0.5), "page": (0.3, 0.1), "album": (0.2, -0.2), "social": (0.15, -0.8)}
"""Share of the pairs, and log-odds by which a label holds more often there."""


def web_signals(num_pairs: int, *, seed: int, hierarchy: Hierarchy, first: int = 0) -> pl.DataFrame:
    """Candidate pairs `first` to `first + num_pairs` of an endless list.

    Args:
        num_pairs: how many; three follow each other for an image.
        seed: draws all of it; a pair is a function of seed, hierarchy and its place in the list.
        hierarchy: labels, at least three; they are drawn by Zipf's law, in an order of their own.
        first: where to start.

    Returns:
        Columns of `SIGNALS`; about half of the pairs hold.

    Raises:
        BadArgument: a negative number of pairs or start, or fewer than three labels.

    Cost: half a million pairs a second.
    """
    if num_pairs < 0 or first < 0:
        raise BadArgument(f"`num_pairs` and `first` must be at least 0. Got {num_pairs} and {first}.")
    if hierarchy.num_labels < LABELS_AN_IMAGE:
        raise BadArgument(f"web signals need {LABELS_AN_IMAGE} labels. Got {hierarchy.num_labels}. Give more.")
    row = np.arange(first, first + num_pairs)

    def draw(stream: str) -> NDArray[np.float64]:
        return uniform(keyed_hash(row, seed=seed, stream=f"signals {stream}"))

    def normal(stream: str) -> NDArray[np.float64]:
        return _normal(draw(stream))

    share, ease, bias = _labels(hierarchy, seed)
    label = _dealt(share, row % LABELS_AN_IMAGE, draw("label"))
    source = np.searchsorted(np.cumsum([s for s, _ in SOURCES.values()])[:-1], draw("source"), side="right")
    logit = -0.8 + ease[label] + np.array([shift for _, shift in SOURCES.values()])[source]
    correct = draw("correct") < 1 / (1 + np.exp(-logit))
    truth = np.where(correct, 1.0, -1.0)
    common = normal("common")  # what fools all signals at once
    score = 1 / (1 + np.exp(-(0.9 * truth + bias[label] + 0.5 * common + 1.0 * normal("score"))))
    text = np.clip(np.round(2 + 0.6 * truth + 0.4 * common + 0.9 * normal("text")), 0.0, 4.0) / 4 + 0.0
    clicks = np.floor(np.exp(1.0 + 0.5 * truth + 0.4 * common + 1.1 * normal("clicks")))
    told = draw("told")
    feedback = np.where(draw("feedback") < 0.9, truth, -truth)
    image = (keyed_hash(row // LABELS_AN_IMAGE, seed=seed, stream="signals image") >> np.uint64(1)).astype(np.int64)
    names = list(SOURCES)

    def where(known: NDArray[np.bool_], values: NDArray[np.float64]) -> pl.Series:
        return pl.Series(values, nan_to_null=False).set(pl.Series(~known), None)

    def named(index: NDArray[np.int64], of: list[str]) -> pl.Series:
        return pl.Series(of, dtype=pl.String).gather(index)

    return pl.DataFrame(
        {
            "image": image,
            "label": named(label, list(hierarchy.labels)),
            "score": score,
            "text": where(source != names.index("album"), text),
            "clicks": where(draw("shown") < 0.7, clicks),
            "feedback": where(told < 0.03, feedback),
            "source": named(source, names),
            "correct": correct,
        }
    ).cast(SIGNALS)  # type: ignore[arg-type]


def _labels(tree: Hierarchy, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each label: its share of the pairs, the log-odds by which it holds more often, the bias of its scores."""
    num = np.arange(tree.num_labels)

    def inherited(stream: str, own: float, above: float) -> NDArray[np.float64]:
        each = _normal(uniform(keyed_hash(num, seed=seed, stream=f"signals {stream}")))
        sums = np.concatenate([[0.0], np.cumsum(each[tree.ancestor_index])])
        total: NDArray[np.float64] = own * each + above * (
            sums[tree.ancestor_start[1:]] - sums[tree.ancestor_start[:-1]]
        )
        return total

    rank = np.empty(tree.num_labels)
    rank[keyed_order(num, seed=seed, stream="signals rank")] = num + 1
    share = rank**-0.9
    ease = inherited("ease", 0.5, 0.4) - 0.25 * (np.log(rank) - np.log(rank).mean())
    return share / share.sum(), ease, inherited("bias", 0.4, 0.25)


def _dealt(share: NDArray[np.float64], slot: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """A label by its share for each pair; the slots of an image draw from labels that no other slot draws from."""
    out = np.empty(len(slot), np.int64)
    for at in range(LABELS_AN_IMAGE):
        own = np.arange(at, len(share), LABELS_AN_IMAGE)
        ends = np.cumsum(share[own])
        mine = slot == at
        out[mine] = own[np.searchsorted(ends[:-1] / ends[-1], u[mine], side="right")]
    return out


def _normal(u: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import ndtri

    values: NDArray[np.float64] = ndtri(np.clip(u, 1e-12, 1 - 1e-12))
    return values
