"""`jftdata hierarchy`: show, check or convert a label hierarchy."""

from pathlib import Path

import click

from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.hierarchy import Hierarchy, shipped


@click.group()
def command() -> None:
    """Show, check or convert a label hierarchy."""


@command.command("list")
@answers
def list_() -> Answer:
    """List the hierarchies that come with the library."""
    facts = {name: Hierarchy.load(name).facts() for name in shipped()}
    lines = [f"{name}: {f['num_labels']:,} labels, depth {f['max_depth']}" for name, f in facts.items()]
    return Answer("\n".join(lines), facts)


@command.command()
@click.argument("hierarchy")
@click.option("--label", help="Also tell the parents, children and ancestors of this label.")
@answers
def show(hierarchy: str, label: str | None) -> Answer:
    """Check HIERARCHY (a shipped name or a .tsv) and count its labels."""
    tree = Hierarchy.load(hierarchy)
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
@click.argument("edges", type=EXISTING)
@click.option("--names", type=EXISTING, help="TSV with the columns id and name.")
@click.option("--out", type=EXISTING, required=True, help="The .tsv to write.")
@dry_run
@answers
def convert(edges: Path, names: Path | None, out: Path, dry_run: bool) -> Answer:
    """Turn EDGES, a TSV with the columns parent and child, into a hierarchy."""
    tree = Hierarchy.load_edges(edges, names=names)
    if dry_run:
        return plan("write a hierarchy", out=out, **tree.facts())
    tree.save(out)
    return Answer(f"{out}: {tree.num_labels:,} labels, depth {tree.max_depth}", {"out": str(out), **tree.facts()})
