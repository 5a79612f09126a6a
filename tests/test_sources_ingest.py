"""What every source shares: counting, uniting copies, packing, resuming. Driven by records in memory."""

import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given as given_draws
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from jftdata import storage
from jftdata.catalog import DUPLICATES, REJECTED, SCHEMA, Catalog
from jftdata.errors import BadArgument, BadInput, TooManyRejects, UnknownName
from jftdata.hashing import image_id
from jftdata.hierarchy import Hierarchy
from jftdata.images import decode, encode_jpeg
from jftdata.sources import from_folder
from jftdata.sources.ingest import Listed, Record, ingest, place, scores_of
from tests.conftest import write_photos
from tests.strategies import encoded, picture

PLACES = ["image", "labels", "split", "source", "width", "height", "format"]


def record(name, *labels, data=None, seed=0, split="train"):
    return Record(source=name, labels=labels, split=split, data=encode_jpeg(picture(seed)) if data is None else data)


def run(
    out, *chunks, pack=True, labels=("a", "b", "c"), hierarchy=None, max_rejected=0.0, workers=1, shorter_side=None
):
    return ingest(
        [Listed(tuple(chunk)) for chunk in chunks],
        out=out,
        hierarchy=hierarchy,
        made_with={"source": "test", "pack": pack, "shorter_side": shorter_side},
        inputs={"data": "0"},
        labels=labels,
        max_rejected=max_rejected,
        workers=workers,
    )


def table(catalog, name):
    return pl.read_parquet(catalog.path / f"{name}.parquet")


# ---- counting --------------------------------------------------------------------------------------------------------


def test_ok_and_rejected_and_duplicate_are_the_input(tmp_path):
    chunks = [
        [record("1", "a", seed=1), record("2", "b", seed=2), record("1 again", "b", seed=1), record("bad", data=b"no")],
        [record("empty", data=b""), record("1 once more", "c", seed=1), record("3", seed=3)],
    ]
    catalog = run(tmp_path / "out", *chunks, max_rejected=1.0)
    facts = catalog.sidecar.facts
    assert facts["num_input"] == 7 == facts["num_images"] + facts["num_rejected"] + facts["num_duplicates"]
    assert (facts["num_images"], facts["num_rejected"], facts["num_duplicates"]) == (3, 2, 2)
    assert facts["rejected"] == {"empty": 1, "not_an_image": 1}
    assert facts["num_unlabelled"] == 1
    assert facts["num_given_labels"] == 4
    assert len(catalog) == 3 == len(catalog.scan().collect())


def test_byte_identical_images_become_one_row_with_labels_united_and_are_listed(tmp_path):
    catalog = run(
        tmp_path / "out",
        [record("first", "c", seed=1, split="test"), record("other", "a", seed=2)],
        [record("second", "a", "c", seed=1), record("third", seed=1)],
    )
    row = catalog.scan().filter(pl.col("source") == "first").collect().row(0, named=True)
    assert [catalog.hierarchy.labels[i] for i in row["labels"]] == ["a", "c"]
    assert row["split"] == "test"  # the first one is kept
    copies = table(catalog, "duplicates")
    assert copies.schema == DUPLICATES
    assert copies.rows() == [(row["image"], "second", "train", "first"), (row["image"], "third", "train", "first")]


def test_unlabelled_copies_stay_one_unlabelled_image(tmp_path):
    catalog = run(tmp_path / "out", [record("x", seed=1), record("y", seed=1), record("z", "a", seed=2)])
    by_source = dict(catalog.scan().select("source", "labels").collect().iter_rows())
    assert by_source["x"] == []
    assert catalog.sidecar.facts["num_unlabelled"] == 1


def test_ids_and_hashes_are_those_of_the_bytes_and_rows_are_sorted(tmp_path):
    made = [record(str(i), "a", seed=i) for i in range(12)]
    catalog = run(tmp_path / "out", made[:5], made[5:])
    frame = catalog.scan().collect()
    assert frame.schema == SCHEMA
    digests = {r.source: hashlib.sha256(r.data).digest() for r in made}
    assert frame["image"].is_sorted()
    for row in frame.iter_rows(named=True):
        assert row["sha256"] == digests[row["source"]]
        assert row["image"] == image_id(row["sha256"])


