"""The main job on the built-in world as a guided tour: each step says what it does, what it found, and the command for images of
one's own.

World, catalogs, tail, copies, a study by data size, noise, the report. Each step is an artefact in the output folder, so the same
command again goes on where a killed one stopped.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jftdata import dedup, embed, noise, tail
from jftdata.checkpoint import Checkpoint
from jftdata.embeddings import Embeddings
from jftdata.progress import say
from jftdata.results import Results
from jftdata.study import report, runner
from jftdata.study.named import data as prepared
from jftdata.study.named.data import WorldSettings
from jftdata.study.named.paper import figure_4
from jftdata.study.named.planted import corrections
from jftdata.study.plan import Cell, cells

CHAPTERS = 5


@dataclass(frozen=True)
class Demo:
    """What the demo made."""

    report: Path
    results: Results
    seconds: float


def run(out: Path | str, settings: WorldSettings | None = None, *, workers: int | None = None) -> Demo:
    """Run the whole chain on the built-in world.

    Args:
        out: folder for everything; `out/report.html` is the page to open.
        settings: scale of the world and of the study by data size, which is `figure-4` of `jftdata study`.
        workers: processes and threads; None is one a core.

    Raises:
        OutputExists: `out` holds a demo with other settings.
    """
    settings = settings or WorldSettings()
    out = Path(out)
    began = time.monotonic()
    data = prepared.world(out, settings, workers=workers)
    judged = data.part("classification")
    study = figure_4(data)
    tour = _Tour(settings, cells(study))
    with tour.chapter(
        f"A world of {settings.num_images:,} images: drawn scenes with wrong and missing labels, copies and a long tail, and a "
        "clean set to judge on.",
        "jftdata catalog folder photos/ --out photos.catalog",
        tour.world,
    ) as found:
        catalog, clean = data.noisy(), judged()
        found(tail.describe(tail.summary(tail.label_counts(catalog))))
    with tour.chapter(
        "Near-duplicates: extra copies, and copies of test images, stay out of training.",
        "jftdata dedup photos.catalog --page pairs.html; jftdata overlap photos.catalog --test tests.catalog",
        tour.findings,
    ) as found:
        drop = data.part("left_out")()
        ours, theirs = (Embeddings.open(out / f"{name}.embeddings") for name in ("train", "clean-test"))
        pairs, overlap = dedup.find_pairs(ours), dedup.find_overlap(theirs, ours)
        found(
            f"{len(pairs):,} pairs; {overlap['test_image'].n_unique():,} of {len(theirs):,} test images have a copy in training; "
            f"{len(drop):,} images stay out"
        )
    with tour.chapter(
        f"A study: {', '.join(f'{n:,}' for n in settings.sizes)} images by {len(settings.seeds)} seeds, each pretrained and "
        "judged alike.",
        "jftdata study sizes photos.catalog --data tests.catalog --size 1000 --size 10000 --out study",
        0.0,
    ) as found:
        rows = runner.run(study, out=out / "study", workers=workers, on_cell=tour.cell)
        found(study.verdict(rows) if study.verdict is not None else "")
    results = Results.concat(Results.open(out / "study" / c.name) for c in cells(study) if c.judge is not None)
    runs = [Checkpoint.open(out / "study" / c.name) for c in cells(study) if c.judge is None]
    with tour.chapter(
        "Label noise: which given labels look wrong, by features of the network trained on the most images.",
        "jftdata noise audit photos.catalog photos.embeddings --out audit.parquet",
        tour.audit,
    ) as found:
        best = Checkpoint.open(out / "study" / "runs" / f"{max(settings.sizes)}-s{settings.seeds[0]}")
        learned = embed.run(catalog, embedder=best, out=out / "train.learned", workers=workers)
        audit = noise.audit(catalog, learned)
        wrong = corrections(catalog, data.part("truth")()).select("image", "label").unique().sort("image", "label")
        top = audit.head(100).join(wrong, on=["image", "label"], how="semi")
        found(
            f"{len(wrong):,} of {len(audit):,} given labels are wrong in this world; {len(top)} of the 100 most suspicious are"
        )
    with tour.chapter("The report.", "jftdata report photos.catalog study/ --out report.html", tour.report):
        page = report.Report(
            title="What would more data buy?",
            catalog=catalog,
            pairs=pairs,
            overlap={"clean test set": report.Overlap(found=overlap, num_test_images=len(theirs), test=clean)},
            audit=audit,
            wrong_labels=wrong,
            checkpoints=runs,
            results=results,
            judged_on="the clean set",
            command="jftdata demo",
            seconds=time.monotonic() - began,
        )
        path = report.write(page, out / "report.html")
    return Demo(path, results, time.monotonic() - began)


class _Tour:
    """Tells which chapter runs, what it found, and about how long the rest will take, from what each takes on two cores."""

    def __init__(self, settings: WorldSettings, study: Sequence[Cell]) -> None:
        self.world, self.findings, self.audit, self.report = settings.num_images / 900 + 2.0, 3.0, 4.0, 2.0
        self._settings = settings
        self._left = self.world + self.findings + self.audit + self.report + sum(map(self._seconds, study))
        self._done = self._of_cell = 0.0
        self._number = 0
        self._began = time.monotonic()

    @contextmanager
    def chapter(self, what: str, yours: str, seconds: float) -> Iterator[Callable[[str], None]]:
        """One chapter; yields what says its finding."""
        self._number += 1
        say(f"\n{self._number} of {CHAPTERS}  {what}\n        on your own: {yours}")
        yield lambda line: say(f"        found: {line}") if line else None
        self._advance(seconds)

    def cell(self, cell: Cell) -> None:
        """Say that a cell of the study begins."""
        self._advance(self._of_cell)
        self._of_cell = self._seconds(cell)
        spent = time.monotonic() - self._began
        pace = spent / self._done if self._done else 1.0
        say(f"        [{spent:4.0f} s, about {pace * self._left / 60:.1f} min left] {cell.name}")

    def _seconds(self, cell: Cell) -> float:
        if cell.judge is None:
            return 0.3 + cell.passes / 900
        return self._settings.num_clean_train / 140 if cell.judge.task == "classification" else 0.8

    def _advance(self, seconds: float) -> None:
        self._done += seconds
        self._left = max(0.0, self._left - seconds)
