"""The paper's studies: what they compare, and that planning them reads and draws nothing."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest

from jftdata import recipes, subset
from jftdata.catalog import Catalog
from jftdata.errors import BadInput
from jftdata.study.named import STUDIES, data, make, paper
from jftdata.study.named.data import StudyData
from jftdata.study.named.paper_numbers import PAPER
from jftdata.study.plan import Study, cells
from jftdata.study.sizes import TASKS, size_arms

RUN = [name for name, named in STUDIES.items() if named.make is not None and name.removesuffix("-images-seen") in PAPER]


def planned(name: str, tmp_path: Path) -> Study:
    return make(name, out=tmp_path / "out")


def ours(**changes: object) -> StudyData:
    """Sets of no content, which no plan may ask for."""

    def refuse() -> None:
        raise AssertionError("a plan reads nothing")

    parts = dict.fromkeys(("noisy", "clean", "classification", "detection", "vocabulary"), refuse)
    settings = {
        "name": "mine.toml",
        "at": Path("nowhere"),
        "recipe": recipes.tiny(),
        "sizes": (10, 100),
        "clean_images": 50,
    }
    return StudyData(**{**parts, **settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RUN)
def test_a_plan_of_the_world_draws_nothing(name: str, tmp_path: Path) -> None:
    study = planned(name, tmp_path)
    assert study.name == name
    assert study.seeds == (0, 1, 2)
    assert "not" in study.notes
    assert len(cells(study)) == 3 * len(study.arms) + 3 * len(study.judges) * sum(arm.judged for arm in study.arms)
    assert not (tmp_path / "out").exists()
    assert study.verdict is not None
    empty = pl.DataFrame(schema=dict.fromkeys(("task", "mode", "metric", "arm"), pl.String) | {"value": pl.Float64})
    assert study.verdict(empty.with_columns(difference="value")) == "Cannot tell whether the finding holds here."


@pytest.mark.parametrize("name", ["table-1", "table-2", "table-4", "table-6", "table-7", "figure-6"])
def test_the_papers_rows_stand_beside_arms_of_that_name(name: str) -> None:
    study = make(name, out="nowhere", data=ours(segmentation=Path, pose=Path))
    known = {arm.name for arm in study.arms}
    assert {row["arm"] for row in study.paper} - {""} <= known


def test_figure_4_is_the_study_of_the_demo(tmp_path: Path) -> None:
    world = data.world(tmp_path)
    study = paper.figure_4(world)
    demo = size_arms(world.images, world.recipe, sizes=(250, 800, 2_500, 8_000))
    assert [(arm.name, arm.num_images, arm.recipe) for arm in study.arms] == [
        (arm.name, arm.num_images, arm.recipe) for arm in demo
    ]
    assert tuple(judge.key for judge in study.judges) == TASKS


def test_images_seen_are_kept_where_the_name_says_so() -> None:
    for name in ("figure-4", "figure-6"):
        study = make(f"{name}-images-seen", out="nowhere", data=ours(segmentation=Path))
        noisy = {cell.passes for cell in cells(study) if cell.judge is None and cell.arm.name not in ("0", "clean")}
        assert noisy == {400}
        epochs = make(name, out="nowhere", data=ours(segmentation=Path))
        assert {arm.recipe.total_epochs for arm in epochs.arms} <= {0.0, 4.0}
    deep = make("figure-5-images-seen", out="nowhere", data=ours())
    assert {cell.passes for cell in cells(deep) if cell.judge is None} == {400}


def test_what_starts_from_the_clean_set_comes_after_it() -> None:
    study = paper.table_2(ours())
    assert [(arm.name, arm.init, arm.num_images) for arm in study.arms] == [
        ("clean", None, 50),
        ("noisy", None, 100),
        ("clean-then-noisy", "clean", 100),
    ]
    assert [judge.key for judge in study.judges] == ["detection"]
    rows = [{"arm": arm, "value": value} for arm, value in (("clean", 0.1), ("noisy", 0.2), ("clean-then-noisy", 0.3))]
    seen = pl.DataFrame(rows).join(pl.DataFrame({"seed": [0, 1], "more": [0.0, 0.001]}), how="cross")
    table = seen.with_columns(
        pl.col("value") + pl.col("more"), task=pl.lit("detection"), mode=pl.lit("finetune"), metric=pl.lit("AP")
    )
    assert study.verdict is not None
    assert study.verdict(table).startswith(
        "Agrees with the finding.\ndetection (finetune, AP): noisy against clean +10.0 points"
    )


def test_epochs_are_runs_whose_warm_up_keeps_its_share() -> None:
    study = paper.table_4(ours(epochs=(1.0, 2.0), clean_epochs=(3.0, 30.0)))
    assert [(arm.name, arm.recipe.total_epochs, arm.factors["set"]) for arm in study.arms] == [
        ("noisy-1", 1.0, "noisy"),
        ("noisy-2", 2.0, "noisy"),
        ("clean-3", 3.0, "clean"),
        ("clean-30", 30.0, "clean"),
    ]
    assert {round(arm.recipe.warmup_epochs / arm.recipe.total_epochs, 9) for arm in study.arms} == {0.1}


def test_depths_are_tried_at_a_tenth_and_at_all() -> None:
    study = paper.figure_5(ours(sizes=(5, 11, 100), architectures=("resnet10", "resnet18")))
    assert [(arm.name, arm.recipe.architecture, arm.factors["layers"]) for arm in study.arms] == [
        ("resnet10-11", "resnet10", 10),
        ("resnet10-100", "resnet10", 10),
        ("resnet18-11", "resnet18", 18),
        ("resnet18-100", "resnet18", 18),
    ]


def test_a_set_that_is_not_given_is_named() -> None:
    with pytest.raises(
        BadInput, match=r"mine\.toml has no `pose`, which this study needs\. Give a folder with keypoints\."
    ):
        paper.table_7(ours())
    with pytest.raises(BadInput, match=r"mine\.toml has no `clean`"):
        paper.table_2(ours(clean=None))
    with pytest.raises(BadInput, match="copies are known of test images in a catalog"):
        paper.appendix_a(ours(judged_by=("detection",)))


def test_table_6_has_equal_numbers_of_images_and_the_same_images_twice(photo_catalog: Catalog, tmp_path: Path) -> None:
    mine = ours(noisy=lambda: photo_catalog, vocabulary=lambda: ["cat"], sizes=(4, 24), at=tmp_path)
    few, others, same = (arm.subset(1) for arm in paper.table_6(mine).arms)
    assert len(few) == len(others) == len(same) == 4
    assert few.images.tolist() == same.images.tolist() != others.images.tolist()
    assert few.catalog.hierarchy.labels == ("cat",)
    assert few.catalog.images().tolist() == photo_catalog.images().tolist()
    assert set(same.images) <= set(subset.with_labels(mine.images(), labels=["cat"]).images)
    rows = few.catalog.rows(few.images, columns=["labels"])["labels"]
    assert rows.list.len().to_list() == [1] * 4
    with pytest.raises(BadInput, match="only 8 images have a label of the vocabulary, and 9 are needed"):
        paper.table_6(dataclasses.replace(mine, sizes=(9, 24))).arms[0].subset(0)


def test_appendix_a_trains_on_what_others_leave_out(photo_catalog: Catalog) -> None:
    ids = photo_catalog.images()
    mine = ours(noisy=lambda: photo_catalog, left_out=lambda: ids[:3], sizes=(6, 21))
    assert paper.table_1(mine).arms[1].subset(0).images.tolist() == ids[3:].tolist()
    kept = paper.appendix_a(dataclasses.replace(mine, sizes=(6, 24))).arms[0].subset(0)
    assert kept.images.tolist() == ids.tolist()
