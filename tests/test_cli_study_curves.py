import json
import math

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from jftdata.cli import study_curves
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.results import Results
from tests.test_results import row

SIZES = [300, 1_000, 3_000, 10_000]


def scores(task="knn", seed=0, **columns):
    rng = np.random.default_rng(seed)
    values = [(n, s, 0.1 + 0.1 * math.log10(n) + rng.normal(0, 0.003)) for n in SIZES for s in range(2)]
    return Results.of(
        row(
            task=task,
            num_train_images=n,
            seed=s,
            value=y,
            low=y - 0.02,
            high=y + 0.02,
            checkpoint=f"{n}-{s}",
            **columns,
        )
        for n, s, y in values
    )


def asked(command, *args):
    done = CliRunner().invoke(command, [*map(str, args)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study over a factor, as its table and what it says of itself."""
    folder = tmp_path_factory.mktemp("study")
    parts = [scores(seed=i).rows.with_columns(noise=pl.lit(name)) for i, name in enumerate(["low", "high"])]
    table = pl.concat(parts).rename({"num_train_images": "steps"}).with_columns(num_train_images=pl.lit(7))
    table.write_csv(folder / "study.csv")
    (folder / "study.json").write_text(json.dumps({"x": "steps", "by": ["noise"]}))
    return folder


def test_a_study_is_fitted_over_its_own_column_by_its_own_factors(study):
    curves = json.loads(asked(study_curves.fit, study, "--json"))["curves"]
    assert [(c["task"], c["noise"]) for c in curves] == [("knn", "high"), ("knn", "low")]
    assert [s["images"] for s in curves[0]["sizes"]] == SIZES
    assert curves[0]["decade"]["gain"] == pytest.approx(0.1, abs=0.03)
    text = asked(study_curves.fit, study, "--form", "log")
    assert "still rising" in text
    assert "Sizes held out" in text


def test_results_are_read_from_a_folder_and_from_many_and_count_once(tmp_path):
    given = scores()
    for part in given.rows.partition_by("checkpoint"):
        name = part["checkpoint"][0]
        Results(part).save(tmp_path / "transfer" / name, made_with={}, inputs={"data": "d"})
    given.save(tmp_path / "all", made_with={}, inputs={"data": "d"})
    given.rows.write_parquet(tmp_path / "all.parquet")
    fits = [
        json.loads(asked(study_curves.fit, tmp_path / p, "--form", "log", "--json"))
        for p in (".", "all", "all.parquet")
    ]
    assert fits[0] == fits[1] == fits[2]
    text = asked(study_curves.fit, tmp_path, tmp_path / "all", "--form", "log")
    assert "8 rows were there twice and count once" in text


def test_sets_that_are_judged_on_different_images_are_curves_of_their_own(tmp_path):
    Results.concat([scores(data="a"), scores(seed=2, data="b")]).rows.write_csv(tmp_path / "s.csv")
    curves = json.loads(asked(study_curves.fit, tmp_path / "s.csv", "--form", "log", "--json"))["curves"]
    assert [c["data"] for c in curves] == ["a", "b"]


def test_a_prediction_says_the_score_its_intervals_and_what_a_point_needs(tmp_path):
    Results.concat([scores(), scores("probe")]).rows.write_csv(tmp_path / "s.csv")
    how = [tmp_path / "s.csv", "--task", "knn", "--form", "log", "--images", "20k", "--images", "300M"]
    (curve,) = json.loads(asked(study_curves.predict, *how, "--json"))["curves"]
    near, far = curve["predictions"]
    assert (near["images"], far["images"]) == (20_000, 300_000_000)
    assert near["value"] == pytest.approx(0.53, abs=0.01)
    assert near["low"] < near["low_same_test_images"] < near["value"] < near["high_same_test_images"] < near["high"]
    assert curve["images_for_points"]["images"] == pytest.approx(10_000 * 10**0.1, rel=0.05)
    text = asked(study_curves.predict, *how)
    assert "300,000,000 images: 9" in text
    assert "more than a decade beyond" in text
    assert "probe" not in text


def test_what_is_never_reached_is_null_in_json_and_said_in_words(tmp_path):
    flat = scores().rows.with_columns(value=pl.lit(0.5) + 0.001 * (-1) ** pl.col("seed"))
    flat.write_csv(tmp_path / "s.csv")
    how = [tmp_path / "s.csv", "--form", "power-offset", "--images", "1M"]
    assert json.loads(asked(study_curves.predict, *how, "--json"))["curves"][0]["images_for_points"]["high"] is None
    assert "infinitely many images" in asked(study_curves.predict, *how)


@pytest.mark.parametrize("text", ["", "many", "0", "-3", "3T", "1..5M", "1e999", "nan"])
def test_what_is_no_number_of_images_is_refused(text):
    with pytest.raises(BadArgument, match="300M"):
        study_curves.count(text)


def test_what_cannot_be_read_is_refused(tmp_path, study):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "empty.csv").write_text("")
    for path, error, said in (
        (tmp_path / "nowhere", MissingInput, "holds no scores"),
        (tmp_path, MissingInput, "holds no scores"),
        (tmp_path / "x.csv", BadInput, "no column 'task'"),
        (tmp_path / "x.txt", BadInput, r"\.csv or a \.parquet"),
        (tmp_path / "empty.csv", BadInput, "cannot be read"),
    ):
        with pytest.raises(error, match=said):
            asked(study_curves.fit, path)
    with pytest.raises(BadArgument, match=r"no result has the task 'probe'\. There are: knn"):
        asked(study_curves.fit, study, "--task", "probe")
    with pytest.raises(BadArgument, match="above 0"):
        asked(study_curves.predict, study, "--images", "1M", "--points", "0")
    other = tmp_path / "other"
    other.mkdir()
    (other / "study.csv").write_bytes((study / "study.csv").read_bytes())
    (other / "study.json").write_text(json.dumps({"x": "num_train_images", "by": []}))
    with pytest.raises(BadArgument, match="one by one"):
        asked(study_curves.fit, study, other)


def test_a_group_of_one_size_is_left_out_and_counted(tmp_path):
    alone = scores(task="pose").rows.filter(num_train_images=300)
    pl.concat([scores().rows, alone]).write_csv(tmp_path / "s.csv")
    assert "1 group with scores at one size only" in asked(study_curves.fit, tmp_path / "s.csv", "--form", "log")
    curves = json.loads(asked(study_curves.fit, tmp_path / "s.csv", "--form", "log", "--json"))["curves"]
    assert [c["task"] for c in curves] == ["knn"]
    alone.write_csv(tmp_path / "alone.csv")
    with pytest.raises(BadInput, match="1 size"):
        asked(study_curves.fit, tmp_path / "alone.csv")
