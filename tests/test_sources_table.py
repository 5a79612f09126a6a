import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata.errors import BadArgument, BadInput, MissingInput, OutputExists, TooManyRejects, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.sources import from_folder, from_table
from tests.test_sources_folder import place

OPEN_IMAGES = """\
ImageID,Source,LabelName,Confidence
b2,verification,/m/cat,1
a1,machine,/m/dog,0.9
a1,verification,/m/cat,0
b2,machine,/m/cat,0.25
c3,machine,/m/cat,0
a1,crowdsource-verification,/m/bus,1
b2,machine,/m/bus,0.5
"""


@pytest.fixture
def images(tmp_path):
    return place(tmp_path / "images", "a1.jpg", "b2.jpg", "c3.jpg")


def run(table, images, out, **options):
    return from_table(table, images=images, out=out, **{"workers": 1, **options})


def write(path, text):
    path.write_text(text)
    return path


def open_images(tmp_path, images, out="c", text=OPEN_IMAGES, **options):
    columns = {"image": "ImageID", "label": "LabelName", "confidence": "Confidence", "source": "Source"}
    path = write(tmp_path / "labels.csv", text)
    return run(path, images, tmp_path / out, suffix=".jpg", **columns, **options)


def told(catalog):
    """Split, labels with scores, negatives by source."""
    names = catalog.hierarchy.labels
    found = {}
    for source, split, labels, scores, negatives in (
        catalog.scan().select("source", "split", "labels", "scores", "negatives").collect().iter_rows()
    ):
        scored = zip(labels, scores or [None] * len(labels), strict=True)
        found[source] = (split, {names[i]: s for i, s in scored}, [names[i] for i in negatives])
    return found


def test_open_images_rows_become_labels_scores_and_verified_negatives(tmp_path, images):
    catalog = open_images(tmp_path, images)
    found = told(catalog)
    assert found["a1.jpg"] == ("train", {"/m/bus": 1.0, "/m/dog": pytest.approx(0.9)}, ["/m/cat"])
    assert found["b2.jpg"] == ("train", {"/m/bus": 0.5, "/m/cat": 1.0}, [])  # the highest score of two rows
    assert found["c3.jpg"] == ("train", {}, [])  # a machine's zero says nothing, the image stays
    facts = catalog.sidecar.facts
    assert (facts["num_rows"], facts["num_rows_left_out"], facts["num_negatives"]) == (7, 1, 1)
    row = catalog.scan().filter(pl.col("source") == "a1.jpg").collect().row(0, named=True)
    assert catalog.read(row["shard"], row["offset"], row["length"]) == (images / "a1.jpg").read_bytes()


def test_rows_below_the_least_confidence_are_left_out_and_verified_negatives_stay(tmp_path, images):
    catalog = open_images(tmp_path, images, min_confidence=0.6)
    assert told(catalog)["b2.jpg"] == ("train", {"/m/cat": 1.0}, [])
    assert told(catalog)["a1.jpg"][2] == ["/m/cat"]
    assert catalog.sidecar.facts["num_rows_left_out"] == 3


def test_who_counts_as_human_can_be_said(tmp_path, images):
    assert told(open_images(tmp_path, images, human_sources=["machine"]))["c3.jpg"] == ("train", {}, ["/m/cat"])


def test_a_label_that_is_given_and_negated_stays_and_is_counted(tmp_path, images):
    catalog = open_images(tmp_path, images, text=OPEN_IMAGES + "a1,verification,/m/dog,0\n")
    assert set(told(catalog)["a1.jpg"][1]) == {"/m/bus", "/m/dog"}
    assert catalog.sidecar.facts["num_conflicts"] == 1


