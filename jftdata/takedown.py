"""Taking images down: which artefacts hold them, and new versions of these without them.

Nothing is edited in place. `find` says what holds an image, what was made from that, and what cannot tell; `without` writes new
catalogs, embeddings and subsets beside the old ones and lists what is left to do: networks to train again, exports to make again.
The bytes themselves stay where they are until a person deletes the files or shards that `places` names, and the old artefacts.
Only artefacts are looked at: tables of scores or pairs, pages with thumbnails and contact sheets beside them are a person's to find.
"""

import hashlib
import itertools
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import storage, subset
from jftdata.catalog import FORMAT as CATALOG_FORMAT
from jftdata.catalog import REJECTED, SCHEMA, Catalog
from jftdata.embeddings import FORMAT as EMBEDDINGS_FORMAT
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput, Damaged, JftDataError, MissingInput
from jftdata.hashing import image_id
from jftdata.progress import progress, say
from jftdata.ragged import in_sorted, unique
from jftdata.rewrite import SAID, rewrite
from jftdata.subset import Subset
from jftdata.subset.build import Ids, ids_of

FOUND: dict[str, Any] = {
    "path": pl.String(),
    "kind": pl.String(),  # the format without its version: jftdata.catalog, ...
    "how": pl.String(),  # holds, made from (what holds one), or unknown (it does not say which images it has)
    "num_images": pl.Int64(),  # of those asked for; null where it is not known
    "images": pl.List(pl.Int64()),
}
"""An artefact a row, those that hold an image first."""
TAKEN = {**FOUND, "new": pl.String(), "todo": pl.String()}
"""`new` is the version without the images; `todo` what is left to do by hand, null when nothing is."""
PLACES = {
    "catalog": pl.String(), "image": pl.Int64(), "file": pl.String(), "offset": pl.Int64(), "length": pl.Int64(),
    "whole_file": pl.Boolean(),
}  # fmt: skip
REASON = "taken down"
_RECORDS = {
    "jftdata.catalog": ("images/*.parquet", "duplicates.parquet"),
    "jftdata.checkpoint": ("images.parquet",),
    "jftdata.copies": ("pairs.parquet",),
    "jftdata.embeddings": ("images.npy",),
    "jftdata.export": ("data/*.parquet", "data/*.tar", "labels.csv"),
    "jftdata.selection": ("table/*.parquet",),
    "jftdata.subset": ("images.npy",),
}
"""Files that say which images an artefact has; an export also names files after images."""
_ID_COLUMNS = ("image", "image_id", "image_a", "image_b", "test_image", "train_image")
_NAMED = re.compile(r"(?:^|/)(\d{19})\.")
_PIECE = 1 << 20
_TODO = {
    "jftdata.checkpoint": "train it again on a subset without the images: its weights saw them",
    "jftdata.copy_net": "train it again: it may have seen the images",
    "jftdata.copies": "compare again with the new catalog",
    "jftdata.export": "export again from the new subset or catalog, and take back what was given away",
    "jftdata.neighbors": "build it again from the new embeddings",
    "jftdata.results": "measure again once what it measured is made again",
}


def identify(images: pl.DataFrame | Sequence[int | str | Path]) -> NDArray[np.int64]:
    """Image ids of what a person asks to take down.

    Args:
        images: ids, SHA-256 in 64 hex digits, and paths of image files, whose bytes are hashed; or a table with one of the columns
            `image` (ids), `sha256` and `file`.

    Returns:
        (n,) ids, ascending, each once.

    Raises:
        BadInput: a table without such a column, or nothing asked for.
        MissingInput: neither a SHA-256 nor a file.

    >>> identify([7, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]).tolist()
    [7, 8203414616412130826]
    """
    if isinstance(images, pl.DataFrame):
        column = next((name for name in ("image", "sha256", "file") if name in images.columns), None)
        if column is None:
            raise BadInput(f"expected a table with a column image, sha256 or file. Got {images.columns}.")
        images = ids_of(images).tolist() if column == "image" else images[column].cast(pl.String).to_list()
    if not len(images):
        raise BadInput("no image to take down. Give ids, SHA-256 or files.")
    return unique(np.array([_identified(image) for image in images], np.int64))


