"""Learning rates against torch's schedulers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jftdata.schedules import rate

SCHEDULERS = {
    "cosine": lambda opt, num: torch.optim.lr_scheduler.CosineAnnealingLR(opt, num),
    "poly": lambda opt, num: torch.optim.lr_scheduler.PolynomialLR(opt, num, power=0.9),
    "constant": lambda opt, num: torch.optim.lr_scheduler.ConstantLR(opt, factor=1.0),
}


@pytest.mark.parametrize("schedule", SCHEDULERS)
@given(num=st.integers(1, 30))
def test_rates_are_torchs(schedule: str, num: int) -> None:
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = SCHEDULERS[schedule](opt, num)
    for step in range(num):
        expected = theirs.get_last_lr()[0]
        assert rate(schedule, step=step, num_steps=num, first=0.1, power=0.9) == pytest.approx(expected, rel=1e-9)
        opt.step()
        theirs.step()


def test_decay_begins_after_the_warm_up() -> None:
    found = [rate("step", step=s, num_steps=8, first=1.0, warmup=3, decay=0.1) for s in range(5)]
    assert found == [0.25, 0.5, 0.75, 0.1, 0.1]
