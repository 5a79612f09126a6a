"""What the world can draw: one function a kind of thing, how freely it turns, and where it is usually seen."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jftdata.world.pen import Look, Pen

Draw = Callable[[Pen, Look], NDArray[np.float64] | None]


@dataclass(frozen=True)
class Kind:
    """A base kind of object: the label of its node, how to draw it, and its habits."""

    name: str
    draw: Draw
    turn: float
    """Most degrees it is turned either way."""
    places: tuple[str, ...]
    """Backgrounds it is usually seen on."""


@functools.cache
def kinds() -> dict[str, Kind]:
    """All base kinds by name, in a fixed order; the last two are drawn only for the clean set.

    >>> len(kinds()) >= 35, kinds()["fish"].places
    (True, ('underwater', 'plain', 'pattern'))
    """
    from jftdata.world.kinds import beasts, nature, people, small, things, vehicles

    land, wild = ("field", "street", "room", "plain"), ("field", "snow", "plain", "desert")
    water, sky = ("underwater", "plain", "pattern"), ("sky", "field", "plain")
    table, indoor = ("table", "plain", "pattern"), ("room", "table", "plain", "pattern")
    garden, road = ("field", "plain", "pattern"), ("street", "field", "plain")
    sea = ("sea", "sea", "plain")
    rows: tuple[tuple[str, Draw, float, tuple[str, ...]], ...] = (
        ("person", people.person, 9, ("field", "street", "room", "plain", "snow")),
        ("cat", beasts.cat, 14, land),
        ("dog", beasts.dog, 14, land),
        ("rabbit", beasts.rabbit, 16, garden),
        ("horse", beasts.horse, 12, wild),
        ("zebra", beasts.horse, 12, wild),
        ("giraffe", beasts.giraffe, 10, wild),
        ("elephant", beasts.elephant, 12, wild),
        ("sheep", beasts.sheep, 14, wild),
        ("bird", beasts.bird, 28, sky),
        ("owl", beasts.owl, 14, ("sky", "field", "pattern")),
        ("penguin", beasts.penguin, 14, ("snow", "sea", "plain")),
        ("duck", beasts.duck, 14, ("sea", "table", "plain")),
        ("teddy bear", beasts.teddy, 22, indoor),
        ("frog", beasts.frog, 16, garden),
        ("fish", small.fish, 35, water),
        ("shark", small.shark, 28, water),
        ("whale", small.whale, 20, ("sea", "underwater", "plain")),
        ("octopus", small.octopus, 24, water),
        ("crab", small.crab, 20, ("desert", "underwater", "plain")),
        ("starfish", small.starfish, 180, ("desert", "underwater", "plain")),
        ("snail", small.snail, 22, garden),
        ("butterfly", small.butterfly, 60, ("sky", "field", "pattern")),
        ("ladybird", small.ladybird, 180, garden),
        ("bee", small.bee, 35, ("sky", "field", "pattern")),
        ("spider", small.spider, 180, ("room", "plain", "pattern")),
        ("tortoise", small.tortoise, 16, wild),
        ("snake", small.snake, 30, wild),
        ("car", vehicles.car, 12, road),
        ("bus", vehicles.bus, 10, road),
        ("truck", vehicles.truck, 10, road),
        ("locomotive", vehicles.train, 10, road),
        ("bicycle", vehicles.bicycle, 14, road),
        ("sailing boat", vehicles.sailing_boat, 14, sea),
        ("ship", vehicles.ship, 10, sea),
        ("submarine", vehicles.submarine, 20, ("underwater", "sea", "plain")),
        ("hot-air balloon", vehicles.balloon, 14, sky),
        ("rocket", vehicles.rocket, 40, ("night", "sky", "plain")),
        ("aeroplane", vehicles.aeroplane, 26, sky),
        ("helicopter", vehicles.helicopter, 18, sky),
        ("apple", nature.apple, 30, table),
        ("tomato", nature.tomato, 30, table),
        ("pear", nature.pear, 30, table),
        ("banana", nature.banana, 60, table),
        ("cherries", nature.cherries, 30, table),
        ("strawberry", nature.strawberry, 40, table),
        ("mushroom", nature.mushroom, 16, garden),
        ("carrot", nature.carrot, 60, table),
        ("ice cream", nature.ice_cream, 24, ("sky", "plain", "pattern")),
        ("pizza", nature.pizza, 60, table),
        ("cake", nature.cake, 8, table),
        ("broadleaf tree", nature.tree, 8, wild),
        ("fir", nature.fir, 8, ("snow", "field", "plain")),
        ("palm", nature.palm, 10, ("desert", "sea", "sky")),
        ("flower", nature.flower, 22, garden),
        ("tulip", nature.tulip, 20, garden),
        ("cactus", nature.cactus, 10, ("desert", "room", "plain")),
        ("house", nature.house, 6, ("field", "street", "snow")),
        ("castle", nature.castle, 6, ("field", "sky", "snow")),
        ("lighthouse", nature.lighthouse, 7, ("sea", "sky", "night")),
        ("windmill", nature.windmill, 7, ("field", "sky")),
        ("tent", nature.tent, 8, ("field", "snow", "desert", "night")),
        ("mug", things.mug, 14, table),
        ("bucket", things.bucket, 16, ("room", "field", "plain")),
        ("teapot", things.teapot, 14, table),
        ("bottle", things.bottle, 22, table),
        ("clock", things.clock, 20, indoor),
        ("lamp", things.lamp, 12, indoor),
        ("chair", things.chair, 12, ("room", "room", "plain")),
        ("umbrella", things.umbrella, 28, ("street", "sky", "plain")),
        ("glasses", things.glasses, 24, table),
        ("guitar", things.guitar, 50, ("room", "plain", "pattern")),
        ("drum", things.drum, 14, ("room", "plain", "pattern")),
        ("key", things.key, 180, table),
        ("scissors", things.scissors, 120, table),
        ("hammer", things.hammer, 70, table),
        ("hat", things.hat, 22, indoor),
        ("shirt", things.shirt, 18, indoor),
        ("shoe", things.boot, 20, indoor),
        ("ball", things.ball, 180, ("field", "room", "plain")),
        ("kite", things.kite, 40, ("sky", "sky", "field")),
        ("book", things.book, 28, table),
        ("candle", things.candle, 10, ("table", "night", "plain")),
        ("snowman", things.snowman, 10, ("snow", "snow", "plain")),
        ("anchor", things.anchor, 26, ("sea", "underwater", "plain")),
        ("padlock", things.padlock, 22, indoor),
    )
    return {name: Kind(name, draw, turn, places) for name, draw, turn, places in rows}
