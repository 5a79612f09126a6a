"""One probability from many signals: a monotone model, offsets of labels, a calibration, all told from judged pairs.

Two models are tried, and the one with the lower cross-validated log loss is kept: logistic regression on normal scores of the
signals, and boosted trees. Offsets of labels (`pooling`) are fitted to its out-of-fold scores, their spread chosen by log loss
again; so is the calibration, a sigmoid of two parameters or isotonic. Folds are of images, so that what a judged pair is
scored with did not see its image. What was chosen becomes a table of the signals' codes: a compiled loop scores some millions
of pairs a second, equal to scikit-learn within rounding.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.errors import BadInput, MissingInput
from jftdata.hashing import image_id, keyed_hash
from jftdata.hierarchy import Hierarchy
from jftdata.selection import pooling
from jftdata.selection.candidates import MISSING, Candidates, Coder, Signals, label_ids

KINDS = ("logistic", "trees")
SPREADS = (0.0, 0.15, 0.3, 0.6, 1.2)
"""Standard deviations tried for what a label adds to its ancestors' log-odds."""
FOLDS = 5
MIN_ANSWERS = 10
"""Judged pairs there must be of each answer."""
JUDGED = {"image": "integers or text", "label": "text", "answer": "yes, no or unsure", "weight": "positive numbers"}
"""Columns of judgements; `weight` may be left out: how many pairs a judged one stands for."""
_NUM_TREES, _NUM_LEAVES = 60, 8
_SURE = 1e-6
_F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A fitted model as tables of codes."""

    base: float
    linear: _F64
    """(signals, 256) what each code of a signal adds."""
    keep: NDArray[np.uint8]
    """(signals, 256, trees) the leaves, as bits, that each code leaves open; what all signals leave open is one leaf."""
    leaf: _F64
    """(trees, 256) what the leaf of each bit adds."""

    def __call__(self, codes: NDArray[np.uint8]) -> _F64:
        """(n,) log-odds of (n, signals) codes; 5 million a second on a core."""
        out = np.empty(len(codes))
        _score(np.ascontiguousarray(codes), self.base, self.linear, self.keep, self.leaf, out)
        return out


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """What turns candidate pairs into probabilities; made by `fit`."""

    hierarchy: Hierarchy
    coder: Coder
    score: Score
    pooled: pooling.Pooled
    line: tuple[float, float]
    """Factor and shift of the log-odds, which calibrate them."""
    knots: tuple[_F64, _F64] | None
    """Log-odds and probabilities between which the isotonic calibration is linear; None has the sigmoid."""
    judged: pl.DataFrame
    """image, label, yes, weight (1 on average), and the out-of-fold `logit` and `probability`; by image and label."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was tried and chosen, with log losses, and what was left out."""
    fingerprint: str
    """SHA-256 of the judgements, signals, labels and seed it was fitted with."""

    def logits(self, batch: Any, labels: NDArray[np.int64]) -> _F64:
        """(n,) log-odds of an Arrow batch with the signals' columns, and its label indexes."""
        return _on(self.line, self.pooled.logits(self.score(self.coder.codes(batch)), labels))

    def calibrate(self, logits: _F64) -> _F64:
        """(n,) probabilities of log-odds; a higher one never has a lower probability."""
        return _calibrated(self.knots, logits)

    def probability(self, pairs: pl.DataFrame) -> _F64:
        """(n,) probabilities of pairs with the columns `label` and signals.

        Raises:
            UnknownName: a label that is not in the hierarchy.
            BadInput: a number that is NaN or infinite, or a row without a label.
        """
        import pyarrow as pa

        batch = pairs.to_arrow(compat_level=pl.CompatLevel.oldest())
        labels = label_ids(batch.column("label"), pa.array(self.hierarchy.labels, pa.string()), self.hierarchy)
        return self.calibrate(self.logits(batch, labels))


