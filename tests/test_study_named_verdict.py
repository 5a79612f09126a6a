"""Verdicts against SciPy's paired t test and line, and in words."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jftdata.study.named.verdict import Interval, answer, grows, more, over_seeds, same, slope, verdict

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6)


def table(scores: dict[str, list[float]], *, metric: str = "top-1", column: str = "value") -> pl.DataFrame:
    rows = [
        {"task": "linear-probe", "mode": "frozen", "metric": name, "arm": arm, "seed": seed, column: value + shift}
        for arm, values in scores.items()
        for seed, value in enumerate(values)
        for name, shift in ((metric, 0.0), ("top-5", 0.2))
    ]
    return pl.DataFrame(rows)


@settings(max_examples=15)
@given(SCORES)
def test_a_difference_has_the_interval_of_a_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    gains = first - second
    found = over_seeds(list(gains))
    if np.ptp(gains) < 1e-9:  # SciPy warns of what it cannot divide by
        assert found.high - found.low < 1e-6
        return
    wanted = stats.ttest_rel(first, second).confidence_interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@settings(max_examples=15)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=5), st.permutations(range(3)))
def test_a_slope_is_that_of_a_line_through_logarithms(scores: list[float], order: list[int]) -> None:
    arms = {str(at): 10.0**at for at in order} | {"none": 0.0}
    score = {str(at): scores[at] for at in order} | {"none": 9.0}
    assert slope(score, arms) == pytest.approx(stats.linregress(range(3), scores[:3]).slope, abs=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "above", "on_a_par"),
    [
        (0.001, 0.01, "agrees", "agrees"),
        (0.03, 0.05, "agrees", "disagrees"),
        (-0.05, -0.03, "disagrees", "disagrees"),
        (-0.01, 0.01, "cannot tell", "agrees"),
        (-0.1, 0.1, "cannot tell", "cannot tell"),
    ],
)
def test_an_interval_answers_a_claim(low: float, high: float, above: str, on_a_par: str) -> None:
    found = Interval((low + high) / 2, low, high, 3)
    assert (answer(found, "above"), answer(found, "same")) == (above, on_a_par)


def test_all_seeds_of_the_main_metric_are_told() -> None:
    scores = table(
        {"clean": [0.50, 0.52, 0.51], "noisy": [0.60, 0.61, 0.62], "10": [0.1, 0.1, 0.2], "100": [0.1, 0.2, 0.15]}
    )
    said = verdict(scores, [more("noisy", "clean"), same("clean", "noisy"), grows({"10": 10, "100": 100}, "images")])
    first, *rest = said.split("\n")
    assert first == "Of 3 comparisons with the finding: agrees in 1, disagrees in 1, cannot tell in 1."
    assert rest[0] == "linear-probe (frozen, top-1): noisy against clean +10.0 points (7.5 to 12.5, 3 seeds): agrees."
    assert rest[1].endswith(
        "clean against noisy -10.0 points (-12.5 to -7.5, 3 seeds), on a par within 2 points: disagrees."
    )
    assert rest[2].endswith("ten times the images +1.7 points (-17.3 to 20.6, 3 seeds): cannot tell.")


def test_one_seed_and_a_missing_arm_tell_nothing() -> None:
    said = verdict(table({"clean": [0.5], "noisy": [0.9]}), [more("noisy", "clean"), more("both", "clean")])
    assert said.split("\n") == [
        "Cannot tell whether the finding holds here.",
        "linear-probe (frozen, top-1): noisy against clean +40.0 points (one seed): cannot tell.",
        "linear-probe (frozen, top-1): both against clean is not known yet.",
    ]


def test_neighbours_are_ten_and_another_column_may_be_judged() -> None:
    scores = table({"noisy": [0.001, 0.002]}, metric="top-1 (k=10)", column="difference")
    assert verdict(scores, [same("noisy", "noisy")], column="difference").startswith(
        "Agrees with the finding.\nlinear-pr"
    )
    assert "top-1 (k=10)" in verdict(scores, [same("noisy", "noisy")], column="difference")
