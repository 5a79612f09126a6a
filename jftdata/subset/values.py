"""Subsets by a value of each image: what the catalog says of it, or a table of scores."""

from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.ragged import in_sorted
from jftdata.subset.build import Picked, builder
from jftdata.subset.core import Subset

VALUES: dict[str, tuple[tuple[str, ...], pl.Expr]] = {
    "width": (("width",), pl.col("width")),
    "height": (("height",), pl.col("height")),
    "side": (("width", "height"), pl.min_horizontal("width", "height")),
    "pixels": (("width", "height"), pl.col("width").cast(pl.Int64) * pl.col("height")),
    "aspect": (("width", "height"), pl.max_horizontal("width", "height") / pl.min_horizontal("width", "height")),
    "bytes": (("length",), pl.col("length")),
    "num_labels": (("labels",), pl.col("labels").list.len()),
}
"""What the catalog knows: columns read and how they make the value. `side` is the shorter one, `aspect` longer over shorter."""
Combine = Literal["max", "min", "mean"]


def _why_value(source: Subset, image: int, *, of: str, least: float | None, most: float | None) -> str:
    columns, value = VALUES[of]
    row = source.catalog.rows(np.array([image]), columns=columns)
    return f"its {of} is {row.select(value.cast(pl.Float64)).item():g}; {_range(least, most)}"


@builder(why=_why_value)
def by_value(source: Subset, *, of: str, least: float | None = None, most: float | None = None) -> Picked:
    """Images by what the catalog knows of them: size, aspect, bytes, number of given labels.

    Args:
        source: the images.
        of: one of `VALUES`: `width`, `height`, `side` (the shorter), `pixels`, `aspect` (longer side over shorter, at
            least 1), `bytes`, `num_labels`.
        least: images below it stay out.
        most: images above it stay out.

    Raises:
        UnknownOption: no such value; the nearest is suggested.
        BadArgument: neither bound, or the lower above the upper.
        BadInput: a value of pixels of a catalog without them, or no image within the bounds.
    """
    if of not in VALUES:
        raise one_of("value", of, VALUES)
    _check_range(least, most)
    columns, value = VALUES[of]
    if of != "num_labels":
        source.catalog.need_pixels()

    def pick(rows: pa.Table) -> NDArray[np.int64]:
        frame = pl.DataFrame(rows).select("image", value=value.cast(pl.Float64))
        found: NDArray[np.int64] = frame.filter(_within(least, most))["image"].to_numpy()
        return found

    return np.concatenate(list(source.map_rows(pick, columns=columns)))


def _why_score(source: Subset, image: int, *, scores: pl.DataFrame, of: str, combine: Combine, **bounds: object) -> str:
    found = _one_each(scores, of, combine).filter(pl.col("image") == image)
    asked = ", ".join(f"{name} {value}" for name, value in bounds.items() if value is not None and name != "unscored")
    return f"its {of} is {found['value'][0]:g}; asked for: {asked}" if len(found) else f"it has no {of}"


@builder(why=_why_score)
def by_score(
    source: Subset, *, scores: pl.DataFrame, of: str, least: float | None = None, most: float | None = None,
    top: int | None = None, bottom: int | None = None, combine: Combine = "max",
    unscored: Literal["refuse", "keep", "drop"] = "refuse",
) -> Picked:  # fmt: skip
    """Images by a table of scores: label noise, selection probability, sharpness, whatever has a number an image.

    Args:
        source: the images.
        scores: a column `image` and the column named by `of`; several rows an image (one a label, as of `noise.audit`) become
            one by `combine`.
        of: the column.
        least: images below it stay out.
        most: images above it stay out.
        top: so many with the highest scores; ties to the smaller id.
        bottom: so many with the lowest.
        combine: `max`, `min` or `mean` of an image's rows.
        unscored: what becomes of images without a score, or a null or NaN one: `refuse`, `keep` or `drop`.

    Raises:
        BadArgument: none or several of bounds, `top` and `bottom`, or more than there are.
        BadInput: a column that is not there or holds no numbers; an image without a score when they are refused.
    """
    ways = [least is not None or most is not None, top is not None, bottom is not None]
    if sum(ways) != 1:
        raise BadArgument("give bounds (`least`, `most`), or `top`, or `bottom`: one of the three.")
    one = _one_each(scores, of, combine)
    one = one.filter(pl.Series(in_sorted(one["image"].to_numpy(), source.images)))
    without = source.images[~in_sorted(source.images, one["image"].to_numpy())]
    if len(without) and unscored == "refuse":
        raise BadInput(
            f"{len(without)} of {len(source)} images have no {of}, for example {without[0]}. Score them, or say with "
            "`unscored` whether to keep or drop them."
        )
    count = top if top is not None else bottom
    if count is None:
        _check_range(least, most)
        chosen = one.filter(_within(least, most))
    else:
        if not 1 <= count <= len(one):
            raise BadArgument(f"expected 1..{len(one)} images, those with a {of}. Got {count}.")
        chosen = one.sort("value", "image", descending=[top is not None, False]).head(count)
    ids = chosen["image"].to_numpy()
    return np.concatenate([ids, without]) if unscored == "keep" else ids


def _one_each(scores: pl.DataFrame, of: str, combine: Combine) -> pl.DataFrame:
    """Columns `image` and `value`, a row an image that has a number, in image-id order."""
    if not {"image", of} <= set(scores.columns):
        raise BadInput(f"scores need the columns `image` and `{of}`. Got {scores.columns}.")
    if not scores[of].dtype.is_numeric():
        raise BadInput(f"column `{of}` holds {scores[of].dtype}, expected numbers. Name another.")
    if combine not in ("max", "min", "mean"):
        raise one_of("`combine`", combine, ("max", "min", "mean"))
    value = pl.col(of).cast(pl.Float64).fill_nan(None)
    rows = scores.select("image", value=value).drop_nulls()
    return rows.group_by("image").agg(getattr(pl.col("value"), combine)()).sort("image")


def _within(least: float | None, most: float | None) -> pl.Expr:
    inside = pl.lit(True)
    if least is not None:
        inside &= pl.col("value") >= least
    if most is not None:
        inside &= pl.col("value") <= most
    return inside


def _check_range(least: float | None, most: float | None) -> None:
    if least is None and most is None:
        raise BadArgument("give `least`, `most` or both.")
    if least is not None and most is not None and least > most:
        raise BadArgument(f"`least` must not be above `most`. Got {least} and {most}.")


def _range(least: float | None, most: float | None) -> str:
    parts = [f"{word} {bound:g}" for word, bound in (("at least", least), ("at most", most)) if bound is not None]
    return f"asked for {' and '.join(parts)}"
