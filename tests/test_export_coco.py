import json

from jftdata import export
from jftdata.hierarchy import Hierarchy
from tests.export_cases import Said, catalog_of, write_files

TREE = Hierarchy.from_edges([("animal", "cat"), ("animal", "dog"), ("pet", "cat"), ("thing", "bus")])


def test_annotations_are_labels_of_whole_images_without_a_box(tmp_path):
    said = [Said(("bus", "cat"), (0.25, 0.5), ("dog",)), Said(), Said(("dog",), split="val")]
    catalog = catalog_of(said, write_files(tmp_path / "files", 3), tmp_path / "c", tree=TREE)
    export.to_coco(catalog, out=tmp_path / "out")
    read = {
        split: json.loads((tmp_path / "out" / "annotations" / f"instances_{split}.json").read_text())
        for split in ("train", "val")
    }
    categories = {row["id"]: row for row in read["train"]["categories"]}
    assert sorted(categories) == list(range(1, TREE.num_labels + 1))
    assert {row["name"]: row["supercategory"] for row in categories.values()} == {
        "animal": "none", "pet": "none", "thing": "none", "cat": "animal", "dog": "animal", "bus": "thing"
    }  # fmt: skip
    images = {row["id"]: row for row in read["train"]["images"]}
    assert [int(row["image_id"]) for _, row in sorted(images.items())] == catalog.images(split="train").tolist()
    found = {
        (images[row["image_id"]]["source"], categories[row["category_id"]]["name"], row["score"])
        for row in read["train"]["annotations"]
    }
    assert found == {("0.jpg", "bus", 0.25), ("0.jpg", "cat", 0.5)}
    against = {row["source"]: [categories[i]["name"] for i in row["neg_category_ids"]] for row in images.values()}
    assert against == {"0.jpg": ["dog"], "1.png": []}
    assert all(
        set(row) <= {"id", "image_id", "category_id", "iscrowd", "score"} for row in read["train"]["annotations"]
    )
    assert [row["file_name"] for row in read["val"]["images"]] == [
        path.name for path in (tmp_path / "out" / "val").iterdir()
    ]
