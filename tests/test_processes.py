"""Worker processes: no second run of the caller's script, and none outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from jftdata.processes import pool\n"
        "print('ran', __file__, __spec__)\n"
        "with pool(2) as executor:\n"
        "    print(sorted(executor.map(abs, [-1, -2, -3])), executor.submit(os.getpid).result() != os.getpid())\n"
        "print('still', __file__, __spec__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == f"ran {script} None\n[1, 2, 3] True\nstill {script} None\n"


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from jftdata.processes import pool\n"
        "with pool(1) as executor:\n"
        "    print(executor.submit(os.getpid).result(), flush=True)\n"
        "    executor.submit(time.sleep, 60)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"worker {worker} still runs")
