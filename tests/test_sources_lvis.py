import json

import polars as pl
import pytest

from jftdata.errors import BadInput
from jftdata.sources import from_lvis
from tests.test_sources_folder import place
from tests.test_sources_table import told

LVIS = {
    "images": [
        {"id": 1, "coco_url": "http://images.cocodataset.org/val2017/1.jpg", "file_name": "COCO_val2014_1.jpg",
         "neg_category_ids": [2, 3], "not_exhaustive_category_ids": [4]},
        {"id": 2, "file_name": "val2017/2.jpg", "neg_category_ids": [4], "not_exhaustive_category_ids": [1]},
        {"id": 3, "coco_url": "http://images.cocodataset.org/train2017/3.jpg", "neg_category_ids": []},
    ],
    "categories": [{"id": i, "name": name, "synset": f"{name}.n.01"} for i, name in enumerate("abcd", 1)],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1}, {"id": 2, "image_id": 2, "category_id": 1},
                    {"id": 3, "image_id": 2, "category_id": 4}],
}  # fmt: skip


def write(path, **changes):
    path.write_text(json.dumps({**LVIS, **changes}))
    return path


@pytest.fixture
def images(tmp_path):
    return place(tmp_path / "images", "val2017/1.jpg", "val2017/2.jpg", "train2017/3.jpg")


def run(annotations, images, out, **options):
    return from_lvis(annotations, images=images, out=out, **{"workers": 1, **options})


def test_labels_looked_for_and_not_found_are_negatives_and_those_not_looked_for_are_unknown(tmp_path, images):
    catalog = run(write(tmp_path / "a.json"), images, tmp_path / "c")
    assert told(catalog) == {
        "val2017/1.jpg": ("train", {"a": None}, ["b", "c"]),
        "val2017/2.jpg": ("train", {"a": None, "d": None}, []),  # d is boxed, so its negation is a conflict
        "train2017/3.jpg": ("train", {}, []),
    }
    assert catalog.sidecar.facts["num_negatives"] == 2
    assert catalog.sidecar.facts["num_conflicts"] == 1


def test_synsets_may_be_the_labels(tmp_path, images):
    catalog = run(write(tmp_path / "a.json"), images, tmp_path / "c", label="synset")
    assert told(catalog)["val2017/1.jpg"] == ("train", {"a.n.01": None}, ["b.n.01", "c.n.01"])


def test_an_unknown_negative_and_an_image_without_a_place_are_refused(tmp_path, images):
    path = write(tmp_path / "a.json", images=[{"id": 5, "file_name": "x.jpg", "neg_category_ids": [9]}], annotations=[])
    with pytest.raises(BadInput, match="image 5 has the unknown category 9"):
        run(path, images, tmp_path / "c")
    with pytest.raises(BadInput, match="image 5 has neither `coco_url` nor `file_name`"):
        run(write(tmp_path / "b.json", images=[{"id": 5}], annotations=[]), images, tmp_path / "c")


def test_an_address_that_climbs_is_rejected(tmp_path, images):
    image = {"id": 1, "coco_url": "http://x/../1.jpg"}
    path = write(tmp_path / "a.json", images=[image, LVIS["images"][2]], annotations=[])
    catalog = run(path, images, tmp_path / "c", max_rejected=0.5)
    assert pl.read_parquet(catalog.path / "rejected.parquet").select("source", "reason").rows() == [
        ("../1.jpg", "unsafe")
    ]


@pytest.mark.shared
def test_real_lvis_images_that_are_here_have_their_negatives(shared_data, tmp_path):
    path = shared_data / "lvis" / "lvis_val_100.json"
    content = json.loads(path.read_text())
    catalog = run(path, shared_data / "coco_mini", tmp_path / "c", max_rejected=1.0)
    facts = catalog.sidecar.facts
    assert facts["num_input"] == len(content["images"]) == facts["num_images"] + facts["num_rejected"]
    here = {name for name in ("train2017", "val2017") for name in (shared_data / "coco_mini" / name).iterdir()}
    name = {category["id"]: category["name"] for category in content["categories"]}
    boxed = {image["id"]: set() for image in content["images"]}
    for annotation in content["annotations"]:
        boxed[annotation["image_id"]].add(name[annotation["category_id"]])
    expected = {}
    for image in content["images"]:
        source = "/".join(image["coco_url"].split("/")[-2:])
        if shared_data / "coco_mini" / source in here:
            negatives = {name[c] for c in image["neg_category_ids"]} - boxed[image["id"]]
            expected[source] = ("train", dict.fromkeys(boxed[image["id"]]), sorted(negatives))
    found = {source: (split, labels, sorted(no)) for source, (split, labels, no) in told(catalog).items()}
    assert found == expected != {}
    assert facts["rejected"].get("missing", 0) == len(content["images"]) - len(expected)
