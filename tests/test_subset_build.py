import numpy as np
import pytest

from jftdata import subset
from jftdata.errors import BadArgument, UnknownOption
from jftdata.subset import Step, build


def recipe(builder, **arguments):
    return Step(builder, arguments, (Step("everything", {"split": None}),))


def test_an_unknown_builder_or_argument_is_named(photo_catalog):
    with pytest.raises(UnknownOption, match=r"'sampel' is not known\. Did you mean 'sample'"):
        subset.make(recipe("sampel", size=1, seed=0), photo_catalog)
    with pytest.raises(UnknownOption, match=r"argument of builder 'sample' 'sede' is not known\. Did you mean 'seed'"):
        subset.make(recipe("sample", size=1, sede=0), photo_catalog)
    with pytest.raises(BadArgument, match=r"needs size, seed\. 'seed' is missing"):
        subset.make(recipe("sample", size=1), photo_catalog)
    twice = Step("sample", {"size": 1, "seed": 0}, (recipe("sample", size=2, seed=0), recipe("sample", size=3, seed=0)))
    with pytest.raises(BadArgument, match=r"takes the images of one step\. Got 2"):
        subset.make(twice, photo_catalog)


def test_defaults_are_part_of_a_recipe(photo_catalog):
    made = subset.by_value(photo_catalog, of="width", least=1)
    assert made.recipe.arguments == {"of": "width", "least": 1, "most": None}


def test_a_builder_of_ones_own_is_known_to_recipes(photo_catalog):
    @build.builder()
    def every_other(source: subset.Subset, *, first: int = 0) -> build.Picked:
        return source.images[first::2][::-1]  # any order will do

    try:
        made = every_other(photo_catalog, first=1)
        assert made.images.tolist() == photo_catalog.images()[1::2].tolist()
        assert subset.make(made.recipe, photo_catalog).fingerprint == made.fingerprint
        assert every_other(made).recipe.steps()[-2].key == made.recipe.key
    finally:
        del build.BUILDERS["every_other"]


def test_a_builder_that_picks_an_image_twice_is_a_bug(photo_catalog):
    step = Step("x", {}, ())
    with pytest.raises(AssertionError, match="twice"):
        build.result(subset.everything(photo_catalog), np.array([1, 1]), step)


def test_all_builders_say_what_they_do():
    for name, known in build.BUILDERS.items():
        assert known.function.__doc__, name
        assert known.function.__name__ == name
