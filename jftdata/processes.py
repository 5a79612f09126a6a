"""Worker processes that do not run the caller's script again.

A forked process hangs once polars or torch have started threads, so workers come from a fork server. Python would have
each of them import the script that was started, which then needs an `if __name__ == "__main__"`; ours run functions of
this library only, and are spared it.
"""

import multiprocessing
import multiprocessing.context
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def pool(workers: int) -> ProcessPoolExecutor:
    """An executor of worker processes that end with this process, however it ends.

    >>> with pool(1) as executor:
    ...     executor.submit(abs, -3).result()
    3
    """
    return ProcessPoolExecutor(workers, mp_context=_Context(), initializer=_end_with_parent)


class _Process(multiprocessing.context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        main = sys.modules["__main__"]
        hidden: dict[str, Any] = {
            name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__
        }
        main.__dict__["__spec__"] = None
        try:
            return multiprocessing.context.ForkServerProcess._Popen(process_obj)
        finally:
            main.__dict__.update({"__spec__": None, **hidden})


class _Context(multiprocessing.context.ForkServerContext):
    Process = _Process


def _end_with_parent() -> None:
    """Stop this worker when the run that started it is gone: it must not write beside the run that resumes."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
