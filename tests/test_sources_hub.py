import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jftdata import storage
from jftdata.errors import BadInput, Damaged, MissingInput, OutputExists, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources import from_folder, from_hub
from tests.strategies import picture

IMAGES = [encode_jpeg(picture(i)) for i in range(6)]


def write(path, labels, *, images=IMAGES, plain=False, **columns):
    made = images if plain else [{"bytes": data, "path": f"{i}.jpg"} for i, data in enumerate(images)]
    table = pa.table({"image": made[: len(labels)], "label": labels, **columns})
    pq.write_table(table, path, row_group_size=4)
    return path


def run(data, out, **options):
    return from_hub(data, out=out, **{"workers": 1, **options})


def labels_of(catalog):
    """Labels of each image, in the order of `IMAGES`."""
    frame = catalog.scan().select("source", "labels").collect()
    names = catalog.hierarchy.labels
    found = {int(source.split("#")[1].split(":")[0]): [names[i] for i in given] for source, given in frame.iter_rows()}
    return [found[i] for i in sorted(found)]


@pytest.mark.parametrize("plain", [True, False], ids=["bytes", "struct"])
def test_images_in_plain_bytes_or_a_struct_are_packed_untouched(tmp_path, plain):
    catalog = run(write(tmp_path / "d.parquet", list("abcabc"), plain=plain), tmp_path / "c")
    assert labels_of(catalog) == [["a"], ["b"], ["c"], ["a"], ["b"], ["c"]]
    packed = {
        catalog.read(*place) for place in catalog.scan().select("shard", "offset", "length").collect().iter_rows()
    }
    assert packed == set(IMAGES)
    storage.verify(catalog.path)


def test_a_folder_and_a_parquet_of_the_same_images_have_the_same_ids_and_labels(tmp_path):
    for i, data in enumerate(IMAGES):
        path = tmp_path / "p" / "abcabc"[i] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    one = from_folder(tmp_path / "p", out=tmp_path / "one", workers=1)
    two = run(write(tmp_path / "d.parquet", list("abcabc")), tmp_path / "two")
    columns = ["image", "sha256", "labels", "width", "height", "format", "split"]
    assert one.scan().select(columns).collect().equals(two.scan().select(columns).collect())


def test_lists_of_labels_are_all_given(tmp_path):
    given = [["b", "a"], ["c"], [], None, ["a", None], ["a", "a"]]
    catalog = run(write(tmp_path / "d.parquet", given), tmp_path / "c")
    assert labels_of(catalog) == [["a", "b"], ["c"], [], [], ["a"], ["a"]]
    assert catalog.sidecar.facts["num_unlabelled"] == 2


def test_null_labels_are_unlabelled_images(tmp_path):
    catalog = run(write(tmp_path / "d.parquet", ["a", None, "b", None, "a", "a"]), tmp_path / "c")
    assert labels_of(catalog) == [["a"], [], ["b"], [], ["a"], ["a"]]
    assert len(catalog) == 6
    assert catalog.hierarchy.labels == ("a", "b")


def test_without_a_label_column_all_images_are_unlabelled(tmp_path):
    catalog = run(write(tmp_path / "d.parquet", list("abcabc")), tmp_path / "c", label=None)
    assert labels_of(catalog) == [[]] * 6


