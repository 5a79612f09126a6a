"""The plots as files: every label and line is there, equal inputs give equal bytes, other endings are refused."""

import polars as pl
import pytest
from PIL import Image

from jftdata import plots
from jftdata.errors import BadArgument, BadInput


def counts(*images):
    n = len(images)
    return pl.DataFrame({
        "label": [f"l{i}" for i in range(n)], "name": [f"<l{i}>" for i in range(n)], "depth": [i % 3 for i in range(n)],
        "num_given": images, "num_images": images,
    })  # fmt: skip


def test_before_and_after_are_two_lines_with_a_legend(tmp_path):
    before, after = counts(5000, 300, 25, 4), counts(5000, 250, 3, 0)
    path = plots.rank_frequency({"before <dedup>": before, "after": after}, tmp_path / "a.svg")
    text = path.read_text()
    assert "before &lt;dedup&gt;" in text
    assert "after" in text
    assert "20 images" in text
    again = plots.rank_frequency({"before <dedup>": before, "after": after}, tmp_path / "b.svg")
    assert again.read_bytes() == path.read_bytes()


def test_labels_by_depth_are_stacked_bars(tmp_path):
    path = plots.depths(counts(5000, 300, 25, 4, 0), tmp_path / "d.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
        colors = {tuple(c[:3]) for _, c in image.convert("RGBA").getcolors(1 << 20)}
    assert {(0x0A, 0x6C, 0x8F), (0xB4, 0x54, 0x0A), (0xC3, 0xC9, 0xCF)} <= colors


def test_calibration_is_a_line_of_shares_with_their_intervals(tmp_path):
    found = pl.DataFrame({"probability": [0.1, 0.9], "share_yes": [0.2, 0.8], "low": [0.1, 0.7], "high": [0.3, 0.9]})
    text = plots.calibration(found, tmp_path / "c.svg").read_text()
    assert "share judged to hold" in text
    assert plots.calibration(found[::-1], tmp_path / "d.svg").read_text() != text


def test_another_ending_and_an_empty_tail_are_refused(tmp_path):
    with pytest.raises(BadArgument, match=r"\.svg or \.png"):
        plots.depths(counts(1, 2), tmp_path / "d.pdf")
    with pytest.raises(BadInput, match="no label of 'x' has an image"):
        plots.rank_frequency({"x": counts(0, 0)}, tmp_path / "d.svg")
    assert list(tmp_path.iterdir()) == []
