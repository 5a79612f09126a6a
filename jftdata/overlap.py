"""Test images that have a copy in training: a registry beside the training catalog, with each test set compared once.

`<catalog>.overlaps/<first 16 digits of the test catalog's fingerprint>` is what `copies.find_between` keeps: the pairs, and the
images that could not be read. Cost: that of `copies.find_between` for each test set; the training images are read again for each.

Where several training images look the same and several test images too, each is paired with the first of the other side only; a
checkpoint that saw none but the others of them is then said to have seen a copy of the first test image alone.

Source: Sun et al. 2017, section 4.3 and appendix A (890 of ImageNet's 50,000 validation images have a near-duplicate in JFT).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from jftdata import copies, storage
from jftdata.calibrate import Calibration
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.copies import MIN_PROBABILITY, Copies
from jftdata.errors import BadArgument, BadInput, MissingInput, one_of

SUMMARY = {
    "test_set": pl.String(),
    "split": pl.String(),
    "num_images": pl.Int64(),  # of the test set in that split
    "num_with_copy": pl.Int64(),  # of these that have a copy in the training catalog
    "share": pl.Float64(),  # num_with_copy / num_images
    "num_pairs": pl.Int64(),
    "num_unread": pl.Int64(),  # images of the test set and the training catalog that could not be read: in no pair
    "path": pl.String(),
}
"""A share has no interval: every test image was looked at."""
_SIDES = {"image_a": "test_image", "image_b": "train_image"}
PAIRS = {"test_set": pl.String(), **{_SIDES.get(name, name): kind for name, kind in copies.PAIRS.items()}}


def register(
    train: Catalog, tests: Mapping[str, Catalog] | Sequence[Catalog], *, min_probability: float = MIN_PROBABILITY,
    calibration: Calibration | None = None, seed: int = 0, registry: Path | str | None = None, workers: int | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Find the copies of the images of test sets in a training catalog and keep them.

    Args:
        train: the training images.
        tests: test sets by name; a sequence takes the names of their folders. All splits are compared.
        min_probability: pairs below are left out; in [0, 1].
        calibration: None makes one for each test set, as `copies.find_between` does.
        seed: chooses the images that are calibrated on.
        registry: folder to keep them in; None is `<catalog>.overlaps`.
        workers: threads; None is one a core.

    Returns:
        Columns of `SUMMARY`, a row for each test set and split, in the order of `tests`. What is registered already is not
        compared again. An image with the same id on both sides is the same file and counts.

    Raises:
        BadArgument: no test set, or two of one name.
        OutputExists: a test set registered with other arguments, or with a training catalog that has since been made anew.
    """
    named = _named(tests)
    folder = Path(registry) if registry is not None else _beside(train.path)
    rows = []
    for name, test in named.items():
        out = folder / _key(test)
        arguments = {"min_probability": min_probability, "calibration": calibration, "seed": seed}
        found = copies.find_between(test, train, **arguments, out=out, workers=workers)  # type: ignore[arg-type]
        rows += _summary(name, test, found, out)
    return pl.DataFrame(rows, schema=SUMMARY, orient="row")


def find(train: Catalog | Checkpoint, test: Catalog, *, registry: Path | str | None = None) -> pl.DataFrame | None:
    """The pairs of a registered test set.

    Args:
        train: the training catalog; or a checkpoint, for the pairs whose training image was in one of its batches.
        test: the test set.
        registry: folder where they are kept; None is beside the training catalog.

    Returns:
        Columns of `copies.PAIRS` with `test_image` and `train_image`, or None when the two were not compared: no pair is an
        empty frame.

    Raises:
        MissingInput: a checkpoint that does not know which images it saw.
    """
    at = where(train, test, registry=registry)
    if at is None:
        return None
    pairs = copies.open_copies(at).pairs
    if isinstance(train, Checkpoint):
        seen = pl.DataFrame({"train_image": train.images()})
        pairs = pairs.join(seen, on="train_image", how="semi", maintain_order="left")
    return pairs


