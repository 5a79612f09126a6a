"""Which labels there are, how often each is drawn, and how given labels go wrong.

The rates are ours, set so that the whole resembles what the paper says of its own labels: about 20% of them wrong,
about 1.25 an image before ancestors are filled in, a heavy tail. Source: Sun et al. 2017, section 3.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from jftdata.hierarchy import Hierarchy
from jftdata.world.dice import Dice
from jftdata.world.leaves import leaves

TAIL_POWER, TAIL_SHIFT = 1.9, 8.0  # a leaf's frequency is proportional to (rank + shift) ** -power
WRONG = 0.20  # share of given labels that are wrong
CONFUSABLE = 0.6  # share of wrong labels that name something alike
LESS_SPECIFIC = 0.15  # share of right given labels that are an ancestor of the leaf
EXTRA = (0.76, 0.965)  # below the first: one label given; below the second: up to two; above: up to three

# kinds whose leaves are taken for one another, beyond leaves of the same kind
_ALIKE = (
    ("mug", "bucket"),
    ("mug", "teapot"),
    ("apple", "tomato"),
    ("apple", "pear"),
    ("fish", "shark"),
    ("shark", "whale"),
    ("tortoise", "snail"),
    ("horse", "zebra"),
    ("giraffe", "zebra"),
    ("cat", "dog"),
    ("dog", "sheep"),
    ("rabbit", "cat"),
    ("bird", "duck"),
    ("owl", "bird"),
    ("penguin", "owl"),
    ("butterfly", "bee"),
    ("ladybird", "spider"),
    ("crab", "spider"),
    ("octopus", "spider"),
    ("starfish", "flower"),
    ("car", "truck"),
    ("bus", "truck"),
    ("bus", "locomotive"),
    ("sailing boat", "ship"),
    ("submarine", "whale"),
    ("aeroplane", "helicopter"),
    ("hot-air balloon", "ball"),
    ("rocket", "lighthouse"),
    ("cherries", "tomato"),
    ("strawberry", "tomato"),
    ("banana", "carrot"),
    ("mushroom", "umbrella"),
    ("ice cream", "cake"),
    ("flower", "tulip"),
    ("fir", "broadleaf tree"),
    ("palm", "broadleaf tree"),
    ("house", "castle"),
    ("lighthouse", "windmill"),
    ("tent", "house"),
    ("bottle", "candle"),
    ("lamp", "umbrella"),
    ("key", "hammer"),
    ("scissors", "hammer"),
    ("teddy bear", "dog"),
    ("snowman", "penguin"),
    ("kite", "umbrella"),
    ("drum", "cake"),
    ("elephant", "whale"),
    ("frog", "tortoise"),
    ("snake", "fish"),
    ("cactus", "tulip"),
    ("pizza", "clock"),
    ("guitar", "key"),
    ("hat", "mushroom"),
    ("shirt", "person"),
    ("book", "shirt"),
    ("chair", "book"),
    ("bicycle", "glasses"),
    ("shoe", "hat"),
    ("carrot", "cactus"),
)
_ALIKE_LEAVES = (("tortoise-shell glasses", "tortoise"), ("rubber duck", "canary"), ("fly agaric", "two-spot ladybird"))


@dataclass(frozen=True)
class Given:
    """One given label: `error` is "" for a right one, "confusable" or "random" for a wrong one."""

    label: str
    error: str


@functools.cache
def hierarchy() -> Hierarchy:
    """The world's own label hierarchy, shipped as `world`."""
    return Hierarchy.load("world")


@functools.cache
def label_frequencies() -> dict[str, float]:
    """How likely each leaf label is to be an image's main object, most frequent first; the shares sum to 1.

    >>> shares = label_frequencies()
    >>> round(sum(shares.values()), 6), max(shares.values()) > 50 * min(shares.values())
    (1.0, True)
    """
    # the salt is one of many: it was taken because its first twenty leaves are of nearly as many kinds
    order = sorted(leaves(), key=lambda label: hashlib.blake2b(f"19/{label}".encode(), digest_size=8).digest())
    weights = [(rank + TAIL_SHIFT) ** -TAIL_POWER for rank in range(1, len(order) + 1)]
    total = sum(weights)
    return {label: weight / total for label, weight in zip(order, weights, strict=True)}


@functools.cache
def confusables() -> dict[str, tuple[str, ...]]:
    """For every leaf, the other leaves it may be taken for: of its own kind, or of a kind that looks alike.

    >>> "tortoise" in confusables()["tortoise-shell glasses"]
    True
    """
    alike: dict[str, set[str]] = {}
    for one, two in _ALIKE:
        alike.setdefault(one, set()).add(two)
        alike.setdefault(two, set()).add(one)
    out = {}
    for leaf in leaves().values():
        near = {o.label for o in leaves().values() if o.kind == leaf.kind or o.kind in alike.get(leaf.kind, ())}
        near |= {b for pair in _ALIKE_LEAVES for a, b in (pair, pair[::-1]) if a == leaf.label}
        out[leaf.label] = tuple(sorted(near - {leaf.label}))
    return out


def draw_leaf(rng: Dice) -> str:
    """One leaf label by its frequency."""
    labels, sums = _cumulative()
    return rng.choices(labels, cum_weights=sums)[0]


def give_labels(rng: Dice, true_labels: Sequence[str]) -> tuple[Given, ...]:
    """The labels given to an image, some missing, some wrong, some less specific than they could be.

    Args:
        rng: the image's own numbers.
        true_labels: leaves truly present, the main one first.

    Returns:
        One to three given labels, none twice. An ancestor of a true label is right.

    >>> give_labels(Dice(3), ["goldfish"])
    (Given(label='goldfish', error=''),)
    """
    right = {label for leaf in true_labels for label in (leaf, *hierarchy().ancestors(leaf))}
    roll = rng.random()
    num = 1 if roll < EXTRA[0] else 2 if roll < EXTRA[1] else 3
    others = list(dict.fromkeys(label for label in true_labels[1:] if label != true_labels[0]))
    rng.shuffle(others)
    about = [true_labels[0], *others]
    about += [true_labels[0]] * (num - len(about))
    out: dict[str, Given] = {}
    for place, leaf in enumerate(about[:num]):
        repeated = place > 0 and leaf == true_labels[0]
        given = _one(rng, leaf, right, wrong=rng.random() < WRONG, general=repeated)
        out.setdefault(given.label, given)
    return tuple(out.values())


def _one(rng: Dice, leaf: str, right: set[str], *, wrong: bool, general: bool) -> Given:
    if wrong:
        alike = [label for label in confusables()[leaf] if label not in right]
        if alike and rng.random() < CONFUSABLE:
            return Given(rng.choice(alike), "confusable")
        while True:
            label = draw_leaf(rng)
            if label not in right:
                return Given(label, "random")
    if general or rng.random() < LESS_SPECIFIC:
        above = _near_ancestors(leaf)
        return Given(rng.choice(above), "")
    return Given(leaf, "")


@functools.cache
def _near_ancestors(leaf: str) -> tuple[str, ...]:
    """Parents and grandparents: what a less specific name would be."""
    parents = hierarchy().parents(leaf)
    both = [*parents, *(up for parent in parents for up in hierarchy().parents(parent))]
    roots = {"entity", "living thing", "artefact"}
    return tuple(dict.fromkeys(label for label in both if label not in roots)) or tuple(parents)


@functools.cache
def _cumulative() -> tuple[list[str], list[float]]:
    shares = label_frequencies()
    return list(shares), list(accumulate(shares.values()))
