"""The lock of a run's folder: one process writes a run at a time, and who holds it is told. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tlkit.errors import RunLocked
from tlkit.record import lock_holder

_HOLDER = ".holder"


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
            f"{folder}: another process is running this{lock_holder.words(folder / _HOLDER)}.",
            "wait for it, or stop it; nothing was changed",
        ) from None
    try:
        with lock_holder.said(folder / _HOLDER):
            yield
    finally:
        lock.release()
