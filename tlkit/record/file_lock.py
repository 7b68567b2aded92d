"""A lock on a file between processes, also where the file system has none. Imports no torch.

The rule: where the system can lock a file, it does, and gives the lock up when the process ends, however it ends. Elsewhere the lock is a
file that exists, which its process keeps young: one of a dead process of this machine counts for nothing, nor does one that grew old.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 60.0  # seconds that whoever needs a lock waits that others hold for a moment
MOMENT = 0.05  # seconds that whoever takes a lock at once still waits: `is_free` has it for an instant
_GROWS_OLD = 30.0  # seconds without a sign of another machine's process, where a lock is a file that exists
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextlib.contextmanager
def held(path: Path, *, timeout: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a file within the block.

    Raises:
        filelock.Timeout: another process held it for so many seconds.
        OSError: the file cannot be made.
    """
    from filelock import FileLock, SoftFileLease  # here, since the command line imports what locks at its start

    lock = FileLock(path, timeout=timeout, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        with SoftFileLease(_beside(path), timeout=timeout, lease_duration=_GROWS_OLD):
            yield
        return
    try:
        yield
    finally:
        lock.release()


def is_free(path: Path) -> bool | None:
    """Return whether no process holds the lock of a file, by taking it for an instant; None where the system does not tell."""
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows; a file that is not there or may not be read, or a file system without locks
        return None
    return True


def break_(path: Path) -> None:
    """Take a lock away from a process of another machine that gives no sign; whoever is next makes its file anew.

    Raises:
        OSError: the folder cannot be written.
    """
    for each in (path, _beside(path)):
        each.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Return the file that exists while a lock is held where the system has no locks."""
    return path.with_name(f"{path.name}-held")
