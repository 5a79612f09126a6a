"""Names for files and folders that every file system and reader takes, with nothing lost: equal names stay apart.

A name that had to be changed, or that another one equals when case and accents' encoding are ignored, ends in eight hex
digits of its SHA-256, so what a name becomes depends on no order.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from jftdata.images import EXTENSIONS

MAX_BYTES = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]')
_ENDING = {format: ending for ending, format in reversed(EXTENSIONS.items())}


def image_file(image: int, format: str) -> str:
    """The file of an image: its id and the ending of its true format.

    >>> image_file(7, "jpeg")
    '0000000000000000007.jpg'
    """
    return f"{image:019d}{_ENDING[format]}"


def folders(names: Iterable[str]) -> dict[str, str]:
    """A folder name for each name: no separators, reserved names or control characters, NFC, at most 131 bytes.

    >>> folders(["cat", "a/b", "Dog", "dog"])
    {'cat': 'cat', 'a/b': 'a_b~c14cddc0', 'Dog': 'Dog~0eb129bf', 'dog': 'dog~cd6357ef'}
    """
    return _distinct({name: _plain(name) for name in names}, "~")


def splits(names: Iterable[str]) -> dict[str, str]:
    """A name for each split made of letters, digits and `_`, as Hugging Face wants them.

    >>> splits(["train", "val-2"])
    {'train': 'train', 'val-2': 'val_2_2a44e4f4'}
    """
    return _distinct({name: re.sub(r"\W", "_", _plain(name)) for name in names}, "_")


def _distinct(changed: dict[str, str], mark: str) -> dict[str, str]:
    often = Counter(_key(new) for new in changed.values())
    return {
        name: new if new == name and often[_key(new)] == 1 else f"{new}{mark}{_digest(name)}"
        for name, new in changed.items()
    }


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _plain(name: str) -> str:
    """The name without what a file system or reader trips over; hidden names are passed over by readers."""
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).lstrip(" ._").rstrip(" .")
    name = name.encode()[:MAX_BYTES].decode(errors="ignore").rstrip(" .")
    if _RESERVED.fullmatch(name):
        name = f"x_{name}"
    return name or "unnamed"
