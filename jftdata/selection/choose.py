"""Which candidate pairs become labels: the most probable ones, as many as a target precision allows.

Two passes over the candidates. The first counts pairs and sums probabilities by label and step of log-odds; from these follow
the thresholds; the second writes what lies above them. Sums are of integers, so no result depends on threads.
Cost: memory for 16 bytes a label and step (300 MB for 18,291 labels), and a batch a thread.
"""

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import storage, tail
from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.precision.interval import wilson
from jftdata.progress import progress
from jftdata.selection.candidates import Candidates, label_ids
from jftdata.selection.fusion import Fusion

FORMAT = "jftdata.selection/1"
TABLE = {
    "image": None,  # as in the candidates
    "label": pl.String(),
    "confidence": pl.Float32(),  # probability that the label holds
    "below_target": pl.Boolean(),  # kept by the floor alone
}
BY_LABEL = {
    "label": pl.String(),
    "num_judged": pl.Int64(),
    "num_candidates": pl.Int64(),
    "expected_correct": pl.Float64(),  # candidates that hold: the sum of their probabilities
    "num_kept": pl.Int64(),
    "num_below_target": pl.Int64(),  # of those kept, by the floor alone
    "threshold": pl.Float64(),  # least log-odds kept; null where only the floor keeps any
    "expected_precision": pl.Float64(),  # null where nothing is kept
    "expected_recall": pl.Float64(),  # of the label's pairs that hold; null without candidates
    "best_precision": pl.Float64(),  # that some of its pairs could reach; null without candidates
}
CALIBRATION = {
    "num_judged": pl.Int64(),
    "probability": pl.Float64(),  # mean of those judged, from models that did not see them
    "share_yes": pl.Float64(),  # weighted
    "low": pl.Float64(),  # 95% interval
    "high": pl.Float64(),
}
_REACH = 8.0
"""Log-odds beyond which pairs count as equal."""
_STEPS, _CELLS = 1024, 1 << 25
"""Steps of log-odds, fewer where labels times steps would exceed so many cells."""
_UNIT = 1 << 30
"""Probabilities are summed as integers of this fineness."""
_RESERVE_ROWS = 1 << 20
_I64 = NDArray[np.int64]
_F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """Labels chosen, on disk: `table/*.parquet` (columns of `TABLE`), `by_label.parquet`, `calibration.parquet`."""

    path: Path
    sidecar: storage.Sidecar

    @classmethod
    def open(cls, path: Path | str) -> "Selection":
        """Open a selection.

        Raises:
            MissingInput: nothing there.
            BadInput: an artefact of another kind.
        """
        return cls(Path(path), storage.read_sidecar(path, kind="jftdata.selection"))

    @property
    def files(self) -> list[Path]:
        """The label table, for `sources.from_table`."""
        return sorted((self.path / "table").glob("*.parquet"))

    @property
    def by_label(self) -> pl.DataFrame:
        """Columns of `BY_LABEL`, a row a label of the hierarchy, in its order."""
        return pl.read_parquet(self.path / "by_label.parquet", glob=False)

    @property
    def calibration(self) -> pl.DataFrame:
        """Columns of `CALIBRATION`, judged pairs by tenths of their probability, for `plots.calibration`."""
        return pl.read_parquet(self.path / "calibration.parquet", glob=False)


@dataclass(frozen=True)
class _Plan:
    """What the first pass decides."""

    steps: int
    threshold: _I64
    """(num_labels,) least step kept, `steps` where none is."""
    quota: _I64
    """(num_labels,) pairs below the threshold to keep for the floor."""
    reserve: _I64
    """(num_labels,) least step these can lie on."""


