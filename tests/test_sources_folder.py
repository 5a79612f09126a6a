import shutil

import polars as pl
import pytest

from jftdata.errors import BadArgument, BadInput, MissingInput, OutputExists, TooManyRejects, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources import from_folder
from tests.conftest import LABELS, write_photos
from tests.strategies import encoded, picture


def place(root, *names):
    """A different image at each relative path."""
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(picture(i)))
    return root


def rows(catalog):
    """Split and labels by relative path."""
    labels = catalog.hierarchy.labels
    frame = catalog.scan().select("source", "split", "labels").collect()
    return {source: (split, [labels[i] for i in given]) for source, split, given in frame.iter_rows()}


def test_folder_names_are_labels(photos, photo_catalog):
    assert len(photo_catalog) == 24
    assert photo_catalog.hierarchy.labels == LABELS
    for source, (split, labels) in rows(photo_catalog).items():
        assert (split, labels) == ("train", [source.split("/")[0]])
    first = photo_catalog.scan().collect().row(0, named=True)
    assert (
        photo_catalog.read(first["shard"], first["offset"], first["length"]) == (photos / first["source"]).read_bytes()
    )


def test_split_folders_are_seen_by_their_names(tmp_path):
    catalog = from_folder(
        place(tmp_path / "p", "train/cat/1.jpg", "train/dog/2.jpg", "val/cat/deep/3.jpg"), out=tmp_path / "c", workers=1
    )
    assert rows(catalog) == {
        "train/cat/1.jpg": ("train", ["cat"]),
        "train/dog/2.jpg": ("train", ["dog"]),
        "val/cat/deep/3.jpg": ("val", ["cat"]),
    }
    assert catalog.splits == {"train": 2, "val": 1}


def test_one_folder_that_is_no_split_makes_all_of_them_labels(tmp_path):
    catalog = from_folder(place(tmp_path / "p", "train/1.jpg", "cat/2.jpg"), out=tmp_path / "c", workers=1)
    assert rows(catalog) == {"train/1.jpg": ("train", ["train"]), "cat/2.jpg": ("train", ["cat"])}


def test_layout_none_gives_no_label_and_images_at_the_top_have_none(tmp_path):
    root = place(tmp_path / "p", "cat/1.jpg", "2.jpg")
    none = from_folder(root, out=tmp_path / "none", layout="none", workers=1)
    assert rows(none) == {"cat/1.jpg": ("train", []), "2.jpg": ("train", [])}
    assert none.sidecar.facts["num_unlabelled"] == 2
    assert rows(from_folder(root, out=tmp_path / "label", workers=1))["2.jpg"] == ("train", [])


def test_files_with_other_endings_are_left_alone_and_endings_ignore_case(tmp_path):
    root = place(tmp_path / "p", "a/1.JPG", "a/2.jpeg")
    (root / "a" / "notes.txt").write_text("?")
    (root / "a" / "3.PNG").write_bytes(encoded(picture(9), "PNG"))
    assert len(from_folder(root, out=tmp_path / "c", workers=1)) == 3


def test_the_format_is_that_of_the_bytes_not_of_the_ending(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg")
    (root / "a" / "2.jpg").write_bytes(encoded(picture(9), "PNG"))
    frame = from_folder(root, out=tmp_path / "c", workers=1).scan().select("source", "format").collect()
    assert dict(frame.iter_rows()) == {"a/1.jpg": "jpeg", "a/2.jpg": "png"}


def test_copies_under_two_labels_become_one_image_with_both(tmp_path):
    root = place(tmp_path / "p", "cat/1.jpg", "dog/2.jpg")
    shutil.copy(root / "cat" / "1.jpg", root / "dog" / "copy.jpg")
    catalog = from_folder(root, out=tmp_path / "c", workers=1)
    assert rows(catalog) == {"cat/1.jpg": ("train", ["cat", "dog"]), "dog/2.jpg": ("train", ["dog"])}
    copies = pl.read_parquet(catalog.path / "duplicates.parquet")
    assert copies.select("source", "kept_source").rows() == [("dog/copy.jpg", "cat/1.jpg")]


def test_bad_images_are_counted_and_named(tmp_path):
    root = write_photos(tmp_path / "p", per_label=2)
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "cat" / "page.jpg").write_text("<html>")
    (root / "cat" / "half.jpg").write_bytes((root / "cat" / "00.jpg").read_bytes()[:-200])
    (root / "cat" / "nowhere.jpg").symlink_to(root / "gone.jpg")
    with pytest.raises(TooManyRejects, match="4 of 10 images were rejected"):
        from_folder(root, out=tmp_path / "c", workers=1)
    catalog = from_folder(root, out=tmp_path / "c", max_rejected=0.4, workers=1)
    assert pl.read_parquet(catalog.path / "rejected.parquet").select("source", "reason").rows() == [
        ("cat/empty.jpg", "empty"),
        ("cat/half.jpg", "damaged"),
        ("cat/nowhere.jpg", "missing"),
        ("cat/page.jpg", "not_an_image"),
    ]


