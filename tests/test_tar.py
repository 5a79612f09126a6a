import tarfile

from hypothesis import given
from hypothesis import strategies as st

from jftdata import tar


@given(st.lists(st.binary(max_size=1500), max_size=25))
def test_a_tar_reads_back_and_members_begin_where_they_are_said_to(tmp_path_factory, members):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    with tar.create(path) as file:
        offsets = [tar.add(file, f"{i}.bin", data) for i, data in enumerate(members)]
    whole = path.read_bytes()
    assert [whole[at : at + len(data)] for at, data in zip(offsets, members, strict=True)] == members
    with tarfile.open(path) as read:
        found = [(info.name, read.extractfile(info).read()) for info in read]
    assert found == [(f"{i}.bin", data) for i, data in enumerate(members)]
    assert len(whole) % tarfile.RECORDSIZE == 0


def test_a_tar_that_is_not_finished_is_not_there(tmp_path):
    try:
        with tar.create(tmp_path / "a.tar") as file:
            tar.add(file, "x", b"1")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert not list(tmp_path.iterdir())
