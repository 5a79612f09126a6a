"""The last layer and its loss in one: no table of all logits, and no rank that holds all labels.

Loss and gradients are computed together in the forward pass, a block of columns at a time: the logits of a block, their loss, the
slope of the loss in them, and from it the block's share of the gradients. A head split over ranks does the same with the columns it
holds and the features of all ranks; only features, target indexes, sums per image and the gradient of the features travel. Products run
in autocast's type, losses in float32, or float64 where the features are.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from jftdata import storage
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.hashing import stream_key
from jftdata.pretrain.objective import Objective, Targets

_BLOCK = 64 << 20
"""Bytes a block of columns takes, about: its logits in float32 twice and in bf16, and its weights in bf16 twice. At 1,024 images and
2,048 features blocks of 1,024 columns take 1.6 times the time of one block of all 18,291, those of 4,096 columns 1.1 times."""
_ROWS = 1024
"""Labels whose first weights are drawn together."""


def head_loss(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Targets, objective: Objective, *, block: int | None = None
) -> Tensor:
    """The loss of a linear head, with gradients to features, weight and bias.

    Args:
        features: (B, d).
        weight: (L, d).
        bias: (L,).
        targets: labels of the B images.
        objective: which loss.
        block: columns computed at once; None is as many as take about 64 MiB. It changes rounding and memory only.

    Returns:
        Scalar, averaged over images.

    Raises:
        BadInput: shapes that do not fit each other.

    Cost: three products of (B, L, d), for a softmax of more than one block four. Memory beside the gradients: a block.

    >>> from jftdata.pretrain.objective import Logistic
    >>> targets = Targets(2, 4, torch.tensor([0]), torch.tensor([3]))
    >>> head_loss(torch.ones(2, 3), torch.zeros(4, 3), torch.zeros(4), targets, Logistic()).item() / 4  # ln 2
    0.6931471824645996
    """
    _check(features, weight, targets)
    plan = _Plan(objective, 0, len(weight), block, None, torch.is_grad_enabled())
    loss: Tensor = _HeadLoss.apply(features, weight, bias, targets, plan)
    return loss


class SplitHead(nn.Module):
    """A linear head of which each rank holds ceil(L / ranks) labels; the last ones are padded with rows that never take part.

    `loss` is the mean over the images of all ranks, and gives each rank the gradient of that mean in its own features. So gradients of
    the layers below are to be summed over ranks; DistributedDataParallel averages them, which makes them too small by the number of
    ranks. The head's own gradients are complete on their rank: keep it out of DistributedDataParallel.

    Args:
        num_features: d.
        num_labels: L, over all ranks.
        seed: of the first weights, which are uniform in +-1/sqrt(d) as torch's, and the same for any number of ranks.
        group: the ranks; None is all of them, or this process alone where torch.distributed is not started.

    Raises:
        BadArgument: a size below 1.
    """

    def __init__(
        self, num_features: int, num_labels: int, *, seed: int, group: dist.ProcessGroup | None = None,
        device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_features < 1 or num_labels < 1:
            raise BadArgument(f"a head needs features and labels. Got {num_features} features and {num_labels} labels.")
        self.num_labels = num_labels
        self.group = (group or dist.group.WORLD) if dist.is_initialized() else None
        self.rank, self.world = (0, 1) if self.group is None else (dist.get_rank(group), dist.get_world_size(group))
        rows = math.ceil(num_labels / self.world)
        self.first = min(self.rank * rows, num_labels)
        self.last = min(self.first + rows, num_labels)
        self.weight = nn.Parameter(torch.zeros(rows, num_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(rows, device=device, dtype=dtype))
        self._draw(seed)

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        bound = 1 / math.sqrt(self.weight.shape[1])
        for start in range(self.first // _ROWS * _ROWS, self.last, _ROWS):
            generator = torch.Generator().manual_seed(stream_key(seed, f"head {start}") >> 1)
            drawn = torch.rand(_ROWS, self.weight.shape[1] + 1, generator=generator) * 2 * bound - bound
            low, high = max(start, self.first), min(start + _ROWS, self.last)
            drawn, rows = drawn[low - start : high - start], slice(low - self.first, high - self.first)
            self.weight[rows], self.bias[rows] = drawn[:, :-1], drawn[:, -1]

    def loss(self, features: Tensor, targets: Targets, objective: Objective, *, block: int | None = None) -> Tensor:
        """The mean loss over the images of all ranks.

        Args:
            features: (B, d) of this rank's images, the same B on all ranks: leave out a last batch that is smaller.
            targets: their labels.
            objective: which loss, the same on all ranks.
            block: as in `head_loss`.

        Returns:
            Scalar, the same on all ranks.

        Raises:
            BadInput: batches of different size, or shapes that do not fit.
        """
        _check(features, self.weight, targets, num_labels=self.num_labels)
        if self.group is not None:
            targets = _all_targets(targets, self.group)
        plan = _Plan(objective, self.first, self.last, block, self.group, torch.is_grad_enabled())
        loss: Tensor = _HeadLoss.apply(features, self.weight, self.bias, targets, plan)
        return loss

    @torch.no_grad()
    def top(self, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k labels of the highest logits of each of this rank's images.

        Args:
            features: (B, d), the same B on all ranks.
            k: how many, at most L.

        Returns:
            (B, k) logits, descending, and (B, k) int64 labels.

        Raises:
            BadArgument: k out of range.
        """
        if not 1 <= k <= self.num_labels:
            raise BadArgument(f"`k` must be in 1..{self.num_labels}, the number of labels. Got {k}.")
        rows, count = self.last - self.first, len(features)
        if self.group is not None:
            features = _gather(features, self.group)
        values = features.new_full((len(features), k), -torch.inf)
        labels = torch.zeros(values.shape, dtype=torch.int64, device=values.device)
        for span in _blocks(features, rows):
            logits = nn.functional.linear(features, self.weight[span], self.bias[span]).to(values)
            here = torch.arange(self.first + span.start, self.first + span.stop, device=values.device)
            values, labels = _best(torch.cat([values, logits], 1), torch.cat([labels, here.expand(logits.shape)], 1), k)
        if self.group is not None:
            own = slice(self.rank * count, (self.rank + 1) * count)
            values, labels = (torch.cat(_gather(x[None], self.group)[:, own].unbind(), 1) for x in (values, labels))
        return _best(values, labels, k)


