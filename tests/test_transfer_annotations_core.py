from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jftdata.errors import BadInput, ImageRejected, MissingInput
from jftdata.transfer.annotations.core import Annotated, Annotations, Objects
from tests.annotation_cases import put_image


@pytest.fixture
def split(tmp_path):
    """Two images of 40x24 pixels, with masks of the numbers 3, 4 and 5, of which 4 and 5 are classes."""
    image, mask = ([str(tmp_path / kind / f"{i}.{end}") for i in (0, 1)] for kind, end in (("i", "jpg"), ("m", "png")))
    (tmp_path / "m").mkdir()
    for i in (0, 1):
        put_image(tmp_path / "i" / f"{i}.jpg", i)
        Image.fromarray(np.tile(np.arange(3, 6, dtype=np.uint8), (24, 14))[:, :40]).save(mask[i])
    size = np.full(2, 40), np.full(2, 24)
    return Annotated(
        np.arange(2), image, *size, np.arange(1, 3), ("a", "b"), np.array([4, 5]), "f", mask=mask, ignore=255
    )


def test_labels_are_indexes_of_classes_and_what_is_no_class_does_not_count(split):
    assert split.labels(1).shape == split.pixels(1).shape[:2] == (24, 40)
    assert split.labels(1)[0, :4].tolist() == [255, 0, 1, 255]


def test_a_file_that_has_gone_or_is_damaged_is_named(split, tmp_path):
    (tmp_path / "i" / "0.jpg").unlink()
    (tmp_path / "m" / "0.png").unlink()
    (tmp_path / "i" / "1.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "m" / "1.png").write_bytes(b"rubbish")
    for read, end in ((split.pixels, "jpg"), (split.labels, "png")):
        with pytest.raises(MissingInput, match=rf"0\.{end} has gone since its set was read\. Bring it back"):
            read(0)
        with pytest.raises(ImageRejected, match=rf"1\.{end}: "):
            read(1)


def test_images_without_masks_have_no_labels(split):
    bare = Annotated(
        split.image, split.path, split.width, split.height, split.number, split.classes, split.class_number, "f"
    )
    with pytest.raises(BadInput, match=r"i/0\.jpg has no mask\. Read the set with `read\.masks`"):
        bare.labels(0)


def test_objects_of_an_image_are_a_slice():
    nothing = np.zeros(3)
    objects = Objects(
        np.array([0, 2, 2, 3]), np.zeros((3, 4)), np.array([7, 8, 9]), nothing, nothing > 0, nothing > 0, np.arange(3)
    )
    assert [objects.label[objects.of(row)].tolist() for row in range(3)] == [[7, 8], [], [9]]
    assert len(objects) == 3


def test_what_was_found_in_either_split_is_told_together(split):
    train = replace(split, found={"clipped": ["a.json annotation 1"], "left out": ["a.json annotation 2"]})
    test = replace(split, found={"clipped": ["b.json annotation 7"]})
    assert Annotations(train, test, "f").found == {
        "clipped": ["a.json annotation 1", "b.json annotation 7"],
        "left out": ["a.json annotation 2"],
    }
