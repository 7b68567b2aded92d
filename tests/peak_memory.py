"""The most memory that some code takes, as Linux counts it."""

from collections.abc import Callable
from pathlib import Path

import pytest

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEGABYTE = 1 << 20
needs_peak = pytest.mark.skipif(not _RESET.exists(), reason="needs /proc/self/clear_refs, Linux's, to reset the peak of memory")


def peak(call: Callable[[], object]) -> int:
    """Return the bytes by which resident memory grows at most during a call."""
    _RESET.write_text("5")  # proc(5): the peak becomes what is resident now
    before = _field("VmRSS")
    call()
    return _field("VmHWM") - before


def _field(name: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in _STATUS.read_text().splitlines() if line.startswith(name))
