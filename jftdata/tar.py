"""Uncompressed tar files whose members' bytes begin at known places."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jftdata import storage


@contextmanager
def create(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes an uncompressed tar, under a temporary name until it is whole."""
    with storage.atomic_path(path) as temp, temp.open("wb", buffering=1 << 20) as file:
        yield file
        file.write(
            bytes(-file.tell() % tarfile.RECORDSIZE or tarfile.RECORDSIZE)
        )  # at least two empty blocks end a tar


def add(file: BinaryIO, name: str, data: bytes) -> int:
    """Write a member; returns where its bytes begin."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    offset = file.tell()
    file.write(data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    return offset
