"""WebDataset shards: tar files in which `key.jpg`, `key.cls`, `key.json`, ... lie side by side.

Nothing is ever extracted. Images of an uncompressed shard are pointed at where they lie in it; a compressed one must be
packed. A key is a member's path up to the first dot of its file name, and members of one key follow each other. Links and
other members that are no plain file are rejected as `unsafe`, and so are absolute names and names with `..`; a key
without an image is rejected as `missing`.
Cost: headers are read once before and once while the images are checked, 40,000 members a second.
"""

import hashlib
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, Damaged, JftDataError
from jftdata.hierarchy import Hierarchy
from jftdata.images import DEFAULT_LIMITS, EXTENSIONS
from jftdata.sources.ingest import CHUNK_IMAGES, Record, asked_too, ingest, named_files, place, scores_of

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstandard
_MAX_LABEL_BYTES = 1 << 20


@dataclass(frozen=True)
class _Sample:
    """The members of one key."""

    key: str
    members: dict[str, tarfile.TarInfo]
    """By what follows the first dot, in lower case."""
    data: dict[str, bytes]
    """Of the members that were asked for."""

    @property
    def image(self) -> str | None:
        """Ending of the image: of several, the first."""
        return next(filter(_is_image, self.members), None)


@dataclass(frozen=True)
class _Field:
    """Where labels or scores are: the ending of a member, and a path inside it when it is JSON."""

    argument: str
    """What it was given as."""
    ending: str | None
    path: tuple[str, ...]
    names: tuple[str, ...] | None

    def labels(self, sample: _Sample, path: str) -> tuple[str, ...]:
        """Labels of a key."""
        values, where = self.values(sample, path)
        return tuple(self._name(v, where) for v in values)

    def values(self, sample: _Sample, path: str) -> tuple[list[Any], str]:
        """What a key has there, and where that is."""
        data = sample.data.get(self.ending or "")
        if data is None:
            return [], ""
        where = f"{os.path.basename(path)}:{sample.members[self.ending or ''].name}"
        if len(data) > _MAX_LABEL_BYTES:
            raise BadInput(f"{where} has {len(data)} bytes, at most {_MAX_LABEL_BYTES} may hold labels. Mend it.")
        try:
            text = data.decode()
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            value = json.loads(text) if self.ending == "json" else lines
        except ValueError as error:
            raise BadInput(f"{where} is not readable ({error}). Mend it, or give another `{self.argument}`.") from error
        for name in self.path:
            if not isinstance(value, dict):
                raise BadInput(f"{where} has no field {'.'.join(self.path)!r}. Give another `{self.argument}`.")
            value = value.get(name)
        return [] if value is None else value if isinstance(value, list) else [value], where

    def _name(self, value: Any, where: str) -> str:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise BadInput(
                f"{where}: the label {value!r} is neither text nor a whole number. Give another `{self.argument}`."
            )
        text = str(value)
        if self.names is None:
            return text
        if not text.isascii() or not text.isdigit():
            raise BadInput(
                f"{where}: label {text!r} is no number, yet label names for numbers were given. Leave them out."
            )
        if int(text) >= len(self.names):
            raise BadInput(f"{where}: label number {text} is outside 0..{len(self.names) - 1}. Give all label names.")
        return self.names[int(text)]


@dataclass(frozen=True)
class _Said:
    """Where it is what a key says of its image."""

    labels: _Field
    scores: _Field
    negatives: _Field

    def __contains__(self, ending: str) -> bool:
        return ending in (self.labels.ending, self.scores.ending, self.negatives.ending)

    def of(self, sample: _Sample, path: str) -> dict[str, Any]:
        """Fields of a Record."""
        labels = self.labels.labels(sample, path)
        scores, where = self.scores.values(sample, path)
        negatives = self.negatives.labels(sample, path)
        return {"labels": labels, "scores": scores_of(scores, labels, where), "negatives": negatives}


