"""A model card: a README.md for a checkpoint, with the front matter that model hubs read.

What was not measured is said to be so. Nothing in it is known beyond what the checkpoint and the results say.
"""

import json
import re
import statistics
from collections.abc import Mapping
from typing import Any

import polars as pl

from jftdata.checkpoint import BEST, WEIGHTS, Checkpoint
from jftdata.errors import BadArgument
from jftdata.markdown import plain, table
from jftdata.results import Results
from jftdata.study.report_markdown import table_of
from jftdata.study.report_sections import results_table

BLOCKS = {"resnet10": "[1, 1, 1, 1]"}
"""Blocks a stage of networks that torchvision has no function for."""


def model_card(
    checkpoint: Checkpoint, *, results: Results | None = None, title: str | None = None, license: str = "unknown"
) -> str:
    """The card as Markdown with YAML before it.

    Args:
        checkpoint: the model.
        results: transfer scores; rows of other checkpoints are left out.
        title: the heading; None is the name of the folder.
        license: of the weights, best as an identifier such as `apache-2.0`.

    Raises:
        BadArgument: a title or licence that is not a line of text.
    """
    title = checkpoint.path.name if title is None else title
    for name, text in (("title", title), ("license", license)):
        if not text.strip() or "\n" in text:
            raise BadArgument(f"`{name}` must be a line of text. Got {text!r}.")
    rows = pl.DataFrame() if results is None else results.rows.filter(checkpoint=checkpoint.fingerprint)
    config, facts = checkpoint.config, checkpoint.sidecar.facts
    labels = checkpoint.labels()
    trained = (
        f"pretrained on {checkpoint.num_train_images:,} images" if facts["num_steps"] else "with untrained weights"
    )
    return "\n\n".join([
        _front(title, license, rows),
        f"# {plain(title)}",
        f"A {config['architecture']} {trained}, with an output for each of {len(labels):,} labels.",
        f"Made by {checkpoint.sidecar.made_by}.",
        "## How to load it", _loading(config),
        "## What it was trained on", _lineage(checkpoint),
        "## Recipe", table(("setting", "value"), [(plain(k), plain(json.dumps(v))) for k, v in config.items()], text=(0, 1)),
        "## Training", _training(checkpoint),
        "## Scores on other tasks",
        table_of(results_table(rows)) if len(rows) else "Not measured.",
        "## Limits",
        "\n".join([
            "- It names labels of its training set, right or wrong as they were there, and no others.",
            "- Its scores hold for images like those of the test sets; on others they were not measured.",
            "- Whether it does worse for some groups of people or places than for others was not measured.",
        ]),
    ]) + "\n"  # fmt: skip


def _front(title: str, license: str, rows: pl.DataFrame) -> str:
    known = re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license) is not None
    front: dict[str, Any] = {"license": license if known else "other"}
    if not known:
        front["license_name"] = license
    front |= {"pipeline_tag": "image-classification", "library_name": "torchvision", "tags": ["jftdata", "resnet"]}
    if len(rows):
        scored = [
            {"task": {"type": "image-classification", "name": f"{r['task']}, {r['mode']}"},
             "dataset": {"type": "jftdata", "name": (r["data"] or "unknown")[:12]},
             "metrics": [{"type": r["metric"], "value": r["value"]}]}
            for r in rows.iter_rows(named=True)
        ]  # fmt: skip
        front["model-index"] = [{"name": title, "results": scored}]
    return "\n".join(
        ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()), "---"]
    )


def _loading(config: Mapping[str, Any]) -> str:
    """Code that needs torch, torchvision and safetensors only; a network that these cannot build says what to use."""
    odd = [
        name for name, usual in (("stem", "large"), ("bottleneck_stride", "3x3")) if config.get(name, usual) != usual
    ]
    if odd:
        return (
            f"`jftdata.backbone.load`: torchvision cannot build it, as its {' and '.join(odd)} are others than there."
        )
    name = config["architecture"]
    made = f"resnet.ResNet(resnet.BasicBlock, {BLOCKS[name]}, num_classes=len(labels))" if name in BLOCKS else (
        f"resnet.{name}(num_classes=len(labels))"
    )  # fmt: skip
    return f"""```python
import json
from pathlib import Path

from safetensors.torch import load_file
from torchvision.models import resnet

labels = json.loads(Path("labels.json").read_text(encoding="utf-8"))
network = {made}
network.load_state_dict(load_file("{WEIGHTS}"))
network.eval()
```

It takes RGB pictures of {config["image_size"]} by {config["image_size"]} pixels as float32 (n, 3, height, width), scaled from 0..255 to
[-1, 1]: `pixels / 127.5 - 1`. Training resized pictures to {config["resize"]} by {config["resize"]} and cropped them."""


def _lineage(checkpoint: Checkpoint) -> str:
    rows = [("checkpoint", f"`{checkpoint.fingerprint}`")]
    rows += [(plain(role), f"`{fingerprint}`") for role, fingerprint in sorted(checkpoint.sidecar.inputs.items())]
    return f"{checkpoint.num_train_images:,} images. Fingerprints, each of the whole content:\n\n" + table(
        ("what", "fingerprint"), rows, text=(0, 1)
    )


def _training(checkpoint: Checkpoint) -> str:
    metrics, facts = checkpoint.metrics(), checkpoint.sidecar.facts
    losses, scored = [r for r in metrics if "loss" in r], [r for r in metrics if "mAP@100" in r]
    if not losses:
        return "None: the weights are as they were drawn."
    last = statistics.fmean(r["loss"] for r in losses[-max(1, len(losses) // 20) :])
    told = [
        f"{facts['num_steps']:,} steps, {losses[-1]['images']:,} images seen. The loss went from {losses[0]['loss']:.4g} to {last:.4g} "
        "(mean of the last twentieth)."
    ]
    if scored:
        best = max(scored, key=lambda r: r["mAP@100"])
        told.append(
            f"mAP@100 on images kept aside: {scored[-1]['mAP@100']:.4f} at the end, {best['mAP@100']:.4f} at best."
        )
        told += [f"The weights of the best are in `{BEST}`."] if BEST in checkpoint.sidecar.files else []
    else:
        told.append("It was not validated while it trained.")
    if facts.get("num_rejected"):
        told.append(f"{facts['num_rejected']:,} images could not be read and were left out.")
    return " ".join(told)
