import io
import json
import subprocess
import sys
import tarfile

import polars as pl
import pytest

from jftdata import storage
from jftdata.errors import BadArgument, BadInput, Damaged, MissingInput, OutputExists, TooManyRejects, UnknownName
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.sources import from_hub, from_webdataset
from tests.strategies import encoded, picture

IMAGES = [encode_jpeg(picture(i)) for i in range(6)]


def shard(path, members, mode="w", **options):
    """A tar of (name, bytes) or TarInfo."""
    with tarfile.open(path, mode, **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def pairs(*labels, ending="cls", first=0):
    """`0000.jpg` and `0000.cls` and so on."""
    found = []
    for i, label in enumerate(labels, first):
        found += [(f"{i:04d}.jpg", IMAGES[i]), (f"{i:04d}.{ending}", label.encode())]
    return found


def run(shards, out, **options):
    return from_webdataset(shards, out=out, **{"workers": 1, **options})


def told(catalog):
    names = catalog.hierarchy.labels
    frame = catalog.scan().select("source", "labels").collect()
    return {source: [names[i] for i in given] for source, given in frame.iter_rows()}


def rejects(catalog):
    return pl.read_parquet(catalog.path / "rejected.parquet").select("source", "reason").rows()


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_images_are_pointed_at_where_they_lie_in_the_tar(tmp_path):
    path = shard(tmp_path / "s.tar", pairs("cat", "dog", "cat"))
    catalog = run(path, tmp_path / "c")
    assert told(catalog) == {"s.tar:0000.jpg": ["cat"], "s.tar:0001.jpg": ["dog"], "s.tar:0002.jpg": ["cat"]}
    assert not (catalog.path / "shards").exists()
    with tarfile.open(path) as tar:
        offsets = {f"s.tar:{m.name}": m.offset_data for m in tar}
    for row in catalog.scan().collect().iter_rows(named=True):
        assert row["shard"] == str(path)
        assert row["offset"] == offsets[row["source"]]
        assert catalog.read(row["shard"], row["offset"], row["length"]) in IMAGES


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_every_tar_format_keep_the_offsets_right(tmp_path, monkeypatch, format):
    monkeypatch.setattr("jftdata.sources.webdataset.CHUNK_IMAGES", 2)
    folder = "f" * 90
    members = [(f"{folder}/{name}", data) for name, data in pairs(*"abcab")]
    if format != tarfile.USTAR_FORMAT:
        members = [(f"{folder}/{folder}/é{name}", data) for name, data in members]
    catalog = run(shard(tmp_path / "s.tar", members, format=format), tmp_path / "c")
    assert sorted(told(catalog).values()) == [["a"], ["a"], ["b"], ["b"], ["c"]]
    places = catalog.scan().select("shard", "offset", "length").collect()
    assert {catalog.read(*place) for place in places.iter_rows()} == set(IMAGES[:5])


def test_packing_copies_the_bytes_and_what_was_packed_can_be_read_again(tmp_path):
    catalog = run(shard(tmp_path / "s.tar", pairs(*"abcabc")), tmp_path / "c", pack=True)
    storage.verify(catalog.path)
    again = run(catalog.path / "shards", tmp_path / "again", label="json.labels")
    columns = ["image", "sha256", "labels", "length", "width", "height", "format", "split"]
    assert again.scan().select(columns).collect().equals(catalog.scan().select(columns).collect())


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_shard_must_be_packed(tmp_path, mode):
    path = shard(tmp_path / f"s.tar.{mode[2:]}", pairs(*"abcabc"), mode)
    with pytest.raises(BadArgument, match=r"is compressed.*pack=True"):
        run(path, tmp_path / "c")
    catalog = run(path, tmp_path / "c", pack=True)
    plain = run(shard(tmp_path / "s.tar", pairs(*"abcabc")), tmp_path / "plain")
    columns = ["image", "labels", "split"]
    assert catalog.scan().select(columns).collect().equals(plain.scan().select(columns).collect())
    storage.verify(catalog.path)


@pytest.mark.parametrize(
    ("ending", "text", "options", "expected"),
    [
        ("cls", "3", {}, ["3"]),
        ("cls", "1\n", {"label_names": ["cat", "dog"]}, ["dog"]),
        ("txt", "cat\ndog\n\n", {"label": "txt"}, ["cat", "dog"]),
        ("json", '{"label": "cat"}', {"label": "json.label"}, ["cat"]),
        ("json", '{"a": {"b": ["dog", "cat"]}}', {"label": "json.a.b"}, ["cat", "dog"]),
        ("json", '{"label": 0}', {"label": "json.label", "label_names": ["cat"]}, ["cat"]),
        ("json", '{"other": 1}', {"label": "json.label"}, []),
        ("json", '{"label": null}', {"label": "json.label"}, []),
        ("cls", "cat", {"label": None}, []),
        ("txt", "cat", {}, []),
    ],
)
def test_labels_come_from_the_member_that_is_named(tmp_path, ending, text, options, expected):
    path = shard(tmp_path / "s.tar", pairs(text, ending=ending))
    assert told(run(path, tmp_path / "c", **options)) == {"s.tar:0000.jpg": expected}


def test_keys_end_at_the_first_dot_and_folders_belong_to_them(tmp_path):
    members = [("./a/1.jpg", IMAGES[0]), ("./a/1.cls", b"x"), ("./b/1.v2.PNG", encoded(picture(9), "PNG")),
               ("./b/1.cls", b"y")]  # fmt: skip
    folder = tarfile.TarInfo("./a")
    folder.type = tarfile.DIRTYPE
    assert told(run(shard(tmp_path / "s.tar", [folder, *members]), tmp_path / "c")) == {
        "s.tar:./a/1.jpg": ["x"], "s.tar:./b/1.v2.PNG": ["y"],
    }  # fmt: skip


def test_links_climbing_names_and_keys_without_an_image_are_rejected_and_nothing_is_followed(tmp_path):
    (tmp_path / "private.jpg").write_bytes(IMAGES[5])
    members = [
        *pairs("a"),
        link("1.jpg", str(tmp_path / "private.jpg")),
        link("2.jpg", "0000.jpg", tarfile.LNKTYPE),
        link("3.jpg", "", tarfile.FIFOTYPE),
        ("../4.jpg", IMAGES[1]),
        ("/5.jpg", IMAGES[2]),
        ("6.jpg", IMAGES[3]),
        link("6.cls", str(tmp_path / "private.jpg")),
        ("7.cls", b"a"),
    ]
    before = sorted(tmp_path.rglob("*"))
    path = shard(tmp_path / "s.tar", members)
    with pytest.raises(TooManyRejects, match="7 of 8 images were rejected"):
        run(path, tmp_path / "c")
    catalog = run(path, tmp_path / "c", max_rejected=0.9)
    assert rejects(catalog) == [
        ("s.tar:../4.jpg", "unsafe"), ("s.tar:/5.jpg", "unsafe"), ("s.tar:1.jpg", "unsafe"), ("s.tar:2.jpg", "unsafe"),
        ("s.tar:3.jpg", "unsafe"), ("s.tar:6.jpg", "unsafe"), ("s.tar:7", "missing"),
    ]  # fmt: skip
    facts = catalog.sidecar.facts
    assert facts["num_input"] == 8 == facts["num_images"] + facts["num_rejected"] + facts["num_duplicates"]
    assert {p for p in sorted(tmp_path.rglob("*")) if "/c" not in str(p)} == {*before, path}


def test_damaged_images_are_rejected_by_name(tmp_path):
    members = [*pairs("a"), ("1.jpg", b""), ("2.jpg", IMAGES[2][:-300])]
    catalog = run(shard(tmp_path / "s.tar", members), tmp_path / "c", max_rejected=0.7)
    assert rejects(catalog) == [("s.tar:1.jpg", "empty"), ("s.tar:2.jpg", "damaged")]


def test_a_folder_a_pattern_and_a_list_name_the_same_shards(tmp_path):
    (tmp_path / "d").mkdir()
    files = [shard(tmp_path / "d" / f"{i}.tar", pairs(*"abc", first=3 * i)) for i in range(2)]
    ways = [tmp_path / "d", str(tmp_path / "d" / "*.tar"), files]
    made = [run(way, tmp_path / f"c{i}") for i, way in enumerate(ways)]
    assert len(made[0]) == 6
    assert len({catalog.fingerprint for catalog in made}) == 1


def test_two_workers_and_small_chunks_make_the_same_catalog(tmp_path, monkeypatch):
    path = shard(tmp_path / "s.tar", pairs(*"abcabc"))
    one = run(path, tmp_path / "one")
    monkeypatch.setattr("jftdata.sources.webdataset.CHUNK_IMAGES", 2)
    assert run(path, tmp_path / "two", workers=2).fingerprint == one.fingerprint


KILLED = """
import os, signal, sys
from jftdata import progress, sources, tar
from jftdata.sources import ingest, webdataset
progress.set_quiet(True)
webdataset.CHUNK_IMAGES = 2
calls = 0
module = tar if sys.argv[3] == "add" else ingest
real = getattr(module, sys.argv[3])
def dies(*arguments):
    global calls
    calls += 1
    if calls == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(module, sys.argv[3], dies)
sources.from_webdataset(sys.argv[1], out=sys.argv[2], pack=True, workers=1)
"""


@pytest.mark.parametrize(("where", "call"), [("add", 7), ("_one_chunk", 3), ("_unite", 1), ("_write", 2)])
def test_a_run_killed_anywhere_goes_on_to_the_same_catalog(tmp_path, monkeypatch, where, call):
    monkeypatch.setattr("jftdata.sources.webdataset.CHUNK_IMAGES", 2)
    path = shard(tmp_path / "s.tar", pairs(*"abcabc"))
    command = [sys.executable, "-c", KILLED, str(path), str(tmp_path / "c"), where, str(call)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (tmp_path / "c").exists()
    whole = run(path, tmp_path / "whole", pack=True)
    resumed = run(path, tmp_path / "c", pack=True)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.sidecar.facts == whole.sidecar.facts
    storage.verify(resumed.path)


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ([*pairs("a", "b"), ("0000.txt", b"a")], {}, r"members of key '0000' do not follow each other"),
        ([*pairs("a"), ("0000.jpg", IMAGES[1])], {}, r"two members are called '0000\.jpg'"),
        (pairs("{", ending="json"), {"label": "json.x"}, r"s\.tar:0000\.json is not readable"),
        ([("0.jpg", IMAGES[0]), ("0.cls", b"\xff\xfe")], {}, r"s\.tar:0\.cls is not readable"),
        (pairs("[1]", ending="json"), {"label": "json.x"}, r"0000\.json has no field 'x'"),
        (pairs('{"x": 1.5}', ending="json"), {"label": "json.x"}, r"the label 1\.5 is neither text nor a whole number"),
        (pairs("2"), {"label_names": ["a", "b"]}, r"label number 2 is outside 0\.\.1"),
        (pairs("-1"), {"label_names": ["a", "b"]}, r"label '-1' is no number"),
        (pairs("a" * (1 << 20) + "a"), {}, r"0000\.cls has 1048577 bytes"),
        (pairs("a"), {"label": "json"}, r"must be cls, txt, json\.<field> or None\. Got 'json'"),
        (pairs("a"), {"label": "cls.x"}, r"Got 'cls\.x'"),
        ([], {}, "no image was found"),
    ],
)
def test_what_cannot_be_understood_is_an_error(tmp_path, members, options, message):
    with pytest.raises((BadInput, BadArgument), match=message):
        run(shard(tmp_path / "s.tar", members), tmp_path / "c", **options)


