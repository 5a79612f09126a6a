import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import embed, subset
from jftdata.errors import BadInput, Damaged, MissingInput, UnknownName
from jftdata.subset import Step
from jftdata.subset.recipe import Table, encoded


def mixed(catalog):
    """A recipe of every kind: a table, two sources, a step used twice, weights."""
    ids = catalog.images()
    some = subset.sample(catalog, size=12, seed=3)
    more = subset.without(catalog, images=ids[:9]) | some
    scores = pl.DataFrame({"image": ids, "sharpness": np.arange(24.0)})
    sharp = subset.by_score(more - subset.sample(some, size=2, seed=0), scores=scores, of="sharpness", least=4)
    return subset.mix(sharp, parts={"a": sharp.images[:3], "b": sharp.images[3:]}, ratios={"a": 1, "b": 2})


def test_a_written_recipe_makes_the_same_subset_byte_for_byte(tmp_path, photo_catalog):
    made = mixed(photo_catalog)
    made.save(tmp_path / "s")
    read = Step.read(tmp_path / "s" / "recipe.json")
    assert read.key == made.recipe.key
    subset.make(read, photo_catalog).save(tmp_path / "again")
    names = sorted(p.relative_to(tmp_path / "s").as_posix() for p in (tmp_path / "s").rglob("*") if p.is_file())
    assert any(name.startswith("data/") for name in names)
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "s" / name).read_bytes()
    assert len(made.recipe.steps()) == 8  # `some` is listed once


def test_toml_written_by_hand(tmp_path, photo_catalog):
    ids = photo_catalog.images()
    pl.DataFrame({"image": ids[:4]}).write_csv(tmp_path / "copies.csv")
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        """
        [[steps]]
        builder = "without"
        images = { file = "copies.csv" }

        [[steps]]
        name = "half"
        builder = "sample"
        size = 10
        seed = 1

        [[steps]]
        name = "others"
        builder = "sample"
        from = "1"
        size = 3
        seed = 2

        [[steps]]
        builder = "union"
        from = ["half", "others"]
        """
    )
    clean = subset.without(photo_catalog, images=ids[:4])
    expected = subset.sample(clean, size=10, seed=1) | subset.sample(clean, size=3, seed=2)
    made = subset.make(Step.read(recipe), photo_catalog)
    assert made.fingerprint == expected.fingerprint
    assert made.recipe.key == expected.recipe.key
    pl.DataFrame({"image": ids[:5]}).write_csv(tmp_path / "copies.csv")
    assert subset.make(Step.read(recipe), photo_catalog).fingerprint != expected.fingerprint


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", BadInput, "not a recipe"),
        ("[]", BadInput, "no list of `steps`"),
        ('{"steps": []}', BadInput, "no list of `steps`"),
        ('{"steps": [{"size": 1}]}', BadInput, "step 1 of .* has no `builder`"),
        ('{"steps": [{"builder": "everything"}, {"builder": "a", "from": "2"}]}', UnknownName, "step 2 of .* '2'"),
        ('{"steps": [{"builder": "a", "name": "x"}, {"builder": "b", "name": "x"}]}', BadInput, "two steps named 'x'"),
    ],
)
def test_a_recipe_that_cannot_be_read(tmp_path, text, error, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(error, match=message):
        Step.read(tmp_path / "r.json")
    with pytest.raises(MissingInput, match="does not exist"):
        Step.read(tmp_path / "no.json")


def test_tables_that_are_gone_or_changed_are_named(tmp_path, photo_catalog):
    subset.without(photo_catalog, images=photo_catalog.images()[:2]).save(tmp_path / "s")
    (table,) = (tmp_path / "s" / "data").iterdir()
    pl.DataFrame({"image": [1]}).write_parquet(table)
    again = subset.Subset.open(tmp_path / "s")
    with pytest.raises(Damaged, match="has changed"):
        subset.make(again.recipe, photo_catalog)
    table.unlink()
    again = subset.Subset.open(tmp_path / "s")
    assert len(again) == 22
    with pytest.raises(MissingInput, match="is not there"):
        subset.make(again.recipe, photo_catalog)
    (tmp_path / "x.txt").write_text("image\n1")
    with pytest.raises(BadInput, match=r"\.csv or \.parquet"):
        Table(path=tmp_path / "x.txt").frame  # noqa: B018


def test_embeddings_in_memory_must_be_named_and_others_are_refused(tmp_path, photo_catalog):
    from jftdata.subset.recipe import Vectors

    made = embed.run(photo_catalog, out=tmp_path / "e")
    assert encoded(Vectors(made, path=made.path)) == {
        "embeddings": str(tmp_path / "e"),
        "fingerprint": made.fingerprint,
    }
    with pytest.raises(MissingInput, match="in memory only"):
        Vectors(expected="abc").embeddings  # noqa: B018
    with pytest.raises(BadInput, match="other embeddings"):
        Vectors(path=tmp_path / "e", expected="abc").embeddings  # noqa: B018


VALUES = st.none() | st.text(max_size=4)
LISTS = st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3), max_size=4)


@given(LISTS, LISTS)
def test_a_table_has_its_own_fingerprint(a, b):
    one, two = (Table(pl.DataFrame({"x": pl.Series(rows, dtype=pl.List(pl.Int32))})) for rows in (a, b))
    assert (one.fingerprint == two.fingerprint) == (a == b)


@given(st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=4))
def test_texts_do_not_run_into_one_another(a, b):
    one, two = (Table(pl.DataFrame({"x": pl.Series(rows, dtype=pl.String)})) for rows in (a, b))
    assert (one.fingerprint == two.fingerprint) == (a == b)


def test_what_cannot_be_written_down_is_refused():
    assert encoded({"a": [np.int64(1), 2.5, None, True]}) == {"a": [1, 2.5, None, True]}
    with pytest.raises(BadInput, match="cannot hold"):
        encoded(object())


def test_listed_steps_are_json(photo_catalog):
    listed = json.loads(json.dumps(mixed(photo_catalog).recipe.listed()))
    assert [row["builder"] for row in listed] == [
        "everything", "without", "sample", "union", "sample", "difference", "by_score", "mix"
    ]  # fmt: skip
