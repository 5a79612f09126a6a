"""Studies by name: the paper's and those beyond it, on the built-in world or on the user's own sets."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jftdata.errors import BadArgument, one_of
from jftdata.study.named import beyond, figure1, figure2, figure3, paper
from jftdata.study.named import data as sets
from jftdata.study.named.data import StudyData
from jftdata.study.named.paper_numbers import PAPER, beside
from jftdata.study.plan import Study

__all__ = ["STUDIES", "NamedStudy", "StudyData", "beside", "make", "write"]


@dataclass(frozen=True, kw_only=True)
class NamedStudy:
    """A study, or a figure that is written without training anything, or both."""

    title: str
    question: str
    make: Callable[[StudyData], Study] | None = None
    """None where there is nothing to run."""
    write: Callable[[StudyData, Path], str] | None = None
    """Writes more files into the study's folder, once it has run, and says what they show."""


def _of_paper(
    name: str, make: Callable[[StudyData], Study] | None, **more: Callable[[StudyData, Path], str]
) -> NamedStudy:
    return NamedStudy(title=PAPER[name].title, question=PAPER[name].question, make=make, **more)


def _images_seen(name: str, make: Callable[..., Study]) -> NamedStudy:
    title = f"{PAPER[name].title}, with the number of images seen kept"
    return NamedStudy(title=title, question=PAPER[name].question, make=functools.partial(make, fixed="images-seen"))


def _beyond(name: str, make: Callable[[StudyData], Study], *, title: str = "") -> NamedStudy:
    return NamedStudy(title=title or name.replace("-", " ").capitalize(), question=beyond.QUESTIONS[name], make=make)


STUDIES: Mapping[str, NamedStudy] = {
    "figure-1": _of_paper("figure-1", None, write=figure1.write),
    "figure-2": _of_paper("figure-2", None, write=figure2.write),
    "figure-3": _of_paper("figure-3", paper.figure_3, write=lambda d, out: figure3.write(paper.figure_3(d), out)),
    "table-1": _of_paper("table-1", paper.table_1),
    "table-2": _of_paper("table-2", paper.table_2),
    "table-4": _of_paper("table-4", paper.table_4),
    "figure-4": _of_paper("figure-4", paper.figure_4),
    "figure-4-images-seen": _images_seen("figure-4", paper.figure_4),
    "table-6": _of_paper("table-6", paper.table_6),
    "figure-5": _of_paper("figure-5", paper.figure_5),
    "figure-5-images-seen": _images_seen("figure-5", paper.figure_5),
    "figure-6": _of_paper("figure-6", paper.figure_6),
    "figure-6-images-seen": _images_seen("figure-6", paper.figure_6),
    "table-7": _of_paper("table-7", paper.table_7),
    "appendix-a": _of_paper("appendix-a", paper.appendix_a),
    "noise-rate": _beyond("noise-rate", beyond.noise_rate),
    "noise-rate-images-seen": _beyond(
        "noise-rate", functools.partial(beyond.noise_rate, fixed="images-seen"),
        title="Noise rate, with the number of images seen kept",
    ),
    "dedup": _beyond("dedup", beyond.dedup),
    "tail-handling": _beyond("tail-handling", beyond.tail_handling),
    "selection-precision": _beyond("selection-precision", beyond.selection_precision),
    "mixing": _beyond("mixing", beyond.mixing),
}  # fmt: skip
"""By name, the paper's in its order, Table 3 with Table 2 and Table 5 with Table 4; then those beyond it."""


def make(name: str, *, out: Path | str, data: StudyData | Path | str | None = None) -> Study:
    """A study by name; nothing is drawn, read or trained yet.

    Args:
        name: one of `STUDIES`.
        out: the study's folder; what is made for it lies in `out/data`.
        data: the user's own sets, or a TOML file that names them (`data.read`); None is the built-in world.

    Raises:
        UnknownOption: no such study; the nearest is suggested.
        BadArgument: a figure with nothing to run.
        BadInput: the data lacks a set that the study needs.
    """
    named = _named(name)
    if named.make is None:
        raise BadArgument(f"{name} trains nothing, so it has no cells. `jftdata study run {name} --out DIR` writes it.")
    return named.make(_data(data, out))


def write(name: str, *, out: Path | str, data: StudyData | Path | str | None = None) -> str:
    """Write what a study has beside its table: the plots of Figures 1 and 3, the page of Figure 2.

    Args:
        name: one of `STUDIES`.
        out: the study's folder.
        data: as for `make`.

    Returns:
        What was found, in words; nothing for a study that is all in its table.

    Raises:
        UnknownOption: no such study; the nearest is suggested.
    """
    named = _named(name)
    return "" if named.write is None else named.write(_data(data, out), Path(out))


def _named(name: str) -> NamedStudy:
    if name not in STUDIES:
        raise one_of("study", name, STUDIES)
    return STUDIES[name]


def _data(data: StudyData | Path | str | None, out: Path | str) -> StudyData:
    at = Path(out) / "data"
    if isinstance(data, StudyData):
        return data
    return sets.world(at) if data is None else sets.read(data, at=at)
