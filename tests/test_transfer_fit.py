"""The training loop of the tasks: resumed, shared out, stopped, and against a loop written out."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jftdata.errors import BadInput, Interrupted, NonFinite
from jftdata.pretrain.ranks import Ranks
from jftdata.transfer import fit as module
from jftdata.transfer.fit import METRICS, STATES, fit, order, samples
from jftdata.transfer.recipe import Recipe

ALONE = Ranks(0, 1, torch.device("cpu"))
RECIPE = Recipe(
    batch_size=4, learning_rate=0.05, steps=12, schedule="cosine", warmup=0.2, weight_decay=0.1, fresh_rate=3.0,
    precision="fp32", clip_norm=1.0,
)  # fmt: skip
X = torch.from_numpy(np.random.default_rng(0).normal(size=(23, 5)))
Y = X @ torch.arange(5.0, dtype=torch.float64) + 1.0
IDS = np.arange(23, dtype=np.int64) * 7 + 3


class Line(nn.Module):
    """Two layers; the loss is a mean over the batch."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(5, 4).double(), nn.Linear(4, 1).double()

    def forward(self, batch):
        error = self.head(self.body(batch[0])).squeeze(1) - batch[1]
        return {"square": error.square().mean(), "size": 0.1 * error.abs().mean()}


def fitted(folder, *, recipe=RECIPE, ranks=ALONE, model=None, workers=2, on_row=lambda: None):
    stream = order(IDS, recipe=recipe, seed=1)

    def load(row, draw):
        on_row()
        return X[row], Y[row] + draw % 3

    def batches(first_step):
        made = samples(
            load, stream, first_step=first_step, num_steps=recipe.num_steps(23), ranks=ranks, workers=workers
        )
        for rows in made:
            yield tuple(map(torch.stack, zip(*rows, strict=True)))

    model = model or Line()
    folder.mkdir(exist_ok=True)
    fit(
        model, batches, recipe=recipe, num_steps=recipe.num_steps(23), ranks=ranks, folder=folder, what="fit",
        fresh=lambda name: name.startswith("head."),
    )  # fmt: skip
    return model


def assert_same(one, other, **close):
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], **(close or {"atol": 0, "rtol": 0}))


def test_it_is_torchs_sgd_step_by_step(tmp_path):
    theirs = Line()
    groups = [
        {"params": [theirs.body.weight], "weight_decay": 0.1, "times": 1.0},
        {"params": [theirs.body.bias], "weight_decay": 0.0, "times": 1.0},
        {"params": [theirs.head.weight], "weight_decay": 0.1, "times": 3.0},
        {"params": [theirs.head.bias], "weight_decay": 0.0, "times": 3.0},
    ]
    opt = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    stream = order(IDS, recipe=RECIPE, seed=1)
    for step, batch in enumerate(stream.batches(0, 12)):
        y = Y[batch.rows] + torch.from_numpy((stream.draw(batch.epoch, batch.positions) % 3).astype(np.float64))
        for group in opt.param_groups:
            group["lr"] = RECIPE.rate(step, 12) * group["times"]
        opt.zero_grad()
        sum(theirs((X[batch.rows], y)).values()).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        opt.step()
    ours = fitted(tmp_path / "run")
    assert_same(ours, theirs, atol=1e-12, rtol=0)
    assert not ours.training
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert {"lr", "square", "size", "gradient_norm", "steps_per_second"} <= rows[0].keys()


@given(st.integers(1, 11), st.integers(1, 5))
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path_factory, cut, workers):
    folder = tmp_path_factory.mktemp("cut")
    whole = fitted(folder / "whole")

    class Stop(Line):
        done = 0

        def forward(self, batch):
            self.done += 1
            if self.done == cut:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().forward(batch)

    with pytest.raises(Interrupted, match=f"after step {cut}; run the same command"):
        fitted(folder / "run", model=Stop(), workers=workers)
    assert_same(fitted(folder / "run"), whole)
    steps = [json.loads(line)["step"] for line in (folder / "run" / METRICS).read_text().splitlines()]
    assert steps == list(range(1, 13))
    assert_same(fitted(folder / "run"), whole)  # done: nothing is trained again


def test_states_are_saved_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)

    class Die(Line):
        done = 0

        def forward(self, batch):
            self.done += 1
            if self.done == 6:
                raise MemoryError
            return super().forward(batch)

    with pytest.raises(MemoryError):
        fitted(tmp_path / "run", model=Die())
    assert len(list((tmp_path / "run" / STATES).glob("step-*"))) == 1
    assert_same(fitted(tmp_path / "run"), fitted(tmp_path / "whole"))


def test_what_is_frozen_stays_bit_for_bit(tmp_path):
    model = Line()
    model.body.requires_grad_(False)
    before = model.body.weight.clone()
    fitted(tmp_path / "run", model=model)
    assert torch.equal(model.body.weight, before)
    assert not torch.equal(model.head.weight, Line().head.weight)


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path):
    class Broken(Line):
        def forward(self, batch):
            return {name: loss * float("nan") for name, loss in super().forward(batch).items()}

    model = Broken()
    with pytest.raises(NonFinite, match=r"step 1 gave .*'square': nan.*nothing was updated"):
        fitted(tmp_path / "run", model=model)
    assert_same(model, Line())


def test_an_empty_training_split_is_named():
    with pytest.raises(BadInput, match="nothing to learn from"):
        order(IDS[:0], recipe=RECIPE, seed=0)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 11))
def test_ranks_and_threads_share_out_the_same_batches(world_size, workers, first_step):
    recipe = dataclasses.replace(RECIPE, batch_size=12)
    stream = order(IDS, recipe=recipe, seed=2)

    def made(rank, size, threads):
        ranks = Ranks(rank, size, torch.device("cpu"))
        return list(samples(
            lambda row, draw: (row, draw), stream, first_step=first_step, num_steps=12, ranks=ranks, workers=threads
        ))  # fmt: skip

    whole, parts = made(0, 1, 1), [made(rank, world_size, workers) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        assert sorted(batch) == sorted(sample for part in parts for sample in part[step])


@pytest.mark.long
def test_two_processes_train_as_one(tmp_path):
    script = Path(__file__).with_name("transfer_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([*command, script, tmp_path], check=True, env=environment, timeout=120, capture_output=True)
    one = fitted(tmp_path / "one")
    two = Line()
    two.load_state_dict(torch.load(tmp_path / "two.pt", weights_only=True))
    assert_same(two, one, atol=1e-12, rtol=0)
    assert len(list((tmp_path / "cut" / STATES).glob("step-*"))) > 0
    assert_same(fitted(tmp_path / "cut"), one, atol=1e-12, rtol=0)  # gone on with by one process
