"""Parameter servers: parts of a network train as the whole does, each step counts once, and staleness keeps its bound."""

import asyncio
import dataclasses
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from jftdata import pretrain, recipes, sources, subset, transfer, world
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, Damaged, Interrupted, JftDataError, NonFinite
from jftdata.hierarchy import Hierarchy
from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.downpour import Downpour, paper, run
from jftdata.pretrain.downpour.dealer import Dealer
from jftdata.pretrain.downpour.layout import Layout, columns
from jftdata.pretrain.downpour.servers import HeadServer, Push, Server, flat
from jftdata.pretrain.downpour.supervisor import of_columns
from jftdata.pretrain.head import head_loss
from jftdata.pretrain.model import fresh
from jftdata.pretrain.objective import Asymmetric, Focal, Logistic, Objective, Targets
from jftdata.pretrain.schedule import optimizer


def small(**changes: object) -> PretrainConfig:
    config = dataclasses.replace(
        recipes.tiny(total_epochs=4.0, image_size=32), warmup_epochs=0.1,
        batch_size=8, precision="fp32", channels_last=False, optimizer="sgd", momentum=0.9, learning_rate=0.01,
        weight_decay=1e-3,
    )  # fmt: skip
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


# ---- who holds what --------------------------------------------------------------------------------------------------


@given(st.integers(1, 36), st.integers(1, 40))
def test_every_parameter_and_label_is_on_one_server(num_servers: int, head_shards: int) -> None:
    net = fresh(small(), 40)
    sizes = {name: p.numel() for name, p in net.named_parameters() if not name.startswith("fc.")}
    layout = Layout.of(net, Downpour(num_servers=num_servers, head_shards=head_shards))
    assert Counter(name for names in layout.weights for name in names) == Counter(list(sizes))
    loads = [sum(sizes[name] for name in names) for names in layout.weights]
    assert max(loads) <= sum(loads) / num_servers + max(sizes.values())
    moving = [name for name, _ in net.named_buffers() if "running" in name]
    assert sorted(name for names in layout.statistics for name in names) == sorted(moving)
    assert [label for low, high in layout.spans for label in range(low, high)] == list(range(40))
    assert {high - low for low, high in layout.spans} <= {40 // head_shards, -(-40 // head_shards)}


def test_more_servers_than_parts_are_an_error() -> None:
    net = fresh(small(), 5)
    with pytest.raises(BadArgument, match=r"`head_shards` must be at most 5 for this network\. Got 6"):
        Layout.of(net, Downpour(head_shards=6))
    with pytest.raises(BadArgument, match=r"`num_servers` must be at most \d+ for this network. Got 999"):
        Layout.of(net, Downpour(num_servers=999))


def test_frozen_parameters_are_on_no_server() -> None:
    net = fresh(small(), 5)
    net.conv1.requires_grad_(False)
    net.bn1.requires_grad_(False)
    layout = Layout.of(net, Downpour())
    assert not [name for name in (*layout.weights[0], *layout.statistics[0]) if name.startswith(("conv1", "bn1"))]


# ---- servers ---------------------------------------------------------------------------------------------------------


def push(gradient: list[torch.Tensor], *steps: int, worker: int = 0, rate: float = 0.1, seen: int = 0) -> Push:
    return Push(worker, steps, flat(gradient), np.zeros(0, np.float32), rate, seen, 0)


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adamw", "momentum": None}, {"optimizer": "rmsprop", "squared_decay": 0.9, "epsilon": 1.0}],
    ids=["sgd", "adamw", "rmsprop"],
)
def test_a_server_does_what_the_optimizer_does_and_goes_on_from_a_state(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    config = small(**changes)
    generator = torch.Generator().manual_seed(0)
    whole = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (4,), (2, 2, 3, 3))]
    opt = optimizer(config, whole)
    server = Server(config, [p.detach().numpy().copy() for p in whole])
    for step in range(4):
        for p in whole:
            p.grad = torch.randn(p.shape, generator=generator)
        for group in opt.param_groups:
            group["lr"] = 0.1 / (step + 1)
        gradient = [p.grad for p in whole if p.grad is not None]
        assert server.push(push(gradient, step, rate=0.1 / (step + 1), seen=1 if step else 0)) == max(0, step - 1)
        opt.step()
        if step == 1:
            applied = server.save(tmp_path / "state", 2)
            server = Server(config, [np.zeros(p.shape, np.float32) for p in whole])
            server.load(tmp_path / "state", applied)
            server._num_applied = 2
        np.testing.assert_allclose(server.fetch()[1], flat(whole), rtol=1e-6, atol=1e-6)
    with pytest.raises(Damaged, match="cannot be read"):
        server.load(tmp_path / "nothing", [])


