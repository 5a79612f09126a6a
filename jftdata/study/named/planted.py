"""Sets whose faults are known: labels put right, and errors, copies and candidate labels planted on them.

Each is derived from the noisy set of a `StudyData`, kept in its folder, and made once. What is drawn is drawn by keyed hashes of image
ids. Cost: a pass over the labels in Python; copies and candidates pack the images' bytes again.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata import selection, storage
from jftdata.catalog import Catalog
from jftdata.changes import KINDS, change
from jftdata.errors import BadInput
from jftdata.hashing import keyed_hash, keyed_order, uniform
from jftdata.hierarchy import Hierarchy
from jftdata.images import decode, encode_jpeg
from jftdata.pixels import PLACE, map_images
from jftdata.relabel import CHANGES, relabel
from jftdata.sources import from_hub
from jftdata.study.named.data import StudyData
from jftdata.subset import Subset
from jftdata.world import web_signals

ALIKE = 0.6
"""Share of planted errors that name a label near the right one, as of the world's own errors."""
NEAREST = 3
"""Labels in use that count as near."""
JUDGED = 2_000
"""Candidate pairs whose truth the selection may learn from."""
_NUMBERS, _WORDS = ("score", "text", "clicks", "feedback"), ("source",)
_ROWS = 500
_NEIGHBOURS = 20
"""Labels to look for so many among; some hold themselves."""
_NAMED = r"copy-(\d+)\.jpg$"


def right_labels(data: StudyData) -> Catalog:
    """The noisy set with its wrong labels put right where the truth is known; as it is where it is not."""
    catalog = data.noisy()
    if data.truth is None:
        return catalog
    return relabel(catalog, corrections(catalog, data.truth()), out=data.at / "right.catalog")


def corrections(catalog: Catalog, truth: pl.DataFrame) -> pl.DataFrame:
    """What `relabel` is to change for every given label to be right.

    Args:
        catalog: the images.
        truth: as in `StudyData`; images it does not name stay as they are.

    Returns:
        Columns of `CHANGES`: a wrong label becomes the first that holds and is not given yet, or goes where there is none.
    """
    tree, rows = catalog.hierarchy, []
    for image, own, held in _told(catalog, truth):
        holds = _with_above(tree, held)
        spare = [label for label in held if label not in own]
        wrong = (label for label in own if held and label not in holds)
        rows += [(image, label, spare.pop(0) if spare else None) for label in wrong]
    return pl.DataFrame(rows, schema=CHANGES, orient="row")


def with_errors(data: StudyData, *, share: float, seed: int, but: Subset | None = None) -> Catalog:
    """`right_labels` with a share of the labels replaced by wrong ones; the errors of a smaller share are among those of a larger.

    Args:
        data: the sets.
        share: of the labels, in [0, 1].
        seed: draws which, and what they become: in `ALIKE` of the cases one of the `NEAREST` labels in use in the tree, else that of
            another image, so that common labels are common among errors too.
        but: images whose labels stay right.

    Raises:
        BadInput: an image for which every label in use holds.
    """
    catalog = right_labels(data)
    spared = set() if but is None else set(but.images.tolist())
    if not share:
        return catalog
    tree, wrong = catalog.hierarchy, _Wrong(catalog, seed)
    rows = []
    for image, own, held in _told(catalog, None if data.truth is None else data.truth()):
        if image in spared:
            continue
        holds = _with_above(tree, [*own, *held])
        hit = (label for label in own if wrong.drawn(image, label, "whether") < share)
        rows += [(image, label, wrong.label(image, label, holds)) for label in hit]
    name = f"errors-{share:g}-s{seed}" + ("" if but is None else f"-but-{len(spared)}")
    return relabel(catalog, pl.DataFrame(rows, schema=CHANGES, orient="row"), out=data.at / f"{name}.catalog")


