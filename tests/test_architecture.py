"""The import graph: directions, one door a library, nothing heavy at start."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jftdata"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    {
        "errors",
        "hashing",
        "machine",
        "markdown",
        "override",
        "permute",
        "plural",
        "processes",
        "progress",
        "ragged",
        "schedules",
        "storage",
        "tar",
    },
    {"hierarchy", "images", "catalog", "embeddings", "checkpoint", "results", "pixels", "judge", "rewrite"},
    {
        "sources",
        "world",
        "tail",
        "plots",
        "neighbors",
        "join",
        "dedup",
        "diff",
        "merge",
        "relabel",
        "sheet",
        "noise",
        "backbone",
        "pretrained",
    },
    {
        "changes",
        "register",
        "calibrate",
        "copies",
        "look",
        "overlap",
        "precision",
        "selection",
        "subset",
        "quality",
        "ranking",
        "export",
        "takedown",
    },
    {"recipes", "pretrain"},
    {"copy_net", "embed"},
    {"transfer"},
    {"study"},
    {"cli", "__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
DOORS = {"faiss": "neighbors.py", "datasets": "sources/hub.py", "networkx": "hierarchy/"}


def imported(path: Path) -> set[str]:
    """Every module a file imports, wherever in it, by its dotted name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "jftdata":
                found |= {f"jftdata.{alias.name}" for alias in node.names}
    return found


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_part_has_a_level() -> None:
    assert {part(path) for path in FILES} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_or_stay_level(path: Path) -> None:
    if part(path) == "__init__":
        return
    for name in imported(path):
        pieces = name.split(".")
        if pieces[0] == "jftdata" and len(pieces) > 1 and pieces[1] in LEVEL:
            assert LEVEL[pieces[1]] <= LEVEL[part(path)], f"{path.name} imports {name}, which lies above it"


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    users = {p.relative_to(PACKAGE).as_posix() for p in FILES if any(n.split(".")[0] == library for n in imported(p))}
    assert users
    assert all(user.startswith(DOORS[library]) for user in users), users


@pytest.mark.parametrize("code", ["import jftdata", "from jftdata.cli import run; run(['--help'])"])
def test_start_loads_nothing_heavy(code: str) -> None:
    heavy = "{'torch', 'torchvision', 'faiss', 'datasets', 'numba', 'matplotlib', 'sklearn'}"
    check = f"{code}\nimport sys\nassert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_answers_in_under_three_tenths_of_a_second() -> None:
    spans = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "jftdata", "--help"], capture_output=True, check=True)
        spans.append(time.perf_counter() - began)
    assert min(spans) < 0.3, spans