def test_a_step_counts_once_and_the_dismissed_do_not_count() -> None:
    server = Server(small(), [np.zeros(3, np.float32)])
    one = [torch.ones(3)]
    server.push(push(one, 5))
    once = server.fetch()[1]
    server.push(push(one, 5, worker=1))
    server.dismiss(2)
    server.push(push(one, 6, worker=2))
    count, after, _ = server.fetch()
    assert count == 1
    assert after.tolist() == once.tolist()
    server.push(push(one, 6, worker=3))
    assert server.fetch()[0] == 2
    assert (server.fetch()[1] < once).all()


def test_statistics_are_averaged_as_torch_does() -> None:
    norm, images = nn.BatchNorm2d(3), torch.randn(4, 8, 3, 5, 5, generator=torch.Generator().manual_seed(0)) + 2
    server = Server(small(), [np.zeros(1, np.float32)], [np.zeros(3, np.float32), np.ones(3, np.float32)])
    for step, batch in enumerate(images):
        norm(batch)
        values = [batch.mean((0, 2, 3)), batch.transpose(0, 1).reshape(3, -1).var(1)]
        server.push(dataclasses.replace(push([torch.zeros(1)], step), statistics=flat(values)))
    expected = [norm.running_mean, norm.running_var]
    np.testing.assert_allclose(server.fetch()[2], flat([t for t in expected if t is not None]), rtol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [Logistic(), Logistic(smoothing=0.1, offset=torch.linspace(-2, 2, 11)), Focal(), Asymmetric()],
    ids=["logistic", "adjusted", "focal", "asymmetric"],
)
@pytest.mark.parametrize("unknown", [False, True])
def test_head_servers_together_are_the_head(objective: Objective, unknown: bool) -> None:
    config, generator = small(), torch.Generator().manual_seed(1)
    weight, bias = nn.Parameter(torch.randn(11, 6, generator=generator)), nn.Parameter(torch.zeros(11))
    starts = np.array([0, 2, 2, 3, 6])
    negative = (np.array([0, 1, 1, 1, 2]), np.array([9, 0])) if unknown else None
    targets = Targets.of((starts, np.array([0, 10, 4, 1, 5, 7])), negative, num_labels=11)
    bounds = [(0, 3), (3, 4), (4, 11)]
    servers = [
        HeadServer(config, weight[a:b].detach().numpy(), bias[a:b].detach().numpy(), of_columns(objective, a, b))
        for a, b in bounds
    ]
    opt = optimizer(config, [weight, bias])
    for step in range(3):
        features = torch.randn(4, 6, generator=generator, requires_grad=True)
        opt.zero_grad()
        loss = head_loss(features, weight, bias, targets, objective)
        loss.backward()
        opt.step()
        sent = features.detach().numpy()
        parts = [
            s.train(0, step, sent, columns(targets, *b), config.learning_rate, 0)
            for s, b in zip(servers, bounds, strict=True)
        ]
        assert sum(value for value, _ in parts) == pytest.approx(loss.item(), rel=1e-5)
        assert features.grad is not None
        np.testing.assert_allclose(sum(part for _, part in parts), features.grad.numpy(), rtol=1e-4, atol=1e-6)
        for server, (a, b) in zip(servers, bounds, strict=True):
            np.testing.assert_allclose(server.fetch()[1], flat([weight[a:b], bias[a:b]]), rtol=1e-5, atol=1e-6)
        again = servers[0].train(1, step, sent, columns(targets, *bounds[0]), config.learning_rate, 0)
        assert np.isfinite(again[0])
        np.testing.assert_allclose(servers[0].fetch()[1], flat([weight[:3], bias[:3]]), rtol=1e-5, atol=1e-6)


def test_a_head_whose_loss_is_not_finite_is_not_updated() -> None:
    server = HeadServer(small(), np.ones((2, 3), np.float32), np.zeros(2, np.float32), Logistic())
    features = np.full((2, 3), np.inf, np.float32)
    none = Targets.of((np.array([0, 0, 0]), np.array([], np.int64)), num_labels=2)
    loss, _ = server.train(0, 0, features, none, 0.1, 0)
    assert not np.isfinite(loss)
    assert server.fetch()[1].tolist() == [1.0] * 6 + [0.0] * 2


# ---- the dealer ------------------------------------------------------------------------------------------------------


