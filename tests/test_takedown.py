"""Taking images down: every kind of artefact that holds one is named, new ones do not, and the old ones are as they were."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import checkpoint, export, storage, subset, takedown, world
from jftdata.catalog import Catalog
from jftdata.cli import run
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput, MissingInput
from jftdata.results import Results
from jftdata.sources import from_folder
from jftdata.subset import Subset
from tests.conftest import write_photos
from tests.strategies import unit_vectors

NONE = pl.DataFrame({"a": []})


def put(out, format, *, inputs, made_with=None, **files):
    """A small artefact."""
    with storage.building(out, format=format, made_with=made_with or {}, inputs=inputs) as build:
        for name, content in files.items():
            if isinstance(content, pl.DataFrame):
                content.write_parquet(build.folder / f"{name}.parquet")
            else:
                np.save(build.folder / f"{name}.npy", content)
        build.facts = {"num_images": 0, "num_rejected": 0}
    return out


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder of artefacts made of 24 photographs, of which the first three (by id) shall go."""
    root = tmp_path_factory.mktemp("shop")
    photos = write_photos(root / "photos")
    again = photos / "cat" / "again.jpg"
    work = root / "work"
    catalog = from_folder(photos, out=work / "photos.catalog", workers=1, pack=True)
    first = catalog.rows(catalog.images()[:1])["source"][0]
    again.write_bytes((photos / first).read_bytes())  # a byte-identical copy of the first
    catalog = from_folder(photos, out=work / "packed.catalog", workers=1, pack=True)
    loose = from_folder(photos, out=work / "loose.catalog", workers=1)
    ids = catalog.images()
    vectors = {"embedder": "toy", "split": None}
    rows = {"images": ids, "vectors": unit_vectors(0, 24, 8)}
    rejected = pl.DataFrame({"image": ids[:1], "reason": ["x"], "message": ["x"]})
    of_catalog = {"catalog": catalog.fingerprint}
    put(work / "e", "jftdata.embeddings/1", inputs=of_catalog, made_with=vectors, rejected=rejected, **rows)
    embeddings = Embeddings.open(work / "e")
    put(work / "index", "jftdata.neighbors/1", inputs={"embeddings": embeddings.fingerprint})
    holds = {
        "fraction": subset.fraction(catalog, share=0.9, seed=1) | subset.only(catalog, images=ids[:3]),
        "sample": subset.sample(catalog, size=20, seed=1) | subset.only(catalog, images=ids[:1]),
        "drawn": subset.sample(catalog, size=23, seed=4),
        "decided": subset.fraction(catalog, share=0.999, seed=0),
        "weighted": subset.mix(
            catalog, parts={"a": ids[:4], "b": ids[4:9]}, ratios={"a": 1, "b": 3}, images_an_epoch=32
        ),
        "all its images": subset.only(catalog, images=ids[1:3]),
    }
    clear = subset.without(catalog, images=ids[:3])
    for name, made in {**holds, "clear": clear}.items():
        made.save(work / "subsets" / name)
    for name, seen, of in (("saw", ids[:9], holds["fraction"]), ("did not", ids[9:], clear)):
        inputs = {"subset": of.fingerprint, **of_catalog}
        put(work / "runs" / name, checkpoint.FORMAT, inputs=inputs, images=pl.DataFrame({"image": seen}))
    saw, did_not = (checkpoint.Checkpoint.open(work / "runs" / name) for name in ("saw", "did not"))
    put(
        work / "runs" / "went on", checkpoint.FORMAT, inputs={"weights": saw.fingerprint},
        images=pl.DataFrame({"image": ids[10:]}),
    )  # fmt: skip
    put(work / "runs" / "old", checkpoint.FORMAT, inputs={"subset": "not there", **of_catalog}, weights=NONE)
    put(work / "runs" / "old saw", checkpoint.FORMAT, inputs={"subset": holds["drawn"].fingerprint}, weights=NONE)
    results = Results(pl.DataFrame({"task": ["knn"]}))
    for name, of in (("saw", saw), ("did not", did_not)):
        results.save(work / "results" / name, made_with={}, inputs={"checkpoint": of.fingerprint})
    pairs = pl.DataFrame({"test_image": [5], "train_image": [int(ids[2])]})
    put(work / "c.overlaps" / "00", "jftdata.copies/1", inputs={"train": catalog.fingerprint}, pairs=pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jftdata.plots.rank_frequency", lambda *_: None)
        for format in export.FORMATS:
            data = loose if format == "list" else holds["decided"]
            export.run(data, format=format, out=work / "exports" / format, workers=1)
            other = subset.without(loose, images=ids[:3]) if format == "list" else clear
            export.run(other, format=format, out=work / "exports" / f"{format} clear", workers=1)
    put(work / "stranger", "jftdata.world/1", inputs={}, x=NONE)
    (work / "half.partial").mkdir()
    (work / "half.partial" / ".plan.json").write_text("{}")
    put(work / "damaged", "jftdata.checkpoint/1", inputs={}, images=NONE)
    (work / "damaged" / "images.parquet").write_text("?")
    return work, catalog, ids


def told(frame, root):
    return {row["path"].removeprefix(f"{root.resolve()}/"): row for row in frame.iter_rows(named=True)}


def digest(root):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


def test_what_holds_the_images_is_found(shop):
    work, _, ids = shop
    found = takedown.find(ids[:3], among=[work])
    assert found.schema == pl.Schema(takedown.FOUND)
    by = told(found, work)
    holds = {name: row["num_images"] for name, row in by.items() if row["how"] == "holds"}
    drawn = len(set(Subset.open(work / "subsets" / "drawn").images.tolist()) & set(ids[:3].tolist()))
    sampled = len(set(Subset.open(work / "subsets" / "sample").images.tolist()) & set(ids[:3].tolist()))
    assert holds == {
        "photos.catalog": 3, "packed.catalog": 3, "loose.catalog": 3, "e": 3, "subsets/fraction": 3, "subsets/sample": sampled,
        "subsets/drawn": drawn, "subsets/decided": 3, "subsets/weighted": 3, "subsets/all its images": 2, "runs/saw": 3,
        "c.overlaps/00": 1, **{f"exports/{format}": 3 for format in export.FORMATS},
    }  # fmt: skip
    others = {name: row["how"] for name, row in by.items() if row["how"] != "holds"}
    assert others == {
        "index": "made from", "runs/went on": "made from", "runs/old saw": "made from", "results/saw": "made from",
        "runs/old": "unknown", "stranger": "unknown", "half.partial": "unknown", "damaged": "unknown",
    }  # fmt: skip
    assert by["c.overlaps/00"]["images"] == [ids[2]]
    assert by["half.partial"]["kind"] == by["damaged"]["kind"] == "unfinished or damaged"


def test_images_nobody_has_are_found_nowhere(shop):
    work, _, _ = shop
    found = takedown.find([5_000], among=[work])
    assert set(found["how"]) == {"unknown"}


def test_new_versions_are_without_the_images_and_old_ones_untouched(shop, tmp_path):
    work, _, ids = shop
    before = digest(work)
    taken = takedown.without(ids[:3], among=[work], out=tmp_path / "new")
    assert digest(work) == before
    assert taken.schema == pl.Schema(takedown.TAKEN)
    by = told(taken, work)
    written = {name for name, row in by.items() if row["new"] is not None}
    assert written == {
        "photos.catalog", "packed.catalog", "loose.catalog", "e",
        *(f"subsets/{name}" for name in ("fraction", "sample", "drawn", "decided", "weighted")),
    }  # fmt: skip
    assert "no image is left" in by["subsets/all its images"]["todo"]
    assert "train it again" in by["runs/saw"]["todo"]
    assert all(row["todo"] for row in by.values())
    for name in written:
        storage.verify(tmp_path / "new" / name)

    new = Catalog.open(tmp_path / "new" / "packed.catalog")
    assert new.images().tolist() == ids[3:].tolist()
    facts = new.sidecar.facts
    assert facts["num_input"] == 25 == facts["num_images"] + facts["num_duplicates"] + facts["num_rejected"]
    assert (facts["num_duplicates"], facts["rejected"]) == (0, {"taken down": 4})
    rejected = pl.read_parquet(new.path / "rejected.parquet")
    assert rejected["source"].to_list() == [f"image {i}" for i in [*ids[:3], ids[0]]]
    row = new.rows(ids[5:6]).row(0, named=True)
    assert hashlib.sha256(new.read(row["shard"], row["offset"], row["length"])).digest() == row["sha256"]

    old, made = Embeddings.open(work / "e"), Embeddings.open(tmp_path / "new" / "e")
    assert made.images.tolist() == ids[3:].tolist()
    assert np.array_equal(made.vectors, old.vectors[3:])
    assert storage.read_sidecar(made.path).inputs["catalog"] == new.fingerprint
    assert len(pl.read_parquet(made.path / "rejected.parquet")) == 0

    for name in ("fraction", "sample", "drawn", "decided", "weighted"):
        old, made = Subset.open(work / "subsets" / name), Subset.open(tmp_path / "new" / "subsets" / name)
        kept = ~np.isin(old.images, ids[:3])
        assert made.images.tolist() == old.images[kept].tolist()
        assert (made.weights is None) == (old.weights is None)
        if made.weights is not None:
            assert made.weights.tolist() == old.weights[kept].tolist()
        assert made.catalog.fingerprint == new.fingerprint
        assert subset.make(made.recipe, new).fingerprint == made.fingerprint
    steps = [step.builder for step in Subset.open(tmp_path / "new" / "subsets" / "decided").recipe.steps()]
    assert steps == ["everything", "fraction", "without"]
    steps = [step.builder for step in Subset.open(tmp_path / "new" / "subsets" / "weighted").recipe.steps()]
    assert steps == ["everything", "only", "weighted"]

    assert set(takedown.find(ids[:3], among=[tmp_path / "new"])["how"]) == set()
    again = takedown.without(ids[:3], among=[work], out=tmp_path / "new")
    assert again.equals(taken)


@given(st.sets(st.integers(0, 23), min_size=1, max_size=6))
@settings(max_examples=4)
def test_any_images_can_go(shop, tmp_path_factory, which):
    work, _, ids = shop
    gone = ids[sorted(which)]
    out = tmp_path_factory.mktemp("new")
    takedown.without(gone, among=[work / "packed.catalog", work / "subsets"], out=out)
    assert Catalog.open(out / "packed.catalog").images().tolist() == np.setdiff1d(ids, gone).tolist()
    for path in (work / "subsets").iterdir():
        old = Subset.open(path)
        if (left := np.setdiff1d(old.images, gone)).size == len(old):
            assert not (out / "subsets" / path.name).exists()
        elif left.size:
            assert Subset.open(out / "subsets" / path.name).images.tolist() == left.tolist()


def test_a_subset_whose_catalog_is_elsewhere_keeps_it(shop, tmp_path):
    work, catalog, ids = shop
    takedown.without(ids[:1], among=[work / "subsets"], out=tmp_path / "new")
    made = Subset.open(tmp_path / "new" / "drawn")
    assert made.catalog.fingerprint == catalog.fingerprint
    assert [step.builder for step in made.recipe.steps()] == ["everything", "sample", "without"]


def test_where_the_bytes_lie(shop):
    work, _, ids = shop
    found = takedown.places(ids[:3], among=[work])
    assert found.schema == pl.Schema(takedown.PLACES)
    assert len(found) == 9
    assert found.group_by("whole_file").len().sort("whole_file").rows() == [(False, 6), (True, 3)]
    for row in found.iter_rows(named=True):
        with open(row["file"], "rb") as file:
            file.seek(row["offset"])
            assert takedown.image_id(hashlib.sha256(file.read(row["length"])).digest()) == row["image"]


def test_what_a_person_asks_for(shop, tmp_path):
    work, catalog, ids = shop
    rows = catalog.rows(ids[:2])
    hexes = [value.hex() for value in rows["sha256"]]
    file = work.parent / "photos" / rows["source"][0]
    assert takedown.identify([hexes[0].upper(), hexes[1], file, int(ids[3])]).tolist() == ids[[0, 1, 3]].tolist()
    for column, values in (("image", ids[:2]), ("sha256", hexes), ("file", [str(file), str(file)])):
        found = takedown.identify(pl.DataFrame({column: values}))
        assert found.tolist() == ids[: 1 if column == "file" else 2].tolist()
    with pytest.raises(MissingInput, match="'abc' is neither 64 hex digits"):
        takedown.identify(["abc"])
    with pytest.raises(BadInput, match="column image, sha256 or file"):
        takedown.identify(pl.DataFrame({"id": [1]}))
    with pytest.raises(BadInput, match="no image to take down"):
        takedown.identify([])
    with pytest.raises(BadInput, match="image_a and image_b"):
        takedown.with_copies([1], pl.DataFrame({"a": [1]}))
    with pytest.raises(MissingInput, match="is not a folder"):
        takedown.find([1], among=[tmp_path / "nowhere"])


def test_a_catalog_without_pixels_is_told_and_the_rest_goes_on(tmp_path):
    bare = world.jft300m(1000, out=tmp_path / "work" / "bare")
    ids = bare.images()
    subset.sample(bare, size=1000, seed=0).save(tmp_path / "work" / "s")
    taken = told(takedown.without(ids[:2], among=[tmp_path / "work"], out=tmp_path / "work" / "new"), tmp_path / "work")
    assert "no pixels" in taken["bare"]["todo"]
    assert Subset.open(tmp_path / "work" / "new" / "s").images.tolist() == ids[2:].tolist()
    assert len(takedown.places(ids[:2], among=[tmp_path / "work"])) == 0


def test_on_the_command_line(shop, tmp_path, capsys):
    work, catalog, ids = shop
    pl.DataFrame({"sha256": [value.hex() for value in catalog.rows(ids[:1])["sha256"]]}).write_csv(tmp_path / "i.csv")
    pl.DataFrame({"image_a": [ids[0]], "image_b": [ids[1]]}).write_csv(tmp_path / "pairs.csv")
    arguments = ["takedown", str(tmp_path / "i.csv"), "--among", str(work), "--quiet"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith("1 image; artefacts: ")
    assert "packed.catalog" in text
    more = ["--copies", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "new"), "--json"]
    assert run([*arguments, *more]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_asked"] == 2
    assert Catalog.open(tmp_path / "new" / "loose.catalog").images().tolist() == ids[2:].tolist()
    assert len(pl.read_csv(tmp_path / "new" / "places.csv")) == 6
    assert len(pl.read_csv(tmp_path / "new" / "takedown.csv")) == len(found["artefacts"])
    assert run(["takedown", str(tmp_path / "nothing.csv"), "--among", str(work)]) == 3
