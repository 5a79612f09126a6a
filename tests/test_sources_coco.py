import copy
import json

import polars as pl
import pytest

from jftdata.errors import BadInput, Damaged, MissingInput, OutputExists, TooManyRejects, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.sources import from_coco
from tests.test_sources_folder import place
from tests.test_sources_folder import rows as told

COCO = {
    "images": [{"id": 3, "file_name": "3.jpg"}, {"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "sub/2.jpg"},
               {"id": 4, "file_name": "4.jpg"}],
    "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}, {"id": 8, "name": "bus"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 9, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 7, "iscrowd": 0},
        {"id": 4, "image_id": 2, "category_id": 9, "iscrowd": 1},
        {"id": 5, "image_id": 4, "category_id": 9, "iscrowd": 0},
    ],
}  # fmt: skip


@pytest.fixture
def images(tmp_path):
    return place(tmp_path / "images", "1.jpg", "sub/2.jpg", "3.jpg", "4.jpg")


def write(path, change=None):
    content = copy.deepcopy(COCO)
    if change is not None:
        change(content)
    path.write_text(json.dumps(content))
    return path


def run(annotations, images, out, **options):
    return from_coco(annotations, images=images, out=out, **{"workers": 1, **options})


def test_category_names_are_labels_and_files_stay_where_they_are(tmp_path, images):
    catalog = run(write(tmp_path / "a.json"), images, tmp_path / "c", split="val")
    assert told(catalog) == {
        "1.jpg": ("val", ["cat", "dog"]),
        "sub/2.jpg": ("val", ["dog"]),  # a crowd only
        "3.jpg": ("val", []),
        "4.jpg": ("val", ["dog"]),
    }
    assert catalog.hierarchy.labels == ("bus", "cat", "dog")
    row = catalog.scan().filter(pl.col("source") == "sub/2.jpg").collect().row(0, named=True)
    assert (row["shard"], row["offset"]) == (str(images / "sub" / "2.jpg"), 0)
    assert catalog.read(row["shard"], 0, row["length"]) == (images / "sub" / "2.jpg").read_bytes()


def test_another_field_may_be_the_label(tmp_path, images):
    catalog = run(write(tmp_path / "a.json"), images, tmp_path / "c", label="id")
    assert told(catalog)["1.jpg"] == ("train", ["7", "9"])


def test_missing_files_and_names_that_leave_the_folder_are_rejected_and_counted(tmp_path, images):
    place(tmp_path, "private.jpg")

    def change(content):
        for image, name in zip(content["images"], ["../private.jpg", "gone.jpg", "/etc/passwd"], strict=False):
            image["file_name"] = name

    path = write(tmp_path / "a.json", change)
    with pytest.raises(TooManyRejects, match="3 of 4 images were rejected"):
        run(path, images, tmp_path / "c")
    catalog = run(path, images, tmp_path / "c", max_rejected=0.75)
    assert pl.read_parquet(catalog.path / "rejected.parquet").select("source", "reason").rows() == [
        ("../private.jpg", "unsafe"), ("/etc/passwd", "unsafe"), ("gone.jpg", "missing"),
    ]  # fmt: skip
    facts = catalog.sidecar.facts
    assert facts["num_input"] == 4 == facts["num_images"] + facts["num_rejected"] + facts["num_duplicates"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][1].update(category_id=99), "annotation 2 has the unknown category 99"),
        (lambda c: c["annotations"][1].update(image_id=99), "annotation 2 is of the unknown image 99"),
        (lambda c: c["annotations"][1].pop("image_id"), "annotation 2 is of the unknown image None"),
        (lambda c: c["images"][1].update(id=3), "the image id 3 is there twice"),
        (lambda c: c["categories"][1].update(id=7), "the category id 7 is there twice"),
        (lambda c: c["images"][1].pop("id"), r"the image '1\.jpg' has no whole number as id"),
        (lambda c: c["images"][1].update(file_name="3.jpg"), r"two images have the file '3\.jpg'"),
        (lambda c: c["images"][1].pop("file_name"), "image 1 has no `file_name`"),
        (lambda c: c["categories"][0].pop("name"), "category 7 has no field 'name'"),
        (lambda c: c.pop("annotations"), r"a\.json has no list of annotations"),
        (lambda c: c.update(images=[1]), r"a\.json has no list of images"),
        (lambda c: c.update(images=[], annotations=[]), "no image was found"),
    ],
)
def test_annotations_that_contradict_themselves_are_refused(tmp_path, images, change, message):
    with pytest.raises(BadInput, match=message):
        run(write(tmp_path / "a.json", change), images, tmp_path / "c")


def test_what_is_not_there_or_not_json_is_an_error(tmp_path, images):
    with pytest.raises(MissingInput, match=r"annotations .*nowhere\.json"):
        run(tmp_path / "nowhere.json", images, tmp_path / "c")
    with pytest.raises(MissingInput, match=r"folder .*nowhere"):
        run(write(tmp_path / "a.json"), tmp_path / "nowhere", tmp_path / "c")
    (tmp_path / "b.json").write_text('{"images": [')
    with pytest.raises(Damaged, match=r"b\.json is not readable JSON"):
        run(tmp_path / "b.json", images, tmp_path / "c")
    with pytest.raises(BadInput, match="Did you mean 'name'"):
        run(write(tmp_path / "a.json"), images, tmp_path / "c", label="nam")


def test_unknown_labels_and_changed_input_are_errors(tmp_path, images):
    path = write(tmp_path / "a.json", lambda c: c["categories"][0].update(name="cta"))
    with pytest.raises(UnknownName, match=r"'cta'.*Did you mean 'cat'"):
        run(path, images, tmp_path / "c", hierarchy=Hierarchy.load("toy"))
    run(path, images, tmp_path / "c")
    write(path)
    with pytest.raises(OutputExists, match=r"inputs\.annotations"):
        run(path, images, tmp_path / "c")
    run(path, images, tmp_path / "c2")
    (images / "3.jpg").unlink()
    with pytest.raises(OutputExists, match=r"inputs\.listing"):
        run(path, images, tmp_path / "c2")


@pytest.mark.shared
def test_real_coco_images_have_the_labels_of_their_annotations(shared_data, tmp_path):
    root = shared_data / "coco_mini"
    for split in ("train2017", "val2017"):
        path = root / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        name = {category["id"]: category["name"] for category in content["categories"]}
        expected = {image["id"]: set() for image in content["images"]}
        for annotation in content["annotations"]:
            expected[annotation["image_id"]].add(name[annotation["category_id"]])
        catalog = run(path, root / split, tmp_path / split, hierarchy=Hierarchy.load("coco80"), split=split)
        found = {source: set(labels) for source, (_, labels) in told(catalog).items()}
        assert found == {image["file_name"]: expected[image["id"]] for image in content["images"]}
        assert catalog.splits == {split: len(content["images"])}
        assert catalog.sidecar.facts["num_rejected"] == 0