def with_copies(data: StudyData, images: Subset, *, seed: int) -> tuple[Catalog, pl.DataFrame]:
    """Some images, and of each a changed copy under the same labels; the kind of change is drawn from `changes.KINDS`.

    Returns:
        The catalog, and which is a copy of which: `image`, `copy`, ascending.
    """
    kinds = list(KINDS)

    def make(image: int, original: bytes, labels: list[str]) -> list[dict[str, object]]:
        kind = kinds[int(keyed_hash(np.array([image]), seed=seed, stream="planted copy")[0] % np.uint64(len(kinds)))]
        copy = encode_jpeg(change(decode(original)[0], kind=kind, image=image, seed=seed))
        return [_row(original, f"{image}.jpg", labels), _row(copy, f"copy-{image}.jpg", labels)]

    catalog = _packed(images, make, {"copies": "all", "seed": seed}, out=data.at / f"copies-s{seed}")
    named = catalog.scan().select(pl.col("source").str.extract(_NAMED).cast(pl.Int64).alias("image"), copy="image")
    return catalog, named.drop_nulls("image").collect().sort("image")


@dataclass(frozen=True)
class Candidates:
    """Images under candidate labels, some of them wrong."""

    catalog: Catalog
    """All candidates are given."""
    pairs: pl.DataFrame
    """`image`, `label`, `correct` and the signals of `world.web_signals`."""
    signals: selection.Candidates
    """The pairs without the truth."""
    fusion: selection.Fusion
    """What the signals and the truth of `JUDGED` pairs tell."""


def with_candidates(data: StudyData, images: Subset, *, seed: int) -> Candidates:
    """Some images under two candidate labels each, their main true one and a wrong one, with web signals for both.

    The signals are dealt among right pairs and among wrong ones, so that they tell right from wrong but not label from label.

    Raises:
        BadInput: the truth is not known.
    """
    truth: pl.DataFrame = data.part("truth")()
    tree, wrong = images.catalog.hierarchy, _Wrong(images.catalog, seed)
    wanted = set(images.images.tolist())
    rows = []
    for image, _, held in _told(images.catalog, truth):
        if image in wanted and held:
            rows += [(image, held[0], True), (image, wrong.label(image, held[0], _with_above(tree, held)), False)]
    schema = {"image": pl.Int64(), "label": pl.String(), "correct": pl.Boolean()}
    pairs = pl.DataFrame(rows, schema=schema, orient="row")
    signals = web_signals(8 * len(wanted), seed=seed, hierarchy=tree)  # about half of them hold, as many as it takes
    dealt = []
    for correct in (True, False):
        own = pairs.filter(correct=correct)
        dealt.append(own.hstack(signals.filter(correct=correct).head(len(own)).select(*_NUMBERS, *_WORDS)))
    pairs = pl.concat(dealt).sort("image", "label")
    labels_of = dict(pairs.group_by("image").agg("label").iter_rows())

    def make(image: int, data: bytes, _: list[str]) -> list[dict[str, object]]:
        return [_row(data, f"{image}.jpg", labels_of[image])] if image in labels_of else []

    digest = hashlib.sha256(pairs.select("image", "label").write_ndjson().encode()).hexdigest()
    out = data.at / f"candidates-s{seed}"
    catalog = _packed(images, make, {"candidates": digest, "seed": seed}, out=out)
    path = out.with_name(f"{out.name}.pairs.parquet")
    with storage.atomic_path(path) as temp:
        pairs.drop("correct").write_parquet(temp)
    opened = selection.Candidates.open(path, signals=selection.Signals(rising=_NUMBERS, categories=_WORDS))
    order = keyed_order(np.arange(len(pairs)), seed=seed, stream="planted judgements")
    answer = pl.when("correct").then(pl.lit("yes")).otherwise(pl.lit("no"))
    judged = pairs[order[:JUDGED]].select("image", "label", answer=answer)
    return Candidates(catalog, pairs, opened, selection.fit(opened, judged, hierarchy=tree, seed=seed))


def selected(candidates: Candidates, *, target: float, out: Path) -> Catalog:
    """The candidates that `selection.select` keeps at a target precision; images without one are left out.

    Args:
        candidates: to choose from.
        target: precision to expect of what is kept.
        out: folder of the catalog; the selection is kept beside it.
    """
    chosen = selection.select(candidates.signals, candidates.fusion, target=target, out=out.with_suffix(".selection"))
    kept = pl.read_parquet(chosen.files).select("image", pl.col("label").cast(pl.String))
    gone = candidates.pairs.join(kept, on=["image", "label"], how="anti").select(
        "image", "label", new_label=pl.lit(None, pl.String)
    )
    return relabel(candidates.catalog, gone, out=out)


