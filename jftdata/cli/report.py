"""`jftdata report`: one HTML page from whatever artefacts and findings there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.cli import report_forms
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, read_table
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput
from jftdata.results import Results

if TYPE_CHECKING:
    from jftdata.study.report import Overlap

KINDS = ("catalog", "embeddings", "copies", "subset", "checkpoint", "results")
"""Artefacts that a page shows; beside them studies' folders and tables."""


@click.command()
@click.argument("artefacts", type=EXISTING, nargs=-1, required=True)
@click.option("--title", default="Image set report", show_default=True)
@click.option(
    "--test", "tests", type=EXISTING, multiple=True,
    help="Catalog of a test set: its copies in the catalog are shown, as `jftdata overlap` found them.",
)  # fmt: skip
@click.option("--noise-label", help="Label for the noise sheet; default is the most suspicious one with enough images.")
@click.option("--out", type=EXISTING, required=True, help="The .html to write.")
@report_forms.forms
@dry_run
@answers
def command(
    artefacts: tuple[Path, ...], title: str, tests: tuple[Path, ...], noise_label: str | None, out: Path,
    markdown: Path | None, data: Path | None, figures: Path | None, dry_run: bool,
) -> Answer:  # fmt: skip
    """Write one HTML page from ARTEFACTS, in any order and number.

    A catalog, its embeddings, subsets, checkpoints, results and studies' folders; and what other verbs wrote: pairs of `dedup`
    (--out or --keep), pairs of `overlap`, scores of `noise audit`. Pairs and scores that are not given are found from the
    embeddings.
    """
    found = _by_kind(artefacts)
    if dry_run:
        return plan("write a report", out=out, **{k: ", ".join(map(str, v)) for k, v in found.items() if v})
    from jftdata import copies, dedup, noise
    from jftdata.study import report

    for kind, what in (
        ("catalog", "catalog"),
        ("embeddings", "embedding"),
        ("pairs", "table of pairs"),
        ("audit", "audit"),
    ):
        if len(found[kind]) > 1:
            raise BadInput(f"a report is of one {what}. Got {len(found[kind])}: {', '.join(map(str, found[kind]))}.")
    catalog = Catalog.open(found["catalog"][0]) if found["catalog"] else None
    vectors = Embeddings.open(found["embeddings"][0]) if found["embeddings"] and catalog is not None else None
    pairs = audit = None
    if found["pairs"]:
        pairs = _pairs(found["pairs"][0], dedup.PAIRS, copies.PAIRS)
    elif vectors is not None and vectors.embedder.startswith("descriptor"):
        pairs = dedup.find_pairs(vectors)
    if found["audit"]:
        audit = read_table(found["audit"][0], noise.AUDIT, "what `jftdata noise audit --out` wrote")
    elif vectors is not None and catalog is not None:
        audit = noise.audit(catalog, vectors)
    results = [Results.open(path) for path in found["results"]]
    page = report.Report(
        title=title, catalog=catalog, pairs=pairs, overlap=_overlaps(catalog, tests, found["overlap"]), audit=audit,
        noise_label=noise_label, subsets=found["subset"], checkpoints=[Checkpoint.open(path) for path in found["checkpoint"]],
        results=Results.concat(results) if results else None, transfers=[*found["results"], *found["transfers"]],
        studies=[report.StudySection.open(path) for path in found["study"]],
    )  # fmt: skip
    report.write(page, out)
    asked = {"markdown": markdown, "data": data, "figures": figures}
    told = {}
    if any(path is not None for path in asked.values()):
        from jftdata.study import report_sections

        told = report_forms.write(title, report_sections.sections(page), **asked)
    return Answer("\n".join(map(str, (out, *told.values()))), {"out": str(out), **told})


def _by_kind(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Paths by what they are; a study's folder stands for its runs and its scores, too."""
    found: dict[str, list[Path]] = {k: [] for k in (*KINDS, "study", "transfers", "pairs", "overlap", "audit")}
    for path in paths:
        if path.is_file():
            found[_table(path)].append(path)
        elif (path / "study.json").exists():
            found["study"].append(path)
            found["checkpoint"] += storage.inside(path / "runs")
            found["transfers"] += storage.inside(path / "transfer")
        elif (path / "runs").is_dir() and (path / "transfer").is_dir():
            found["checkpoint"] += storage.inside(path / "runs")
            found["results"] += storage.inside(path / "transfer")
        else:
            kind = storage.read_sidecar(path).format.split("/")[0].removeprefix("jftdata.")
            if kind not in KINDS:
                raise BadInput(f"{path} is a {kind}, of which a report has nothing to show. Known: {', '.join(KINDS)}.")
            found[kind].append(path)
    for path in found.pop("copies"):
        found[_table(path / "pairs.parquet")].append(path / "pairs.parquet")
    return found


def _table(path: Path) -> str:
    """What a table holds, by its columns."""
    columns = {
        "pairs": {"image_a", "image_b"},
        "overlap": {"test_image", "train_image"},
        "audit": {"image", "label", "wrong"},
    }
    if path.suffix in (".parquet", ".csv"):
        try:
            scan = pl.scan_csv(path) if path.suffix == ".csv" else pl.scan_parquet(path, glob=False)
            names = set(scan.collect_schema().names())
        except pl.exceptions.PolarsError as error:
            raise BadInput(f"{path} cannot be read ({error}). Write it again.") from error
        for kind, needed in columns.items():
            if needed <= names:
                return kind
    raise BadInput(
        f"{path} is no table that a report shows: those of `dedup`, `overlap` and `noise audit`, as .parquet or .csv. Leave it out."
    )


def _pairs(path: Path, plain: Mapping[str, Any], verified: Mapping[str, Any]) -> pl.DataFrame:
    """Pairs with what they are told by: similarity, and probability where there is one."""
    names = pl.scan_csv(path).collect_schema() if path.suffix == ".csv" else pl.read_parquet_schema(path)
    wanted = {**plain, **{name: kind for name, kind in verified.items() if name in names and name == "probability"}}
    return read_table(path, wanted, "pairs as `jftdata dedup` or `jftdata overlap` writes them")


def _overlaps(catalog: Catalog | None, tests: Sequence[Path], tables: Sequence[Path]) -> dict[str, "Overlap"]:
    """Copies of each test set, by its folder's name: from the tables given, else from the registry beside the catalog."""
    from jftdata import copies, dedup, overlap
    from jftdata.study.report import Overlap

    if tables and not tests:
        raise BadInput(
            f"{tables[0]} does not say how many images were tested. Give the test set's catalog with `--test`."
        )
    given = [_pairs(path, dedup.OVERLAP, copies.PAIRS) for path in tables]
    shown = {}
    for path in tests:
        test = Catalog.open(path)
        if given:
            pairs = pl.concat(given, how="diagonal").filter(pl.col("test_image").is_in(test.images()))
        elif catalog is None:
            raise BadInput(f"`--test {path}` needs the catalog that its copies are in. Give it, too.")
        else:
            registered = overlap.find(catalog, test)
            if registered is None:
                raise BadInput(f"{path} was not compared with {catalog.path}. Run `jftdata overlap` first.")
            pairs = registered
        shown[path.name] = Overlap(found=pairs, num_test_images=len(test), test=test)
    return shown
