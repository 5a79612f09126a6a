import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from jftdata.errors import BadInput, MissingInput, UnknownName
from jftdata.transfer.annotations import rules, voc
from tests.annotation_cases import put_image

SIZE = "<size><width>40</width><height>24</height><depth>3</depth></size>"


def thing(name="cat", box=(3, 2, 10, 12), more=""):
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    return f"<object><name>{name}</name>{more}<bndbox>{''.join(f'<{s}>{v}</{s}>' for s, v in sides)}</bndbox></object>"


def xml(*things, size=SIZE):
    return f"<annotation><filename>x.jpg</filename>{size}{''.join(things)}</annotation>"


def write(root, lists, *, kind="Main", text=None, masks=()):
    """A folder of a year; all images have an annotation, and a mask in each of the folders named."""
    (root / "ImageSets" / kind).mkdir(parents=True)
    (root / "Annotations").mkdir(exist_ok=True)
    names = sorted({name for listed in lists.values() for name in listed})
    for split, listed in lists.items():
        (root / "ImageSets" / kind / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
    for i, name in enumerate(names):
        put_image(root / "JPEGImages" / f"{name}.jpg", i)
        (root / "Annotations" / f"{name}.xml").write_text((text or {}).get(name, xml(thing())))
        for at, folder in enumerate(masks):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(np.full((24, 40), at, np.uint8)).save(root / folder / f"{name}.png")
    return root


LISTS = {"train": ["b", "a"], "val": ["c"]}


@pytest.mark.shared
def test_real_boxes_are_those_of_the_xml(shared_data):
    root = shared_data / "voc_mini" / "VOC2012"
    read = voc.read_boxes(shared_data / "voc_mini")
    assert read.classes == voc.CLASSES
    for split, part in (("train", read.train), ("val", read.test)):
        assert part.found == {}
        names = sorted((root / "ImageSets" / "Main" / f"{split}.txt").read_text().split())
        assert part.path == [str(root / "JPEGImages" / f"{name}.jpg") for name in names]
        for row, name in enumerate(names):
            tree = ET.parse(root / "Annotations" / f"{name}.xml")
            boxes = [
                [int(t.findtext(f"bndbox/{s}")) for s in ("xmin", "ymin", "xmax", "ymax")] for t in tree.iter("object")
            ]
            at = part.objects.of(row)
            assert (part.objects.box[at] + [1, 1, 0, 0]).tolist() == boxes
            labels = [part.classes[i] for i in part.objects.label[at]]
            assert labels == [t.findtext("name") for t in tree.iter("object")]


@pytest.mark.shared
def test_real_masks_are_those_of_the_png(shared_data):
    read = voc.read_masks(shared_data / "voc_mini")
    assert read.classes == ("background", *voc.CLASSES)
    for part in (read.train, read.test):
        for row in range(0, len(part), 7):
            with Image.open(part.mask[row]) as image:
                assert (part.labels(row) == np.asarray(image)).all()


def test_boxes_begin_a_pixel_lower_and_marks_and_places_are_kept(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    hard = thing("dog", (1, 1, 40, 24), more=f"<difficult>1</difficult>{part}")
    text = {"a": xml(thing("cat", (3.5, 2, 10, 12), more="<difficult>0</difficult>"), hard)}
    train = voc.read_boxes(write(tmp_path, LISTS, text=text)).train
    assert train.number.tolist() == [1, 2]
    assert train.objects.start.tolist() == [0, 2, 3]
    assert train.objects.box.tolist() == [[2.5, 1, 10, 12], [0, 0, 40, 24], [2, 1, 10, 12]]
    assert train.objects.difficult.tolist() == [False, True, False]
    assert train.objects.id.tolist() == [1, 2, 1]
    assert train.objects.area.tolist() == [7.5 * 11, 960, 88]
    assert not train.objects.crowd.any()
    assert [train.classes[i] for i in train.objects.label] == ["cat", "dog", "cat"]
    assert train.class_number.tolist() == list(range(1, 21))


def test_images_without_objects_stay(tmp_path):
    train = voc.read_boxes(write(tmp_path, LISTS, text={"a": xml(), "b": xml()})).train
    assert train.objects.start.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ({"train": "a", "val": "b", "trainval": "ab"}, "a", "b"),
        ({"train": "a", "val": "b", "trainval": "ab", "test": "c"}, "ab", "c"),
        ({"train": "a", "test": "c", "cat_train": "a  1", "cat_trainval": "a"}, "a", "c"),
    ],
)
def test_splits_left_out_are_the_usual_ones(tmp_path, lists, train, test):
    read = voc.read_boxes(write(tmp_path, {split: list(names) for split, names in lists.items() if "_" not in split}))
    assert [path[-5] for path in read.train.path] == list(train)
    assert [path[-5] for path in read.test.path] == list(test)


