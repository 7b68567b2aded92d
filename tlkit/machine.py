"""What this machine is called. Imports no torch."""

from __future__ import annotations

import platform
from functools import cache


@cache
def processor() -> str:
    """Return the processor's name, as the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
