"""`jftdata report`: one HTML page from whatever artefacts there are."""

from pathlib import Path

import click

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput
from jftdata.results import Results


@click.command()
@click.argument("artefacts", type=EXISTING, nargs=-1, required=True)
@click.option("--title", default="Image set report", show_default=True)
@click.option("--noise-label", help="Label for the noise sheet; default is the most suspicious one with enough images.")
@click.option("--out", type=EXISTING, required=True, help="The .html to write.")
@dry_run
@answers
def command(artefacts: tuple[Path, ...], title: str, noise_label: str | None, out: Path, dry_run: bool) -> Answer:
    """Write one HTML page from ARTEFACTS: a catalog, its embeddings, checkpoints, results, or a study's folder.

    With a catalog and its embeddings the page also shows near-duplicates and noise.
    """
    from jftdata import dedup, noise
    from jftdata.study import report

    found: dict[str, list[Path]] = {}
    for path in _expand(artefacts):
        found.setdefault(storage.read_sidecar(path).format.split("/")[0], []).append(path)
    if dry_run:
        return plan("write a report", out=out, **{k: ", ".join(map(str, v)) for k, v in found.items()})
    catalogs = [Catalog.open(p) for p in found.get("jftdata.catalog", [])]
    embeddings = [Embeddings.open(p) for p in found.get("jftdata.embeddings", [])]
    if len(catalogs) > 1 or len(embeddings) > 1:
        raise BadInput(f"a report is of one catalog and one embedding. Got {len(catalogs)} and {len(embeddings)}.")
    both = bool(catalogs and embeddings)
    results = [Results.open(p) for p in found.get("jftdata.results", [])]
    page = report.Report(
        title=title,
        catalog=catalogs[0] if catalogs else None,
        pairs=dedup.find_pairs(embeddings[0]) if both and embeddings[0].embedder.startswith("descriptor") else None,
        audit=noise.audit(catalogs[0], embeddings[0]) if both else None,
        noise_label=noise_label,
        checkpoints=[Checkpoint.open(p) for p in found.get("jftdata.checkpoint", [])],
        results=Results.concat(results) if results else None,
        transfers=found.get("jftdata.results", []),
    )
    report.write(page, out)
    return Answer(str(out), {"out": str(out)})


def _expand(paths: tuple[Path, ...]) -> list[Path]:
    """A study's folder stands for its runs and results."""
    out: list[Path] = []
    for path in paths:
        if (path / "runs").is_dir() and (path / "transfer").is_dir():
            inside = [*(path / "runs").iterdir(), *(path / "transfer").iterdir()]
            out += sorted(p for p in inside if (p / storage.SIDECAR).exists())
        else:
            out.append(path)
    return out
