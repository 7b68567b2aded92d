"""Who holds a lock, in a file beside it: host, process and since when. The lock itself may not be written on every system.

The rule: whoever holds the lock writes it anew, so that none is believed which a dead process left.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def said(path: Path) -> Iterator[None]:
    """Say in a file within the block that this process holds a lock; a file that cannot be written says nothing."""
    try:
        with contextlib.suppress(OSError):
            path.write_bytes(f"{platform.node()} {os.getpid()} {time.time():.0f}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def words(path: Path) -> str:
    """Return which process holds a lock, ", process 12 on host since 2026-01-31 12:00:00"; "" where that cannot be read."""
    try:
        host, process, since = path.read_text(encoding="utf-8").split()
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(since)))
        return f", process {int(process)} on {host} since {begun}"
    except (OSError, ValueError, OverflowError):
        return ""