def _identified(image: int | str | Path | None) -> int:
    if isinstance(image, int | np.integer):
        return int(image)
    if isinstance(image, str) and re.fullmatch(r"[0-9a-fA-F]{64}", image.strip()):
        return image_id(bytes.fromhex(image.strip()))
    if image is None or not Path(image).is_file():
        raise MissingInput(f"{str(image)!r} is neither 64 hex digits of a SHA-256 nor a file. Correct it.")
    return image_id(bytes.fromhex(storage.sha256_file(Path(image))))


def with_copies(images: Ids, pairs: pl.DataFrame) -> NDArray[np.int64]:
    """Images and those that pairs of copies say are copies of them, links of links left out.

    Args:
        images: ids.
        pairs: columns `image_a` and `image_b`, what `copies.find` or `dedup.find_pairs` returns.

    Raises:
        BadInput: a column missing.

    >>> with_copies([1], pl.DataFrame({"image_a": [1, 2], "image_b": [2, 3]})).tolist()
    [1, 2]
    """
    if not {"image_a", "image_b"} <= set(pairs.columns):
        raise BadInput(f"pairs need the columns image_a and image_b. Got {pairs.columns}.")
    ids = ids_of(images)
    a, b = pairs["image_a"].to_numpy(), pairs["image_b"].to_numpy()
    return unique(np.concatenate([ids, b[in_sorted(a, ids)], a[in_sorted(b, ids)]]))


@dataclass(frozen=True)
class _Artefact:
    path: Path
    name: Path
    """Relative to the folder it was found under."""
    sidecar: storage.Sidecar | None
    """None for one that was not finished or is damaged."""
    images: NDArray[np.int64] | None
    """Those of the ones asked for that it holds; None where it does not say which it has."""

    @property
    def kind(self) -> str:
        return "unfinished or damaged" if self.sidecar is None else self.sidecar.format.split("/")[0]


def find(images: Ids, *, among: Sequence[Path | str]) -> pl.DataFrame:
    """Artefacts that hold some images.

    Args:
        images: ids; see `identify`.
        among: folders; every artefact in them or below is looked at.

    Returns:
        Columns of `FOUND`, an artefact a row, sorted by `how` and path. Artefacts that list their images and hold none of these
        are left out, and counted in a line on stderr. `made from`: it does not list images, and an input of it holds one.
        `unknown`: it lists none and does not lead back to artefacts that were looked at, or it is unfinished or damaged.

    Raises:
        MissingInput: a folder that is not there.

    Cost: one pass over the ids of every artefact, a million at a time; names of tar members, for exports.
    """
    return _frame(_found(ids_of(images), among, skip=None)[0], FOUND)


def _found(
    ids: NDArray[np.int64], among: Sequence[Path | str], *, skip: Path | None
) -> tuple[list[dict[str, Any]], list[_Artefact]]:
    """Rows of `FOUND` with their artefact under "artefact", and all artefacts."""
    every = []
    with progress("look into artefacts", total=None, unit="artefact") as bar:
        for path, name in _walk(among, skip):
            every.append(_look(path, name, ids))
            bar.update()
    touched = {name for one in every if _holds(one) for name in _fingerprints(one)}
    derived: set[Path] = set()
    while new := [one for one in every if not _holds(one) and one.path not in derived and _inputs(one) & touched]:
        derived |= {one.path for one in new}
        touched |= {name for one in new for name in _fingerprints(one)}
    clear = {one.path for one in every if one.images is not None}
    sure = {name for one in every if one.path in clear for name in _fingerprints(one)}
    while new := [one for one in every if one.path not in clear | derived and _inputs(one) and _inputs(one) <= sure]:
        clear |= {one.path for one in new}
        sure |= {name for one in new for name in _fingerprints(one)}
    rows = []
    for one in every:
        how = "holds" if _holds(one) else "made from" if one.path in derived else "unknown"
        if how != "unknown" or one.path not in clear:
            held = None if one.images is None else one.images.tolist()
            rows.append({
                "path": str(one.path), "kind": one.kind, "how": how, "num_images": None if held is None else len(held),
                "images": held, "artefact": one,
            })  # fmt: skip
    say(f"{len(every) - len(rows):,} of {len(every):,} artefacts hold none of the {len(ids):,} images.")
    return rows, every


