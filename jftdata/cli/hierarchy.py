"""`jftdata hierarchy`: show, check, draw, convert or match label hierarchies."""

from pathlib import Path
from typing import cast, get_args

import click
import polars as pl

from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.errors import BadArgument, BadInput, MissingInput
from jftdata.hierarchy import Hierarchy, crosswalk, formats, shipped
from jftdata.hierarchy.check import check as look_through
from jftdata.hierarchy.view import write_view

_FROM = click.option(
    "--from", "format", type=click.Choice(get_args(formats.Format)), help="Format; told by the content if left out."
)
_NAMES = click.option("--names", type=EXISTING, help="Human names: lines with a label and its name.")


@click.group()
def command() -> None:
    """Show, check, draw, convert or match label hierarchies."""


@command.command("list")
@answers
def list_() -> Answer:
    """List the hierarchies and maps that come with the library."""
    facts = {name: Hierarchy.load(name).facts() for name in shipped()}
    lines = [f"{name}: {f['num_labels']:,} labels, depth {f['max_depth']}" for name, f in facts.items()]
    maps = crosswalk.shipped_maps()
    return Answer("\n".join([*lines, f"maps: {', '.join(maps)}"]), {**facts, "maps": maps})


@command.command()
@click.argument("hierarchy")
@click.option("--label", help="Also tell the parents, children and ancestors of this label.")
@_FROM
@_NAMES
@answers
def show(hierarchy: str, label: str | None, format: str | None, names: Path | None) -> Answer:
    """Count the labels of HIERARCHY (a shipped name or a file)."""
    tree = _read(hierarchy, format, names)
    facts = tree.facts()
    lines = [
        f"{tree.name}: "
        + ", ".join(f"{value:,} {key.replace('num_', '').replace('_', ' ')}" for key, value in facts.items())
    ]
    data: dict[str, object] = {"name": tree.name, **facts}
    if label is not None:
        about = {"parents": tree.parents(label), "children": tree.children(label), "ancestors": tree.ancestors(label)}
        lines += [f"  {key} of {label}: {', '.join(values) or 'none'}" for key, values in about.items()]
        data["label"] = {"label": label, **about}
    return Answer("\n".join(lines), data)


@command.command()
@click.argument("hierarchy")
@click.option("--rows", default=5, show_default=True, help="Findings of a kind to print.")
@_FROM
@_NAMES
@answers
def check(hierarchy: str, rows: int, format: str | None, names: Path | None) -> Answer:
    """Look for oddities in HIERARCHY (a shipped name or a file); a cycle or a wrong row is an error."""
    found = look_through(hierarchy, format=cast(formats.Format | None, format), names=names)
    by_kind: dict[str, list[str]] = {}
    for finding in found:
        by_kind.setdefault(finding.kind, []).append(finding.text)
    lines = []
    for kind, texts in by_kind.items():
        lines += [f"{kind}: {len(texts):,}", *(f"  {text}" for text in texts[:rows])]
        lines += [f"  ... {len(texts) - rows:,} more"] if len(texts) > rows else []
    data = [{"kind": finding.kind, "labels": finding.labels, "text": finding.text} for finding in found]
    return Answer("\n".join(lines) or f"{hierarchy}: nothing odd", {"num_findings": len(found), "findings": data})


@command.command()
@click.argument("hierarchy")
@click.option("--out", type=EXISTING, required=True, help="The .tsv or .graphml to write.")
@_FROM
@_NAMES
@dry_run
@answers
def convert(hierarchy: str, out: Path, format: str | None, names: Path | None, dry_run: bool) -> Answer:
    """Turn HIERARCHY (a file of any known format) into our own .tsv, or into GraphML."""
    if out.suffix not in (".tsv", ".graphml"):
        raise BadArgument(f"`--out` must end in .tsv or .graphml. Got {out}.")
    tree = _read(hierarchy, format, names)
    if dry_run:
        return plan("write a hierarchy", out=out, **tree.facts())
    _folder_of(out)
    if out.suffix == ".tsv":
        tree.save(out)
    else:
        formats.write_graphml(tree, out)
    return Answer(f"{out}: {tree.num_labels:,} labels, depth {tree.max_depth}", {"out": str(out), **tree.facts()})


