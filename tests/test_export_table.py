import polars as pl
import pytest

from jftdata import export, sources
from jftdata.catalog import Catalog
from jftdata.export.table import short
from jftdata.hierarchy import Hierarchy
from tests.export_cases import Said, catalog_of, told, write_files


@pytest.fixture
def zero(tmp_path):
    """A catalog in which one label has the score 0, which a table cannot say."""
    tree = Hierarchy.flat(["cat", "dog"])
    made = catalog_of(
        [Said(("cat", "dog"), (0.5, 0.25))], write_files(tmp_path / "files", 1), tmp_path / "c", tree=tree
    )
    rows = pl.read_parquet(made.files[0], glob=False)
    rows.with_columns(scores=pl.Series([[0.0, 0.25]], dtype=pl.List(pl.Float32))).write_parquet(made.files[0])
    return Catalog.open(made.path)


def test_a_score_of_zero_is_counted_and_its_label_stays(zero, tmp_path):
    made = export.to_folder(zero, out=tmp_path / "out")
    assert made.facts["num_zero_scores"] == 1
    assert "1 scores of exactly 0 are left out" in (tmp_path / "out" / "README.md").read_text()
    back = sources.from_table(
        tmp_path / "out" / "labels.csv",
        images=tmp_path / "out",
        hierarchy=zero.hierarchy,
        out=tmp_path / "b",
        workers=1,
    )
    ((labels, scores, _, _),) = told(back).values()
    assert (labels, scores) == (["cat", "dog"], [None, 0.25])


@pytest.mark.parametrize("score", [0.1, 1 / 3, 1e-7, 1.0])
def test_short_scores_read_back_as_the_same(score):
    stored = pl.Series([score], dtype=pl.Float32)[0]
    assert pl.Series([short(stored)], dtype=pl.Float32)[0] == stored
    assert len(str(short(stored))) <= 11
