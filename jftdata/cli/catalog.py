"""`jftdata catalog`: make a catalog of images and labels, or show one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import click

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan
from jftdata.hierarchy import Hierarchy

_Layout = Literal["auto", "label", "split/label", "none"]
_F = TypeVar("_F", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Make a catalog of images and labels, or show one."""


_shared = (
    click.option("--out", type=EXISTING, required=True, help="Folder of the catalog."),
    click.option("--hierarchy", "hierarchy", help="Shipped hierarchy or a .tsv; without it labels are flat."),
    click.option(
        "--max-rejected", default=0.01, show_default=True, help="Largest share of images that may be rejected."
    ),
    click.option("--workers", type=int, help="Processes; one a core by default."),
)


def _with_shared(function: _F) -> _F:
    for option in reversed(_shared):
        function = option(function)
    return function


@command.command()
@click.argument("folder", type=EXISTING)
@_with_shared
@click.option(
    "--layout", type=click.Choice(["auto", "label", "split/label", "none"]), default="auto", show_default=True
)
@click.option("--pack", is_flag=True, help="Copy the bytes into tar shards inside the catalog.")
@dry_run
@answers
def folder(
    folder: Path, out: Path, hierarchy: str | None, max_rejected: float, workers: int | None, layout: str, pack: bool,
    dry_run: bool,
) -> Answer:  # fmt: skip
    """Images in folders: FOLDER/label/x.jpg or FOLDER/split/label/x.jpg."""
    from jftdata.sources import from_folder

    if dry_run:
        return plan("make a catalog", source=folder, out=out, layout=layout, pack=pack)
    tree = Hierarchy.load(hierarchy) if hierarchy else None
    return _told(
        from_folder(
            folder,
            out=out,
            hierarchy=tree,
            layout=cast(_Layout, layout),
            pack=pack,
            max_rejected=max_rejected,
            workers=workers,
        )
    )


@command.command()
@click.argument("data", nargs=-1, required=True)
@_with_shared
@click.option("--image", default="image", show_default=True, help="Column with the encoded image.")
@click.option(
    "--label", default="label", show_default=True, help="Column with a label or a list of them; `none` for no labels."
)
@click.option("--split", help="Split of all rows; default is the column `split`, else train.")
@dry_run
@answers
def parquet(
    data: tuple[str, ...], out: Path, hierarchy: str | None, max_rejected: float, workers: int | None, image: str, label: str,
    split: str | None, dry_run: bool,
) -> Answer:  # fmt: skip
    """Parquet files with encoded images (Hugging Face style), or the name of a set on the hub."""
    from jftdata.sources import from_hub

    if dry_run:
        return plan("make a catalog", source=", ".join(data), out=out, image=image, label=label)
    tree = Hierarchy.load(hierarchy) if hierarchy else None
    source = data[0] if len(data) == 1 else list(data)
    return _told(
        from_hub(
            source, out=out, hierarchy=tree, image=image, label=None if label == "none" else label, split=split,
            max_rejected=max_rejected, workers=workers,
        )
    )  # fmt: skip


@command.command()
@click.argument("path", type=EXISTING)
@answers
def show(path: Path) -> Answer:
    """Tell what is in a catalog."""
    return _told(Catalog.open(path))


def _told(catalog: Catalog) -> Answer:
    facts = catalog.sidecar.facts
    splits = ", ".join(f"{name} {count:,}" for name, count in catalog.splits.items())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts["rejected"].items())
    text = (
        f"{catalog.path}: {facts['num_images']:,} images ({splits})\n"
        f"  {facts['num_input']:,} in = {facts['num_images']:,} ok + {facts['num_duplicates']:,} byte-identical copies + "
        f"{facts['num_rejected']:,} rejected{f' ({reasons})' if reasons else ''}\n"
        f"  {facts['num_given_labels']:,} given labels of {catalog.hierarchy.num_labels:,}, "
        f"{facts['num_given_labels'] / max(1, len(catalog)):.2f} an image; {facts['num_unlabelled']:,} images without a label\n"
        f"  fingerprint {catalog.fingerprint[:16]}"
    )
    return Answer(text, {"path": str(catalog.path), "fingerprint": catalog.fingerprint, **facts})
