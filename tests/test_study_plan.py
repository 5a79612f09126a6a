"""What a study expands to, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jftdata import recipes
from jftdata.errors import BadArgument, UnknownOption
from jftdata.study.plan import Arm, Judge, Study, cells


def _arm(name: str, **changes: Any) -> Arm:
    return Arm(name=name, subset=lambda _: pytest.fail("read"), num_images=10, recipe=recipes.tiny(), **changes)


def _study(arms: list[Arm], **changes: Any) -> Study:
    judge = Judge(task="knn", data=lambda: Path("x"))
    return Study(**{"name": "s", "question": "?", "arms": arms, "judges": [judge], "seeds": [0, 3], **changes})


def test_cells_come_seed_by_seed_each_after_what_it_needs() -> None:
    found = cells(_study([_arm("a", judged=False), _arm("b", init="a")]))
    assert [cell.name for cell in found] == ["runs/a-s0", "runs/b-s0", "transfer/b-s0-knn", "runs/a-s3", "runs/b-s3",
                                             "transfer/b-s3-knn"]  # fmt: skip
    done: set[str] = set()
    for cell in found:
        assert done.issuperset(cell.needs)
        done.add(cell.name)
    assert found[3].config.seed == 3
    assert found[1].passes == 40


def test_a_judge_is_called_by_its_task_and_mode() -> None:
    assert Judge(task="knn", data=lambda: Path("x")).key == "knn"
    assert Judge(task="detection", mode="frozen", data=lambda: Path("x")).key == "detection-frozen"
    assert Judge(task="detection", mode="frozen", data=lambda: Path("x"), name="boxes").key == "boxes"


def test_factors_are_named_once() -> None:
    assert _study([_arm("a", factors={"depth": 18}), _arm("b", factors={"noise": 0.1, "depth": 34})]).factors == (
        "depth",
        "noise",
    )


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: _study([]), BadArgument, "0 arms and 2 seeds"),
        (lambda: _study([_arm("a")], seeds=[]), BadArgument, "1 arms and 0 seeds"),
        (lambda: _study([_arm("a")], seeds=[1, 1]), BadArgument, r"\[1, 1\]"),
        (lambda: _study([_arm("a"), _arm("a")]), BadArgument, "two arms are called 'a'"),
        (lambda: _study([_arm("a/b")]), BadArgument, "'a/b' must be letters"),
        (lambda: _study([_arm("")]), BadArgument, "'' must be letters"),
        (lambda: _study([_arm("a", init="b"), _arm("b")]), BadArgument, "'a' starts from 'b', which is no arm before it"),
        (lambda: _study([_arm("a", factors={"task": "x"})]), BadArgument, "Got 'task'"),
        (lambda: _study([_arm("a", factors={"n": 1}), _arm("b", factors={"n": "x"})]), BadArgument,
         "'n' must be of one type. Got 'x' in arm 'b' after a int"),
        (lambda: _study([_arm("a")], judges=[Judge(task="kn", data=lambda: Path("x"))]), UnknownOption, "'knn'"),
        (lambda: _study([_arm("a")], judges=[Judge(task="knn", mode="finetune", data=lambda: Path("x"))]), UnknownOption,
         "mode of knn 'finetune'"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused(make: Callable[[], Study], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
