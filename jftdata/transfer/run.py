"""One call for every task: checkpoint, task and data in, Results with intervals out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jftdata import embed
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, MissingInput, one_of
from jftdata.overlap import find, where
from jftdata.progress import say
from jftdata.results import FORMAT, FORMATS, Results
from jftdata.storage import SIDECAR, existing, read_sidecar
from jftdata.transfer.classification import Classification
from jftdata.transfer.metrics import bootstrap, without_copies
from jftdata.transfer.probe import Knn, LinearProbe
from jftdata.transfer.task import Inputs, Task, single_label

TASKS: dict[str, Task] = {"knn": Knn(), "linear-probe": LinearProbe(), "classification": Classification()}


def run(
    checkpoint: Checkpoint, *, task: str, data: Catalog, out: Path | str, mode: str | None = None, seed: int = 0,
    features: Path | str | None = None, overlap: Path | str | None = "auto", workers: int | None = None,
    device: str = "auto",
) -> Results:  # fmt: skip
    """Judge a checkpoint on a task.

    Args:
        checkpoint: what to judge.
        task: `knn`, `linear-probe` (both frozen) or `classification` (fine-tuned).
        data: a catalog with one label an image and a train and a test split.
        out: folder for the results; the same call again returns them at once.
        mode: `frozen` or `finetune`; None takes the task's only one.
        seed: of the fresh head, the order of images, the held-out part and the bootstrap.
        features: folder where a frozen task's features are kept for the next task; None is inside `out`'s parent.
        overlap: folder where `overlap.register` keeps the copies of the data's images in training; `auto` looks beside the
            checkpoint's training catalog and goes without when they are not there; None never looks.
        workers: decoding threads.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        One row a metric, with a 95% bootstrap interval over test images. Where the copies are known it also has the score on
        the test images without a copy among the images this checkpoint saw, and the difference with a paired interval:
        zero when there are no copies, nulls when no image is left. With `auto`, results made before the copies were
        registered are returned as they are.

    Raises:
        UnknownName: no such task.
        BadArgument: a mode the task does not have.
        BadInput: data without the splits or with other than one label an image.
        TooManyRejects: an image that cannot be read.
        MissingInput: nothing about this data and this training catalog in the folder given as `overlap`, or a checkpoint
            that does not know which images it saw.

    Source: Sun et al. 2017, section 4.3 and appendix A, for scores with and without copies.
    """
    if task not in TASKS:
        raise one_of("task", task, TASKS)
    job = TASKS[task]
    mode = mode or job.modes[0]
    if mode not in job.modes:
        raise BadArgument(f"task {task!r} has the mode {' or '.join(job.modes)}. Got {mode!r}.")
    out = Path(out)
    made_with = {"task": task, "mode": mode, "seed": seed}
    inputs = {"checkpoint": checkpoint.fingerprint, "data": data.fingerprint}
    registry = None if overlap == "auto" else overlap
    pairs_at = None if overlap is None else _pairs_at(checkpoint, data, registry)
    if pairs_at is not None:
        inputs["overlap"] = read_sidecar(pairs_at).fingerprint
    made = _made_before(out, made_with, inputs, any_overlap=overlap == "auto")
    if made is not None:
        return made
    pairs = None if pairs_at is None else find(checkpoint, data, registry=registry)
    task_data = single_label(data)
    vectors = None
    if job.wants_features:
        folder = Path(features) if features is not None else out.parent / "features"
        cache = folder / f"{checkpoint.fingerprint[:16]}-{data.fingerprint[:16]}"
        vectors = embed.run(data, embedder=checkpoint, out=cache, max_rejected=0.0, workers=workers, device=device)
    given = Inputs(checkpoint, task_data, vectors, seed, workers, device)
    is_copy = None if pairs is None else np.isin(task_data.test["image"].to_numpy(), pairs["test_image"].to_numpy())
    rows = []
    for score in job(given):
        low, high = bootstrap(score.values, seed=seed)
        clean: dict[str, Any] = {}
        if is_copy is not None:
            clean = {"overlap": inputs["overlap"], "num_copies": int(is_copy.sum())}
            clean |= without_copies(score.values, is_copy, seed=seed)
        rows.append({
            "checkpoint": checkpoint.fingerprint, "subset": checkpoint.sidecar.inputs["subset"],
            "num_train_images": checkpoint.num_train_images, "seed": int(checkpoint.config["seed"]), "task": task,
            "mode": mode, "metric": score.metric, "value": float(score.values.mean()), "low": low, "high": high,
            "num_task_train": len(task_data.train), "num_task_test": len(task_data.test),
            "settings": json.dumps(score.settings, sort_keys=True), "data": data.fingerprint, **clean,
        })  # fmt: skip
    results = Results.of(rows)
    results.save(out, made_with=made_with, inputs=inputs)
    return results


def _pairs_at(checkpoint: Checkpoint, data: Catalog, registry: Path | str | None) -> Path | None:
    """Where the copies of the data's images in the checkpoint's training catalog are kept."""
    if registry is None and not checkpoint.knows_images:
        say(f"{checkpoint.path} does not know which images it saw; nothing is said of copies of the test images.")
        return None
    at = where(checkpoint, data, registry=registry)
    if at is None and registry is not None:
        raise MissingInput(
            f"{registry} has nothing about {data.path} and the catalog that {checkpoint.path} was trained on. Call "
            "`overlap.register` with the two, or leave `overlap` out."
        )
    return at


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