def fit(
    candidates: Candidates, judged: pl.DataFrame | Path | str, *, hierarchy: Hierarchy | None = None, seed: int
) -> Fusion:
    """Fit on judged pairs.

    Args:
        candidates: all pairs; the signals of the judged ones are looked up in them.
        judged: columns of `JUDGED`, as a frame, .csv or .parquet. Unsure ones are counted and left out; the same answer
            twice counts once.
        hierarchy: labels that may occur; None makes a flat one of those that occur, which borrow from nothing but the mean.
        seed: deals images into folds, and is scikit-learn's.

    Raises:
        MissingInput: no such file.
        BadInput: wrong columns, answers or weights; two answers for one pair; judged pairs that are not candidates or are
            twice; fewer than ten yes or no; a signal that is NaN or infinite.
        UnknownName: a label that is not in the hierarchy.

    Cost: one pass over the candidates, and 5 to 20 s for some thousand judged pairs.
    """
    tree = hierarchy or Hierarchy.flat(candidates.scan().select("label").drop_nulls().unique().collect()["label"])
    told, counts = _told(judged)
    pairs = _looked_up(candidates, told, tree)
    coder = Coder.fit(pairs, signals=candidates.signals)
    codes = coder.codes(pairs.to_arrow(compat_level=pl.CompatLevel.oldest()))
    yes, label = pairs["yes"].to_numpy(), pairs["label_id"].to_numpy()
    weight = pairs["weight"].to_numpy() / pairs["weight"].mean()
    fold = _folds(pairs["image"], seed)
    losses: dict[str, float] = {}
    unseen: dict[str, _F64] = {}
    for kind in KINDS:
        model = partial(_model, kind, coder, seed)
        unseen[kind] = _unseen(fold, lambda a, b, fit=model: fit(codes[a], yes[a], weight[a])(codes[b]))  # type: ignore[misc]
        losses[kind] = _log_loss(yes, _sigmoid(unseen[kind]), weight)
    kind = min(KINDS, key=losses.__getitem__)
    scores = unseen[kind]

    def offsets(rows: NDArray[np.int64], spread: float) -> pooling.Pooled:
        return pooling.fit(scores[rows], yes[rows], label[rows], weight[rows], tree=tree, spread=spread)

    by_spread = {s: _unseen(fold, lambda a, b, s=s: offsets(a, s).logits(scores[b], label[b])) for s in SPREADS}  # type: ignore[misc]
    spread_losses = {s: _log_loss(yes, _sigmoid(z), weight) for s, z in by_spread.items()}
    spread = min(SPREADS, key=spread_losses.__getitem__)
    raw = by_spread[spread]

    def line(rows: NDArray[np.int64]) -> tuple[float, float]:
        fitted = pooling.fit(raw[rows], yes[rows], label[rows], weight[rows], tree=tree, spread=0.0)
        return fitted.slope, fitted.level

    sigmoid = _unseen(fold, lambda a, b: _sigmoid(_on(line(a), raw[b])))
    whole = line(np.arange(len(yes)))
    logit = _on(whole, raw)
    isotonic = _unseen(fold, lambda a, b: _calibrated(_isotonic(logit[a], yes[a], weight[a]), logit[b]))
    shapes = {"sigmoid": _log_loss(yes, sigmoid, weight), "isotonic": _log_loss(yes, isotonic, weight)}
    shape = min(shapes, key=shapes.__getitem__)
    score = _model(kind, coder, seed, codes, yes, weight)
    facts: dict[str, Any] = {
        **counts,
        "model": kind,
        "log_loss": losses,
        "spread": spread,
        "log_loss_by_spread": {f"{s:g}": loss for s, loss in spread_losses.items()},
        "calibration": shape,
        "log_loss_by_calibration": shapes,
        "signals_without_effect": _without_effect(score, coder),
    }
    judged_pairs = pairs.select("image", "label", "label_id", "yes").with_columns(
        weight=pl.Series(weight),
        logit=pl.Series(logit),
        probability=pl.Series({"sigmoid": sigmoid, "isotonic": isotonic}[shape]),
    )
    return Fusion(
        hierarchy=tree, coder=coder, score=score, pooled=offsets(np.arange(len(yes)), spread), facts=facts, judged=judged_pairs,
        line=whole, knots=_isotonic(logit, yes, weight) if shape == "isotonic" else None,
        fingerprint=_fingerprint(told.sort("image", "label"), candidates.signals, tree, seed),
    )  # fmt: skip


# ---- judged pairs ----------------------------------------------------------------------------------------------------


