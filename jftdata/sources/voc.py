"""Pascal VOC: `Annotations/*.xml`, `ImageSets/Main/*.txt` and `JPEGImages/*.jpg`. Files stay where they are.

The lists in ImageSets are the splits. An image has the label of every object on it, difficult and truncated ones too,
but not of their parts. An image without annotations or without its file is rejected as `missing`. XML with a document
type, and so with entities, is refused unread.
Cost: 10,000 annotations a second.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from xml.parsers import expat

from jftdata.catalog import Catalog
from jftdata.errors import BadInput, MissingInput, UnknownName, one_of
from jftdata.hierarchy import Hierarchy
from jftdata.sources.ingest import Record, digest_of_files, ingest, listed, place

_OBJECT = ["annotation", "object"]


def from_voc(
    folder: Path | str,
    *,
    out: Path | str,
    hierarchy: Hierarchy | None = None,
    splits: Sequence[str] | None = None,
    image_sets: str = "Main",
    pack: bool = False,
    shorter_side: int | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of a VOC folder.

    Args:
        folder: the one with Annotations, ImageSets and JPEGImages, for example `VOCdevkit/VOC2012`.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of the labels that occur.
        splits: lists to take; None takes train, val and test, as far as they are there.
        image_sets: folder of the lists below ImageSets.
        pack: copy the bytes into tar shards inside the catalog.
        shorter_side: see `from_folder`.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Returns:
        The catalog; the same call again returns it at once, and continues where a killed one stopped.

    Raises:
        MissingInput: no such folder.
        UnknownName: no such list; a label that is not in the hierarchy.
        BadInput: an image in two lists or twice in one; XML that cannot be read or has a document type.
        TooManyRejects: more rejects than allowed.
    """
    root = Path(folder).resolve()
    lists = root / "ImageSets" / image_sets
    if not lists.is_dir():
        raise MissingInput(f"{folder} has no ImageSets/{image_sets}. Give a folder such as VOCdevkit/VOC2012.")
    there = sorted(path.stem for path in lists.glob("*.txt"))
    for name in splits or ():
        if name not in there:
            raise one_of("list", name, there, error=UnknownName)
    taken = list(splits) if splits is not None else [name for name in ("train", "val", "test") if name in there]
    digest = hashlib.sha256()
    split_of: dict[str, str] = {}
    for split in taken:
        for line in (lists / f"{split}.txt").read_text(encoding="utf-8").splitlines():
            if not line.split():
                continue
            image = line.split()[0]
            if image in split_of:
                raise BadInput(f"{image} is in {split_of[image]}.txt and again in {split}.txt. Take one of them.")
            split_of[image] = split
    records = [_record(root, image, split, digest) for image, split in split_of.items()]
    return ingest(
        listed(records),
        out=out,
        hierarchy=hierarchy,
        made_with={
            "source": "voc", "splits": taken, "image_sets": image_sets, "pack": pack, "shorter_side": shorter_side
        },
        inputs={"annotations": digest.hexdigest(), "listing": digest_of_files(records)},
        labels={label for record in records for label in record.labels},
        max_rejected=max_rejected,
        workers=workers,
    )  # fmt: skip


def _record(root: Path, image: str, split: str, digest: "hashlib._Hash") -> Record:
    """The record of an image; adds its annotations to the digest."""
    where = place(str(root / "JPEGImages"), f"{image}.jpg")
    if "refused" in where:
        return Record(source=f"{image}.jpg", labels=(), split=split, **where)
    path = root / "Annotations" / f"{image}.xml"
    try:
        data = path.read_bytes()
    except OSError as error:
        digest.update(f"{split}\0{image}\0gone\n".encode())
        return Record(source=f"{image}.jpg", labels=(), split=split, refused=("missing", f"{path}: {error.strerror}"))
    digest.update(f"{split}\0{image}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return Record(source=f"{image}.jpg", labels=_object_names(data, path), split=split, **where)


def _object_names(data: bytes, path: Path) -> tuple[str, ...]:
    _, objects = read_xml(data, path)
    return tuple(thing["name"] for thing in objects)


def read_xml(data: bytes, path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The texts of an annotation by their dotted names: of the image, such as `size.width`, and of each object, such as
    `bndbox.xmin`; not of objects' parts.

    Raises:
        BadInput: no XML, a document type, or an object without a name.
    """
    here: list[str] = []
    text: list[str] = []
    image: dict[str, str] = {}
    objects: list[dict[str, str]] = []

    def start(tag: str, _: dict[str, str]) -> None:
        here.append(tag)
        text.clear()
        if here == _OBJECT:
            objects.append({})

    def end(_: str) -> None:
        written = "".join(text).strip()
        text.clear()
        inside = here[:2] == _OBJECT
        if written and not (inside and here[2:3] == ["part"]):
            (objects[-1] if inside else image)[".".join(here[2 if inside else 1 :])] = written
        here.pop()

    def refuse(*_: object) -> None:
        raise BadInput(f"{path} has a document type, which may hide entities. Remove it.")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadInput(f"{path} is not readable XML ({error}). Get it again.") from error
    if not all("name" in thing for thing in objects):
        raise BadInput(f"{path} has an object without a name. Mend it.")
    return image, objects
