import threading
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from jftdata.errors import ImageRejected
from jftdata.pixels import PLACE, check_unchanged, map_images
from jftdata.sources import from_folder
from tests.test_sources_folder import place


@pytest.fixture
def places(photo_catalog):
    """72 places in an order that is not that of the catalog."""
    frame = photo_catalog.scan().select("source", *PLACE).collect()
    return pl.concat([frame, frame, frame]).sample(fraction=1, shuffle=True, seed=1)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ahead", [1, 1024])
def test_results_come_in_the_order_of_the_places(photos, photo_catalog, places, workers, ahead):
    got = list(map_images(photo_catalog, places, lambda i, data: (i, data), workers=workers, ahead=ahead))
    assert got == [(i, (photos / source).read_bytes()) for i, source in enumerate(places["source"])]


def test_no_place_gives_nothing(photo_catalog, places):
    assert list(map_images(photo_catalog, places[:0], lambda i, data: i)) == []


@pytest.mark.parametrize(("ahead", "groups"), [(16, 2), (32, 3), (1024, 5)])
def test_no_more_than_allowed_is_read_ahead(photo_catalog, places, monkeypatch, ahead, groups):
    asked = []

    class Counting(ThreadPoolExecutor):
        def submit(self, function, first):
            asked.append(first)
            return super().submit(function, first)

    monkeypatch.setattr("jftdata.pixels.ThreadPoolExecutor", Counting)
    results = map_images(photo_catalog, places, lambda i, data: i, workers=2, ahead=ahead)
    next(results)
    results.close()
    assert len(asked) == groups  # of 16 images each, one of them the group being taken


def test_an_error_of_the_function_reaches_the_caller(photo_catalog, places):
    def fails(i, data):
        if i == 40:
            raise RuntimeError("image 40")
        return i

    with pytest.raises(RuntimeError, match="image 40"):
        list(map_images(photo_catalog, places, fails))


def test_a_file_that_is_gone_reaches_the_caller(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg", "a/2.jpg")
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    (root / "a" / "2.jpg").unlink()
    with pytest.raises(ImageRejected, match=r"2\.jpg"):
        list(map_images(catalog, catalog.scan().select(PLACE).collect(), lambda i, data: i))


def test_leaving_early_ends_all_threads(photo_catalog, places):
    before = threading.active_count()
    results = map_images(photo_catalog, places, lambda i, data: i, workers=4)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_an_image_that_is_gone_or_refused_is_handed_over_in_its_place(photo_catalog):
    catalog = photo_catalog
    places = catalog.rows(catalog.images(), columns=PLACE)
    gone = places.with_columns(
        shard=pl.when(pl.int_range(pl.len()) == 1).then(pl.lit("nowhere.jpg")).otherwise("shard")
    )

    def size(i: int, data: bytes) -> int:
        if i == 2:
            raise ImageRejected("damaged", "on purpose")
        return len(data)

    found = list(map_images(catalog, gone, size, workers=2, on_reject=lambda i, error: (i, error.reason)))
    expected = places["length"].to_list()
    assert found == [*expected[:1], (1, "missing"), (2, "damaged"), *expected[3:]]
    with pytest.raises(ImageRejected, match="nowhere"):
        list(map_images(catalog, gone, size, workers=2))


def test_bytes_that_are_not_those_of_the_id_are_refused(photo_catalog):
    catalog = photo_catalog
    row = catalog.rows(catalog.images()[:1]).row(0, named=True)
    data = catalog.read(row["shard"], row["offset"], row["length"])
    check_unchanged(row["image"], data)
    with pytest.raises(ImageRejected, match=f"image {row['image']} have changed"):
        check_unchanged(row["image"], data + b"x")