def test_integers_become_the_class_names_that_datasets_wrote(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": data, "path": None} for data in IMAGES], "label": [0, 1, 1, 0, None, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "d.parquet")
    catalog = run(tmp_path / "d.parquet", tmp_path / "c")
    assert labels_of(catalog) == [["cat"], ["dog"], ["dog"], ["cat"], [], ["dog"]]


@pytest.mark.parametrize("file", [True, False], ids=["parquet", "in memory"])
def test_lists_of_integers_become_the_class_names_too(tmp_path, file):
    datasets = pytest.importorskip("datasets")
    labels = datasets.List(datasets.ClassLabel(names=["cat", "dog", "cow"]))
    features = datasets.Features({"image": datasets.Image(), "label": labels})
    rows = {"image": [{"bytes": data, "path": None} for data in IMAGES], "label": [[0, 2], [1], [], [0], None, [2]]}
    data = datasets.Dataset.from_dict(rows, features=features)
    if file:
        data.to_parquet(tmp_path / "d.parquet")
    catalog = run(tmp_path / "d.parquet" if file else data, tmp_path / "c")
    assert labels_of(catalog) == [["cat", "cow"], ["dog"], [], ["cat"], [], ["cow"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dataset_in_memory_makes_the_same_rows_as_its_parquet(tmp_path, monkeypatch, workers):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("jftdata.sources.hub.CHUNK_IMAGES", 4)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": data, "path": None} for data in IMAGES], "label": [0, 1, 1, 0, 1, 1]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.to_parquet(tmp_path / "d.parquet")
    one = run(data, tmp_path / "one", workers=workers)
    two = run(tmp_path / "d.parquet", tmp_path / "two")
    columns = ["image", "sha256", "labels", "width", "height", "format", "split"]
    assert one.scan().select(columns).collect().equals(two.scan().select(columns).collect())
    assert run(data, tmp_path / "one").fingerprint == one.fingerprint


def test_a_dataset_that_points_at_image_files_is_read_from_them(tmp_path):
    datasets = pytest.importorskip("datasets")
    for i, data in enumerate(IMAGES):
        (tmp_path / f"{i}.jpg").write_bytes(data)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    rows = {"image": [str(tmp_path / f"{i}.jpg") for i in range(6)], "label": list("abcabc")}
    catalog = run(datasets.Dataset.from_dict(rows, features=features), tmp_path / "c")
    assert labels_of(catalog) == [["a"], ["b"], ["c"], ["a"], ["b"], ["c"]]
    packed = {
        catalog.read(*place) for place in catalog.scan().select("shard", "offset", "length").collect().iter_rows()
    }
    assert packed == set(IMAGES)


def test_paths_inside_a_parquet_file_are_never_followed(tmp_path):
    (tmp_path / "private.jpg").write_bytes(IMAGES[0])
    table = pa.table({"image": [{"bytes": None, "path": str(tmp_path / "private.jpg")}], "label": ["a"]})
    pq.write_table(table, tmp_path / "d.parquet")
    catalog = run(tmp_path / "d.parquet", tmp_path / "c", max_rejected=1.0)
    assert catalog.sidecar.facts["rejected"] == {"empty": 1}


def test_label_names_are_for_integers(tmp_path):
    path = write(tmp_path / "d.parquet", [0, 1, 0, 1, 1, 0])
    catalog = run(path, tmp_path / "c", label_names=["cat", "dog"])
    assert labels_of(catalog)[:2] == [["cat"], ["dog"]]
    assert labels_of(run(path, tmp_path / "bare"))[:2] == [["0"], ["1"]]
    with pytest.raises(BadInput, match=r"label number 1 is outside 0\.\.0"):
        run(path, tmp_path / "few", label_names=["cat"])
    words = write(tmp_path / "words.parquet", list("abcabc"))
    with pytest.raises(BadInput, match="label 'a' is no number"):
        run(words, tmp_path / "words", label_names=["cat", "dog"])


def test_the_split_column_is_used_unless_a_split_is_named(tmp_path):
    path = write(tmp_path / "d.parquet", list("abcabc"), split=["train"] * 4 + ["val"] * 2)
    assert run(path, tmp_path / "c").splits == {"train": 4, "val": 2}
    assert run(path, tmp_path / "test", split="test").splits == {"test": 6}


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    path = write(tmp_path / "d.parquet", list("abcabc"))
    with pytest.raises(BadInput, match=r"no column 'labels'\. Did you mean 'label'\? It has: image, label"):
        run(path, tmp_path / "c", label="labels")
    with pytest.raises(BadInput, match=r"no column 'img'"):
        run(path, tmp_path / "c", image="img")


def test_an_unknown_label_is_named_with_the_nearest(tmp_path):
    path = write(tmp_path / "d.parquet", ["dog", "dgo"])
    with pytest.raises(UnknownName, match=r"'dgo'.*Did you mean 'dog'"):
        run(path, tmp_path / "c", hierarchy=Hierarchy.load("toy"))


def test_bad_images_are_listed_with_file_and_row(tmp_path):
    path = write(tmp_path / "d.parquet", list("aaaa"), images=[IMAGES[0], b"", b"<html>", None], plain=True)
    catalog = run(path, tmp_path / "c", max_rejected=0.75)
    assert pl.read_parquet(catalog.path / "rejected.parquet").select("source", "reason").rows() == [
        ("d.parquet#1", "empty"),
        ("d.parquet#2", "not_an_image"),
        ("d.parquet#3", "empty"),
    ]


def test_a_folder_a_pattern_and_a_list_name_the_same_files(tmp_path):
    (tmp_path / "d").mkdir()
    files = [write(tmp_path / "d" / f"{i}.parquet", ["a", "b", "c"], images=IMAGES[3 * i :]) for i in range(2)]
    ways = [tmp_path / "d", str(tmp_path / "d" / "*.parquet"), files, [str(f) for f in files]]
    made = [run(data, tmp_path / f"c{i}") for i, data in enumerate(ways)]
    assert len(made[0]) == 6
    assert len({catalog.fingerprint for catalog in made}) == 1


def test_other_arguments_and_changed_data_are_refused(tmp_path):
    path = write(tmp_path / "d.parquet", list("abcabc"))
    run(path, tmp_path / "c")
    with pytest.raises(OutputExists, match='split: there null, now "test"'):
        run(path, tmp_path / "c", split="test")
    write(tmp_path / "d.parquet", list("abcabb"))
    with pytest.raises(OutputExists, match=r"inputs\.data"):
        run(path, tmp_path / "c")


def test_what_is_not_there_or_not_parquet_is_an_error(tmp_path):
    with pytest.raises(MissingInput, match="no Parquet or Arrow file"):
        run(tmp_path / "nowhere.parquet", tmp_path / "c")
    with pytest.raises(MissingInput, match="no Parquet or Arrow file"):
        run(str(tmp_path / "*.parquet"), tmp_path / "c")
    (tmp_path / "text.parquet").write_text(json.dumps({"a": 1}))
    with pytest.raises(Damaged, match=r"text\.parquet is not a readable Parquet file"):
        run(tmp_path / "text.parquet", tmp_path / "c")
    with pytest.raises(BadInput, match="Got int"):
        run(3, tmp_path / "c")


BOXES = [["cat", "dog", "cat"], [], ["dog"], None, ["cow"], ["cat", None]]
EXPECTED = [["cat", "dog"], [], ["dog"], [], ["cow"], ["cat"]]


def box_columns(kind):
    """The same boxes as a list of structs, as a struct of lists, and one level deeper."""
    if kind == "list of structs":
        return [
            None if b is None else [{"bbox": [0.0, 1.0], "category": c} for c in b] for b in BOXES
        ], "objects.category"
    lists = [None if b is None else {"bbox": [0.0], "category": b} for b in BOXES]
    if kind == "struct of lists":
        return lists, "objects.category"
    return [{"seen": x} for x in lists], "objects.seen.category"


@pytest.mark.parametrize("kind", ["list of structs", "struct of lists", "deeper"])
def test_labels_inside_boxes_are_each_given_once(tmp_path, kind):
    boxes, label = box_columns(kind)
    path = write(tmp_path / "d.parquet", list("abcabc"), objects=boxes)
    assert labels_of(run(path, tmp_path / "c", label=label)) == EXPECTED


@pytest.mark.parametrize("kind", ["list of structs", "struct of lists"])
@pytest.mark.parametrize("form", ["parquet", "arrow", "in memory"])
def test_integers_inside_boxes_become_their_class_names(tmp_path, kind, form):
    datasets = pytest.importorskip("datasets")
    names = ["cat", "cow", "dog"]
    one = datasets.ClassLabel(names=names)
    objects = datasets.List({"category": one}) if kind == "list of structs" else {"category": datasets.List(one)}
    features = datasets.Features({"image": datasets.Image(), "objects": objects})
    given = [[names.index(c) for c in b or () if c is not None] for b in BOXES]
    boxes = (
        [[{"category": c} for c in b] for b in given] if kind == "list of structs" else [{"category": b} for b in given]
    )
    rows = {"image": [{"bytes": data, "path": None} for data in IMAGES], "objects": boxes}
    data = datasets.Dataset.from_dict(rows, features=features)
    if form == "parquet":
        data.to_parquet(tmp_path / "d.parquet")
    if form == "arrow":
        data.save_to_disk(tmp_path / "d")
    where = {"parquet": tmp_path / "d.parquet", "arrow": tmp_path / "d", "in memory": data}[form]
    assert labels_of(run(where, tmp_path / "c", label="objects.category")) == EXPECTED


def test_a_column_whose_name_has_a_dot_is_a_column(tmp_path):
    path = write(tmp_path / "d.parquet", list("abcabc"), **{"objects.category": list("xyzxyz")})
    assert labels_of(run(path, tmp_path / "c", label="objects.category")) == [[x] for x in "xyzxyz"]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("objects", r"'objects' has fields \(bbox, category\)\. Name one: objects\.bbox"),
        ("objects.categori", r"'objects' has no field 'categori'\. Did you mean 'category'"),
        ("objects.category.x", r"'objects\.category' has no field 'x'"),
        ("label.x", r"'label' has no field 'x'"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error(tmp_path, label, message):
    path = write(tmp_path / "d.parquet", list("abcabc"), objects=box_columns("list of structs")[0])
    with pytest.raises(BadInput, match=message):
        run(path, tmp_path / "c", label=label)


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_files_make_the_rows_of_their_parquet(tmp_path, monkeypatch, form):
    monkeypatch.setattr("jftdata.sources.hub.CHUNK_IMAGES", 3)
    parquet = write(tmp_path / "d.parquet", list("abcabc"), split=["train"] * 4 + ["val"] * 2)
    table = pq.read_table(parquet)
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with new(tmp_path / "d.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    one, two = run(parquet, tmp_path / "one"), run(tmp_path / "d.arrow", tmp_path / "two", workers=2)
    columns = ["image", "sha256", "labels", "split", "width", "height"]
    assert one.scan().select(columns).collect().equals(two.scan().select(columns).collect())
    assert labels_of(two) == labels_of(one)
    assert {s.split("#")[0] for s in two.scan().collect()["source"]} == {"d.arrow"}


def test_a_damaged_arrow_file_is_an_error(tmp_path):
    table = pa.table({"image": IMAGES, "label": list("abcabc")})
    with pa.ipc.new_stream(tmp_path / "d.arrow", table.schema) as writer:
        writer.write_table(table)
    whole = (tmp_path / "d.arrow").read_bytes()
    for name, data in (("half", whole[: len(whole) // 2]), ("text", b"no arrow " * 100), ("none", b"")):
        (tmp_path / f"{name}.arrow").write_bytes(data)
        with pytest.raises(Damaged, match=rf"{name}\.arrow is not a readable Arrow file"):
            run(tmp_path / f"{name}.arrow", tmp_path / "c")


def test_larger_images_may_be_stored_smaller(tmp_path):
    catalog = run(write(tmp_path / "d.parquet", list("abcabc")), tmp_path / "c", shorter_side=32)
    assert catalog.sidecar.facts["num_reencoded"] == 6
    assert set(catalog.scan().collect()["height"]) == {32}


@pytest.mark.shared
def test_a_real_parquet_with_plain_bytes_has_all_its_rows(shared_data, tmp_path):
    path = shared_data / "cifar10_small" / "cifar10_small.parquet"
    there = pl.read_parquet(path, columns=["split", "class_name"])
    catalog = run(path, tmp_path / "c", label="class_name", workers=2)
    facts = catalog.sidecar.facts
    assert facts["num_input"] == len(there) == facts["num_images"] + facts["num_duplicates"] + facts["num_rejected"]
    assert catalog.hierarchy.labels == tuple(sorted(there["class_name"].unique()))
