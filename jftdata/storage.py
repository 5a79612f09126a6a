"""Artefacts on disk: written whole or not at all, and able to check themselves.

An artefact is a folder with a sidecar `artefact.json` that holds `format`, `made_by`, `made_with` (arguments), `inputs`
(fingerprints of the artefacts it came from) and `fingerprint`, plus `files` (size and SHA-256 of each) and `facts`
(numbers worth reading without opening the data). The fingerprint is the SHA-256 of the sorted file list, so it names
the content.

Work happens in `<out>.partial`, which a killed run leaves behind and the next one continues; when all is there, files
are hashed and synced, the sidecar is written last and the folder is renamed to `<out>`.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jftdata import __version__
from jftdata.errors import BadInput, Damaged, Locked, MissingInput, OutputExists

SIDECAR = "artefact.json"


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What an artefact says of itself."""

    format: str
    """Kind and version of the layout, for example `jftdata.catalog/2`."""
    made_by: str
    """Library and version that wrote it."""
    made_with: dict[str, Any]
    """Arguments that shaped the content."""
    inputs: dict[str, str]
    """Fingerprints of the artefacts it was made from."""
    fingerprint: str
    """SHA-256 over the sorted list of (file, size, SHA-256)."""
    files: dict[str, dict[str, Any]]
    """Size in bytes and SHA-256 of every file."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Counts and other small results."""


@dataclass
class Build:
    """An artefact being written: put files under `folder`, facts into `facts`."""

    folder: Path
    resumed: bool
    facts: dict[str, Any] = field(default_factory=dict)
    hashed: dict[str, str] = field(default_factory=dict)
    """SHA-256 of files that were hashed while they were written, by name, so that they are not read again."""


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in 1 MiB pieces; about 1.5 GB/s."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One SHA-256 for a set of files.

    >>> fingerprint_of({"a": {"bytes": 1, "sha256": "00"}})[:8]
    'fcd4ff60'
    """
    lines = [f"{info['sha256']} {info['bytes']} {name}\n" for name, info in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling that becomes `path` (synced) when the block ends well and vanishes when it does not; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temp
        _sync(temp)
        os.replace(temp, path)
        _sync(path.parent)
    finally:
        temp.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    with atomic_path(path) as temp:
        temp.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Hold `<out>.lock` for the block; the lock dies with the process, however it ends.

    Raises:
        Locked: another process holds it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(out.name + ".lock")
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Locked(f"{out} is being written by another run. Wait for it, or give another `out`.") from None
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue  # the holder before us removed the file between our open and our lock
            try:
                yield
                return
            finally:
                path.unlink(missing_ok=True)


def existing(out: Path, *, format: str, made_with: Mapping[str, Any], inputs: Mapping[str, str]) -> Sidecar | None:
    """The sidecar of a finished `out` made in just this way, or None when nothing is there.

    Raises:
        OutputExists: something else is there; the message shows the difference.
    """
    if not out.exists():
        return None
    if not (out / SIDECAR).exists():
        raise OutputExists(f"{out} exists and was not made by jftdata. Move it away or give another `out`.")
    there = read_sidecar(out)
    wanted = {"format": format, **_flat("made_with", made_with), **_flat("inputs", inputs)}
    found = {"format": there.format, **_flat("made_with", there.made_with), **_flat("inputs", there.inputs)}
    difference = _difference(found, wanted)
    if difference:
        raise OutputExists(f"{out} exists, made otherwise ({difference}). Remove it or give another `out`.")
    return there


@contextmanager
def building(
    out: Path | str, *, format: str, made_with: Mapping[str, Any], inputs: Mapping[str, str]
) -> Iterator[Build | None]:
    """Write an artefact whole or not at all; yields None when `out` is there already, made in just this way.

    A folder `<out>.partial` left by a killed run with the same arguments is handed back with `resumed=True`; one with
    other arguments is started over.

    Args:
        out: folder to make.
        format: kind and version, kept in the sidecar.
        made_with: arguments as JSON values.
        inputs: fingerprints by role.

    Raises:
        OutputExists: `out` is there, made with other arguments or inputs.
        Locked: another process is writing `out`.
    """
    out = Path(out)
    plan = json.loads(json.dumps({"format": format, "made_with": dict(made_with), "inputs": dict(inputs)}))
    if existing(out, **plan) is not None:
        yield None
        return
    partial = out.with_name(out.name + ".partial")
    with lock(out):
        if existing(out, **plan) is not None:  # finished by another run while we waited
            yield None
            return
        plan_file = partial / ".plan.json"
        resumed = plan_file.exists() and json.loads(plan_file.read_text()) == plan
        if not resumed:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write_json(plan_file, plan)
        for left in partial.rglob(".*.tmp"):  # of atomic writes that a killed run did not finish
            left.unlink()
        build = Build(folder=partial, resumed=resumed)
        yield build
        plan_file.unlink()
        _finish(build, plan)
        os.replace(partial, out)
        _sync(out.parent)


def _finish(build: Build, plan: Mapping[str, Any]) -> None:
    files = {}
    for path in sorted(build.folder.rglob("*")):
        if path.is_file():
            _sync(path)
            name = path.relative_to(build.folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": build.hashed.get(name) or sha256_file(path)}
    sidecar = {
        **plan,
        "made_by": f"jftdata {__version__}",
        "fingerprint": fingerprint_of(files),
        "files": files,
        "facts": build.facts,
    }
    write_json(build.folder / SIDECAR, sidecar)


def read_sidecar(path: Path | str, *, kind: str | None = None) -> Sidecar:
    """Read an artefact's sidecar.

    Args:
        path: the artefact's folder.
        kind: expected format without its version, for example `jftdata.catalog`.

    Raises:
        MissingInput: no such folder, or it has no sidecar.
        Damaged: the sidecar is not readable.
        BadInput: the artefact is of another kind.
    """
    path = Path(path)
    file = path / SIDECAR
    if not path.exists():
        raise MissingInput(f"{path} does not exist. Check the path.")
    if not file.exists():
        raise MissingInput(f"{path} is not a jftdata artefact: it has no {SIDECAR}. Check the path.")
    try:
        sidecar = Sidecar(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise Damaged(f"{file} is damaged ({error}). Make the artefact again.") from error
    if kind is not None and sidecar.format.split("/")[0] != kind:
        raise BadInput(f"{path} is a {sidecar.format}, expected a {kind}. Give the path of the right artefact.")
    return sidecar


def inside(folder: Path) -> list[Path]:
    """The finished artefacts in a folder, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{SIDECAR}"))


