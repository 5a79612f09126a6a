"""The model card: its front matter is read by the hub's own reader, its code runs, and it says what is not known."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from jftdata import backbone, storage
from jftdata.checkpoint import FORMAT, Checkpoint
from jftdata.cli import run
from jftdata.errors import BadArgument
from jftdata.results import Results
from jftdata.study.model_card import model_card

CONFIG = {"architecture": "resnet10", "image_size": 32, "resize": 36, "seed": 0}


def trained(out: Path, *, rows: list[dict[str, float]], **config: Any) -> Checkpoint:
    with storage.building(
        out, format=FORMAT, made_with={"config": {**CONFIG, **config}}, inputs={"subset": "ab12"}
    ) as build:
        assert build is not None
        save_file(backbone.build("resnet10", num_outputs=2, seed=3).state_dict(), build.folder / "model.safetensors")
        storage.write_json(build.folder / "labels.json", ["cat", "d|g"])
        storage.write_text(build.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        build.facts = {"num_train_images": 300, "num_steps": sum("loss" in row for row in rows), "num_rejected": 0}
    return Checkpoint.open(out)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    rows: list[dict[str, float]] = [{"images": 8 * i, "loss": 5.0 / i, "images_per_second": 9.0} for i in range(1, 41)]
    return trained(tmp_path_factory.mktemp("card") / "my|run", rows=[*rows, {"mAP@100": 0.25}, {"mAP@100": 0.125}])


def scored(checkpoint: str) -> Results:
    return Results.of([{
        "checkpoint": checkpoint, "subset": "s", "num_train_images": 300, "seed": 0, "task": "knn", "mode": "frozen",
        "metric": "top-1", "value": 0.5, "low": 0.4, "high": 0.6, "num_task_train": 5, "num_task_test": 5, "settings": "{}",
    }])  # fmt: skip


def test_the_front_matter_is_that_of_a_hub_model_card_with_the_scores(model: Checkpoint) -> None:
    card = ModelCard(model_card(model, results=scored(model.fingerprint), license="Ask Ms. Ü", title='A "net": 1'))
    assert (card.data.license, card.data.license_name) == ("other", "Ask Ms. Ü")
    assert (card.data.pipeline_tag, card.data.library_name) == ("image-classification", "torchvision")
    assert card.data.model_name == 'A "net": 1'
    (result,) = card.data.eval_results
    assert (result.task_name, result.metric_type, result.metric_value) == ("knn, frozen", "top-1", 0.5)
    assert "| 50.0% | 40.0% | 60.0% |" in card.text


def test_the_code_of_the_card_loads_the_model(model: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", model_card(model), re.DOTALL)
    assert code is not None
    monkeypatch.chdir(model.path)
    told: dict[str, Any] = {}
    exec(code[1], told)
    batch = torch.zeros(1, 3, 32, 32)
    assert torch.equal(told["network"](batch), backbone.load(model).eval()(batch))


def test_training_lineage_and_what_was_not_measured_are_told(model: Checkpoint, tmp_path: Path) -> None:
    text = model_card(model, results=scored("another"))
    assert "# my\\|run" in text
    assert "pretrained on 300 images, with an output for each of 2 labels" in text
    assert f"| checkpoint | `{model.fingerprint}` |" in text
    assert "| subset | `ab12` |" in text
    assert "The loss went from 5 to 0.1266" in text  # the mean of 5 / 39 and 5 / 40
    assert "0.1250 at the end, 0.2500 at best" in text
    assert "## Scores on other tasks\n\nNot measured." in text
    fresh = model_card(trained(tmp_path / "fresh", rows=[], stem="small"))
    assert "with untrained weights" in fresh
    assert "the weights are as they were drawn" in fresh
    assert "torchvision cannot build it, as its stem" in fresh


def test_the_verb_writes_a_card_once_and_refuses_what_it_cannot_say(model: Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "README.md"
    assert run(["card", str(model.path), "--out", str(out)]) == 0
    assert out.read_text() == model_card(model)
    assert run(["card", str(model.path), "--out", str(out)]) == 0
    assert run(["card", str(model.path), "--out", str(out), "--license", "mit"]) == 2
    assert run(["card", str(model.path), "--out", str(tmp_path / "x.md"), "--dry-run"]) == 0
    assert not (tmp_path / "x.md").exists()
    with pytest.raises(BadArgument, match="`license` must be a line of text"):
        model_card(model, license=" ")
