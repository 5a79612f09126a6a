"""A study from a file: TOML for what can be listed, Python for anything else.

A TOML file says what is trained and what it is judged on; paths are relative to it:

    question = "Does a cap on common labels help?"
    catalog = "train.catalog"              # images to take from
    split = "train"                        # only these; all if left out
    without = ["drop.parquet"]             # images never to take
    recipe = "tiny"                        # of `jftdata.recipes`
    set = ["total_epochs=8"]               # its fields
    seeds = [0, 1, 2]
    fixed = "epochs"                       # or "images-seen": what arms of different sizes share
    by = ["cap"]                           # factors that tell curves apart

    [[arm]]
    name = "as-it-is"
    sizes = [1000, 3000, 10000]            # one arm a size, the smaller within the larger; one arm of all if left out
    factors = { cap = 0 }

    [[arm]]
    name = "capped"
    subset = "cap.toml"                    # a recipe of subsets, or a subset
    factors = { cap = 100 }
    # recipe, set, init (an arm before it, or a checkpoint), untrained (fresh weights too)

    [[judge]]
    task = "linear-probe"
    data = "clean.catalog"                 # or a folder that the task reads
    # mode, recipe, set, name, overlap, test_catalog

A Python file has a function `study(out: Path) -> Study`, which may make what it needs in `out`.
"""

import functools
import importlib.util
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jftdata import recipes, storage, subset
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput, MissingInput, one_of
from jftdata.override import override
from jftdata.study.plan import Arm, Judge, Study
from jftdata.study.sizes import size_arms
from jftdata.subset import Subset
from jftdata.subset.recipe import Table
from jftdata.transfer.run import recipe_of

_STUDY: dict[str, type] = {
    "name": str, "question": str, "notes": str, "catalog": str, "split": str, "without": list, "recipe": str, "set": list,
    "seeds": list, "fixed": str, "x": str, "by": list, "arm": list, "judge": list,
}  # fmt: skip
_ARM: dict[str, type] = {
    "name": str, "subset": str, "sizes": list, "recipe": str, "set": list, "init": str, "untrained": bool, "factors": dict,
}  # fmt: skip
_JUDGE: dict[str, type] = {
    "task": str, "data": str, "mode": str, "recipe": str, "set": list, "name": str, "overlap": str, "test_catalog": str,
}  # fmt: skip


