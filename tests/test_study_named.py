"""Named studies by name: made, run on a small world, and what is written beside their tables."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest

from jftdata import recipes
from jftdata.errors import BadArgument, UnknownOption
from jftdata.study import named, runner
from jftdata.study.named import figure3
from jftdata.study.plan import Study
from tests.test_study_named_paper import ours


def test_names_are_known_and_the_nearest_is_suggested() -> None:
    with pytest.raises(UnknownOption, match="Did you mean 'figure-4'"):
        named.make("figure4", out="nowhere", data=ours())
    with pytest.raises(BadArgument, match="figure-1 trains nothing, so it has no cells"):
        named.make("figure-1", out="nowhere", data=ours())
    assert named.write("table-2", out="nowhere", data=ours()) == ""
    for name in (
        "figure-1",
        "figure-2",
        "figure-3",
        "table-1",
        "table-2",
        "table-4",
        "figure-4",
        "table-6",
        "figure-5",
    ):
        assert named.STUDIES[name].question.endswith("?")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, photo_catalog: object) -> tuple[Study, Path]:
    """Figure 3 of the photographs, each set in the place of every other."""
    out, recipe = (
        tmp_path_factory.mktemp("figure3"),
        dataclasses.replace(recipes.tiny(total_epochs=1.0, image_size=32), batch_size=4),
    )
    sets = dict.fromkeys(("noisy", "clean", "validation"), lambda: photo_catalog)
    mine = ours(**sets, recipe=recipe, sizes=(8, 16), clean_images=24, seeds=(0,))
    study = dataclasses.replace(named.make("figure-3", out=out, data=mine), judges=[])
    runner.run(study, out=out, workers=1, device="cpu")
    return study, out


def test_figure_3_has_a_curve_for_each_start(trained: tuple[Study, Path]) -> None:
    study, out = trained
    found = figure3.curve(study, out)
    assert dict(found.schema) == figure3.CURVE
    assert found.group_by("arm", maintain_order=True).len().rows() == [("noisy", 4), ("clean-then-noisy", 4)]
    assert found.filter(arm="noisy")["step"].to_list() == [1, 2, 3, 4]
    assert found[figure3.METRIC].is_between(0, 1).all()
    first, last = figure3.write(study, out).split("\n")
    assert first.startswith("At the first validation the clean start is ahead by ")
    assert last.endswith("(one seed): cannot tell.")
    assert pl.read_csv(out / "figure-3.csv").height == 8
    assert "clean-then-noisy" in (out / "figure-3.svg").read_text()


def test_figure_3_is_judged_at_its_first_and_its_last_point() -> None:
    gains = {1: (0.10, 0.11, 0.12), 2: (0.5, -0.5, 0.2), 3: (0.001, 0.002, 0.003)}
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "step": step,
            "epoch": step / 4,
            figure3.METRIC: 0.3 + (gain if arm != "noisy" else 0),
        }
        for step, by_seed in gains.items()
        for seed, gain in enumerate(by_seed)
        for arm in ("noisy", "clean-then-noisy")
    ]
    said = figure3.verdict(pl.DataFrame(rows, schema=figure3.CURVE))
    assert said == (
        "At the first validation the clean start is ahead by +11.0 points (8.5 to 13.5, 3 seeds): agrees.\n"
        "At the last by +0.2 points (-0.0 to 0.4, 3 seeds): agrees."
    )
    assert figure3.verdict(pl.DataFrame(rows[:0], schema=figure3.CURVE)).startswith("Not known yet")