def save_rows(folder: Path, head: SplitHead, more: dict[str, Tensor] | None = None) -> Path:
    """Write this rank's labels, without padding, to a file of their own; ranks do not wait for each other.

    Args:
        folder: where the files of all ranks go; one save a folder.
        head: `weight` and `bias` are saved.
        more: other tensors with a row a label of this rank, as an optimizer's averages.

    Returns:
        The file.

    Raises:
        BadArgument: a tensor in `more` without a row a label.
    """
    tensors = {"weight": head.weight.data, "bias": head.bias.data, **(more or {})}
    wrong = [name for name, value in tensors.items() if value.shape[:1] != head.bias.shape]
    if wrong:
        shape = tuple(tensors[wrong[0]].shape)
        raise BadArgument(f"`more` must have {len(head.bias)} rows in each tensor. Got {shape} in {wrong[0]!r}.")
    path = folder / f"head-{head.rank:05d}-of-{head.world:05d}.safetensors"
    span = {"first": str(head.first), "last": str(head.last), "num_labels": str(head.num_labels)}
    rows = head.last - head.first
    with storage.atomic_path(path) as temp:
        save_file({name: value[:rows].cpu().contiguous() for name, value in tensors.items()}, temp, metadata=span)
    return path


def load_rows(folder: Path, head: SplitHead) -> dict[str, Tensor]:
    """Read this rank's labels from files that any number of ranks wrote; nothing else is read.

    Args:
        folder: what `save_rows` wrote to.
        head: gets its `weight` and `bias`.

    Returns:
        The other tensors saved, padded with zeros as the head is.

    Raises:
        MissingInput: no files, or not those of all ranks.
        BadInput: files of a head with another number of labels, or of several saves.
    """
    paths = sorted(folder.glob("head-*-of-*.safetensors"))
    if len({path.name.split("-of-")[1] for path in paths}) > 1:
        raise BadInput(f"{folder} has files of saves by different numbers of ranks. Keep those of one save.")
    found: dict[str, Tensor] = {}
    rows = 0
    for path in paths:
        with safe_open(path, framework="pt") as file:
            span = {name: int(value) for name, value in file.metadata().items()}
            if span["num_labels"] != head.num_labels:
                raise BadInput(f"{path} is of {span['num_labels']} labels; the head has {head.num_labels}.")
            low = min(max(span["first"], head.first), span["last"])
            high = max(min(span["last"], head.last), low)
            rows += high - low
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                part = file.get_slice(name)[low - span["first"] : high - span["first"]]
                if name not in found:
                    found[name] = part.new_zeros(len(head.bias), *part.shape[1:])
                if len(part):
                    found[name][low - head.first : high - head.first] = part
    if rows != head.last - head.first:
        raise MissingInput(
            f"{folder} has {rows} of the {head.last - head.first} labels from {head.first} on. Give a folder with the "
            "files of all ranks of one save."
        )
    with torch.no_grad():
        head.weight.copy_(found.pop("weight"))
        head.bias.copy_(found.pop("bias"))
    return found


@dataclass(frozen=True)
class _Plan:
    objective: Objective
    first: int
    last: int
    """The weights are of the labels from `first` to before `last`; rows beyond are padding."""
    block: int | None
    group: dist.ProcessGroup | None
    """None: alone."""
    grads: bool


