"""One call for every task: checkpoint, task and data in, Results with intervals out."""

import json
from pathlib import Path

from jftdata import embed
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, one_of
from jftdata.results import FORMAT, Results
from jftdata.storage import existing
from jftdata.transfer.classification import Classification
from jftdata.transfer.metrics import bootstrap
from jftdata.transfer.probe import Knn, LinearProbe
from jftdata.transfer.task import Inputs, Task, single_label

TASKS: dict[str, Task] = {"knn": Knn(), "linear-probe": LinearProbe(), "classification": Classification()}


def run(
    checkpoint: Checkpoint, *, task: str, data: Catalog, out: Path | str, mode: str | None = None, seed: int = 0,
    features: Path | str | None = None, workers: int | None = None, device: str = "auto",
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
        workers: decoding threads.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        One row a metric, with a 95% bootstrap interval over test images.

    Raises:
        UnknownName: no such task.
        BadArgument: a mode the task does not have.
        BadInput: data without the splits or with other than one label an image.
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
    if existing(out, format=FORMAT, made_with=made_with, inputs=inputs) is not None:
        return Results.open(out)
    task_data = single_label(data)
    vectors = None
    if job.wants_features:
        folder = Path(features) if features is not None else out.parent / "features"
        cache = folder / f"{checkpoint.fingerprint[:16]}-{data.fingerprint[:16]}"
        vectors = embed.run(data, embedder=checkpoint, out=cache, workers=workers, device=device)
    given = Inputs(checkpoint, task_data, vectors, seed, workers, device)
    rows = []
    for score in job(given):
        low, high = bootstrap(score.values, seed=seed)
        rows.append({
            "checkpoint": checkpoint.fingerprint, "subset": checkpoint.sidecar.inputs["subset"],
            "num_train_images": checkpoint.num_train_images, "seed": int(checkpoint.config["seed"]), "task": task,
            "mode": mode, "metric": score.metric, "value": float(score.values.mean()), "low": low, "high": high,
            "num_task_train": len(task_data.train), "num_task_test": len(task_data.test),
            "settings": json.dumps(score.settings, sort_keys=True),
        })  # fmt: skip
    results = Results.of(rows)
    results.save(out, made_with=made_with, inputs=inputs)
    return results
