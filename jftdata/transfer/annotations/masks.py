"""Masks as PNGs beside images: `images/<split>/x.jpg` and `masks/<split>/x.png`, or `annotations/<split>/x.png` as ADE20K has it.

The number of a pixel is its palette's index or grey value. Classes are the lines of `classes.txt`, from number 0 on; of
ADE20K's `objectInfo150.txt`, from 1 on, 0 counting for nothing (Zhou et al. 2017); without either, the numbers up to the
highest that occurs. 255 counts for nothing. Columns of Parquet files are unpacked into such folders once.
Cost: a read of every image, and a decoding of every mask: 750 of 640x480 pixels a second a core.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jftdata import images, storage
from jftdata.errors import BadInput, Damaged, ImageRejected, MissingInput, UnknownName, one_of
from jftdata.transfer.annotations import files, rules
from jftdata.transfer.annotations.core import Annotated, Annotations

FOLDERS = ("masks", "annotations", "labels")
"""Where masks may lie, beside `images`."""
COLUMNS = ("annotation", "mask", "label", "labels", "segmentation", "segmentation_mask")
"""Columns of a Parquet file that may hold masks, beside `image`."""
TRAIN_SPLITS = ("train", "training")
TEST_SPLITS = ("test", "val", "valid", "validation")
IGNORE = 255


def read(
    folder: Path | str, *, train_split: str | None = None, test_split: str | None = None, cache: Path | None = None,
    workers: int | None = None,
) -> Annotations:  # fmt: skip
    """Read a folder of images and masks.

    Args:
        folder: with `images/<split>` and `masks/<split>`, `annotations/<split>` or `labels/<split>`; or Parquet files with an
            image column and a mask column, which are unpacked first.
        train_split: None takes train or training.
        test_split: None takes test, val, valid or validation, the first there is.
        cache: folder to unpack into; None unpacks into `<folder>.unpacked`.
        workers: threads; None is one a core.

    Returns:
        Images in the order of their names, numbered from 1.

    Raises:
        MissingInput: no such folder; an image without a mask.
        UnknownName: no such split.
        BadInput: no splits; a mask without an image; what `look_at` and `split_of` refuse.
    """
    folder = Path(folder)
    root = _unpacked(folder, cache) if is_parquet(folder) else folder
    there = splits(root)
    if not there:
        raise MissingInput(f"{root} has no images/<split> beside masks/<split> or annotations/<split>. Check the path.")
    chosen = []
    for name, known, argument in ((train_split, TRAIN_SPLITS, "train"), (test_split, TEST_SPLITS, "test")):
        split = name or next((split for split in known if split in there), None)
        if split is None:
            raise BadInput(
                f"{root} has the splits {', '.join(there)}, none of them for {argument}. Give `{argument}_split`."
            )
        if split not in there:
            raise one_of("split", split, there, error=UnknownName)
        chosen.append(split)
    pairs = [_pairs(root / "images" / split, there[split]) for split in chosen]
    info = folder / "objectInfo150.txt"
    first = int(info.is_file())
    classes = _ade_names(info) if first else class_names(folder)
    seen = [look_at(mask, f"masks of {split}", workers=workers) for split, (_, mask) in zip(chosen, pairs, strict=True)]
    if classes is None:
        classes = numbers(seen)
    parts = [
        split_of(paths, mask, found, classes=classes, what=split, first=first, workers=workers)
        for split, (paths, mask), found in zip(chosen, pairs, seen, strict=True)
    ]
    return rules.both(*parts)


@dataclass(frozen=True)
class Mask:
    """What is known of a mask's file."""

    sha256: str
    width: int
    height: int
    numbers: frozenset[int]
    """All that occur."""


def look_at(paths: Sequence[str], what: str, *, workers: int | None) -> list[Mask]:
    """Read and decode masks.

    Raises:
        MissingInput: files that are not there; says how many and names the first.
        ImageRejected: a mask that cannot be read.
    """
    files.check_there(paths, what=what)

    def one(path: str) -> Mask:
        data = Path(path).read_bytes()
        try:
            labels = images.decode_labels(data)
        except ImageRejected as error:
            raise ImageRejected(error.reason, f"{path}: {error}. Write the number of each pixel's class.") from None
        there = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
        return Mask(hashlib.sha256(data).hexdigest(), labels.shape[1], labels.shape[0], frozenset(there))

    return files.mapped(one, paths, what=what, workers=workers)


def numbers(seen: Iterable[Sequence[Mask]]) -> tuple[str, ...]:
    """Classes without a name: the numbers from 0 to the highest that occurs."""
    found = {number for part in seen for one in part for number in one.numbers} - {IGNORE}
    return tuple(map(str, range(max(found, default=0) + 1)))


