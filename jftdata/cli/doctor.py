"""`jftdata doctor`: what this machine offers and which versions are installed."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from jftdata import __version__, machine
from jftdata.cli.verb import Answer, answers

PACKAGES = ("torch", "torchvision", "faiss-gpu", "faiss-cpu", "polars", "pyarrow", "datasets", "networkx", "numba", "numpy",
            "scipy", "pillow", "simplejpeg", "safetensors")  # fmt: skip
_GIB = 2**30


@click.command()
@answers
def command() -> Answer:
    """Tell versions, cores, GPUs, memory and disk."""
    data = examine()
    gpus = data["gpus"] or ["none: training runs on the CPU"]
    lines = [
        f"jftdata {data['jftdata']}, Python {data['python']}, {data['system']}",
        f"cores    {data['cores']}",
        *(f"gpu      {gpu}" for gpu in gpus),
        f"memory   {data['memory_available_gib']:.1f} of {data['memory_gib']:.1f} GiB free",
        f"disk     {data['disk_free_gib']:.1f} GiB free here",
        f"shm      {data['shm_free_gib']:.1f} GiB free in /dev/shm",
        "packages " + ", ".join(f"{name} {found}" for name, found in data["packages"].items()),
        *(f"problem: {problem}" for problem in data["problems"]),
    ]
    return Answer("\n".join(lines), data)


def examine() -> dict[str, Any]:
    """Facts of this machine, without loading torch."""
    packages = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    total, free = machine.memory() or (0, 0)
    problems = [
        f"{name} is not installed" for name in PACKAGES if name not in packages and not name.startswith("faiss")
    ]
    if ("faiss-gpu" in packages) == ("faiss-cpu" in packages):
        problems.append("install just one of faiss-gpu and faiss-cpu")
    return {
        "jftdata": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": _gpus(),
        "memory_gib": total / _GIB,
        "memory_available_gib": free / _GIB,
        "disk_free_gib": shutil.disk_usage(Path.cwd()).free / _GIB,
        "shm_free_gib": shutil.disk_usage("/dev/shm").free / _GIB if Path("/dev/shm").exists() else 0.0,
        "packages": packages,
        "problems": problems,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
