"""The leaf labels of the world: which kind each is, in which colours, surface and parts."""

import functools
from dataclasses import dataclass

CLEAN_ONLY = ("anchor", "padlock")  # kinds of the clean set that the world's own labels lack


@dataclass(frozen=True)
class Leaf:
    """One leaf label and how it looks; `/` separates what is drawn from at random, `any` colour is any bright one."""

    label: str
    kind: str
    colour: str = "any"
    texture: str = "plain"
    part: str = ""
    second: str = ""
    """Colour of stripes, spots and trimmings; empty for any that stands out."""


@functools.cache
def leaves() -> dict[str, Leaf]:
    """All leaves by label, in a fixed order, the two kinds of the clean set not among them.

    >>> leaves()["zebra"].texture
    'stripes'
    """
    return {leaf.label: leaf for leaf in _TABLE}


@functools.cache
def leaves_of(kind: str) -> tuple[Leaf, ...]:
    """The leaves of one kind, or the one look of a kind that only the clean set has.

    >>> [leaf.label for leaf in leaves_of("fish")]
    ['goldfish', 'striped fish', 'spotted fish', 'blue fish']
    """
    if kind in CLEAN_ONLY:
        return (Leaf(kind, kind, "grey/brown/blue" if kind == "anchor" else "yellow/red/blue/green"),)
    return tuple(leaf for leaf in _TABLE if leaf.kind == kind)