def _walk(among: Sequence[Path | str], skip: Path | None) -> Iterator[tuple[Path, Path]]:
    """Every artefact once, finished or not, with its name below the folder it was found in."""
    seen = set()
    roots = [Path(root) for root in among]
    for root in roots:
        if not root.is_dir():
            raise MissingInput(f"{root} is not a folder. Check the path.")
        for marker in sorted([*root.rglob(storage.SIDECAR), *root.rglob(".plan.json")]):
            path = marker.parent.resolve()
            inside = skip is not None and path.is_relative_to(skip.resolve())
            if path not in seen and not inside:
                seen.add(path)
                name = path.relative_to(root.resolve())
                yield path, (Path(root.resolve().name) / name if len(roots) > 1 or name == Path() else name)


def _sidecar(path: Path) -> storage.Sidecar | None:
    try:
        return storage.read_sidecar(path)
    except (Damaged, MissingInput) as error:
        say(str(error))
        return None


def _look(path: Path, name: Path, ids: NDArray[np.int64]) -> _Artefact:
    sidecar = _sidecar(path)
    if sidecar is None:
        return _Artefact(path, name, None, None)
    kind = sidecar.format.split("/")[0]
    files = [file for pattern in _RECORDS.get(kind, ()) for file in sorted(path.glob(pattern))]
    named = [match[1] for file in sidecar.files if kind == "jftdata.export" and (match := _NAMED.search(file))]
    if not files and not named:
        return _Artefact(path, name, sidecar, None)
    try:
        pieces = itertools.chain([np.array(named, np.int64)], *map(_ids_in, files))
        found = unique(np.concatenate([piece[in_sorted(piece, ids)] for piece in pieces]))
    except (OSError, ValueError, pl.exceptions.PolarsError, tarfile.TarError) as error:
        say(f"{path} cannot be read ({error}). Make it again or restore it.")
        return _Artefact(path, name, None, None)
    return _Artefact(path, name, sidecar, found)


def _ids_in(file: Path) -> Iterator[NDArray[np.int64]]:
    """Image ids of a file, in pieces."""
    if file.suffix == ".npy":
        values = np.load(file, mmap_mode="r")
        yield from (np.asarray(values[i : i + _PIECE]) for i in range(0, len(values), _PIECE))
    elif file.suffix == ".tar":
        with tarfile.open(file, "r:") as members:
            found = {match[1] for member in members if (match := _NAMED.search(member.name))}
        yield np.array(sorted(found), np.int64)
    elif file.suffix == ".csv":
        yield (
            pl.scan_csv(file, infer_schema=False)
            .select(pl.col("image_id").cast(pl.Int64))
            .collect()["image_id"]
            .to_numpy()
        )
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(file) as table:
            columns = [c.name for c in table.schema_arrow if c.name in _ID_COLUMNS and pa.types.is_integer(c.type)]
            for batch in table.iter_batches(_PIECE, columns=columns) if columns else ():
                yield from (column.drop_null().to_numpy().astype(np.int64) for column in batch.columns)


def _fingerprints(one: _Artefact) -> set[str]:
    """What other artefacts call this one among their inputs."""
    if one.sidecar is None:
        return set()
    own = {one.sidecar.inputs["images"]} if one.kind == "jftdata.subset" else set()
    return {one.sidecar.fingerprint, *own}


def _inputs(one: _Artefact) -> set[str]:
    """Fingerprints of what decides whether an artefact has anything of an image."""
    given = {} if one.sidecar is None else dict(one.sidecar.inputs)
    given.pop("hierarchy", None)
    if "subset" in given or "images" in given:  # of a subset and its catalog, the subset
        given.pop("catalog", None)
    if one.images is not None:  # it says itself; but weights may have come from others
        given = {name: value for name, value in given.items() if one.kind == "jftdata.checkpoint" and name != "subset"}
    return set(given.values())


def _holds(one: _Artefact) -> bool:
    return one.images is not None and len(one.images) > 0


