"""The paper's Figure 1 as a table and a plot: training sets, models and computers over the years, and what came after the paper.

What we know from memory and have not read again says `unverified`.
"""

from pathlib import Path

import polars as pl

from jftdata import storage
from jftdata.study.named.data import StudyData
from jftdata.study.named.lines import lines

SCHEMA = {"year": pl.Int64(), "kind": pl.String(), "name": pl.String(), "value": pl.Float64(), "source": pl.String()}
DATA, MODEL, COMPUTER = "images of a training set", "layers of a model", "operations a second of a GPU"
_PAPER = "Sun et al. 2017"
_SHEET = "the maker's data sheet, single precision (unverified)"
FACTS = (
    (2012, DATA, "ImageNet", 1_281_167, "Russakovsky et al. 2015 (unverified)"),
    (2016, DATA, "ImageNet, still", 1_281_167, f"{_PAPER}, section 1"),
    (2017, DATA, "JFT-300M", 300e6, f"{_PAPER}, section 3"),
    (2018, DATA, "Instagram, by hashtag", 3.5e9, "Mahajan et al. 2018 (unverified)"),
    (2022, DATA, "LAION-5B", 5.85e9, "Schuhmann et al. 2022 (unverified)"),
    (2012, MODEL, "AlexNet", 8, "Krizhevsky et al. 2012 (unverified)"),
    (2014, MODEL, "VGG-19", 19, f"{_PAPER}, section 2"),
    (2014, MODEL, "GoogLeNet", 22, f"{_PAPER}, section 2"),
    (2015, MODEL, "ResNet-152", 152, f"{_PAPER}, section 5.2"),
    (2012, COMPUTER, "GTX 580", 1.58e12, _SHEET),
    (2014, COMPUTER, "K80, the paper's", 8.7e12, _SHEET),
    (2016, COMPUTER, "P100", 10.6e12, _SHEET),
    (2020, COMPUTER, "A100", 19.5e12, _SHEET),
    (2022, COMPUTER, "H100", 67e12, _SHEET),
)
"""Columns of `SCHEMA`; years are those of the publication, for a GPU those in which models were trained on it."""


def table() -> pl.DataFrame:
    """`FACTS`, with `times`: the value as a multiple of the first of its kind."""
    facts = pl.DataFrame(FACTS, schema=SCHEMA, orient="row")
    return facts.with_columns(times=pl.col("value") / pl.col("value").first().over("kind"))


def write(_: StudyData, out: Path | str) -> str:
    """Write `figure-1.csv` and `figure-1.svg` into a folder; returns what they show."""
    facts, out = table(), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    storage.write_text(out / "figure-1.csv", facts.write_csv())
    drawn = facts.rename({"times": "times the value of 2012"})
    lines(
        drawn, out / "figure-1.svg", x="year", y="times the value of 2012", by="kind", title="Figure 1", log=True
    )  # fmt: skip
    until = facts.filter(pl.col("year") <= 2016).group_by("kind", maintain_order=True).last()
    grown = ", ".join(f"{kind} {times:.1f} times" for kind, times in until.select("kind", "times").iter_rows())
    return f"From 2012 to 2016, the last of each kind against the first: {grown}."
