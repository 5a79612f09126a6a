"""The pages of docs/ run as they stand; the formats page says what the code writes; every public name is in the API reference."""

import dataclasses
import json
import re
import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from jftdata import catalog, copies, dedup, diff, noise, pixels, precision, results, storage, tail, transfer
from jftdata.export import table
from jftdata.hierarchy import core
from jftdata.selection import choose
from tests import doc_blocks

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the whole tutorial, minutes where cores are busy
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
FORMATS = (DOCS / "formats.md").read_text(encoding="utf-8")
COLUMNS = {
    ("Catalog", "images/*.parquet"): catalog.SCHEMA,
    ("Catalog", "duplicates.parquet"): catalog.DUPLICATES,
    ("Catalog", "rejected.parquet"): catalog.REJECTED,
    ("Embeddings", "rejected.parquet"): pixels.UNREAD,
    ("Results", "results.jsonl"): results.SCHEMA,
    ("Copies", "pairs.parquet"): copies.PAIRS,
    ("Selection", "table/*.parquet"): {**choose.TABLE, "image": "any"},
    ("Selection", "by_label.parquet"): choose.BY_LABEL,
    ("Selection", "calibration.parquet"): choose.CALIBRATION,
    ("Export", "labels.csv"): table._ROWS,
    ("Findings", "tail --out"): tail.COUNTS,
    ("Findings", "dedup --out, of embeddings"): dedup.PAIRS,
    ("Findings", "dedup --drop"): {"image": "Int64"},
    ("Findings", "noise audit --out"): noise.AUDIT,
    ("Findings", "noise audit --labels"): noise.LABELS,
    ("Findings", "noise audit --confusions"): noise.CONFUSIONS,
    ("Findings", "noise audit --missing"): noise.MISSING,
    ("Findings", "noise sample --out"): precision.SAMPLE,
    ("Findings", "noise precision --out"): precision.ESTIMATE,
    ("Findings", "catalog diff --out"): diff.DIFF,
}


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tutorial was followed; the how-tos go on in it."""
    folder = tmp_path_factory.mktemp("docs")
    doc_blocks.run(DOCS / "tutorial.md", folder)
    return folder


def test_the_tutorial_ends_with_a_report(toured: Path) -> None:
    assert (toured / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_how_to_runs(page: Path, toured: Path) -> None:
    with mock.patch.dict(transfer.TASKS):
        doc_blocks.run(page, toured)


@pytest.mark.long
def test_what_needs_several_gpus_runs_on_two_processes(toured: Path) -> None:
    doc_blocks.run(DOCS / "how-to" / "pretrain-on-8-gpus.md", toured, long=True)
    assert storage.verify(toured / "try").facts["num_train_images"] == 500


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_all_code_is_run_and_all_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in doc_blocks.blocks(text):
        assert block.language in ("console", "python") or block.file, f"{page.name}:{block.line} is not run"
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link


def sections() -> dict[str, str]:
    """Text of the formats page by heading, without what stands below a smaller one; `Catalog`, `Catalog: images/*.parquet`."""
    found: dict[str, str] = {}
    large = ""
    for part in re.split(r"^##", FORMATS, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        if heading.startswith("#"):
            found[f"{large}: {heading.strip('# ')}"] = text
        else:
            large = heading.split(":")[0].strip()
            found[large] = text
    return found


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the table whose first column is called so, and of no other."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return lines[2:] if lines and lines[0][0] == first else []


def test_the_formats_page_names_every_format() -> None:
    written = set()
    for path in (ROOT / "jftdata").rglob("*.py"):
        written |= set(re.findall(r'"(jftdata\.\w+/\d+)"', path.read_text(encoding="utf-8")))
    headings = "\n".join(re.findall(r"^## .*", FORMATS, re.MULTILINE))
    named = set(re.findall(r"`(jftdata\.\w+/\d+)`", headings))
    assert written - {"jftdata.results/1"} <= named


def test_the_formats_page_has_the_keys_of_a_sidecar_and_the_columns_of_a_hierarchy() -> None:
    assert [row[0] for row in rows(sections()["Sidecar"], "key")] == [
        f.name for f in dataclasses.fields(storage.Sidecar)
    ]
    assert tuple(row[0] for row in rows(sections()["Hierarchy"], "column")) == core.COLUMNS


def test_the_formats_page_has_the_columns_that_are_written() -> None:
    told = {
        tuple(heading.split(": ")): {name: kind for name, kind, _ in rows(text, "column")}
        for heading, text in sections().items()
        if rows(text, "column") and heading != "Hierarchy"
    }
    assert told == {key: {name: str(kind) for name, kind in schema.items()} for key, schema in COLUMNS.items()}


def artefacts(folder: Path) -> Iterator[Path]:
    yield from (path.parent for path in sorted(folder.rglob(storage.SIDECAR)) if ".partial" not in str(path))


def test_artefacts_have_the_files_that_the_formats_page_names(toured: Path) -> None:
    named = {}
    for heading, text in sections().items():
        if files := rows(text, "file"):
            (kind,) = re.findall(rf"^## {heading}: `([\w./]+)`", FORMATS, re.MULTILINE)
            named[kind] = {row[0] for row in files}
    seen: dict[str, set[str]] = {}
    for path in artefacts(toured):
        sidecar = json.loads((path / storage.SIDECAR).read_text())
        for name in sidecar["files"]:
            fitting = {pattern for pattern in named[sidecar["format"]] if fnmatch(name, pattern)}
            assert fitting, f"{path}: {name}"
            seen.setdefault(sidecar["format"], set()).update(fitting)
    for kind in ("jftdata.catalog/2", "jftdata.copies/1", "jftdata.embeddings/1"):
        assert seen[kind] == named[kind]


def public(module: ModuleType) -> set[str]:
    """What a module offers: what it lists, or else its functions and classes."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    return {
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and hasattr(value, "__qualname__")
    }  # fmt: skip


def test_every_public_name_is_in_the_api_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pdoc")
    monkeypatch.syspath_prepend(DOCS)
    import api

    with warnings.catch_warnings():
        api.build(tmp_path)
    for module in api.modules():
        page = (tmp_path / f"{module.__name__.replace('.', '/')}.html").read_text(encoding="utf-8")
        for name in public(module):
            value = getattr(module, name)
            if isinstance(value, ModuleType):
                assert (tmp_path / f"{value.__name__.replace('.', '/')}.html").exists(), value
            else:
                assert f'id="{name}"' in page, f"{module.__name__}.{name}"
