"""Selection at a target precision: does the target come true, and how fast; `python benchmarks/bench_selection.py FOLDER`.

Targets: on web signals with planted truth (`world.web_signals`), 600,000 pairs of the 251 labels of the world or of the 18,291 of
the label table, 4,000 of them judged, five seeds: precision realised and recall at four targets, against one threshold on the
best single signal chosen with the truth at hand, and with a flat hierarchy, in which labels borrow from none.
Speed: 100,000,000 pairs of 18,291 labels with three signals and a source, written to FOLDER (1 GB) and removed; each piece of
work runs in a process of its own, memory is the peak of that process. Writes `results/selection_<hardware>_<yyyymm>.csv`.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import measuring

TARGETS = (0.7, 0.8, 0.9, 0.95)
NUM_PAIRS, NUM_JUDGED, SEEDS = 600_000, 4_000, range(5)
PART = 1 << 20


def answered(pairs):  # type: ignore[no-untyped-def]
    import polars as pl

    answer = pl.when("correct").then(pl.lit("yes")).otherwise(pl.lit("no"))
    return pairs.select("image", pl.col("label").cast(pl.String), answer=answer)


def targets(folder: Path, seed: int) -> list[dict[str, object]]:
    """Precision and recall at each target, for all labels together and for each."""
    from jftdata import Hierarchy
    from jftdata.world.jft_table import hierarchy

    return [row for tree in (Hierarchy.load("world"), hierarchy()) for row in targets_of(folder, seed, tree)]


def targets_of(folder: Path, seed: int, tree) -> list[dict[str, object]]:  # type: ignore[no-untyped-def]
    import polars as pl

    from jftdata import Hierarchy, selection
    from jftdata.errors import BadInput
    from jftdata.hashing import keyed_order
    from jftdata.world import web_signals

    pairs = web_signals(NUM_PAIRS, seed=seed, hierarchy=tree).with_columns(pl.col("label", "source").cast(pl.String))
    path = folder / f"world{seed}.parquet"
    pairs.drop("correct").write_parquet(path)
    numbers = ("score", "text", "clicks", "feedback")
    candidates = selection.Candidates.open(path, signals=selection.Signals(rising=numbers, categories=("source",)))
    drawn = keyed_order(pl.int_range(NUM_PAIRS, eager=True).to_numpy(), seed=seed, stream="judged")[:NUM_JUDGED]
    judged = answered(pairs[drawn])
    fused = {"tree": selection.fit(candidates, judged, hierarchy=tree, seed=seed),
             "flat": selection.fit(candidates, judged, hierarchy=Hierarchy.flat(tree.labels), seed=seed)}  # fmt: skip
    held = int(pairs["correct"].sum())
    rows: list[dict[str, object]] = []
    for target in TARGETS:
        best, signal = 0, "none"
        for name in numbers:
            by_value = pairs.group_by(name).agg(num=pl.len(), yes=pl.col("correct").sum()).drop_nulls()
            above = by_value.sort(name, descending=True).with_columns(pl.col("num", "yes").cast(pl.Int64).cum_sum())
            yes = above.filter(pl.col("yes") >= target * pl.col("num"))["yes"].max() or 0
            best, signal = max((best, signal), (int(yes), name))
        for shape, per, floor in (("tree", "all", 0), ("tree", "label", 0), ("tree", "all", 1), ("flat", "all", 0)):
            fusion = fused[shape]
            about = {"num_labels": tree.num_labels, "hierarchy": shape, "seed": seed, "target": target, "per": per,
                     "floor": floor}  # fmt: skip
            out = folder / "selected"
            try:
                made = selection.select(candidates, fusion, target=target, per=per, floor=floor, out=out)  # type: ignore[arg-type]
            except BadInput as error:
                rows.append({**about, "failed": str(error)})
                continue
            kept = pl.read_parquet(made.files).with_columns(pl.col("label").cast(pl.String))
            kept = kept.join(pairs.select("image", "label", "correct"), on=["image", "label"])
            facts = made.sidecar.facts
            rows.append({
                **about, "model": fusion.facts["model"], "share_correct": held / NUM_PAIRS,
                "expected_precision": facts["expected_precision"], "precision": kept["correct"].mean(),
                "expected_recall": facts["expected_recall"], "recall": kept["correct"].sum() / held,
                "best_single_signal": signal, "best_single_recall": best / held,
                "num_labels_lost": facts["num_lost"], "num_below_target": facts["num_below_target"],
            })  # fmt: skip
            shutil.rmtree(out)
    path.unlink()
    return rows


def write(folder: Path, num_pairs: int) -> dict[str, object]:
    """Candidates of 18,291 labels, and 4,000 judged ones."""
    from concurrent.futures import ThreadPoolExecutor

    import polars as pl

    from jftdata.world import web_signals
    from jftdata.world.jft_table import hierarchy

    began = time.perf_counter()
    columns = ("image", "label", "score", "text", "clicks", "source")

    def part(first: int) -> None:
        pairs = web_signals(min(PART, num_pairs - first), seed=0, hierarchy=hierarchy(), first=first)
        pairs.select(columns).write_parquet(folder / f"part{first // PART:05d}.parquet")
        if not first:
            answered(pairs.sample(NUM_JUDGED, seed=0)).write_parquet(folder / "judged.parquet")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(part, range(0, num_pairs, PART)))
    size = sum(path.stat().st_size for path in folder.glob("part*.parquet"))
    return {
        "seconds": time.perf_counter() - began,
        "gb": size / 1e9,
        "judged": len(pl.read_parquet(folder / "judged.parquet")),
    }


def fit_and_select(folder: Path, num_pairs: int) -> dict[str, object]:
    """Seconds to fit, and to score, threshold and write all pairs."""
    from jftdata import selection
    from jftdata.world.jft_table import hierarchy

    tree = hierarchy()
    signals = selection.Signals(rising=("score", "text", "clicks"), categories=("source",))
    found: dict[str, object] = {}
    candidates = selection.Candidates.open(folder / "part*.parquet", signals=signals)
    began = time.perf_counter()
    fusion = selection.fit(candidates, folder / "judged.parquet", hierarchy=tree, seed=0)
    found |= {"fit_seconds": time.perf_counter() - began, "model": fusion.facts["model"]}
    for kind in selection.fusion.KINDS:
        model = forced(candidates, fusion, kind)
        for per in ("all", "label"):
            began = time.perf_counter()
            made = selection.select(candidates, model, target=0.8, per=per, floor=20, workers=2, out=folder / "s")  # type: ignore[arg-type]
            seconds = time.perf_counter() - began
            found[f"{kind}_per_{per}_seconds"] = seconds
            found[f"{kind}_per_{per}_pairs_a_second"] = num_pairs / seconds
            found[f"{kind}_per_{per}_kept"] = made.sidecar.facts["num_kept"]
            shutil.rmtree(folder / "s")
    return found


def forced(candidates, fusion, kind: str):  # type: ignore[no-untyped-def]
    """The fusion with a model of one kind, so that both are timed."""
    from dataclasses import replace

    import polars as pl

    from jftdata.selection import fusion as parts

    judged = (
        fusion.judged.lazy().join(candidates.scan(), on=["image", "label"], how="inner").collect(engine="streaming")
    )
    codes = fusion.coder.codes(judged.to_arrow(compat_level=pl.CompatLevel.oldest()))
    model = parts._model(kind, fusion.coder, 0, codes, judged["yes"].to_numpy(), judged["weight"].to_numpy())
    return replace(fusion, score=model)


WORK = {"targets": targets, "write": write, "select": fit_and_select}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs=2)
    parser.add_argument("--num-pairs", type=int, default=100_000_000)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.only:
        print(json.dumps(WORK[asked.only[0]](asked.folder, int(asked.only[1]))))
        return
    plan = [("targets", seed) for seed in SEEDS] + [("write", asked.num_pairs), ("select", asked.num_pairs)]
    rows: list[dict[str, object]] = []
    for what, number in plan:
        done = measuring.alone(asked.folder, "--only", what, number)
        for found in done if isinstance(done, list) else [done]:
            about = {key: found.pop(key, None) for key in ("num_labels", "hierarchy", "seed", "target", "per", "floor")}
            for name, value in found.items():
                rows.append({"work": what, "num_pairs": NUM_PAIRS if what == "targets" else number, **about,
                             "quantity": name, "value": str(value)})  # fmt: skip
            print(what, number, about, found, flush=True)
        measuring.write("selection", rows)
    for path in [*asked.folder.glob("part*.parquet"), asked.folder / "judged.parquet"]:
        path.unlink()


if __name__ == "__main__":
    main()
