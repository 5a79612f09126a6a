import polars as pl
import pytest

from jftdata.errors import BadInput, MissingInput, OutputExists, TooManyRejects, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.sources import from_voc
from tests.test_sources_folder import place
from tests.test_sources_folder import rows as told


def xml(*names, more=""):
    objects = "".join(f"<object><name>{name}</name><difficult>1</difficult></object>" for name in names)
    return f"<annotation><filename>x.jpg</filename>{objects}{more}</annotation>"


def write(root, lists, annotations):
    """A VOC folder; every listed image gets its file."""
    names = sorted({line.split()[0] for lines in lists.values() for line in lines})
    place(root, *[f"JPEGImages/{name}.jpg" for name in names if ".." not in name])
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, lines in lists.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "Annotations").mkdir()
    for name, text in annotations.items():
        data = text if isinstance(text, bytes) else text.encode()
        (root / "Annotations" / f"{name}.xml").write_bytes(data)
    return root


LISTS = {"train": ["a", "b  1", ""], "val": ["c"], "trainval": ["a", "b", "c"], "cat_train": ["a  1"]}
PART = "<object><name>dog</name><part><name>head</name></part></object>"
ANNOTATIONS = {"a": xml("cat", "dog", "cat"), "b": xml(), "c": xml(more=PART)}


@pytest.fixture
def voc(tmp_path):
    lists = {split: [line for line in lines if line] for split, lines in LISTS.items()}
    root = write(tmp_path / "VOC2012", lists, ANNOTATIONS)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb  1\n\n")
    return root


def run(folder, out, **options):
    return from_voc(folder, out=out, **{"workers": 1, **options})


def test_lists_are_splits_and_objects_are_labels_but_their_parts_are_not(voc, tmp_path):
    catalog = run(voc, tmp_path / "c")
    assert told(catalog) == {"a.jpg": ("train", ["cat", "dog"]), "b.jpg": ("train", []), "c.jpg": ("val", ["dog"])}
    assert catalog.splits == {"train": 2, "val": 1}
    row = catalog.scan().filter(pl.col("source") == "a.jpg").collect().row(0, named=True)
    assert row["shard"] == str(voc / "JPEGImages" / "a.jpg")


def test_other_lists_may_be_asked_for(voc, tmp_path):
    assert run(voc, tmp_path / "c", splits=["trainval"]).splits == {"trainval": 3}
    (voc / "ImageSets" / "Segmentation").mkdir()
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("c\n")
    assert run(voc, tmp_path / "s", image_sets="Segmentation").splits == {"val": 1}


def test_names_with_entities_written_out_and_spaces_are_read(tmp_path):
    root = write(tmp_path / "v", {"train": ["a"]}, {"a": xml(" black &amp; white\n", "t&#233;")})
    assert told(run(root, tmp_path / "c")) == {"a.jpg": ("train", ["black & white", "té"])}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_before_any_entity_is_expanded(tmp_path, encoding):
    bomb = f"""<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY x "y"><!ENTITY z SYSTEM "file:///etc/passwd">]>
    <annotation><object><name>&x;&z;</name></object></annotation>"""
    root = write(tmp_path / "v", {"train": ["a"]}, {"a": bomb.encode(encoding)})
    with pytest.raises(BadInput, match=r"a\.xml has a document type"):
        run(root, tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", r"a\.xml is not readable XML"),
        ("", r"a\.xml is not readable XML"),
        ("<annotation><object><pose>Left</pose></object></annotation>", r"a\.xml has an object without a name"),
        ("<annotation><object><name>&cat;</name></object></annotation>", r"a\.xml is not readable XML"),
    ],
)
def test_annotations_that_cannot_be_read_are_an_error(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        run(write(tmp_path / "v", {"train": ["a"]}, {"a": text}), tmp_path / "c")


def test_images_that_are_gone_unannotated_or_elsewhere_are_rejected_and_counted(voc, tmp_path):
    (voc / "ImageSets" / "Main" / "test.txt").write_text("gone\nplain\n../../private\n")
    (voc / "Annotations" / "gone.xml").write_text(xml("cat"))
    place(voc, "JPEGImages/plain.jpg")
    with pytest.raises(TooManyRejects, match="3 of 6 images were rejected"):
        run(voc, tmp_path / "c")
    catalog = run(voc, tmp_path / "c", max_rejected=0.5)
    found = pl.read_parquet(catalog.path / "rejected.parquet")
    assert found.select("source", "reason").rows() == [
        ("../../private.jpg", "unsafe"), ("gone.jpg", "missing"), ("plain.jpg", "missing"),
    ]  # fmt: skip
    assert "plain.xml" in found["message"][2]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": ["a"], "val": ["a"]}, r"a is in train\.txt and again in val\.txt"),
        ({"train": ["a", "a"]}, r"a is in train\.txt and again in train\.txt"),
        ({"other": ["a"]}, "no image was found"),
    ],
)
def test_lists_that_contradict_each_other_are_refused(tmp_path, lists, message):
    with pytest.raises(BadInput, match=message):
        run(write(tmp_path / "v", lists, {"a": xml("cat")}), tmp_path / "c")


def test_what_is_not_there_is_an_error(voc, tmp_path):
    with pytest.raises(MissingInput, match="has no ImageSets/Main"):
        run(tmp_path, tmp_path / "c")
    with pytest.raises(UnknownName, match=r"list 'trian' is not known\. Did you mean 'train'"):
        run(voc, tmp_path / "c", splits=["trian"])
    with pytest.raises(UnknownName, match="'bicycle'"):
        run(
            write(tmp_path / "v", {"train": ["a"]}, {"a": xml("bicycle")}), tmp_path / "c",
            hierarchy=Hierarchy.load("toy"),
        )  # fmt: skip


def test_changed_annotations_are_not_the_same_call(voc, tmp_path):
    first = run(voc, tmp_path / "c")
    assert run(voc, tmp_path / "c").fingerprint == first.fingerprint
    (voc / "Annotations" / "a.xml").write_text(xml("bus"))
    with pytest.raises(OutputExists, match=r"inputs\.annotations"):
        run(voc, tmp_path / "c")


@pytest.mark.shared
def test_a_real_voc_folder_has_all_its_images_and_labels(shared_data, tmp_path):
    root = shared_data / "voc_mini" / "VOC2012"
    main = root / "ImageSets" / "Main"
    listed = {split: (main / f"{split}.txt").read_text().split() for split in ("train", "val")}
    catalog = run(root, tmp_path / "c", hierarchy=Hierarchy.load("voc20"))
    assert catalog.splits == {split: len(names) for split, names in listed.items()}
    found = told(catalog)
    for split, names in listed.items():
        for name in names:
            text = (root / "Annotations" / f"{name}.xml").read_text()
            expected = {piece.split("</name>")[0] for piece in text.split("<object><name>")[1:]}
            assert (found[f"{name}.jpg"][0], set(found[f"{name}.jpg"][1])) == (split, expected)
