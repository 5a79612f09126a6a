import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.embeddings import Embeddings, check_unit
from jftdata.errors import BadInput, MissingInput
from tests.strategies import unit_vectors


def of(vectors, images=None, embedder="toy"):
    return Embeddings.of(vectors, np.arange(len(vectors)) if images is None else np.array(images), embedder=embedder)


@given(st.permutations(range(8)))
def test_row_order_does_not_matter(order):
    vectors, images = unit_vectors(0, 8, 5), np.arange(8) * 7
    one, other = of(vectors, images), of(vectors[order], images[order])
    assert one.fingerprint == other.fingerprint
    assert (one.vectors == other.vectors).all()
    assert one.images.tolist() == other.images.tolist() == sorted(images)


def test_other_vectors_or_ids_have_another_fingerprint():
    vectors = unit_vectors(0, 3, 5)
    prints = {of(vectors).fingerprint, of(vectors, [0, 1, 3]).fingerprint, of(-vectors).fingerprint}
    assert len(prints) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1.01], ids=str)
def test_a_vector_a_search_would_lose_is_refused_and_named(value):
    vectors = np.eye(4, dtype=np.float32)
    vectors[2, 2] = value
    with pytest.raises(BadInput, match=r"the vector of image 12 has length .*, expected 1"):
        of(vectors, [10, 11, 12, 13])


def test_a_bad_vector_in_a_later_block_is_found():
    vectors = np.zeros(((1 << 16) + 5, 2), np.float32)
    vectors[:, 0] = 1
    check_unit(vectors, np.arange(len(vectors)))
    vectors[-1] = 0
    with pytest.raises(BadInput, match=f"image {(1 << 16) + 4} "):
        check_unit(vectors, np.arange(len(vectors)))


def test_wrong_shapes_and_an_image_twice_are_refused():
    with pytest.raises(BadInput, match="one vector an image"):
        of(np.eye(3, dtype=np.float32), [1, 2])
    with pytest.raises(BadInput, match="one vector an image"):
        of(np.ones(3, np.float32))
    with pytest.raises(BadInput, match="image 5 has two vectors"):
        of(np.eye(3, dtype=np.float32), [5, 1, 5])


def test_select_keeps_the_vectors_of_the_images_asked_for():
    whole = of(unit_vectors(1, 6, 4), [3, 1, 9, 7, 5, 11])
    part = whole.select(np.array([9, 1, 9]))
    assert part.images.tolist() == [1, 9]
    assert part.embedder == whole.embedder
    for image, vector in zip(part.images, part.vectors, strict=True):
        assert (vector == whole.vectors[whole.images == image][0]).all()


@pytest.mark.parametrize("image", [0, 4, 99])
def test_select_of_an_image_without_a_vector_is_an_error(image):
    with pytest.raises(BadInput, match=f"1 images have no vector, for example {image}"):
        of(unit_vectors(1, 3, 4), [1, 3, 5]).select(np.array([1, image]))


def test_opening_nothing_is_an_error(tmp_path):
    with pytest.raises(MissingInput):
        Embeddings.open(tmp_path / "nowhere")
