"""Memory of a machine and of a container."""

import pytest

from jftdata import machine


@pytest.mark.parametrize(("limit", "expected"), [("1000\n", (1000, 600)), ("max\n", None), (None, None)])
def test_a_containers_limit_counts_where_it_has_one(limit, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CONTAINER", ())
    whole = machine.memory()
    if whole is None:
        pytest.skip("this system does not say")
    (tmp_path / "used").write_text("400\n")
    if limit is not None:
        (tmp_path / "limit").write_text(limit)
    monkeypatch.setattr(machine, "_CONTAINER", ((str(tmp_path / "limit"), str(tmp_path / "used")),))
    total, free = machine.memory() or (0, 0)
    assert (total, free) == expected if expected else total == whole[0]
