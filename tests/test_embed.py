import numpy as np
import pytest
from PIL import Image

from jftdata import embed, storage
from jftdata.embeddings import Embeddings
from jftdata.errors import BadInput, ImageRejected, OutputExists, UnknownName, UnknownOption
from jftdata.images import decode, encode_jpeg, resize
from jftdata.sources import from_folder
from tests.strategies import encoded, picture
from tests.test_sources_folder import place


class Mean:
    """Mean colour, of a length that is not one; counts its calls."""

    name = "mean/1"
    size = 8
    calls = 0

    def __call__(self, pixels):
        Mean.calls += 1
        assert pixels.shape[1:] == (8, 8, 3)
        assert pixels.dtype == np.uint8
        return pixels.mean(axis=(1, 2)).astype(np.float32) + 1


class Broken(Mean):
    name = "broken/1"
    value = np.nan

    def __call__(self, pixels):
        return np.full((len(pixels), 4), self.value, np.float32)


def descriptor(*pictures):
    x = embed.Descriptor()(np.stack([resize(p, width=32, height=32) for p in pictures]))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def alike(a, b):
    one, other = descriptor(a, b)
    return float(one @ other)


# ---- the descriptor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("quality", [30, 60, 90])
def test_recompression_leaves_the_descriptor_nearly_the_same(seed, quality):
    original = picture(seed, width=200, height=150)
    assert alike(original, decode(encode_jpeg(original, quality=quality))[0]) > 0.95


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [(400, 300), (100, 75), (64, 64)])
def test_resizing_leaves_the_descriptor_nearly_the_same(seed, size):
    original = picture(seed, width=200, height=150)
    assert alike(original, resize(original, width=size[0], height=size[1])) > 0.9


def test_lower_contrast_leaves_the_descriptor_nearly_the_same():
    original = picture(3, width=200, height=150)
    assert alike(original, (original * 0.6 + 40).astype(np.uint8)) > 0.9


def test_different_pictures_are_far_from_each_other():
    x = descriptor(*(picture(seed, width=200, height=150) for seed in range(30)))
    others = (x @ x.T)[np.triu_indices(30, 1)]
    assert others.max() < 0.8
    assert abs(others.mean()) < 0.3


def test_flat_images_have_finite_vectors_that_are_not_zero():
    flat = [np.full((32, 32, 3), value, np.uint8) for value in (0, 1, 128, 255)]
    x = embed.Descriptor()(np.stack(flat))
    assert x.shape == (4, 324)
    assert np.isfinite(x).all()
    assert (np.linalg.norm(x, axis=1) > 0).all()


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_batch_size_does_not_change_the_descriptor(batch):
    pixels = np.stack([resize(picture(seed), width=32, height=32) for seed in range(40)])
    maker = embed.Descriptor()
    parts = np.concatenate([maker(pixels[i : i + batch]) for i in range(0, 40, batch)])
    assert np.abs(parts - maker(pixels)).max() < 1e-6


@pytest.mark.shared
def test_real_photographs_keep_their_descriptor_through_recompression_and_resizing(shared_data):
    paths = sorted(p for p in (shared_data / "imagenette_folder").rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    assert len(paths) > 40
    for path in paths[:40]:
        with Image.open(path) as image:
            original = np.asarray(image.convert("RGB"))
        small = resize(original, width=original.shape[1] // 2, height=original.shape[0] // 2)
        assert alike(original, decode(encode_jpeg(small, quality=60))[0]) > 0.9, path


# ---- run -------------------------------------------------------------------------------------------------------------


def test_vectors_are_of_unit_length_one_an_image_in_id_order(tmp_path, photo_catalog):
    made = embed.run(photo_catalog, out=tmp_path / "e")
    assert made.images.tolist() == photo_catalog.images().tolist()
    assert made.vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(made.vectors, axis=1) - 1).max() < 1e-6
    assert made.embedder == "descriptor/1"
    storage.verify(tmp_path / "e")


def test_each_vector_belongs_to_its_image(tmp_path, photos, photo_catalog):
    made = embed.run(photo_catalog, out=tmp_path / "e")
    for image, source in photo_catalog.scan().select("image", "source").collect().iter_rows():
        pixels, _ = decode((photos / source).read_bytes())
        assert np.abs(made.vectors[made.images == image][0] - descriptor(pixels)[0]).max() < 1e-6


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (5, 3), (24, 2)])
def test_batch_size_and_workers_do_not_change_the_vectors(tmp_path, photo_catalog, monkeypatch, batch, workers):
    whole = embed.run(photo_catalog, out=tmp_path / "whole")
    monkeypatch.setattr(embed, "_BATCH", batch)
    other = embed.run(photo_catalog, out=tmp_path / "e", workers=workers)
    assert np.abs(other.vectors - whole.vectors).max() < 1e-6