class _Simulated:
    """A run by hand: each turn one worker does what it would do next, or dies."""

    def __init__(self, dealer: Dealer, settings: Downpour) -> None:
        self.dealer, self.settings = dealer, settings
        self.applied: list[int] = []  # in the order of application
        self.staleness: list[int] = []
        self.workers: dict[int, dict[str, Any]] = {}
        self.ghosts: list[Any] = []
        self.started = 0
        for _ in range(settings.num_workers):
            self.add()

    def add(self) -> None:
        self.workers[self.started] = {"own": [], "taken": None, "waiting": None, "fetched": 99, "base": 0, "seen": 0}
        self.started += 1

    def fetch(self, w: dict[str, Any]) -> None:
        w["base"], w["seen_now"], w["fetched"] = self.dealer.now()[0], len(self.applied), 0

    async def push(self, name: int) -> None:
        w = self.workers[name]
        if w["own"]:
            self.staleness.append(len(self.applied) - w["seen"])
            self.applied += w["own"]
            await self.dealer.pushed(name, tuple(w["own"]))
            w["own"] = []

    async def die(self, name: int) -> None:
        self.ghosts.append(self.workers.pop(name)["waiting"])  # what it asked may still be answered
        await self.dealer.lost(name)
        self.add()

    async def turn(self, name: int) -> bool:
        """One thing that a worker does; False if it waits."""
        w = self.workers[name]
        if w["waiting"] is not None:
            if not w["waiting"].done():
                return False
            answer, w["waiting"] = w["waiting"].result(), None
            if not answer:
                await self.push(name)
                self.fetch(w)
                return True
            if not w["own"]:
                w["seen"] = w["seen_now"]
            step, again = w["taken"]
            w["own"].append(step)
            w["taken"], w["fetched"] = None, w["fetched"] + 1
            if again or len(w["own"]) == self.settings.push_every:
                w["due"] = True
            return True
        if w.pop("due", False):
            await self.push(name)
            return True
        if w["taken"] is None:
            w["taken"] = self.dealer.take(name)
            if w["taken"] is None:
                await self.push(name)
                del self.workers[name]
                return True
            if w["taken"][1]:
                await self.push(name)
        if w["fetched"] >= self.settings.fetch_every:
            self.fetch(w)
        w["waiting"] = asyncio.ensure_future(self.dealer.start(name, w["taken"][0], w["base"]))
        await asyncio.sleep(0)
        return True


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.sampled_from([None, 0, 1, 2, 5]), st.integers(0, 25),
    st.randoms(use_true_random=False), st.integers(0, 4),
)  # fmt: skip
def test_each_step_is_done_once_within_the_bound_whoever_is_slow_or_dies(
    num_workers: int, fetch_every: int, push_every: int, most: int | None, num_steps: int, rng: Any, deaths: int
) -> None:
    if most is not None:
        most += max(0, fetch_every - push_every)
    settings = Downpour(
        num_workers=num_workers, fetch_every=fetch_every, push_every=push_every, max_staleness=most
    )  # fmt: skip

    async def simulate() -> _Simulated:
        dealer = Dealer(num_steps, most)
        run, left, stuck = _Simulated(dealer, settings), deaths, 0
        hold = None
        while run.workers:
            name = rng.choice(sorted(run.workers))
            if left and rng.random() < 0.05:
                left -= 1
                await run.die(name)
            elif hold is None and rng.random() < 0.02:
                hold = asyncio.ensure_future(dealer.hold())
            elif hold is not None and hold.done():
                first, open_steps = hold.result()
                assert sorted([*run.applied, *open_steps]) == list(range(first))
                await dealer.release()
                hold = None
            await asyncio.sleep(0)
            stuck = 0 if name in run.workers and await run.turn(name) else stuck + 1
            assert stuck < 2000
        for waiting in (hold, *run.ghosts):
            if waiting is not None:
                waiting.cancel()
        return run

    done = asyncio.run(simulate())
    assert sorted(done.applied) == list(range(num_steps))
    assert most is None or all(staleness <= most for staleness in done.staleness)


def test_without_staleness_one_worker_trains_at_a_time() -> None:
    async def two() -> tuple[bool, bool]:
        dealer = Dealer(2, 0)
        steps = [dealer.take(worker) for worker in (0, 1)]
        assert steps == [(0, False), (1, False)]
        assert await dealer.start(0, 0, 0)
        second = asyncio.ensure_future(dealer.start(1, 1, 0))
        await asyncio.sleep(0)
        waits = not second.done()
        await dealer.pushed(0, "report")
        assert not await second  # its parameters are old by now
        return waits, await dealer.start(1, 1, dealer.now()[0])

    assert asyncio.run(two()) == (True, True)


