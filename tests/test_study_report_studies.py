"""A study's section: what it shows is what its table says, whatever the arms, and it reads what a run leaves in its folder."""

import json
import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy import stats

from jftdata.errors import BadInput, MissingInput
from jftdata.results import SCHEMA
from jftdata.study import report_studies
from jftdata.study.report import Report, StudySection, render
from jftdata.study.report_studies import study

NASTY = "</script><b onclick=x>arm"


def table(
    sizes: dict[str, int], *, judges: tuple[str, ...] = ("knn",), seeds: int = 3, **factors: dict[str, Any]
) -> pl.DataFrame:
    """A row a seed and judge of arms by name; each score is told by the arm's place and the seed."""
    rows = []
    for place, (arm, num) in enumerate(sizes.items()):
        for judge in judges:
            for seed in range(seeds):
                value = 0.2 + 0.1 * place + 0.01 * ((seed * (place + 1)) % 3)
                rows.append({
                    "study": "s", "arm": arm, "cell": f"transfer/{arm}-s{seed}-{judge}", **{k: v[arm] for k, v in factors.items()},
                    **dict.fromkeys(SCHEMA), "num_train_images": num, "seed": seed, "task": "knn", "mode": "frozen",
                    "metric": "top-1", "value": value, "low": value - 0.01, "high": value + 0.01,
                })  # fmt: skip
    kinds = {name: kind for name, kind in SCHEMA.items() if name != "value"}
    return pl.DataFrame(rows, schema_overrides=kinds)


def section(frame: pl.DataFrame, **more: Any) -> StudySection:
    return StudySection(name="s", question="What is better?", table=frame, **more)


ARMS = {"a": 100, "b": 100, "c": 110}
SIZES = {"a": 100, "b": 300, "c": 900}


def test_arms_are_compared_with_the_first_seed_by_seed() -> None:
    view = study(section(table(ARMS)), number=1)
    assert view["arms"]["first"] == "a"
    assert [row["arm"] for row in view["arms"]["rows"]] == list(ARMS)
    # of seeds 0, 1, 2: a is 20, 21, 22 and c is 40, 40, 40, so the differences are 20, 19, 18
    mean = [0.20, 0.21, 0.22]
    half = 100 * stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert view["arms"]["rows"][0]["cells"] == [{"score": f"{100 * sum(mean) / 3:.1f} ± {half:.1f}%", "difference": ""}]
    told = view["arms"]["rows"][2]["cells"][0]
    assert told == {"score": "40.0 ± 0.0%", "difference": f"+19.0 (+{19 - half:.1f} to +{19 + half:.1f})"}
    assert view["curves"] == []
    assert len(re.findall('class="mark"', view["panels"][0]["svg"])) == 3 * (3 + 1)


def test_sizes_far_apart_are_a_curve_with_its_fit() -> None:
    view = study(section(table({"fresh": 0, **SIZES}, judges=("knn", "probe"))), number=1)
    assert [p["task"] for p in view["panels"]] == ["knn", "probe"]
    assert [c.untrained for c in view["curves"]] == [pytest.approx(0.21), pytest.approx(0.21)]
    page = render(Report(title="t", studies=[section(table(SIZES))]))
    assert "Ten times the images adds" in page  # the headline


def test_groups_have_a_curve_each_and_any_number_may_lie_on_the_axis() -> None:
    four = {"a": 100, "b": 400, "c": 100, "d": 400}
    start = {"a": "random", "b": "random", "c": "clean", "d": "clean"}
    (panel,) = study(section(table(four, start=start), by=["start"]), number=1)["panels"]
    assert [key["text"].split(":")[0] for key in panel["keys"]] == ["start random", "start clean"]
    assert len({key["mark"] for key in panel["keys"]}) == 2
    rate = {"a": 0.0, "b": 0.2, "c": 0.4}
    view = study(section(table(ARMS, noise_rate=rate), x="noise_rate"), number=1)
    assert "noise rate 0.4, frozen, mean: 40.0 ± 0.0%" in view["panels"][0]["svg"]
    assert view["curves"] == []  # nothing is said of ten times the images


def test_more_groups_than_can_be_told_apart_are_compared_as_arms() -> None:
    many = {f"arm{i}{n}": n for i in range(6) for n in (100, 400)}
    kind = {arm: arm[3] for arm in many}
    (panel,) = study(section(table(many, kind=kind), by=["kind"]), number=1)["panels"]
    assert panel["keys"] == []
    assert "Score of 12 arms" in panel["svg"]


def test_ours_stand_beside_the_papers_numbers() -> None:
    numbers = [
        {"arm": "c", "row": "300M", "metric": "top-1", "value": 0.792, "source": "x"},
        {"arm": "", "row": "10M", "metric": "top-1", "value": None, "source": "x"},
    ]
    view = study(section(table(ARMS), paper=pl.DataFrame(numbers)), number=1)
    assert view["paper"]["rows"] == [["300M", "top-1", "79.2%", "40.0 ± 0.0%", "c"], ["10M", "top-1", "", "", ""]]
    other = study(section(table(ARMS), paper=pl.DataFrame({"data_set": ["JFT"], "images": [300_000_000]})), number=1)
    assert other["paper"]["rows"] == [["JFT", "300,000,000"]]
    assert other["paper"]["heads"][0] == {"name": "data set", "text": True}


def test_what_a_run_left_in_its_folder_is_read_and_everything_is_escaped(tmp_path: Path) -> None:
    frame = table({NASTY: 100, "b": 500})
    about = {"name": "s", "question": f"Is {NASTY} better?", "notes": "n", "x": "num_train_images", "by": [], "finding": NASTY,
             "verdict": "cannot tell", "paper": [{"row": NASTY, "value": None}, {"row": "x", "value": 1.5}], "num_done": 3,
             "num_cells": 9}  # fmt: skip
    (tmp_path / "study.json").write_text(json.dumps(about))
    frame.write_csv(tmp_path / "study.csv")
    read = StudySection.open(tmp_path)
    assert read.table.equals(frame)
    assert read.cells == (3, 9)
    page = render(Report(title="t", studies=[read, read]))
    assert "<b onclick" not in page
    assert "3 of 9 cells are done" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert {"study-1", "study-2"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_of_many_scores_those_of_the_main_metric_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table(ARMS)
    more = pl.concat([frame, frame.with_columns(metric=pl.lit("top-5"))])
    assert len(study(section(more), number=1)["rows"]) == 18
    monkeypatch.setattr(report_studies, "ROWS", 17)
    assert {row["metric"] for row in study(section(more), number=1)["rows"]} == {"top-1"}


def test_a_study_without_scores_and_one_of_one_seed_have_a_page() -> None:
    assert "No score is there yet" in render(Report(title="t", studies=[section(table(ARMS).clear())]))
    view = study(section(table(ARMS, seeds=1)), number=1)
    assert view["arms"]["rows"][1]["cells"] == [{"score": "30.0%", "difference": "+10.0"}]
    render(Report(title="t", studies=[section(table(ARMS, seeds=1))]))


def test_what_is_no_study_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"has no study\.json and study\.csv"):
        StudySection.open(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "s"}')
    (tmp_path / "study.csv").write_text("a\n1\n")
    with pytest.raises(BadInput, match=r"does not hold a study's files"):
        StudySection.open(tmp_path)
    with pytest.raises(BadInput, match="has no column 'noise'"):
        section(table(ARMS), x="noise")
