"""What a run needs, against what torch holds when it trains."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from jftdata import pretrain, recipes, subset
from jftdata.errors import TooLittleMemory
from jftdata.pretrain import memory
from jftdata.pretrain.memory import check, needed

BASE = dataclasses.replace(recipes.tiny(image_size=64), precision="fp32", architecture="resnet18")
MEASURE = """
import sys, torch
from jftdata import backbone
torch.set_num_threads(1)
net = backbone.build("resnet18", num_outputs=1000, seed=0)
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
net(torch.rand(2, 3, 64, 64))
before = resident()
kept = net(torch.rand(int(sys.argv[1]), 3, 64, 64)).sum()
print(resident() - before)
"""


def test_weights_gradients_and_averages_are_counted():
    frozen = dataclasses.replace(BASE, checkpoint_activations=True)
    sizes = {
        name: needed(dataclasses.replace(frozen, **change), num_labels=1000)
        for name, change in {
            "adamw": {},
            "sgd": {"optimizer": "sgd", "momentum": 0.9},
            "averaged": {"ema_decay": 0.9},
            "head": {"freeze_below": "fc"},
        }.items()
    }
    weights, head = 4 * 11_689_512, 4 * 513_000
    assert sizes == {"adamw": 4 * weights, "sgd": 3 * weights, "averaged": 5 * weights, "head": weights + 3 * head}


@pytest.mark.long
def test_activations_grow_with_the_images_on_a_device_and_are_what_torch_keeps():
    def activations(**change):
        config = dataclasses.replace(BASE, **change)
        return needed(config, num_labels=1000) - needed(
            dataclasses.replace(config, checkpoint_activations=True), num_labels=1000
        )

    one = activations(batch_size=256)
    assert activations(batch_size=512) == 2 * one == 4 * activations(batch_size=256, accumulate=2)
    assert activations(batch_size=256, precision="bf16") == one / 2
    assert activations(batch_size=256, freeze_below="fc") < one / 50
    done = subprocess.run([sys.executable, "-c", MEASURE, "256"], capture_output=True, text=True, check=True)
    assert 0.9 * one < int(done.stdout) < 1.6 * one


def test_a_split_head_is_shared_by_ranks():
    config = dataclasses.replace(BASE, split_head=True, checkpoint_activations=True)
    whole, shared = (needed(config, num_labels=1_000_000, world_size=size) for size in (1, 4))
    assert whole - shared == 4 * 4 * 750_000 * 513


def test_what_cannot_fit_is_said_before_the_first_step(photo_catalog, tmp_path, monkeypatch):
    check(2**20, torch.device("cpu"))
    monkeypatch.setattr(memory, "available", lambda device: 2**20)
    with pytest.raises(TooLittleMemory, match=r"at least 0\.1 GiB on cpu and 0\.0 GiB are free\. Lower `batch_size`"):
        pretrain.run(subset.everything(photo_catalog), recipes.tiny(image_size=32), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(memory, "available", lambda device: None)
    check(2**60, torch.device("cpu"))


def test_memory_of_this_machine_is_known():
    free = memory.available(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50
