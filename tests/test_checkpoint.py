import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from jftdata import storage
from jftdata.checkpoint import FORMAT, IMAGES, LABELS, METRICS, WEIGHTS, Checkpoint
from jftdata.errors import BadInput, Damaged, MissingInput

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
STEPS = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5}]


@pytest.fixture
def folder(tmp_path):
    """A checkpoint as a finished run leaves it."""
    made_with = {"config": {"image_size": 32, "seed": 3}}
    with storage.building(tmp_path / "run", format=FORMAT, made_with=made_with, inputs={"subset": "ab12"}) as build:
        save_file({"fc.weight": WEIGHT}, build.folder / WEIGHTS)
        storage.write_json(build.folder / LABELS, ["cat", "Hündin"])
        storage.write_text(build.folder / METRICS, "".join(json.dumps(row) + "\n" for row in STEPS))
        pl.DataFrame({"image": [3, 5, 2**62]}).write_parquet(build.folder / IMAGES)
        build.facts |= {"num_train_images": 17, "catalog_path": "/data/train.catalog"}
    return tmp_path / "run"


def test_an_opened_checkpoint_says_what_it_was_trained_on_and_how(folder):
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.config == {"image_size": 32, "seed": 3}
    assert checkpoint.num_train_images == 17
    assert checkpoint.labels() == ["cat", "Hündin"]
    assert checkpoint.metrics() == STEPS
    assert checkpoint.sidecar.inputs == {"subset": "ab12"}
    assert checkpoint.fingerprint == storage.verify(folder).fingerprint


def test_weights_come_back_to_the_last_bit(folder):
    weights = Checkpoint.open(folder).load_weights()
    assert list(weights) == ["fc.weight"]
    assert (weights["fc.weight"].numpy() == WEIGHT).all()


def test_one_flipped_bit_in_the_weights_is_found_by_verify(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-3] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(Damaged, match=WEIGHTS):
        storage.verify(folder)
    with pytest.raises(Damaged, match=f"{WEIGHTS} is gone or has changed bytes. Make the checkpoint again"):
        Checkpoint.open(folder).load_weights()


def test_the_images_it_saw_come_back_and_a_changed_list_is_found(folder):
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.knows_images
    assert checkpoint.images().tolist() == [3, 5, 2**62]
    assert checkpoint.catalog_path == Path("/data/train.catalog")
    data = bytearray((folder / IMAGES).read_bytes())
    data[8] ^= 1
    (folder / IMAGES).write_bytes(data)
    with pytest.raises(Damaged, match=IMAGES):
        checkpoint.images()


def test_an_old_checkpoint_says_that_it_does_not_know_its_images(tmp_path):
    with storage.building(tmp_path / "run", format=FORMAT, made_with={}, inputs={}) as build:
        storage.write_json(build.folder / LABELS, [])
    checkpoint = Checkpoint.open(tmp_path / "run")
    assert not checkpoint.knows_images
    assert checkpoint.catalog_path is None
    with pytest.raises(MissingInput, match=r"does not know which images it saw.*Pretrain it again"):
        checkpoint.images()


def test_what_is_no_checkpoint_is_refused(tmp_path, photo_catalog):
    with pytest.raises(MissingInput):
        Checkpoint.open(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"is a jftdata\.catalog/2, expected a jftdata\.checkpoint"):
        Checkpoint.open(photo_catalog.path)
