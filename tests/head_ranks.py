"""Trains small heads split over 1 to 4 processes and writes what each rank saw, for `test_pretrain_head.py`.

`python -m tests.head_ranks FOLDER` forks after importing torch once, which four spawned processes would each do.
"""

import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.targets import fill_in
from jftdata.pretrain.head import SplitHead, load_rows, save_rows
from jftdata.pretrain.objective import Focal, Logistic, Objective, Targets
from jftdata.pretrain.softmax import Softmax, TreeSoftmax
from jftdata.ragged import of_lists

WORLDS = (1, 2, 3, 4)
NUM_IMAGES, NUM_INPUTS, NUM_FEATURES = 12, 6, 5
TREE = Hierarchy.from_edges(
    [("0", "1"), ("0", "2"), ("2", "3"), ("2", "4"), ("5", "4"), ("5", "6"), ("1", "7"), ("1", "8")]
)
CASES: dict[str, tuple[int, Objective]] = {
    "logistic": (10, Logistic()),
    "unknown": (10, Logistic(offset=torch.linspace(-1, 1, 10, dtype=torch.float64))),
    "focal": (5, Focal()),  # of 4 ranks, the last has no label
    "softmax": (10, Softmax(smoothing=0.1)),
    "soft": (5, Softmax()),
    "tree": (9, TreeSoftmax.of(TREE)),
}


def batch(case: str, rank: int, world: int) -> tuple[Tensor, Targets]:
    """This rank's part of the images: inputs in float64, and targets."""
    num_labels = CASES[case][0]
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(NUM_IMAGES, NUM_INPUTS))
    drawn = [rng.permutation(num_labels)[: 2 + i % 2].tolist() for i in range(NUM_IMAGES)]
    own = slice(rank * NUM_IMAGES // world, (rank + 1) * NUM_IMAGES // world)
    positive = of_lists([labels[:-1] if i else [] for i, labels in enumerate(drawn)][own])
    negative = of_lists([labels[-1:] for labels in drawn][own]) if case == "unknown" else None
    if case == "tree":
        positive = fill_in(TREE, *positive)
    return torch.from_numpy(inputs[own]), Targets.of(positive, negative, num_labels=num_labels)


def train(case: str, group: dist.ProcessGroup | None = None) -> tuple[SplitHead, dict[str, Tensor], torch.optim.SGD]:
    """Three steps of a linear layer and a head; returns it with the first step's gradients and what came of it."""
    num_labels, objective = CASES[case]
    head = SplitHead(NUM_FEATURES, num_labels, seed=3, group=group, dtype=torch.float64)
    inputs, targets = batch(case, head.rank, head.world)
    below = nn.Parameter(torch.linspace(-1, 1, NUM_INPUTS * NUM_FEATURES, dtype=torch.float64).view(NUM_INPUTS, -1))
    optimizer = torch.optim.SGD([below, *head.parameters()], lr=0.3, momentum=0.9)
    seen: dict[str, Tensor] = {}
    for step in range(3):
        features = inputs @ below
        features.retain_grad()
        loss = head.loss(features, targets, objective, block=2)
        optimizer.zero_grad()
        loss.backward()
        assert below.grad is not None
        if group is not None:
            dist.all_reduce(below.grad, group=group)
        if step == 0:
            slopes = (features.grad, head.weight.grad, head.bias.grad)
            seen = {"loss": loss.detach()}
            seen |= {f"{name}.grad": g.clone() for name, g in zip(("features", "weight", "bias"), slopes, strict=True)}
        optimizer.step()
    head.bias.data -= 100  # a padding row, with its logit of 0, would now be the best
    values, labels = head.top(inputs @ below, 3)
    seen |= {"below": below.detach(), "weight": head.weight.data, "bias": head.bias.data}
    return head, seen | {"top": labels, "top.logits": values}, optimizer


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=len(WORLDS))
    groups = {world: dist.new_group(list(range(world))) for world in WORLDS}
    mine = [world for world in WORLDS if rank < world]
    for world in mine:
        for case in CASES:
            head, seen, optimizer = train(case, groups[world])
            averages = {"momentum": optimizer.state[head.weight]["momentum_buffer"]}
            save_rows(folder / f"{case}-{world}", head, averages)
            save_file(seen, folder / f"{case}-{world}-{rank}.safetensors")
    dist.barrier()
    for world in mine:
        head = SplitHead(NUM_FEATURES, 10, seed=9, group=groups[world], dtype=torch.float64)
        more = load_rows(folder / "logistic-3", head)
        save_file({**head.state_dict(), **more}, folder / f"resharded-{world}-{rank}.safetensors")
        few = SplitHead(NUM_FEATURES, 5, seed=9, group=groups[world], dtype=torch.float64)
        more = load_rows(folder / "soft-4", few)
        save_file({**few.state_dict(), **more}, folder / f"few-{world}-{rank}.safetensors")
    inputs, targets = batch("logistic", rank, 4 if rank else 3)
    try:
        SplitHead(NUM_INPUTS, 10, seed=0, dtype=torch.float64).loss(inputs, targets, Logistic())
    except BadInput as error:
        (folder / f"uneven-{rank}.txt").write_text(str(error))
    dist.destroy_process_group()


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    where = Path(sys.argv[1])
    for name in CASES:
        for size in WORLDS:
            (where / f"{name}-{size}").mkdir()
    processes = [context.Process(target=_rank, args=(rank, where)) for rank in range(len(WORLDS))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in processes))
