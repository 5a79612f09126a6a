"""The README tells the truth: its Python example runs as it stands, its verbs, files and result files are there."""

import re
import subprocess
import sys
from pathlib import Path

from jftdata.cli import VERBS
from tests.doc_blocks import blocks

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = (block.code for block in blocks(TEXT) if block.language == "python")
    assert len(code.strip().splitlines()) <= 15
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "of 251 labels used" in done.stdout
    assert "slope_low" in done.stdout


def test_the_verbs_are_those_of_the_command_line() -> None:
    (listed,) = re.findall(r"goes on where it was stopped:\n`([a-z ]+)`", TEXT)
    assert listed.split() == list(VERBS)


def test_every_file_of_the_tree_and_every_result_file_is_there() -> None:
    (tree,) = re.findall(r"## Where things are\n\n```\n(.*?)```", TEXT, re.DOTALL)
    for name in re.findall(r"^  ([a-z_]+(?:\.py|/))", tree, re.MULTILINE):
        assert (ROOT / "jftdata" / name).exists(), name
    modules = {p.name for p in (ROOT / "jftdata").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    missing = {m for m in modules - {"__init__.py", "__main__.py"} if m not in tree and f"{m}/" not in tree}
    assert not missing, missing
    cited = re.findall(r"benchmarks/results/[\w.]+\.csv", TEXT)
    assert len(cited) >= 3
    for name in cited:
        assert (ROOT / name).exists(), name