def _told(judged: pl.DataFrame | Path | str) -> tuple[pl.DataFrame, dict[str, int]]:
    """image, label, yes and weight of the pairs with an answer, and what was left out."""
    frame = judged if isinstance(judged, pl.DataFrame) else _read(Path(judged))
    where = "the judgements" if isinstance(judged, pl.DataFrame) else str(judged)
    missing = [name for name in JUDGED if name not in frame.columns and name != "weight"]
    if missing:
        raise BadInput(f"{where} have no column {missing[0]!r}, only {', '.join(frame.columns)}. Name it so.")
    if "weight" not in frame.columns:
        frame = frame.with_columns(weight=1.0)
    try:
        frame = frame.select("image", pl.col("label", "answer").cast(pl.String), pl.col("weight").cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"a weight of {where} is no number ({error}). Give positive numbers.") from error
    if frame.null_count().sum_horizontal().item():
        raise BadInput(f"{where} have empty cells. Fill in image, label, answer and weight of each.")
    odd = frame.filter(~pl.col("answer").is_in(["yes", "no", "unsure"]))
    if len(odd):
        raise BadInput(f"{where} answer {odd['answer'][0]!r} for {_named(odd)}, expected yes, no or unsure. Mend it.")
    odd = frame.filter(~(pl.col("weight").is_finite() & (pl.col("weight") > 0)))
    if len(odd):
        raise BadInput(
            f"{where} give {_named(odd)} the weight {odd['weight'][0]}, expected a positive number. Mend it."
        )
    sure = frame.filter(pl.col("answer") != "unsure").unique(maintain_order=True)
    twice = sure.filter(pl.struct("image", "label").is_duplicated()).sort("image", "label")
    if len(twice):
        what = "answers" if twice["answer"][0] != twice["answer"][1] else "weights"
        raise BadInput(f"{where} hold two {what} for {_named(twice)}. Agree on one and remove the other.")
    counts = {
        "num_judged": len(sure),
        "num_yes": int((sure["answer"] == "yes").sum()),
        "num_unsure": len(frame.filter(pl.col("answer") == "unsure").unique(["image", "label"])),
    }
    for answer, num in {"yes": counts["num_yes"], "no": len(sure) - counts["num_yes"]}.items():
        if num < MIN_ANSWERS:
            raise BadInput(
                f"{where} hold {num} pairs answered {answer!r} ({counts['num_unsure']} unsure), at least {MIN_ANSWERS} are needed. "
                "Judge more pairs, of both kinds."
            )
    return sure.select("image", "label", "weight", yes=pl.col("answer") == "yes"), counts


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Give the judged pairs as .csv or .parquet.")
    readers: dict[str, Callable[[], pl.DataFrame]] = {
        ".csv": lambda: pl.read_csv(path, infer_schema_length=None), ".parquet": lambda: pl.read_parquet(path, glob=False)
    }  # fmt: skip
    if path.suffix not in readers:
        raise BadInput(f"judgements must end in .csv or .parquet. Got {path}.")
    try:
        return readers[path.suffix]()
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} is not readable ({error}). Save it again.") from error


def _looked_up(candidates: Candidates, told: pl.DataFrame, tree: Hierarchy) -> pl.DataFrame:
    """Judged pairs with their signals and `label_id`, by image and label."""
    kind = candidates.schema["image"]
    try:
        told = told.with_columns(pl.col("image").cast(kind))
    except pl.exceptions.PolarsError as error:
        raise BadInput(
            f"judged images are {told.schema['image']}, candidates' {kind} ({error}). Make them alike."
        ) from error
    for label in sorted(set(told["label"])):
        tree.index(label)
    near = candidates.scan().filter(pl.col("image").is_in(told["image"].unique().implode()))
    found = near.join(told.lazy(), on=["image", "label"], how="inner").collect(engine="streaming")
    found = found.sort("image", "label")
    twice = found.filter(pl.struct("image", "label").is_duplicated())
    if len(twice):
        raise BadInput(f"{_named(twice)} is among the candidates twice. Make it one row.")
    if len(found) < len(told):
        lost = told.join(found, on=["image", "label"], how="anti").sort("image", "label")
        raise BadInput(
            f"{len(lost)} of {len(told)} judged pairs are not among the candidates, for example {_named(lost)}. "
            "Give the candidates they were drawn from."
        )
    return found.with_columns(label_id=pl.Series([tree.index(x) for x in found["label"]], dtype=pl.Int64))