class _Wrong:
    """Draws wrong labels."""

    def __init__(self, catalog: Catalog, seed: int) -> None:
        self._tree, self._seed = catalog.hierarchy, seed
        rows = catalog.scan().select("image", "labels").collect().sort("image")
        self._given = rows["labels"].explode().drop_nulls().to_numpy()
        self._used = np.unique(self._given)
        self._near: dict[str, list[str]] = {}

    def drawn(self, image: int, label: str, what: str) -> float:
        """A number in [0, 1) of an image's label."""
        key = np.array([image])
        return float(uniform(keyed_hash(key, seed=self._seed, stream=f"planted error {what} {label}"))[0])

    def label(self, image: int, label: str, holds: set[str]) -> str:
        """A label that does not hold, in the place of one that does."""
        at = self.drawn(image, label, "which")
        if self.drawn(image, label, "alike") < ALIKE:
            near = [other for other in self._nearest(label) if other not in holds][:NEAREST]
            if near:
                return near[int(at * len(near))]
        first = int(at * len(self._given))
        for place in range(first, first + len(self._given)):
            other: str = self._tree.labels[self._given[place % len(self._given)]]
            if other not in holds:
                return other
        raise BadInput(f"every label in use holds for image {image}, so none is wrong. Give a set with more labels.")

    def _nearest(self, label: str) -> list[str]:
        """Labels in use, those that share most ancestors first."""
        if label not in self._near:
            above = set(self._tree.ancestor_ids(self._tree.index(label)).tolist())
            shared = [len(above & set(self._tree.ancestor_ids(int(i)).tolist())) for i in self._used]
            order = np.argsort(-np.array(shared), kind="stable")[:_NEIGHBOURS]
            self._near[label] = [self._tree.labels[self._used[i]] for i in order]
        return self._near[label]


def _told(catalog: Catalog, truth: pl.DataFrame | None) -> Iterator[tuple[int, list[str], list[str]]]:
    """Each image with its given labels and those that hold, ascending by id; none hold where the truth is not known."""
    held: dict[int, list[str]] = {}
    if truth is not None:
        held = dict(truth.group_by("image", maintain_order=True).agg("label").iter_rows())
    names = catalog.hierarchy.labels
    for image, labels in catalog.scan().select("image", "labels").collect().sort("image").iter_rows():
        yield image, [names[i] for i in labels], held.get(image, [])


def _with_above(tree: Hierarchy, labels: list[str]) -> set[str]:
    return {above for label in labels for above in (label, *tree.ancestors(label))}


def _row(data: bytes, name: str, labels: list[str]) -> dict[str, object]:
    return {"image": {"bytes": data, "path": name}, "labels": labels}


def _packed(
    images: Subset, make: Callable[[int, bytes, list[str]], list[dict[str, object]]], made_with: dict[str, object], *, out: Path
) -> Catalog:  # fmt: skip
    """A catalog of the rows that `make` makes of each image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    catalog = images.catalog
    inputs = {"catalog": catalog.fingerprint, "images": images.fingerprint}
    with storage.building(out, format="jftdata.planted/1", made_with=made_with, inputs=inputs) as build:
        if build is not None:
            rows = catalog.rows(images.images, columns=("image", *PLACE, "labels"))
            names, ids = catalog.hierarchy.labels, rows["image"].to_numpy()
            given: NDArray[np.object_] = rows["labels"].to_numpy()

            def one(i: int, data: bytes) -> list[dict[str, object]]:
                return make(int(ids[i]), data, [names[x] for x in given[i]])

            made = (row for some in map_images(catalog, rows, one) for row in some)
            image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            schema = pa.schema([("image", image), ("labels", pa.list_(pa.string()))])
            with pq.ParquetWriter(build.folder / "images.parquet", schema, compression="none") as file:
                while some := list(islice(made, _ROWS)):
                    file.write_table(pa.Table.from_pylist(some, schema=schema))
    return from_hub(
        out / "images.parquet", label="labels", hierarchy=catalog.hierarchy, out=out.with_name(f"{out.name}.catalog")
    )
