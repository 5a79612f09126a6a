"""`jftdata catalog`: make a catalog of images and labels, show one, draw one, or compare two."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, answers, dry_run, plan, write_frame
from jftdata.cli.verb import table as table_of
from jftdata.errors import BadArgument
from jftdata.hierarchy import Hierarchy
from jftdata.plural import plural

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Make a catalog of images and labels, show one, draw one, or compare two."""


_shared = (
    click.option("--out", type=EXISTING, required=True, help="Folder of the catalog."),
    click.option("--hierarchy", "hierarchy", help="Shipped hierarchy or a .tsv; without it labels are flat."),
    click.option(
        "--max-rejected", default=0.01, show_default=True, help="Largest share of images that may be rejected."
    ),
    click.option("--workers", type=int, help="Processes; one a core by default."),
)
_storing = (
    click.option("--pack", is_flag=True, help="Copy the bytes into tar shards inside the catalog."),
    click.option("--shorter-side", type=int, help="With --pack: store larger images as JPEGs with this shorter side."),
)
_root = click.option("--images", type=EXISTING, required=True, help="Folder the images lie in.")
_split = click.option("--split", default="train", show_default=True, help="Split of all images.")


def _beside_labels(where: str) -> tuple[Callable[[Any], Any], ...]:
    return (
        click.option("--scores", help=f"{where} with a score in 0..1 for each label."),
        click.option("--negatives", help=f"{where} with the labels verified not to hold."),
    )


