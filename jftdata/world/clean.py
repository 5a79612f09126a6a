"""The clean set's own label space: 30 labels at a middle level, spelt its own way, mapped to the world's labels."""

import functools
from dataclasses import dataclass


@dataclass(frozen=True)
class CleanLabel:
    """One label of the clean set: the kinds it covers, and the world's label for it, empty where there is none."""

    label: str
    kinds: tuple[str, ...]
    world_label: str
    how: str
    """`same`, `world is broader`, `world is narrower` or `no match`."""


@functools.cache
def clean_labels() -> tuple[CleanLabel, ...]:
    """The labels of the clean set in their fixed order.

    >>> clean_labels()[7].label, clean_labels()[7].world_label
    ('c07_sailing_boat', 'sailing boat')
    """
    out = []
    for i, (name, kinds, world_label, how) in enumerate(_TABLE):
        out.append(CleanLabel(f"c{i:02d}_{name}", tuple(kinds.split("|")), world_label, how))
    return tuple(out)


@functools.cache
def clean_label_of_kind() -> dict[str, str]:
    """Which clean label a kind falls under, for the kinds that have one."""
    return {kind: entry.label for entry in clean_labels() for kind in entry.kinds}


_TABLE = (
    ("house_cat", "cat", "cat", "same"),
    ("domestic_dog", "dog", "dog", "same"),
    ("horse_family", "horse|zebra", "equine", "same"),
    ("small_bird", "bird", "bird", "world is broader"),
    ("bony_fish", "fish", "fish", "world is broader"),
    ("butterfly", "butterfly", "butterfly", "same"),
    ("motor_car", "car", "car", "same"),
    ("sailing_boat", "sailing boat", "sailing boat", "same"),
    ("passenger_bus", "bus", "bus", "same"),
    ("hot_air_balloon", "hot-air balloon", "hot-air balloon", "same"),
    ("pome_fruit", "apple|pear", "fruit", "world is broader"),
    ("mushroom", "mushroom", "mushroom", "same"),
    ("conifer", "fir", "fir", "same"),
    ("deciduous_tree", "broadleaf tree", "broadleaf tree", "same"),
    ("cottage", "house", "house", "same"),
    ("coffee_mug", "mug", "mug", "same"),
    ("pail", "bucket", "bucket", "same"),
    ("brolly", "umbrella", "umbrella", "same"),
    ("eyewear", "glasses", "glasses", "same"),
    ("testudine", "tortoise", "tortoise", "same"),
    ("human", "person", "person", "same"),
    ("guitar", "guitar", "guitar", "same"),
    ("timepiece", "clock", "clock", "same"),
    ("headgear", "hat", "hat", "same"),
    ("bloom", "flower|tulip", "flowering plant", "same"),
    ("footwear", "shoe", "shoe", "same"),
    ("flying_machine", "aeroplane|helicopter", "aircraft", "world is broader"),
    ("whale_or_shark", "whale|shark", "whale", "world is narrower"),
    ("anchor", "anchor", "", "no match"),
    ("padlock", "padlock", "", "no match"),
)
