"""Softmax losses equal their formulas on dense targets, over all labels and along the hierarchy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from jftdata.errors import BadArgument
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.targets import fill_in
from jftdata.pretrain.objective import Targets
from jftdata.pretrain.softmax import Softmax, TreeSoftmax, log_share
from jftdata.ragged import of_lists
from tests.strategies import dags
from tests.test_pretrain_objective import batches, check, targets_of


@given(batches(), st.sampled_from([0.0, 0.1]))
def test_softmax_of_one_label_is_torchs_cross_entropy(batch: tuple[Tensor, Tensor], smoothing: float) -> None:
    logits, _ = batch
    label = torch.arange(len(logits)) * 5 % logits.shape[1]
    dense = F.cross_entropy(logits, label, label_smoothing=smoothing)
    check(Softmax(smoothing), logits, targets_of(F.one_hot(label, logits.shape[1])), dense)


@given(batches())
def test_softmax_of_several_labels_spreads_over_them_and_adds_nothing_without(batch: tuple[Tensor, Tensor]) -> None:
    logits, table = batch
    share = table.double() / table.sum(1, keepdim=True).clamp(min=1)
    dense = F.cross_entropy(logits, share, reduction="sum") / len(logits)
    check(Softmax(), logits, targets_of(table), dense)


def test_the_offset_moves_the_logits_by_the_prior() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=generator, dtype=torch.float64).requires_grad_()
    label = torch.tensor([0, 5, 5, 2])
    prior = torch.from_numpy(log_share(np.array([900, 50, 10, 3, 1, 0]))).double()
    dense = F.cross_entropy(logits + prior, label)
    check(Softmax(offset=prior), logits, targets_of(F.one_hot(label, 6)), dense)
    assert float(prior.exp().sum()) == pytest.approx(1)


@given(dags(), st.integers(0, 2**31))
def test_tree_softmax_is_a_softmax_at_each_label_passed(graph: object, seed: int) -> None:
    tree = Hierarchy.from_networkx(graph)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    start, index = fill_in(
        tree, *of_lists([rng.choice(tree.num_labels, rng.integers(0, 3)).tolist() for _ in range(3)])
    )
    logits = torch.from_numpy(rng.normal(size=(3, tree.num_labels)) * 5).requires_grad_()
    groups = [[tree.index(root) for root in tree.roots], *map(list, tree.child_lists)]
    dense = logits.sum() * 0
    for image in range(3):
        has = set(index[start[image] : start[image + 1]].tolist())
        for group in groups:
            passed = [at for at, child in enumerate(group) if child in has]
            if passed:
                dense = dense - F.log_softmax(logits[image, group], 0)[passed].mean() / 3
    check(TreeSoftmax.of(tree), logits, Targets.of((start, index), num_labels=tree.num_labels), dense)


def test_in_a_tree_it_is_the_probability_of_the_path() -> None:
    tree = Hierarchy.from_edges([("a", "b"), ("a", "c"), ("c", "d"), ("c", "e")], labels=["z"])
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = Targets.of(fill_in(tree, *of_lists([[tree.index("e")]])), num_labels=6)
    loss = TreeSoftmax.of(tree).on(targets)
    z = {label: logits[0, tree.index(label)].exp() for label in tree.labels}
    path = z["a"] / (z["a"] + z["z"]) * z["c"] / (z["b"] + z["c"]) * z["e"] / (z["d"] + z["e"])
    value, _ = loss.block(logits, 0, loss.log_sums(logits, 0))
    torch.testing.assert_close(value, -path.log())


@pytest.mark.parametrize("objective", [Softmax(), TreeSoftmax.of(Hierarchy.flat(["a", "b"]))])
def test_a_softmax_refuses_unknown_labels(objective: Softmax | TreeSoftmax) -> None:
    targets = Targets.of(of_lists([[0]]), of_lists([[1]]), num_labels=2)
    with pytest.raises(BadArgument, match="has no unknown labels"):
        objective.on(targets)


def test_a_tree_of_other_labels_is_refused() -> None:
    targets = Targets.of(of_lists([[0]]), num_labels=3)
    with pytest.raises(BadArgument, match="has 2 labels, the targets 3"):
        TreeSoftmax.of(Hierarchy.flat(["a", "b"])).on(targets)


def test_smoothing_must_be_below_one() -> None:
    with pytest.raises(BadArgument, match="`smoothing`"):
        Softmax(smoothing=1.0)
