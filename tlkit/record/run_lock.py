"""The lock of a run's folder: one process writes a run at a time, and who holds it is told. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tlkit.errors import RunLocked

_HOLDER = ".holder"  # host, process and time in seconds of who holds a run's lock


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run's folder against other processes; create it if it is missing.

    Raises:
        RunLocked: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunLocked(
            f"{folder}: another process is running this{_holder(folder)}.", "wait for it, or stop it; nothing was changed"
        ) from None
    try:
        # beside the lock, which may not be written on every system; whoever holds the lock writes it anew, so that none is believed
        # which a dead process left
        with contextlib.suppress(OSError):
            (folder / _HOLDER).write_bytes(f"{platform.node()} {os.getpid()} {time.time():.0f}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / _HOLDER).unlink()
        lock.release()


def _holder(folder: Path) -> str:
    """Return which process holds the lock of a run's folder, in words; "" where that cannot be read."""
    try:
        host, process, since = (folder / _HOLDER).read_text(encoding="utf-8").split()
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(since)))
        return f", process {int(process)} on {host} since {begun}"
    except (OSError, ValueError, OverflowError):
        return ""
