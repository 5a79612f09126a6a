"""The head: the dense loss and gradients without its memory, and the same numbers however it is split."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.pretrain.head import SplitHead, head_loss, load_rows, save_rows
from jftdata.pretrain.objective import Logistic, Objective, Targets
from jftdata.pretrain.softmax import Softmax
from jftdata.ragged import of_lists
from tests.head_ranks import CASES, WORLDS, train


def made(
    num_images: int, num_labels: int, d: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Features, weight and bias with gradients, and a table of positives."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (num_images, d), (num_labels, d), (num_labels,)
    leaves = [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]
    return [*leaves, torch.rand(num_images, num_labels, generator=generator) < 0.3]


def targets_of(table: Tensor) -> Targets:
    return Targets.of(of_lists([row.nonzero().flatten().tolist() for row in table]), num_labels=table.shape[1])


def dense_loss(logits: Tensor, table: Tensor, objective: Objective) -> Tensor:
    if isinstance(objective, Softmax):
        share = table.double() / table.sum(1, keepdim=True).clamp(min=1)
        return F.cross_entropy(logits, share.to(logits.dtype), reduction="sum") / len(logits)
    return F.binary_cross_entropy_with_logits(logits, table.to(logits.dtype), reduction="sum") / len(logits)


@given(st.integers(1, 6), st.integers(1, 20), st.sampled_from([1, 3, None]), st.sampled_from([Logistic(), Softmax()]))
def test_loss_and_gradients_are_those_of_a_dense_head(
    num_images: int, num_labels: int, block: int | None, objective: Objective
) -> None:
    *leaves, table = made(num_images, num_labels, 4, seed=num_images * 31 + num_labels)
    expected = 3 * dense_loss(F.linear(*leaves), table, objective)
    found = 3 * head_loss(*leaves, targets_of(table), objective, block=block)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    pairs = zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("objective", [Logistic(), Softmax()])
def test_under_autocast_products_are_bf16_and_the_loss_is_float32(objective: Objective) -> None:
    *leaves, table = made(16, 50, 32, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head_loss(*leaves, targets_of(table), objective, block=20)
    x, w, b = leaves
    rounded = x.bfloat16() @ w.bfloat16().T
    expected = dense_loss(rounded.float() + b, table, objective)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    pairs = zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.01 * float(theirs.abs().max()))


class Watch(TorchDispatchMode):
    """Notes the shapes of all tensors made, and the most bytes they held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()
        self.peak = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in before:
                self.shapes.add(tuple(x.shape))
                storage = x.untyped_storage()
                self._live[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._live = {key: (ref, size) for key, (ref, size) in self._live.items() if not ref.expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return out


@pytest.mark.parametrize("objective", [Logistic(), Logistic(offset=torch.zeros(18_291)), Softmax(smoothing=0.1)])
def test_beside_the_gradients_memory_stays_below_the_logits_once(objective: Objective) -> None:
    num_images, num_labels, d = 1024, 18_291, 16
    *leaves, _ = made(num_images, num_labels, d, dtype=torch.float32)
    targets = Targets.of(of_lists([[i, 9000, 18_000] for i in range(num_images)]), num_labels=num_labels)
    with Watch() as met:
        head_loss(*leaves, targets, objective).backward()
    assert (num_labels, d) in met.shapes
    assert met.peak - 4 * sum(x.numel() for x in leaves) < 4 * num_images * num_labels


def test_without_gradients_none_are_computed() -> None:
    *leaves, table = made(8, 40, 3)
    targets = targets_of(table)
    with torch.no_grad(), Watch() as met:
        loss = head_loss(*leaves, targets, Logistic(), block=10)
    assert not loss.requires_grad
    assert (40, 3) not in met.shapes
    with Watch() as met:
        head_loss(leaves[0].detach(), leaves[1], leaves[2], targets, Logistic(), block=10).backward()
    assert (40, 3) in met.shapes


def test_a_loss_is_differentiated_once() -> None:
    *leaves, table = made(4, 6, 3)
    loss = head_loss(*leaves, targets_of(table), Logistic())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated before"):
        loss.backward()


@pytest.mark.parametrize(
    ("features", "weight", "message"),
    [
        ((4, 3), (6, 2), "of the same d"),
        ((0, 3), (6, 3), "B at least 1"),
        ((5, 3), (6, 3), "expected targets of 5 images"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(features: tuple[int, int], weight: tuple[int, int], message: str) -> None:
    targets = Targets.of(of_lists([[0]] * 4), num_labels=6)
    with pytest.raises(BadInput, match=message):
        head_loss(torch.zeros(features), torch.zeros(weight), torch.zeros(weight[0]), targets, Logistic())


def test_a_head_needs_labels() -> None:
    with pytest.raises(BadArgument, match="Got 4 features and 0 labels"):
        SplitHead(4, 0, seed=0)


def test_first_weights_are_as_wide_as_torchs() -> None:
    head = SplitHead(16, 3000, seed=0)
    values = torch.cat([head.weight.detach().flatten(), head.bias.detach()]) * 4
    assert values.abs().max() <= 1
    assert abs(float(values.mean())) < 0.01
    assert float(values.var()) == pytest.approx(1 / 3, rel=0.01)
    assert not torch.equal(head.weight[:1024], head.weight[1024:2048])
    torch.testing.assert_close(SplitHead(16, 1500, seed=0).weight, head.weight[:1500], rtol=0, atol=0)
    assert not torch.equal(SplitHead(16, 3000, seed=1).weight, head.weight)


@pytest.mark.gpu
def test_on_a_gpu_the_peak_is_below_the_logits_once() -> None:
    num_images, num_labels, d = 1024, 18_291, 256
    made_here = made(num_images, num_labels, d, dtype=torch.float32)[:3]
    x, w, b = (t.detach().cuda().requires_grad_() for t in made_here)
    targets = Targets.of(of_lists([[i, 9000, 18_000] for i in range(num_images)]), num_labels=num_labels, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    head_loss(x, w, b, targets, Logistic()).backward()
    gradients = 4 * (x.numel() + w.numel() + b.numel())
    assert torch.cuda.max_memory_allocated() - before - gradients < 4 * num_images * num_labels


# ---- split -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 1, 2, 3 and 4 ranks wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, "-m", "tests.head_ranks", str(folder)],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def of_all(folder: Path, name: str, world: int) -> list[dict[str, Tensor]]:
    return [load_file(folder / f"{name}-{world}-{rank}.safetensors") for rank in range(world)]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", CASES)
def test_a_split_head_has_the_numbers_of_the_whole_one(ranks: Path, case: str, world: int) -> None:
    _, whole, _ = train(case)
    num_labels = CASES[case][0]
    parts = of_all(ranks, case, world)
    for name in ("features.grad", "weight.grad", "bias.grad", "weight", "bias", "top", "top.logits"):
        joined = torch.cat([part[name] for part in parts])
        rows = len(whole[name]) if name.startswith(("features", "top")) else num_labels
        torch.testing.assert_close(joined[:rows], whole[name], rtol=1e-12, atol=1e-12)
    for part in parts:
        assert len(part["weight"]) == -(-num_labels // world)
        for name in ("loss", "below"):
            torch.testing.assert_close(part[name], whole[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("world", [3, 4])
def test_padding_gets_no_gradient(ranks: Path, world: int) -> None:
    padded = torch.cat([part["weight.grad"] for part in of_all(ranks, "logistic", world)])
    assert len(padded) == 12
    assert not padded[10:].any()
    assert padded[:10].any(1).all()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("case", "read"), [("logistic", "resharded"), ("soft", "few")])
def test_files_of_some_ranks_are_read_by_any_number(ranks: Path, case: str, read: str, world: int) -> None:
    head, whole, optimizer = train(case)
    whole["momentum"] = optimizer.state[head.weight]["momentum_buffer"]
    parts = of_all(ranks, read, world)
    num_labels = CASES[case][0]
    for name in ("weight", "bias", "momentum"):
        joined = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(joined[:num_labels], whole[name], rtol=1e-12, atol=1e-12)
        assert not joined[num_labels:].any()


def test_batches_of_different_size_are_refused_on_every_rank(ranks: Path) -> None:
    messages = {(ranks / f"uneven-{rank}.txt").read_text() for rank in range(4)}
    assert messages == {
        "ranks have batches of 4, 3, 3, 3 images. Give each rank as many; leave out a last batch that is smaller."
    }


def test_the_top_labels_are_those_of_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jftdata.pretrain.head._BLOCK", 2000)  # 12 columns
    head = SplitHead(8, 100, seed=0)
    features = made(13, 1, 8, dtype=torch.float32)[0]
    expected = F.linear(features, head.weight, head.bias).topk(7, 1)
    values, labels = head.top(features, 7)
    assert labels.tolist() == expected.indices.tolist()
    torch.testing.assert_close(values, expected.values)
    with pytest.raises(BadArgument, match=r"`k` must be in 1..100, the number of labels. Got 101"):
        head.top(features, 101)


def test_files_that_are_not_a_whole_save_are_refused(tmp_path: Path) -> None:
    head = SplitHead(3, 10, seed=0)
    with pytest.raises(MissingInput, match="has 0 of the 10 labels"):
        load_rows(tmp_path, head)
    save_rows(tmp_path, head)
    with pytest.raises(BadInput, match=r"is of 10 labels; the head has 9"):
        load_rows(tmp_path, SplitHead(3, 9, seed=0))
    (tmp_path / "head-00000-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match="different numbers of ranks"):
        load_rows(tmp_path, head)
    with pytest.raises(BadArgument, match=r"must have 10 rows in each tensor. Got \(3,\) in 'step'"):
        save_rows(tmp_path, head, {"step": torch.zeros(3)})
