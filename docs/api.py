"""Build the API reference from the docstrings: `python docs/api.py FOLDER`. Any warning is an error.

Needs the group `docs` (`uv run --group docs`). Names that `jftdata` loads when they are first used are loaded first, since pdoc
looks only at what a module holds.
"""

import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

import jftdata

EXTENDING = (
    "jftdata.plots", "jftdata.results", "jftdata.sources.ingest", "jftdata.storage", "jftdata.transfer.recipe",
    "jftdata.transfer.task",
)  # fmt: skip
"""Modules that are not in `jftdata.__all__` and that the pages of docs/ send a reader to."""


def modules() -> list[ModuleType]:
    """The modules of the reference, all their names loaded."""
    found = {name: import_module(name) for name in EXTENDING}
    waiting: list[ModuleType] = [jftdata]
    while waiting:
        module = waiting.pop()
        found[module.__name__] = module
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            setattr(module, name, value)
            if isinstance(value, ModuleType) and value.__name__ not in found:
                waiting.append(value)
    return [found[name] for name in sorted(found)]


def build(out: Path) -> None:
    """Write the reference into a folder; `index.html` is its first page."""
    import pdoc

    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", r"Error parsing type annotation nx\.DiGraph")  # a type for checkers only
    names = [module.__name__ for module in modules()]
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"jftdata {jftdata.__version__}")
    pdoc.pdoc(*(spec for name in names for spec in (name, f"!{name}[.]")), output_directory=out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/api.py FOLDER")
    build(Path(sys.argv[1]))
