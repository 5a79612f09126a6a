import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import subset, world
from jftdata.errors import BadArgument, BadInput, UnknownOption
from jftdata.sources import from_folder
from jftdata.subset.values import VALUES
from tests.strategies import encoded, picture


@pytest.fixture(scope="module")
def sized(tmp_path_factory):
    """Pictures of 12 sizes."""
    root = tmp_path_factory.mktemp("sized")
    (root / "p" / "a").mkdir(parents=True)
    for i in range(12):
        (root / "p" / "a" / f"{i}.png").write_bytes(encoded(picture(i, height=20 + 5 * i, width=70 - 4 * i), "png"))
    return from_folder(root / "p", out=root / "c", workers=1)


@pytest.mark.parametrize("of", VALUES)
def test_images_by_what_the_catalog_knows(sized, of):
    rows = sized.rows(sized.images(), columns=["image", "width", "height", "length", "labels"]).to_dicts()
    value = {
        "width": lambda r: r["width"], "height": lambda r: r["height"], "side": lambda r: min(r["width"], r["height"]),
        "pixels": lambda r: r["width"] * r["height"], "bytes": lambda r: r["length"],
        "aspect": lambda r: max(r["width"], r["height"]) / min(r["width"], r["height"]),
        "num_labels": lambda r: len(r["labels"]),
    }[of]  # fmt: skip
    least, most = np.quantile([value(r) for r in rows], [0.25, 0.75])
    expected = [r["image"] for r in rows if least <= value(r) <= most]
    made = subset.by_value(sized, of=of, least=float(least), most=float(most))
    assert made.images.tolist() == expected
    some = subset.sample(sized, size=9, seed=1)
    assert set(subset.by_value(some, of=of, least=float(least)).images.tolist()) == {
        r["image"] for r in rows if least <= value(r) and r["image"] in some
    }


SCORES = st.lists(st.none() | st.floats(-5, 5) | st.just(float("nan")), min_size=24, max_size=24)


@given(SCORES, st.floats(-5, 5), st.sampled_from(["keep", "drop", "refuse"]))
def test_images_by_score(photo_catalog, scores, least, unscored):
    ids = photo_catalog.images().tolist()
    frame = pl.DataFrame({"image": ids, "s": scores}, schema_overrides={"s": pl.Float64}).sample(
        fraction=1, shuffle=True
    )
    known = {i: s for i, s in zip(ids, scores, strict=True) if s is not None and s == s}
    missing = set(ids) - set(known)
    expected = {i for i, s in known.items() if s >= least} | (missing if unscored == "keep" else set())
    make = lambda: subset.by_score(photo_catalog, scores=frame, of="s", least=least, unscored=unscored)  # noqa: E731
    if missing and unscored == "refuse":
        with pytest.raises(BadInput, match=f"{len(missing)} of 24 images have no s"):
            make()
    elif not expected:
        with pytest.raises(BadInput, match="no image is left"):
            make()
    else:
        assert make().images.tolist() == sorted(expected)


def test_the_highest_and_the_lowest_and_rows_of_one_image(photo_catalog):
    ids = photo_catalog.images()
    frame = pl.DataFrame({"image": np.repeat(ids, 2), "wrong": np.arange(48) % 5 / 5})
    for combine, reduce in (("max", np.max), ("min", np.min), ("mean", np.mean)):
        value = reduce(frame["wrong"].to_numpy().reshape(24, 2), axis=1)
        top = subset.by_score(photo_catalog, scores=frame, of="wrong", top=5, combine=combine)
        assert top.images.tolist() == sorted(ids[np.lexsort((ids, -value))[:5]].tolist())
        bottom = subset.by_score(photo_catalog, scores=frame, of="wrong", bottom=5, combine=combine)
        assert bottom.images.tolist() == sorted(ids[np.lexsort((ids, value))[:5]].tolist())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"of": "s"}, BadArgument, "one of the three"),
        ({"of": "s", "top": 1, "least": 0}, BadArgument, "one of the three"),
        ({"of": "s", "top": 25}, BadArgument, r"expected 1\.\.24"),
        ({"of": "s", "bottom": 0}, BadArgument, r"expected 1\.\.24"),
        ({"of": "s", "least": 2, "most": 1}, BadArgument, "must not be above"),
        ({"of": "t", "least": 2}, BadInput, "columns `image` and `t`"),
        ({"of": "text", "least": 2}, BadInput, "expected numbers"),
        ({"of": "s", "least": 0, "combine": "sum"}, UnknownOption, "'sum' is not known"),
    ],
)
def test_scores_that_cannot_be_used(photo_catalog, arguments, error, message):
    frame = pl.DataFrame({"image": photo_catalog.images(), "s": 1.0, "text": "a"})
    with pytest.raises(error, match=message):
        subset.by_score(photo_catalog, scores=frame, **arguments)


def test_values_that_cannot_be_used(tmp_path, photo_catalog):
    with pytest.raises(UnknownOption, match="Did you mean 'width'"):
        subset.by_value(photo_catalog, of="widht", least=1)
    with pytest.raises(BadArgument, match="`least`, `most` or both"):
        subset.by_value(photo_catalog, of="width")
    bare = world.jft300m(1000, out=tmp_path / "c")
    with pytest.raises(BadInput, match="labels but no pixels"):
        subset.by_value(bare, of="side", least=10)
    assert len(subset.by_value(bare, of="num_labels", least=2)) == 200