@command.command()
@click.argument("hierarchy")
@click.option("--out", type=EXISTING, required=True, help="The .html page or .svg picture to write.")
@click.option("--counts", type=EXISTING, help="Images by label: a .parquet or .csv with label and num_images.")
@click.option("--max-labels", type=int, help="At most so many labels; what is left out is counted.")
@_FROM
@_NAMES
@dry_run
@answers
def view(
    hierarchy: str,
    out: Path,
    counts: Path | None,
    max_labels: int | None,
    format: str | None,
    names: Path | None,
    dry_run: bool,
) -> Answer:
    """Draw HIERARCHY (a shipped name or a file) as a page to fold up, or as a picture."""
    tree = _read(hierarchy, format, names)
    images = None if counts is None else _counts(counts)
    if dry_run:
        return plan("draw a hierarchy", out=out, **tree.facts())
    _folder_of(out)
    write_view(tree, out, counts=images, max_labels=max_labels)
    return Answer(f"{out}: {tree.num_labels:,} labels", {"out": str(out), **tree.facts()})


@command.command()
@click.argument("a")
@click.argument("b")
@click.option("--out", type=EXISTING, required=True, help="The .tsv to judge the candidates in.")
@click.option("--max-candidates", default=10, show_default=True, help="At most so many a label.")
@dry_run
@answers
def match(a: str, b: str, out: Path, max_candidates: int, dry_run: bool) -> Answer:
    """Find labels of B for every label of A (shipped names or files); `accept` reads the judged file."""
    one, other = formats.read(a), formats.read(b)
    if dry_run:
        return plan("write candidates", out=out, num_labels=one.num_labels, num_others=other.num_labels)
    if out.exists():
        raise BadArgument(f"{out} is there and may hold judgements. Move it away or give another `--out`.")
    found = crosswalk.match(one, other, max_candidates=max_candidates)
    _folder_of(out)
    crosswalk.write_review(found, out, a=one, b=other)
    matched = found.filter(pl.col("candidate").is_not_null())
    counts = {"num_labels": one.num_labels, "num_matched": matched["label"].n_unique(), "num_candidates": len(matched)}
    return Answer(
        f"{out}: {counts['num_matched']:,} of {counts['num_labels']:,} labels have a candidate, "
        f"{counts['num_candidates']:,} candidates to judge: say keep or drop in the first column",
        {"out": str(out), **counts},
    )


@command.command()
@click.argument("review", type=EXISTING)
@click.argument("a")
@click.argument("b")
@click.option("--out", type=EXISTING, required=True, help="The map to write, a .tsv.")
@dry_run
@answers
def accept(review: Path, a: str, b: str, out: Path, dry_run: bool) -> Answer:
    """Turn REVIEW, the judged file of `match A B`, into a map."""
    judged = crosswalk.read_review(review, formats.read(a), formats.read(b))
    mapped = sum(map(bool, judged.targets.values()))
    if dry_run:
        return plan("write a map", out=out, num_labels=len(judged.targets), num_mapped=mapped)
    _folder_of(out)
    judged.save(out)
    return Answer(
        f"{out}: {mapped:,} of {len(judged.targets):,} labels have a match",
        {"out": str(out), "num_labels": len(judged.targets), "num_mapped": mapped},
    )


def _read(hierarchy: str, format: str | None, names: Path | None) -> Hierarchy:
    return formats.read(hierarchy, format=cast(formats.Format | None, format), names=names)


def _counts(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Give the file that `jftdata tail --out` wrote.")
    if path.suffix not in (".parquet", ".csv"):
        raise BadInput(f"counts must end in .parquet or .csv. Got {path}.")
    return pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path, glob=False)


def _folder_of(out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
