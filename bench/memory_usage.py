"""Return the memory of a process, now and at its peak, in MB."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """Return the peak of this process since exec, in MB.

    On Linux, ``ru_maxrss`` includes the parent's memory before exec, so /proc is read instead.
    """
    if Path("/proc/self/status").exists():
        return memory_sizes_mb("self")["VmHWM"]
    kilo = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / kilo


def memory_sizes_mb(process: int | str) -> dict[str, float]:
    """Return a process's sizes in MB by their names in Linux (VmRSS: now, VmHWM: peak).

    Empty for a zombie process. Raises OSError if the process does not exist.
    """
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    sizes = (line.split() for line in lines if line.startswith("Vm"))
    return {name.rstrip(":"): int(size) / 1024 for name, size, *_ in sizes}