def read(path: Path | str, *, out: Path | str) -> Study:
    """The study of a .toml or .py file.

    Args:
        path: of the file.
        out: the study's folder, which a Python file is told.

    Raises:
        MissingInput: no such file, or one that it names.
        BadInput: not TOML, or it lacks a catalog, arms or judges; a Python file without `study`.
        UnknownOption: a key, recipe or task that is not known.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist. Give a study, .toml or .py, or the name of one.")
    if path.suffix == ".py":
        return _from_python(path, Path(out))
    if path.suffix != ".toml":
        raise BadArgument(f"a study's file must end in .toml or .py. Got {path}.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is not TOML ({error}). Correct it.") from error
    return _from_table(content, path)


def _from_python(path: Path, out: Path) -> Study:
    spec = importlib.util.spec_from_file_location(f"jftdata_study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, "study", None)
    made = function(out) if callable(function) else None
    if not isinstance(made, Study):
        raise BadInput(
            f"{path} must have a function `study(out)` that returns a jftdata.study.Study. Got {type(made).__name__}."
        )
    return made


def _from_table(content: dict[str, Any], path: Path) -> Study:
    folder = path.parent
    _check(content, _STUDY, f"{path}")
    for key in ("catalog", "arm", "judge"):
        if not content.get(key):
            raise BadInput(f"{path} has no `{key}`. Add {'[[' + key + ']]' if key != 'catalog' else 'its path'}.")

    @functools.cache
    def images() -> Subset:
        whole = subset.everything(Catalog.open(folder / content["catalog"]), split=content.get("split"))
        dropped = [_ids(folder / name) for name in content.get("without", [])]
        return subset.without(whole, images=np.concatenate(dropped)) if dropped else whole

    arms: list[Arm] = []
    for row in content["arm"]:
        _check(row, _ARM, f"an [[arm]] of {path}")
        if not row.get("name"):
            raise BadInput(f"an [[arm]] of {path} has no `name`. Give each one.")
        arms += _arms(content, row, images, folder, [arm.name for arm in arms])
    settings = {key: content[key] for key in ("notes", "x", "by", "seeds") if key in content}
    return Study(
        name=content.get("name", path.stem), question=content.get("question", ""), arms=arms,
        judges=[_judge(row, folder, path) for row in content["judge"]], **settings,
    )  # fmt: skip


def _arms(
    content: Mapping[str, Any], row: Mapping[str, Any], images: Callable[[], Subset], folder: Path, before: list[str]
) -> list[Arm]:
    recipe = override(
        recipes.get(row.get("recipe", content.get("recipe", "tiny"))), [*content.get("set", []), *row.get("set", [])]
    )
    chosen = functools.cache(lambda: _subset(row, images, folder))
    factors, name, init = row.get("factors", {}), row["name"], row.get("init")
    if init is not None and init not in before:
        if not (folder / init).exists():
            raise MissingInput(
                f"arm {name!r} starts from {init!r}, neither an arm before it nor a checkpoint's folder."
            )
        init = Checkpoint.open(folder / init)
    fixed, untrained = content.get("fixed", "epochs"), row.get("untrained", False)
    if "sizes" in row:
        if init is not None:
            raise BadArgument(f"arm {name!r} has `sizes` and `init`. Write an arm for each size, with `init`.")
        return size_arms(
            chosen, recipe, sizes=row["sizes"], fixed=fixed, untrained=untrained, prefix=f"{name}-", factors=factors
        )
    if untrained:
        raise BadArgument(f"`untrained` of arm {name!r} has no effect without `sizes`. Set total_epochs=0 instead.")
    return [
        Arm(name=name, subset=lambda _: chosen(), num_images=len(chosen()), recipe=recipe, init=init, factors=factors)
    ]


def _subset(row: Mapping[str, Any], images: Callable[[], Subset], folder: Path) -> Subset:
    if "subset" not in row:
        return images()
    path = folder / row["subset"]
    if path.is_dir():
        return Subset.open(path) & images()
    return subset.make(subset.Step.read(path), images().catalog) & images()


def _judge(row: dict[str, Any], folder: Path, path: Path) -> Judge:
    _check(row, _JUDGE, f"a [[judge]] of {path}")
    for key in ("task", "data"):
        if key not in row:
            raise BadInput(f"a [[judge]] of {path} has no `{key}`. Give each one.")
    recipe = recipe_of(row["task"], row.get("recipe"))
    if row.get("set"):
        if recipe is None:
            raise BadArgument(f"task {row['task']!r} trains nothing; `set` must be left out. Got {row['set']}.")
        recipe = override(recipe, row["set"])
    overlap = row.get("overlap", "auto")
    return Judge(
        task=row["task"], data=functools.cache(lambda: _data(folder / row["data"])), mode=row.get("mode"), recipe=recipe,
        name=row.get("name", ""), overlap=overlap if overlap == "auto" else None if overlap == "none" else folder / overlap,
        test_catalog=(lambda: Catalog.open(folder / row["test_catalog"])) if "test_catalog" in row else None,
    )  # fmt: skip


def _data(path: Path) -> Catalog | Path:
    return Catalog.open(path) if (path / storage.SIDECAR).exists() else path


def _ids(path: Path) -> Any:
    return Table(path=path).frame["image"].to_numpy()


def _check(row: Mapping[str, Any], known: Mapping[str, type], where: str) -> None:
    for key, value in row.items():
        if key not in known:
            raise one_of(f"key of {where}", key, known)
        if not isinstance(value, known[key]):
            raise BadInput(f"`{key}` of {where} must be a {known[key].__name__}. Got {value!r}.")