class _HeadLoss(torch.autograd.Function):
    """Loss and gradients in the forward pass; the backward pass only scales them."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Targets, plan: _Plan) -> Tensor:
        kind, group, rows = features.device.type, plan.group, plan.last - plan.first
        product = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
        exact = torch.promote_types(features.dtype, torch.float32)
        with torch.autocast(kind, enabled=False):
            x = features.to(product)  # (B, d) of all ranks
            if group is not None:
                x = _gather(x, group)
            spans = _blocks(x, rows, plan.block)
            loss = plan.objective.on(targets)
            sums = x.new_full((loss.num_sums,), -torch.inf, dtype=exact)
            kept: Tensor | None = None
            if loss.num_sums:
                for span in spans:
                    logits = _logits(x, weight[span].to(product), bias[span], exact)
                    sums = torch.logaddexp(sums, loss.log_sums(logits, plan.first + span.start))
                    kept = logits if len(spans) == 1 else None
                    del logits
                sums = _add_sums(sums, group)
            wanted = [needed and plan.grads for needed in ctx.needs_input_grad[:3]]
            dx = x.new_zeros(x.shape, dtype=exact) if wanted[0] else None
            dw = torch.empty_like(weight) if wanted[1] else None
            db = torch.empty_like(bias) if wanted[2] else None
            for padded in (dw, db):
                if padded is not None:
                    padded[rows:] = 0
            value = x.new_zeros((), dtype=exact)
            for span in spans:
                w = weight[span].to(product)
                logits = _logits(x, w, bias[span], exact) if kept is None else kept
                part, slope = loss.block(logits, plan.first + span.start, sums)
                value += part
                if db is not None:
                    db[span] = slope.sum(0)
                slope = slope.to(product)  # (B, columns)
                if dx is not None:
                    dx += slope @ w
                if dw is not None:
                    dw[span] = slope.T @ x
                del logits, slope  # before the next block is made
            if group is not None:
                dist.all_reduce(value, group=group)
                if dx is not None:
                    own = dx.new_empty(features.shape)
                    dist.reduce_scatter_tensor(own, dx, group=group)
                    dx = own
        ctx.grads = (None if dx is None else dx.to(features.dtype), dw, db)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("this loss was differentiated before; compute it again.")
        grads, ctx.grads = ctx.grads, None
        return *(None if g is None else g.mul_(outer[0]) for g in grads), None, None


def _logits(x: Tensor, weight: Tensor, bias: Tensor, exact: torch.dtype) -> Tensor:
    return (x @ weight.T).to(exact).add_(bias)


def _blocks(x: Tensor, rows: int, columns: int | None = None) -> list[slice]:
    step = columns or max(1, _BLOCK // (10 * len(x) + 4 * x.shape[1]))
    return [slice(low, min(low + step, rows)) for low in range(0, rows, step)]


def _best(values: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, at = values.topk(k, 1)
    return values, labels.gather(1, at)


def _add_sums(sums: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The log of sums of exponentials over all ranks from those of each."""
    if group is None:
        return sums
    top = sums.clone()
    dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
    total = torch.exp(sums - top)
    dist.all_reduce(total, group=group)
    return top + total.log()


def _gather(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The rows of all ranks, rank by rank."""
    out = x.new_empty(dist.get_world_size(group) * len(x), *x.shape[1:])
    dist.all_gather_into_tensor(out, x.contiguous(), group=group)
    return out


def _all_targets(targets: Targets, group: dist.ProcessGroup) -> Targets:
    """The targets of all ranks' images, as of one batch."""
    three = targets.positive is not None
    sizes = _gather(targets.label.new_tensor([[targets.num_images, len(targets.label), three]]), group).tolist()
    if len({(images, kind) for images, _, kind in sizes}) > 1:
        raise BadInput(
            f"ranks have batches of {', '.join(str(images) for images, _, _ in sizes)} images"
            f"{', some with unknown labels and some without' if len({kind for *_, kind in sizes}) > 1 else ''}. "
            "Give each rank as many; leave out a last batch that is smaller."
        )
    padded = targets.label.new_zeros(1, 3, max(m for _, m, _ in sizes))
    rank = dist.get_rank(group)
    rows = [targets.image + rank * targets.num_images, targets.label]
    if targets.positive is not None:
        rows.append(targets.positive)
    for i, row in enumerate(rows):
        padded[0, i, : len(targets.label)] = row
    image, label, positive = torch.cat(
        [t[:, :m] for t, (_, m, _) in zip(_gather(padded, group), sizes, strict=True)], 1
    )
    label, order = torch.sort(label, stable=True)
    yes = positive[order].bool() if three else None
    return Targets(targets.num_images * len(sizes), targets.num_labels, image[order], label, yes)


def _check(features: Tensor, weight: Tensor, targets: Targets, *, num_labels: int | None = None) -> None:
    labels = len(weight) if num_labels is None else num_labels
    if features.ndim != 2 or weight.ndim != 2 or features.shape[1] != weight.shape[1] or not len(features):
        raise BadInput(
            f"expected features (B, d) and weights (L, d) of the same d, B at least 1. Got {tuple(features.shape)} and "
            f"{tuple(weight.shape)}."
        )
    if (targets.num_images, targets.num_labels) != (len(features), labels):
        raise BadInput(
            f"expected targets of {len(features)} images and {labels} labels. Got {targets.num_images} and "
            f"{targets.num_labels}."
        )
