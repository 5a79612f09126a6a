"""What makes a builder: a pure function from a subset to some of its images, known by name to recipes.

    @builder()
    def few(source: Subset, *, most: int) -> Picked: ...

makes `few(catalog_or_subset, most=3)` return a Subset whose recipe ends in the step `few`. Arguments are JSON values, arrays
of image ids, polars frames, subsets (their ids) or embeddings, so that the step can be written down and made again.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from jftdata.catalog import Catalog
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, one_of
from jftdata.ragged import in_sorted, unique
from jftdata.subset.core import Subset
from jftdata.subset.recipe import Step, Table, Vectors

P = ParamSpec("P")
Picked = NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.float64]]
"""Image ids of the source, each once, in any order; or ids and weights. Ids alone keep the weights they had."""
Ids = ArrayLike | pl.DataFrame | Subset
"""Image ids: an array, a frame with a column `image`, or the images of a subset."""


@dataclass(frozen=True)
class Builder:
    """A builder as recipes know it."""

    function: Callable[..., Subset]
    many: bool
    """Whether it takes several sources."""
    why: Callable[..., str] | None
    """(source, image, **arguments) -> a sentence on why the image is in or out."""


BUILDERS: dict[str, Builder] = {}
ROOT = "everything"


def builder(
    *, why: Callable[..., str] | None = None
) -> Callable[[Callable[Concatenate[Subset, P], Picked]], Callable[Concatenate[Catalog | Subset, P], Subset]]:
    """Make a function that picks images a builder.

    Args:
        why: says for `subset explain` what decided on an image, from (source, image, **arguments).
    """

    def decorate(
        pick: Callable[Concatenate[Subset, P], Picked],
    ) -> Callable[Concatenate[Catalog | Subset, P], Subset]:
        signature = inspect.signature(pick)

        @functools.wraps(pick)
        def build(source: Catalog | Subset, /, *args: P.args, **kwargs: P.kwargs) -> Subset:
            whole = source if isinstance(source, Subset) else all_of(source)
            bound = signature.bind(whole, *args, **kwargs)
            bound.apply_defaults()
            arguments = {name: wrapped(value) for name, value in list(bound.arguments.items())[1:]}
            picked = pick(whole, **{name: unwrapped(value) for name, value in arguments.items()})  # type: ignore[call-arg]
            return result(whole, picked, Step(pick.__name__, arguments, (whole.recipe,)))

        BUILDERS[pick.__name__] = Builder(build, many=False, why=why)
        return build

    return decorate


def all_of(catalog: Catalog) -> Subset:
    """Every image of a catalog; no id is read until it is needed."""
    return Subset(catalog, None, Step(ROOT, {"split": None}))


def result(source: Subset, picked: Picked, step: Step) -> Subset:
    """A subset of what a builder picked.

    Raises:
        BadInput: no image is left.
    """
    ids, weights = picked if isinstance(picked, tuple) else (picked, None)
    if not len(ids):
        raise BadInput(f"no image is left after the step {step.builder!r} of {len(source):,}. Ask for more.")
    if (ids[1:] <= ids[:-1]).any():
        order = np.argsort(ids, kind="stable")
        ids, weights = ids[order], None if weights is None else weights[order]
        if (ids[1:] == ids[:-1]).any():
            raise AssertionError(f"builder {step.builder} picked an image twice")
    if weights is None and source.weights is not None:
        weights = np.asarray(source.weights[np.searchsorted(source.images, ids)])
    return Subset(source.catalog, ids, step, weights)


def ids_of(images: Ids) -> NDArray[np.int64]:
    """(n,) image ids, ascending, each once, of an array, a frame or a subset.

    Raises:
        BadInput: a frame without a column `image`, or values that are not whole numbers.
    """
    if isinstance(images, Subset):
        return images.images
    if isinstance(images, pl.DataFrame):
        if "image" not in images.columns:
            raise BadInput(f"expected a table with a column `image`. Got columns {images.columns}.")
        images = images["image"].to_numpy()
    values = np.asarray(images)
    if values.size and not np.issubdtype(values.dtype, np.integer):
        raise BadInput(f"image ids are whole numbers. Got {values.dtype} values, for example {values.ravel()[0]!r}.")
    return unique(values.astype(np.int64).ravel())


def members(source: Subset, images: Ids) -> NDArray[np.int64]:
    """Ids that must be in the source.

    Raises:
        BadInput: one is not.
    """
    ids = ids_of(images)
    there = in_sorted(ids, source.images)
    if not there.all():
        raise BadInput(
            f"{(~there).sum()} of {len(ids)} images are not among the {len(source):,} to choose from, for example "
            f"{ids[~there][0]}. Use ids of {source.catalog.path}."
        )
    return ids


def wrapped(value: Any) -> Any:
    """An argument as a step keeps it."""
    if isinstance(value, Subset):
        return Table(pl.DataFrame({"image": value.images}))
    if isinstance(value, pl.Series):
        value = value.to_list() if value.dtype == pl.String else value.to_numpy()
    if isinstance(value, np.ndarray):
        return Table(pl.DataFrame({"image": ids_of(value)}, schema={"image": pl.Int64}))
    if isinstance(value, pl.DataFrame):
        return Table(value)
    if isinstance(value, Embeddings):
        return Vectors(value, path=None if value.path is None else value.path.resolve())
    if isinstance(value, Mapping):
        return {key: wrapped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [wrapped(item) for item in value]
    return value


def unwrapped(value: Any) -> Any:
    """What a builder is called with."""
    if isinstance(value, Table):
        return value.frame
    if isinstance(value, Vectors):
        return value.embeddings
    if isinstance(value, Mapping):
        return {key: unwrapped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrapped(item) for item in value]
    return value


def make(recipe: Step, catalog: Catalog) -> Subset:
    """Run a recipe on a catalog: the same images, byte for byte, on any machine.

    Args:
        recipe: what `Step.read` returns, or the recipe of another subset.
        catalog: where to choose from.

    Raises:
        UnknownOption: a builder that is not known; the nearest is suggested.
        BadArgument: an argument the builder does not have, or one it needs is missing.
    """
    return made(recipe, catalog)[recipe.key]


def made(recipe: Step, catalog: Catalog) -> dict[str, Subset]:
    """The subset after each step of a recipe, by `Step.key`."""
    done: dict[str, Subset] = {}
    for step in recipe.steps():
        if step.builder not in BUILDERS:
            raise one_of("builder", step.builder, BUILDERS)
        known = BUILDERS[step.builder]
        sources: list[Catalog | Subset] = [done[source.key] for source in step.sources]
        if step.builder == ROOT:
            sources = [catalog]
        elif not known.many and len(sources) != 1:
            raise BadArgument(f"builder {step.builder!r} takes the images of one step. Got {len(sources)}.")
        parameters = inspect.signature(known.function).parameters
        wanted = [name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY]
        for name in step.arguments.keys() - set(wanted):
            raise one_of(f"argument of builder {step.builder!r}", name, wanted)
        for name in wanted:
            if name not in step.arguments and parameters[name].default is inspect.Parameter.empty:
                raise BadArgument(f"builder {step.builder!r} needs {', '.join(wanted)}. {name!r} is missing.")
        arguments = {name: unwrapped(value) for name, value in step.arguments.items()}
        done[step.key] = known.function(*sources, **arguments)
    return done