def test_rejected_images_are_listed_by_name_with_reason_and_message(tmp_path):
    chunk = [record("ok", "a"), record("b.jpg", data=b"<html>"), record("a.jpg", data=b"")]
    catalog = run(tmp_path / "out", chunk, max_rejected=0.9)
    rejects = table(catalog, "rejected")
    assert rejects.schema == REJECTED
    assert rejects.select("source", "reason").rows() == [("a.jpg", "empty"), ("b.jpg", "not_an_image")]
    assert all(rejects["message"].str.len_chars() > 0)


def test_too_many_rejects_is_an_error_that_names_one_and_a_higher_limit_goes_on(tmp_path):
    chunk = [record("ok", "a"), record("bad.jpg", data=b"<html>")]
    with pytest.raises(TooManyRejects, match=r"1 of 2 images were rejected \(1 not_an_image\), for example bad\.jpg"):
        run(tmp_path / "out", chunk, max_rejected=0.49)
    assert not (tmp_path / "out").exists()
    assert len(run(tmp_path / "out", chunk, max_rejected=0.5)) == 1


def test_a_source_of_rejects_only_makes_an_empty_catalog_when_that_is_allowed(tmp_path):
    catalog = run(tmp_path / "out", [record("bad", data=b"x")], max_rejected=1.0)
    assert len(catalog) == 0
    assert catalog.images().tolist() == []
    assert catalog.splits == {}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(tmp_path, share):
    with pytest.raises(BadArgument, match="max_rejected"):
        run(tmp_path / "out", [record("a")], max_rejected=share)


def test_no_image_at_all_is_an_error(tmp_path):
    with pytest.raises(BadInput, match="no image was found"):
        run(tmp_path / "out", [])


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unknown_label_is_named_with_the_nearest(tmp_path, workers):
    chunks = [[record("x", "anmal")], [record("y", "animal", seed=2)]]
    with pytest.raises(UnknownName, match=r"'anmal'.*Did you mean 'animal'"):
        run(tmp_path / "out", *chunks, hierarchy=Hierarchy.load("toy"), workers=workers)


def test_only_given_labels_are_stored_and_each_once(tmp_path):
    tree = Hierarchy.load("toy")
    catalog = run(tmp_path / "out", [record("x", "house cat", "house cat", "dog")], hierarchy=tree)
    labels = catalog.scan().collect()["labels"].to_list()
    assert labels == [sorted([tree.index("dog"), tree.index("house cat")])]


# ---- scores and negatives --------------------------------------------------------------------------------------------


def given(catalog):
    """Labels with their scores, and negatives, by source."""
    names = catalog.hierarchy.labels
    found = {}
    for source, labels, scores, negatives in (
        catalog.scan().select("source", "labels", "scores", "negatives").collect().iter_rows()
    ):
        scored = dict.fromkeys(labels) if scores is None else dict(zip(labels, scores, strict=True))
        found[source] = ({names[i]: score for i, score in scored.items()}, [names[i] for i in negatives])
    return found


def scored(name, seed, negatives=(), **scores):
    data = encode_jpeg(picture(seed))
    values = tuple(scores.values())
    return Record(source=name, labels=tuple(scores), split="train", data=data, scores=values, negatives=negatives)


def test_scores_stand_beside_their_labels_and_are_null_where_none_was_given(tmp_path):
    chunk = [scored("x", 1, c=0.25, a=0.5), record("y", "a", seed=2), scored("z", 3), scored("w", 4, a=None, b=1.0)]
    catalog = run(tmp_path / "out", chunk)
    assert given(catalog) == {
        "x": ({"a": 0.5, "c": 0.25}, []), "y": ({"a": None}, []), "z": ({}, []), "w": ({"a": None, "b": 1.0}, []),
    }  # fmt: skip
    frame = catalog.scan().select("source", "scores", "negatives").collect()
    assert frame.filter(pl.col("scores").is_null())["source"].sort().to_list() == ["y", "z"]
    assert frame["negatives"].null_count() == 0


