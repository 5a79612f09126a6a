import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jftdata.errors import BadInput, ImageRejected, MissingInput, OutputExists, UnknownName
from jftdata.transfer.annotations import masks, read
from jftdata.transfer.segmentation import Segmentation
from tests.annotation_cases import put_image

NUMBERS = {"train/a": [0, 1, 255], "train/b": [2, 0, 1], "val/c": [1, 1, 0]}


def png(columns, *, width=40, height=24):
    """A mask of upright stripes."""
    stripes = np.repeat(np.array(columns, np.uint8), -(-width // len(columns)))[:width]
    return np.tile(stripes, (height, 1))


def put_mask(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write(root, numbers=NUMBERS, *, inside="masks", splits=None):
    for i, (name, columns) in enumerate(numbers.items()):
        split, stem = name.split("/")
        split = (splits or {}).get(split, split)
        put_image(root / "images" / split / f"{stem}.jpg", i)
        put_mask(root / inside / split / f"{stem}.png", png(columns))
    return root


@pytest.mark.parametrize("inside", masks.FOLDERS)
def test_masks_lie_beside_images(tmp_path, inside):
    made = read.masks(write(tmp_path, inside=inside))
    assert made.classes == ("0", "1", "2")
    assert made.train.class_number.tolist() == [0, 1, 2]
    assert (made.train.number.tolist(), made.train.ignore, made.train.objects) == ([1, 2], 255, None)
    for part, names in ((made.train, "ab"), (made.test, "c")):
        for row, name in enumerate(names):
            numbers = next(columns for key, columns in NUMBERS.items() if key.endswith(name))
            assert (part.labels(row) == png(numbers)).all()
            assert part.pixels(row).shape == (24, 40, 3)


def test_names_come_from_a_list(tmp_path):
    root = write(tmp_path)
    (root / "classes.txt").write_text("sky\nroad\n\ntree\n")
    assert masks.read(root).classes == ("sky", "road", "tree")
    (root / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(
        BadInput, match=r"train/b\.png has the number 2; classes are 0\.\.1, and 255 counts for nothing"
    ):
        masks.read(root)
    (root / "classes.txt").write_text("sky\nsky\n")
    with pytest.raises(BadInput, match=r"classes\.txt has 2 names, 1 of them different"):
        masks.read(root)


def test_nothing_of_ade20k_has_the_number_0(tmp_path):
    root = write(tmp_path, inside="annotations", splits={"train": "training", "val": "validation"})
    names = "".join(f"{i}\t0.1\t9\t9\t1\t{name}\n" for i, name in enumerate(("wall, x", "sky", "wall"), 1))
    (root / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tStuff\tName\n{names}")
    train = masks.read(root).train
    assert train.classes == ("wall", "sky", "wall (3)")
    assert train.class_number.tolist() == [1, 2, 3]
    assert (train.labels(0) == png([255, 0, 255])).all()
    assert (train.labels(1) == png([1, 255, 0])).all()


def test_splits_may_be_asked_for(tmp_path):
    root = write(tmp_path, splits={"val": "dev"})
    with pytest.raises(BadInput, match=r"has the splits dev, train, none of them for test\. Give `test_split`"):
        masks.read(root)
    assert masks.read(root, test_split="dev").num_test == 1
    with pytest.raises(UnknownName, match=r"split 'dve' is not known\. Did you mean 'dev'"):
        masks.read(root, test_split="dve")


def test_masks_of_another_size_are_refused(tmp_path):
    root = write(tmp_path)
    put_mask(root / "masks" / "val" / "c.png", png([1], width=39))
    with pytest.raises(BadInput, match=r"c\.png has 39x24 pixels, its image 40x24\. Give the mask of this image"):
        masks.read(root)


@pytest.mark.parametrize("kind", ["colours", "deep", "cut"])
def test_masks_without_a_number_a_pixel_are_refused(tmp_path, kind):
    root, path = write(tmp_path), tmp_path / "masks" / "train" / "b.png"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:60])
    else:
        put_mask(path, np.zeros((24, 40, 3), np.uint8) if kind == "colours" else np.zeros((24, 40), np.uint16))
    with pytest.raises(ImageRejected, match=r"train/b\.png: .*Write the number of each pixel's class"):
        masks.read(root)


def test_images_and_masks_without_each_other_are_refused(tmp_path):
    root = write(tmp_path)
    put_mask(root / "masks" / "train" / "x.png", png([1]))
    with pytest.raises(BadInput, match=r"1 masks have no image in .*images/train, for example .*x\.png"):
        masks.read(root)
    (root / "masks" / "train" / "x.png").rename(root / "masks" / "val" / "d.png")
    put_image(root / "images" / "val" / "d.jpg", 4)
    (root / "masks" / "train" / "a.png").unlink()
    with pytest.raises(MissingInput, match=r"1 of 2 masks of train are not there: .*a\.png\. Bring them back, or take"):
        read.masks(root)
    put_image(root / "images" / "train" / "b.jpeg", 4)
    with pytest.raises(BadInput, match=r"two images of .*train have the mask .*b\.png"):
        masks.read(root)


def encoded(pixels, format="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def rows(numbers, *, format="PNG"):
    picture = np.full((24, 40, 3), 90, np.uint8)
    pairs = [(encoded(picture + i, format), encoded(png(columns))) for i, columns in enumerate(numbers)]
    return [{"image": {"bytes": image, "path": None}, "annotation": {"bytes": mask}} for image, mask in pairs]


def test_parquet_columns_are_unpacked_once(tmp_path):
    data = tmp_path / "set"
    (data / "data").mkdir(parents=True)
    for split, numbers in (("train", [[0, 1], [2, 255]]), ("validation", [[1, 0]])):
        table = pa.Table.from_pylist(rows(numbers, format="JPEG"))
        pq.write_table(table, data / "data" / f"{split}-00000-of-00001.parquet")
    made = read.masks(data, workers=1)
    assert [made.num_train, made.num_test, len(made.classes)] == [2, 1, 3]
    assert (made.train.labels(1) == png([2, 255])).all()
    assert made.train.path[0] == str(tmp_path / "set.unpacked/images/train/train-00000-of-00001/0000000.jpg")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set.unpacked").rglob("*")}
    assert read.masks(data).fingerprint == made.fingerprint
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "set.unpacked").rglob("*")}
    elsewhere = Segmentation().read(data, cache=tmp_path / "cache", workers=1)
    assert elsewhere.fingerprint == made.fingerprint
    assert elsewhere.train.path[0].startswith(str(tmp_path / "cache" / "masks-"))
    pq.write_table(pa.Table.from_pylist(rows([[1, 0]])), data / "data" / "test-0.parquet")
    with pytest.raises(OutputExists, match=r"set\.unpacked exists, made otherwise"):
        read.masks(data)


def test_a_column_may_say_the_split(tmp_path):
    table = pa.table({"image": [row["image"]["bytes"] for row in rows([[0, 1]] * 3)],
                      "mask": [encoded(png([1, 0]))] * 3, "split": ["train", "test", "train"]})  # fmt: skip
    pq.write_table(table, tmp_path / "x.parquet")
    made = read.masks(tmp_path, cache=tmp_path / "cache")
    assert [made.num_train, made.num_test] == [2, 1]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("mask", b"", r"row 1 has no bytes in `image` or 'mask'"),
        ("split", "../x", r"row 1 has the split '\.\./x', which is no name for a folder"),
        ("image", b"rubbish", r"image of row 1: no known image format\. Remove the row"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_left_behind(tmp_path, column, value, message):
    values = [
        {"image": encoded(np.full((24, 40, 3), i, np.uint8)), "mask": encoded(png([1])), "split": "train"}
        for i in (0, 1)
    ]
    values[1][column] = value
    pq.write_table(pa.Table.from_pylist(values), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=message):
        masks.read(tmp_path, cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".partial"]
