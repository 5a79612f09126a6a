import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jftdata.errors import BadInput, MissingInput
from jftdata.transfer.annotations import coco, read
from tests.annotation_cases import same_as_pycocotools, write_coco, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("read"), num_images=15)


def test_the_sets_of_a_world_are_found_in_it(world):
    boxes, points, masks = read.boxes(world), read.keypoints(world), read.masks(world)
    for kind, found in (("instances", boxes), ("person_keypoints", points)):
        for split, part in (("train", found.train), ("test", found.test)):
            same_as_pycocotools(world / "detection" / "annotations" / f"{kind}_{split}.json", part)
    assert points.train.skeleton is not None
    assert (masks.num_train, masks.num_test) == (12, 3)
    assert masks.classes[:3] == ("background", "aircraft", "ball")
    for row in range(3):
        with Image.open(masks.test.mask[row]) as image:
            assert (masks.test.labels(row) == np.asarray(image)).all()
    assert masks.test.image.tolist() == boxes.test.image.tolist()  # the same bytes in both layouts


def test_the_voc_layout_of_a_world_has_the_same_objects(world):
    coco_train, voc_train = read.boxes(world).train, read.boxes(world / "detection" / "voc").train
    assert voc_train.classes[:2] == ("aircraft", "ball")
    assert len(voc_train.objects)
    for row in range(len(voc_train)):
        boxes = coco_train.objects.box[coco_train.objects.of(row)].tolist()
        assert all(box in boxes for box in voc_train.objects.box[voc_train.objects.of(row)].tolist())


def test_a_set_that_has_been_read_is_taken_as_it_is(tmp_path):
    made = coco.read(write_coco(tmp_path))
    assert read.boxes(made) is made


def test_a_folder_that_fits_nothing_is_told_what_was_looked_for(tmp_path):
    for function, looked_for in (
        (read.boxes, r"annotations/instances_<split>\.json \(COCO\); ImageSets/Main with Annotations \(VOC"),
        (read.keypoints, r"annotations/person_keypoints_<split>\.json \(COCO\)\."),
        (read.masks, r"ImageSets/Segmentation with .*; images/<split> with masks/<split> .*; \*\.parquet with"),
    ):
        with pytest.raises(MissingInput, match=rf"in a known layout\. Looked for, also in detection/: {looked_for}"):
            function(tmp_path)
    with pytest.raises(MissingInput, match="does not exist"):
        read.boxes(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"read from a folder\. Got a int"):
        read.boxes(3)


def test_instances_are_no_keypoints(tmp_path):
    with pytest.raises(MissingInput, match=r"has no keypoints in a known layout"):
        read.keypoints(write_coco(tmp_path))


def test_parquet_files_without_masks_are_none(tmp_path):
    pq.write_table(pa.table({"image": [b"x"], "labels": [[1, 2]]}), tmp_path / "train.parquet")
    with pytest.raises(MissingInput, match="has no masks in a known layout"):
        read.masks(tmp_path)
