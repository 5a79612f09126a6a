import numpy as np
import polars as pl
import pytest

from jftdata import subset
from jftdata.errors import BadInput


def test_every_image_is_explained_as_it_was_chosen(photo_catalog):
    ids = photo_catalog.images()
    scores = pl.DataFrame({"image": ids, "s": np.arange(24.0)})
    small = subset.sample(subset.without(photo_catalog, images=ids[:6]), size=10, seed=0)
    made = subset.by_score(small, scores=scores, of="s", most=15) | subset.only(photo_catalog, images=ids[-1:])
    for image in ids.tolist():
        reasons = subset.explain(made, image)
        assert [r.builder for r in reasons] == ["everything", "without", "sample", "by_score", "only", "union"]
        assert reasons[-1].took == (image in made)
        assert reasons[1].took == (image not in ids[:6])
        assert reasons[2].offered == reasons[1].took
        assert reasons[3].offered == reasons[2].took == (image in small)
    order = {image: subset.explain(small, image)[2].why for image in small.images.tolist()}
    assert {int(why.split("number ")[1].split(" ")[0]) for why in order.values()} == set(range(1, 11))
    lines = subset.describe(subset.explain(made, int(ids[0])))
    assert "2 without: out\n" in lines
    assert "3 sample: out already" in lines
    kept = next(i for i in small.images.tolist() if i in ids[:16])
    assert f"its s is {ids.tolist().index(kept)}; asked for: most 15" in subset.describe(subset.explain(made, kept))


def test_shares_and_sizes_have_a_reason(photo_catalog):
    image = int(photo_catalog.images()[3])
    made = subset.fraction(subset.by_value(photo_catalog, of="width", least=1), share=0.999999, seed=0)
    text = subset.describe(subset.explain(made, image))
    assert "its width is" in text
    assert "those below 0.999999 are drawn" in text


def test_an_image_of_nowhere_is_refused(photo_catalog):
    with pytest.raises(BadInput, match="are not in"):
        subset.explain(subset.everything(photo_catalog), 17)