def _named(rows: pl.DataFrame) -> str:
    return f"image {rows['image'][0]!r} with {rows['label'][0]!r}"


def _folds(images: pl.Series, seed: int) -> NDArray[np.int64]:
    """(n,) which fold each pair is in, by its image."""
    if images.dtype == pl.String:
        ids = np.array([image_id(hashlib.sha256(x.encode()).digest()) for x in images], np.int64)
    else:
        ids = images.to_numpy()
    return (keyed_hash(ids, seed=seed, stream="selection folds") % np.uint64(FOLDS)).astype(np.int64)


def _unseen(fold: NDArray[np.int64], predict: Callable[[NDArray[np.int64], NDArray[np.int64]], _F64]) -> _F64:
    """(n,) predictions for each fold of what was fitted on the others."""
    out = np.empty(len(fold))
    for k in range(FOLDS):
        rest, own = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(own):
            out[own] = predict(rest, own)
    return out


def _fingerprint(told: pl.DataFrame, signals: Signals, tree: Hierarchy, seed: int) -> str:
    what = json.dumps([told.rows(), signals.to_json(), tree.labels, tree.parent_lists, seed])
    return hashlib.sha256(what.encode()).hexdigest()


# ---- models ----------------------------------------------------------------------------------------------------------


def _model(kind: str, coder: Coder, seed: int, codes: NDArray[np.uint8], yes: NDArray[np.bool_], weight: _F64) -> Score:
    if yes.all() or not yes.any():
        raise BadInput("the judged pairs of one answer come from too few images to hold some out. Judge more images.")
    if kind == "logistic":
        return _logistic(coder, codes, yes, weight)
    return compiled(trees(coder, codes, yes, weight, seed=seed), coder)


