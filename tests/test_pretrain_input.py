"""Batches: their order, their ranks, and what happens to images that cannot be read."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jftdata import sources, subset
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, ImageRejected, TooManyRejects
from jftdata.pixels import PLACE
from jftdata.pretrain import input as module
from jftdata.pretrain.augment import Augmentation
from jftdata.pretrain.input import Batch, batches
from jftdata.pretrain.places import Places
from jftdata.subset.stream import Stream

PLAIN = Augmentation(36, 32)
MODERN = Augmentation(36, 32, "resized", 0.3, "trivial-augment", 0.5)


def made(
    catalog: Catalog, augmentation: Augmentation = PLAIN, *, batch_size: int = 8, steps: int = 6, **options
) -> list[Batch]:
    stream = Stream(images=catalog.images(), seed=1, batch_size=batch_size)
    places = Places.of_subset(subset.everything(catalog))
    first = options.pop("first_step", 0)
    return list(batches(catalog, places, augmentation, stream=stream, first_step=first, num_steps=steps, **options))


def shown(some: list[Batch]) -> list[tuple[list[int], bytes]]:
    return [(b.rows.tolist(), b.pixels.tobytes()) for b in some]


@pytest.mark.parametrize("augmentation", [PLAIN, MODERN])
def test_an_image_of_a_batch_is_that_of_its_position(photo_catalog, augmentation):
    stream = Stream(images=photo_catalog.images(), seed=1, batch_size=8)
    rows = photo_catalog.rows(photo_catalog.images(), columns=PLACE)
    for batch, drawn in zip(made(photo_catalog, augmentation), stream.batches(0, 6), strict=True):
        assert batch.rejected == []
        np.testing.assert_array_equal(batch.rows, drawn.rows)
        for i, draw in enumerate(stream.draw(drawn.epoch, drawn.positions)):
            part = augmentation.load(photo_catalog.read(*rows.row(int(batch.rows[i]))), draw)
            np.testing.assert_array_equal(batch.pixels[i], augmentation.finish(part, draw))


@given(st.integers(1, 5), st.integers(0, 6), st.sampled_from([1, 7, 24]))
def test_workers_and_the_first_step_change_nothing(photo_catalog, workers, first, batch_size):
    whole = shown(made(photo_catalog, MODERN, batch_size=batch_size, workers=2))
    assert shown(made(photo_catalog, MODERN, batch_size=batch_size, first_step=first, workers=workers)) == whole[first:]


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_ranks_share_the_batches_of_one(photo_catalog, world_size):
    whole = made(photo_catalog, MODERN)
    ranks = [made(photo_catalog, MODERN, world_size=world_size, rank=rank) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        for rank in range(world_size):
            np.testing.assert_array_equal(ranks[rank][step].rows, batch.rows[rank::world_size])
            np.testing.assert_array_equal(ranks[rank][step].pixels, batch.pixels[rank::world_size])


def test_a_frame_of_rows_will_do(photo_catalog):
    stream = Stream(images=photo_catalog.images(), seed=1, batch_size=8)
    rows = photo_catalog.rows(photo_catalog.images(), columns=PLACE)
    found = list(batches(photo_catalog, rows, PLAIN, stream=stream, first_step=0, num_steps=6))
    assert shown(found) == shown(made(photo_catalog))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_device_gives_the_same_images(photo_catalog, device):
    for ours, theirs in zip(made(photo_catalog), made(photo_catalog, device=torch.device(device)), strict=True):
        assert isinstance(theirs.pixels, torch.Tensor)
        assert theirs.pixels.device.type == device
        np.testing.assert_array_equal(ours.rows, theirs.rows)
        assert np.abs(ours.pixels.astype(int) - theirs.pixels.cpu().numpy()).max() <= 1


def test_another_number_of_rows_is_an_error(photo_catalog):
    stream = Stream(images=photo_catalog.images()[1:], seed=1, batch_size=8)
    places = Places.of_subset(subset.everything(photo_catalog))
    with pytest.raises(BadArgument, match=r"a row for each of the 23 images\. Got 24"):
        batches(photo_catalog, places, PLAIN, stream=stream, first_step=0, num_steps=1)


def test_leaving_early_ends_all_threads(photo_catalog):
    stream = Stream(images=photo_catalog.images(), seed=1, batch_size=8)
    places = Places.of_subset(subset.everything(photo_catalog))
    before = threading.active_count()
    endless = batches(photo_catalog, places, PLAIN, stream=stream, first_step=0, num_steps=10**9)
    next(endless)
    endless.close()
    assert threading.active_count() == before


def test_no_more_batches_than_stated_are_made_ahead(photo_catalog, monkeypatch):
    begun = []
    original = module._Work.__init__
    monkeypatch.setattr(module._Work, "__init__", lambda self, *given: (begun.append(1), original(self, *given))[1])
    stream = Stream(images=photo_catalog.images(), seed=1, batch_size=16)
    places = Places.of_subset(subset.everything(photo_catalog))
    endless = batches(photo_catalog, places, PLAIN, stream=stream, first_step=0, num_steps=10**9, workers=2)
    next(endless)
    assert len(begun) == 2 + 2 * 4  # the one given, one more, and four groups of 16 a worker
    endless.close()


def test_memory_is_used_again_only_when_a_batch_is_let_go(photo_catalog):
    stream = Stream(images=photo_catalog.images(), seed=1, batch_size=16)
    places = Places.of_subset(subset.everything(photo_catalog))
    options = {"stream": stream, "first_step": 0, "num_steps": 60, "workers": 2}
    kept, as_made, blocks = [], [], set()
    for batch in batches(photo_catalog, places, PLAIN, **options):
        blocks.add(batch.pixels.ctypes.data)
        kept.append(torch.from_numpy(batch.pixels[1:]))  # a part, through torch
        as_made.append(batch.pixels[1:].tobytes())
    assert len(blocks) == 60
    assert [pixels.numpy().tobytes() for pixels in kept] == as_made
    blocks = {batch.pixels.ctypes.data for batch in batches(photo_catalog, places, PLAIN, **options)}
    assert len(blocks) <= 2 * (2 + 2 * 4)


@pytest.fixture
def broken(photos: Path, tmp_path: Path) -> tuple[Catalog, list[int]]:
    """A catalog of 24 images of which the first is gone and the second damaged, and the rows of both."""
    shutil.copytree(photos, tmp_path / "photos")
    catalog = sources.from_folder(tmp_path / "photos", out=tmp_path / "c", workers=1)
    gone, cut = (catalog.path / shard for shard in catalog.rows(catalog.images()[:2])["shard"])
    gone.unlink()
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    return catalog, [0, 1]


def test_a_bad_image_is_an_error_where_none_is_allowed(broken):
    catalog, _ = broken
    with pytest.raises(ImageRejected, match=r"\.jpg: No such file|JPEG"):
        made(catalog)


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_a_bad_image_is_replaced_by_the_good_one_before_it_and_named(broken, photo_catalog, device):
    catalog, bad = broken
    whole = made(photo_catalog, device=device)  # the same images, all there
    assert photo_catalog.images().tolist() == catalog.images().tolist()
    for workers in (1, 4):
        found = made(catalog, workers=workers, device=device, max_rejects=0.001)
        named = [{image: reason for image, reason, _ in batch.rejected} for batch in found]
        reasons = dict(zip(catalog.images()[bad].tolist(), ("missing", "damaged"), strict=True))
        assert named[:3] != [{}, {}, {}]
        assert {image: reason for one in named[:3] for image, reason in one.items()} == reasons
        assert named[3:] != [{}, {}, {}]  # again in the second epoch
        for batch, undisturbed in zip(found, whole, strict=True):
            for i, row in enumerate(undisturbed.rows):
                before = [j for j in range(i + 1) if undisturbed.rows[j] not in bad]
                after = [j for j in range(i, 8) if undisturbed.rows[j] not in bad]
                j = before[-1] if before else after[0]
                assert batch.rows[i] == undisturbed.rows[j], row
                assert (batch.pixels[i] == undisturbed.pixels[j]).all()


def test_too_many_bad_images_stop_the_run(broken, monkeypatch):
    catalog, _ = broken
    monkeypatch.setattr(module, "ALWAYS_ALLOWED", 0)
    with pytest.raises(TooManyRejects, match=r"2 of 24 images cannot be read, more than 5\.00%"):
        made(catalog, max_rejects=0.05)
    assert len(made(catalog, max_rejects=2 / 24, steps=30)) == 30  # each is counted once


def test_a_batch_without_a_good_image_stops_the_run(broken, tmp_path):
    catalog, _ = broken
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(TooManyRejects, match=r"none of the 8 images .* No such file"):
        made(catalog, max_rejects=1.0)
