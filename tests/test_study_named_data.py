"""The sets of named studies: the world in parts, and the user's own from a file."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jftdata import recipes
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, MissingInput, UnknownOption
from jftdata.study.named.data import StudyData, WorldSettings, read, world
from jftdata.transfer.annotations.read import boxes, keypoints, masks

TOML = """
noisy = "{catalog}"
sizes = [4, 8, 16]
recipe = "tiny"
set = ["total_epochs=2", "image_size=32"]
seeds = [3]
judged_by = ["detection", "detection/frozen", "knn"]
classification = "{catalog}"
clean = "{catalog}"
clean_set = ["loss=softmax"]
detection = "boxes"
vocabulary = "few.txt"
left_out = "drop.txt"
epochs = [1, 2.5]
task_recipes = {{ detection = "paper" }}
"""


@pytest.fixture
def written(photo_catalog: Catalog, tmp_path: Path) -> Path:
    (tmp_path / "boxes").mkdir()
    (tmp_path / "few.txt").write_text("cat\nbus\n")
    (tmp_path / "drop.txt").write_text("\n".join(map(str, photo_catalog.images()[:2])))
    (tmp_path / "mine.toml").write_text(TOML.format(catalog=photo_catalog.path))
    return tmp_path / "mine.toml"


def test_a_file_names_the_users_own_sets(written: Path, photo_catalog: Catalog) -> None:
    mine = read(written, at=written.parent / "out")
    assert mine.noisy().fingerprint == photo_catalog.fingerprint
    assert (mine.sizes, mine.seeds, mine.epochs) == ((4, 8, 16), (3,), (1, 2.5))
    assert mine.recipe == dataclasses.replace(recipes.tiny(), total_epochs=2.0, image_size=32)
    assert mine.clean_recipe == dataclasses.replace(mine.recipe, loss="softmax")
    assert mine.clean_images == 24
    assert list(mine.part("vocabulary")()) == ["cat", "bus"]
    assert [(j.key, j.recipe) for j in mine.judges()] == [
        ("detection", "paper"),
        ("detection-frozen", "paper"),
        ("knn", None),
    ]
    assert mine.judges()[0].data() == written.parent / "boxes"
    ids = photo_catalog.images()
    assert mine.images().images.tolist() == ids[2:].tolist()
    assert np.array_equal(mine.images(left_out=False).images, ids)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("seeds", "sedes", UnknownOption, "'sedes' is not known. Did you mean 'seeds'"),
        ("[4, 8, 16]", "[4, 'x']", BadInput, r"`sizes` of .* must be a list of whole numbers. Got \[4, 'x'\]"),
        ("[4, 8, 16]", "[8, 4]", BadArgument, r"ascending numbers of images. Got \[8, 4\]"),
        ('recipe = "tiny"', "", BadInput, "has no `recipe`"),
        ("total_epochs=2", 'total_epochs=0", "warmup_epochs=0', BadArgument, "must train"),
        ('"paper"', '"papr"', UnknownOption, "'papr' is not known"),
        ('"boxes"', '"gone"', MissingInput, "gone, the `detection`, does not exist"),
        ("sizes = ", "sizes ", BadInput, "is not TOML"),
    ],
)
def test_what_a_file_has_wrong_is_named(
    written: Path, old: str, new: str, error: type[Exception], message: str
) -> None:
    written.write_text(written.read_text().replace(old, new))
    with pytest.raises(error, match=message):
        read(written, at=written.parent)


def test_a_part_that_is_not_given_is_an_error(written: Path) -> None:
    mine = read(written, at=written.parent)
    with pytest.raises(BadInput, match=r"has no `segmentation`, which this study needs\. Give a folder with masks"):
        mine.judge("segmentation")
    with pytest.raises(MissingInput, match=r"does not exist\. Give a TOML file"):
        read(written.with_name("no.toml"), at=written.parent)


def test_the_world_has_every_part_and_draws_none_of_it(tmp_path: Path) -> None:
    drawn = world(tmp_path / "w")
    missing = [f.name for f in dataclasses.fields(StudyData) if getattr(drawn, f.name) is None]
    assert missing == []
    assert not (tmp_path / "w").exists()
    assert drawn.clean_recipe is not None
    assert drawn.clean_recipe.total_epochs * drawn.clean_images == drawn.recipe.total_epochs * drawn.sizes[-1]


@pytest.mark.long
def test_the_world_is_drawn_once_and_leaves_planted_copies_out(tmp_path: Path) -> None:
    settings = WorldSettings(
        num_images=300, num_clean_train=30, num_clean_test=60, num_clean=30, num_eval=10, num_detection=5
    )  # fmt: skip
    drawn = world(tmp_path, settings, workers=1)
    assert drawn.noisy() is drawn.noisy()
    assert len(drawn.clean_set()) == 30
    assert drawn.part("validation")().hierarchy.labels == drawn.noisy().hierarchy.labels
    assert set(drawn.part("classification")().images()).isdisjoint(drawn.clean_set().images)
    assert boxes(drawn.part("detection")()).num_test == masks(drawn.part("segmentation")()).num_test == 1
    assert keypoints(drawn.part("pose")()).num_test == 4
    left, whole = drawn.images(), drawn.images(left_out=False)
    planted = pl.read_parquet(tmp_path / "world" / "truth" / "duplicates.parquet")
    assert 0 < len(whole) - len(left) <= 3 * len(planted)
    assert set(left.images) < set(whole.images)
