"""Images in folders: `photos/<label>/x.jpg` or `photos/<split>/<label>/x.jpg`. Files stay where they are."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.hierarchy import Hierarchy
from jftdata.images import EXTENSIONS
from jftdata.sources.ingest import CHUNK_IMAGES, Record, ingest

_SPLITS = ("train", "val", "valid", "validation", "test", "eval")


@dataclass(frozen=True)
class _FolderChunk:
    root: str
    names: tuple[str, ...]
    layout: str

    def __len__(self) -> int:
        return len(self.names)

    def records(self) -> Iterator[Record]:
        for name in self.names:
            split, labels = _place(name, self.layout)
            yield Record(source=name, labels=labels, split=split, file=os.path.join(self.root, name))


def from_folder(
    folder: Path | str,
    *,
    out: Path | str,
    hierarchy: Hierarchy | None = None,
    layout: Literal["auto", "label", "split/label", "none"] = "auto",
    pack: bool = False,
    shorter_side: int | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of the images below a folder.

    Args:
        folder: walked in name order; files with an image ending count, whatever is wrong with them.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of the folder names.
        layout: what the folder levels mean; `auto` is `split/label` when every top folder is called train, val, test or
            alike, else `label`; with `none` no label is given.
        pack: copy the bytes, untouched, into tar shards inside the catalog instead of pointing at the files.
        shorter_side: when packing, store larger images as JPEGs of quality 95 with this shorter side, in pixels; the
            image id is then that of the stored bytes.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Returns:
        The catalog; the same call again returns it at once, and continues where a killed one stopped.

    Raises:
        MissingInput: no such folder.
        UnknownName: a folder name that is not a label of the hierarchy.
        TooManyRejects: more rejects than allowed.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise MissingInput(f"folder {folder} does not exist. Check the path.")
    listing = hashlib.sha256()
    names: list[str] = []
    for name, entry in _walk(root):
        try:
            status = entry.stat()
            listing.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        except FileNotFoundError:  # a link to nowhere: counted, and rejected as missing
            listing.update(f"{name}\0gone\n".encode())
        except UnicodeEncodeError:
            raise BadInput(f"the file name {os.fsencode(name)!r} in {root} is not UTF-8. Rename it.") from None
        names.append(name)
    if layout == "auto":
        tops = {name.split("/")[0] for name in names if "/" in name}
        layout = "split/label" if tops and tops <= set(_SPLITS) else "label"
    elif layout not in ("label", "split/label", "none"):
        raise BadArgument(f"`layout` must be auto, label, split/label or none. Got {layout!r}.")
    chunks = [
        _FolderChunk(str(root), tuple(names[i : i + CHUNK_IMAGES]), layout) for i in range(0, len(names), CHUNK_IMAGES)
    ]
    return ingest(
        chunks,
        out=out,
        hierarchy=hierarchy,
        made_with={"source": "folder", "layout": layout, "pack": pack, "shorter_side": shorter_side},
        inputs={"listing": listing.hexdigest()},
        labels={label for name in names for label in _place(name, layout)[1]},
        max_rejected=max_rejected,
        workers=workers,
    )


def _walk(root: Path, below: str = "", above: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Image files in name order, depth first; links are followed.

    Raises:
        BadInput: a link to a folder it lies in.
    """
    here = os.path.realpath(root / below)
    if here in above:
        raise BadInput(f"{root / below} is a link to a folder it lies in. Remove the link.")
    with os.scandir(root / below) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        name = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir():
            yield from _walk(root, name, above | {here})
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield name, entry


def _place(name: str, layout: str) -> tuple[str, tuple[str, ...]]:
    """Split and labels of a relative path."""
    folders = name.split("/")[:-1]
    if layout == "none":
        return "train", ()
    if layout == "label":
        return "train", tuple(folders[:1])
    return (folders[0] if folders else "train"), tuple(folders[1:2])
