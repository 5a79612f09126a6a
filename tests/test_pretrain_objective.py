"""Losses of pretraining: each equals its formula on dense targets, whatever the blocks; targets are indexes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.targets import FillIn, fill_in, three_valued
from jftdata.pretrain.objective import Asymmetric, Focal, Logistic, Objective, Targets, log_odds
from jftdata.ragged import of_lists


def targets_of(table: Tensor, negative: Tensor | None = None) -> Targets:
    lists = [row.nonzero().flatten().tolist() for row in table]
    no = None if negative is None else of_lists([row.nonzero().flatten().tolist() for row in negative])
    return Targets.of(of_lists(lists), no, num_labels=table.shape[1])


def loss_and_slope(objective: Objective, logits: Tensor, targets: Targets, *, block: int) -> tuple[Tensor, Tensor]:
    """As the head does it, without the products."""
    loss = objective.on(targets)
    parts = [(first, logits[:, first : first + block]) for first in range(0, logits.shape[1], block)]
    sums = logits.new_full((loss.num_sums,), -torch.inf)
    if loss.num_sums:
        for first, part in parts:
            sums = torch.logaddexp(sums, loss.log_sums(part.clone(), first))
    values, slopes = zip(*(loss.block(part.clone(), first, sums) for first, part in parts), strict=True)
    return torch.stack(values).sum(), torch.cat(slopes, 1)


def check(objective: Objective, logits: Tensor, targets: Targets, expected: Tensor) -> None:
    """The loss and its gradient are those of a dense formula of `logits`."""
    slope = torch.autograd.grad(expected, logits)[0]
    for block in (1, 3, logits.shape[1]):
        found = loss_and_slope(objective, logits.detach(), targets, block=block)
        torch.testing.assert_close(found[0], expected.detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found[1], slope, rtol=1e-10, atol=1e-10)


@st.composite
def batches(draw: st.DrawFn, *, labels: int | None = None) -> tuple[Tensor, Tensor]:
    """Logits (B, L) in float64, some of them extreme, and a table of positives; some images have none."""
    shape = draw(st.integers(1, 5)), labels or draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 3.0, 60.0]))
    logits = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
    table = torch.rand(*shape, generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.9]))
    return logits.requires_grad_(), table


@given(batches())
def test_logistic_is_torchs_binary_cross_entropy(batch: tuple[Tensor, Tensor]) -> None:
    logits, table = batch
    dense = F.binary_cross_entropy_with_logits(logits, table.double(), reduction="sum") / len(logits)
    check(Logistic(), logits, targets_of(table), dense)


@given(batches(), st.floats(0, 0.9))
def test_smoothing_and_offset_are_those_of_smoothed_targets_and_moved_logits(
    batch: tuple[Tensor, Tensor], smoothing: float
) -> None:
    logits, table = batch
    offset = torch.linspace(-5, 2, logits.shape[1], dtype=torch.float64)
    soft = table.double() * (1 - smoothing) + smoothing / 2
    dense = F.binary_cross_entropy_with_logits(logits + offset, soft, reduction="sum") / len(logits)
    check(Logistic(smoothing, offset), logits, targets_of(table), dense)


@given(batches(), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]), st.sampled_from([None, 0.25, 0.9]))
def test_focal_is_torchvisions(batch: tuple[Tensor, Tensor], gamma: float, alpha: float | None) -> None:
    logits, table = batch
    with torch.no_grad():
        logits.clamp_(-30, 30)  # where torchvision's own powers have finite slopes
    dense = sigmoid_focal_loss(logits, table.double(), alpha=-1 if alpha is None else alpha, gamma=gamma).sum()
    check(Focal(gamma, alpha), logits, targets_of(table), dense / len(logits))


@given(batches(), st.sampled_from([(0.0, 4.0, 0.05), (1.0, 1.0, 0.2), (0.0, 0.0, 0.1), (2.0, 3.0, 0.0)]))
def test_asymmetric_is_the_papers_formula(batch: tuple[Tensor, Tensor], settings: tuple[float, float, float]) -> None:
    logits, table = batch
    with torch.no_grad():
        logits.clamp_(-15, 15)  # where the plain formula is exact
    positive, negative, margin = settings
    p = torch.sigmoid(logits)
    shifted = (p - margin).clamp(min=0)
    plus = -((1 - p) ** positive) * p.log()
    minus = -(shifted**negative) * (1 - shifted).log()
    check(Asymmetric(*settings), logits, targets_of(table), torch.where(table, plus, minus).sum() / len(logits))


@pytest.mark.parametrize("objective", [Logistic(), Focal(0.5), Asymmetric(), Asymmetric(0.5, 0.5, 0.0)])
def test_slopes_are_finite_at_any_float32_logit(objective: Objective) -> None:
    logits = torch.tensor([[-300.0, -100, -90, 0, 90, 100, 300]]).repeat(2, 1)
    table = torch.tensor([[True], [False]]).expand(2, 7)
    value, slope = loss_and_slope(objective, logits, targets_of(table), block=7)
    assert value.isfinite()
    assert slope.isfinite().all()


@given(batches(labels=12), st.sampled_from(["negative", "unknown"]))
def test_unknown_labels_are_masked(batch: tuple[Tensor, Tensor], absent: str) -> None:
    logits, table = batch
    tree = Hierarchy.load("toy")
    assert tree.num_labels == logits.shape[1]
    given_labels = [row.nonzero().flatten().tolist()[:2] for row in table]
    verified = [[label] for label in range(5, 5 + len(table))]
    dense = three_valued(tree, given_labels, verified, policy=FillIn(absent=absent))  # type: ignore[arg-type]
    weight = torch.from_numpy(dense.known)
    positive = torch.from_numpy(dense.positive)
    loss = F.binary_cross_entropy_with_logits(logits, positive.double(), weight=weight.double(), reduction="sum")
    no = torch.from_numpy(dense.known & ~dense.positive) if absent == "unknown" else None
    check(Logistic(), logits, targets_of(positive, no), loss / len(logits))


def test_targets_of_filled_in_labels_are_their_closure() -> None:
    tree = Hierarchy.load("toy")
    lists = of_lists([[tree.index("house cat")], []])
    targets = Targets.of(fill_in(tree, *lists), num_labels=tree.num_labels)
    assert [tree.labels[i] for i in targets.label] == ["animal", "pet", "cat", "house cat"]
    assert targets.image.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        ([[4]], None, "must be in 0..3. Got 4"),
        ([[-1]], None, "must be in 0..3. Got -1"),
        ([[0], [2, 2]], None, "image 1 of the batch has label 2 twice"),
        ([[0], [2]], [[], [2]], "as positive and negative"),
        ([[0], [2]], [[1]], "positives of 2 images and negatives of 1"),
    ],
)
def test_targets_that_contradict_themselves_are_refused(
    positive: list[list[int]], negative: list[list[int]] | None, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Targets.of(of_lists(positive), None if negative is None else of_lists(negative), num_labels=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Logistic(smoothing=1.0), "`smoothing` must be at least 0 and below 1. Got 1.0"),
        (lambda: Focal(gamma=-1), "`gamma` must be at least 0"),
        (lambda: Focal(alpha=2), "`alpha` must be"),
        (lambda: Asymmetric(gamma_negative=0.5), "`gamma_negative` must be 0 or at least 1 with a margin"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        make()  # type: ignore[operator]


def test_log_odds_of_a_label_on_every_image_is_finite() -> None:
    assert np.isfinite(log_odds(np.array([0, 10]), 10)).all()
