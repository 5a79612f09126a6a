"""Pretraining: loss, schedule, order and augmentation, and a kill that changes nothing."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from jftdata import backbone, pretrain, recipes, sources, subset
from jftdata.catalog import Catalog
from jftdata.checkpoint import WEIGHTS
from jftdata.errors import BadArgument, Interrupted, NonFinite, OutputExists, UnknownOption
from jftdata.hierarchy import Hierarchy
from jftdata.pixels import PLACE
from jftdata.pretrain.config import PretrainConfig, override
from jftdata.pretrain.input import Augmentation, batches
from jftdata.pretrain.objective import log_odds, logistic
from jftdata.pretrain.schedule import learning_rate
from jftdata.subset.stream import Stream


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("pretrain")
    rng = np.random.default_rng(0)
    for label, colour in {"dog": 60, "bus": 190}.items():
        (root / "photos" / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(colour - 50, colour + 50, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "photos" / label / f"{i}.png")
    return sources.from_folder(root / "photos", out=root / "catalog", hierarchy=Hierarchy.load("toy"), workers=1)


def small(**changes: object) -> PretrainConfig:
    config = recipes.tiny(total_epochs=2.0, image_size=32)
    return dataclasses.replace(config, **{"batch_size": 8, **changes})  # type: ignore[arg-type]


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31))
def test_logistic_equals_torch_on_dense_targets(num_images: int, num_labels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_images, num_labels, generator=generator, dtype=torch.float64) * 5
    target = torch.rand(num_images, num_labels, generator=generator) < 0.3
    image, label = target.nonzero(as_tuple=True)
    dense = F.binary_cross_entropy_with_logits(logits, target.double(), reduction="sum") / num_images
    torch.testing.assert_close(logistic(logits, image, label), dense)


def test_log_odds_of_a_label_on_every_image_is_finite() -> None:
    assert np.isfinite(log_odds(np.array([0, 10]), 10)).all()


def test_the_paper_decays_by_a_tenth_every_three_million_steps() -> None:
    rates = [
        learning_rate(recipes.jft300m_resnet101(), step=s, steps_per_epoch=9_375_000) for s in (0, 3_000_000, 6_000_000)
    ]
    assert rates == pytest.approx([1e-3, 0.9e-3, 0.81e-3])


def test_cosine_ends_near_zero_after_its_warm_up() -> None:
    rates = [learning_rate(recipes.tiny(), step=s, steps_per_epoch=100) for s in range(400)]
    assert int(np.argmax(rates)) == 40
    assert rates[-1] < 1e-3 * rates[40]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "`batch_size` must be at least 2"),
        ({"resize": 31}, "`resize` must be at least image_size"),
        ({"momentum": 0.9}, "adamw does not use it"),
        ({"decay_factor": 0.9}, "cosine does not use it"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
    ],
)
def test_a_field_out_of_range_or_without_effect_is_an_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        small(**change)


def test_a_misspelt_field_or_value_suggests_the_nearest() -> None:
    with pytest.raises(UnknownOption, match="Did you mean 'learning_rate'"):
        override(recipes.tiny(), ["learing_rate=1"])
    with pytest.raises(UnknownOption, match="Did you mean 'resnet18'"):
        override(recipes.tiny(), ["architecture=resnet81"])


def test_config_and_backbone_know_the_same_architectures() -> None:
    for name in backbone.ARCHITECTURES:
        override(recipes.tiny(), [f"architecture={name}"])


def test_resnet50_has_torchvisions_parameter_names() -> None:
    from torchvision.models import resnet50

    ours, theirs = backbone.build("resnet50", num_outputs=1000, seed=0), resnet50(weights=None)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@given(st.integers(0, 19))
def test_batches_resumed_at_any_step_are_those_of_an_undisturbed_run(catalog: Catalog, cut: int) -> None:
    table = catalog.rows(catalog.images(), columns=["image", *PLACE])

    def stream(first: int, workers: int) -> list[tuple[list[int], bytes]]:
        order = Stream(images=catalog.images(), seed=3, batch_size=9)
        made = batches(
            catalog, table, Augmentation(18, 16), stream=order, first_step=first, num_steps=20, workers=workers
        )
        return [(b.rows.tolist(), b.pixels.tobytes()) for b in made]

    whole = stream(0, 1)
    assert len(whole) == 20
    assert stream(cut, 2) == whole[cut:]


def test_batches_come_in_the_order_of_the_stream_and_copies_are_augmented_otherwise(catalog: Catalog) -> None:
    table = catalog.rows(catalog.images(), columns=["image", *PLACE])
    order = Stream(images=catalog.images(), seed=0, batch_size=8, weights=np.full(40, 2.0), drop_last=False)
    made = list(batches(catalog, table, Augmentation(30, 16), stream=order, first_step=0, num_steps=10))
    rows = np.concatenate([b.rows for b in made])
    assert rows.tolist() == np.concatenate([b.rows for b in order.batches(0, 10)]).tolist()
    pixels = np.concatenate([b.pixels for b in made])
    first, second = np.argsort(rows, kind="stable").reshape(40, 2).T
    assert sum((pixels[a] != pixels[b]).any() for a, b in zip(first, second, strict=True)) > 35


def test_a_last_batch_that_is_not_full_is_handed_over(catalog: Catalog) -> None:
    table = catalog.rows(catalog.images(), columns=["image", *PLACE])
    order = Stream(images=catalog.images(), seed=0, batch_size=16, drop_last=False)
    made = batches(catalog, table, Augmentation(18, 16), stream=order, first_step=0, num_steps=4)
    assert [len(b.pixels) for b in made] == [16, 16, 8, 16]


def test_a_checkpoint_knows_the_images_of_its_batches_and_the_catalog(catalog: Catalog, tmp_path: Path) -> None:
    chosen = subset.nested(catalog, sizes=[30], seed=0)[0]
    part = pretrain.run(chosen, small(total_epochs=0.7, warmup_epochs=0.0), out=tmp_path / "part")
    assert part.sidecar.facts["num_steps"] == 2
    assert len(part.images()) == 16
    assert set(part.images().tolist()) < set(chosen.images.tolist())
    assert part.catalog_path == catalog.path.resolve()
    none = pretrain.run(chosen, small(total_epochs=0.0, warmup_epochs=0.0), out=tmp_path / "none")
    assert len(none.images()) == 0


def test_an_image_is_trained_on_as_often_as_its_weight_says(catalog: Catalog, tmp_path: Path) -> None:
    plain = subset.everything(catalog)
    weights = np.where(np.arange(40) < 10, 3.0, 0.5)
    heavy = subset.Subset(catalog, plain.images, plain.recipe, weights)  # 45 images an epoch
    run = pretrain.run(heavy, small(total_epochs=1.0, warmup_epochs=0.0), out=tmp_path / "run")
    assert run.sidecar.facts["num_steps"] == 5
    assert run.sidecar.facts["num_images_seen"] == 40
    order = Stream(images=plain.images, seed=0, batch_size=8, weights=weights)
    assert run.images().tolist() == order.seen(5).tolist()
    assert len(run.images()) < 40
    light = subset.Subset(catalog, plain.images, plain.recipe, np.full(40, 0.04))
    with pytest.raises(BadArgument, match=r"at least 2 images an epoch.* Got 1"):
        pretrain.run(light, small(), out=tmp_path / "light")


def test_the_prior_of_a_label_counts_its_images_as_often_as_they_come(catalog: Catalog, tmp_path: Path) -> None:
    everything = subset.everything(catalog)
    is_dog = catalog.rows(everything.images, columns=["labels"])["labels"].list.contains(catalog.hierarchy.index("dog"))
    weighted = subset.Subset(catalog, everything.images, everything.recipe, np.where(is_dog.to_numpy(), 3.0, 1.0))
    untrained = small(total_epochs=0.0, warmup_epochs=0.0, prior_bias=True)
    bias = pretrain.run(weighted, untrained, out=tmp_path / "run").load_weights()["fc.bias"].numpy()
    assert bias[catalog.hierarchy.index("dog")] == pytest.approx(np.log(60.5 / 20.5))
    assert bias[catalog.hierarchy.index("bus")] == pytest.approx(np.log(20.5 / 60.5))


def test_training_lowers_the_loss_and_keeps_its_facts(catalog: Catalog, tmp_path: Path) -> None:
    chosen = subset.everything(catalog)
    checkpoint = pretrain.run(chosen, small(total_epochs=8.0), out=tmp_path / "run")
    losses = [row["loss"] for row in checkpoint.metrics()]
    assert np.mean(losses[-4:]) < 0.8 * losses[0]
    assert checkpoint.sidecar.facts == {
        "num_train_images": 40, "num_steps": 40, "num_images_seen": 320, "catalog_path": str(catalog.path.resolve())
    }  # fmt: skip
    assert checkpoint.images().tolist() == chosen.images.tolist()
    assert checkpoint.labels() == list(catalog.hierarchy.labels)
    assert checkpoint.sidecar.inputs["subset"] == chosen.fingerprint


def test_other_settings_on_an_existing_run_are_an_error_that_shows_them(catalog: Catalog, tmp_path: Path) -> None:
    chosen = subset.everything(catalog)
    pretrain.run(chosen, small(total_epochs=0.0, warmup_epochs=0.0), out=tmp_path / "run")
    with pytest.raises(OutputExists, match="seed"):
        pretrain.run(chosen, small(total_epochs=0.0, warmup_epochs=0.0, seed=1), out=tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_and_leaves_no_checkpoint(catalog: Catalog, tmp_path: Path) -> None:
    explode = small(optimizer="sgd", momentum=0.0, learning_rate=1e30, weight_decay=0.0, warmup_epochs=0.0)
    with pytest.raises(NonFinite, match="at step"):
        pretrain.run(subset.everything(catalog), explode, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_cut_at_any_step_goes_on_to_the_bits_of_an_undisturbed_one(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = subset.everything(catalog)
    pretrain.run(chosen, small(), out=tmp_path / "whole")
    for cut in (1, 7):

        def stop(config: PretrainConfig, *, step: int, steps_per_epoch: int, cut: int = cut) -> float:
            if step == cut:
                os.kill(os.getpid(), signal.SIGTERM)  # the step ends, the state is saved
            return learning_rate(config, step=step, steps_per_epoch=steps_per_epoch)

        monkeypatch.setattr("jftdata.pretrain.loop.learning_rate", stop)
        with pytest.raises(Interrupted, match=f"after step {cut + 1}"):
            pretrain.run(chosen, small(), out=tmp_path / f"cut{cut}")
        monkeypatch.undo()
        assert not (tmp_path / f"cut{cut}").exists()
        resumed = pretrain.run(chosen, small(), out=tmp_path / f"cut{cut}")
        assert (resumed.path / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


_SCRIPT = """
import dataclasses, sys
from jftdata import pretrain, recipes, subset
from jftdata.catalog import Catalog
config = dataclasses.replace(recipes.tiny(total_epochs=2.0, image_size=32), batch_size=8)
pretrain.run(subset.everything(Catalog.open(sys.argv[1])), config, out=sys.argv[2], save_every=0.0)
"""


@pytest.mark.slow
def test_a_run_killed_outright_leaves_no_checkpoint_and_goes_on(catalog: Catalog, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SCRIPT, str(catalog.path), str(tmp_path / "cut")]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    states = tmp_path / "cut.partial" / "states"
    limit = time.monotonic() + 100
    while not list(states.glob("step-*.safetensors")) and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "cut").exists()
    assert list(states.glob("step-*.safetensors"))
    chosen = subset.everything(catalog)
    resumed = pretrain.run(chosen, small(), out=tmp_path / "cut")
    whole = pretrain.run(chosen, small(), out=tmp_path / "whole")
    assert resumed.sidecar.facts["num_steps"] == 10
    assert (resumed.path / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
