"""Settings given as text."""

import dataclasses

import pytest

from jftdata import recipes
from jftdata.errors import BadArgument, UnknownOption
from jftdata.override import override
from jftdata.transfer.pose import RECIPES as POSE
from jftdata.transfer.segmentation import RECIPES as SEGMENTATION


def test_a_misspelt_field_or_value_suggests_the_nearest():
    with pytest.raises(UnknownOption, match="Did you mean 'learning_rate'"):
        override(recipes.tiny(), ["learing_rate=1"])
    with pytest.raises(UnknownOption, match="Did you mean 'resnet18'"):
        override(recipes.tiny(), ["architecture=resnet81"])
    with pytest.raises(BadArgument, match="must be a whole number"):
        override(recipes.tiny(), ["batch_size=many"])
    with pytest.raises(BadArgument, match="field=value"):
        override(recipes.tiny(), ["batch_size"])


def test_values_are_read_in_their_type():
    base = dataclasses.replace(recipes.tiny(), schedule="constant")
    config = override(
        base,
        ["schedule=step", "milestones=3,7.5", "decay_factor=0.1", "decay_unit=epochs", "zero_init=true", "policy=none"],
    )
    assert (config.milestones, config.zero_init, config.policy) == ((3.0, 7.5), True, None)


def test_tuples_keep_the_type_of_what_is_in_them():
    found = override(SEGMENTATION["tiny"], ["rates=1,2", "scales=0.5,2", "mirror=false"])
    assert (found.rates, found.scales, found.mirror) == ((1, 2), (0.5, 2.0), False)
    assert override(POSE["tiny"], ["sigmas=0.1,0.2"]).sigmas == (0.1, 0.2)
    assert override(POSE["tiny"], ["sigmas=none"]).sigmas is None
    with pytest.raises(BadArgument, match=r"`rates` must be numbers\. Got '1,x'"):
        override(SEGMENTATION["tiny"], ["rates=1,x"])


def test_what_the_settings_refuse_is_refused():
    with pytest.raises(BadArgument, match=r"`crop_size` must be 1 more than a multiple of 8\. Got 160\. Give 161"):
        override(SEGMENTATION["tiny"], ["crop_size=160"])