def without(images: Ids, *, among: Sequence[Path | str], out: Path | str) -> pl.DataFrame:
    """Write new versions of the catalogs, embeddings and subsets that hold some images, and say what else there is to do.

    Args:
        images: ids; see `identify`.
        among: folders, as for `find`.
        out: folder for the new versions, which have the names of the old ones below `among`. What is there already, made in the
            same way, stays, so that a killed run goes on.

    Returns:
        Columns of `TAKEN`, a row for each artefact that `find` names. In a new catalog the images are listed among the rejected,
        reason `taken down`, without their names; its rows point at the bytes where they were. A subset follows its catalog if that is
        among them, keeps its weights, and its recipe ends in the step `without`; where the recipe would now draw other images in
        place of those gone, it becomes the list of its images.

    Raises:
        MissingInput: a folder that is not there.
        OutputExists: something else is at a place of a new version.

    Cost: that of reading and writing what holds the images, a row group or a block of vectors at a time.
    """
    ids, out = ids_of(images), Path(out)
    rows, every = _found(ids, among, skip=out)
    order = ("jftdata.catalog", "jftdata.embeddings", "jftdata.subset")
    catalogs = {one.sidecar.fingerprint: one.path for one in every if one.sidecar is not None and one.kind == order[0]}
    renewed: dict[str, Catalog] = {}
    for row in sorted(rows, key=lambda row: order.index(row["kind"]) if row["kind"] in order else len(order)):
        one: _Artefact = row["artefact"]
        row["new"], row["todo"] = None, _TODO.get(row["kind"], "look at it and make it again")
        if row["how"] == "holds" and row["kind"] in order:
            try:
                if row["kind"] == order[0]:
                    catalog = Catalog.open(one.path)
                    renewed[catalog.fingerprint] = _catalog(catalog, ids, out / one.name)
                elif row["kind"] == order[1]:
                    _embeddings(one, ids, out / one.name, renewed)
                else:
                    _subset(one, ids, out / one.name, catalogs, renewed)
                row["new"], row["todo"] = str(out / one.name), "delete the old one when it is no longer needed"
            except (BadInput, Damaged) as error:  # what cannot be renewed is told, and the rest goes on
                row["todo"] = f"not written: {error}"
    return _frame(rows, TAKEN)


def places(images: Ids, *, among: Sequence[Path | str]) -> pl.DataFrame:
    """Where the bytes of images lie, for a person to delete.

    Args:
        images: ids.
        among: folders with catalogs.

    Returns:
        Columns of `PLACES`, sorted by file and offset. Where `whole_file` is false the file, a tar shard, holds other images too:
        overwrite `length` bytes at `offset`, or make the catalog again from its source without the image.

    Raises:
        MissingInput: a folder that is not there.
    """
    ids, found = ids_of(images), []
    for path, _ in _walk(among, None):
        sidecar = _sidecar(path)
        if sidecar is None or not sidecar.format.startswith("jftdata.catalog/"):
            continue
        catalog = Catalog.open(path)
        if catalog.has_pixels:
            rows = catalog.scan().filter(pl.col("image").is_in(ids)).select("image", "shard", "offset", "length")
            for image, shard, offset, length in rows.collect().iter_rows():
                file = path / shard
                whole = offset == 0 and file.exists() and file.stat().st_size == length
                found.append((str(path), image, str(file), offset, length, whole))
    return pl.DataFrame(found, schema=PLACES, orient="row").sort("file", "offset", "catalog")