def test_copies_unite_labels_negatives_and_the_highest_scores(tmp_path):
    catalog = run(
        tmp_path / "out",
        [scored("x", 1, a=0.25, b=0.5), record("plain", "c", seed=1), scored("x again", 1, a=0.75, b=None)],
        [scored("none", 2, ("c", "b")), replace(record("none again", seed=2), negatives=("a",))],
    )
    assert given(catalog) == {"x": ({"a": 0.75, "b": 0.5, "c": None}, []), "none": ({}, ["a", "b", "c"])}
    assert catalog.sidecar.facts["num_negatives"] == 3
    assert catalog.sidecar.facts["num_conflicts"] == 0


def test_a_label_given_by_one_copy_and_negated_by_another_stays_and_is_counted(tmp_path):
    negated = replace(record("copy", seed=1), negatives=("a", "b"))
    both = replace(record("both", "c", seed=2), negatives=("c", "a"))
    catalog = run(tmp_path / "out", [record("x", "a", seed=1), both], [negated])
    assert given(catalog) == {"x": ({"a": None}, ["b"]), "both": ({"c": None}, ["a"])}
    assert catalog.sidecar.facts["num_conflicts"] == 2
    assert catalog.sidecar.facts["num_negatives"] == 2


@given_draws(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, 0.25, 0.5, 1.0])),
            st.sets(st.sampled_from("abc")),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=25)
def test_the_union_is_that_of_plain_python(tmp_path_factory, copies):
    made = [scored(str(i), seed, tuple(sorted(no)), **yes) for i, (seed, yes, no) in enumerate(copies)]
    catalog = run(tmp_path_factory.mktemp("union") / "out", made[::2], made[1::2])
    labels, negated = {}, {}
    for seed, yes, no in copies:
        for label, score in yes.items():
            best = labels.setdefault(seed, {}).get(label)
            labels[seed][label] = score if best is None else max(best, score or 0.0)
        negated.setdefault(seed, set()).update(no)
    expected = {seed: (labels.get(seed, {}), sorted(no - labels.get(seed, {}).keys())) for seed, no in negated.items()}
    assert {copies[int(source)][0]: found for source, found in given(catalog).items()} == expected
    conflicts = sum(len(no & labels.get(seed, {}).keys()) for seed, no in negated.items())
    assert catalog.sidecar.facts["num_conflicts"] == conflicts


def test_an_unknown_negative_is_named_with_the_nearest(tmp_path):
    bad = replace(record("x", "dog"), negatives=("dgo",))
    with pytest.raises(UnknownName, match=r"'dgo'.*Did you mean 'dog'"):
        run(tmp_path / "out", [bad], hierarchy=Hierarchy.load("toy"))


# ---- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "..", "a\0b.jpg"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    bad = Record(source="bad", labels=("a",), split="train", **place(str(tmp_path), name))
    catalog = run(tmp_path / "out", [record("ok"), bad], pack=False, max_rejected=0.5)
    assert table(catalog, "rejected").select("source", "reason").rows() == [("bad", "unsafe")]
    assert repr(name) in table(catalog, "rejected")["message"][0]


def test_bytes_inside_a_file_are_pointed_at_and_a_short_file_is_missing(tmp_path):
    data = encode_jpeg(picture(1))
    path = tmp_path / "many.bin"
    path.write_bytes(b"before" + data)
    inside = Record(source="x", labels=("a",), split="train", file=str(path), offset=6, length=len(data))
    catalog = run(tmp_path / "out", [inside, replace(inside, source="y", offset=7)], pack=False, max_rejected=0.5)
    row = catalog.scan().collect().row(0, named=True)
    assert (row["shard"], row["offset"], row["length"]) == (str(path), 6, len(data))
    assert catalog.read(row["shard"], row["offset"], row["length"]) == data
    assert table(catalog, "rejected")["message"][0] == f"{path}: {len(data) - 1} of {len(data)} bytes at 7"