def trees(coder: Coder, codes: NDArray[np.uint8], yes: NDArray[np.bool_], weight: _F64, *, seed: int) -> Any:
    """scikit-learn's boosted trees on codes, rising with every number."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    num, num_words = len(coder.steps), len(coder.words)
    model = HistGradientBoostingClassifier(
        max_iter=_NUM_TREES, max_leaf_nodes=_NUM_LEAVES, learning_rate=0.1, min_samples_leaf=20, l2_regularization=1.0,
        early_stopping=False, monotonic_cst=[1] * num + [0] * num_words, random_state=seed,
        categorical_features=[False] * num + [True] * num_words,
    )  # fmt: skip
    return model.fit(coder.numbers(codes), yes, sample_weight=weight)


def compiled(model: Any, coder: Coder) -> Score:
    """Boosted trees as tables: for each code of each signal, which leaves of each tree its splits leave open."""
    num_numbers, num = len(coder.steps), len(coder.steps) + len(coder.words)
    predictors = [stage[0] for stage in model._predictors]
    keep = np.full((num, 256, len(predictors)), 255, np.uint8)
    leaf = np.zeros((len(predictors), 256))
    # what each code is to the trees, which have categories first and number them anew
    codes = np.repeat(np.arange(256, dtype=np.uint8)[:, None], num, axis=1)
    values = model._preprocess_X(coder.numbers(codes), reset=False)
    signals = [*range(num_numbers, num), *range(num_numbers)]
    for tree, predictor in enumerate(predictors):
        nodes, bits = predictor.nodes, predictor.raw_left_cat_bitsets
        todo: list[tuple[int, list[tuple[int, NDArray[np.bool_]]]]] = [(0, [])]
        number = 0
        while todo:
            at, way = todo.pop()
            node = nodes[at]
            if node["is_leaf"]:
                leaf[tree, 1 << number] = node["value"]
                for signal, open_ in way:
                    keep[signal, ~open_, tree] &= np.uint8(255 ^ (1 << number))
                number += 1
                continue
            value, signal = values[:, node["feature_idx"]], signals[node["feature_idx"]]
            if node["is_categorical"]:
                word = np.nan_to_num(value).astype(np.uint32)
                left = (bits[node["bitset_idx"]][word // 32] >> (word % 32)) & 1 == 1
            else:
                left = value <= node["num_threshold"]
            left[np.isnan(value)] = node["missing_go_to_left"]
            todo += [(int(node["left"]), [*way, (signal, left)]), (int(node["right"]), [*way, (signal, ~left)])]
    return Score(float(model._baseline_prediction.item()), np.zeros((num, 256)), keep, leaf)


def _logistic(coder: Coder, codes: NDArray[np.uint8], yes: NDArray[np.bool_], weight: _F64) -> Score:
    """Logistic regression on the normal score of each number and a switch for each category and for what is missing.

    A number whose weight comes out negative is left out and the rest fitted anew, so that the model rises with all it has.
    """
    from scipy.special import ndtri
    from sklearn.linear_model import LogisticRegression

    # signal, what each of its codes gives, whether the weight must be positive
    basis: list[tuple[int, _F64, bool]] = []
    for signal in range(codes.shape[1]):
        counts = np.bincount(codes[:, signal], minlength=256).astype(np.float64)
        if signal < len(coder.steps):
            known = counts[:MISSING]
            middle = (np.cumsum(known) - known / 2 + 0.5) / (known.sum() + 1)
            basis.append((signal, np.append(ndtri(middle), 0.0), True))
        switches = [MISSING] if signal < len(coder.steps) else np.flatnonzero(counts).tolist()
        basis += [(signal, np.eye(256)[code], False) for code in switches if 0 < counts[code] < len(codes)]
    while True:
        x = np.column_stack([values[codes[:, signal]] for signal, values, _ in basis])
        model = LogisticRegression(max_iter=1000).fit(x, yes, sample_weight=weight)
        wrong = [i for i, (_, _, rises) in enumerate(basis) if rises and model.coef_[0, i] < 0]
        if not wrong or len(wrong) == len(basis):
            break
        basis = [column for i, column in enumerate(basis) if i not in wrong]
    linear = np.zeros((codes.shape[1], 256))
    for (signal, values, rises), slope in zip(basis, model.coef_[0], strict=True):
        linear[signal] += max(slope, 0.0) * values if rises else slope * values
    num = codes.shape[1]
    return Score(float(model.intercept_[0]), linear, np.empty((num, 256, 0), np.uint8), np.empty((0, 256)))


def _without_effect(score: Score, coder: Coder) -> list[str]:
    """Signals whose codes all give the same."""
    flat = [np.ptp(row) == 0 for row in score.linear]
    whole = [bool((table == table[:1]).all()) for table in score.keep]
    return [name for name, a, b in zip(coder.signals.names, flat, whole, strict=True) if a and b]


def _isotonic(logit: _F64, yes: NDArray[np.bool_], weight: _F64) -> tuple[_F64, _F64]:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(logit, yes, sample_weight=weight)
    # a step that no judgement contradicts is as sure as half a judgement more would make it
    edge = 0.5 / len(yes)
    return model.X_thresholds_, np.clip(model.y_thresholds_, edge, 1 - edge)


def _on(line: tuple[float, float], logit: _F64) -> _F64:
    return line[0] * logit + line[1]


def _calibrated(knots: tuple[_F64, _F64] | None, logit: _F64) -> _F64:
    return _sigmoid(logit) if knots is None else np.interp(logit, *knots)


def _sigmoid(z: _F64) -> _F64:
    return 1 / (1 + np.exp(-np.clip(z, -50, 50)))


def _log_loss(yes: NDArray[np.bool_], p: _F64, weight: _F64) -> float:
    p = np.clip(p, _SURE, 1 - _SURE)
    return float(-(weight * np.where(yes, np.log(p), np.log1p(-p))).sum() / weight.sum())


@numba.njit(cache=True, nogil=True)
def _score(
    codes: NDArray[Any], base: float, linear: NDArray[Any], keep: NDArray[Any], leaf: NDArray[Any], out: NDArray[Any]
) -> None:
    """The sum of each pair's tables; trees are added in their order, as scikit-learn does."""
    num_signals = codes.shape[1]
    for i in range(len(codes)):
        total = base
        for f in range(num_signals):
            total += linear[f, codes[i, f]]
        for t in range(len(leaf)):
            open_ = keep[0, codes[i, 0], t]
            for f in range(1, num_signals):
                open_ &= keep[f, codes[i, f], t]
            total += leaf[t, open_]
        out[i] = total
