"""Data that a classification task can use, and data that it cannot."""

from pathlib import Path

import pytest

from jftdata import sources
from jftdata.errors import BadInput
from jftdata.transfer.labelled import single_label
from tests.conftest import write_photos


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


def test_data_without_a_test_split_is_refused(photos, tmp_path):
    catalog = sources.from_folder(photos, out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match="no split 'test'"):
        single_label(catalog)


def test_an_image_without_a_label_is_refused(photos, tmp_path):
    catalog = sources.from_folder(photos, layout="none", out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match="do not have just one label"):
        single_label(catalog, test_split="train")


def test_a_label_that_is_never_trained_is_refused(photos, tmp_path):
    folders = sorted(path for path in Path(photos).rglob("*") if path.is_dir() and any(path.glob("*.*")))
    for i, folder in enumerate(folders):
        for split in ("train", "test")[i == 0 :]:
            (tmp_path / "split" / split / folder.name).mkdir(parents=True)
            for file in folder.glob("*.*"):
                (tmp_path / "split" / split / folder.name / f"{split}{file.name}").write_bytes(
                    file.read_bytes() + split.encode()
                )
    catalog = sources.from_folder(tmp_path / "split", out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match=f"label '{folders[0].name}' is in split test but never in train"):
        single_label(catalog)
