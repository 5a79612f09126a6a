import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import subset, world
from jftdata.errors import BadArgument, BadInput

PICKS = st.sets(st.integers(0, 23), min_size=1)


def of(catalog, which):
    return subset.only(catalog, images=catalog.images()[sorted(which)])


@given(PICKS, PICKS)
def test_operators_are_those_of_sets(photo_catalog, a, b):
    left, right, ids = of(photo_catalog, a), of(photo_catalog, b), photo_catalog.images()
    assert (left | right).images.tolist() == ids[sorted(a | b)].tolist()
    for made, expected in ((lambda: left & right, a & b), (lambda: left - right, a - b)):
        if expected:
            assert made().images.tolist() == ids[sorted(expected)].tolist()
        else:
            with pytest.raises(BadInput, match="no image is left"):
                made()
    report = subset.diff(left, right)
    assert (report["both"], report["only_old"], report["only_new"]) == (len(a & b), len(a - b), len(b - a))
    assert report["images_only_new"].tolist() == ids[sorted(b - a)].tolist()


@given(PICKS, PICKS, PICKS)
def test_several_at_once_are_one_after_another(photo_catalog, a, b, c):
    x, y, z = (of(photo_catalog, which) for which in (a, b, c))
    assert subset.union(x, y, z).fingerprint == ((x | y) | z).fingerprint
    if a - b - c:
        assert subset.difference(x, y, z).fingerprint == ((x - y) - z).fingerprint
    if a & b & c:
        assert subset.intersection(x, y, z).fingerprint == ((x & y) & z).fingerprint


def test_weights_of_sets(photo_catalog):
    ids = photo_catalog.images()
    frame = pl.DataFrame({"image": ids, "weight": np.linspace(0.5, 3, 24)})
    heavy = subset.weighted(photo_catalog, weights=frame.sample(fraction=1, shuffle=True, seed=0))
    assert heavy.weights.tolist() == frame["weight"].to_list()
    light = of(photo_catalog, range(12))
    assert (heavy | light).weights.tolist() == [max(w, 1) if i < 12 else w for i, w in enumerate(heavy.weights)]
    assert (heavy & light).weights.tolist() == heavy.weights[:12].tolist()
    assert (light & heavy).weights is None
    assert (heavy - light).weights.tolist() == heavy.weights[12:].tolist()


def test_subsets_of_two_catalogs_are_refused(tmp_path, photo_catalog):
    other = world.jft300m(1000, out=tmp_path / "c")
    with pytest.raises(BadInput, match="Merge the catalogs"):
        subset.everything(photo_catalog) | subset.everything(other)
    with pytest.raises(BadArgument, match="two subsets or more"):
        subset.union(subset.everything(photo_catalog))


@given(st.integers(1, 23), st.floats(0.1, 10), st.integers(1, 1000))
def test_an_epoch_of_a_mix_has_the_ratio_asked_for(photo_catalog, cut, ratio, length):
    ids = photo_catalog.images()
    parts = {"a": ids[:cut], "b": of(photo_catalog, range(cut, 24))}
    made = subset.mix(photo_catalog, parts=parts, ratios={"a": ratio, "b": 1.0}, images_an_epoch=length)
    assert made.weights.sum() == pytest.approx(length)
    assert made.weights[:cut].sum() / made.weights[cut:].sum() == pytest.approx(ratio)
    assert np.ptp(made.weights[:cut]) == 0


def test_an_image_of_two_parts_comes_as_often_as_both_ask(photo_catalog):
    ids = photo_catalog.images()
    made = subset.mix(photo_catalog, parts={"a": ids[:2], "b": ids[1:4]}, ratios={"a": 2, "b": 3}, images_an_epoch=5)
    assert made.weights.tolist() == [1, 2, 1, 1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ratios": {"a": 1}}, "above 0 for each"),
        ({"ratios": {"a": 1, "b": 0}}, "above 0 for each"),
        ({"images_an_epoch": 0}, "at least 1. Got 0"),
        ({"parts": {"a": [1], "b": [2]}}, "not among the 24"),
        ({"parts": {"a": [], "b": []}}, "part 'a' has no image"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(photo_catalog, changed, message):
    ids = photo_catalog.images()
    arguments = {"parts": {"a": ids[:2], "b": ids[2:]}, "ratios": {"a": 1, "b": 2}, **changed}
    with pytest.raises((BadArgument, BadInput), match=message):
        subset.mix(photo_catalog, **arguments)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"image": [1], "w": [1.0]}, "columns `image` and `weight`"),
        ({"image": [1], "weight": [1.0]}, "24 images have no weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(photo_catalog, rows, message):
    with pytest.raises(BadInput, match=message):
        subset.weighted(photo_catalog, weights=pl.DataFrame(rows))


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_must_be_above_zero(photo_catalog, bad):
    ids = photo_catalog.images()
    frame = pl.DataFrame({"image": ids, "weight": [1.0] * 5 + [bad] + [1.0] * 18})
    with pytest.raises(BadInput, match=f"image {ids[5]} has the weight"):
        subset.weighted(photo_catalog, weights=frame)
    with pytest.raises(BadInput, match="two weights"):
        subset.weighted(photo_catalog, weights=pl.concat([frame, frame]))


def test_diff_tells_what_became_of_the_labels(photo_catalog):
    few = subset.sample(photo_catalog, size=2, seed=0)
    report = subset.diff(subset.everything(photo_catalog), few)
    assert report["only_old"] == 22
    assert report["tail"] is not None
