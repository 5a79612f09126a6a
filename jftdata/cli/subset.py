"""`jftdata subset`: choose images by size or by a recipe, look at what was chosen and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jftdata import storage
from jftdata.catalog import Catalog
from jftdata.cli.verb import EXISTING, Answer, PathFirst, answers, dry_run, plan, read_images, without
from jftdata.errors import BadArgument, BadInput
from jftdata.plural import plural

if TYPE_CHECKING:
    from jftdata.subset import Subset


@click.group(cls=PathFirst, instead="nested")
def command() -> None:
    """Choose images, and tell why one was chosen."""


@command.command()
@click.argument("catalog", type=EXISTING)
@click.option("--size", "sizes", type=int, multiple=True, required=True, help="Number of images; give several.")
@click.option("--seed", type=int, required=True)
@click.option("--split", help="Only this split.")
@click.option("--out", type=EXISTING, required=True, help="Folder for the subsets, one folder a size in it.")
@without
@dry_run
@answers
def nested(
    catalog: Path, sizes: tuple[int, ...], seed: int, split: str | None, out: Path, without: tuple[Path, ...],
    dry_run: bool,
) -> Answer:  # fmt: skip
    """Random subsets, each within the next larger one. CATALOG may be a subset, too."""
    from jftdata import subset
    from jftdata.cli.subjects import open_images

    source = open_images(catalog, split=split)
    if without:
        source = subset.without(source, images=read_images(without))
    chosen = subset.nested(source, sizes=sizes, seed=seed)
    if dry_run:
        return plan("write subsets", sizes=list(sizes), out=out)
    paths = [s.save(out / str(len(s))) for s in chosen]
    told = [_told(source, one, path) for one, path in zip(chosen, paths, strict=True)]
    return Answer(
        "\n".join(text for text, _ in told),
        {
            "subsets": {str(size): str(path) for size, path in zip(sizes, paths, strict=True)},
            "tail": {str(size): change for size, (_, change) in zip(sizes, told, strict=True)},
        },
    )


@command.command()
@click.argument("catalog", type=EXISTING)
@click.argument("recipe", type=EXISTING)
@click.option("--out", type=EXISTING, required=True, help="Folder of the subset.")
@dry_run
@answers
def make(catalog: Path, recipe: Path, out: Path, dry_run: bool) -> Answer:
    """Run a recipe, .json or .toml; the `recipe.json` of another subset is one, too."""
    from jftdata import subset

    images = Catalog.open(catalog)
    chosen = subset.make(subset.Step.read(recipe), images)
    if dry_run:
        return plan("write a subset", images=len(chosen), steps=_steps(chosen.recipe.listed()), out=out)
    text, change = _told(subset.everything(images), chosen, chosen.save(out))
    data = {"subset": str(out), "num_images": len(chosen), "fingerprint": chosen.fingerprint, "tail": change}
    return Answer(text, data)


@command.command()
@click.argument("subset", type=EXISTING)
@click.option("--catalog", type=EXISTING, help="Where the catalog is now, if it has moved.")
@answers
def show(subset: Path, catalog: Path | None) -> Answer:
    """What is in a subset, and the steps that chose it."""
    from jftdata import tail

    chosen = _subset(subset, catalog)
    sidecar = storage.read_sidecar(subset)
    steps = chosen.recipe.listed()
    weights = (
        f", {sidecar.facts['images_an_epoch']:,.0f} an epoch by their weights" if sidecar.facts["weighted"] else ""
    )
    lines = [
        f"{subset}: {len(chosen):,} of {len(chosen.catalog):,} images of {chosen.catalog.path}{weights}",
        *(f"  {line}" for line in _steps(steps)),
        tail.describe(sidecar.facts["tail"]),
    ]
    return Answer("\n".join(lines), {"steps": steps, "fingerprint": chosen.fingerprint, **sidecar.facts})


@command.command()
@click.argument("subset", type=EXISTING)
@click.argument("image")
@click.option("--catalog", type=EXISTING, help="Where the catalog is now, if it has moved.")
@answers
def explain(subset: Path, image: str, catalog: Path | None) -> Answer:
    """Which step let an image in or kept it out. IMAGE is an id, or what the image is called in its source."""
    import dataclasses

    import polars as pl

    from jftdata.subset import describe
    from jftdata.subset import explain as ask

    chosen = _subset(subset, catalog)
    if image.isdecimal():
        number = int(image)
    else:
        chosen.catalog.need_pixels()
        found = chosen.catalog.scan().filter(pl.col("source") == image).select("image").collect()["image"]
        if not len(found):
            raise BadInput(f"no image of {chosen.catalog.path} has the source {image!r}. Give its id or its source.")
        number = int(found[0])
    reasons = ask(chosen, number)
    verdict = f"image {number} is {'in' if reasons[-1].took else 'not in'} {subset}"
    data = {"image": number, "in": reasons[-1].took, "steps": [dataclasses.asdict(reason) for reason in reasons]}
    return Answer(f"{verdict}\n{describe(reasons)}", data)


@command.command()
@click.argument("old", type=EXISTING)
@click.argument("new", type=EXISTING)
@click.option("--out", type=EXISTING, help="Write the images of one of them only to a .parquet or .csv.")
@answers
def diff(old: Path, new: Path, out: Path | None) -> Answer:
    """What two subsets or catalogs differ in."""
    import polars as pl

    from jftdata import subset, tail
    from jftdata.cli.subjects import open_images
    from jftdata.cli.verb import write_frame

    found = subset.diff(open_images(old), open_images(new))
    text = f"{plural(found['both'], 'image')} in both, {found['only_old']:,} only in {old}, {found['only_new']:,} only in {new}"
    if found["tail"] is not None:
        text += f"\nfrom {old} to {new}, {tail.describe_change(found['tail'])}"
    if out is not None:
        ids = {name: found.pop(f"images_only_{name}") for name in ("old", "new")}
        parts = [pl.DataFrame({"image": images}).with_columns(only_in=pl.lit(name)) for name, images in ids.items()]
        write_frame(pl.concat(parts).sort("image"), out)
    return Answer(text, {key: value for key, value in found.items() if not key.startswith("images_only")})


@command.command()
@click.argument("subsets", type=EXISTING, nargs=-1, required=True)
@click.option("--with", "operation", type=click.Choice(["union", "intersection", "difference"]), required=True)
@click.option("--out", type=EXISTING, required=True, help="Folder of the subset.")
@dry_run
@answers
def combine(subsets: tuple[Path, ...], operation: str, out: Path, dry_run: bool) -> Answer:
    """Unite or intersect subsets of one catalog, or take from the first what the others have."""
    from jftdata import subset
    from jftdata.cli.subjects import open_images

    if len(subsets) < 2:
        raise BadArgument(f"give two subsets or more. Got {len(subsets)}.")
    parts = [open_images(path) for path in subsets]
    chosen = subset.BUILDERS[operation].function(*parts)
    if dry_run:
        return plan("write a subset", images=len(chosen), out=out)
    text, change = _told(parts[0], chosen, chosen.save(out))
    return Answer(
        text, {"subset": str(out), "num_images": len(chosen), "fingerprint": chosen.fingerprint, "tail": change}
    )


@command.command()
@click.argument("catalog", type=EXISTING)
@click.option(
    "--share",
    "shares",
    multiple=True,
    metavar="NAME=SHARE",
    help="A part, such as val=0.1; give several that add up to 1.",
)
@click.option("--folds", type=int, help="Or so many folds: fold 1, 2, ... with `train` and `val` in it.")
@click.option("--seed", type=int, required=True)
@click.option("--groups", type=EXISTING, help="Copies that must not be parted: a .parquet or .csv of image, group.")
@click.option("--stratify", type=click.Choice(["size", "label"]), help="Exact sizes, or also images of each label.")
@click.option("--out", type=EXISTING, required=True, help="Folder for the parts, one folder each in it.")
@dry_run
@answers
def split(
    catalog: Path, shares: tuple[str, ...], folds: int | None, seed: int, groups: Path | None, stratify: Any, out: Path,
    dry_run: bool,
) -> Answer:  # fmt: skip
    """Disjoint parts for training and testing. CATALOG may be a subset, too."""
    import polars as pl

    from jftdata import subset
    from jftdata.cli.subjects import open_images
    from jftdata.cli.verb import read_table

    if (folds is None) == (not shares):
        raise BadArgument("give `--share` several times, or `--folds`.")
    source = open_images(catalog)
    together = None
    if groups is not None:
        together = read_table(groups, {"group": pl.Int64(), "image": pl.Int64()}, "groups of copies")
    if folds is not None:
        pairs = subset.k_fold(source, k=folds, seed=seed, groups=together, stratify=stratify)
        named = [
            (f"{i}/{name}", part)
            for i, pair in enumerate(pairs, 1)
            for name, part in zip(("train", "val"), pair, strict=True)
        ]
    else:
        asked = {name: _share(share) for name, _, share in (text.partition("=") for text in shares)}
        found = subset.split(source, shares=asked, seed=seed, groups=together, stratify=stratify)
        named = list(found.items())
    if dry_run:
        return plan("write subsets", images={name: len(part) for name, part in named}, out=out)
    told = [_told(source, part, part.save(out / name)) for name, part in named]
    data = {
        "subsets": {name: str(out / name) for name, _ in named},
        "images": {name: len(part) for name, part in named},
    }
    return Answer("\n".join(text for text, _ in told), data)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadArgument(f"a share is written NAME=NUMBER, such as val=0.1. Got {text!r} after the name.") from None


@command.command()
@answers
def builders() -> Answer:
    """The builders that a recipe can name, with their arguments."""
    import inspect

    from jftdata import subset

    lines, data = [], {}
    for name, known in sorted(subset.BUILDERS.items()):
        arguments = [
            (key, one.default) for key, one in inspect.signature(known.function).parameters.items()
            if one.kind is one.KEYWORD_ONLY
        ]  # fmt: skip
        said = ", ".join(
            key if default is inspect.Parameter.empty else f"{key}={default!r}" for key, default in arguments
        )
        what = (known.function.__doc__ or "").splitlines()[0]
        lines.append(f"{name}({said})\n    {what}")
        data[name] = {"arguments": [key for key, _ in arguments], "what": what}
    return Answer("\n".join(lines), data)


def _subset(path: Path, catalog: Path | None) -> "Subset":
    from jftdata import subset

    return subset.Subset.open(path, catalog=None if catalog is None else Catalog.open(catalog))


def _told(source: "Subset", chosen: "Subset", path: Path) -> tuple[str, dict[str, Any]]:
    """What was written, and what became of the tail."""
    from jftdata import tail

    change = tail.compare(source.counts, chosen.counts)
    return (
        f"{path}: {plural(len(chosen), 'image')}, {chosen.fingerprint[:16]}\n  {tail.describe_change(change)}",
        change,
    )


def _steps(steps: Sequence[dict[str, object]]) -> list[str]:
    lines = []
    for step in steps:
        said = ", ".join(f"{key}={value}" for key, value in step.items() if key not in ("name", "builder", "from"))
        origin = f" from {', '.join(map(str, step['from']))}" if step.get("from") else ""  # type: ignore[call-overload]
        lines.append(f"{step['name']:>3} {step['builder']}({said}){origin}")
    return lines
