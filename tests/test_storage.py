import json
import os
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from jftdata import storage
from jftdata.errors import BadInput, Damaged, Locked, MissingInput, OutputExists

PLAN = {"format": "jftdata.thing/1", "made_with": {"size": 3, "names": ["a"]}, "inputs": {"catalog": "00ff"}}


def build(out, *, text="hello", plan=PLAN):
    with storage.building(out, **plan) as work:
        (work.folder / "deep").mkdir(exist_ok=True)
        (work.folder / "deep" / "data.txt").write_text(text)
        (work.folder / "other.bin").write_bytes(bytes(range(256)))
        work.facts["letters"] = len(text)
    return storage.read_sidecar(out)


def break_off(out):
    """Begin a build, write one file, fail."""
    with suppress(RuntimeError), storage.building(out, **PLAN) as work:
        (work.folder / "done").write_text("x")
        raise RuntimeError


@contextmanager
def child(code, *arguments):
    """A second process that runs `code` up to where it says `ready`; killed with SIGKILL when the block ends."""
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


HALF_BUILD = """
import sys, time
from pathlib import Path
from jftdata import storage
plan = {"format": "jftdata.thing/1", "made_with": {"size": 3, "names": ["a"]}, "inputs": {"catalog": "00ff"}}
with storage.building(Path(sys.argv[1]), **plan) as work:
    (work.folder / "deep").mkdir()
    (work.folder / "deep" / "data.txt").write_text("hello")
    with storage.atomic_path(work.folder / "other.bin") as temp:
        temp.write_bytes(b"half")
        print("ready", flush=True)
        time.sleep(60)
"""