def test_a_file_above_the_limit_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: reading it would need a terabyte
    huge = Record(source="huge", labels=(), split="train", file=str(path))
    catalog = run(tmp_path / "out", [huge], pack=False, max_rejected=1.0)
    assert catalog.sidecar.facts["rejected"] == {"too_many_bytes": 1}


# ---- smaller images --------------------------------------------------------------------------------------------------


def test_larger_images_are_stored_at_the_shorter_side_and_smaller_ones_untouched(tmp_path):
    wide, small = encoded(picture(1, width=96, height=64), "PNG"), encoded(picture(2, width=64, height=32), "PNG")
    made = [record("wide", "a", data=wide), record("small", "b", data=small)]
    catalog = run(tmp_path / "out", made, shorter_side=32)
    rows = {row["source"]: row for row in catalog.scan().collect().iter_rows(named=True)}
    stored = catalog.read(*(rows["wide"][c] for c in ("shard", "offset", "length")))
    assert (rows["wide"]["width"], rows["wide"]["height"], rows["wide"]["format"]) == (48, 32, "jpeg")
    assert rows["wide"]["sha256"] == hashlib.sha256(stored).digest()
    reference = np.asarray(Image.fromarray(picture(1, width=96, height=64)).resize((48, 32), Image.Resampling.BILINEAR))
    assert np.abs(decode(stored)[0].astype(int) - reference).mean() < 2
    assert rows["small"]["sha256"] == hashlib.sha256(small).digest()
    assert catalog.sidecar.facts["num_reencoded"] == 1


def test_the_shorter_side_needs_packing_and_a_pixel(tmp_path):
    with pytest.raises(BadArgument, match="must be packed"):
        run(tmp_path / "out", [record("x")], pack=False, shorter_side=32)
    with pytest.raises(BadArgument, match="Got 0"):
        run(tmp_path / "out", [record("x")], shorter_side=0)


# ---- crashes ---------------------------------------------------------------------------------------------------------


class Poison(bytes):
    """Bytes that end the process that looks at them, as a bug in a decoder would."""

    def __bool__(self):
        os._exit(1)


@dataclass(frozen=True)
class PoisonedList(Listed):
    """Ends the process while it lists its second record."""

    def records(self):
        yield self.made[0]
        os._exit(1)


def poisoned(at, count=9):
    made = [record(f"r{i:02d}", "abc"[i % 3], seed=i) for i in range(count)]
    for i in at:
        made[i] = replace(made[i], data=Poison(b"x"))
    return [made[i : i + 3] for i in range(0, count, 3)]


def test_an_image_that_ends_its_process_is_rejected_and_all_else_is_kept(tmp_path):
    catalog = run(tmp_path / "out", *poisoned([4, 5]), workers=2, max_rejected=0.5)
    assert list(catalog.path.rglob(".*")) == []  # nothing half written is left
    assert table(catalog, "rejected").select("source", "reason").rows() == [(f"r{i:02d}", "crash") for i in (4, 5)]
    kept = catalog.scan().collect()
    assert sorted(kept["source"]) == [f"r{i:02d}" for i in range(9) if i not in (4, 5)]
    facts = catalog.sidecar.facts
    assert facts["num_input"] == 9 == facts["num_images"] + facts["num_rejected"] + facts["num_duplicates"]
    storage.verify(catalog.path)


def test_a_list_that_ends_its_process_is_an_error_that_says_where(tmp_path):
    chunks = [Listed((record("x", seed=1),)), PoisonedList((record("y", seed=2),))]
    with pytest.raises(BadInput, match="reading image 1 of part 1 ends the process"):
        ingest(
            chunks, out=tmp_path / "out", hierarchy=None, made_with={"pack": True}, inputs={}, labels="a",
            max_rejected=0.0, workers=2,
        )  # fmt: skip


# ---- packing ---------------------------------------------------------------------------------------------------------


