import hashlib
import json

import numpy as np
import pytest

from jftdata import storage, subset, tail, world
from jftdata.errors import BadInput, Damaged, MissingInput, OutputExists
from jftdata.sources import from_folder
from tests.conftest import write_photos
from tests.test_sources_folder import place


def test_saved_and_opened_is_the_same(tmp_path, photo_catalog):
    made = subset.nested(photo_catalog, sizes=[7], seed=2)[0]
    made.save(tmp_path / "s")
    for again in (subset.Subset.open(tmp_path / "s"), subset.Subset.open(tmp_path / "s", catalog=photo_catalog)):
        assert again.images.tolist() == made.images.tolist()
        assert again.weights is None
        assert again.recipe.key == made.recipe.key
        assert again.fingerprint == made.fingerprint == hashlib.sha256(made.images.astype("<i8").tobytes()).hexdigest()
        assert again.catalog.fingerprint == photo_catalog.fingerprint
        assert again.counts.equals(tail.label_counts(photo_catalog, images=made.images))
    sidecar = storage.verify(tmp_path / "s")
    assert sidecar.made_with["steps"] == [
        {"name": "1", "builder": "everything", "split": None},
        {"name": "2", "builder": "sample", "size": 7, "seed": 2},
    ]  # fmt: skip
    assert sidecar.facts["tail"] == tail.summary(made.counts)
    assert (sidecar.facts["num_images"], sidecar.facts["num_given_labels"]) == (7, 7)


def test_weights_are_kept_and_are_part_of_the_fingerprint(tmp_path, photo_catalog):
    plain = subset.sample(photo_catalog, size=10, seed=0)
    parts = {"few": plain.images[:2], "many": plain.images[2:]}
    made = subset.mix(photo_catalog, parts=parts, ratios={"few": 1, "many": 1}, images_an_epoch=32)
    assert made.images.tolist() == plain.images.tolist()
    assert made.weights.tolist() == [8.0, 8.0, *[2.0] * 8]
    assert made.fingerprint != plain.fingerprint
    made.save(tmp_path / "s")
    again = subset.Subset.open(tmp_path / "s")
    assert again.weights.tolist() == made.weights.tolist()
    assert again.fingerprint == made.fingerprint
    assert storage.read_sidecar(tmp_path / "s").facts["images_an_epoch"] == 32
    fewer = subset.without(again, images=made.images[:1])
    assert fewer.weights.tolist() == [8.0, *[2.0] * 8]


def test_saving_again_is_allowed_but_not_another_subset(tmp_path, photo_catalog):
    ids = photo_catalog.images()
    one = subset.only(photo_catalog, images=ids[:3])
    one.save(tmp_path / "s")
    one.save(tmp_path / "s")
    with pytest.raises(OutputExists, match=r"inputs\.images"):
        subset.only(photo_catalog, images=ids[:4]).save(tmp_path / "s")
    with pytest.raises(OutputExists, match="steps"):
        subset.without(photo_catalog, images=ids[3:]).save(tmp_path / "s")


def test_a_changed_catalog_is_noticed(tmp_path):
    root = write_photos(tmp_path / "p", per_label=2)
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    subset.nested(catalog, sizes=[2], seed=0)[0].save(tmp_path / "s")
    place(root, "cat/99.jpg")
    (tmp_path / "c").rename(tmp_path / "old")
    from_folder(root, out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match="has changed since"):
        subset.Subset.open(tmp_path / "s")
    (tmp_path / "c").rename(tmp_path / "new")
    with pytest.raises(MissingInput):
        subset.Subset.open(tmp_path / "s")
    moved = type(catalog).open(tmp_path / "old")
    assert len(subset.Subset.open(tmp_path / "s", catalog=moved)) == 2


def test_other_ids_than_those_saved_are_noticed(tmp_path, photo_catalog):
    subset.nested(photo_catalog, sizes=[3], seed=0)[0].save(tmp_path / "s")
    np.save(tmp_path / "s" / "images.npy", photo_catalog.images()[:3])
    with pytest.raises(Damaged, match="image ids do not match"):
        subset.Subset.open(tmp_path / "s")
    (tmp_path / "s" / "images.npy").write_bytes(b"")
    with pytest.raises(Damaged, match="is damaged"):
        subset.Subset.open(tmp_path / "s")


def test_a_subset_of_an_older_version_says_so(tmp_path, photo_catalog):
    subset.nested(photo_catalog, sizes=[3], seed=0)[0].save(tmp_path / "s")
    file = tmp_path / "s" / storage.SIDECAR
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": "jftdata.subset/1"}))
    with pytest.raises(BadInput, match=r"jftdata\.subset/1, this version reads"):
        subset.Subset.open(tmp_path / "s")


def test_a_subset_copies_no_image(tmp_path, photo_catalog):
    subset.everything(photo_catalog).save(tmp_path / "s")
    assert sum(path.stat().st_size for path in (tmp_path / "s").iterdir()) < 6000
    assert json.loads((tmp_path / "s" / storage.SIDECAR).read_text())["facts"]["num_images"] == 24


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_come_in_image_order_and_only_those_chosen(tmp_path, workers):
    catalog = world.jft300m(3000, out=tmp_path / "c")
    for chosen in (subset.everything(catalog), subset.sample(catalog, size=100, seed=0)):
        rows = list(chosen.map_rows(lambda rows: rows, columns=["labels"], workers=workers))
        ids = np.concatenate([piece.column("image").to_numpy() for piece in rows])
        assert ids.tolist() == chosen.images.tolist()
        assert rows[0].column_names == ["image", "labels"]
        expected = catalog.rows(chosen.images, columns=["labels"])["labels"].to_list()
        assert [x for piece in rows for x in piece.column("labels").to_pylist()] == expected


def test_membership(photo_catalog):
    made = subset.sample(photo_catalog, size=3, seed=0)
    assert [int(image) in made for image in photo_catalog.images()] == np.isin(
        photo_catalog.images(), made.images
    ).tolist()
    assert 2**63 - 1 not in made


def test_a_subset_has_a_stream_of_its_images_and_weights(photo_catalog):
    made = subset.sample(photo_catalog, size=10, seed=0)
    assert np.sort(made.stream(seed=1, batch_size=10).ids(0, 0, 10)).tolist() == made.images.tolist()
    heavy = subset.Subset(photo_catalog, made.images, made.recipe, np.full(10, 2.0))
    assert heavy.stream(seed=1, batch_size=4, drop_last=False).num_positions(3) == 20
