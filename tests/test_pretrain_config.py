import dataclasses
import json

import pytest

from jftdata import backbone, recipes
from jftdata.errors import BadArgument
from jftdata.pretrain.config import PretrainConfig


def changed(recipe, **changes):
    return dataclasses.replace(recipe, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "`batch_size` must be at least 2"),
        ({"resize": 31}, "`resize` must be at least image_size"),
        ({"image_size": 16}, "at least 32"),
        ({"momentum": 0.9}, "adamw does not use it"),
        ({"decay_factor": 0.9}, "cosine does not use it"),
        ({"milestones": (1.0,)}, "cosine does not use it"),
        ({"power": 0.9}, "cosine does not use it"),
        ({"min_area": 0.1}, "random does not use it"),
        ({"crop": "resized"}, "`min_area` must be given"),
        ({"crop": "resized", "min_area": 0.0}, r"`min_area` must be in \(0, 1\]"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        ({"optimizer": "sgd"}, "`momentum` must be given"),
        ({"optimizer": "rmsprop", "momentum": 0.9}, "`squared_decay` must be given"),
        ({"nesterov": True}, "adamw does not use it"),
        ({"accumulate": 3}, "a divisor of batch_size"),
        ({"accumulate": 64}, "leaves 2 images or more"),
        ({"warmup_epochs": 9.0}, r"in \[0, total_epochs\]"),
        ({"schedule": "step", "decay_factor": 0.1, "decay_unit": "steps", "milestones": (5.0, 2.0)}, "rising numbers"),
        ({"schedule": "poly"}, "`power` must be given"),
        ({"bottleneck_stride": "1x1"}, "has no bottlenecks"),
        ({"ema_decay": 1.0}, r"in \(0, 1\)"),
        ({"clip_norm": -1.0}, "above 0"),
        ({"seed": -1}, "2\\*\\*63"),
    ],
)
def test_a_field_out_of_range_or_without_effect_is_an_error(change, message):
    with pytest.raises(BadArgument, match=message):
        changed(recipes.tiny(), **change)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_are_valid_and_survive_json(name):
    config = recipes.get(name)
    again = PretrainConfig(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config


def test_config_and_backbone_know_the_same_architectures():
    for name in backbone.ARCHITECTURES:
        changed(recipes.tiny(), architecture=name)


def test_every_field_says_what_it_is():
    import ast
    import inspect

    body = ast.parse(inspect.getsource(PretrainConfig)).body[0].body
    for at, node in enumerate(body):
        if isinstance(node, ast.AnnAssign):
            said = body[at + 1]
            assert isinstance(said, ast.Expr), node.target.id
            assert isinstance(said.value.value, str)
