"""Rows that are being written: which of their files a living process holds, and which a dead one left.

The rule: a writer locks its file for as long as it writes; the system gives that lock up when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]  # a module elsewhere


def hold(file: io.FileIO) -> None:
    """Lock a file that is being written until it is closed; a file system without locks is none the worse."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def abandoned(path: Path) -> bool:
    """Return whether no process is writing a file any more; False where that cannot be known."""
    if fcntl is None:
        return False
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        return False
    finally:
        os.close(handle)
    return True