@dataclass(frozen=True)
class _ShardChunk:
    path: str
    start: int
    """Where in the shard the first key begins."""
    num_keys: int
    said: _Said
    split: str
    in_place: bool

    def __len__(self) -> int:
        return self.num_keys

    def records(self) -> Iterator[Record]:
        def wanted(ending: str) -> bool:
            return ending in self.said or (not self.in_place and _is_image(ending))

        with _open(self.path, self.start) as tar:
            for _, sample in zip(range(self.num_keys), _samples(tar, self.path, wanted), strict=False):
                yield self._record(sample)

    def _record(self, sample: _Sample) -> Record:
        image = sample.members[sample.image] if sample.image is not None else None
        source = f"{os.path.basename(self.path)}:{image.name if image else sample.key}"
        refused = _refused(sample)
        if refused is not None or image is None:
            return Record(source, (), self.split, refused=refused)
        said = self.said.of(sample, self.path)
        if self.in_place:
            return Record(source, split=self.split, file=self.path, offset=image.offset_data, length=image.size, **said)
        return Record(source, split=self.split, data=sample.data[sample.image or ""], **said)


def _is_image(ending: str) -> bool:
    return f".{ending.split('.')[-1]}" in EXTENSIONS


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.isreg() and member.sparse is None


def _refused(sample: _Sample) -> tuple[str, str] | None:
    for member in sample.members.values():
        if "refused" in (where := place("", member.name)):
            return where["refused"]  # type: ignore[no-any-return]
        if not _is_plain(member):
            return "unsafe", f"the member {member.name!r} is a link or no plain file"
    if sample.image is None:
        return "missing", f"the key {sample.key!r} has no image, only {', '.join(sorted(sample.members))}"
    size = sample.members[sample.image].size
    if size > DEFAULT_LIMITS.max_bytes:
        return "too_many_bytes", f"{size} bytes, at most {DEFAULT_LIMITS.max_bytes} allowed"
    return None


def from_webdataset(
    shards: Path | str | Sequence[Path | str],
    *,
    out: Path | str,
    hierarchy: Hierarchy | None = None,
    label: str | None = "cls",
    label_names: Sequence[str] | None = None,
    scores: str | None = None,
    negatives: str | None = None,
    split: str = "train",
    pack: bool = False,
    shorter_side: int | None = None,
    max_rejected: float = 0.01,
    workers: int | None = None,
) -> Catalog:
    """Make a catalog of tar shards.

    Args:
        shards: a tar, a folder of them, a glob or several of these.
        out: folder of the catalog.
        hierarchy: labels that may be given; None makes a flat one of the labels that occur.
        label: ending of the member with the labels: `cls` or `txt` (a label a line), or `json.<field>` with a label or a
            list of them in a field of key.json, dots leading inwards; None gives no labels. A key without that member
            has no labels.
        label_names: label of each number, where labels are numbers.
        scores: `json.<field>` with a score in 0..1 for each label, null for one without; None gives no scores.
        negatives: the labels verified not to hold, said in one of the ways of `label`; None gives none.
        split: split of all images.
        pack: copy the bytes, untouched, into tar shards inside the catalog; needed for compressed shards.
        shorter_side: see `from_folder`.
        max_rejected: largest share of images that may be rejected, 0..1.
        workers: processes; None is one a core.

    Returns:
        The catalog; the same call again returns it at once, and continues where a killed one stopped.

    Raises:
        MissingInput: no such shard.
        Damaged: not a tar, or one that ends too early.
        BadInput: a key twice in a shard, two members with one name, labels or scores that cannot be read.
        UnknownName: a label that is not in the hierarchy.
        TooManyRejects: more rejects than allowed.
    """
    names = tuple(label_names) if label_names is not None else None
    said = _Said(_field("label", label, names), _field("scores", scores, None), _field("negatives", negatives, names))
    digest = hashlib.sha256()
    chunks: list[_ShardChunk] = []
    found: set[str] = set()
    for path in _shards(shards):
        in_place = not _is_compressed(path)
        if not in_place and not pack:
            raise BadArgument(f"{path} is compressed, so images in it cannot be pointed at. Give pack=True too.")
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        chunks += _cut(str(path.resolve()), said, split, in_place, found if hierarchy is None else None)
    return ingest(
        chunks,
        out=out,
        hierarchy=hierarchy,
        made_with={
            "source": "webdataset", "label": label, "label_names": names, "split": split, "pack": pack,
            "shorter_side": shorter_side, **asked_too(scores=scores, negatives=negatives),
        },
        inputs={"shards": digest.hexdigest()},
        labels=found,
        max_rejected=max_rejected,
        workers=workers,
    )  # fmt: skip


