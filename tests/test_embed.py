import json
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from PIL import Image

from jftdata import embed, storage, subset
from jftdata.embeddings import Embeddings
from jftdata.errors import BadArgument, BadInput, OutputExists, TooManyRejects, UnknownName, UnknownOption
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
    assert made.embedder == "descriptor/2"
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
    with pytest.raises(OutputExists, match='embedder: there "mean/1", now "descriptor/2"'):
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


# ---- images that cannot be read --------------------------------------------------------------------------------------


def with_damage(folder):
    """Six photographs, of which one is gone and one has other bytes of the same length since the catalog was made."""
    root = place(folder / "p", *(f"a/{i}.jpg" for i in range(4)))
    one, other = (encoded(np.full((6, 6, 3), value, np.uint8), "BMP") for value in (1, 2))
    (root / "a" / "4.png").write_bytes(one)
    (root / "a" / "5.png").write_bytes(encoded(picture(1), "PNG"))
    catalog = from_folder(root, out=folder / "c", workers=1)
    (root / "a" / "4.png").write_bytes(other)
    (root / "a" / "5.png").unlink()
    bad = catalog.scan().filter(pl.col("source").str.ends_with(".png")).select("image", "source").collect()
    return catalog, dict(bad.iter_rows())


@pytest.mark.parametrize("batch", [1, 4, 256])
def test_unreadable_images_are_listed_and_all_others_have_their_vector(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(embed, "_BATCH", batch)
    catalog, bad = with_damage(tmp_path)
    made = embed.run(catalog, out=tmp_path / "e")
    assert sorted([*made.images.tolist(), *bad]) == catalog.images().tolist()
    listed = pl.read_parquet(tmp_path / "e" / "rejected.parquet")
    assert listed.schema == embed.REJECTED
    assert listed["image"].to_list() == sorted(bad)
    assert {bad[i].removeprefix("a/"): why for i, why in listed.select("image", "reason").iter_rows()} == {
        "4.png": "damaged", "5.png": "missing",
    }  # fmt: skip
    assert storage.verify(tmp_path / "e").facts == {"num_images": 4, "dimensions": 324, "num_rejected": 2}
    good = subset.only(catalog, images=made.images)
    for image, source in catalog.rows(good.images, columns=["image", "source"]).iter_rows():
        pixels, _ = decode((tmp_path / "p" / source).read_bytes())
        assert np.abs(made.vectors[made.images == image][0] - descriptor(pixels)[0]).max() < 1e-6


def test_more_unreadable_images_than_allowed_are_named_and_mended_ones_are_read_again(tmp_path):
    catalog, bad = with_damage(tmp_path)
    with pytest.raises(TooManyRejects, match=r"2 of 6 images .* could not be read: ") as caught:
        embed.run(catalog, out=tmp_path / "e", max_rejected=0.2)
    assert all(str(image) in str(caught.value) for image in bad)
    assert not (tmp_path / "e").exists()
    (tmp_path / "p" / "a" / "5.png").write_bytes(encoded(picture(1), "PNG"))
    assert len(embed.run(catalog, out=tmp_path / "e", max_rejected=0.2)) == 5
    with pytest.raises(BadArgument, match="`max_rejected` must be in"):
        embed.run(catalog, out=tmp_path / "e2", max_rejected=2)


def test_a_catalog_of_which_nothing_can_be_read_is_refused_until_it_is_mended(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg", "a/2.jpg")
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    (tmp_path / "p").rename(tmp_path / "away")
    with pytest.raises(BadInput, match="none of 2 images could be read"):
        embed.run(catalog, out=tmp_path / "e")
    (tmp_path / "away").rename(tmp_path / "p")
    assert len(embed.run(catalog, out=tmp_path / "e")) == 2


def test_transfer_refuses_data_with_an_image_that_has_no_vector(tmp_path):
    from jftdata import recipes, subset, transfer
    from jftdata.pretrain import run as pretrain

    root = place(tmp_path / "p", "train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "test/b/4.jpg")
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    recipe = recipes.tiny(total_epochs=0, image_size=32)
    checkpoint = pretrain(subset.everything(catalog), recipe, out=tmp_path / "n", device="cpu")
    (root / "test" / "b" / "4.jpg").unlink()
    gone = catalog.scan().filter(pl.col("source").str.contains("4.jpg")).collect()["image"].item()
    with pytest.raises(TooManyRejects, match=str(gone)):
        transfer.run(checkpoint, task="knn", data=catalog, out=tmp_path / "r", device="cpu")


# ---- going on after a kill -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_run_that_broke_midway_goes_on_from_the_last_whole_batch_to_the_same_bytes(
    tmp_path, photo_catalog, monkeypatch, stop
):
    monkeypatch.setattr(embed, "_BATCH", 4)
    whole = embed.run(photo_catalog, out=tmp_path / "whole")
    seen = []

    class Breaks(embed.Descriptor):
        def __call__(self, pixels):
            seen.append(len(pixels))
            if len(seen) == stop + 1:
                raise RuntimeError("out of memory")
            return super().__call__(pixels)

    with pytest.raises(RuntimeError, match="out of memory"):
        embed.run(photo_catalog, embedder=Breaks(), out=tmp_path / "e")
    state = json.loads((tmp_path / "e.partial" / "state.json").read_text())
    assert state["done"] == 4 * stop
    before = len(seen)
    again = embed.run(photo_catalog, embedder=Breaks(), out=tmp_path / "e")
    assert sum(seen[before:]) == 24 - 4 * stop
    assert again.fingerprint == whole.fingerprint


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(tmp_path):
    catalog, _ = with_damage(tmp_path)
    whole = embed.run(catalog, out=tmp_path / "whole")
    script = f"""
import os, signal
from jftdata import embed
from jftdata.catalog import Catalog
embed._BATCH, embed._SAVE_SECONDS = 1, 0.0
calls = []
class Dies(embed.Descriptor):
    def __call__(self, pixels):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(pixels)
embed.run(Catalog.open({str(catalog.path)!r}), embedder=Dies(), out={str(tmp_path / "e")!r})
"""
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    state = json.loads((tmp_path / "e.partial" / "state.json").read_text())
    assert 3 <= state["done"] <= 5
    with (tmp_path / "e.partial" / "vectors.npy").open("ab") as file:
        file.write(b"half a vector that was not saved")
    again = embed.run(catalog, out=tmp_path / "e")
    assert again.images.tolist() == whole.images.tolist()
    assert again.fingerprint == whole.fingerprint


def test_lanes_and_their_pace_do_not_change_the_order(tmp_path, photo_catalog, monkeypatch):
    monkeypatch.setattr(embed, "_BATCH", 3)
    turns = iter(range(8))

    class Uneven(Mean):
        lanes = 3

        def __call__(self, pixels):
            time.sleep(0.01 * (next(turns) % 3 == 0))
            return pixels.mean(axis=(1, 2)).astype(np.float32) + 1

    made = embed.run(photo_catalog, embedder=Uneven(), out=tmp_path / "e")
    plain = embed.run(photo_catalog, embedder=Mean(), out=tmp_path / "plain")
    assert made.fingerprint == plain.fingerprint


@pytest.mark.gpu
def test_every_gpu_gives_the_vectors_of_one(tmp_path, photo_catalog, monkeypatch):
    import torch

    from jftdata.backbone import NetEmbedder, build

    monkeypatch.setattr(embed, "_BATCH", 3)
    net = build("resnet10", num_outputs=16, seed=0)
    every = NetEmbedder(net, name="net/1", size=64, precision="fp32")
    assert every.lanes == torch.cuda.device_count()
    one = NetEmbedder(net, name="net/1", size=64, precision="fp32", device="cuda:0")
    assert one.lanes == 1
    made = embed.run(photo_catalog, embedder=every, out=tmp_path / "every")
    alone = embed.run(photo_catalog, embedder=one, out=tmp_path / "one")
    assert np.abs(made.vectors - alone.vectors).max() < 1e-4


def test_an_embedder_that_prepares_gets_the_whole_image(tmp_path, photos, photo_catalog):
    class Corner(Mean):
        name = "corner/1"

        def prepare(self, pixels):
            return pixels[:8, :8]

    made = embed.run(photo_catalog, embedder=Corner(), out=tmp_path / "e")
    for image, source in photo_catalog.scan().select("image", "source").collect().iter_rows():
        mean = decode((photos / source).read_bytes())[0][:8, :8].mean(axis=(0, 1)) + 1
        assert np.abs(made.vectors[made.images == image][0] - mean / np.linalg.norm(mean)).max() < 1e-6


def test_an_empty_catalog_cannot_be_embedded(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg")
    (root / "a" / "1.jpg").write_bytes(b"")
    catalog = from_folder(root, out=tmp_path / "c", max_rejected=1.0, workers=1)
    with pytest.raises(BadInput, match="no image to embed"):
        embed.run(catalog, out=tmp_path / "e")


def test_an_unknown_embedder_is_suggested(tmp_path, photo_catalog):
    with pytest.raises(UnknownOption, match="Did you mean 'descriptor'"):
        embed.run(photo_catalog, embedder="descritor", out=tmp_path / "e")
