"""The guided tour, small."""

from pathlib import Path

import pytest

from jftdata import progress
from jftdata.errors import OutputExists
from jftdata.study import demo
from jftdata.study.named.data import WorldSettings

SMALL = WorldSettings(
    num_images=240, sizes=(40, 160), seeds=(0,), total_epochs=1.0, num_clean_train=60, num_clean_test=30, num_clean=60, num_eval=10
)  # fmt: skip


def test_the_tour_ends_in_a_report_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress.set_quiet(False)
    made = demo.run(tmp_path / "d", SMALL, workers=1)
    said = capsys.readouterr().err
    for number in range(1, demo.CHAPTERS + 1):
        assert f"{number} of {demo.CHAPTERS}  " in said
    assert said.count("on your own: jftdata ") == demo.CHAPTERS
    assert "of the 100 most suspicious are" in said
    assert set(made.results.rows["num_train_images"]) == {0, 40, 160}
    page = made.report.read_text()
    assert "jftdata demo" in page
    assert "Near-duplicates" in page
    progress.set_quiet(True)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "d").rglob("artefact.json")}
    demo.run(tmp_path / "d", SMALL, workers=1)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "d").rglob("artefact.json")} == before
    with pytest.raises(OutputExists, match="num_images"):
        demo.run(tmp_path / "d", WorldSettings(), workers=1)