def test_packed_shards_are_plain_tars_with_the_bytes_untouched_at_the_offsets(tmp_path):
    made = [record(f"r{i}", "a", data=encoded(picture(i), "PNG" if i % 2 else "JPEG")) for i in range(6)]
    made.append(replace(made[0], source="copy"))
    catalog = run(tmp_path / "out", made[:3], made[3:])
    bytes_of = {hashlib.sha256(r.data).digest(): r.data for r in made}
    in_tars = {}
    for path in sorted((catalog.path / "shards").iterdir()):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.name.endswith((".jpeg", ".png", ".json"))
                in_tars[path.name, member.offset_data] = tar.extractfile(member).read()
    for row in catalog.scan().collect().iter_rows(named=True):
        shard = (catalog.path / row["shard"]).name
        assert in_tars[shard, row["offset"]] == bytes_of[row["sha256"]]
        assert catalog.read(row["shard"], row["offset"], row["length"]) == bytes_of[row["sha256"]]
    storage.verify(catalog.path)


def test_beside_each_packed_image_lies_what_was_given_for_it(tmp_path):
    given = replace(record("x", "b", "a", seed=1, split="val"), scores=(0.5, None), negatives=("c",))
    catalog = run(tmp_path / "out", [given, record("copy", "c", seed=1), record("y", seed=2)])
    with tarfile.open(catalog.path / "shards" / "000000.tar") as tar:
        names = tar.getnames()
        told = [json.load(tar.extractfile(name)) for name in names if name.endswith(".json")]
    assert [name.split(".")[1] for name in names] == ["jpeg", "json", "jpeg", "json"]
    assert names[0].split(".")[0] == names[1].split(".")[0]
    assert told == [
        {"labels": ["b", "a"], "split": "val", "scores": [0.5, None], "negatives": ["c"]},
        {"labels": [], "split": "train"},
    ]


def test_a_packed_catalog_can_be_moved(tmp_path):
    run(tmp_path / "out", [record("x", "a", seed=5)])
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    catalog = Catalog.open(tmp_path / "elsewhere")
    row = catalog.scan().collect().row(0, named=True)
    assert catalog.read(row["shard"], row["offset"], row["length"]) == encode_jpeg(picture(5))


# ---- workers and resuming --------------------------------------------------------------------------------------------


def many_chunks():
    made = [record(f"r{i:02d}", "abc"[i % 3], seed=i % 20) for i in range(24)]
    made.append(record("bad", data=b"x"))
    return [made[i : i + 4] for i in range(0, len(made), 4)]


def test_one_and_two_workers_make_the_same_catalog(tmp_path):
    one = run(tmp_path / "one", *many_chunks(), workers=1, max_rejected=0.1)
    two = run(tmp_path / "two", *many_chunks(), workers=2, max_rejected=0.1)
    assert one.fingerprint == two.fingerprint


def test_a_run_that_stopped_after_any_chunk_goes_on_to_the_same_catalog(tmp_path):
    @dataclass(frozen=True)
    class Stops(Listed):
        def records(self):
            yield self.made[0]
            raise RuntimeError("stop")

    chunks = [Listed(tuple(chunk)) for chunk in many_chunks()]
    whole = run(tmp_path / "whole", *many_chunks(), max_rejected=0.1)
    plan = {"hierarchy": None, "made_with": {"source": "test", "pack": True}, "inputs": {"data": "0"}}
    plan |= {"labels": "abc", "max_rejected": 0.1, "workers": 1}
    for at in range(len(chunks)):
        broken = [*chunks[:at], Stops(chunks[at].made), *chunks[at + 1 :]]
        with pytest.raises(RuntimeError, match="stop"):
            ingest(broken, out=tmp_path / "out", **plan)
        assert not (tmp_path / "out").exists()
        assert len(list((tmp_path / "out.partial" / "parts").glob("*.parquet"))) == at
    assert ingest(chunks, out=tmp_path / "out", **plan).fingerprint == whole.fingerprint


KILLED = """
import os, signal, sys
from jftdata import progress, sources, storage, tar
from jftdata.sources import folder, ingest
progress.set_quiet(True)
folder.CHUNK_IMAGES = 4
calls = 0
module = {"_sync": storage, "add": tar}.get(sys.argv[3], ingest)
real = getattr(module, sys.argv[3])
def dies(*arguments):
    global calls
    calls += 1
    if calls == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(module, sys.argv[3], dies)
sources.from_folder(sys.argv[1], out=sys.argv[2], pack=True, max_rejected=0.5, workers=1)
"""


