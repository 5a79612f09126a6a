"""Places against the catalog's own rows and bytes."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jftdata import sources, subset
from jftdata.catalog import Catalog
from jftdata.errors import BadInput, ImageRejected
from jftdata.pixels import PLACE
from jftdata.pretrain import places as module
from jftdata.pretrain.places import Places
from jftdata.subset import Subset


@pytest.fixture(params=["referenced", "packed"])
def catalog(request, photos: Path, photo_catalog: Catalog, tmp_path: Path) -> Catalog:
    """24 photos in row groups of 7, the first image without labels."""
    out = tmp_path / "c"
    if request.param == "packed":
        sources.from_folder(photos, out=out, pack=True, workers=1)
    else:
        shutil.copytree(photo_catalog.path, out)
    (file,) = (out / "images").glob("*.parquet")
    rows = pq.read_table(file)
    labels = rows.column("labels").to_pylist()
    at = rows.column_names.index("labels")
    rows = rows.set_column(at, "labels", [[[], *labels[1:]]])
    pq.write_table(rows.cast(pq.read_schema(file)), file, row_group_size=7)
    return Catalog.open(out)


def some(catalog: Catalog) -> Subset:
    """Every image but five, two of them those of a row group's ends."""
    return Subset(catalog, np.delete(catalog.images(), [3, 6, 7, 20, 23]), subset.everything(catalog).recipe)


@pytest.mark.parametrize("in_memory", [True, False])
def test_bytes_and_labels_are_those_of_the_catalog(catalog, tmp_path, in_memory):
    chosen = some(catalog)
    places = Places.of_subset(
        chosen, lists=("labels", "negatives"), folder=None if in_memory else tmp_path / "x" / "places"
    )
    rows = catalog.rows(chosen.images)
    assert len(places) == len(chosen) == 19
    assert [places.read(i) for i in range(19)] == [catalog.read(*place) for place in rows.select(PLACE).iter_rows()]
    order = np.array([18, 0, 0, 7])
    for column in ("labels", "negatives"):
        start, index = places.lists(column, order)
        assert [x.tolist() for x in np.split(index, start[1:-1])] == rows[column][order].to_list()


def test_rows_of_a_frame_keep_their_order(catalog):
    rows = catalog.rows(catalog.images()[::-1])
    places = Places.of_rows(catalog, rows)
    assert [places.read(i) for i in range(24)] == [catalog.read(*place) for place in rows.select(PLACE).iter_rows()]


def test_a_folder_is_used_again_and_half_of_one_is_not(catalog, tmp_path):
    folder = tmp_path / "places"
    half = tmp_path / "places.partial"
    half.mkdir()
    (half / "shard").write_bytes(b"half")
    first = Places.of_subset(some(catalog), folder=folder)
    assert not half.exists()
    stamp = (folder / "shard").stat().st_mtime_ns
    again = Places.of_subset(some(catalog), folder=folder)
    assert (folder / "shard").stat().st_mtime_ns == stamp
    assert all((again.arrays[name] == values).all() for name, values in first.arrays.items())


def test_more_files_than_stay_open_can_be_read(catalog, monkeypatch):
    monkeypatch.setattr(module, "_OPEN_FILES", 2)
    opened: list[int] = []
    original = module._Descriptor.__init__
    monkeypatch.setattr(
        module._Descriptor, "__init__", lambda self, path: (original(self, path), opened.append(self.number))[0]
    )
    places = Places.of_subset(subset.everything(catalog))
    data = [places.read(i) for i in range(24)]
    assert data == [places.read(i) for i in range(24)]
    assert len(set(opened)) <= 3  # numbers are used again: files were closed


@pytest.mark.parametrize("change", ["gone", "short"])
def test_a_file_that_is_gone_or_too_short_is_named(photos, tmp_path, change):
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    catalog = sources.from_folder(root, out=tmp_path / "c", workers=1)
    row = catalog.rows(catalog.images()[5:6]).row(0, named=True)
    file = catalog.path / row["shard"]
    file.unlink() if change == "gone" else file.write_bytes(file.read_bytes()[:-1])
    places = Places.of_subset(subset.everything(catalog))
    message = "No such file" if change == "gone" else f"{row['length'] - 1} of {row['length']} bytes at 0"
    with pytest.raises(ImageRejected, match=rf"{file.name}: {message}") as error:
        places.read(5)
    assert error.value.reason == "missing"


def test_images_that_are_not_in_the_catalog_are_an_error(catalog):
    strange = Subset(catalog, np.append(catalog.images()[:3], 2**62), subset.everything(catalog).recipe)
    with pytest.raises(BadInput, match="1 of 4 images are not in"):
        Places.of_subset(strange)