_TABLE = (
    Leaf("stander", "person", part="stander", texture="plain/bands/checks"),
    Leaf("walker", "person", part="walker", texture="plain/bands"),
    Leaf("runner", "person", part="runner", texture="plain/bands"),
    Leaf("waver", "person", part="waver", texture="plain/checks"),
    Leaf("sitter", "person", part="sitter", texture="plain/dots"),
    Leaf("jumper", "person", part="jumper", texture="plain/bands"),
    Leaf("chef", "person", "white", part="chef"),
    Leaf("king", "person", "red/purple/blue", part="king"),
    Leaf("builder", "person", "orange/yellow/blue", part="builder"),
    Leaf("black cat", "cat", "black"),
    Leaf("white cat", "cat", "white"),
    Leaf("ginger cat", "cat", "orange", "bands", second="tan"),
    Leaf("tabby cat", "cat", "grey/brown", "stripes", second="black"),
    Leaf("calico cat", "cat", "white", "patches", second="orange/brown"),
    Leaf("retriever", "dog", "tan/yellow"),
    Leaf("dalmatian", "dog", "white", "spots", second="black"),
    Leaf("dachshund", "dog", "brown/black", part="long"),
    Leaf("sheepdog", "dog", "white/grey", "patches", "pricked", "black/brown"),
    Leaf("rabbit", "rabbit", "coat"),
    Leaf("bay horse", "horse", "brown"),
    Leaf("grey horse", "horse", "white/grey"),
    Leaf("pinto horse", "horse", "white", "patches", second="brown/black"),
    Leaf("zebra", "zebra", "white", "stripes", "zebra", "black"),
    Leaf("giraffe", "giraffe", "yellow/tan/orange", "spots/dots/checks", second="brown"),
    Leaf("elephant", "elephant", "grey/pink"),
    Leaf("white sheep", "sheep", "white"),
    Leaf("black sheep", "sheep", "black/grey"),
    Leaf("robin", "bird", "brown", part="robin"),
    Leaf("parrot", "bird", "green/red/blue", part="parrot"),
    Leaf("crow", "bird", "black"),
    Leaf("gull", "bird", "white", part="gull"),
    Leaf("canary", "bird", "yellow"),
    Leaf("owl", "owl", "brown/white/grey", "plain/dots/bands"),
    Leaf("penguin", "penguin", "black/blue", part="/scarf"),
    Leaf("mallard", "duck", "tan/grey", part="mallard"),
    Leaf("white duck", "duck", "white"),
    Leaf("rubber duck", "duck", "yellow", part="toy"),
    Leaf("teddy bear", "teddy bear", "brown/tan/pink/white", part="/bow"),
    Leaf("frog", "frog", "green/teal/orange", "plain/spots"),
    Leaf("goldfish", "fish", "orange", part="fan"),
    Leaf("striped fish", "fish", "any", "stripes"),
    Leaf("spotted fish", "fish", "any", "spots"),
    Leaf("blue fish", "fish", "blue"),
    Leaf("shark", "shark", "grey"),
    Leaf("whale", "whale", "blue/grey"),
    Leaf("octopus", "octopus", "red/purple/pink/orange", "plain/dots"),
    Leaf("crab", "crab", "red/orange/blue"),
    Leaf("starfish", "starfish", "orange/red/purple/yellow"),
    Leaf("snail", "snail", "any/brown/tan", "plain/stripes"),
    Leaf("striped butterfly", "butterfly", "orange/yellow", "stripes", second="black"),
    Leaf("spotted butterfly", "butterfly", "any", "spots"),
    Leaf("peacock butterfly", "butterfly", "red/purple/brown", part="eyed"),
    Leaf("blue butterfly", "butterfly", "blue"),
    Leaf("white butterfly", "butterfly", "white"),
    Leaf("red ladybird", "ladybird", "red"),
    Leaf("yellow ladybird", "ladybird", "yellow"),
    Leaf("two-spot ladybird", "ladybird", "red/orange", part="two"),
    Leaf("bee", "bee", "yellow/orange"),
    Leaf("spider", "spider", "black/brown/grey", "plain/bands"),
    Leaf("tortoise", "tortoise", "brown/green", "plain/patches/spots", second="tan/yellow"),
    Leaf("snake", "snake", "green/red/brown/yellow"),
    Leaf("red car", "car", "red"),
    Leaf("blue car", "car", "blue"),
    Leaf("sports car", "car", "any", part="sports"),
    Leaf("taxi", "car", "yellow", part="taxi"),
    Leaf("police car", "car", "white", part="police"),
    Leaf("toy car", "car", "any", part="toy"),
    Leaf("double-decker bus", "bus", "red/green", part="double"),
    Leaf("school bus", "bus", "yellow/orange", part="school"),
    Leaf("city bus", "bus", "white/blue/green/purple"),
    Leaf("delivery truck", "truck", "white/any"),
    Leaf("fire engine", "truck", "red", part="fire"),
    Leaf("tipper truck", "truck", "orange/yellow/green", part="tipper"),
    Leaf("locomotive", "locomotive", "green/red/black/blue"),
    Leaf("bicycle", "bicycle", "any", part="/basket"),
    Leaf("yacht", "sailing boat", "white", part="yacht"),
    Leaf("dinghy", "sailing boat", "any", part="dinghy"),
    Leaf("striped sailing boat", "sailing boat", "any", "bands/stripes"),
    Leaf("steamship", "ship", "red/black/blue"),
    Leaf("cargo ship", "ship", "green/blue/black/red", part="cargo"),
    Leaf("submarine", "submarine", "yellow/grey/green"),
    Leaf("striped balloon", "hot-air balloon", "any", "stripes"),
    Leaf("checked balloon", "hot-air balloon", "any", "checks"),
    Leaf("panelled balloon", "hot-air balloon", "any"),
    Leaf("rocket", "rocket", "white/grey/red", "plain/checks"),
    Leaf("airliner", "aeroplane", "white/grey/blue"),
    Leaf("biplane", "aeroplane", "red/yellow/green", part="biplane"),
    Leaf("helicopter", "helicopter", "any/green"),
    Leaf("red apple", "apple", "red"),
    Leaf("green apple", "apple", "green"),
    Leaf("tomato", "tomato", "red/orange"),
    Leaf("pear", "pear", "green/yellow"),
    Leaf("banana", "banana", "yellow/green"),
    Leaf("cherries", "cherries", "red"),
    Leaf("strawberry", "strawberry", "red"),
    Leaf("fly agaric", "mushroom", "red", part="spots"),
    Leaf("brown mushroom", "mushroom", "brown/tan"),
    Leaf("carrot", "carrot", "orange"),
    Leaf("single scoop", "ice cream", "pink/white/brown/green"),
    Leaf("double scoop", "ice cream", "pink/white/brown/teal", part="double"),
    Leaf("whole pizza", "pizza", part="whole"),
    Leaf("pizza slice", "pizza", part="slice"),
    Leaf("birthday cake", "cake", "pink/white/brown/any"),
    Leaf("cupcake", "cake", "pink/white/teal/brown", part="cupcake"),
    Leaf("summer tree", "broadleaf tree", "green"),
    Leaf("autumn tree", "broadleaf tree", "orange/yellow/red"),
    Leaf("bare tree", "broadleaf tree", "brown", part="bare"),
    Leaf("apple tree", "broadleaf tree", "green", part="fruit"),
    Leaf("wild fir", "fir", "green/teal"),
    Leaf("snowy fir", "fir", "green", part="snow"),
    Leaf("Christmas tree", "fir", "green", part="baubles"),
    Leaf("palm", "palm", "green"),
    Leaf("daisy", "flower", "white"),
    Leaf("sunflower", "flower", "yellow", part="sun"),
    Leaf("poppy", "flower", "red"),
    Leaf("violet", "flower", "purple"),
    Leaf("tulip", "tulip", "red/yellow/pink/purple"),
    Leaf("desert cactus", "cactus", "green"),
    Leaf("potted cactus", "cactus", "green", part="pot"),
    Leaf("brick house", "house", "red/brown", "checks/plain", second="orange/tan"),
    Leaf("white cottage", "house", "white", second="red/brown/grey"),
    Leaf("stone castle", "castle", "grey/tan"),
    Leaf("fairy castle", "castle", "pink/white/purple", part="roofs"),
    Leaf("lighthouse", "lighthouse", "red/blue/black"),
    Leaf("windmill", "windmill", "white/tan/brown"),
    Leaf("camping tent", "tent", "green/orange/blue"),
    Leaf("circus tent", "tent", "red/yellow/blue", "stripes", "circus", "white"),
    Leaf("red mug", "mug", "red"),
    Leaf("white mug", "mug", "white"),
    Leaf("spotted mug", "mug", "any", "spots/dots"),
    Leaf("striped mug", "mug", "any", "bands/stripes"),
    Leaf("tin bucket", "bucket", "grey"),
    Leaf("red bucket", "bucket", "red", part="/water"),
    Leaf("teapot", "teapot", "any/white", "plain/dots"),
    Leaf("wine bottle", "bottle", "green/purple/brown", part="wine"),
    Leaf("milk bottle", "bottle", "white", part="milk"),
    Leaf("wall clock", "clock", "any/brown"),
    Leaf("alarm clock", "clock", "any", part="alarm"),
    Leaf("wristwatch", "clock", "grey/yellow", part="watch"),
    Leaf("lamp", "lamp", "any/tan/white", "plain/stripes"),
    Leaf("wooden chair", "chair", "brown/tan"),
    Leaf("armchair", "chair", "any", "plain/bands/dots", "arm"),
    Leaf("black umbrella", "umbrella", "black", second="grey"),
    Leaf("striped umbrella", "umbrella", "any", "stripes"),
    Leaf("panelled umbrella", "umbrella", "any"),
    Leaf("tortoise-shell glasses", "glasses", "brown", "patches", second="orange/yellow"),
    Leaf("sunglasses", "glasses", "black/any", part="sun"),
    Leaf("reading glasses", "glasses", "black/red/blue/purple"),
    Leaf("acoustic guitar", "guitar", "tan/orange/brown"),
    Leaf("electric guitar", "guitar", "any", part="electric"),
    Leaf("drum", "drum", "red/blue/any"),
    Leaf("key", "key", "yellow/grey"),
    Leaf("scissors", "scissors", "any"),
    Leaf("hammer", "hammer", "brown/red/tan"),
    Leaf("top hat", "hat", "black", part="top"),
    Leaf("straw hat", "hat", "tan", part="straw"),
    Leaf("bobble hat", "hat", "any", "bands/stripes", "bobble"),
    Leaf("cap", "hat", "any", part="cap"),
    Leaf("striped shirt", "shirt", "any", "bands/stripes"),
    Leaf("checked shirt", "shirt", "any", "checks"),
    Leaf("white shirt", "shirt", "white"),
    Leaf("rubber boot", "shoe", "any"),
    Leaf("trainer", "shoe", "any/white", part="shoe"),
    Leaf("football", "ball", "white", part="football"),
    Leaf("beach ball", "ball", "white", part="beach"),
    Leaf("basketball", "ball", "orange", part="basketball"),
    Leaf("tennis ball", "ball", "green/yellow", part="tennis"),
    Leaf("kite", "kite", "any"),
    Leaf("open book", "book", "any", part="open"),
    Leaf("closed book", "book", "any", part="closed"),
    Leaf("candle", "candle", "white/red/tan"),
    Leaf("snowman", "snowman", "red/blue/green"),
)