def verify(path: Path | str) -> Sidecar:
    """Check every file of an artefact against its size and SHA-256.

    Raises:
        Damaged: a file is gone, added or changed; all of them are named.
    """
    path = Path(path)
    sidecar = read_sidecar(path)
    there = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()} - {SIDECAR}
    wrong = [f"{name} is not part of it" for name in sorted(there - sidecar.files.keys())]
    for name, info in sidecar.files.items():
        if name not in there:
            wrong.append(f"{name} is missing")
        elif (path / name).stat().st_size != info["bytes"]:
            wrong.append(f"{name} has {(path / name).stat().st_size} bytes, not {info['bytes']}")
        elif sha256_file(path / name) != info["sha256"]:
            wrong.append(f"{name} has changed bytes")
    if fingerprint_of(sidecar.files) != sidecar.fingerprint:
        wrong.append("the fingerprint does not match the file list")
    if wrong:
        raise Damaged(f"{path} is damaged: {'; '.join(wrong)}. Make it again or restore a copy.")
    return sidecar


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(f"{prefix}.{key}", value) if isinstance(value, Mapping) else {f"{prefix}.{key}": value}
    return flat


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    missing = object()
    parts = []
    for key in sorted(found.keys() | wanted.keys()):
        old, new = found.get(key, missing), wanted.get(key, missing)
        if old != new:
            show = ["nothing" if v is missing else json.dumps(v) for v in (old, new)]
            parts.append(f"{key.removeprefix('made_with.')}: there {show[0]}, now {show[1]}")
    return "; ".join(parts)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