def test_an_unknown_folder_name_is_suggested(tmp_path):
    with pytest.raises(UnknownName, match=r"'tracter'.*Did you mean 'tractor'"):
        from_folder(
            place(tmp_path / "p", "tracter/1.jpg"), out=tmp_path / "c", hierarchy=Hierarchy.load("toy"), workers=1
        )


def test_the_same_call_returns_at_once_and_other_arguments_are_refused(tmp_path, photos):
    made = from_folder(photos, out=tmp_path / "c", workers=1)
    assert from_folder(photos, out=tmp_path / "c", workers=1).fingerprint == made.fingerprint
    with pytest.raises(OutputExists, match="pack: there false, now true"):
        from_folder(photos, out=tmp_path / "c", pack=True, workers=1)
    with pytest.raises(OutputExists, match='layout: there "label", now "none"'):
        from_folder(photos, out=tmp_path / "c", layout="none", workers=1)
    with pytest.raises(OutputExists, match=r"inputs\.hierarchy"):
        from_folder(photos, out=tmp_path / "c", hierarchy=Hierarchy.flat([*LABELS, "more"]), workers=1)


def test_a_changed_folder_is_not_the_same_call(tmp_path):
    root = place(tmp_path / "p", "a/1.jpg")
    from_folder(root, out=tmp_path / "c", workers=1)
    place(root, "a/0.jpg", "a/2.jpg")
    with pytest.raises(OutputExists, match=r"inputs\.listing"):
        from_folder(root, out=tmp_path / "c", workers=1)


def test_ids_do_not_depend_on_where_the_folder_is_or_whether_it_is_packed(tmp_path, photos, photo_catalog):
    shutil.copytree(photos, tmp_path / "elsewhere")
    catalog = from_folder(tmp_path / "elsewhere", out=tmp_path / "c", pack=True, workers=1)
    columns = ["image", "sha256", "labels", "source", "split", "width", "height"]
    assert catalog.scan().select(columns).collect().equals(photo_catalog.scan().select(columns).collect())


def test_two_workers_make_the_same_catalog(tmp_path, photos, photo_catalog, monkeypatch):
    monkeypatch.setattr("jftdata.sources.folder.CHUNK_IMAGES", 7)
    assert from_folder(photos, out=tmp_path / "c", workers=2).fingerprint == photo_catalog.fingerprint


def test_names_that_look_like_patterns_are_names(tmp_path):
    root = place(tmp_path / "p[1]*", "cat [x]/1?.jpg", "dog*/2.jpg")
    catalog = from_folder(root, out=tmp_path / "out [a-z]?.catalog", workers=1)
    assert rows(catalog) == {"cat [x]/1?.jpg": ("train", ["cat [x]"]), "dog*/2.jpg": ("train", ["dog*"])}


def test_a_link_to_a_folder_is_followed_and_a_loop_is_refused(tmp_path):
    root = place(tmp_path / "p", "cat/1.jpg")
    place(tmp_path / "far", "0.jpg", "2.jpg")
    (root / "dog").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "0.jpg").unlink()
    assert set(rows(from_folder(root, out=tmp_path / "c", workers=1))) == {"cat/1.jpg", "dog/2.jpg"}
    (root / "cat" / "loop").symlink_to(root)
    with pytest.raises(BadInput, match="link to a folder it lies in"):
        from_folder(root, out=tmp_path / "c2", workers=1)


def test_a_missing_folder_an_empty_one_and_a_wrong_layout_are_errors(tmp_path):
    with pytest.raises(MissingInput, match="nowhere"):
        from_folder(tmp_path / "nowhere", out=tmp_path / "c")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no image was found"):
        from_folder(tmp_path / "empty", out=tmp_path / "c")
    with pytest.raises(BadArgument, match="'labels'"):
        from_folder(place(tmp_path / "p", "a/1.jpg"), out=tmp_path / "c", layout="labels")


@pytest.mark.shared
def test_a_real_imagefolder_has_all_its_files(shared_data, tmp_path):
    root = shared_data / "imagenette_folder"
    files = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    }
    catalog = from_folder(root, out=tmp_path / "c", workers=2)
    facts = catalog.sidecar.facts
    assert facts["num_input"] == len(files) == facts["num_images"] + facts["num_duplicates"] + facts["num_rejected"]
    assert set(catalog.splits) == {"train", "val"}
    assert all(name.split("/")[1:2] == labels for name, (_, labels) in rows(catalog).items())
