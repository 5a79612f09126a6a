"""What named studies are made of: the built-in world, or the user's own sets, named in a TOML file.

Nothing is drawn or read until a cell of a study asks for it; what is made is kept in the folder `at`, and made once.
"""

import dataclasses
import functools
import tomllib
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
from jftdata.override import override
from jftdata.pretrain.config import PretrainConfig
from jftdata.sources import from_hub
from jftdata.study.plan import Judge
from jftdata.subset import Subset
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.run import recipe_of

LABELLED = ("knn", "few-shot", "linear-probe", "classification")
"""Tasks that are judged on the part `classification`; the others are called like theirs."""
PARTS = {
    "clean": "a catalog with clean labels to pretrain on",
    "classification": "a catalog with one label an image, in splits for training and for tests",
    "detection": "a folder with boxes",
    "segmentation": "a folder with masks",
    "pose": "a folder with keypoints",
    "validation": "a catalog of densely labelled images under the noisy set's labels",
    "vocabulary": "a text file with a label of the noisy set a line",
    "truth": "a .parquet with the columns image and label, all that truly hold (the built-in world has them planted)",
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
    """How many images that is, for the plan."""
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
    vocabulary_images: int | None = None
    """Images of each of its sets, in the place of 30M; None is the second-largest of `sizes`."""
    truth: Callable[[], pl.DataFrame] | None = None
    """Labels that truly hold: `image`, `label`, the main one of an image first; those above them follow."""
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
    scratch_recipe: Recipe | str | None = None
    """Of Table 1's classification, long enough to learn it from fresh weights; None is that of `task_recipes`."""

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 2 or list(self.sizes) != sorted(set(self.sizes)):
            raise BadArgument(f"`sizes` must be two or more ascending numbers of images. Got {list(self.sizes)}.")
        if not self.recipe.total_epochs:
            raise BadArgument("`recipe` must train. Got total_epochs=0.")
        if not self.judged_by:
            raise BadArgument("`judged_by` must name a task. Got none.")
        for task, recipe in self.task_recipes.items():
            recipe_of(task, recipe)
        recipe_of("classification", self.scratch_recipe)
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

    def judge(self, task: str, *, mode: str | None = None, recipe: Recipe | str | None = None) -> Judge:
        """A transfer task on its part, with its recipe.

        Raises:
            BadInput: the part is not given.
        """
        data = self.part("classification" if task in LABELLED else task)
        return Judge(task=task, mode=mode, data=data, recipe=recipe or self.task_recipes.get(task))

    def judges(self) -> list[Judge]:
        """Those of `judged_by`."""
        named = (entry.partition("/") for entry in self.judged_by)
        return [self.judge(task, mode=mode or None) for task, _, mode in named]

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
    num_vocabulary: int = 5_000
    """Images of each set of Table 6; about 60% of the noisy set have one of the clean set's labels."""
    num_detection: int = 300
    """Images with boxes and masks, four in five to learn from; and four times as many with people, who are on every fifth."""
    task_share: float = 0.5
    """Of the passes over these that the tasks' `tiny` recipes make."""
    world_seed: int = 0


def world(at: Path | str, settings: WorldSettings | None = None, *, workers: int | None = None) -> StudyData:
    """The built-in world, drawn in parts when first asked for.

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
    def truth() -> pl.DataFrame:
        shown = pl.scan_parquet(files().truth_objects).explode("labels", empty_as_null=False)
        named = noisy().scan().select("image", path=pl.col("source").str.extract(r":([^:]+)$"))
        held = shown.select("path", label="labels").join(named, on="path", maintain_order="left")
        return held.select("image", "label").collect().unique(maintain_order=True)

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
        vocabulary_images=s.num_vocabulary,
        truth=truth,
        left_out=left_out,
        architectures=("resnet10", "resnet18", "resnet34"),
        clean_epochs=(3.0, 6.0, 12.0, 40.0),
        task_recipes={task: _longer(task, s.task_share) for task in ("detection", "segmentation", "pose")},
        scratch_recipe=_longer("classification", 5),
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
    """The user's own sets, as a TOML file names them; paths are relative to it:

        noisy = "photos.catalog"               # the large set
        sizes = [10000, 100000, 1000000]       # images of it to pretrain on
        recipe = "modern_resnet101"            # of `jftdata.recipes`
        set = ["total_epochs=4"]               # its fields
        seeds = [0, 1, 2]
        judged_by = ["detection", "detection/frozen"]
        classification = "imagenette.catalog"
        detection = "coco"                     # also segmentation, pose: folders that the tasks read
        clean = "imagenette.catalog"           # a clean set to pretrain on
        clean_recipe = "imagenet_resnet101"    # and clean_set, its fields
        validation = "dense.catalog"
        vocabulary = "few.txt"                 # a label a line; also vocabulary_images, a number
        truth = "truth.parquet"                # image, label: all that truly hold
        left_out = "drop.txt"                  # an image id a line
        architectures = ["resnet50", "resnet101"]
        epochs = [1.3, 2.6, 4]                 # also clean_epochs
        task_recipes = { detection = "paper" }

    Args:
        path: the file; it must give `noisy`, `sizes` and `recipe`, and what a study needs.
        at: folder for what is derived from the sets.

    Raises:
        MissingInput: no such file, or what it names is not there.
        BadInput: it is no TOML, or a key is missing or of another type.
        UnknownOption: a key, recipe or task that is not known; the nearest is suggested.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Give a TOML file that names your sets.")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is not TOML ({error}). Correct it.") from error
    for key, value in told.items():
        if key not in _KEYS:
            raise one_of(f"key of {path}", key, _KEYS)
        kind, of = _KEYS[key]
        inside = value if kind is list else value.values() if kind is dict else ()
        if not isinstance(value, kind) or not all(isinstance(x, of) for x in inside):
            raise BadInput(f"`{key}` of {path} must be {_written(kind, of)}. Got {value!r}.")
    for key in ("noisy", "sizes", "recipe"):
        if key not in told:
            raise BadInput(f"{path} has no `{key}`. Add it.")
    config = override(recipes.get(told["recipe"]), told.get("set", []))
    values: dict[str, Any] = {"recipe": config}
    if "clean_recipe" in told:
        values["clean_recipe"] = override(recipes.get(told["clean_recipe"]), told.get("clean_set", []))
    elif "clean_set" in told:
        values["clean_recipe"] = override(config, told["clean_set"])
    if "scratch_recipe" in told:
        values["scratch_recipe"] = told["scratch_recipe"]
    for key in told.keys() - {"recipe", "set", "clean_recipe", "clean_set", "scratch_recipe"}:
        given = told[key]
        if isinstance(given, str):
            values[key] = _found(key, path.parent / given)
        else:
            values[key] = tuple(given) if isinstance(given, list) else given
    if "clean" in values:
        values["clean_images"] = len(_training(values["clean"]()))
    return StudyData(name=str(path), at=Path(at), **values)


