import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jftdata.errors import BadInput, Damaged, ImageRejected, MissingInput, UnknownName
from jftdata.hashing import image_id
from jftdata.storage import sha256_file
from jftdata.transfer.annotations import coco, rules
from tests.annotation_cases import POINTS, coco_json, put_image, same_as_pycocotools, write_coco


@pytest.mark.shared
@pytest.mark.parametrize("keypoints", [False, True])
def test_real_annotations_are_what_pycocotools_loads(shared_data, keypoints):
    folder = shared_data / "coco_mini"
    read = coco.read(folder, keypoints=keypoints)
    assert read.train.objects.crowd.any()
    for split, part in (("train2017", read.train), ("val2017", read.test)):
        same_as_pycocotools(folder / "annotations" / f"{coco.KINDS[keypoints]}_{split}.json", part)
        assert part.found == {}


def test_images_go_by_number_objects_by_id_and_classes_by_category(tmp_path):
    read = coco.read(write_coco(tmp_path))
    train = read.train
    assert train.number.tolist() == [1, 2, 3]
    assert (train.classes, train.class_number.tolist()) == (("bus", "cup"), [3, 7])
    objects = train.objects
    assert objects.start.tolist() == [0, 2, 3, 3]
    assert objects.id.tolist() == [88, 89, 90]
    assert objects.box.tolist() == [[1.5, 2.25, 4.5, 6.25], [0, 0, 40, 24], [4, 2, 14, 10]]
    assert objects.label.tolist() == [1, 0, 1]
    assert objects.crowd.tolist() == [False, True, False]
    assert objects.area.tolist() == [7.5, 6.5, 5.5]
    assert not objects.difficult.any()
    assert objects.keypoints is None
    assert train.pixels(2).shape == (24, 40, 3)
    assert train.image.tolist() == [
        image_id(bytes.fromhex(sha256_file(tmp_path / "images" / f"train{i}.jpg"))) for i in range(3)
    ]
    assert (read.num_train, read.num_test, read.test_images.tolist()) == (3, 3, read.test.image.tolist())


def test_the_order_within_a_file_changes_nothing_but_the_fingerprint(tmp_path):
    def turn(content):
        for part in content.values():
            part.reverse()

    one, other = (
        coco.read(write_coco(tmp_path / "a")).train,
        coco.read(write_coco(tmp_path / "b", turn), workers=2).train,
    )
    for name in ("start", "box", "label", "area", "crowd", "id"):
        assert np.array_equal(getattr(one.objects, name), getattr(other.objects, name))
    assert (one.image == other.image).all()
    assert one.classes == other.classes


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path):
    first = coco.read(write_coco(tmp_path / "a")).fingerprint
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert coco.read(tmp_path / "b").fingerprint == first
    put_image(tmp_path / "b" / "images" / "test1.jpg", 99)
    assert coco.read(tmp_path / "b").fingerprint != first
    write_coco(tmp_path / "a", lambda content: content["annotations"][0].update(area=6))
    assert coco.read(tmp_path / "a").fingerprint != first


def test_keypoints_have_names_mirror_images_and_lines(tmp_path):
    folder = write_coco(tmp_path, kind="person_keypoints")
    train = coco.read(folder, keypoints=True).train
    assert train.skeleton.names == tuple(POINTS)
    assert train.skeleton.mirrored == (0, 2, 1)
    assert train.skeleton.edges == ((0, 1), (0, 2))
    assert train.objects.keypoints[0].tolist() == [[2, 3, 2], [0, 0, 0], [4, 5, 2]]
    assert train.objects.keypoints.dtype == np.float32


@pytest.mark.parametrize("images", ["images", "images/{}", "{}"])
def test_images_lie_in_one_folder_or_in_one_a_split(tmp_path, images):
    read = coco.read(write_coco(tmp_path, images=images))
    assert read.test.path == [str(tmp_path / images.format("test") / f"test{i}.jpg") for i in range(3)]


def test_splits_are_found_by_what_their_names_begin_with(tmp_path):
    folder = write_coco(tmp_path)
    at = folder / "annotations"
    (at / "instances_test.json").rename(at / "instances_val2017.json")
    assert coco.read(folder).test.number.tolist() == [11, 12, 13]
    shutil.copy(at / "instances_train.json", at / "instances_train2014.json")
    with pytest.raises(BadInput, match=r"several splits to train on: train, train2014\. Give `train_split`"):
        coco.read(folder)
    assert coco.read(folder, train_split="val2017", test_split="train2014").train.number[0] == 11
    with pytest.raises(UnknownName, match=r"instances split 'train2015' is not known.*train2014"):
        coco.read(folder, train_split="train2015")
    (at / "instances_val2017.json").unlink()
    with pytest.raises(BadInput, match=r"has no split to test on, only: train, train2014"):
        coco.read(folder, train_split="train")


