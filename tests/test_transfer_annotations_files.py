import hashlib

import numpy as np
import pytest
from PIL import Image

from jftdata.errors import BadInput, ImageRejected, MissingInput
from jftdata.transfer.annotations import files
from tests.annotation_cases import put_image


@pytest.fixture
def paths(tmp_path):
    for i in range(7):
        put_image(tmp_path / f"{i}.jpg", i, width=20 + i, height=30 - i)
    Image.new("L", (5, 6)).save(tmp_path / "grey.png")
    return [str(path) for path in sorted(tmp_path.iterdir())]


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_sizes_and_content_ids_come_in_the_order_of_the_paths(paths, workers):
    looked = files.look_at(paths, what="x", workers=workers)
    for i, path in enumerate(paths):
        with open(path, "rb") as file, Image.open(path) as image:
            digest = hashlib.sha256(file.read())
            assert (looked.width[i], looked.height[i]) == image.size
        assert looked.sha256[i] == digest.hexdigest()
        assert looked.image[i] == int.from_bytes(digest.digest()[:8], "big") >> 1


def test_sizes_that_are_not_claimed_are_not_checked(paths):
    looked = files.look_at(paths[:2], what="x", workers=1)
    files.check_sizes(looked, paths[:2], [20, None], [None, 29])
    with pytest.raises(BadInput, match=r"1\.jpg has 21x29 pixels, its annotations say Nonex30; 1 of 2 disagree"):
        files.check_sizes(looked, paths[:2], [20, None], [30, 30])
    with pytest.raises(BadInput, match=r"say 20\.5x30"):
        files.check_sizes(looked, paths[:2], [20.5, 21], [30, 29])


def test_an_image_that_cannot_be_read_ends_the_reading(paths):
    with open(paths[3], "wb") as file:
        file.write(b"rubbish")
    with pytest.raises(ImageRejected, match=r"3\.jpg: no known image format\. Replace it or remove it"):
        files.look_at(paths, what="x", workers=2)


def test_only_the_first_of_many_missing_files_are_named(paths):
    with pytest.raises(MissingInput, match=r"5 of 13 images of x are not there: a, b, c, \.\.\.\. Bring them back"):
        files.look_at([*paths, *"abcde"], what="x", workers=1)


def test_no_files_are_no_trouble():
    looked = files.look_at([], what="x", workers=None)
    assert (len(looked.image), looked.image.dtype, looked.sha256) == (0, np.int64, [])