_KEYS: dict[str, tuple[type, Any]] = {
    **dict.fromkeys(("recipe", "clean_recipe", "scratch_recipe"), (str, str)),
    **dict.fromkeys(("noisy", "clean", "classification", "validation"), (str, str)),
    **dict.fromkeys(("detection", "segmentation", "pose", "vocabulary", "truth", "left_out"), (str, str)),
    **dict.fromkeys(("set", "clean_set", "judged_by", "architectures"), (list, str)),
    **dict.fromkeys(("sizes", "seeds"), (list, int)),
    **dict.fromkeys(("epochs", "clean_epochs"), (list, int | float)),
    "vocabulary_images": (int, int),
    "task_recipes": (dict, str),
}
"""Keys of the file, their type and that of what is inside."""


def _written(kind: type, of: Any) -> str:
    things = {str: "texts", int: "whole numbers"}.get(of, "numbers")
    alone = {str: "a text", int: "a whole number"}
    return alone.get(kind) or f"a {'list' if kind is list else 'table'} of {things}"


def _found(key: str, where: Path) -> Callable[[], Any]:
    """How a part is read."""
    if not where.exists():
        raise MissingInput(f"{where}, the `{key}`, does not exist. Check the path.")
    if key in ("noisy", "clean", "classification", "validation"):
        return functools.cache(lambda: Catalog.open(where))
    if key == "vocabulary":
        return lambda: [line for line in where.read_text(encoding="utf-8").split("\n") if line]
    if key == "truth":
        return lambda: pl.read_parquet(where, columns=["image", "label"])
    if key == "left_out":
        return lambda: np.loadtxt(where, dtype=np.int64, ndmin=1)
    return lambda: where


def _training(catalog: Catalog) -> Subset:
    return subset.everything(catalog, split="train" if "train" in catalog.splits else None)


def _folder(files: drawn.WorldFiles) -> Path:
    assert files.detection is not None
    return files.detection


def _longer(task: str, times: float) -> Recipe:
    recipe = recipe_of(task, "tiny")
    assert recipe is not None
    assert recipe.epochs is not None
    return dataclasses.replace(recipe, epochs=recipe.epochs * times)