def select(
    candidates: Candidates, fusion: Fusion, *, target: float, out: Path | str, per: Literal["all", "label"] = "all",
    floor: int = 0, confidence: float | None = None, workers: int | None = None,
) -> Selection:  # fmt: skip
    """Keep the most probable pairs whose expected precision is at least a target.

    Args:
        candidates: all pairs.
        fusion: their probabilities.
        target: mean probability of what is kept, in (0, 1).
        out: folder for the selection; there already and made in the same way, it is returned at once.
        per: `all` has one threshold for all labels and the target for all kept pairs together, those of the floor too;
            `label` has a threshold, and the target, for each label; all together lie above it, as easy labels do with every
            pair kept.
        floor: pairs to keep of each label that has so many, its most probable ones, even if below the target; they are
            marked and counted.
        confidence: None compares the expected precision with the target; in (0.5, 1), a one-sided lower bound of it.
            For `all` that is the mean minus z times the standard error of the mean of judged pairs above the threshold,
            sqrt(sum w**2 p (1 - p)) / sum w; for `label`, minus z times the deviation of the label's log-odds times
            p (1 - p) at the mean.
        workers: threads; None is one a core.

    Raises:
        BadArgument: a target, floor or confidence out of range.
        UnknownOption: another `per`.
        BadInput: no pairs reach the target (the error says what can be reached); a signal that is NaN or infinite; a pair
            without image or label.
        UnknownName: a label that is not in the hierarchy of the fusion.
        OutputExists: `out` is there, made otherwise.

    Cost: 100 million pairs of 18,291 labels with three signals and a source take 31 s (logistic) or 54 s (trees) and 1.3 GiB on
    two cores; a row group that holds all pairs is read by one thread.
    """
    if not 0 < target < 1:
        raise BadArgument(f"`target` must be in (0, 1). Got {target}.")
    if floor < 0:
        raise BadArgument(f"`floor` must be at least 0. Got {floor}.")
    if confidence is not None and not 0.5 < confidence < 1:
        raise BadArgument(f"`confidence` must be in (0.5, 1). Got {confidence}.")
    if per not in ("all", "label"):
        raise one_of("choice of `per`", per, ("all", "label"))
    workers = workers or os.cpu_count() or 1
    made_with = {"target": target, "per": per, "floor": floor, "confidence": confidence,
                 "signals": candidates.signals.to_json()}  # fmt: skip
    inputs = {"fusion": fusion.fingerprint}
    inputs |= {f"candidates {i}": storage.sha256_file(path) for i, path in enumerate(candidates.files)}
    with storage.building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
        if build is not None:
            steps = _num_steps(fusion.hierarchy.num_labels)
            count, total = _counted(candidates, fusion, steps, workers)
            plan = _planned(count, total, fusion, target=target, per=per, floor=floor, confidence=confidence)
            (build.folder / "table").mkdir(exist_ok=True)
            reserve = _written(candidates, fusion, plan, build.folder / "table", workers)
            by_label = _by_label(count, total, plan, reserve, fusion)
            by_label.write_parquet(build.folder / "by_label.parquet")
            _calibration(fusion).write_parquet(build.folder / "calibration.parquet")
            before, after = label_counts(by_label)
            build.facts = {
                **_facts(by_label, plan, fusion),
                "tail": tail.compare(before, after),
                "fusion": fusion.facts,
            }
    return Selection.open(out)


def describe(selection: Selection) -> str:
    """The selection in words, for a terminal."""
    facts, made = selection.sidecar.facts, selection.sidecar.made_with
    judged = facts["judged"]
    told = (
        f"{facts['num_kept']:,} of {facts['num_candidates']:,} pairs kept; expected precision {facts['expected_precision']:.1%} "
        f"for a target of {made['target']:.1%}, expected recall {facts['expected_recall']:.1%}"
    )
    if judged["num"]:
        told += (
            f"\njudged pairs among them: {judged['precision']:.1%} right ({judged['low']:.1%} to {judged['high']:.1%}, "
            f"{judged['num']:,} judged)"
        )
    if facts["num_below_target"]:
        told += f"\n{facts['num_below_target']:,} of them below the target, kept for the floor of {facts['num_floor_labels']:,} labels"
    if facts["num_unreached"]:
        told += f"\nlabels that cannot reach the target: {facts['num_unreached']:,} of {facts['num_labels']:,}"
    change = tail.describe_change(facts["tail"])
    fused = facts["fusion"]
    return (
        f"{told}\n{change}\nmodel: {fused['model']} (log loss {fused['log_loss_by_calibration'][fused['calibration']]:.4f}), "
        f"{fused['calibration']} calibration, label spread {fused['spread']:g}"
    )