def test_what_is_not_there_or_no_tar_is_an_error(tmp_path):
    with pytest.raises(MissingInput, match="no tar shard"):
        run(tmp_path / "nowhere.tar", tmp_path / "c")
    (tmp_path / "text.tar").write_text("no tar " * 200)
    with pytest.raises(Damaged, match=r"text\.tar is not a readable tar"):
        run(tmp_path / "text.tar", tmp_path / "c")
    whole = shard(tmp_path / "s.tar", pairs(*"abc")).read_bytes()
    (tmp_path / "half.tar").write_bytes(whole[: len(whole) // 4])
    with pytest.raises(Damaged, match=r"half\.tar is not a readable tar"):
        run(tmp_path / "half.tar", tmp_path / "c")
    packed = shard(tmp_path / "s.tar.gz", pairs(*"abc"), "w:gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(Damaged, match=r"half\.tar\.gz is not a readable tar"):
        run(tmp_path / "half.tar.gz", tmp_path / "c", pack=True)
    (tmp_path / "e").mkdir()
    with pytest.raises(BadInput, match=r"two shards are called s\.tar"):
        run([tmp_path / "s.tar", shard(tmp_path / "e" / "s.tar", pairs("a"))], tmp_path / "c")


def test_unknown_labels_and_changed_shards_are_errors(tmp_path):
    path = shard(tmp_path / "s.tar", pairs("dgo"))
    with pytest.raises(UnknownName, match=r"'dgo'.*Did you mean 'dog'"):
        run(path, tmp_path / "c", hierarchy=Hierarchy.load("toy"))
    run(path, tmp_path / "c")
    shard(path, pairs("dog", "dog"))
    with pytest.raises(OutputExists, match=r"inputs\.shards"):
        run(path, tmp_path / "c")


@pytest.mark.shared
def test_real_images_in_shards_have_the_ids_of_their_parquet(shared_data, tmp_path):
    path = shared_data / "tiny_imagenet" / "val.parquet"
    rows = pl.read_parquet(path).head(400)
    rows.write_parquet(tmp_path / "d.parquet")
    members = []
    for i, row in enumerate(rows.iter_rows(named=True)):
        members += [(f"{i:05d}.jpg", row["image"]["bytes"]), (f"{i:05d}.json", json.dumps({"w": row["wnid"]}).encode())]
    shards = run(shard(tmp_path / "s.tar", members), tmp_path / "c", label="json.w", split="val")
    parquet = from_hub(tmp_path / "d.parquet", out=tmp_path / "p", label="wnid", split="val", workers=1)
    columns = ["image", "sha256", "labels", "width", "height", "format", "split"]
    assert shards.scan().select(columns).collect().equals(parquet.scan().select(columns).collect())
