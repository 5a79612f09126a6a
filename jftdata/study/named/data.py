"""What named studies are made of: the built-in world, or the user's own sets, named in a TOML file.

Nothing is drawn or read until a cell of a study asks for it; what is made is kept in the folder `at`, and made once.
"""

import dataclasses
import functools
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import dedup, embed, recipes, subset
from jftdata import world as drawn
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, MissingInput, one_of
from jftdata.hierarchy import Hierarchy
from jftdata.pretrain.config import PretrainConfig
from jftdata.sources import from_hub
from jftdata.subset import Subset
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.run import recipe_of

LABELLED = ("knn", "few-shot", "linear-probe", "classification")
"""Tasks that are judged on the part `classification`; the others are called like theirs."""
PARTS = {
    "clean": "a catalog with clean labels to pretrain on, and `clean_images`, how many it has",
    "classification": "a catalog with one label an image, in splits for training and for tests",
    "detection": "a folder with boxes",
    "segmentation": "a folder with masks",
    "pose": "a folder with keypoints",
    "validation": "a catalog of densely labelled images under the noisy set's labels",
    "vocabulary": "a text file with a label of the noisy set a line",
}
"""What a study may need beside the noisy set."""


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """The sets a named study works with, and its scale."""

    name: str
    at: Path
    """Folder for what is derived from the sets."""
    noisy: Callable[[], Catalog]
    """The large set with noisy labels, in the place of JFT-300M; its split `train` where it has one, else all of it."""
    recipe: PretrainConfig
    """Pretraining on it."""
    sizes: tuple[int, ...]
    """Images to pretrain on, ascending; the last is the whole experiment, in the place of 300M."""
    seeds: tuple[int, ...] = (0, 1, 2)
    judged_by: tuple[str, ...] = ("knn", "linear-probe", "classification")
    """Tasks, or `task/mode`, for studies in which the paper judges by detection without its being the subject."""
    clean: Callable[[], Catalog] | None = None
    """A clean set to pretrain on, in the place of ImageNet; its split `train` where it has one."""
    clean_images: int = 0
    """How many images that is."""
    clean_recipe: PretrainConfig | None = None
    """None is `recipe`."""
    classification: Callable[[], Catalog] | None = None
    detection: Callable[[], Path] | None = None
    segmentation: Callable[[], Path] | None = None
    pose: Callable[[], Path] | None = None
    validation: Callable[[], Catalog] | None = None
    """For mAP@100, in the place of FastEval14k."""
    vocabulary: Callable[[], Sequence[str]] | None = None
    """The few labels of Table 6, in the place of ImageNet's 941 in JFT-300M."""
    left_out: Callable[[], NDArray[np.int64]] | None = None
    """Images of the noisy set that are not trained on: near-duplicates, copies of test images."""
    architectures: tuple[str, ...] = ("resnet50", "resnet101", "resnet152")
    """For Figure 5, ascending."""
    epochs: tuple[float, ...] = (1.3, 2.6, 4.0)
    """Of the noisy set, for Table 4."""
    clean_epochs: tuple[float, ...] = (3.0, 6.0, 12.0, 150.0)
    """Of the clean set, for Table 5."""
    task_recipes: Mapping[str, Recipe | str] = field(default_factory=dict)
    """Of transfer tasks, where it is not the task's first."""

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 2 or list(self.sizes) != sorted(set(self.sizes)):
            raise BadArgument(f"`sizes` must be two or more ascending numbers of images. Got {list(self.sizes)}.")
        if not self.judged_by:
            raise BadArgument("`judged_by` must name a task. Got none.")
        for task, recipe in self.task_recipes.items():
            recipe_of(task, recipe)
        if self.clean is not None and self.clean_images < 2:
            raise BadArgument(f"`clean_images` must be the number of images of the clean set. Got {self.clean_images}.")

    def part(self, name: str) -> Callable[[], Any]:
        """One of `PARTS`.

        Raises:
            BadInput: it is not given.
        """
        found: Callable[[], Any] | None = getattr(self, name)
        if found is None:
            raise BadInput(f"{self.name} has no `{name}`, which this study needs. Give {PARTS[name]}.")
        return found

    def images(self, *, left_out: bool = True) -> Subset:
        """The noisy set's images to train on.

        Args:
            left_out: whether those of `left_out` are taken away.
        """
        images = _training(self.noisy())
        return subset.without(images, images=self.left_out()) if left_out and self.left_out is not None else images

    def clean_set(self) -> Subset:
        """The clean set's images to train on."""
        return _training(self.part("clean")())


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """Scale of the studies on the built-in world; the defaults are for two cores."""

    num_images: int = 10_000
    """Images of the noisy set."""
    sizes: tuple[int, ...] = (250, 800, 2_500, 8_000)
    """Near-duplicates are taken out first, so the largest must leave room."""
    seeds: tuple[int, ...] = (0, 1, 2)
    total_epochs: float = 4.0
    """Passes over the noisy set, as in the paper."""
    image_size: int = 32
    """Pixels the network sees."""
    num_clean_train: int = 600
    """Of the clean set that is judged on."""
    num_clean_test: int = 600
    num_clean: int = 2_400
    """Of another clean set, which is pretrained on."""
    num_eval: int = 500
    """Densely labelled images, for mAP@100."""
    num_detection: int = 300
    """Images with boxes and masks, four in five to learn from; and four times as many with people, who are on every fifth."""
    task_epochs: float = 4.0
    """Passes over these."""
    world_seed: int = 0


