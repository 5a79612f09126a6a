"""The audit: every given label of every image with what speaks against it, and the probability that it is wrong."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import neighbors
from jftdata.catalog import Catalog
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, one_of
from jftdata.noise import centroids, evidence, linear, scores
from jftdata.noise import given as given_labels
from jftdata.noise.given import Given
from jftdata.noise.probabilities import Probabilities, check_tree

Signal = Literal["centroids", "neighbours", "probabilities"]
AUDIT = {
    "image": pl.Int64(),
    "label": pl.String(),
    "wrong": pl.Float64(),  # probability that the label is wrong; null where nothing is known of it
    "verdict": pl.String(),  # fits; wrong (above 0.5); less specific: what is known is a label above it; not scored
    "other_label": pl.String(),  # the unrelated label most likely shown instead
    "confidence": pl.Float64(),  # share of the model's probability for the label, of what says something of it
    "agreement": pl.Float64(),  # the same of its neighbours' votes
    "distance": pl.Float64(),  # 1 - similarity to the label's nearest centroid
    "bin": pl.Int32(),  # the distance quantised by the label's own quantiles, 0 is nearest
    "near_label": pl.String(),  # the unrelated label with the nearest centroid
    "near_distance": pl.Float64(),
}
"""A signal that was not asked for, or that knows nothing of a label, is null."""
NUM_BINS = 6
TEMPERATURE = 0.05
"""A neighbour's vote is exp((its similarity - the nearest one's) / this)."""
NEIGHBOURS_SHARE, NEIGHBOURS_FULL = 0.2, 500
"""Weight of the neighbours' probabilities beside an image's own, and images of its rarest label that it takes for all of it: to a
rare label neighbours can but do harm. Chosen with the constants of `scores`."""
_RECALL = 0.95


def audit(
    catalog: Catalog | Given, embeddings: Embeddings | None = None, *, signals: Sequence[Signal] | None = None,
    probabilities: Probabilities | None = None, groups: pl.DataFrame | None = None, num_neighbours: int = 25,
    num_centroids: int = 3, min_images: int = 5, seed: int = 0, split: str | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Score every given label of every image.

    Args:
        catalog: images with given labels, or what `noise.read` returns.
        embeddings: a vector for each image; None leaves only probabilities.
        signals: which to use; all that the inputs allow by default. `wrong` comes from probabilities, to which those of the
            neighbours are added where embeddings are given; without probabilities from the neighbours' labels; else from the
            distances alone.
        probabilities: out-of-sample ones of any model; None fits `linear.cross_validated` to the embeddings, a
            softmax over given labels: in sigmoids with ancestors filled in the broad labels (`animal`) win.
        groups: what `dedup.group_pairs` returns; copies neither vote for each other nor share a model.
        num_neighbours: nearest images asked for, as far as there are so many.
        num_centroids: at most so many a label; labels with few images get one for every 40.
        min_images: labels given to fewer images have no centroid and are in no model; neighbours still speak of them.
        seed: of k-means, folds and the search.
        split: only this split.

    Returns:
        Columns of `AUDIT`, a row for each given label, most suspicious first; what could not be scored comes last. The order
        is what was measured. `wrong` as a number, and so the verdict, is too high where the model is weak: at 10% planted it
        says 12 to 20% with a model that is right six times in ten, 37 to 48% with one right once in six.

    Raises:
        BadInput: an image without a vector or probabilities; no label with enough images.
        BadArgument: a number below one, or a signal without its input.
        UnknownOption: no such signal.

    Source: the distances are those of Sun et al. 2017, Figure 2; the rest is ours.
    """
    for name, value in {
        "num_neighbours": num_neighbours, "num_centroids": num_centroids, "min_images": min_images
    }.items():  # fmt: skip
        if value < 1:
            raise BadArgument(f"`{name}` must be at least 1. Got {value}.")
    used = _signals(signals, embeddings, probabilities)
    given = catalog if isinstance(catalog, Given) else given_labels.read(catalog, split=split)
    own = None if embeddings is None else given_labels.vectors_of(given, embeddings)
    columns: dict[str, NDArray[np.float64] | pl.Series] = {}
    found = None
    if "centroids" in used and own is not None:
        far = centroids.distances(given, own, num_centroids=num_centroids, min_images=min_images, seed=seed)
        columns |= {"distance": far.own, "near_distance": far.other, "near_label": given.names(far.other_label)}
        found = _of_distances(far)
    near = None
    if "neighbours" in used and own is not None:
        near = _neighbours(given, own, groups, num_neighbours, seed)
        said = evidence.of_neighbours(given, *near)
        columns["agreement"] = said.support
        found = scores.score(given, said)
    if "probabilities" in used:
        if probabilities is None and own is not None:
            probabilities = linear.cross_validated(
                given, own, kind="softmax", min_images=min_images, groups=groups, seed=seed
            )
        assert probabilities is not None
        check_tree(probabilities.tree, given.tree)
        rows = probabilities.rows(given.images)
        model = evidence.of_probabilities(given, rows)
        columns["confidence"] = model.support
        if near is not None:
            more = evidence.smoothed(rows, given, *near, share=_neighbours_share(given))
            mixed = evidence.of_probabilities(given, more)
        else:
            mixed = model
        found = _first_known(scores.score(given, mixed, counted=model), found if near is not None else None)
    assert found is not None
    return _frame(given, columns, found)


