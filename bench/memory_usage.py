"""The memory a process has, and the most it has had, its own only."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """Return the peak of this process in MB, since it began to run its own program.

    Linux counts what the parent had before the program began into ``ru_maxrss``.
    """
    if Path("/proc/self/status").exists():
        return memory_sizes_mb("self")["VmHWM"]
    kilo = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / kilo


def memory_sizes_mb(process: int | str) -> dict[str, float]:
    """Return a process's sizes by their names in Linux (VmRSS now, VmHWM at the most), in MB.

    Empty for one that has ended and was not waited for. Raises OSError where there is none.
    """
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    sizes = (line.split() for line in lines if line.startswith("Vm"))
    return {name.rstrip(":"): int(size) / 1024 for name, size, *_ in sizes}
