"""One call for every task: checkpoint, task and data in, Results with intervals out."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput, MissingInput, one_of
from jftdata.overlap import find, where
from jftdata.pretrain.ranks import joined
from jftdata.progress import say
from jftdata.results import FORMAT, FORMATS, Results
from jftdata.storage import SIDECAR, building, existing, read_sidecar
from jftdata.transfer.annotations.core import Annotations
from jftdata.transfer.classification import Classification
from jftdata.transfer.detection import Detection
from jftdata.transfer.fit import STATES
from jftdata.transfer.labelled import Labelled
from jftdata.transfer.metrics import judge
from jftdata.transfer.pose import Pose
from jftdata.transfer.probe import FewShot, Knn, LinearProbe
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.segmentation import Segmentation
from jftdata.transfer.task import Data, Inputs, Task

TASKS: dict[str, Task] = {
    "knn": Knn(),
    "few-shot": FewShot(),
    "linear-probe": LinearProbe(),
    "classification": Classification(),
    "detection": Detection(),
    "pose": Pose(),
    "segmentation": Segmentation(),
}


def run(
    checkpoint: Checkpoint, *, task: str, data: Catalog | Path | str, out: Path | str, mode: str | None = None,
    recipe: Recipe | str | None = None, seed: int = 0, cache: Path | str | None = None,
    overlap: Path | str | None = "auto", test_catalog: Catalog | None = None, workers: int | None = None,
    device: str = "auto",
) -> Results:  # fmt: skip
    """Judge a checkpoint on a task.

    Args:
        checkpoint: what to judge.
        task: one of `TASKS`.
        data: a catalog, or a folder in a published layout that the task knows.
        out: folder for the results; the same call again returns them at once, and goes on where a killed one stopped.
        mode: `frozen` or `finetune`; None takes the task's first.
        recipe: how to train, or the name of one of the task's recipes; None takes its first. Give every checkpoint of a comparison
            the same.
        seed: of fresh layers, the order of images, held-out parts and the bootstrap.
        cache: folder that runs share, where features and what was read are kept; None is `cache` in `out`'s parent.
        overlap: folder where `overlap.register` keeps the copies of the data's images in training; `auto` looks beside the
            checkpoint's training catalog, None does not look.
        test_catalog: a catalog of the same test files to look copies up by, where `data` is none.
        workers: decoding threads of each process; None is one a core.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        One row for each metric that is defined on the test images, with a 95% interval over resampled test images. Where copies are
        known, the columns from `overlap` on say what they do to the score: copies of images the checkpoint saw are left out of
        `value_clean`.

    Raises:
        UnknownName: no such task or recipe.
        BadArgument: a mode or recipe that the task does not have.
        BadInput: data that does not fit the task.
        MissingInput: `overlap` names a folder that has nothing about these two.
        OutputExists: `out` was made with other arguments.

    Source: Sun et al. 2017, sections 4.3 and 5, and appendix A for scores with and without copies.
    """
    chosen = recipe_of(task, recipe)
    job = TASKS[task]
    mode = mode or job.modes[0]
    if mode not in job.modes:
        raise BadArgument(f"task {task!r} has the mode {' or '.join(job.modes)}. Got {mode!r}.")
    out = Path(out)
    kept = Path(cache) if cache is not None else out.parent / "cache"
    with joined(device) as ranks:
        read = job.read(data, cache=kept, workers=workers) if ranks.first else None
        ranks.wait()
        given = read or job.read(data, cache=kept, workers=workers)
        made_with: dict[str, Any] = {"task": task, "mode": mode, "seed": seed}
        if chosen is not None:
            made_with["recipe"] = json.loads(json.dumps(dataclasses.asdict(chosen)))  # tuples as they come back
        inputs = {"checkpoint": checkpoint.fingerprint, "data": given.fingerprint}
        images = test_catalog or (given.catalog if isinstance(given, Labelled) else None)
        is_copy = _copies(checkpoint, given, images, overlap, inputs)
        made = _made_before(out, made_with, inputs, any_overlap=overlap == "auto")
        if made is not None:
            return made
        seen = Inputs(
            checkpoint, given, mode, chosen, seed, workers, ranks, out.with_name(out.name + ".partial"), kept
        )  # fmt: skip
        if ranks.first:
            with building(out, format=FORMAT, made_with=made_with, inputs=inputs) as build:
                ranks.from_first(build is not None)
                if build is not None:
                    for rule, places in _found_in(given).items():
                        say(f"{data}: {rule}: {len(places):,}, for example {places[0]}")
                    build.facts = _judge(job, task, seen, is_copy, inputs.get("overlap"))
        elif ranks.from_first(None) and chosen is not None:
            job(seen)
        ranks.wait()
    return Results.open(out)


def recipe_of(task: str, recipe: Recipe | str | None = None) -> Recipe | None:
    """A recipe of a task, by name; None gives its first, and stays None for a task that trains nothing.

    Raises:
        UnknownName: no such task or recipe.
        BadArgument: a recipe of another task, or of a task that has none.

    >>> recipe_of("segmentation", "paper").schedule
    'poly'
    """
    if task not in TASKS:
        raise one_of("task", task, TASKS)
    recipes = TASKS[task].recipes
    if not recipes:
        if recipe is not None:
            raise BadArgument(f"task {task!r} trains nothing; `recipe` must be left out. Got {recipe!r}.")
        return None
    first = next(iter(recipes.values()))
    if recipe is None:
        return first
    if isinstance(recipe, str):
        if recipe not in recipes:
            raise one_of(f"recipe of {task}", recipe, recipes)
        return recipes[recipe]
    if type(recipe) is not type(first):
        raise BadArgument(f"`recipe` of {task} must be a {type(first).__name__}. Got a {type(recipe).__name__}.")
    return recipe


def _judge(
    job: Task, task: str, given: Inputs[Any, Any], is_copy: NDArray[np.bool_] | None, overlap: str | None
) -> dict[str, Any]:
    """Run the task and write its rows; returns facts."""
    checkpoint, data = given.checkpoint, given.data
    scores = job(given)
    rows, undefined = [], 0
    judged = judge([score.statistic for score in scores], data.num_test, seed=given.seed, is_copy=is_copy)
    for score, found in zip(scores, judged, strict=True):
        if found is None:
            undefined += 1
            continue
        clean: dict[str, Any] = {}
        if is_copy is not None:
            clean = {"overlap": overlap, "num_copies": int(is_copy.sum()), **found.clean}
        rows.append({
            "checkpoint": checkpoint.fingerprint, "subset": checkpoint.sidecar.inputs["subset"],
            "num_train_images": checkpoint.num_train_images, "seed": int(checkpoint.config["seed"]), "task": task,
            "mode": given.mode, "metric": score.metric, "value": found.value, "low": found.low, "high": found.high,
            "num_task_train": data.num_train, "num_task_test": data.num_test,
            "settings": json.dumps(score.settings, sort_keys=True), "data": data.fingerprint, **clean,
        })  # fmt: skip
    Results.of(rows).write(given.folder)
    shutil.rmtree(given.folder / STATES, ignore_errors=True)
    return {"num_rows": len(rows), "num_undefined": undefined, "found": {k: len(v) for k, v in _found_in(data).items()}}


def _found_in(data: Data) -> dict[str, list[str]]:
    """Where odd annotations were clipped or left out, by rule."""
    return data.found if isinstance(data, Annotations) else {}


def _copies(
    checkpoint: Checkpoint, data: Data, images: Catalog | None, overlap: Path | str | None, inputs: dict[str, str]
) -> NDArray[np.bool_] | None:
    """Which test images have a copy among those the checkpoint saw; adds the registry's fingerprint to the inputs."""
    if overlap is None:
        return None
    registry = None if overlap == "auto" else overlap
    if images is None:
        if registry is not None:
            raise BadArgument(
                "`overlap` needs `test_catalog`, a catalog of the test files, for data with boxes, masks or keypoints."
            )
        return None
    if registry is None and not checkpoint.knows_images:
        say(f"{checkpoint.path} does not know which images it saw; nothing is said of copies of the test images.")
        return None
    at = where(checkpoint, images, registry=registry)
    if at is None:
        if registry is not None:
            raise MissingInput(
                f"{registry} has nothing about {images.path} and the catalog that {checkpoint.path} was trained on. Call "
                "`overlap.register` with the two, or leave `overlap` out."
            )
        return None
    there = images.scan().select("image").collect()["image"].to_numpy()
    missing = data.test_images[~np.isin(data.test_images, there)]
    if len(missing):
        raise BadInput(
            f"{len(missing)} of the {data.num_test} test images are not in {images.path}, for example {missing[0]}. Give a "
            "catalog of the very files that are judged on."
        )
    inputs["overlap"] = read_sidecar(at).fingerprint
    pairs = find(checkpoint, images, registry=registry)
    assert pairs is not None
    return np.isin(data.test_images, pairs["test_image"].to_numpy())


def _made_before(
    out: Path, made_with: Mapping[str, Any], inputs: dict[str, str], *, any_overlap: bool
) -> Results | None:
    """Results that are there already, of any known format; on demand whatever was known of copies when they were made."""
    format = FORMAT
    if (out / SIDECAR).exists():
        there = read_sidecar(out)
        format = there.format if there.format in FORMATS else FORMAT
        if any_overlap:
            known = {role: value for role, value in there.inputs.items() if role == "overlap"}
            if "overlap" in inputs and known.get("overlap") != inputs["overlap"]:
                say(f"{out} was made before these copies of its test images were registered. Remove it to use them.")
            inputs = {role: value for role, value in inputs.items() if role != "overlap"} | known
    return None if existing(out, format=format, made_with=made_with, inputs=inputs) is None else Results.open(out)
