"""Named studies one after another, all of the paper's by default: `python benchmarks/paper/studies.py FOLDER [NAME ...]`.

On the built-in world or, with `--data`, on the sets that a TOML file names (`jftdata.study.named.data.read`); all studies share
them. A study that was stopped goes on. For each one, as soon as it is done, writes `results/study_<name>_<hardware>_<yyyymm>.csv`
with every score of every seed; the like `study_<name>_paper_...` with the paper's numbers beside the means of ours and their 95%
intervals over seeds (Student's t); where sizes differ `study_<name>_fits_...` with the curves; and `study_<name>_verdict_...` with what
it comes to and the seconds of this call. `--smoke` does little and writes into FOLDER.
"""

import argparse
import sys
import time
from pathlib import Path

import polars as pl

from jftdata.study import curves, named, outlook, runner
from jftdata.study.named import data as sets
from jftdata.study.named.paper_numbers import PAPER, beside

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measuring import RESULTS, write

SMALL = sets.WorldSettings(
    num_images=200, sizes=(20, 50, 120), seeds=(0, 1), total_epochs=1.0, num_clean_train=60, num_clean_test=30, num_clean=40,
    num_eval=20, num_vocabulary=50, num_detection=5, task_share=0.02,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args()
    at = asked.folder / "data"
    data = (
        sets.read(asked.data, at=at)
        if asked.data
        else sets.world(at, SMALL if asked.smoke else None, workers=asked.workers)
    )
    for name in asked.names or [name for name in named.STUDIES if name in PAPER]:
        one(name, data, asked.folder / name, asked.folder if asked.smoke else RESULTS, asked.workers)


def one(name: str, data: sets.StudyData, out: Path, results: Path, workers: int | None) -> None:
    """Run a study and write what it found."""
    began, said = time.monotonic(), []
    if named.STUDIES[name].make is not None:
        study = named.make(name, data=data, out=out)
        table = runner.run(study, out=out, workers=workers, on_cell=lambda cell: print(name, cell.name, flush=True))
        said += [study.verdict(table)] if study.verdict is not None else []
        write(f"study_{name}", table.drop("checkpoint", "subset", "settings", "data", "overlap"), folder=results)
        write(f"study_{name}_paper", beside(study, table), folder=results)
        by = ["task", "mode", "metric", *study.by]
        sized, _ = curves.with_two_sizes(table, x=study.x, by=by)
        if sized[study.x].filter(sized[study.x] > 0).n_unique() > 1:
            write(f"study_{name}_fits", outlook.summary(curves.fit(sized, x=study.x, by=by)), folder=results)
    said += [named.write(name, data=data, out=out)]
    lines = [line for text in said for line in text.split("\n") if line]
    seconds = round(time.monotonic() - began)
    write(f"study_{name}_verdict", pl.DataFrame({"said": lines, "seconds": [seconds] * len(lines)}), folder=results)
    print("\n".join([f"{name}: {seconds} s", *lines]), flush=True)


if __name__ == "__main__":
    main()