def _catalog(catalog: Catalog, ids: NDArray[np.int64], out: Path) -> Catalog:
    """The catalog without the images."""
    catalog.need_pixels()
    made_with = {"source": "takedown", "images": _digest(ids)}
    with storage.building(
        out, format=CATALOG_FORMAT, made_with=made_with, inputs={"catalog": catalog.fingerprint}
    ) as build:
        if build is not None:
            empty = {column: pl.lit(None, SCHEMA[column]) for column in SAID}
            changes = pl.DataFrame({"image": ids}).with_columns(kept=pl.lit(False), **empty)
            counted = rewrite(catalog, changes, build.folder / "images", what="take down")
            facts = catalog.sidecar.facts
            before = pl.read_parquet(catalog.path / "duplicates.parquet", glob=False)
            named = [name for name in ("image", "kept_image") if name in before.columns]
            gone = pl.any_horizontal(pl.col(name).is_in(ids) for name in named)
            copies = before.filter(gone)
            before.filter(~gone).write_parquet(build.folder / "duplicates.parquet")
            own = catalog.scan().filter(pl.col("image").is_in(ids)).select("image").collect().sort("image")
            lost = [*own["image"], *copies["image"]]
            rows = [(f"image {image}", REASON, "taken down on request") for image in lost]
            rejected = pl.read_parquet(catalog.path / "rejected.parquet", glob=False)
            now = pl.DataFrame(rows, schema=REJECTED, orient="row")
            pl.concat([rejected, now]).write_parquet(build.folder / "rejected.parquet")
            shutil.copyfile(catalog.path / "hierarchy.tsv", build.folder / "hierarchy.tsv")
            reasons = {**facts["rejected"], REASON: facts["rejected"].get(REASON, 0) + len(lost)}
            build.facts = {
                **facts, **counted, "num_duplicates": facts["num_duplicates"] - len(copies),
                "num_rejected": facts["num_rejected"] + len(lost), "rejected": reasons,
            }  # fmt: skip
    return Catalog.open(out)


def _embeddings(one: _Artefact, ids: NDArray[np.int64], out: Path, renewed: Mapping[str, Catalog]) -> None:
    """Their vectors without those of the images."""
    assert one.sidecar is not None
    old = Embeddings.open(one.path)
    inputs = {**one.sidecar.inputs, "embeddings": old.fingerprint}
    if "catalog" in inputs and inputs["catalog"] in renewed:
        inputs["catalog"] = renewed[inputs["catalog"]].fingerprint
    made_with = {**one.sidecar.made_with, "taken_down": _digest(ids)}
    with storage.building(out, format=EMBEDDINGS_FORMAT, made_with=made_with, inputs=inputs) as build:
        if build is not None:
            kept = np.flatnonzero(~in_sorted(old.images, ids))
            shape = (len(kept), old.vectors.shape[1])
            vectors = np.lib.format.open_memmap(build.folder / "vectors.npy", mode="w+", dtype="<f4", shape=shape)
            for first in range(0, len(kept), _PIECE // 16):
                part = slice(first, first + _PIECE // 16)
                vectors[part] = old.vectors[kept[part]]
            vectors.flush()
            np.save(build.folder / "images.npy", old.images[kept])
            build.facts = {**one.sidecar.facts, "num_images": len(kept)}
            rejected = one.path / "rejected.parquet"
            if rejected.exists():
                unread = pl.read_parquet(rejected, glob=False).filter(~pl.col("image").is_in(ids))
                unread.write_parquet(build.folder / "rejected.parquet")
                build.facts["num_rejected"] = len(unread)


def _subset(
    one: _Artefact, ids: NDArray[np.int64], out: Path, catalogs: Mapping[str, Path], renewed: Mapping[str, Catalog]
) -> None:
    """The subset without the images, of the renewed catalog if there is one."""
    assert one.sidecar is not None
    of = one.sidecar.inputs["catalog"]
    catalog = Catalog.open(catalogs[of]) if of in catalogs else None
    taken = subset.without(Subset.open(one.path, catalog=catalog), images=ids)
    if of in renewed:
        taken = _moved(taken, renewed[of])
    taken.save(out)


def _moved(taken: Subset, catalog: Catalog) -> Subset:
    """The same images of a catalog that has them all, with a recipe that makes them of it."""
    try:
        again = subset.make(taken.recipe, catalog)
    except JftDataError:  # a step that names an image that is gone, or needs what is not there any more
        again = None
    if again is not None and again.fingerprint == taken.fingerprint:
        return again
    listed = subset.only(catalog, images=taken.images)
    if taken.weights is None:
        return listed
    return subset.weighted(listed, weights=pl.DataFrame({"image": taken.images, "weight": taken.weights}))


def _digest(ids: NDArray[np.int64]) -> str:
    return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()


def _frame(rows: list[dict[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    first = pl.Enum(["holds", "made from", "unknown"])
    values = [[row[name] for name in schema] for row in rows]
    frame = pl.DataFrame(values, schema=dict(schema), orient="row")
    return frame.sort(pl.col("how").cast(first), "path")