def test_a_test_list_without_annotations_is_passed_over(tmp_path):
    root = write(tmp_path, {**LISTS, "trainval": ["a", "b", "c"], "test": ["d"]})
    (root / "Annotations" / "d.xml").unlink()
    read = voc.read_boxes(root)
    assert [len(read.train), len(read.test)] == [2, 1]
    with pytest.raises(MissingInput, match=r"1 of 1 annotations of test are not there: .*d\.xml\. Bring them back"):
        voc.read_boxes(root, test_split="test")


def test_two_years_are_joined_as_in_the_paper(tmp_path):
    write(tmp_path / "VOCdevkit" / "VOC2007", {"trainval": ["000001"], "test": ["000002"]})
    write(tmp_path / "VOCdevkit" / "VOC2012", {"trainval": ["2008_1"], "train": ["2008_1"], "val": ["2008_2"]})
    for folder in (tmp_path, tmp_path / "VOCdevkit"):
        read = voc.read_boxes(folder)
        assert [path.split("/")[-1] for path in read.train.path] == ["000001.jpg", "2008_1.jpg"]
        assert read.test.path == [str(tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000002.jpg")]
    read = voc.read_boxes(tmp_path, train_split="VOC2007/test", test_split="VOC2012/train+VOC2012/val")
    assert [len(read.train), len(read.test)] == [1, 2]


def test_the_augmented_list_takes_its_own_masks_first(tmp_path):
    folders = ("SegmentationClass", "SegmentationClassAug")
    root = write(tmp_path, {**LISTS, "trainaug": ["a", "b"]}, kind="Segmentation", masks=folders)
    line = "/JPEGImages/a.jpg /SegmentationClassAug/a.png\n"
    (root / "ImageSets" / "Segmentation" / "trainaug.txt").write_text(f"{line}b\n")
    (root / "SegmentationClassAug" / "b.png").unlink()
    read = voc.read_masks(root)
    assert read.train.mask == [str(root / "SegmentationClassAug" / "a.png"), str(root / "SegmentationClass" / "b.png")]
    assert read.test.mask == [str(root / "SegmentationClass" / "c.png")]
    assert (read.train.labels(0) == 1).all()
    assert (read.train.labels(1) == 0).all()


def test_names_come_from_a_list_from_voc_or_from_the_objects(tmp_path):
    root = write(tmp_path, LISTS, text={"a": xml(thing("zebra"), thing("cat"))})
    assert voc.read_boxes(root).classes == ("cat", "zebra")
    (root / "classes.txt").write_text("zebra\ncat\n")
    assert voc.read_boxes(root).classes == ("zebra", "cat")
    (root / "classes.txt").write_text("background\nzebra\ncat\n")
    assert voc.read_boxes(root).classes == ("zebra", "cat")
    (root / "classes.txt").write_text("cat\n")
    with pytest.raises(UnknownName, match=r"train: class 'zebra' is not known\. Known: cat\."):
        voc.read_boxes(root)


def test_what_is_clipped_or_left_out_is_named_by_rule(tmp_path):
    boxes = [(-1, 1, 41, 24), (50, 2, 60, 8), (9, 9, 8, 12), (1, 1, 40, 24)]
    text = {"a": xml(*(thing(box=box) for box in boxes))}
    train = voc.read_boxes(write(tmp_path, LISTS, text=text)).train
    assert train.objects.id.tolist() == [1, 4, 1]
    assert train.found == {
        rules.NO_AREA: ["a.xml object 3"], rules.OUTSIDE: ["a.xml object 2"], rules.CLIPPED: ["a.xml object 1"],
    }  # fmt: skip


def test_a_few_xml_of_another_size_are_named_many_are_refused(tmp_path):
    names = [f"i{i:03d}" for i in range(100)]
    wrong = xml(thing(), size="<size><width>24</width><height>40</height></size>")
    nothing = xml(thing(), size="<size><width>0</width><height>0</height></size>")
    root = write(tmp_path, {"train": names, "val": ["v"]}, text={"i007": wrong, "i008": nothing, "i009": xml(size="")})
    train = voc.read_boxes(root).train
    assert train.found == {voc.OTHER_SIZE: ["i007.xml"]}
    assert (train.width == 40).all()
    (root / "Annotations" / "i010.xml").write_text(wrong)
    with pytest.raises(BadInput, match=r"i007\.jpg has 40x24 pixels, its annotations say 24x40; 2 of 100 disagree"):
        voc.read_boxes(root)


BAD = {
    "entities": ('<!DOCTYPE x [<!ENTITY e "e">]>' + xml(), r"a\.xml has a document type, which may hide entities"),
    "cut off": (xml()[:-5], r"a\.xml is not readable XML"),
    "no name": (xml(thing("")), r"a\.xml has an object without a name"),
    "no box": (xml("<object><name>cat</name></object>"), r"object 1 has the box xmin None, .*, not four numbers"),
    "a text": (xml(thing(box=("one", 2, 3, 4))), r"object 1 has the box xmin 'one', ymin '2', .*, not four numbers"),
    "NaN": (xml(thing(), thing(box=("nan", 2, 3, 4))), r"a\.xml object 2 has the box \[nan, .*four finite numbers"),
    "negative": (xml(thing(box=(9, 2, 3, 4))), r"a\.xml object 1 has the box \[8\.0, 1\.0, 3\.0, 4\.0\], not x0, y0"),
    "difficult": (xml(thing(more="<difficult>yes</difficult>")), r"a\.xml has a size or `difficult` that is no whole"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotations_are_refused_with_file_value_and_remedy(tmp_path, case):
    text, message = BAD[case]
    with pytest.raises(BadInput, match=message):
        voc.read_boxes(write(tmp_path, LISTS, text={"a": text}))


def test_lists_that_cannot_be_used_are_refused(tmp_path):
    root = write(tmp_path, {**LISTS, "train": ["a", "b", "a"]})
    with pytest.raises(BadInput, match=r"a is twice in train\. Remove it once"):
        voc.read_boxes(root)
    with pytest.raises(UnknownName, match=r"list 'vla' is not known\. Did you mean 'val'"):
        voc.read_boxes(root, train_split="vla")
    (root / "ImageSets" / "Main" / "train.txt").write_text("../a\n")
    with pytest.raises(BadInput, match=r"train\.txt lists '\.\./a', which leaves its folder"):
        voc.read_boxes(root)
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    with pytest.raises(BadInput, match=r"no lists to learn from in ImageSets/Main, only val\. Give `train_split`"):
        voc.read_boxes(root)
    with pytest.raises(MissingInput, match=r"has no ImageSets/Segmentation and SegmentationClass\. Give a folder"):
        voc.read_masks(root)


def test_numbers_of_masks_are_named_only_where_names_are_known(tmp_path):
    folders = ("SegmentationClassAug", "SegmentationClass")  # numbers 0 and 1
    root = write(tmp_path, LISTS, kind="Segmentation", masks=folders)
    assert voc.read_masks(root).classes == ("background", *voc.CLASSES)
    for name in "abc":
        (root / "Annotations" / f"{name}.xml").write_text(xml(thing("zebra")))
    assert voc.read_masks(root).classes == ("0", "1")
    (root / "classes.txt").write_text("zebra\ncat\n")
    assert voc.read_masks(root).classes == ("background", "zebra", "cat")
    (root / "classes.txt").write_text("background\nzebra\n")
    assert voc.read_masks(root).classes == ("background", "zebra")


def test_missing_masks_are_counted_and_named(tmp_path):
    root = write(tmp_path, LISTS, kind="Segmentation", masks=("SegmentationClass",))
    (root / "SegmentationClass" / "a.png").unlink()
    with pytest.raises(MissingInput, match=r"1 of 2 masks of train are not there: .*SegmentationClass/a\.png\. Bring"):
        voc.read_masks(root)


def test_one_list_may_serve_both_to_learn_and_to_judge(tmp_path):
    read = voc.read_boxes(write(tmp_path, LISTS), train_split="train", test_split="train")
    assert read.train.image.tolist() == read.test.image.tolist()
