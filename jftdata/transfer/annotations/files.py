"""The image files of a split: all there, of the size that is claimed, and what each is called by its content.

Cost: a read of every file, 1 GB a second on two cores.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from jftdata import images, progress
from jftdata.errors import BadInput, ImageRejected, MissingInput
from jftdata.hashing import image_id

_S = TypeVar("_S")
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Files:
    """What is known of a split's image files."""

    image: NDArray[np.int64]
    """(n,) content ids."""
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    """(n,) pixels as displayed, EXIF orientation applied."""
    sha256: list[str]


def look_at(paths: Sequence[str], *, what: str, workers: int | None) -> Files:
    """Read every file and its header; no pixels are decoded.

    Args:
        paths: of the images.
        what: the split, for the progress bar.
        workers: threads; None is one a core.

    Raises:
        MissingInput: files that are not there; says how many and names the first.
        ImageRejected: a header that is damaged or claims too much.
    """
    check_there(paths, what=f"images of {what}")

    def one(path: str) -> tuple[bytes, int, int]:
        data = Path(path).read_bytes()
        try:
            facts = images.header(data)
        except ImageRejected as error:
            raise ImageRejected(error.reason, f"{path}: {error}. Replace it or remove it from the set.") from None
        return hashlib.sha256(data).digest(), facts.width, facts.height

    found = mapped(one, paths, what=what, workers=workers)
    return Files(
        np.array([image_id(digest) for digest, _, _ in found], np.int64),
        np.array([width for _, width, _ in found], np.int64),
        np.array([height for _, _, height in found], np.int64),
        [digest.hex() for digest, _, _ in found],
    )


def check_there(paths: Sequence[str], *, what: str) -> None:
    """Raise a MissingInput unless all files are there."""
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise MissingInput(
            f"{len(missing)} of {len(paths)} {what} are not there: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}. Bring them back, or take them out of the set."
        )


def check_sizes(looked: Files, paths: Sequence[str], width: Sequence[Any], height: Sequence[Any]) -> None:
    """Raise a BadInput unless all files have the sizes that are claimed; None claims nothing."""
    wrong = [
        i for i, claimed in enumerate(zip(width, height, strict=True))
        if any(a not in (None, b) for a, b in zip(claimed, (looked.width[i], looked.height[i]), strict=True))
    ]  # fmt: skip
    if wrong:
        i = wrong[0]
        raise BadInput(
            f"{paths[i]} has {looked.width[i]}x{looked.height[i]} pixels, its annotations say {width[i]}x{height[i]}; "
            f"{len(wrong)} of {len(paths)} disagree. Give the images that were annotated."
        )


def mapped(function: Callable[[_S], _T], items: Sequence[_S], *, what: str, workers: int | None) -> list[_T]:
    """A function of every item, on threads, with progress."""
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        with progress.progress(what, total=len(items), unit="file") as bar:
            results = []
            for result in pool.map(function, items):
                results.append(result)
                bar.update()
            return results
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def twice(names: Iterable[str]) -> list[str]:
    """Names that are there more than once, each once.

    >>> twice(["a", "b", "a"])
    ['a']
    """
    return [name for name, count in Counter(names).items() if count > 1]


def fingerprint(parts: Iterable[str]) -> str:
    """One SHA-256 of many texts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode())
    return digest.hexdigest()
