"""Reading in blocks: the order of the bytes, and the cost in randomness against simulation by the stream itself."""

import numpy as np
import pytest
from datasets import Dataset

from jftdata import subset
from jftdata.errors import BadArgument, BadInput
from jftdata.sources import from_hub
from jftdata.subset.disk import Blocks, blocks_touched, design_effect, disk_order
from jftdata.subset.stream import Stream
from jftdata.world import jft300m
from tests.strategies import encoded, picture


def test_the_order_of_files_is_that_of_their_names(photo_catalog):
    chosen = subset.sample(photo_catalog, size=15, seed=0)
    shards = photo_catalog.rows(chosen.images, columns=["shard"])["shard"].to_list()
    order = disk_order(chosen)
    assert [shards[row] for row in order] == sorted(shards)


def test_the_order_in_shards_is_that_of_the_bytes(tmp_path):
    for name, first in (("a", 0), ("b", 12)):
        rows = {"image": [{"bytes": encoded(picture(first + i), "PNG"), "path": None} for i in range(12)]}
        Dataset.from_dict(rows).to_parquet(tmp_path / f"{name}.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    everything = subset.everything(from_hub(files, label=None, out=tmp_path / "catalog", workers=1))
    places = everything.catalog.rows(everything.images, columns=["shard", "offset"]).with_row_index("row")
    assert places["shard"].n_unique() == 2
    assert disk_order(everything).tolist() == places.sort("shard", "offset")["row"].to_list()


def test_a_catalog_without_pixels_has_no_disk_order(tmp_path):
    with pytest.raises(BadInput, match="no pixels"):
        disk_order(subset.everything(jft300m(100, out=tmp_path / "c")))


NUM, SIZE, CLASSES = 8_192, 16, 2
CASES = [(32, 8), (32, 64), (64, 1), (256, 2), (16, 512)]


def epochs(batch_size, window, count):
    """(batches, batch_size): places on disk."""
    stream = Stream(
        images=np.arange(NUM), seed=0, batch_size=batch_size, blocks=Blocks(np.arange(NUM), SIZE, window)
    )  # fmt: skip
    return np.concatenate([stream.rows(e, 0, NUM).reshape(-1, batch_size) for e in range(count)])


@pytest.mark.parametrize(("batch_size", "window"), CASES)
def test_the_variance_of_a_batch_grows_by_the_design_effect(batch_size, window):
    share = (epochs(batch_size, window, 150) < NUM // CLASSES).mean(axis=1)
    shuffled = 0.25 / batch_size * (NUM - batch_size) / (NUM - 1)
    expected = design_effect(NUM, batch_size=batch_size, size=SIZE, window=window)
    assert ((share - 0.5) ** 2).mean() / shuffled == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(("batch_size", "window"), CASES)
def test_a_batch_comes_from_as_many_blocks_as_expected(batch_size, window):
    stream = Stream(images=np.arange(NUM), seed=0, batch_size=batch_size, blocks=Blocks(np.arange(NUM), SIZE, window))
    touched = []
    for epoch in range(20):
        place = stream.rows(epoch, 0, NUM)
        turn = next(t for t in range(SIZE) if aligned((place - t) % NUM // SIZE, window))
        touched += [len(np.unique(batch)) for batch in ((place - turn) % NUM // SIZE).reshape(-1, batch_size)]
    expected = blocks_touched(NUM, batch_size=batch_size, size=SIZE, window=window)
    assert np.mean(touched) == pytest.approx(expected, rel=0.02)


def aligned(blocks, window):
    """Whether every window holds as many different blocks as it should."""
    return all(len(np.unique(part)) == window for part in blocks.reshape(-1, SIZE * window))


def test_a_full_shuffle_touches_as_many_blocks_as_chance():
    drawn = [len(np.unique(np.random.default_rng(i).permutation(NUM)[:64] // SIZE)) for i in range(400)]
    assert blocks_touched(NUM, batch_size=64, size=SIZE) == pytest.approx(np.mean(drawn), rel=0.01)


def test_blocks_of_one_image_and_a_window_of_all_cost_nothing():
    assert design_effect(1_000, batch_size=50, size=1, window=100) == pytest.approx(1)
    assert design_effect(1_000, batch_size=50, size=10, window=100) == 1
    assert blocks_touched(1_000, batch_size=50, size=1, window=100) == pytest.approx(50)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(BadArgument, match=r"`window` of blocks must be at least 1\. Got 0"):
        Blocks(np.arange(3), 1, 0)
    with pytest.raises(BadArgument, match=r"`batch_size` must be at least 1\. Got 0"):
        design_effect(100, batch_size=0, size=1, window=1)
    with pytest.raises(BadArgument, match=r"more than a batch \(200\) and a block \(1\)\. Got 100"):
        blocks_touched(100, batch_size=200, size=1)
