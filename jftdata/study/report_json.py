"""Sections as JSON, for programs.

    {"format": "jftdata.sections/1", "made_by": "jftdata 0.1.0", "title": "...",
     "sections": [{"name": "scores", "title": "...", "text": ["..."],
                   "tables": [{"name": "means", "title": "...", "columns": ["task", ...], "rows": [["knn", ...], ...]}],
                   "figures": [{"name": "scores-knn", "title": "..."}]}]}

Numbers are as they are: shares in 0..1, what is not known or not finite null. Figures name the files of `figure_files.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

from jftdata import __version__
from jftdata.study.section import Section

FORMAT = "jftdata.sections/1"


def document(title: str, sections: Sequence[Section]) -> dict[str, Any]:
    """The object to write; equal sections give an equal one."""
    return {
        "format": FORMAT,
        "made_by": f"jftdata {__version__}",
        "title": title,
        "sections": [
            {
                "name": section.name,
                "title": section.title,
                "text": list(section.text),
                "tables": [
                    {"name": table.name, "title": table.title, "columns": table.frame.columns,
                     "rows": [[_finite(x) for x in row] for row in table.frame.iter_rows()]}
                    for table in section.tables
                ],
                "figures": [{"name": plot.name, "title": plot.title} for plot in section.plots],
            }
            for section in sections
        ],
    }  # fmt: skip


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