def where(train: Catalog | Checkpoint, test: Catalog, *, registry: Path | str | None = None) -> Path | None:
    """The artefact of a registered test set, or None when it and this training catalog were not compared.

    Args:
        train: the training catalog, or a checkpoint trained on it or a part of it.
        test: the test set.
        registry: folder where they are kept; None is beside the training catalog.
    """
    catalog = train.path if isinstance(train, Catalog) else train.catalog_path
    if registry is None:
        if catalog is None:
            return None
        registry = _beside(catalog)
    at = Path(registry) / _key(test)
    if not (at / storage.SIDECAR).exists():
        return None
    trained_on = train.fingerprint if isinstance(train, Catalog) else train.sidecar.inputs["catalog"]
    inputs = storage.read_sidecar(at, kind="jftdata.copies").inputs
    return at if inputs == {"test": test.fingerprint, "train": trained_on} else None


def pairs(
    train: Catalog | Checkpoint, tests: Mapping[str, Catalog] | Sequence[Catalog], *, registry: Path | str | None = None
) -> pl.DataFrame:
    """The pairs of several registered test sets.

    Args:
        train: the training catalog, or a checkpoint, as for `find`.
        tests: test sets, as for `register`.
        registry: folder where they are kept; None is beside the training catalog.

    Returns:
        Columns of `PAIRS`, in the order of `tests`.

    Raises:
        MissingInput: a test set that is not registered; or a checkpoint that does not know which images it saw.
    """
    parts = [pl.DataFrame(schema=PAIRS)]
    for name, test in _named(tests).items():
        found = find(train, test, registry=registry)
        if found is None:
            raise MissingInput(
                f"{test.path} was not compared with the images of {train.path}. Call `overlap.register` first."
            )
        parts.append(found.select(pl.lit(name).alias("test_set"), *list(PAIRS)[1:]))
    return pl.concat(parts)


def to_drop(pairs: pl.DataFrame, *, side: Literal["test", "train"]) -> pl.Series:
    """The images to leave out so that no pair is left.

    Args:
        pairs: with the columns `test_image` and `train_image`.
        side: `test` leaves out test images, `train` training images.

    Returns:
        Image ids, ascending, each once, named `image`.

    Raises:
        UnknownOption: another side.
        BadInput: a column is missing.

    >>> to_drop(pl.DataFrame({"test_image": [7, 7, 2], "train_image": [1, 3, 3]}), side="test").to_list()
    [2, 7]
    """
    if side not in ("test", "train"):
        raise one_of("side", side, ("test", "train"))
    column = f"{side}_image"
    if column not in pairs.columns:
        raise BadInput(f"pairs have no column {column!r}, only {', '.join(pairs.columns)}. Give what `find` returns.")
    return pairs[column].unique().sort().alias("image")


def _summary(name: str, test: Catalog, found: Copies, path: Path) -> list[tuple[Any, ...]]:
    """A row of `SUMMARY` for each split."""
    splits = test.scan().select("split", test_image="image")
    in_pairs = found.pairs.lazy().select("test_image").join(splits, on="test_image").group_by("split")
    counted = in_pairs.agg(pl.col("test_image").n_unique(), num_pairs=pl.len()).collect()
    by_split = {split: (with_copy, num_pairs) for split, with_copy, num_pairs in counted.rows()}
    rows = []
    for split, num in test.splits.items():
        with_copy, num_pairs = by_split.get(split, (0, 0))
        rows.append((name, split, num, with_copy, with_copy / num, num_pairs, len(found.rejected), str(path)))
    return rows


def _named(tests: Mapping[str, Catalog] | Sequence[Catalog]) -> dict[str, Catalog]:
    if not isinstance(tests, Mapping):
        named = {test.path.absolute().name: test for test in tests}
        if len(named) < len(tests):
            raise BadArgument(
                f"`tests` has folders of the same name: {[str(t.path) for t in tests]}. Give a dict of names."
            )
        tests = named
    if not tests:
        raise BadArgument("`tests` must name at least one test set. Got none.")
    return dict(tests)


def _beside(catalog: Path) -> Path:
    """The registry of a training catalog."""
    return catalog.absolute().with_name(f"{catalog.absolute().name}.overlaps")


def _key(test: Catalog) -> str:
    return test.fingerprint[:16]
