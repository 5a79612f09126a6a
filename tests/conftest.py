"""Fixtures every test may use: a small labelled photo folder, a catalog of it, and real data where it is there."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from jftdata import progress, sources
from jftdata.catalog import Catalog
from jftdata.images import encode_jpeg
from tests.strategies import picture

settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

LABELS = ("bus", "cat", "dog")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _silent() -> None:
    progress.set_quiet(True)


@pytest.fixture
def shared_data() -> Path:
    """Real images and hierarchies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED}")
    return SHARED


def write_photos(folder: Path, *, per_label: int = 8, seed: int = 0) -> Path:
    """`<folder>/<label>/<number>.jpg`, all different, in three sizes."""
    for at, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for i in range(per_label):
            pixels = picture(seed + 1000 * at + i, width=48 + 8 * (i % 3), height=40)
            (folder / label / f"{i:02d}.jpg").write_bytes(encode_jpeg(pixels))
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images under three labels; do not change them."""
    return write_photos(tmp_path_factory.mktemp("photos") / "photos")


@pytest.fixture(scope="session")
def photo_catalog(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Catalog of `photos`, made in this process; do not change it."""
    progress.set_quiet(True)
    return sources.from_folder(photos, out=tmp_path_factory.mktemp("catalog") / "photos.catalog", workers=1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    if item.get_closest_marker("long") and "long" not in item.config.getoption("-m"):
        pytest.skip("takes minutes; ask for it with -m long")