def _with(*options: Callable[[Any], Any]) -> Callable[[_F], _F]:
    def add(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_instances = _with(
    click.argument("annotations", type=EXISTING),
    _root,
    *_shared,
    click.option("--label", default="name", show_default=True, help="Field of a category that is its label."),
    _split,
    *_storing,
    dry_run,
    answers,
)
"""What COCO and LVIS share."""


def _made(
    make: Callable[..., Catalog], source: Any, /, *, dry_run: bool, hierarchy: str | None, **options: Any
) -> Answer:
    """Make a catalog and tell of it, or only say so."""
    if dry_run:
        shown = ", ".join(source) if isinstance(source, list) else source
        return plan("make a catalog", data=shown, **{k: v for k, v in options.items() if v is not None})
    return _told(make(source, hierarchy=Hierarchy.load(hierarchy) if hierarchy else None, **options))


@command.command()
@click.argument("folder", type=EXISTING)
@_with(*_shared)
@click.option(
    "--layout", type=click.Choice(["auto", "label", "split/label", "none"]), default="auto", show_default=True
)
@_with(*_storing)
@dry_run
@answers
def folder(folder: Path, **options: Any) -> Answer:
    """Images in folders: FOLDER/label/x.jpg or FOLDER/split/label/x.jpg."""
    from jftdata.sources import from_folder

    return _made(from_folder, folder, **options)


@command.command()
@click.argument("data", nargs=-1, required=True)
@_with(*_shared)
@click.option("--image", default="image", show_default=True, help="Column with the encoded image.")
@click.option(
    "--label", default="label", show_default=True,
    help="Column with a label or a list of them, dots leading into it (objects.category); `none` for no labels.",
)  # fmt: skip
@_with(*_beside_labels("Column"))
@click.option("--split", help="Split of all rows; default is the column `split`, else train.")
@dry_run
@answers
def parquet(data: tuple[str, ...], label: str, **options: Any) -> Answer:
    """Parquet or Arrow files with encoded images (Hugging Face style), or the name of a set on the hub."""
    from jftdata.sources import from_hub

    return _made(from_hub, data[0] if len(data) == 1 else list(data), label=_or_none(label), **options)


@command.command()
@click.argument("shards", nargs=-1, required=True)
@_with(*_shared)
@click.option(
    "--label", default="cls", show_default=True, help="Member with the labels: cls, txt or json.FIELD; `none` for none."
)
@_with(*_beside_labels("json.FIELD"))
@_split
@_with(*_storing)
@dry_run
@answers
def webdataset(shards: tuple[str, ...], label: str, **options: Any) -> Answer:
    """WebDataset tar shards: key.jpg beside key.cls, key.txt or key.json."""
    from jftdata.sources import from_webdataset

    return _made(from_webdataset, list(shards), label=_or_none(label), **options)


@command.command()
@_instances
def coco(annotations: Path, **options: Any) -> Answer:
    """COCO instances: a JSON and a folder of images."""
    from jftdata.sources import from_coco

    return _made(from_coco, annotations, **options)


@command.command()
@_instances
def lvis(annotations: Path, **options: Any) -> Answer:
    """LVIS: like COCO, with verified negatives; IMAGES holds train2017/ and val2017/."""
    from jftdata.sources import from_lvis

    return _made(from_lvis, annotations, **options)


@command.command()
@click.argument("folder", type=EXISTING)
@_with(*_shared)
@click.option("--splits", help="Lists to take, split by commas; train, val and test by default.")
@click.option("--image-sets", default="Main", show_default=True, help="Folder of the lists below ImageSets.")
@_with(*_storing)
@dry_run
@answers
def voc(folder: Path, splits: str | None, **options: Any) -> Answer:
    """Pascal VOC: a folder with Annotations, ImageSets and JPEGImages."""
    from jftdata.sources import from_voc

    return _made(from_voc, folder, splits=splits.split(",") if splits is not None else None, **options)


@command.command()
@click.argument("table", nargs=-1, required=True)
@_root
@_with(*_shared)
@click.option("--image", default="image", show_default=True, help="Column with the image's path or id.")
@click.option("--label", default="label", show_default=True, help="Column with one label.")
@click.option("--confidence", help="Column with 0..1; default is `confidence` where there is one.")
@click.option("--source", help="Column with who said so; default is `source` where there is one.")
@click.option("--split", help="Split of all rows; default is the column `split`, else train.")
@click.option("--suffix", default="", help="What follows the id in a file name, for example .jpg.")
@click.option("--min-confidence", default=0.0, show_default=True, help="Rows below it give no label.")
@_with(*_storing)
@dry_run
@answers
def table(table: tuple[str, ...], **options: Any) -> Answer:
    """CSV, TSV or Parquet with a row an (image, label), in the style of Open Images."""
    from jftdata.sources import from_table

    return _made(from_table, list(table), **options)


@command.command()
@click.argument("path", type=EXISTING)
@answers
def show(path: Path) -> Answer:
    """Tell what is in a catalog."""
    return _told(Catalog.open(path))


@command.command()
@click.argument("path", type=EXISTING)
@click.option("--out", type=EXISTING, required=True, help="A .png to write.")
@click.option(
    "--labels", default="spread", show_default=True,
    help="Labels split by `|`, `frequent`, or `spread` over head, medium and tail.",
)  # fmt: skip
@click.option("--num-labels", default=12, show_default=True, help="Rows for `spread` and `frequent`.")
@click.option("--num-images", default=8, show_default=True, help="Images a label.")
@click.option("--size", default=112, show_default=True, help="Pixels a side of each.")
@click.option("--seed", default=0, show_default=True, help="Which images are drawn.")
@dry_run
@answers
def sheet(path: Path, out: Path, labels: str, dry_run: bool, **options: Any) -> Answer:
    """Draw a contact sheet: a row a label."""
    from jftdata.sheet import contact_sheet

    if dry_run:
        return plan("draw a contact sheet", catalog=path, out=out, labels=labels, **options)
    catalog = Catalog.open(path)
    given: Any = labels if labels in ("spread", "frequent") else labels.split("|")
    contact_sheet(catalog, out=out, labels=given, **options)
    return Answer(f"{out}: images of {path} by label", {"catalog": str(path), "out": str(out)})


@command.command()
@click.argument("before", type=EXISTING)
@click.argument("after", type=EXISTING)
@click.option("--out", type=EXISTING, help="Write every image that differs to a .parquet.")
@click.option("--top", default=10, show_default=True, help="Labels to print.")
@answers
def diff(before: Path, after: Path, out: Path | None, top: int) -> Answer:
    """Tell which images were added, removed, relabelled or moved from BEFORE to AFTER."""
    import jftdata.diff as differences

    changes = differences.catalogs(Catalog.open(before), Catalog.open(after))
    counts, splits, labels = differences.summary(changes), differences.by_split(changes), differences.by_label(changes)
    if out is not None:
        if out.suffix != ".parquet":
            raise BadArgument(f"`--out` must end in .parquet. Got {out}.")
        write_frame(changes, out)
    text = [f"{before} to {after}: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items())]
    if len(changes):
        text += [table_of(splits, rows=len(splits)), "given labels:", table_of(labels, rows=top)]
    data = {
        "before": str(before),
        "after": str(after),
        **counts,
        "splits": splits.to_dicts(),
        "labels": labels.to_dicts(),
    }
    return Answer("\n".join(text), data)


def _or_none(label: str) -> str | None:
    return None if label == "none" else label


def _told(catalog: Catalog) -> Answer:
    facts = catalog.sidecar.facts
    text = [
        f"{catalog.path}: {plural(len(catalog), 'image')} ({', '.join(f'{n} {c:,}' for n, c in catalog.splits.items())})"
    ]
    if catalog.has_pixels:
        text += _counted(facts)
    text += _labelled(catalog, facts)
    text.append(f"  fingerprint {catalog.fingerprint[:16]}")
    return Answer("\n".join(text), {"path": str(catalog.path), "fingerprint": catalog.fingerprint, **facts})


def _counted(facts: dict[str, Any]) -> list[str]:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts["rejected"].items())
    text = [
        f"  {facts['num_input']:,} in = {facts['num_images']:,} ok + {facts['num_duplicates']:,} "
        f"{'copies' if facts.get('num_merged') else 'byte-identical copies'} + "
        f"{facts['num_rejected']:,} rejected{f' ({reasons})' if reasons else ''}"
    ]
    if facts.get("num_reencoded"):
        text.append(f"  {facts['num_reencoded']:,} stored smaller than they came")
    if "num_rows" in facts:
        text.append(
            f"  {plural(facts['num_rows'], 'row')} read, {facts['num_rows_left_out']:,} left out for their confidence"
        )
    return text


def _labelled(catalog: Catalog, facts: dict[str, Any]) -> list[str]:
    if "num_given_labels" not in facts:
        return [f"  labels of {catalog.hierarchy.num_labels:,}, no pixels"]
    given = facts["num_given_labels"]
    text = [
        f"  {plural(given, 'given label')} of {catalog.hierarchy.num_labels:,}, {given / max(1, len(catalog)):.2f} an image; "
        f"{plural(facts.get('num_unlabelled', 0), 'image')} without a label"
    ]
    if facts.get("num_negatives") or facts.get("num_conflicts"):
        text.append(
            f"  {plural(facts['num_negatives'], 'verified negative')}; {plural(facts['num_conflicts'], 'label')} both given and "
            "negated, still given"
        )
    return text