def test_the_same_call_returns_at_once_and_other_arguments_are_refused(tmp_path, photo_catalog):
    Mean.calls = 0
    one = embed.run(photo_catalog, embedder=Mean(), out=tmp_path / "e")
    assert Mean.calls == 1
    two = embed.run(photo_catalog, embedder=Mean(), out=tmp_path / "e")
    assert Mean.calls == 1
    assert two.fingerprint == one.fingerprint == Embeddings.open(tmp_path / "e").fingerprint
    with pytest.raises(OutputExists, match='embedder: there "mean/1", now "descriptor/1"'):
        embed.run(photo_catalog, out=tmp_path / "e")


def test_a_run_that_broke_can_be_run_again(tmp_path, photo_catalog, monkeypatch):
    def fails(self, pixels):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Mean, "__call__", fails)
        with pytest.raises(RuntimeError, match="out of memory"):
            embed.run(photo_catalog, embedder=Mean(), out=tmp_path / "e")
    assert not (tmp_path / "e").exists()
    again = embed.run(photo_catalog, embedder=Mean(), out=tmp_path / "e")
    assert again.fingerprint == embed.run(photo_catalog, embedder=Mean(), out=tmp_path / "whole").fingerprint


def test_a_split_is_embedded_alone(tmp_path):
    catalog = from_folder(
        place(tmp_path / "p", "train/a/1.jpg", "val/a/2.jpg", "val/b/3.jpg"), out=tmp_path / "c", workers=1
    )
    made = embed.run(catalog, out=tmp_path / "e", split="val")
    assert made.images.tolist() == catalog.images(split="val").tolist()
    with pytest.raises(UnknownName, match="'tset'"):
        embed.run(catalog, out=tmp_path / "e2", split="tset")


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf], ids=str)
def test_an_embedder_that_gives_no_direction_is_refused(tmp_path, photo_catalog, monkeypatch, value):
    monkeypatch.setattr(Broken, "value", value)
    with pytest.raises(BadInput, match="the vector of image"):
        embed.run(photo_catalog, embedder=Broken(), out=tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_flat_images_of_any_colour_can_be_embedded(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg")
    for i, value in enumerate((0, 90, 255)):
        (root / "a" / f"flat{i}.png").write_bytes(encoded(np.full((20, 30, 3), value, np.uint8), "PNG"))
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    assert np.isfinite(embed.run(catalog, out=tmp_path / "e").vectors).all()


def test_bytes_that_changed_since_the_catalog_was_made_are_found(tmp_path):
    root = place(tmp_path / "p", "a/1.png")
    one, other = (encoded(np.full((6, 6, 3), value, np.uint8), "BMP") for value in (1, 2))
    (root / "a" / "1.png").write_bytes(one)
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    (root / "a" / "1.png").write_bytes(other)  # of the same length, and a sound image
    with pytest.raises(ImageRejected, match="have changed since the catalog was made"):
        embed.run(catalog, out=tmp_path / "e")


def test_an_empty_catalog_cannot_be_embedded(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg")
    (root / "a" / "1.jpg").write_bytes(b"")
    catalog = from_folder(root, out=tmp_path / "c", max_rejected=1.0, workers=1)
    with pytest.raises(BadInput, match="no image to embed"):
        embed.run(catalog, out=tmp_path / "e")


def test_an_unknown_embedder_is_suggested(tmp_path, photo_catalog):
    with pytest.raises(UnknownOption, match="Did you mean 'descriptor'"):
        embed.run(photo_catalog, embedder="descritor", out=tmp_path / "e")