def _field(argument: str, given: str | None, names: tuple[str, ...] | None) -> _Field:
    ending, *path = given.split(".") if given is not None else [None]
    endings = () if argument == "scores" else ("cls", "txt")
    if given is not None and not (path if ending == "json" else ending in endings and not path):
        raise BadArgument(f"`{argument}` must be {', '.join((*endings, 'json.<field>'))} or None. Got {given!r}.")
    return _Field(argument, ending, tuple(str(p) for p in path), names)


def _shards(shards: Path | str | Sequence[Path | str]) -> list[Path]:
    files = named_files(shards, "tar shard", inside=lambda path: ".tar" in path.suffixes or path.suffix == ".tgz")
    twice = {path.name for path in files if sum(other.name == path.name for other in files) > 1}
    if twice:
        raise BadInput(f"two shards are called {min(twice)}. Give each another name: it is part of an image's source.")
    return files


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith(_COMPRESSED)


@contextmanager
def _open(path: str, start: int) -> Iterator[tarfile.TarFile]:
    """A tar whose first header is at `start`.

    Raises:
        Damaged: it cannot be read to the end.
    """
    try:
        with open(path, "rb") as file:
            file.seek(start)
            with tarfile.open(fileobj=file, mode="r:*" if _is_compressed(Path(path)) else "r:") as tar:
                yield tar
    except JftDataError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise Damaged(f"{path} is not a readable tar ({error}). Get it again.") from error


def _cut(path: str, said: _Said, split: str, in_place: bool, found: set[str] | None) -> list[_ShardChunk]:
    """Chunks of a shard; adds the labels that occur to `found`."""
    starts: list[int] = []
    num_keys = 0
    seen: set[str] = set()
    with _open(path, 0) as tar:
        for sample in _samples(tar, path, lambda ending: found is not None and ending in said):
            if sample.key in seen:
                raise BadInput(f"{path}: the members of key {sample.key!r} do not follow each other. Sort the shard.")
            seen.add(sample.key)
            if in_place and num_keys % CHUNK_IMAGES == 0:
                starts.append(min(member.offset for member in sample.members.values()))
            num_keys += 1
            if found is not None:
                found.update(said.labels.labels(sample, path), said.negatives.labels(sample, path))
    if not in_place:
        return [_ShardChunk(path, 0, num_keys, said, split, in_place)]
    return [
        _ShardChunk(path, start, min(CHUNK_IMAGES, num_keys - i * CHUNK_IMAGES), said, split, in_place)
        for i, start in enumerate(starts)
    ]


def _samples(tar: tarfile.TarFile, path: str, wanted: Callable[[str], bool]) -> Iterator[_Sample]:
    """Members grouped by key, with the bytes of those wanted, read in passing; folders are passed over."""
    sample: _Sample | None = None
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
        if member.isdir():
            continue
        folder, name = os.path.split(member.name)
        base, _, ending = name.partition(".")
        key, ending = os.path.join(folder, base), ending.lower()
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = _Sample(key, {}, {})
        if ending in sample.members:
            raise BadInput(f"{path}: two members are called {member.name!r}. Remove one.")
        sample.members[ending] = member
        if wanted(ending) and _is_plain(member) and member.size <= DEFAULT_LIMITS.max_bytes:
            file = tar.extractfile(member)  # opens, writes nothing
            sample.data[ending] = b"" if file is None else file.read()
    if sample is not None:
        yield sample
