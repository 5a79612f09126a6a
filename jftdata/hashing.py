"""Image ids and keyed hashes: the two places where chance and identity come from.

An image id is the first 63 bits of the SHA-256 of the image's bytes. A keyed hash turns (id, seed, stream) into 64 bits
by two rounds of the SplitMix64 finaliser. Both are fixed for ever: no library's own hash is used, since those change.
Cost: about 400 million keyed hashes a second a core.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jftdata.errors import BadArgument

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def image_id(sha256: bytes) -> int:
    """Non-negative int64 from a 32-byte SHA-256 digest.

    >>> image_id(hashlib.sha256(b"").digest())
    8203414616412130826
    """
    return int.from_bytes(sha256[:8], "big") >> 1


def stream_key(seed: int, stream: str) -> int:
    """64-bit key of a seed and the name of what is drawn, so that two uses of one seed are independent.

    >>> stream_key(0, "nested") != stream_key(0, "epoch")
    True
    """
    if not 0 <= seed < 1 << 63:
        raise BadArgument(f"`seed` must be in [0, 2**63). Got {seed}.")
    return int.from_bytes(hashlib.sha256(f"{seed}:{stream}".encode()).digest()[:8], "big")


def keyed_hash(ids: NDArray[Any], *, seed: int, stream: str) -> NDArray[np.uint64]:
    """Uniform 64-bit hash of each id.

    Args:
        ids: (n,) integers.
        seed: any integer in [0, 2**63).
        stream: what the hash is for; other names give independent values.

    Returns:
        (n,) uint64.

    >>> keyed_hash(np.array([0, 1, 2]), seed=0, stream="nested")
    array([ 7962713946766030370, 17178619806554481994,  4450561094994387341],
          dtype=uint64)
    """
    key = stream_key(seed, stream)
    x = ids.astype(np.uint64) ^ np.uint64(key)
    for addend in (_GOLDEN, (_GOLDEN * 2 + key) & _MASK):
        x = x + np.uint64(addend)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x


def keyed_order(ids: NDArray[np.int64], *, seed: int, stream: str) -> NDArray[np.int64]:
    """Positions that put `ids` in keyed-hash order, ties broken by id: a shuffle that does not see row order.

    >>> ids, back = np.array([10, 20, 30, 40]), np.array([40, 30, 20, 10])
    >>> bool((ids[keyed_order(ids, seed=1, stream="x")] == back[keyed_order(back, seed=1, stream="x")]).all())
    True
    """
    return np.lexsort((ids, keyed_hash(ids, seed=seed, stream=stream))).astype(np.int64)


def uniform(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map 64-bit hashes to [0, 1) with 53 bits.

    >>> float(uniform(np.array([1 << 63], np.uint64))[0])
    0.5
    """
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
