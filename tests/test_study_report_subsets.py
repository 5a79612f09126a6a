"""The report's rows on subsets are those of their sidecars and recipes."""

from pathlib import Path

import pytest

from jftdata import subset, tail
from jftdata.catalog import Catalog
from jftdata.errors import BadInput
from jftdata.study.report_subsets import subsets


def test_a_subset_is_told_by_its_steps_and_its_tail(photo_catalog: Catalog, tmp_path: Path) -> None:
    chosen = subset.sample(subset.with_labels(subset.everything(photo_catalog), labels=["cat", "dog"]), size=5, seed=1)
    (row,) = subsets([chosen.save(tmp_path / "five")])
    assert (row["name"], row["images"], row["epoch"]) == ("five", 5, "5")
    assert row["labels"] == tail.summary(chosen.counts)["num_used"]
    assert [step.split(",")[0] for step in row["steps"][1:]] == ['with_labels(labels=["cat"', "sample(size=5"]
    assert subsets([]) == []


def test_what_is_no_subset_is_said_so(photo_catalog: Catalog) -> None:
    with pytest.raises(BadInput, match=r"jftdata\.catalog"):
        subsets([photo_catalog.path])
