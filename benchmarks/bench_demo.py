"""Wall time and peak memory of the demo, and what its curves say; `python benchmarks/bench_demo.py [OUT]`.

Writes `results/demo_<hardware>_<yyyymm>.csv` (one row a run) and `results/demo_fits_<hardware>_<yyyymm>.csv`.
"""

import argparse
import platform
import resource
import tempfile
import time
from pathlib import Path

import measuring

from jftdata import __version__


def main() -> None:
    from jftdata import study  # here, so that worker processes, which import this file, need not load torch
    from jftdata.study import demo

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, help="folder to keep the demo in; a temporary one by default")
    out = (parser.parse_args().out or Path(tempfile.mkdtemp())) / "demo"
    began = time.monotonic()
    made = demo.run(out)
    seconds = time.monotonic() - began
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    row = {
        "jftdata": __version__,
        "python": platform.python_version(),
        "cores": measuring.CORES,
        "wall_seconds": round(seconds, 1),
        "peak_memory_gib_main": round(own / 2**20, 2),
        "peak_memory_gib_largest_worker": round(child / 2**20, 2),
        "report_kib": made.report.stat().st_size // 1024,
    }
    measuring.write("demo", [row])
    measuring.write("demo_fits", study.fit_log(made.results))
    print(row)


if __name__ == "__main__":
    main()