def test_a_dealer_goes_on_with_what_was_left() -> None:
    dealer = Dealer(8, None, first=6, left=[4, 2])
    assert [dealer.take(0) for _ in range(5)] == [(2, True), (4, True), (6, False), (7, False), None]
    assert dealer.left() == [2, 4, 6, 7]
    assert dealer.now() == (0, 2)


# ---- settings --------------------------------------------------------------------------------------------------------


def test_the_papers_set_up_fits_its_network() -> None:
    assert dataclasses.astuple(paper()) == (50, 17, 50, 1, 1, None)
    with torch.device("meta"):
        net = fresh(recipes.jft300m_resnet101(), 18291)
    layout = Layout.of(net, paper())
    assert {high - low for low, high in layout.spans} == {365, 366}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_workers": 0}, "`num_workers` must be at least 1. Got 0"),
        ({"max_staleness": -1}, "`max_staleness` must be at least 0"),
        ({"fetch_every": 4, "max_staleness": 2}, "`max_staleness` must be at least 3, .* Got 2"),
    ],
)
def test_settings_that_cannot_be_say_so(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        Downpour(**changes)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("downpour")
    rng = np.random.default_rng(0)
    for label, colour in {"dog": 60, "bus": 190}.items():
        (root / "photos" / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(colour - 50, colour + 50, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "photos" / label / f"{i}.png")
    return sources.from_folder(root / "photos", out=root / "catalog", hierarchy=Hierarchy.load("toy"), workers=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "softmax"}, "`loss` must be logistic or focal or asymmetric: a softmax needs sums over all labels"),
        ({"clip_norm": 1.0}, "`clip_norm` must be None: no process has the whole gradient. Got 1.0"),
        ({"freeze_below": "fc"}, "`freeze_below` must be .*: body servers would have nothing to train"),
        ({"accumulate": 2}, "`accumulate` must be 1"),
        ({"ema_decay": 0.9}, "`ema_decay` must be None"),
        ({"split_head": True}, "`split_head` must be False"),
    ],
)
def test_what_needs_everything_in_one_place_is_refused(
    catalog: Catalog, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadArgument, match=message):
        run(subset.everything(catalog), small(**changes), out=tmp_path / "out", downpour=Downpour())
    assert not list(tmp_path.iterdir())


def test_a_run_of_no_steps_needs_no_ray(catalog: Catalog, tmp_path: Path) -> None:
    none = small(total_epochs=0.0, warmup_epochs=0.0)
    made = run(subset.everything(catalog), none, out=tmp_path / "none", downpour=Downpour())
    plain = pretrain.run(subset.everything(catalog), none, out=tmp_path / "plain")
    assert made.sidecar.facts["num_steps"] == 0
    for name, value in plain.load_weights().items():
        assert torch.equal(made.load_weights()[name], value)


# ---- with Ray --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster for all tests, as starting one takes seconds."""
    there = pytest.importorskip("ray")
    there.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield there
    there.shutdown()


@pytest.mark.slow
def test_one_worker_that_may_not_be_stale_trains_as_the_loop_does(ray: Any, catalog: Catalog, tmp_path: Path) -> None:
    chosen, config = subset.everything(catalog), small(total_epochs=1.0, prior_bias=True)
    settings = Downpour(num_workers=1, num_servers=2, head_shards=2, max_staleness=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a Ray worker: sums of more are in another order
    plain = pretrain.run(chosen, config, out=tmp_path / "plain", device="cpu")
    torch.set_num_threads(threads)
    served = run(chosen, config, out=tmp_path / "served", downpour=settings)
    expected = plain.load_weights()
    for name, value in served.load_weights().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=name)
    assert served.images().tolist() == plain.images().tolist()
    assert served.sidecar.facts["staleness"] == {"0": 5}
    assert served.metrics()[-1]["images"] == 40
    first = served.metrics()[0]  # of as many steps as were done at the first look
    told = [row["loss"] for row in plain.metrics() if row["step"] <= first["step"]]
    assert first["loss"] == pytest.approx(sum(told) / len(told), rel=1e-3)
    with pytest.raises(NonFinite, match=r"the body was not updated.*images: \d+"):
        run(chosen, small(learning_rate=1e30), out=tmp_path / "explodes", downpour=settings)
    assert not (tmp_path / "explodes").exists()


