"""Written worlds: the same for any number of workers and images, readable by others, true to their truth files."""

import hashlib
import json
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
from PIL import Image

from jftdata.errors import BadArgument, OutputExists
from jftdata.hierarchy import Hierarchy
from jftdata.world import clean_labels, confusables, scene, write
from jftdata.world.formats import VOC, categories, run_lengths
from jftdata.world.leaves import leaves


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "w"
    return write(
        out, num_images=1300, seed=0, num_eval=120, num_clean_train=60, num_clean_test=240, num_detection=25, workers=1
    )


def test_workers_change_nothing(tmp_path, world):
    arguments = {"num_eval": 20, "num_clean_train": 30, "num_clean_test": 30, "num_detection": 6, "size": 32}
    one = write(tmp_path / "one", num_images=300, seed=5, workers=1, **arguments)
    two = write(tmp_path / "two", num_images=300, seed=5, workers=2, **arguments)
    assert _digests(one.folder) == _digests(two.folder)
    assert not list(tmp_path.glob("*.partial"))


def test_fewer_images_are_the_first_of_more(tmp_path, world):
    small = write(tmp_path / "s", num_images=40, seed=0, num_eval=5, num_clean_train=0, num_clean_test=0, workers=1)
    assert pq.read_table(small.train).to_pylist() == pq.read_table(world.train).slice(0, 40).to_pylist()
    assert pq.read_table(small.dense_eval).to_pylist() == pq.read_table(world.dense_eval).slice(0, 5).to_pylist()


def test_rows_are_scenes(world):
    row = pq.read_table(world.train).slice(7, 1).to_pylist()[0]
    assert row["image"]["path"] == "world-000007.jpg"
    assert row["split"] == "train"
    image = simplejpeg.decode_jpeg(row["image"]["bytes"])
    assert np.abs(image.astype(int) - scene(0, 7).image.astype(int)).mean() < 8


def test_truth_labels_are_the_given_labels_with_a_fifth_wrong(world):
    truth = pq.read_table(world.truth_labels).to_pylist()
    given = {r["image"]["path"]: r["labels"] for r in pq.read_table(world.train).to_pylist()}
    flat = [(path, label) for path, labels in given.items() for label in labels]
    assert [(r["path"], r["label"]) for r in truth] == flat
    assert np.mean([r["error"] != "" for r in truth]) == pytest.approx(0.2, abs=0.03)
    assert len(truth) / len(given) == pytest.approx(1.25, abs=0.05)


def test_errors_are_false_of_the_objects_and_confusables_are_listed(world):
    hierarchy = Hierarchy.load("world")
    objects = {r["path"]: r["labels"] for r in pq.read_table(world.truth_objects).to_pylist()}
    for row in pq.read_table(world.truth_labels).to_pylist():
        true = objects[row["path"]]
        closure = {label for leaf in true for label in (leaf, *hierarchy.ancestors(leaf))}
        assert (row["label"] in closure) == (row["error"] == "")
        if row["error"] == "confusable":
            assert any(row["label"] in confusables()[leaf] for leaf in true)


def test_dense_evaluation_images_carry_all_their_labels(world):
    rows = pq.read_table(world.dense_eval).to_pylist()
    objects = {r["path"]: r["labels"] for r in pq.read_table(world.truth_objects).to_pylist()}
    hierarchy = Hierarchy.load("world")
    for row in rows:
        assert row["labels"] == objects[row["image"]["path"]]
        assert row["split"] == "eval"
    filled = [len({up for leaf in r["labels"] for up in (leaf, *hierarchy.ancestors(leaf))}) for r in rows]
    assert np.mean([len(row["labels"]) for row in rows]) > 4
    assert np.mean(filled) > 15


def test_duplicates_truth_covers_all_sets_and_identical_ones_are_identical(world):
    rows = pq.read_table(world.truth_duplicates).to_pylist()
    data = {
        r["image"]["path"]: r["image"]["bytes"]
        for path in (world.train, world.dense_eval, world.clean)
        for r in pq.read_table(path).to_pylist()
    }
    for row in rows:
        assert (data[row["path"]] == data[row["original_path"]]) == (row["kind"] == "identical")
        assert row["original_file"] == "train.parquet"
        assert row["original_path"].startswith("world-")
    assert {row["path"].rsplit("-", 1)[0] for row in rows} == {"world", "eval", "clean-test"}
    main = [row for row in rows if row["path"].startswith("world-")]
    assert 0.02 < len(main) / 1300 < 0.05
    assert sum(row["kind"] == "identical" for row in main) > 0
    origin = {row["path"]: row["original_path"] for row in rows}
    same = {}
    for path, value in data.items():
        # equal bytes are copies of one original, for example two mirror images of it
        assert value not in same or origin.get(path, path) == origin.get(same[value], same[value])
        same.setdefault(value, path)


def test_the_clean_set_is_balanced_and_spelt_its_own_way(world):
    rows = pq.read_table(world.clean).to_pylist()
    names = [entry.label for entry in clean_labels()]
    assert [r["label"] for r in rows if r["split"] == "train"] == names * 2
    assert [r["label"] for r in rows if r["split"] == "test"] == names * 8
    lines = [line.split("\t") for line in world.crosswalk.read_text().splitlines()]
    assert lines[0] == ["clean_label", "world_label", "how"]
    assert [line[0] for line in lines[1:]] == names