def world(at: Path | str, settings: WorldSettings | None = None, *, workers: int | None = None) -> StudyData:
    """The built-in world, drawn in parts when first asked for: the noisy set takes 15 s on two cores.

    Args:
        at: folder for all of it.
        settings: its scale.
        workers: processes and threads; None is one a core.
    """
    s, at = settings or WorldSettings(), Path(at)

    def write(
        name: str, *, seed: int, num_images: int = 1, num_eval: int = 0, num_clean_train: int = 0,
        num_clean_test: int = 0, num_detection: int = 0,
    ) -> drawn.WorldFiles:  # fmt: skip
        return drawn.write(
            at / name, num_images=num_images, seed=seed, num_eval=num_eval, num_clean_train=num_clean_train,
            num_clean_test=num_clean_test, num_detection=num_detection, workers=workers,
        )  # fmt: skip

    @functools.cache
    def files() -> drawn.WorldFiles:
        return write(
            "world", seed=s.world_seed, num_images=s.num_images, num_clean_train=s.num_clean_train,
            num_clean_test=s.num_clean_test,
        )  # fmt: skip

    def catalog(path: Path, name: str, *, tree: bool) -> Catalog:
        hierarchy = Hierarchy.load("world") if tree else None
        label = "labels" if tree else "label"
        return from_hub(path, label=label, hierarchy=hierarchy, out=at / f"{name}.catalog", workers=workers)

    @functools.cache
    def noisy() -> Catalog:
        return catalog(files().train, "train", tree=True)

    @functools.cache
    def judged() -> Catalog:
        return catalog(files().clean, "clean", tree=False)

    @functools.cache
    def clean() -> Catalog:
        made = write("clean-world", seed=s.world_seed + 1, num_clean_train=s.num_clean)
        return catalog(made.clean, "clean-pretraining", tree=False)

    @functools.cache
    def dense() -> Catalog:
        made = write("dense-world", seed=s.world_seed, num_eval=s.num_eval)
        return catalog(made.dense_eval, "dense", tree=True)

    @functools.cache
    def boxes() -> Path:
        return _folder(write("boxes-world", seed=s.world_seed, num_detection=s.num_detection))

    @functools.cache
    def people() -> Path:
        return _folder(write("people-world", seed=s.world_seed + 1, num_detection=4 * s.num_detection))

    @functools.cache
    def left_out() -> NDArray[np.int64]:
        return copies(noisy(), judged(), at=at, workers=workers)

    recipe = recipes.tiny(total_epochs=s.total_epochs, image_size=s.image_size)
    clean_epochs = s.total_epochs * s.sizes[-1] / s.num_clean  # sees as many images as the noisy set shows
    return StudyData(
        name="the built-in world",
        at=at,
        noisy=noisy,
        recipe=recipe,
        sizes=s.sizes,
        seeds=s.seeds,
        clean=clean,
        clean_images=s.num_clean,
        clean_recipe=dataclasses.replace(
            recipe, total_epochs=clean_epochs, warmup_epochs=0.1 * clean_epochs, loss="softmax"
        ),
        classification=judged,
        detection=boxes,
        segmentation=lambda: boxes() / "voc" / "VOC2012",
        pose=people,
        validation=dense,
        vocabulary=lambda: [entry.world_label for entry in drawn.clean_labels() if entry.world_label],
        left_out=left_out,
        architectures=("resnet10", "resnet18", "resnet34"),
        clean_epochs=(3.0, 6.0, 12.0, 40.0),
        task_recipes={task: _short(task, s.task_epochs) for task in ("detection", "segmentation", "pose")},
    )


