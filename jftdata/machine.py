"""What this machine lets a process have. Needs no torch."""

from pathlib import Path

_CONTAINER = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def memory() -> tuple[int, int] | None:
    """Bytes of memory that there are and that are free, of the container where that has a limit; None where the system does not say.

    >>> total, free = memory() or (1, 1)
    >>> 0 < free <= total
    True
    """
    try:
        rows = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        there = {row[0]: int(row[1]) * 1024 for row in rows}
        total, free = there["MemTotal:"], there["MemAvailable:"]
    except (OSError, KeyError, IndexError, ValueError):
        return None
    for limit, used in _CONTAINER:
        try:
            most, now = (int((Path("/sys/fs/cgroup") / name).read_text()) for name in (limit, used))
        except (OSError, ValueError):
            continue
        total, free = min(total, most), min(free, most - now)
    return total, free