def test_a_finished_artefact_says_how_it_was_made(tmp_path):
    sidecar = build(tmp_path / "out")
    assert sidecar.format == "jftdata.thing/1"
    assert sidecar.made_with == PLAN["made_with"]
    assert sidecar.inputs == PLAN["inputs"]
    assert sidecar.facts == {"letters": 5}
    assert set(sidecar.files) == {"deep/data.txt", "other.bin"}
    assert sidecar.files["other.bin"]["bytes"] == 256
    assert sidecar.made_by.startswith("jftdata ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]  # neither partial nor lock is left
    assert storage.verify(tmp_path / "out") == sidecar


def test_equal_content_has_an_equal_fingerprint_and_other_content_another(tmp_path):
    first, second, third = build(tmp_path / "a"), build(tmp_path / "b"), build(tmp_path / "c", text="hallo")
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != third.fingerprint


def test_file_digests_are_those_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert storage.sha256_file(tmp_path / "abc") == digest


def test_the_same_build_again_does_nothing(tmp_path):
    build(tmp_path / "out")
    before = (tmp_path / "out" / storage.SIDECAR).stat().st_mtime_ns
    with storage.building(tmp_path / "out", **PLAN) as work:
        assert work is None
    assert (tmp_path / "out" / storage.SIDECAR).stat().st_mtime_ns == before


def test_other_arguments_on_an_existing_output_show_the_difference(tmp_path):
    build(tmp_path / "out")
    other = {**PLAN, "made_with": {"size": 4, "names": ["a"], "new": True}, "inputs": {"catalog": "1234"}}
    with pytest.raises(OutputExists) as caught, storage.building(tmp_path / "out", **other):
        pass
    message = str(caught.value)
    assert "size: there 3, now 4" in message
    assert "new: there nothing, now true" in message
    assert 'inputs.catalog: there "00ff", now "1234"' in message
    assert "names" not in message


def test_tuples_and_lists_are_the_same_argument(tmp_path):
    build(tmp_path / "out")
    with storage.building(tmp_path / "out", **{**PLAN, "made_with": {"size": 3, "names": ("a",)}}) as work:
        assert work is None


def test_a_foreign_folder_is_never_written_into(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputExists, match="was not made by jftdata"), storage.building(tmp_path / "out", **PLAN):
        pass
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


def test_an_exception_leaves_no_output_and_the_next_build_resumes(tmp_path):
    break_off(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with storage.building(tmp_path / "out", **PLAN) as work:
        assert work.resumed
        assert (work.folder / "done").read_text() == "x"


def test_work_of_other_arguments_is_started_over(tmp_path):
    break_off(tmp_path / "out")
    with storage.building(tmp_path / "out", **{**PLAN, "made_with": {"size": 9}}) as work:
        assert not work.resumed
        assert not (work.folder / "done").exists()


def test_a_build_killed_half_way_leaves_nothing_at_the_output_and_can_be_finished(tmp_path):
    out = tmp_path / "out"
    with child(HALF_BUILD, str(out)):
        pass
    assert not out.exists()
    with storage.building(out, **PLAN) as work:
        assert work.resumed
        assert (work.folder / "deep" / "data.txt").read_text() == "hello"
        (work.folder / "other.bin").write_bytes(bytes(range(256)))
    whole = build(tmp_path / "whole")
    assert (
        storage.verify(out).fingerprint == whole.fingerprint
    )  # not even the temporary file of the killed run is in it


def test_an_output_locked_by_another_process_is_refused_and_free_once_that_died(tmp_path):
    with child(HALF_BUILD, str(tmp_path / "out")), pytest.raises(Locked, match="written by another run"):
        build(tmp_path / "out")
    build(tmp_path / "out")


def test_verify_names_every_flipped_missing_added_and_cut_file(tmp_path):
    build(tmp_path / "out")
    data = bytearray((tmp_path / "out" / "other.bin").read_bytes())
    data[100] ^= 1
    (tmp_path / "out" / "other.bin").write_bytes(data)
    with pytest.raises(Damaged, match=r"other\.bin has changed bytes"):
        storage.verify(tmp_path / "out")
    (tmp_path / "out" / "other.bin").write_bytes(data[:-1])
    (tmp_path / "out" / "deep" / "data.txt").unlink()
    (tmp_path / "out" / "extra").write_text("?")
    with pytest.raises(Damaged) as caught:
        storage.verify(tmp_path / "out")
    for finding in ("other.bin has 255 bytes, not 256", "deep/data.txt is missing", "extra is not part of it"):
        assert finding in str(caught.value)


def test_verify_sees_a_sidecar_whose_file_list_was_edited(tmp_path):
    build(tmp_path / "out")
    path = tmp_path / "out" / storage.SIDECAR
    sidecar = json.loads(path.read_text())
    (tmp_path / "out" / "other.bin").unlink()
    del sidecar["files"]["other.bin"]
    path.write_text(json.dumps(sidecar))
    with pytest.raises(Damaged, match="fingerprint does not match"):
        storage.verify(tmp_path / "out")


def test_reading_a_sidecar_says_what_is_wrong(tmp_path):
    with pytest.raises(MissingInput, match="does not exist"):
        storage.read_sidecar(tmp_path / "nowhere")
    (tmp_path / "plain").mkdir()
    with pytest.raises(MissingInput, match="not a jftdata artefact"):
        storage.read_sidecar(tmp_path / "plain")
    build(tmp_path / "out")
    with pytest.raises(BadInput, match=r"is a jftdata\.thing/1, expected a jftdata\.catalog"):
        storage.read_sidecar(tmp_path / "out", kind="jftdata.catalog")
    (tmp_path / "out" / storage.SIDECAR).write_text("{")
    with pytest.raises(Damaged, match="is damaged"):
        storage.read_sidecar(tmp_path / "out")


def test_a_failed_atomic_write_leaves_the_old_file(tmp_path):
    storage.write_text(tmp_path / "a.txt", "old")
    with suppress(RuntimeError), storage.atomic_path(tmp_path / "a.txt") as temp:
        temp.write_text("new, ha")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_numbers_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_small_file_makes_its_folder(tmp_path):
    storage.write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["c.txt"]
