import json
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import storage
from jftdata.errors import BadInput, MissingInput, OutputExists
from jftdata.results import FILE, LATER, SCHEMA, Results


def row(**changes):
    plain = {
        "checkpoint": "c0", "subset": "s0", "num_train_images": 100, "seed": 0, "task": "knn", "mode": "frozen",
        "metric": "top1", "value": 0.5, "low": 0.4, "high": 0.6, "num_task_train": 10, "num_task_test": 20,
        "settings": "{}",
    }  # fmt: skip
    return {**plain, **changes}


ROWS = st.lists(
    st.builds(
        row,
        checkpoint=st.text("abcdef0123456789", min_size=4, max_size=4),
        num_train_images=st.integers(0, 2**40),
        seed=st.integers(0, 2**62),
        task=st.sampled_from(["knn", "probe"]),
        value=st.floats(allow_nan=False, allow_infinity=False),
        settings=st.text(max_size=10),
        data=st.none() | st.text("abcdef0123456789", min_size=4, max_size=4),
        num_copies=st.none() | st.integers(0, 2**40),
        value_clean=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=8,
)


@given(ROWS)
def test_saved_and_opened_is_the_same_to_the_last_bit(tmp_path_factory, rows):
    made = Results.of(rows)
    out = made.save(tmp_path_factory.mktemp("results") / "r", made_with={"k": 1}, inputs={})
    again = Results.open(out)
    assert again.rows.equals(made.rows)
    assert again.rows.schema == SCHEMA
    assert len(again) == len(rows)


def test_rows_are_sorted_by_task_mode_metric_images_and_seed():
    keys = [("b", 1, 0), ("a", 200, 0), ("a", 100, 1), ("a", 100, 0)]
    made = Results.of([row(task=t, num_train_images=n, seed=s) for t, n, s in keys])
    assert made.rows.select("task", "num_train_images", "seed").rows() == sorted(keys)


def test_whole_numbers_are_values_too():
    assert Results.of([row(value=1), row(value=0.5)]).rows["value"].to_list() == [1.0, 0.5]


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_missing_or_unknown_column_is_named(change):
    bad = row(colour="red")
    if change == "missing":
        bad = row()
        del bad["mode"]
    with pytest.raises(BadInput, match="mode" if change == "missing" else "colour"):
        Results.of([row(), bad])


def test_results_are_put_together_in_order():
    one, two = Results.of([row(num_train_images=300)]), Results.of([row(num_train_images=100)])
    assert Results.concat([one, two]).rows["num_train_images"].to_list() == [100, 300]
    with pytest.raises(BadInput, match="no results to put together"):
        Results.concat([])


def test_no_row_is_still_results_with_all_columns():
    assert Results.of([]).rows.schema == SCHEMA


def test_a_file_can_be_read_line_by_line_elsewhere(tmp_path):
    out = Results.of([row(), row(seed=1)]).save(tmp_path / "r", made_with={}, inputs={})
    assert pl.read_ndjson(out / "results.jsonl")["seed"].to_list() == [0, 1]
    assert storage.verify(out).facts == {"num_rows": 2}


def test_values_that_are_not_finite_survive(tmp_path):
    out = Results.of([row(value=math.nan, high=math.inf)]).save(tmp_path / "r", made_with={}, inputs={})
    again = Results.open(out).rows
    assert math.isnan(again["value"][0])
    assert again["high"][0] == math.inf


def test_other_rows_of_the_same_arguments_are_refused_and_the_same_rows_are_not(tmp_path):
    made = Results.of([row(value=math.nan), row(seed=1)])
    made.save(tmp_path / "r", made_with={"k": 1}, inputs={})
    made.save(tmp_path / "r", made_with={"k": 1}, inputs={})
    for other in ([row(value=math.nan)], [row(value=math.nan), row(seed=1, value=0.25)]):
        with pytest.raises(OutputExists, match="holds other rows, made with the same arguments"):
            Results.of(other).save(tmp_path / "r", made_with={"k": 1}, inputs={})
    assert Results.open(tmp_path / "r").rows.equals(made.rows)


def test_a_file_of_version_1_is_read_with_the_data_of_its_sidecar(tmp_path):
    with storage.building(
        tmp_path / "old", format="jftdata.results/1", made_with={}, inputs={"checkpoint": "c0", "data": "d0"}
    ) as build:
        storage.write_text(build.folder / FILE, json.dumps(row()) + "\n")
    old = Results.open(tmp_path / "old").rows
    assert old.schema == SCHEMA
    assert old.row(0, named=True) == {**row(), **dict.fromkeys(LATER), "data": "d0"}
    new = Results.of([row(seed=1, data="d1", num_copies=3)])
    assert Results.concat([new, Results.open(tmp_path / "old")]).rows["num_copies"].to_list() == [None, 3]


def test_a_file_of_a_later_version_is_refused(tmp_path):
    with storage.building(tmp_path / "new", format="jftdata.results/3", made_with={}, inputs={}) as build:
        storage.write_text(build.folder / FILE, "")
    with pytest.raises(BadInput, match=r"is a jftdata\.results/3; known are .*Update jftdata"):
        Results.open(tmp_path / "new")


def test_other_arguments_and_other_artefacts_are_refused(tmp_path, photo_catalog):
    made = Results.of([row()])
    made.save(tmp_path / "r", made_with={"mode": "frozen"}, inputs={})
    with pytest.raises(OutputExists, match='mode: there "frozen", now "fine-tune"'):
        made.save(tmp_path / "r", made_with={"mode": "fine-tune"}, inputs={})
    with pytest.raises(BadInput, match="expected a jftdata"):
        Results.open(photo_catalog.path)
    with pytest.raises(MissingInput):
        Results.open(tmp_path / "nowhere")
