"""The paper's numbers against each other: what it prints twice, means of its rows, the gains its text names."""

import statistics

import polars as pl
import pytest

from jftdata.study import named
from jftdata.study.named.paper_numbers import BESIDE, PAPER, beside
from jftdata.study.plan import Study
from tests.test_study_named_paper import ours


def values(name: str) -> dict[tuple[str, str], float]:
    return {(row["arm"], row["metric"]): row["value"] for row in PAPER[name].numbers if row["arm"]}


@pytest.mark.parametrize("arm", ["clean", "noisy", "clean-then-noisy"])
def test_the_mean_of_table_3_is_that_of_its_twenty_classes(arm: str) -> None:
    found = values("table-2")
    classes = [value for (of, metric), value in found.items() if of == arm and metric.startswith("AP 11-point")]
    assert len(classes) == 20
    assert statistics.fmean(classes) == pytest.approx(found[arm, "mAP (11-point)"], abs=0.0006)


def test_gains_are_those_of_the_text() -> None:
    detection, pose, pixels, labels = (values(name) for name in ("table-2", "table-7", "figure-6", "table-1"))
    for found, metric, noisy, both in (
        (detection, "AP.5", 3.3, 4.4),
        (detection, "AP", 2.4, 3.1),
        (detection, "mAP (11-point)", 5.1, 5.0),
        (pixels, "mean IoU", 1.7, 2.9),
        (pose, "AP", 2.4, 2.0),
    ):
        gains = [found[arm, metric] - found["clean", metric] for arm in ("noisy", "clean-then-noisy")]
        assert gains == pytest.approx([noisy / 100, both / 100], abs=1e-9)
    assert labels["noisy", "top-1"] - labels["scratch", "top-1"] == pytest.approx(0.017)


def test_what_a_plot_shows_without_a_number_is_null() -> None:
    missing = {name for name, printed in PAPER.items() for row in printed.numbers if row["value"] is None}
    assert missing == {"figure-3", "figure-4", "figure-6"}
    assert all(
        0 < row["value"] < 1 for printed in PAPER.values() for row in printed.numbers if row["value"] is not None
    )


def test_every_study_asks_and_finds_in_one_sentence() -> None:
    for printed in PAPER.values():
        assert printed.question.count("?") == 1
        assert printed.question.endswith("?")
        assert printed.finding.endswith(".")


def _table(study: Study) -> pl.DataFrame:
    rows = [
        {
            "arm": arm.name,
            "task": "detection",
            "mode": "finetune",
            "metric": metric,
            "seed": seed,
            "value": value + seed / 10,
        }
        for arm, value in zip(study.arms, (0.1, 0.2, 0.3), strict=True)
        for metric in ("AP", "AR 100")
        for seed in (0, 1)
    ]
    return pl.DataFrame(rows)


def test_the_papers_numbers_stand_beside_ours() -> None:
    study = named.make("table-2", out="nowhere", data=ours())
    both = beside(study, _table(study))
    assert dict(both.schema) == BESIDE
    ap = both.filter(pl.col("metric") == "AP", pl.col("arm") != "").select("arm", "row", "paper", "ours", "num_seeds")
    assert [(*row[:3], round(row[3], 9), row[4]) for row in ap.iter_rows()] == [
        ("clean", "ImageNet", 0.343, 0.15, 2),
        ("noisy", "300M", 0.367, 0.25, 2),
        ("clean-then-noisy", "ImageNet+300M", 0.374, 0.35, 2),
    ]
    assert len(both) == len(study.paper) + 3  # no row is lost, and AR is ours alone
    assert both.filter(metric="AR 100")["paper"].null_count() == 3
    assert both.filter(metric="AP.5")["ours"].null_count() == 5
