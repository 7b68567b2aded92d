"""Rows that are being written: which of their files a living process holds, and which a dead one left.

The rule: a writer locks its file for as long as it writes; the system gives that lock up when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]  # a module elsewhere


def hold(file: io.FileIO) -> None:
    """Lock a file that is being written until it is closed; a file system without locks is none the worse."""
    with contextlib.suppress(OSError):
        lock(file.fileno())


def lock(handle: int) -> None:
    """Lock an open file until it is closed.

    Raises:
        OSError: another process holds it, or the file system has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def abandoned(path: Path) -> bool:
    """Return whether no process is writing a file any more; False where that cannot be known."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        lock(handle)
    except OSError:  # held, or a file system without locks
        return False
    finally:
        os.close(handle)
    return True
