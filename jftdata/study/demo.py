"""The main job on the built-in world, from nothing to a report: world, catalogs, tail, copies, noise, pretraining, transfer, curve.

Each step is an artefact in the output folder, so the same command again goes on where a killed one stopped.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jftdata import dedup, embed, noise, recipes, world
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument
from jftdata.hierarchy import Hierarchy
from jftdata.pretrain.config import PretrainConfig
from jftdata.progress import say
from jftdata.results import Results
from jftdata.sources import from_hub
from jftdata.study import report
from jftdata.study.sizes import TASKS, data_size


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the demo does; the defaults fit two cores and six minutes."""

    num_images: int = 10_000
    """Images of the noisy set."""
    sizes: tuple[int, ...] = (250, 800, 2_500, 8_000)
    """Pretraining images; near-duplicates are taken out first, so the largest must leave room."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each draws its own subsets, weights and order."""
    total_epochs: float = 4.0
    """Passes over each subset, as in the paper."""
    image_size: int = 32
    """Pixels the network sees."""
    num_clean_train: int = 600
    num_clean_test: int = 600
    world_seed: int = 0

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or max(self.sizes) > self.num_images:
            raise BadArgument(
                f"`sizes` must be two or more, none above num_images ({self.num_images}). Got {self.sizes}."
            )

    def recipe(self) -> PretrainConfig:
        """The recipe of every run."""
        return recipes.tiny(total_epochs=self.total_epochs, image_size=self.image_size)


@dataclass(frozen=True)
class Demo:
    """What the demo made."""

    report: Path
    results: Results
    seconds: float


def run(out: Path | str, settings: DemoSettings | None = None, *, workers: int | None = None) -> Demo:
    """Run the whole chain on the built-in world.

    Args:
        out: folder for everything; `out/report.html` is the page to open.
        settings: sizes and seeds.
        workers: processes and threads; None is one a core.

    Raises:
        OutputExists: `out` holds a demo with other settings.
    """
    settings = settings or DemoSettings()
    out = Path(out)
    began = time.monotonic()
    steps = _Steps(settings)
    with steps.step("drawing the world", steps.world):
        files = world.write(
            out / "world",
            num_images=settings.num_images,
            seed=settings.world_seed,
            num_eval=0,
            num_clean_train=settings.num_clean_train,
            num_clean_test=settings.num_clean_test,
            workers=workers,
        )
    tree = Hierarchy.load("world")
    with steps.step("making catalogs", steps.catalogs):
        catalog = from_hub(files.train, label="labels", hierarchy=tree, out=out / "train.catalog", workers=workers)
        clean = from_hub(files.clean, label="label", out=out / "clean.catalog", workers=workers)
    with steps.step("finding near-duplicates", steps.findings):
        train_embeddings = embed.run(catalog, out=out / "train.embeddings", workers=workers)
        test_embeddings = embed.run(clean, split="test", out=out / "clean-test.embeddings", workers=workers)
        pairs = dedup.find_pairs(train_embeddings)
        overlap = dedup.find_overlap(test_embeddings, train_embeddings)
        drop = pl.concat([dedup.extra_copies(dedup.group_pairs(pairs), catalog), overlap["train_image"]]).unique()
    results = data_size(
        catalog,
        settings.recipe(),
        data=clean,
        sizes=settings.sizes,
        seeds=settings.seeds,
        out=out / "study",
        without=drop.to_numpy(),
        workers=workers,
        on_cell=steps.cell,
    )
    runs = sorted((out / "study" / "runs").iterdir(), key=lambda p: p.name)
    checkpoints = [Checkpoint.open(p) for p in runs if p.is_dir() and not p.name.endswith(".partial")]
    with steps.step("auditing labels and writing the report", steps.report):
        best = out / "study" / "runs" / f"{max(settings.sizes)}-s{settings.seeds[0]}"
        learned = embed.run(catalog, embedder=Checkpoint.open(best), out=out / "train.learned", workers=workers)
        audit = noise.audit(catalog, learned)
        page = report.Report(
            title="What would more data buy?",
            catalog=catalog,
            pairs=pairs,
            overlap={"clean test set": report.Overlap(found=overlap, num_test_images=len(test_embeddings), test=clean)},
            audit=audit,
            wrong_labels=planted_errors(catalog, files),
            checkpoints=checkpoints,
            results=results,
            judged_on="the clean set",
            command="jftdata demo",
            seconds=time.monotonic() - began,
        )
        path = report.write(page, out / "report.html")
    return Demo(path, results, time.monotonic() - began)


def planted_errors(catalog: Catalog, files: world.WorldFiles) -> pl.DataFrame:
    """The wrong given labels of a world by image id: columns `image` and `label`."""
    wrong = pl.scan_parquet(files.truth_labels).filter(pl.col("error") != "").select("path", "label")
    named = catalog.scan().select("image", path=pl.col("source").str.extract(r":([^:]+)$"))
    return wrong.join(named, on="path").select("image", "label").collect().unique().sort("image", "label")


class _Steps:
    """Tells which step runs and about how long the rest will take, from the seconds each step takes on two cores."""

    def __init__(self, settings: DemoSettings) -> None:
        self._settings = settings
        cells = [self._seconds_of(task, size) for size in (0, *settings.sizes) for task in ("pretrain", *TASKS)]
        self.world, self.catalogs, self.findings, self.report = settings.num_images / 900, 2.0, 3.0, 5.0
        self._left = self.world + self.catalogs + self.findings + self.report + sum(cells) * len(settings.seeds)
        self._done = 0.0
        self._cell_seconds = 0.0
        self._began = time.monotonic()

    @contextmanager
    def step(self, what: str, seconds: float) -> Iterator[None]:
        self._say(what)
        yield
        self._advance(seconds)

    def cell(self, task: str, size: int, seed: int) -> None:
        self._advance(self._cell_seconds)
        self._cell_seconds = self._seconds_of(task, size)
        self._say(f"{task}, {size:,} images, seed {seed}")

    def _seconds_of(self, task: str, size: int) -> float:
        if task == "pretrain":
            return 0.3 + size * self._settings.total_epochs / 900
        return {"classification": self._settings.num_clean_train / 140}.get(task, 0.8)

    def _advance(self, seconds: float) -> None:
        self._done += seconds
        self._left = max(0.0, self._left - seconds)

    def _say(self, what: str) -> None:
        spent = time.monotonic() - self._began
        pace = spent / self._done if self._done else 1.0
        say(f"[{spent:4.0f} s, about {pace * self._left / 60:.1f} min left] {what}")