def copies(catalog: Catalog, tests: Catalog, *, at: Path, workers: int | None = None) -> NDArray[np.int64]:
    """Images of a catalog that need not be there: all but one of each group of near-duplicates, and copies of test images.

    Args:
        catalog: to train on; its embeddings are kept in `at`.
        tests: their split `test` is compared.
        at: folder.
        workers: threads; None is one a core.

    Returns:
        (n,) ids, ascending.
    """
    ours = embed.run(catalog, out=at / "train.embeddings", workers=workers)
    theirs = embed.run(tests, split="test", out=at / "clean-test.embeddings", workers=workers)
    extra = dedup.extra_copies(dedup.group_pairs(dedup.find_pairs(ours)), catalog)
    leaks = dedup.find_overlap(theirs, ours)["train_image"]
    return pl.concat([extra, leaks]).unique().sort().to_numpy()


def read(path: Path | str, *, at: Path | str) -> StudyData:
    """The user's own sets, as a TOML file names them; paths are from the file's folder.

        noisy = "photos.catalog"
        sizes = [10000, 100000, 1000000]
        judged_by = ["detection", "detection/frozen"]
        classification = "imagenette.catalog"
        detection = "coco"
        clean = "imagenette.catalog"
        clean_images = 9469
        [recipe]
        name = "modern_resnet101"
        total_epochs = 4
        [task_recipes]
        detection = "paper"

    Args:
        path: the file. It may name every field of `StudyData`; `noisy`, `sizes` and `recipe` it must. `clean_recipe` is written
            like `recipe`; `left_out` is a text file with an image id a line, `vocabulary` one with a label a line.
        at: folder for what is derived from the sets.

    Raises:
        MissingInput: no such file, or what it names is not there.
        BadInput: it is no TOML, or a field is missing or of another type.
        UnknownOption: a field, recipe or task that is not known; the nearest is suggested.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Give a TOML file that names your sets.")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}. Mend it there.") from error
    kinds = {f.name: f.type for f in dataclasses.fields(StudyData) if f.name not in ("name", "at")}
    for name in told:
        if name not in kinds:
            raise one_of(f"field of {path}", name, kinds)
    missing = [name for name in ("noisy", "sizes", "recipe") if name not in told]
    if missing:
        raise BadInput(f"{path} has no `{missing[0]}`. It must give noisy, sizes and recipe.")
    values: dict[str, Any] = {}
    for name, value in told.items():
        try:
            values[name] = _value(name, value, path.parent)
        except (TypeError, ValueError) as error:
            if isinstance(error, BadArgument | BadInput):
                raise
            raise BadInput(f"`{name}` in {path} is not what it must be. Got {value!r} ({error}).") from error
    return StudyData(name=str(path), at=Path(at), **values)


def _value(name: str, value: Any, folder: Path) -> Any:
    """A field of `StudyData` from what TOML has."""
    if name in ("recipe", "clean_recipe"):
        return _recipe(name, value)
    if name in ("sizes", "seeds"):
        return tuple(int(x) for x in value)
    if name in ("epochs", "clean_epochs"):
        return tuple(float(x) for x in value)
    if name in ("judged_by", "architectures"):
        return tuple(map(str, value))
    if name == "clean_images":
        return int(value)
    if name == "task_recipes":
        return {str(task): recipe for task, recipe in value.items()}
    where = folder / value
    if not where.exists():
        raise MissingInput(f"{where}, given as `{name}`, does not exist. Check the path.")
    if name in ("noisy", "clean", "classification", "validation"):
        return functools.cache(lambda: Catalog.open(where))
    if name == "vocabulary":
        return lambda: [line for line in where.read_text(encoding="utf-8").split("\n") if line]
    if name == "left_out":
        return lambda: np.loadtxt(where, dtype=np.int64, ndmin=1)
    return lambda: where


def _recipe(field_name: str, value: Mapping[str, Any]) -> PretrainConfig:
    settings = dict(value)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise BadArgument(f"`{field_name}` must have a `name`, one of {', '.join(recipes.RECIPES)}. Got {name!r}.")
    known = typing.get_type_hints(PretrainConfig)
    for setting in settings:
        if setting not in known:
            raise one_of(f"setting of `{field_name}`", setting, known)
    return dataclasses.replace(recipes.get(name), **settings)


def _training(catalog: Catalog) -> Subset:
    return subset.everything(catalog, split="train" if "train" in catalog.splits else None)


def _folder(files: drawn.WorldFiles) -> Path:
    assert files.detection is not None
    return files.detection


def _short(task: str, epochs: float) -> Recipe:
    recipe = recipe_of(task, "tiny")
    assert recipe is not None
    return dataclasses.replace(recipe, epochs=epochs)