def test_a_set_without_objects_is_read(tmp_path):
    train = coco.read(write_coco(tmp_path, lambda content: content["annotations"].clear())).train
    assert len(train.objects) == 0
    assert train.objects.box.shape == (0, 4)
    assert train.objects.start.tolist() == [0, 0, 0, 0]


def test_an_area_may_be_left_out_and_is_then_the_box(tmp_path):
    def change(content):
        for annotation in content["annotations"]:
            del annotation["area"], annotation["iscrowd"]

    objects = coco.read(write_coco(tmp_path, change)).train.objects
    assert objects.area.tolist() == [12, 960, 80]
    assert not objects.crowd.any()


def test_what_is_clipped_or_left_out_is_named_by_rule(tmp_path):
    def change(content):
        first, crowd, second = content["annotations"]
        first["bbox"], crowd["bbox"], second["bbox"] = [-2, 20, 10, 10], [50, 2, 3, 3], [5, 5, 0, 7]

    train = coco.read(write_coco(tmp_path, change)).train
    assert train.objects.box.tolist() == [[0, 20, 8, 24]]
    assert train.objects.area.tolist() == [5.5]
    assert train.found == {
        rules.NO_AREA: ["instances_train.json annotation 88"],
        rules.OUTSIDE: ["instances_train.json annotation 89"],
        rules.CLIPPED: ["instances_train.json annotation 90"],
    }


def test_keypoints_outside_their_image_are_not_labelled_and_named(tmp_path):
    def change(content):
        content["annotations"][0]["keypoints"] = [40, 24, 2, 40.5, 4, 1, -1, 2, 0]

    train = coco.read(write_coco(tmp_path, change, kind="person_keypoints"), keypoints=True).train
    assert train.objects.keypoints[2].tolist() == [[40, 24, 2], [0, 0, 0], [-1, 2, 0]]
    assert train.found == {rules.POINT_OUTSIDE: ["person_keypoints_train.json annotation 90"]}


def sets(part, number, **values):
    return lambda content: content[part][number].update(values)


