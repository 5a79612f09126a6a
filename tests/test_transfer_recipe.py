"""Training settings: what is refused, and the schedules."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadArgument, UnknownOption
from jftdata.transfer.recipe import Recipe

PLAIN = Recipe(batch_size=8, learning_rate=0.1, steps=100)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": None}, "just one of `steps` and `epochs`. Got None and None"),
        ({"epochs": 2.0}, "just one of `steps` and `epochs`. Got 100 and 2.0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1. Got 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0. Got 0.0"),
        ({"learning_rate": math.nan}, "`learning_rate` must be above 0. Got nan"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\). Got 1.0"),
        ({"warmup": -0.1}, r"`warmup` must be in \[0, 1\). Got -0.1"),
        ({"schedule": "step"}, "`milestones` must be given for schedule='step' and only there"),
        ({"milestones": (0.5,)}, "`milestones` must be given for schedule='step' and only there"),
        ({"schedule": "step", "milestones": (0.5, 0.2)}, r"ascending shares in \(0, 1\)"),
        ({"schedule": "step", "milestones": (0.5, 1.0)}, r"ascending shares in \(0, 1\)"),
    ],
)
def test_what_is_out_of_range_is_named(changed, message):
    with pytest.raises(BadArgument, match=message):
        dataclasses.replace(PLAIN, **changed)


def test_unknown_choices_suggest_the_nearest():
    with pytest.raises(UnknownOption, match="Did you mean 'cosine'"):
        dataclasses.replace(PLAIN, schedule="cosin")


def test_a_schedule_keeps_its_shape_on_more_images():
    recipe = Recipe(batch_size=10, learning_rate=1.0, epochs=3, schedule="step", milestones=(0.5, 0.75))
    few, many = recipe.num_steps(100), recipe.num_steps(1000)
    assert (few, many, recipe.num_steps(1), recipe.num_steps(5)) == (30, 300, 3, 3)
    assert [recipe.rate(i, few) for i in range(few)] == [recipe.rate(10 * i, many) for i in range(few)]


@given(st.sampled_from(["constant", "cosine", "poly"]), st.integers(2, 400), st.floats(0, 0.9))
def test_rates_rise_in_the_warm_up_and_never_after(schedule, num_steps, warmup):
    recipe = dataclasses.replace(PLAIN, schedule=schedule, warmup=warmup)
    rates = [recipe.rate(i, num_steps) for i in range(num_steps)]
    warm = math.ceil(warmup * num_steps)
    assert all(0 < rate <= 0.1 for rate in rates)
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[warm:] == sorted(rates[warm:], reverse=True)


def test_poly_is_deeplabs():
    recipe = dataclasses.replace(PLAIN, schedule="poly")
    assert recipe.rate(30, 100) == pytest.approx(0.1 * (1 - 30 / 100) ** 0.9)
