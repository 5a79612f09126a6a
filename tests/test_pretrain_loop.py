"""Pretraining from start to end: facts, choices, other processes, and a kill that changes nothing."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from jftdata import pretrain, ragged, recipes, sources, subset
from jftdata.catalog import Catalog
from jftdata.checkpoint import WEIGHTS, Checkpoint
from jftdata.errors import BadArgument, ImageRejected, Interrupted, NonFinite, OutputExists
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.targets import FillIn, three_valued
from jftdata.pixels import PLACE
from jftdata.pretrain import Keeping, state
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.input import Augmentation, batches
from jftdata.pretrain.job import Labels
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
        "num_train_images": 40, "num_steps": 40, "num_images_seen": 320, "num_rejected": 0,
        "catalog_path": str(catalog.path.resolve()),
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
pretrain.run(subset.everything(Catalog.open(sys.argv[1])), config, out=sys.argv[2], keeping=pretrain.Keeping(save_every=0.0))
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


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "focal"},
        {"loss": "asymmetric"},
        {"loss": "softmax", "smoothing": 0.1, "logit_adjustment": 1.0},
        {"loss": "tree-softmax"},
        {"smoothing": 0.1, "logit_adjustment": 1.0},
        {"split_head": True},
        {"accumulate": 2, "clip_norm": 1.0, "ema_decay": 0.9},
        {"checkpoint_activations": True, "channels_last": False, "precision": "fp32"},
        {"stem": "small", "zero_init": True, "freeze_below": "layer2"},
    ],
    ids=str,
)
def test_every_choice_trains_and_goes_on_to_the_same_bits(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    chosen, config = subset.everything(catalog), small(total_epochs=2.0, **changes)
    whole = pretrain.run(chosen, config, out=tmp_path / "whole")
    rows = whole.metrics()
    assert all(np.isfinite([row["loss"], row["gradient_norm"]]).all() for row in rows)
    assert np.mean([row["loss"] for row in rows[-3:]]) < rows[0]["loss"]
    assert whole.load_weights()["fc.weight"].shape == (catalog.hierarchy.num_labels, 512)

    def stop(config: PretrainConfig, *, step: int, steps_per_epoch: int) -> float:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return learning_rate(config, step=step, steps_per_epoch=steps_per_epoch)

    monkeypatch.setattr("jftdata.pretrain.loop.learning_rate", stop)
    with pytest.raises(Interrupted):
        pretrain.run(chosen, config, out=tmp_path / "cut")
    monkeypatch.undo()
    again = pretrain.run(chosen, config, out=tmp_path / "cut")
    assert (again.path / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    assert [row["step"] for row in again.metrics()] == [row["step"] for row in rows]


def test_verified_negatives_alone_are_negative_where_the_absent_are_unknown() -> None:
    tree = Hierarchy.load("toy")
    index = {label: i for i, label in enumerate(tree.labels)}
    lists = {"labels": [["dog"], []], "negatives": [["cat"], ["animal"]]}
    places = SimpleNamespace(
        catalog=SimpleNamespace(hierarchy=tree),
        lists=lambda column, rows: ragged.of_lists([[index[name] for name in lists[column][r]] for r in rows]),
    )
    labels = Labels(places, small(absent="unknown"), torch.device("cpu"))  # type: ignore[arg-type]
    found = labels.targets(np.array([1, 0]))
    assert found.positive is not None
    said = {
        (int(i), tree.labels[int(label)]): bool(yes)
        for i, label, yes in zip(found.image, found.label, found.positive, strict=True)
    }
    expected = three_valued(tree, [[], ["dog"]], [["animal"], ["cat"]], policy=FillIn(absent="unknown"))
    assert said == {
        (i, tree.labels[j]): bool(expected.positive[i, j]) for i, j in zip(*expected.known.nonzero(), strict=True)
    }


def test_damaged_images_are_stood_in_for_counted_and_listed(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(catalog.path.parent / "photos", folder)
    own = sources.from_folder(folder, out=tmp_path / "c", hierarchy=catalog.hierarchy, workers=1)
    rows = own.rows(own.images(), columns=["image", "source"])
    bad = dict(rows.head(3).iter_rows())
    for source in bad.values():
        (folder / source).unlink()
    run = pretrain.run(subset.everything(own), small(), out=tmp_path / "run")
    listed = pl.read_parquet(run.path / "rejected.parquet")
    assert listed["image"].to_list() == sorted(bad)
    assert set(listed["reason"]) == {"missing"}
    assert run.sidecar.facts["num_rejected"] == 3
    assert sorted([*run.images().tolist(), *bad]) == own.images().tolist()
    with pytest.raises(ImageRejected, match="No such file"):
        pretrain.run(subset.everything(own), small(), out=tmp_path / "strict", max_rejects=0.0)


def test_a_run_starts_from_a_checkpoint_and_says_so(catalog: Catalog, tmp_path: Path) -> None:
    chosen = subset.everything(catalog)
    first = pretrain.run(chosen, small(), out=tmp_path / "first")
    kept = small(total_epochs=0.0, warmup_epochs=0.0, seed=5)
    second = pretrain.run(chosen, kept, out=tmp_path / "second", init=first)
    assert (second.path / WEIGHTS).read_bytes() == (first.path / WEIGHTS).read_bytes()
    assert second.sidecar.inputs["init"] == first.fingerprint
    assert second.sidecar.facts["num_labels_taken_over"] == catalog.hierarchy.num_labels
    with pytest.raises(OutputExists, match="init"):
        pretrain.run(chosen, kept, out=tmp_path / "second")


def test_the_weights_of_the_best_validation_are_kept(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = subset.everything(catalog)
    run = pretrain.run(chosen, small(), out=tmp_path / "run", validation=chosen)
    scores = {row["step"]: row["mAP@100"] for row in run.metrics() if "mAP@100" in row}
    assert list(scores) == [5, 10]
    best = max(scores, key=lambda step: (scores[step], -step))
    assert run.sidecar.facts["best_step"] == best
    assert run.sidecar.facts["best_score"] == pytest.approx(scores[best], abs=1e-6)
    kept = load_file(run.path / "best.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in run.load_weights().items()) == (best == 10)
    monkeypatch.setattr("jftdata.pretrain.keep.Best.or_this", lambda self, *_: self)
    plain = pretrain.run(chosen, small(), out=tmp_path / "plain", validation=chosen)
    assert (plain.path / WEIGHTS).read_bytes() == (run.path / WEIGHTS).read_bytes()  # validating changes nothing


def test_a_gradient_that_is_not_finite_stops_before_the_step(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jftdata.pretrain.loop.gradient_norm", lambda _: torch.tensor(float("inf")))
    with pytest.raises(NonFinite, match=r"gradient's norm is inf at step 1; nothing was updated.*images: \d+"):
        pretrain.run(subset.everything(catalog), small(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_states_are_kept_as_many_as_asked(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = []
    save = state.save

    def count(folder: Path, *args: Any, **kwargs: Any) -> None:
        save(folder, *args, **kwargs)
        there.append(len(state.saved(folder)))

    monkeypatch.setattr("jftdata.pretrain.loop.state.save", count)
    pretrain.run(subset.everything(catalog), small(), out=tmp_path / "r", keeping=Keeping(save_every=0.0, states=3))
    assert there == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    assert not (tmp_path / "r" / "states").exists()
    with pytest.raises(BadArgument, match="`states` must be at least 1"):
        Keeping(states=0)
    with pytest.raises(BadArgument, match="above 0 epochs"):
        Keeping(validate_every=0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch sums in another order with more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_train_as_one_does_and_either_goes_on_for_the_other(catalog: Catalog, tmp_path: Path) -> None:
    from tests.pretrain_ranks import config

    chosen = subset.everything(catalog)
    start = pretrain.run(chosen, config(total_epochs=0.0), out=tmp_path / "start")
    script = Path(__file__).with_name("pretrain_ranks.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parent.parent)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*command, str(catalog.path), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = pretrain.run(
        chosen, config(accumulate=2), out=tmp_path / "one", init=start, validation=chosen, device="cpu"
    )
    two, split = (Checkpoint.open(tmp_path / name) for name in ("two", "split"))
    expected = alone.load_weights()
    for name, value in two.load_weights().items():
        if "running" not in name and "batches" not in name:  # statistics are those of rank 0's half
            torch.testing.assert_close(value, expected[name], rtol=2e-3, atol=2e-5, msg=name)
    clipped = pretrain.run(
        chosen, config(accumulate=2, clip_norm=1.0), out=tmp_path / "clipped", init=start, device="cpu"
    ).load_weights()
    for name, value in split.load_weights().items():
        if "running" not in name and "batches" not in name:
            torch.testing.assert_close(value, clipped[name], rtol=2e-3, atol=2e-5, msg=name)
    assert two.images().tolist() == split.images().tolist() == alone.images().tolist()
    for run in (two, split, alone):
        assert [row["images"] for row in run.metrics() if "loss" in row] == [8, 16, 24, 32, 40]
        assert 0 <= next(row["mAP@100"] for row in run.metrics() if "mAP@100" in row) <= 1
    for name, settings in (("cut", config()), ("cut-split", config(split_head=True))):
        assert not (tmp_path / name).exists()
        assert list((tmp_path / f"{name}.partial" / "states").glob("step-000000002.*"))
        rest = pretrain.run(chosen, settings, out=tmp_path / name, device="cpu")
        assert [row["step"] for row in rest.metrics()] == [1, 2, 3, 4, 5]
        assert rest.images().tolist() == two.images().tolist()