BAD = {
    "unknown image": (sets("annotations", 0, image_id=99), r"annotation 90 is of the unknown image 99\. Add the image"),
    "category a list": (sets("annotations", 1, category_id=[5]), r"annotation 89 has the category \[5\] that is not there"),
    "unknown category": (sets("annotations", 1, category_id=5), r"annotation 89 has the category 5 that is not there"),
    "annotation twice": (sets("annotations", 0, id=88), r"the annotation id 88 is there twice"),
    "image twice": (sets("images", 0, id=1), r"the image id 1 is there twice"),
    "category twice": (sets("categories", 0, id=3), r"the category id 3 is there twice"),
    "name twice": (sets("categories", 0, name="bus"), r"two categories are called 'bus'"),
    "file twice": (sets("images", 0, file_name="train1.jpg"), r"1 files are of two images, for example 'train1.jpg'"),
    "no file name": (lambda c: c["images"][1].pop("file_name"), r"image 1 has no `file_name`"),
    "file elsewhere": (sets("images", 0, file_name="../x.jpg"), r"image 3 has the file '\.\./x\.jpg', which leaves"),
    "no id": (lambda c: c["annotations"][1].pop("id"), r"annotation number 1 has no whole number as id"),
    "NaN": (sets("annotations", 0, bbox=[1, float("nan"), 2, 3]), r"annotation 90 has the box \[1\.0, nan, .*four finite"),
    "infinite": (sets("annotations", 0, bbox=[1, 1, float("inf"), 3]), r"annotation 90 has the box .*inf.*, not four finite"),
    "negative": (sets("annotations", 0, bbox=[4, 4, -2, 3]), r"the box \[4\.0, 4\.0, 2\.0, 7\.0\], not x0, y0, x1, y1 with"),
    "three numbers": (sets("annotations", 0, bbox=[4, 4, 2]), r"annotation 90 has the box \[4, 4, 2\], not four numbers"),
    "no box": (lambda c: c["annotations"][0].pop("bbox"), r"annotation 90 has the box None, not four numbers"),
    "area": (sets("annotations", 0, area=-1), r"annotation 90 has the area -1\.0, not a number of at least 0"),
    "area NaN": (sets("annotations", 0, area=float("nan")), r"annotation 90 has the area nan"),
    "area a text": (sets("annotations", 0, area="12"), r"annotation 90 has the area '12', not a number"),
    "size": (sets("images", 1, width=24, height=40), r"train0\.jpg has 40x24 pixels, its annotations say 24x40; 1 of 3"),
    "no images": (lambda c: c.update(images=[], annotations=[]), r"the train split has no image"),
    "other classes": (sets("categories", 0, name="mug"), r"other classes: 7 'mug' in train, 7 'cup' in test"),
    "fewer classes": (lambda c: (c["annotations"].clear(), c["categories"].pop(0)), r"no 'class' in train, 7 'cup' in test"),
    "no list": (lambda c: c.update(images=7), r"instances_train\.json has no list of images"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_annotations_are_refused_with_file_value_and_remedy(tmp_path, case):
    change, message = BAD[case]
    with pytest.raises(BadInput, match=message):
        coco.read(write_coco(tmp_path, change))


BAD_POINTS = {
    "short": (sets("annotations", 0, keypoints=[1, 2, 2]), r"annotation 90 has as keypoints 3 values, not 9 numbers"),
    "gone": (lambda c: c["annotations"][0].pop("keypoints"), r"annotation 90 has as keypoints None, not 9 numbers"),
    "NaN": (sets("annotations", 0, keypoints=[float("nan")] * 9), r"annotation 90 has keypoints .*not finite numbers"),
    "visibility": (sets("annotations", 0, keypoints=[1, 2, 3] * 3), r"the visibilities \[3\.0, 3\.0, 3\.0\], not 0, 1 or 2"),
    "no keypoints": (lambda c: [x.pop("keypoints") for x in c["categories"]], r"no category with `keypoints`\. Give a file"),
    "two kinds": (sets("categories", 0, keypoints=["a", "b"]), r"categories have other keypoints than each other"),
    "lines": (sets("categories", 1, skeleton=[[0, 1]]), r"`skeleton` is not of pairs of keypoints 1\.\.3"),
    "one without": (lambda c: c["categories"][1].pop("keypoints"), r"annotation 89 has the category 3 without keypoints"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_POINTS)
def test_bad_keypoints_are_refused(tmp_path, case):
    change, message = BAD_POINTS[case]
    with pytest.raises(BadInput, match=message):
        coco.read(write_coco(tmp_path, change, kind="person_keypoints"), keypoints=True)


def test_missing_images_are_counted_and_named(tmp_path):
    folder = write_coco(tmp_path)
    for i in (1, 2):
        (folder / "images" / f"train{i}.jpg").unlink()
    with pytest.raises(
        MissingInput,
        match=r"2 of 3 images of instances_train are not there: .*train1\.jpg, .*train2\.jpg\. Bring them back",
    ):
        coco.read(folder)
    shutil.rmtree(folder / "images")
    with pytest.raises(MissingInput, match=r"none of the folders .*train, .*images/train, .*images exists"):
        coco.read(folder)


def test_a_damaged_header_is_refused_with_its_file(tmp_path):
    folder = write_coco(tmp_path)
    (folder / "images" / "train1.jpg").write_bytes(b"\xff\xd8rubbish")
    with pytest.raises(ImageRejected, match=r"train1\.jpg: JPEG header: .*Replace it or remove it"):
        coco.read(folder)


def test_a_file_that_is_not_json_is_damaged(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(Damaged, match=r"x\.json is not readable JSON"):
        coco.read_split(tmp_path / "x.json", images=tmp_path)
    with pytest.raises(MissingInput, match=r"y\.json do not exist"):
        coco.read_split(tmp_path / "y.json", images=tmp_path)


def test_a_turned_image_has_the_size_it_is_shown_in(tmp_path):
    content = coco_json()
    content["images"] = [{"id": 1, "file_name": "turned.jpg", "width": 24, "height": 40}]
    content["annotations"] = content["annotations"][2:]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 24)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "x.json").write_text(json.dumps(content))
    split = coco.read_split(tmp_path / "x.json", images=tmp_path)
    assert (split.width.tolist(), split.height.tolist()) == ([24], [40])
    assert split.pixels(0).shape == (40, 24, 3)