def _signals(
    signals: Sequence[Signal] | None, embeddings: Embeddings | None, probabilities: Probabilities | None
) -> Sequence[Signal]:
    """What to use, checked."""
    if signals is None:
        signals = ("probabilities",) if embeddings is None else get_args(Signal)
    if not signals:
        raise BadArgument(f"`signals` is empty. Name some of {', '.join(get_args(Signal))}.")
    for name in signals:
        if name not in get_args(Signal):
            raise one_of("signal", name, get_args(Signal))
        if embeddings is None and (name != "probabilities" or probabilities is None):
            raise BadArgument(f"the signal {name!r} needs embeddings. Give them, or leave it out.")
    if probabilities is not None and "probabilities" not in signals:
        raise BadArgument("`probabilities` are given, but `signals` leaves them out. Do one or the other.")
    return signals


def _neighbours(
    given: Given, embeddings: Embeddings, groups: pl.DataFrame | None, num: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n, k) rows of the nearest other images and the weights of their votes; copies have weight 0."""
    k = min(num + 1, len(embeddings))
    positions, similarity = neighbors.nearest(embeddings, embeddings, k=k, recall=_RECALL, seed=seed)
    group = linear.group_of(given, groups)
    weights = np.where(group[positions] == group[:, None], -np.inf, similarity)
    nearest = weights.max(axis=1, keepdims=True)
    apart = np.subtract(weights, nearest, out=np.full(weights.shape, -np.inf), where=np.isfinite(weights))
    return positions, np.exp(apart / TEMPERATURE)


def _neighbours_share(given: Given) -> NDArray[np.float64]:
    """(n,) weight of the neighbours of each image."""
    rarest = np.full(len(given.images), NEIGHBOURS_FULL)
    np.minimum.at(rarest, given.owner, given.counts[given.index])
    return NEIGHBOURS_SHARE * rarest / NEIGHBOURS_FULL


def _of_distances(far: centroids.Distances) -> scores.Scores:
    """From distances alone: log odds are own - other distance, in standard deviations of it."""
    apart = far.own - far.other
    known = np.isfinite(apart)
    spread = float(apart[known].std()) if known.any() else 1.0
    wrong = 1 / (1 + np.exp(-apart / max(spread, 1e-12)))
    return scores.Scores(
        wrong, far.other_label, float(wrong[known].mean()) if known.any() else float("nan"), known & False
    )


def _first_known(one: scores.Scores, other: scores.Scores | None) -> scores.Scores:
    """The first, and the second where the first knows nothing."""
    if other is None:
        return one
    lost = np.isnan(one.wrong)
    return scores.Scores(
        np.where(lost, other.wrong, one.wrong), np.where(lost, other.other, one.other), one.rate,
        np.where(lost, other.less_specific, one.less_specific),
    )  # fmt: skip


def _frame(given: Given, columns: dict[str, NDArray[np.float64] | pl.Series], found: scores.Scores) -> pl.DataFrame:
    wrong = pl.Series(found.wrong).fill_nan(None)
    less = pl.Series(found.less_specific)
    frame = pl.DataFrame({
        "image": given.images[given.owner], "label": given.names(given.index), "wrong": wrong,
        "verdict": pl.select(
            pl.when(wrong.is_null()).then(pl.lit("not scored")).when(wrong > 0.5).then(pl.lit("wrong"))
            .when(less).then(pl.lit("less specific")).otherwise(pl.lit("fits"))
        ).to_series(),
        "other_label": given.names(found.other), **columns,
    })  # fmt: skip
    if "distance" in columns:
        order = pl.col("distance").rank("max").over("label")
        share = (order - 1) / pl.col("distance").count().over("label")
        frame = frame.with_columns(bin=(share * NUM_BINS).floor().cast(pl.Int32))
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in AUDIT.items() if name not in frame.columns]
    frame = frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in AUDIT.items())
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    return frame.sort("wrong", "image", "label", descending=[True, False, False], nulls_last=True)