def split_of(
    paths: Sequence[str], mask: Sequence[str], seen: Sequence[Mask], *, classes: Sequence[str], what: str, first: int,
    workers: int | None,
) -> Annotated:  # fmt: skip
    """A split of images and their masks.

    Args:
        paths: of the images.
        mask: path of the mask of each.
        seen: what `look_at` says of them.
        classes: by their number.
        what: the split, for messages.
        first: number of the first class; lower ones count for nothing, as 255 does.
        workers: threads; None is one a core.

    Raises:
        MissingInput: images that are not there; says how many and names the first.
        ImageRejected: an image with a damaged header.
        BadInput: a mask of another size than its image, or with a number that is no class.
    """
    looked = files.look_at(paths, what=what, workers=workers)
    known = {*range(first + len(classes)), IGNORE}
    for i, one in enumerate(seen):
        if (one.width, one.height) != (looked.width[i], looked.height[i]):
            raise BadInput(
                f"{mask[i]} has {one.width}x{one.height} pixels, its image {looked.width[i]}x{looked.height[i]}. "
                "Give the mask of this image."
            )
        if unknown := sorted(one.numbers - known):
            raise BadInput(
                f"{mask[i]} has the number {unknown[0]}; classes are {first}..{first + len(classes) - 1}, and {IGNORE} "
                "counts for nothing. Mend the mask, or name all classes in classes.txt."
            )
    return Annotated(
        image=looked.image, path=list(paths), width=looked.width, height=looked.height,
        number=np.arange(1, len(paths) + 1), classes=tuple(classes),
        class_number=np.arange(first, first + len(classes)), mask=list(mask), ignore=IGNORE,
        fingerprint=files.fingerprint(["masks", str(first), *classes, *(one.sha256 for one in seen), *looked.sha256]),
    )  # fmt: skip


def splits(root: Path) -> dict[str, Path]:
    """The folder with the masks of each split of which there are images and masks."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in sorted((root / "images").glob("*/")):
            if (root / folder / path.name).is_dir():
                found.setdefault(path.name, root / folder / path.name)
    return found


def _pairs(folder: Path, masks: Path) -> tuple[list[str], list[str]]:
    """Images of a split by name, and the mask of each."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.EXTENSIONS)
    wanted = [masks / path.relative_to(folder).with_suffix(".png") for path in paths]
    if again := files.twice(map(str, wanted)):
        raise BadInput(f"two images of {folder} have the mask {again[0]}. Give them different names.")
    alone = sorted(set(masks.rglob("*.png")) - set(wanted))
    if alone:
        raise BadInput(
            f"{len(alone)} masks have no image in {folder}, for example {alone[0]}. Bring it or remove them."
        )
    return list(map(str, paths)), list(map(str, wanted))


def class_names(root: Path) -> tuple[str, ...] | None:
    """The lines of `classes.txt`, or None where there is none.

    Raises:
        BadInput: a name twice, or none.
    """
    path = root / "classes.txt"
    if not path.is_file():
        return None
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not names or len(names) > IGNORE or files.twice(names):
        raise BadInput(
            f"{path} has {len(names)} names, {len(set(names))} of them different. Give 1 to {IGNORE}, each once."
        )
    return names


def _ade_names(path: Path) -> tuple[str, ...]:
    """The last column of ADE20K's list, up to the first synonym."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    names = tuple(line.split("\t")[-1].split(",")[0].split(";")[0].strip() for line in lines if line.strip())
    return tuple(f"{name} ({i})" if name in names[: i - 1] else name for i, name in enumerate(names, 1))


def is_parquet(folder: Path) -> bool:
    """Whether there are Parquet files with images and masks in a folder, or in its `data`."""
    return any(_mask_column(path) is not None for path in _parquet_files(folder))


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def _mask_column(path: Path) -> str | None:
    """The column with masks of a Parquet file that has one with images too."""
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise Damaged(f"{path} is not a readable Parquet file ({error}). Get it again.") from error
    there = [field.name for field in schema if _holds_bytes(field.type)]
    return next((name for name in COLUMNS if name in there), None) if "image" in there else None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _unpacked(folder: Path, cache: Path | None) -> Path:
    """A folder of the images and masks in Parquet files, made once: bytes inside Parquet pages cannot be read by themselves."""
    paths = _parquet_files(folder)
    inputs = {path.name: storage.sha256_file(path) for path in paths}
    beside = folder.resolve().with_name(f"{folder.resolve().name}.unpacked")
    out = beside if cache is None else cache / f"masks-{files.fingerprint(inputs.values())[:16]}"
    with storage.building(out, format="jftdata.masks/1", made_with={}, inputs=inputs) as build:
        if build is None:
            return out
        for path in paths:
            for i, (split, image, mask) in enumerate(_rows(path)):
                try:
                    format = images.header(image).format
                except ImageRejected as error:
                    raise ImageRejected(error.reason, f"{path}: image of row {i}: {error}. Remove the row.") from None
                suffix = next(suffix for suffix, known in images.EXTENSIONS.items() if known == format)
                for kind, name, data in (("images", f"{i:07d}{suffix}", image), ("masks", f"{i:07d}.png", mask)):
                    place = build.folder / kind / split / path.stem / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(data)
    return out


def _rows(path: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Split, image and mask of each row; the split is the column of that name, else the file's name up to its first `-`."""
    mask = _mask_column(path)
    if mask is None:
        raise BadInput(f"{path} has no bytes in `image` and one of {', '.join(COLUMNS)}. Rename its columns.")
    at = 0
    with pq.ParquetFile(path) as file:
        wanted = ["image", mask, *(["split"] if "split" in file.schema_arrow.names else [])]
        for batch in file.iter_batches(batch_size=64, columns=wanted):
            for row in batch.to_pylist():
                cells = _bytes(row["image"]), _bytes(row[mask])
                split = str(row.get("split") or path.stem.split("-")[0])
                if not all(cells):
                    raise BadInput(f"{path}: row {at} has no bytes in `image` or {mask!r}. Embed them or remove it.")
                if "/" in split or split in (".", ".."):
                    raise BadInput(f"{path}: row {at} has the split {split!r}, which is no name for a folder. Mend it.")
                yield split, *cells
                at += 1


def _bytes(cell: Any) -> bytes:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data if isinstance(data, bytes) else b""
