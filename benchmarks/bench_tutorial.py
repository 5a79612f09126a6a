"""Wall seconds of each command of the tutorial, as a user types them: `python benchmarks/bench_tutorial.py [FOLDER]`.

Every command is a process of its own, which loads its libraries anew. With FOLDER what it makes is kept there.
Writes `results/tutorial_<hardware>_<yyyymm>.csv`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measuring

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.doc_blocks import blocks, commands

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    rows = []
    for block in blocks((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")):
        if block.file is not None:
            (folder / block.file).write_text(block.code, encoding="utf-8")
            continue
        todo = (
            [line for line, _ in commands(block.code)] if block.language == "console" else [f"python -c {block.code!r}"]
        )
        for command in todo:
            typed = ["bash", "-c", command] if block.language == "console" else [sys.executable, "-c", block.code]
            began = time.monotonic()
            subprocess.run(typed, cwd=folder, check=True, capture_output=True, env={**os.environ, "PATH": path})
            rows.append({"command": " ".join(command.split())[:120], "seconds": round(time.monotonic() - began, 1)})
            print(rows[-1], flush=True)
    total = {"command": "in all", "seconds": round(sum(row["seconds"] for row in rows), 1)}
    measuring.write("tutorial", [*rows, total])
    print(total)


if __name__ == "__main__":
    main()