@pytest.mark.parametrize(
    ("where", "call"), [("add", 7), ("_one_chunk", 3), ("_unite", 1), ("_write", 3), ("_sync", 12), ("_sync", 30)]
)
def test_a_run_killed_anywhere_goes_on_to_the_same_catalog(tmp_path, monkeypatch, where, call):
    monkeypatch.setattr("jftdata.sources.folder.CHUNK_IMAGES", 4)
    folder = write_photos(tmp_path / "photos", per_label=5)
    (folder / "cat" / "bad.jpg").write_bytes(b"<html>")
    out = tmp_path / "out"
    dead = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(out), where, str(call)], check=False)
    assert dead.returncode == -9
    assert not out.exists()
    whole = from_folder(folder, out=tmp_path / "whole", pack=True, max_rejected=0.5, workers=1)
    resumed = from_folder(folder, out=out, pack=True, max_rejected=0.5, workers=1)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.sidecar.facts == whole.sidecar.facts
    assert storage.verify(out).files.keys() == whole.sidecar.files.keys()


def test_a_run_killed_while_it_clears_its_parts_still_counts_the_rejects(tmp_path, monkeypatch):
    chunks = [[record("ok", "a", seed=1)], [record("fine", "b", seed=2), record("bad", data=b"x")]]
    whole = run(tmp_path / "whole", *chunks, max_rejected=0.5)

    def dies_half_way(folder, ignore_errors=False):
        for path in folder.glob("*.rejected"):
            path.unlink()
        if not ignore_errors:  # storage clears what an older run left with this set
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("jftdata.sources.ingest.shutil.rmtree", dies_half_way)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "out", *chunks, max_rejected=0.5)
    assert run(tmp_path / "out", *chunks, max_rejected=0.5).fingerprint == whole.fingerprint


ORPHANS = """
import sys, time, os
from dataclasses import dataclass
from jftdata import progress
from jftdata.sources.ingest import ingest

@dataclass(frozen=True)
class Slow:
    def __len__(self):
        return 1
    def records(self):
        print(os.getpid(), flush=True)
        time.sleep(600)
        yield
def go():
    progress.set_quiet(True)
    common = {"hierarchy": None, "made_with": {}, "inputs": {}, "labels": ["a"], "max_rejected": 1}
    ingest([Slow(), Slow()], out=sys.argv[1], workers=2, **common)
"""


def test_workers_end_with_the_run_that_started_them(tmp_path):
    (tmp_path / "slow.py").write_text(ORPHANS)
    (tmp_path / "run.py").write_text("if __name__ == '__main__':\n    import slow\n    slow.go()\n")
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "out")], stdout=subprocess.PIPE
    ) as dead:
        fd = dead.stdout.fileno()
        said = b""
        while said.count(b"\n") < 2:
            said += os.read(fd, 100)
        dead.kill()
        # every worker holds the other end of this pipe: it closes when the last of them has ended
        ready, _, _ = select.select([fd], [], [], 90)
        assert ready, "workers outlived their run"
        assert os.read(fd, 100) == b""
    assert np.unique(said.split()).size == 2


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.5], r"a.jpg: expected a score for each of 2 labels\. Got 1\. Give null"),
        ([0.5, 1.5], r"a.jpg: the score 1.5 is no number in 0\.\.1. Mend it"),
        ([0.5, True], "a.jpg: the score True is no number"),
        ([float("nan"), None], "a.jpg: the score nan is no number"),
    ],
)
def test_scores_that_are_none_are_refused(scores, said):
    with pytest.raises(BadInput, match=said):
        scores_of(scores, ["cat", "dog"], "a.jpg")


def test_labels_without_any_score_have_none():
    for given in (None, [], [None, None]):
        assert scores_of(given, ["cat", "dog"], "a.jpg") is None