@pytest.mark.slow
def test_workers_that_die_are_replaced_and_a_stopped_run_goes_on(
    ray: Any, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jftdata.pretrain.downpour import supervisor

    seen = tmp_path / "seen"
    seen.mkdir()

    class Watched(supervisor.Worker):
        """Notes the steps that are counted; the first to come to step 7 dies in it."""

        def _push(self) -> None:
            steps = list(self._steps)
            super()._push()
            for step in steps:
                (seen / f"{step}-{os.getpid()}").touch()

        def _train(self, step: int, batch: Any) -> None:
            super()._train(step, batch)
            died = seen.with_name("died")
            if step == 7 and not died.exists():
                died.touch()
                os._exit(1)

    monkeypatch.setattr(supervisor, "Worker", Watched)
    chosen, config = subset.everything(catalog), small(total_epochs=8.0)
    settings = Downpour(num_workers=2, num_servers=2, head_shards=1, push_every=2, max_staleness=3)

    def stop() -> None:
        while len(list(seen.iterdir())) < 20:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted, match=r"after \d+ steps; run the same command"):
        run(chosen, config, out=tmp_path / "out", downpour=settings)
    first = [int(path.name.split("-")[0]) for path in seen.iterdir()]
    assert (tmp_path / "died").exists()
    assert 20 <= len(first) < 40
    done = run(chosen, config, out=tmp_path / "out", downpour=settings)
    steps = [int(path.name.split("-")[0]) for path in seen.iterdir()]
    assert sorted(steps) == list(range(40))
    facts = done.sidecar.facts
    assert facts["num_workers_replaced"] == 1
    assert 0 <= facts["staleness_mean"] <= facts["staleness_max"] <= 3
    assert sum(facts["staleness"].values()) >= 20  # pushes of one or two steps
    rows = done.metrics()
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert rows[-1]["step"] == 40
    assert np.mean([row["loss"] for row in rows[-3:]]) < 0.7 * rows[0]["loss"]
    assert not (done.path / "states").exists()


@pytest.mark.slow
def test_a_dead_server_ends_the_run_and_says_how_to_go_on(
    ray: Any, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jftdata.pretrain.downpour import supervisor

    class Dies(supervisor.Server):
        def push(self, push: Push) -> int:
            if 5 in push.steps:
                os._exit(1)
            return super().push(push)

    monkeypatch.setattr(supervisor, "Server", Dies)
    with pytest.raises(JftDataError, match=r"a parameter server died: .*\. Run the same command"):
        run(subset.everything(catalog), small(), out=tmp_path / "out", downpour=Downpour(num_workers=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_train_the_world_as_well_as_one_process_does(ray: Any, tmp_path: Path) -> None:
    tree, sizes = Hierarchy.load("world"), {"num_eval": 0, "num_clean_train": 1200, "num_clean_test": 2000}
    files = world.write(tmp_path / "world", num_images=1500, seed=0, size=32, workers=2, **sizes)
    images = sources.from_hub(files.train, label="labels", hierarchy=tree, out=tmp_path / "train", workers=1)
    task = sources.from_hub(files.clean, label="label", out=tmp_path / "clean", workers=1)
    # At twice this rate staleness costs more, and unevenly: single runs were 2.8 points below to 1.0 above, here 0.5 to 0.8 below.
    config = dataclasses.replace(recipes.tiny(total_epochs=8.0, image_size=32), batch_size=32, learning_rate=5e-4)
    chosen, untrained = subset.everything(images), dataclasses.replace(config, total_epochs=0.0, warmup_epochs=0.0)
    made = {
        "fresh": pretrain.run(chosen, untrained, out=tmp_path / "fresh", device="cpu"),
        "plain": pretrain.run(chosen, config, out=tmp_path / "plain", device="cpu"),
        "served": run(
            chosen, config, out=tmp_path / "served", downpour=Downpour(num_workers=2, head_shards=2, max_staleness=2)
        ),
    }
    assert made["served"].sidecar.facts["num_images_seen"] == made["plain"].sidecar.facts["num_images_seen"]
    points = {}
    for name, checkpoint in made.items():
        out = tmp_path / f"{name}.results"
        rows = transfer.run(checkpoint, task="knn", data=task, out=out, overlap=None, device="cpu").rows
        points[name] = 100 * float(np.mean(rows["value"].to_numpy()))  # over k = 10 to 200
    assert points["served"] > points["plain"] - 2, points
    assert points["plain"] > points["fresh"] + 5, points
