"""The order of images: a permutation, the same for any ranks, cuts and threads, with copies as often as weights say."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata.errors import BadArgument
from jftdata.hashing import keyed_hash, uniform
from jftdata.subset import stream as module
from jftdata.subset.disk import Blocks
from jftdata.subset.stream import Stream


def ids_of(num):
    return np.sort(keyed_hash(np.arange(num), seed=7, stream="ids") >> np.uint64(1)).astype(np.int64)


@st.composite
def streams(draw, weighted=None):
    num = draw(st.integers(1, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = blocks = None
    if draw(st.booleans()) if weighted is None else weighted:
        weights = rng.choice(draw(st.sampled_from([[1.0, 2.0], [0.25, 1.0, 3.5], [1.5]])), num)
    if draw(st.booleans()):
        blocks = Blocks(rng.permutation(num), size=draw(st.integers(1, 50)), window=draw(st.integers(1, 9)))
    most = int(num if weights is None else weights.sum())
    drop_last = most > 0 and draw(st.booleans())
    batch_size = draw(st.integers(1, min(most, 64) if drop_last else 64))
    return Stream(
        images=ids_of(num), seed=draw(st.integers(0, 2**63 - 1)), batch_size=batch_size, weights=weights, blocks=blocks,
        drop_last=drop_last,
    )  # fmt: skip


def whole(stream, epoch):
    return stream.rows(epoch, 0, stream.num_positions(epoch))


def told(batches):
    return [(b.step, b.epoch, b.positions.tolist(), b.rows.tolist()) for b in batches]


@given(streams(weighted=False), st.integers(0, 10**6))
def test_an_epoch_is_a_permutation(stream, epoch):
    assert np.sort(whole(stream, epoch)).tolist() == list(range(len(stream.images)))


@given(streams(weighted=True), st.integers(0, 1_000))
def test_an_image_comes_as_often_as_its_weight_and_hash_say(stream, epoch):
    share, times = np.modf(stream.weights)
    drawn = uniform(keyed_hash(stream.images, seed=stream.seed, stream=f"stream copies {epoch}"))
    expected = times.astype(int) + (drawn < share)
    assert np.bincount(whole(stream, epoch), minlength=len(expected)).tolist() == expected.tolist()
    assert stream.num_positions(epoch) == expected.sum()


def test_the_mean_over_epochs_is_the_weight():
    weights = np.linspace(0.05, 3.0, 60)
    stream = Stream(images=ids_of(60), seed=1, batch_size=8, weights=weights)
    counts = sum(np.bincount(whole(stream, epoch), minlength=60) for epoch in range(2_000)) / 2_000
    assert np.abs(counts - weights).max() < 4.5 * 0.5 / 2_000**0.5
    assert stream.mean_length == pytest.approx(weights.sum())


@given(streams(), st.integers(0, 3), st.data())
def test_any_part_of_an_epoch_is_that_part_of_the_whole(stream, epoch, data):
    num = stream.num_positions(epoch)
    first = data.draw(st.integers(0, num))
    last = data.draw(st.integers(first, num))
    assert stream.rows(epoch, first, last).tolist() == whole(stream, epoch)[first:last].tolist()
    assert stream.ids(epoch, first, last).tolist() == stream.images[whole(stream, epoch)[first:last]].tolist()


@given(streams(), st.integers(0, 30))
def test_going_on_at_any_step_is_not_having_stopped(stream, cut):
    undisturbed = told(stream.batches(0, 40))
    assert [step for step, *_ in undisturbed] == list(range(40))
    assert told(stream.batches(cut, 40)) == undisturbed[cut:]
    assert told(itertools.islice(stream.batches(cut), 5)) == undisturbed[cut : cut + 5]


@given(streams(), st.sampled_from([1, 2, 4]))
def test_ranks_share_the_batches_of_one_rank(stream, world_size):
    stream = Stream(
        images=stream.images, seed=stream.seed, batch_size=4 * max(1, stream.batch_size // 4), weights=stream.weights,
        blocks=stream.blocks, drop_last=False,
    )  # fmt: skip
    shares = [list(stream.batches(0, 12, world_size=world_size, rank=rank)) for rank in range(world_size)]
    for alone, *parts in zip(stream.batches(0, 12), *shares, strict=True):
        assert {(part.step, part.epoch) for part in parts} == {(alone.step, alone.epoch)}
        joined = np.concatenate([part.positions for part in parts])
        assert sorted(joined.tolist()) == alone.positions.tolist()  # none twice, none missing
        for rank, part in enumerate(parts):
            assert part.rows.tolist() == alone.rows[rank::world_size].tolist()


@given(streams())
def test_batches_are_the_epochs_cut_up(stream):
    batches = list(stream.batches(0, 20))
    for epoch, group in itertools.groupby(batches, lambda b: b.epoch):
        of_epoch = list(group)
        if epoch == batches[-1].epoch:
            break
        assert len(of_epoch) == stream.num_steps(epoch)
        num = stream.num_positions(epoch)
        kept = num - num % stream.batch_size if stream.drop_last else num
        assert np.concatenate([b.rows for b in of_epoch]).tolist() == whole(stream, epoch)[:kept].tolist()
        assert np.concatenate([b.positions for b in of_epoch]).tolist() == list(range(kept))


@given(streams(), st.integers(0, 30))
def test_the_images_seen_are_those_of_the_batches(stream, num_steps):
    met = {int(stream.images[row]) for batch in stream.batches(0, num_steps) for row in batch.rows}
    assert stream.seen(num_steps).tolist() == sorted(met)


@pytest.mark.parametrize("size", [None, 10])
def test_every_epoch_leaves_out_others(size):
    order = np.arange(103)
    blocks = None if size is None else Blocks(order, size=size, window=3)
    stream = Stream(images=ids_of(103), seed=0, batch_size=10, blocks=blocks)
    left = [whole(stream, epoch)[100:] for epoch in range(400)]
    assert len(np.unique(left)) == 103
    assert np.bincount(np.concatenate(left)).max() < 40  # 12 on average


def test_seeds_and_epochs_give_unrelated_orders():
    one = Stream(images=ids_of(50_000), seed=0, batch_size=1)
    two = Stream(images=ids_of(50_000), seed=1, batch_size=1)
    for a, b in ((whole(one, 0), whole(one, 1)), (whole(one, 0), whole(two, 0))):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / 50_000**0.5
        assert (a == b).sum() < 10


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 6), st.integers(0, 50))
def test_a_window_holds_whole_blocks_of_neighbours(num, size, window, epoch):
    order = np.random.default_rng(num).permutation(num)
    stream = Stream(images=ids_of(num), seed=3, batch_size=1, blocks=Blocks(order, size=size, window=window))
    place = np.argsort(order)[whole(stream, epoch)]
    for first in range(0, num, size * window):
        on_disk = set(place[first : first + size * window].tolist())
        runs = sum((at - 1) % num not in on_disk for at in on_disk)  # each run of neighbours begins once
        assert runs <= window


def test_copies_of_an_image_are_spread_over_the_epoch():
    stream = Stream(images=ids_of(10_000), seed=0, batch_size=1, weights=np.full(10_000, 2.0))
    rows = whole(stream, 5)
    first, second = np.argsort(rows, kind="stable").reshape(-1, 2).T
    assert np.mean(second - first) == pytest.approx(20_000 / 3, rel=0.03)  # of two random places


def test_copies_of_an_image_draw_differently_and_epochs_too():
    stream = Stream(images=ids_of(4), seed=0, batch_size=1, weights=np.full(4, 5.0))
    positions = np.arange(20)
    drawn = np.concatenate([stream.draw(epoch, positions) for epoch in range(3)])
    assert len(np.unique(drawn)) == 60
    assert stream.draw(1, positions[7:9]).tolist() == drawn[27:29].tolist()


def test_threads_and_pieces_do_not_matter(monkeypatch):
    arguments = {"images": ids_of(5_000), "seed": 2, "batch_size": 64, "weights": np.linspace(0.1, 2.9, 5_000)}
    one = told(Stream(**arguments).batches(0, 300))
    monkeypatch.setattr(module, "_PIECE", 7)
    for cores in (1, 5):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert told(Stream(**arguments).batches(0, 300)) == one


def test_memory_maps_are_not_read_into_memory(tmp_path):
    num = 1_000_000
    np.save(tmp_path / "ids.npy", np.arange(num))
    np.save(tmp_path / "weights.npy", np.full(num, 1.5))
    ids, weights = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("ids", "weights"))
    blocks = Blocks(np.load(tmp_path / "ids.npy", mmap_mode="r"), size=100, window=10)
    for more in ({}, {"blocks": blocks}, {"weights": weights}, {"weights": weights, "blocks": blocks}):
        tracemalloc.start()
        stream = Stream(images=ids, seed=0, batch_size=100, **more)
        last = list(stream.batches(9_000, 9_050))[-1]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000  # the ids alone are 8 MB
        held = {name: np.asarray(value) for name, value in more.items() if name == "weights"}
        if "blocks" not in more:
            again = Stream(images=np.arange(num), seed=0, batch_size=100, **held)
            assert told(again.batches(9_049, 9_050)) == told([last])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.empty(0, np.int64)}, "at least 1 image"),
        ({"batch_size": 0}, r"in 1\.\.10.* Got 0"),
        ({"batch_size": 11}, r"in 1\.\.10.* Got 11\. Lower it or give `drop_last=False`"),
        ({"weights": np.full(10, 0.5)}, r"in 1\.\.5"),
        ({"weights": np.ones(9)}, "one value an image, 10. Got 9"),
        ({"weights": np.array([1.0] * 9 + [0.0])}, r"above 0 .* Got 0\.0 for image 9"),
        ({"weights": np.array([1.0] * 9 + [np.nan])}, "Got nan for image 9"),
        ({"weights": np.array([np.inf] + [1.0] * 9)}, "Got inf for image 0"),
        ({"blocks": Blocks(np.zeros(10, np.int64), 2, 2)}, r"each row of 0\.\.9 once"),
        ({"blocks": Blocks(np.arange(1, 11), 2, 2)}, r"each row of 0\.\.9 once"),
        ({"blocks": Blocks(np.arange(9), 2, 2)}, r"`blocks\.order` must have one value an image"),
        ({"seed": -1}, r"`seed` must be in"),
    ],
)
def test_what_makes_no_stream_is_refused(change, message):
    with pytest.raises(BadArgument, match=message):
        Stream(**{"images": np.arange(10), "seed": 0, "batch_size": 6, **change})


def test_ranks_steps_and_positions_that_do_not_fit_are_refused():
    stream = Stream(images=np.arange(10), seed=0, batch_size=6)
    with pytest.raises(BadArgument, match=r"must divide the batch of 6.* Got 4\. Give a batch of 8"):
        stream.batches(world_size=4)
    with pytest.raises(BadArgument, match="Got 0"):
        stream.batches(world_size=0)
    with pytest.raises(BadArgument, match=r"`rank` must be in 0\.\.1\. Got 2"):
        stream.batches(world_size=2, rank=2)
    with pytest.raises(BadArgument, match=r"at least 0\. Got -1"):
        list(stream.batches(-1))
    with pytest.raises(BadArgument, match=r"positions of epoch 3 are in 0\.\.10\. Got 8 to 11"):
        stream.rows(3, 8, 11)
