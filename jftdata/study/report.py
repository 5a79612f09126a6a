"""The report: one HTML page that needs nothing else, with a section for everything that is known.

It loads nothing, reads in light and dark, on a phone, on paper and without scripts, and escapes every label and path (`page.py`).
Equal inputs give equal bytes. Cost: one pass over the catalog and about a hundred small pictures; a second or two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from jftdata import storage, tail
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput
from jftdata.results import Results
from jftdata.study import (
    figures,
    page,
    report_catalog,
    report_findings,
    report_predictions,
    report_scores,
    report_studies,
    report_subsets,
)
from jftdata.study.report_findings import Overlap
from jftdata.study.report_studies import StudySection

TEMPLATE = "report.html.jinja"
SEED = 0
"""Draws the contact sheet, so that a page made again shows the same images."""

__all__ = ["Overlap", "Report", "StudySection", "render", "write"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a page is made of; what is left out has no section."""

    title: str
    """Heading of the page."""
    catalog: Catalog | None = None
    """The images that were studied; pairs and an audit need it."""
    pairs: pl.DataFrame | None = None
    """What `dedup.find_pairs` or `copies.find` returns for the catalog."""
    overlap: Mapping[str, Overlap] = field(default_factory=dict)
    """Copies of test images in training, by the name of the test set."""
    audit: pl.DataFrame | None = None
    """What `noise.audit` returns for the catalog."""
    noise_label: str | None = None
    """The label whose images are shown; None takes the most suspicious one with enough images."""
    wrong_labels: pl.DataFrame | None = None
    """Known wrong labels (`image`, `label`), as a built-in world has them; None where the truth is not known."""
    subsets: Sequence[Path] = ()
    """Folders of subsets."""
    checkpoints: Sequence[Checkpoint] = ()
    """The training runs."""
    results: Results | None = None
    """Transfer scores of the runs."""
    transfers: Sequence[Path] = ()
    """Folders of `transfer.run`; of those with pictures, one a task and mode is shown."""
    studies: Sequence[StudySection] = ()
    """Studies, each with a section of its own."""
    judged_on: str = ""
    """What the transfer tasks' data is called."""
    command: str = ""
    """The command that made it all."""
    seconds: float | None = None
    """Wall time of that command."""

    def __post_init__(self) -> None:
        for name in ("pairs", "audit"):
            if getattr(self, name) is not None and self.catalog is None:
                raise BadArgument(f"`{name}` needs `catalog`, whose images it speaks of. Give both.")
        for name in ("noise_label", "wrong_labels"):
            if getattr(self, name) is not None and self.audit is None:
                raise BadArgument(f"`{name}` has no effect without `audit`. Give both, or neither.")
        if self.judged_on and self.results is None:
            raise BadArgument("`judged_on` has no effect without `results`. Give both, or neither.")
        if self.results is not None and not len(self.results):
            raise BadInput("the results have no rows. Leave them out, or run a transfer first.")


def write(report: Report, out: Path | str) -> Path:
    """Write the page, whole or not at all.

    Args:
        report: what to show.
        out: path of the HTML file.

    Raises:
        BadInput: findings that do not fit the catalog.
        UnknownName: a `noise_label` that was not audited.
    """
    out = Path(out)
    storage.write_text(out, render(report))
    return out


def render(report: Report) -> str:
    """The page as text; raises what `write` raises."""
    values = {
        "report": report, "title": report.title, "paper_overlap": report_findings.PAPER_OVERLAP,
        "took": None if report.seconds is None else duration(report.seconds), **_sections(report),
    }  # fmt: skip
    return page.render(TEMPLATE, values)


def duration(seconds: float) -> str:
    """Wall time for reading.

    >>> duration(8.26), duration(75), duration(7265)
    ('8.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _sections(report: Report) -> dict[str, Any]:
    catalog = report.catalog
    found: dict[str, Any] = dict.fromkeys(
        ("numbers", "sheet", "tree", "tail", "duplicates", "noise", "training", "scores", "hero", "predictions")
    )
    finding, detail = "", ""
    if catalog is not None:
        counts = tail.label_counts(catalog)
        found["numbers"] = report_catalog.numbers(catalog, counts)
        found["sheet"] = report_catalog.contact_sheet(catalog, seed=SEED)
        found["tree"] = report_catalog.tree(catalog.hierarchy, counts, num_images=len(catalog))
        found["tail"] = report_catalog.long_tail(counts) | {"svg": figures.rank_frequency(counts)}
        finding = f"{len(catalog):,} images with {int((counts['num_given'] > 0).sum()):,} labels."
        if report.pairs is not None:
            found["duplicates"] = report_findings.duplicates(catalog, report.pairs)
            finding += f" {found['duplicates']['num_pairs']:,} near-duplicate pairs."
        if report.audit is not None:
            found["noise"] = report_findings.noise(
                catalog, report.audit, label=report.noise_label, wrong_labels=report.wrong_labels
            )
            share = found["noise"]["num_nearer"] / found["noise"]["num_audited"]
            finding += f" {100 * share:.0f}% of given labels look more like another label."
    found["overlaps"] = report_findings.overlaps(catalog, report.overlap)
    found["subsets"] = report_subsets.subsets(report.subsets)
    if report.checkpoints:
        found["training"] = report_scores.training(report.checkpoints)
    if report.results is not None:
        curves = report_scores.score_curves(report.results)
        if curves:
            finding, detail = report_scores.headline(curves, judged_on=report.judged_on)
            found["hero"] = report_scores.panels([report_scores.headline_curve(curves)], prefix="hero")[0]
        found["scores"] = {
            "panels": report_scores.panels(curves, prefix="score"),
            "table": report_scores.score_table(curves),
            "rows": report_scores.all_rows(report.results),
            "compared": report.results.rows["num_copies"].is_not_null().any(),
        }
    found["studies"] = [report_studies.study(one, number=n) for n, one in enumerate(report.studies, start=1)]
    if found["studies"] and not found["hero"]:
        finding, detail, found["hero"] = report_studies.headline(found["studies"][0])
    found["predictions"] = report_predictions.predictions(report.transfers)
    return found | {
        "finding": finding,
        "detail": detail,
        "problems": _problems(found),
        "fingerprints": _fingerprints(report),
    }


def _problems(found: Mapping[str, Any]) -> list[str]:
    """Images the page wanted to show and could not read, each once."""
    shown = list(found["sheet"] or [])
    for view in [*(found["duplicates"] or {}).get("spread", []), *(found["duplicates"] or {}).get("odd", [])]:
        shown += [view["a"], view["b"]]
    for overlap in found["overlaps"]:
        shown += [x for view in overlap["pairs"] for x in (view["a"], view["b"])]
    shown += [image["picture"] for b in (found["noise"] or {}).get("bins", []) for image in b["images"]]
    return sorted({f"{x.source}: {x.problem}" for x in shown if x.problem is not None})


def _fingerprints(report: Report) -> list[tuple[str, str]]:
    names = [("catalog", report.catalog.fingerprint[:12])] if report.catalog is not None else []
    if report.catalog is not None:
        names += [(f"made from {role}", value[:12]) for role, value in sorted(report.catalog.sidecar.inputs.items())]
    return names