def test_coco_files_agree_with_the_scenes(world):
    for split, num in (("train", 20), ("test", 5)):
        coco = json.loads((world.detection / "annotations" / f"instances_{split}.json").read_text())
        assert len(coco["images"]) == num
        assert {c["name"]: c["id"] for c in coco["categories"]} == categories()
        sizes = {i["id"]: (i["height"], i["width"]) for i in coco["images"]}
        for image in coco["images"]:
            with Image.open(world.detection / "images" / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"])
        assert len({a["id"] for a in coco["annotations"]}) == len(coco["annotations"]) > num
        for entry in coco["annotations"]:
            mask = _decode(entry["segmentation"])
            assert mask.shape == sizes[entry["image_id"]]
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
            assert entry["bbox"] == box
            assert entry["area"] == mask.sum()
            assert entry["iscrowd"] == 0
    people = json.loads((world.detection / "annotations" / "person_keypoints_train.json").read_text())
    assert len(people["categories"][0]["keypoints"]) == 17
    assert people["annotations"]
    for entry in people["annotations"]:
        assert len(entry["keypoints"]) == 51
        assert entry["num_keypoints"] == sum(v > 0 for v in entry["keypoints"][2::3])


def test_run_lengths_are_undone_by_decoding():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 5), (8, 2)):
        mask = rng.random(shape) < 0.5
        assert np.array_equal(_decode({"counts": run_lengths(mask), "size": list(shape)}), mask)


def test_voc_files_hold_twenty_labels_a_border_and_lists(world):
    voc = world.detection / "voc" / "VOC2012"
    names = (voc / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    parts = [(voc / "ImageSets" / "Segmentation" / f"{s}.txt").read_text().split() for s in ("train", "val", "test")]
    assert names == parts[0] + parts[1]
    assert sorted(name for part in parts for name in part) == sorted(
        path.stem for path in (voc / "JPEGImages").iterdir()
    )
    assert len(VOC) == 20
    numbers: set[int] = set()
    for name in names:
        with Image.open(voc / "SegmentationClass" / f"{name}.png") as opened:
            assert opened.mode == "P"
            assert opened.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
            labels = np.asarray(opened)
        here = set(np.unique(labels).tolist())
        numbers |= here
        tree = ET.parse(voc / "Annotations" / f"{name}.xml")
        found = {thing.findtext("name") for thing in tree.iter("object")}
        assert found <= set(VOC)
        assert {list(VOC)[n - 1] for n in here - {0, 255}} <= found
        for box in tree.iter("bndbox"):
            x0, y0, x1, y1 = (int(box.findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
            assert 1 <= x0 <= x1 <= 160
            assert 1 <= y0 <= y1 <= 160
    assert 255 in numbers
    assert numbers <= {*range(21), 255}


def test_parquet_comes_back_with_an_image_column(tmp_path, world):
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "parquet", data_files={"train": str(world.dense_eval)}, split="train", cache_dir=str(tmp_path)
    )
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded[0]["image"].size == (64, 64)
    assert set(loaded[0]["labels"]) <= set(leaves())


def test_the_summary_holds_arguments_and_counts(world):
    summary = json.loads(world.summary.read_text())
    assert summary["made_with"]["num_images"] == 1300
    assert summary["facts"]["given_labels"] == pq.read_metadata(world.truth_labels).num_rows
    assert summary["facts"]["near_duplicates"] == pq.read_metadata(world.truth_duplicates).num_rows
    assert summary["made_with"]["generator"] >= 1
    assert pq.ParquetFile(world.train).metadata.row_group(0).num_rows == 1000


def test_bad_arguments_and_existing_folders_are_refused(tmp_path):
    with pytest.raises(BadArgument, match=r"`num_images` must be at least 1\. Got 0\."):
        write(tmp_path / "w", num_images=0, seed=0)
    with pytest.raises(BadArgument, match=r"`quality` must be in \[1, 100\]. Got 101."):
        write(tmp_path / "w", num_images=1, seed=0, quality=101)
    with pytest.raises(BadArgument, match=r"`num_eval` must not be negative\. Got -3\."):
        write(tmp_path / "w", num_images=1, seed=0, num_eval=-3)
    with pytest.raises(BadArgument, match="`workers` must be at least 1"):
        write(tmp_path / "w", num_images=1, seed=0, workers=0)
    assert not (tmp_path / "w").exists()
    (tmp_path / "w").mkdir()
    with pytest.raises(OutputExists, match="was not made by jftdata"):
        write(tmp_path / "w", num_images=1, seed=0)


def test_progress_counts_every_image(tmp_path):
    made = []
    write(
        tmp_path / "w", num_images=30, seed=0, size=32, num_eval=3, num_clean_train=4, num_clean_test=2,
        num_detection=5, detection_size=64, workers=1, progress=made.append,
    )  # fmt: skip
    assert sum(made) == 30 + 3 + 4 + 2 + 5


def _digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _decode(segmentation):
    values = np.repeat(np.arange(len(segmentation["counts"])) % 2, segmentation["counts"])
    return values.reshape(segmentation["size"], order="F").astype(bool)
