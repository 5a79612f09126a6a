"""`jftdata verify`: check an artefact against its SHA-256."""

from pathlib import Path

import click

from jftdata import storage
from jftdata.cli.verb import EXISTING, Answer, answers
from jftdata.plural import plural


@click.command()
@click.argument("path", type=EXISTING)
@answers
def command(path: Path) -> Answer:
    """Check every file of an artefact against its size and SHA-256."""
    sidecar = storage.verify(path)
    total = sum(info["bytes"] for info in sidecar.files.values())
    text = f"{path}: {sidecar.format}, {plural(len(sidecar.files), 'file')}, {total:,} bytes, all as written by {sidecar.made_by}"
    return Answer(text, {"path": str(path), "format": sidecar.format, "fingerprint": sidecar.fingerprint,
                         "num_files": len(sidecar.files), "num_bytes": total})  # fmt: skip