@settings(max_examples=10)
@given(order=st.permutations(OPEN_IMAGES.splitlines()[1:]))
def test_the_order_of_the_rows_does_not_matter(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    images = place(folder / "images", "a1.jpg", "b2.jpg", "c3.jpg")
    catalog = open_images(folder, images, text="\n".join([OPEN_IMAGES.splitlines()[0], *order]) + "\n")
    assert told(catalog)["a1.jpg"] == ("train", {"/m/bus": 1.0, "/m/dog": pytest.approx(0.9)}, ["/m/cat"])
    assert told(catalog)["b2.jpg"] == ("train", {"/m/bus": 0.5, "/m/cat": 1.0}, [])


def test_parquet_tsv_and_several_csv_files_say_the_same(tmp_path, images):
    frame = pl.read_csv(write(tmp_path / "all.csv", OPEN_IMAGES))
    frame = frame.rename({"ImageID": "image", "LabelName": "label", "Confidence": "confidence", "Source": "source"})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.tsv", separator="\t")
    frame[:3].write_csv(tmp_path / "part-0.csv")
    frame[3:].write_csv(tmp_path / "part-1.csv")
    ways = [tmp_path / "t.parquet", tmp_path / "t.tsv", str(tmp_path / "part-*.csv")]
    ways.append([tmp_path / "part-0.csv", tmp_path / "part-1.csv"])
    made = [told(run(way, images, tmp_path / f"c{i}", suffix=".jpg")) for i, way in enumerate(ways)]
    assert made[0]["a1.jpg"][2] == ["/m/cat"]
    assert all(one == made[0] for one in made)


def test_a_plain_table_of_paths_gives_labels_without_scores_and_splits(tmp_path):
    root = place(tmp_path / "images", "x/1.jpg", "x/2.jpg", "3.jpg")
    text = "image,label,split\nx/1.jpg,cat,train\nx/2.jpg,dog,val\nx/1.jpg,dog,train\n3.jpg,,val\n"
    catalog = run(write(tmp_path / "t.csv", text), root, tmp_path / "c")
    assert told(catalog) == {
        "x/1.jpg": ("train", {"cat": None, "dog": None}, []),
        "x/2.jpg": ("val", {"dog": None}, []),
        "3.jpg": ("val", {}, []),
    }
    assert catalog.scan().collect()["scores"].null_count() == 3
    assert run(tmp_path / "t.csv", root, tmp_path / "c2", split="test").splits == {"test": 3}


def test_labels_that_are_numbers_are_their_text(tmp_path, images):
    pl.DataFrame({"image": ["a1", "b2"], "label": [7, 10]}).write_parquet(tmp_path / "t.parquet")
    assert run(tmp_path / "t.parquet", images, tmp_path / "c", suffix=".jpg").hierarchy.labels == ("10", "7")


def test_an_id_that_looks_like_a_number_stays_text(tmp_path):
    root = place(tmp_path / "images", "007.jpg", "1e5.jpg")
    catalog = run(write(tmp_path / "t.csv", "image,label\n007,a\n1e5,b\n"), root, tmp_path / "c", suffix=".jpg")
    assert set(told(catalog)) == {"007.jpg", "1e5.jpg"}


def test_missing_files_and_names_that_leave_the_folder_are_rejected_and_counted(tmp_path, images):
    place(tmp_path, "private.jpg")
    text = "image,label\na1.jpg,cat\ngone.jpg,cat\n../private.jpg,cat\n/etc/passwd,cat\n"
    with pytest.raises(TooManyRejects, match="3 of 4 images were rejected"):
        run(write(tmp_path / "t.csv", text), images, tmp_path / "c")
    catalog = run(tmp_path / "t.csv", images, tmp_path / "c", max_rejected=0.75)
    assert pl.read_parquet(catalog.path / "rejected.parquet").select("source", "reason").rows() == [
        ("../private.jpg", "unsafe"), ("/etc/passwd", "unsafe"), ("gone.jpg", "missing"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na1,cat\n", r"no column 'image'.*It has: picture, label"),
        ("image,lable\na1,cat\n", r"no column 'label'\. Did you mean 'lable'"),
        ("image,label,confidence\na1,cat,1.5\n", "1 images have a confidence outside 0..1, for example 'a1'"),
        ("image,label,confidence\na1,cat,-0.1\n", "confidence outside 0..1"),
        ("image,label,confidence\na1,cat,nan\n", "confidence outside 0..1"),
        ("image,label,confidence\na1,cat,high\n", "confidence outside 0..1"),
        ("image,label\n,cat\n,dog\n", "2 rows name no image"),
        ("image,label,split\na1,cat,train\na1,dog,val\n", "1 images have rows in more than one split"),
        ("image,label\na1,cat,more\n", "not a readable table"),
        ("", "not a readable table"),
        ("image,label\n", "no image was found"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, images, text, message):
    with pytest.raises(BadInput, match=message):
        run(write(tmp_path / "t.csv", text), images, tmp_path / "c", suffix=".jpg")


def test_a_named_column_that_is_not_there_is_an_error(tmp_path, images):
    path = write(tmp_path / "t.csv", "image,label\na1,cat\n")
    with pytest.raises(BadInput, match="no column 'Confidence'"):
        run(path, images, tmp_path / "c", confidence="Confidence")
    with pytest.raises(BadInput, match="no column 'Source'"):
        run(path, images, tmp_path / "c", source="Source")


def test_wrong_arguments_are_errors(tmp_path, images):
    path = write(tmp_path / "t.csv", "image,label\na1,cat\n")
    with pytest.raises(BadArgument, match=r"min_confidence.*Got 2"):
        run(path, images, tmp_path / "c", min_confidence=2)
    with pytest.raises(MissingInput, match="no table at"):
        run(tmp_path / "nowhere.csv", images, tmp_path / "c")
    with pytest.raises(MissingInput, match="folder"):
        run(path, tmp_path / "nowhere", tmp_path / "c")
    with pytest.raises(BadInput, match=r"Got \.txt"):
        run(write(tmp_path / "t.txt", "image,label\n"), images, tmp_path / "c")
    with pytest.raises(UnknownName, match="'act'"):
        run(
            write(tmp_path / "u.csv", "image,label\na1,act\n"), images, tmp_path / "c", suffix=".jpg",
            hierarchy=Hierarchy.load("toy"),
        )  # fmt: skip


def test_a_changed_table_or_image_is_not_the_same_call(tmp_path, images):
    path = write(tmp_path / "t.csv", "image,label\na1.jpg,cat\n")
    first = run(path, images, tmp_path / "c")
    assert run(path, images, tmp_path / "c").fingerprint == first.fingerprint
    (images / "a1.jpg").write_bytes((images / "b2.jpg").read_bytes())
    with pytest.raises(OutputExists, match=r"inputs\.listing"):
        run(path, images, tmp_path / "c")
    write(path, "image,label\na1.jpg,dog\n")
    with pytest.raises(OutputExists, match=r"inputs\.table"):
        run(path, images, tmp_path / "c")


def test_a_stopped_run_goes_on_to_the_same_catalog(tmp_path, monkeypatch):
    monkeypatch.setattr("jftdata.sources.table.CHUNK_IMAGES", 2)
    names = [f"{i}.jpg" for i in range(7)]
    root = place(tmp_path / "images", *names)
    lines = [f"{name},{label}" for name in names for label in ("cat", "dog")]
    random.Random(0).shuffle(lines)
    path = write(tmp_path / "t.csv", "image,label\n" + "\n".join(lines) + "\n")
    whole = run(path, root, tmp_path / "whole", pack=True)
    from jftdata.sources import ingest

    real, calls = ingest._one_chunk, []

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise RuntimeError("stop")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "_one_chunk", stops)
        with pytest.raises(RuntimeError, match="stop"):
            run(path, root, tmp_path / "c", pack=True)
    assert len(list((tmp_path / "c.partial" / "parts").glob("*.parquet"))) == 2
    assert run(path, root, tmp_path / "c", pack=True).fingerprint == whole.fingerprint


@pytest.mark.shared
def test_a_table_of_a_real_folder_makes_the_catalog_of_the_folder(shared_data, tmp_path):
    root = shared_data / "imagenette_folder"
    folder = from_folder(root, out=tmp_path / "folder", workers=2)
    rows = folder.scan().select("source", "labels", "split").collect().explode("labels")
    names = pl.Series(folder.hierarchy.labels)
    rows.select(image="source", label=names.gather(rows["labels"].cast(pl.UInt32)), split="split").sample(
        fraction=1, shuffle=True, seed=0
    ).write_csv(tmp_path / "t.csv")
    catalog = run(tmp_path / "t.csv", root, tmp_path / "c", workers=2)
    assert catalog.scan().collect().equals(folder.scan().collect())