def label_counts(by_label: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs of each label before and after, as `label` and `num_images` for `tail.compare` and `plots.rank_frequency`."""
    return by_label.select("label", num_images="num_candidates"), by_label.select("label", num_images="num_kept")


def _calibration(fusion: Fusion) -> pl.DataFrame:
    judged = fusion.judged.with_columns(tenth=(pl.col("probability") * 10).cast(pl.Int64).clip(0, 9))
    rows = []
    for _, part in sorted(judged.group_by("tenth"), key=lambda x: x[0]):
        weight = part["weight"].to_numpy()
        share, low, high = _interval(part["yes"].to_numpy(), weight)
        rows.append((len(part), float(np.average(part["probability"].to_numpy(), weights=weight)), share, low, high))
    return pl.DataFrame(rows, schema=CALIBRATION, orient="row")


def _interval(yes: NDArray[np.bool_], weight: _F64) -> tuple[float, float, float]:
    """Weighted share with a 95% interval at Kish's effective number of judgements."""
    share = float((weight * yes).sum() / weight.sum())
    return share, *wilson(share, float(weight.sum() ** 2 / (weight**2).sum()))


# ---- first pass ------------------------------------------------------------------------------------------------------


def _num_steps(num_labels: int) -> int:
    return int(np.clip(_CELLS // max(1, num_labels), 64, _STEPS))


def _step(logit: _F64, steps: int) -> _I64:
    """Which step each log-odds lies on, 0 the lowest."""
    return np.clip((logit + _REACH) * (steps / (2 * _REACH)), 0, steps - 1).astype(np.int64)


def _scored(
    candidates: Candidates, fusion: Fusion, columns: list[str], what: str, workers: int,
    use: Callable[[int, Any, _I64, _F64], None], done: Callable[[int], Any] = lambda piece: None,
) -> list[Any]:  # fmt: skip
    """Call `use(piece, batch, labels, logits)` for all batches, pieces in threads, and `done(piece)` after each piece."""
    import pyarrow as pa

    labels = pa.array(fusion.hierarchy.labels, pa.string())
    with progress(what, total=candidates.num_pairs, unit="pair") as bar:

        def run(number: int) -> Any:
            for batch in candidates.batches(candidates.pieces[number], columns):
                ids = label_ids(batch.column("label"), labels, fusion.hierarchy)
                use(number, batch, ids, fusion.logits(batch, ids))
                bar.update(len(batch))
            return done(number)

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(run, range(len(candidates.pieces))))


def _counted(candidates: Candidates, fusion: Fusion, steps: int, workers: int) -> tuple[_I64, _I64]:
    """(num_labels, steps) pairs on each step or above it, and the sum of their probabilities."""
    shape = (fusion.hierarchy.num_labels, steps)
    count, total = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    turn = threading.Lock()

    def use(piece: int, batch: Any, labels: _I64, logit: _F64) -> None:
        step, units = _step(logit, steps), np.rint(fusion.calibrate(logit) * _UNIT).astype(np.int64)
        with turn:
            _tally(labels, step, units, count, total)

    _scored(candidates, fusion, ["label", *candidates.signals.names], "score", workers, use)
    for sums in (count, total):
        np.cumsum(sums[:, ::-1], axis=1, out=sums[:, ::-1])
    return count, total


@numba.njit(cache=True, nogil=True)
def _tally(
    labels: NDArray[Any], step: NDArray[Any], units: NDArray[Any], count: NDArray[Any], total: NDArray[Any]
) -> None:
    for i in range(len(labels)):
        count[labels[i], step[i]] += 1
        total[labels[i], step[i]] += units[i]


def _planned(
    count: _I64, total: _I64, fusion: Fusion, *, target: float, per: str, floor: int, confidence: float | None
) -> _Plan:
    """Thresholds from the counts above each step."""
    num, steps = count.shape
    z = 0.0 if confidence is None else NormalDist().inv_cdf(confidence)
    least = np.minimum(floor, count[:, 0])
    # the most probable `least` pairs of each label lie on this step or above it
    reserve = np.where(least > 0, (count >= least[:, None]).sum(axis=1) - 1, steps)
    if per == "all":
        threshold = np.full(num, _one_threshold(count, total, least, reserve, fusion, target, z))
    else:
        mean = total / _UNIT / np.maximum(count, 1)
        enough = (count > 0) & (mean - z * fusion.pooled.deviation[:, None] * mean * (1 - mean) >= target)
        threshold = np.where(enough.any(axis=1), enough.argmax(axis=1), steps)
        if not enough.any():
            raise BadInput(
                f"no label reaches the target of {target}: the best expected precision is {_down(mean.max())}. "
                "Lower the target or the confidence, or give a better signal."
            )
    kept = _at(count, threshold)
    return _Plan(steps, threshold, np.maximum(least - kept, 0), reserve)


def _one_threshold(
    count: _I64, total: _I64, least: _I64, reserve: _I64, fusion: Fusion, target: float, z: float
) -> int:
    """The lowest step at which the mean probability of all that is kept reaches the target."""
    steps = count.shape[1]
    # pairs above the step that fills the floor count whole, those on it at its mean, which is at most theirs
    above, above_total = _at(count, reserve + 1), _at(total, reserve + 1)
    on, on_total = _at(count, reserve) - above, _at(total, reserve) - above_total
    least_total = above_total + (least - above) * (on_total / np.maximum(on, 1))
    judged = fusion.judged
    at = _step(judged["logit"].to_numpy(), steps)
    weight, p = judged["weight"].to_numpy(), judged["probability"].to_numpy()
    weights = np.cumsum(np.bincount(at, weight, steps)[::-1])[::-1]
    spread = np.sqrt(np.cumsum(np.bincount(at, weight**2 * p * (1 - p), steps)[::-1])[::-1])
    best = 0.0
    for step in range(steps):
        full = count[:, step] >= least
        num = int(np.where(full, count[:, step], least).sum())
        if not num or not count[:, step].any():
            break
        mean = float(np.where(full, total[:, step], least_total).sum()) / _UNIT / num
        doubt = spread[step] / weights[step] if weights[step] else 1.0
        bound = mean - z * doubt
        best = max(best, bound)
        if bound >= target:
            return step
    held = " with this floor" if least.any() else ""
    raise BadInput(
        f"no threshold reaches the target of {target}{held}: the best reaches {_down(best)}. Lower the target"
        f"{', the floor' if held else ''}{' or the confidence' if z else ''}, or give a better signal."
    )


def _down(precision: float) -> float:
    """Rounded so that it is reached."""
    return math.floor(precision * 1e4) / 1e4


def _at(sums: _I64, step: _I64) -> _I64:
    """(num_labels,) of the sums above each step, at one step a label; 0 beyond the last."""
    inside = step < sums.shape[1]
    return np.where(inside, sums[np.arange(len(sums)), np.where(inside, step, 0)], 0)


# ---- second pass -----------------------------------------------------------------------------------------------------


def _written(candidates: Candidates, fusion: Fusion, plan: _Plan, folder: Path, workers: int) -> pl.DataFrame:
    """Write the pairs that stay; returns label index and probability of those kept for the floor."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array(fusion.hierarchy.labels, pa.string())
    quota = pl.DataFrame({"at": np.arange(len(plan.quota)), "quota": plan.quota})
    reserves: dict[int, list[pl.DataFrame]] = {}
    writers: dict[int, pq.ParquetWriter] = {}

    def best(parts: list[pl.DataFrame]) -> pl.DataFrame:
        rows = pl.concat(parts).sort("at", "logit", "image", descending=[False, True, False])
        rows = rows.join(quota, on="at", how="left", maintain_order="left")
        return rows.filter(pl.int_range(pl.len()).over("at") < pl.col("quota")).drop("quota")

    def put(writer: Any, image: Any, labels: _I64, p: _F64, below: bool) -> None:
        label = pa.DictionaryArray.from_arrays(pa.array(labels, pa.int32()), names)
        columns = [image, label, pa.array(p, pa.float32()), pa.array(np.full(len(p), below))]
        writer.write_table(pa.table(columns, names=list(TABLE)))

    def begun(number: int, image_type: Any) -> Any:
        kinds = (image_type, pa.dictionary(pa.int32(), pa.string()), pa.float32(), pa.bool_())
        schema = pa.schema(list(zip(TABLE, kinds, strict=True)))
        return pq.ParquetWriter(folder / f"{number:05d}.parquet", schema, compression="zstd")

    def use(piece: int, batch: Any, labels: _I64, logit: _F64) -> None:
        nameless = batch.column("image").null_count
        if nameless:
            raise BadInput(f"{nameless} candidate pairs have no image. Remove them.")
        step = _step(logit, plan.steps)
        kept = np.flatnonzero(step >= plan.threshold[labels])
        if len(kept):
            image = batch.column("image").take(pa.array(kept))
            if piece not in writers:
                writers[piece] = begun(piece, image.type)
            put(writers[piece], image, labels[kept], fusion.calibrate(logit[kept]), False)
        spare = np.flatnonzero(
            (plan.quota[labels] > 0) & (step < plan.threshold[labels]) & (step >= plan.reserve[labels])
        )
        if len(spare):
            image = pl.Series("image", batch.column("image").take(pa.array(spare)))
            own = reserves.setdefault(piece, [])
            own.append(pl.DataFrame({"at": labels[spare], "logit": logit[spare], "image": image}))
            if sum(map(len, own)) > _RESERVE_ROWS:
                own[:] = [best(own)]

    def done(piece: int) -> None:
        if piece in writers:
            writers[piece].close()
        if piece in reserves:
            reserves[piece] = [best(reserves[piece])]

    try:
        _scored(candidates, fusion, ["image", "label", *candidates.signals.names], "select", workers, use, done)
    finally:
        for writer in writers.values():
            writer.close()
    if not reserves:
        return pl.DataFrame(schema={"at": pl.Int64(), "probability": pl.Float64()})
    rows = best([part for _, parts in sorted(reserves.items()) for part in parts])
    p = fusion.calibrate(rows["logit"].to_numpy())
    image = rows["image"].to_arrow(compat_level=pl.CompatLevel.oldest())
    with begun(len(candidates.pieces), image.type) as writer:
        put(writer, image, rows["at"].to_numpy(), p, True)
    return rows.select("at", probability=pl.Series(p))


# ---- what came of it -------------------------------------------------------------------------------------------------


def _by_label(count: _I64, total: _I64, plan: _Plan, reserve: pl.DataFrame, fusion: Fusion) -> pl.DataFrame:
    num = len(count)
    extra = np.bincount(reserve["at"].to_numpy(), minlength=num)
    sure = _at(total, plan.threshold) / _UNIT + np.bincount(
        reserve["at"].to_numpy(), reserve["probability"].to_numpy(), minlength=num
    )
    kept = _at(count, plan.threshold) + extra
    whole = total[:, 0] / _UNIT
    top = (total / _UNIT / np.maximum(count, 1)).max(axis=1)
    above = plan.threshold < plan.steps
    log_odds = np.where(above, plan.threshold * (2 * _REACH / plan.steps) - _REACH, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "label": fusion.hierarchy.labels,
            "num_judged": np.bincount(fusion.judged["label_id"].to_numpy(), minlength=num),
            "num_candidates": count[:, 0],
            "expected_correct": whole,
            "num_kept": kept,
            "num_below_target": extra,
            "threshold": log_odds,
            "expected_precision": sure / kept,
            "expected_recall": sure / whole,
            "best_precision": np.where(count[:, 0] > 0, top, np.nan),
        }
    return pl.DataFrame(columns, schema=BY_LABEL).with_columns(pl.selectors.float().fill_nan(None))


def _facts(by_label: pl.DataFrame, plan: _Plan, fusion: Fusion) -> dict[str, Any]:
    used = by_label.filter(pl.col("num_candidates") > 0)
    num_kept, sure = int(used["num_kept"].sum()), float((used["expected_precision"] * used["num_kept"]).sum())
    judged = fusion.judged
    kept = _step(judged["logit"].to_numpy(), plan.steps) >= plan.threshold[judged["label_id"].to_numpy()]
    told: dict[str, Any] = {"num": int(kept.sum())}
    if kept.any():
        own = judged.filter(pl.Series(kept))
        share, low, high = _interval(own["yes"].to_numpy(), own["weight"].to_numpy())
        told |= {"precision": share, "low": low, "high": high}
    return {
        "num_candidates": int(used["num_candidates"].sum()),
        "num_kept": num_kept,
        "num_below_target": int(used["num_below_target"].sum()),
        "num_floor_labels": len(used.filter(pl.col("num_below_target") > 0)),
        "num_labels": len(used),
        "num_lost": len(used.filter(pl.col("num_kept") == 0)),
        "num_unreached": len(used.filter(pl.col("threshold").is_null())),
        "expected_precision": sure / num_kept,
        "expected_recall": sure / float(used["expected_correct"].sum()),
        "judged": told,
    }
