"""Who holds a lock, in a file beside it: host, process and since when. Not every system lets the locked file itself be written.

The rule: whoever holds the lock writes the file anew and touches it every few seconds. A file that stays is one of a process that was
killed; one of another machine that nobody touches is one of a machine that is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tlkit import machine
from tlkit.record import file_lock

SIGN = 15.0  # seconds between two signs of a holder
SILENCE = 120.0  # without a sign, after which a process of another machine counts as gone: a file server may show the last one a minute late
_LOOK = 0.5  # seconds between two looks for a sign


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock.

    Attributes:
        since: Seconds since the epoch.
        boot: Names the time since its machine was started; "" where that is not known.
        out_of_memory: Processes that its machine's kernel had killed for want of memory.
    """

    host: str
    process: int
    since: float
    boot: str
    out_of_memory: int

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == platform.node()

    def __str__(self) -> str:
        """Return it in words, "process 12 on host since 2026-01-31 12:00:00"."""
        return f"process {self.process} on {self.host} since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"

    def end(self) -> str:
        """Say how it ended, where it left its file and its lock is free."""
        if not self.is_here:
            return f"{self} gave no sign for {SILENCE:.0f} s"
        if self.boot != machine.boot():
            return f"{self} did not end by itself: the machine was started again since then"
        return self.killed()

    def killed(self) -> str:
        """Say that it was killed, and whether this machine's kernel has ended processes since then; the machine was not started again."""
        if killed := machine.killed_for_memory() - self.out_of_memory:
            what = "a process" if killed == 1 else f"{killed} processes"
            return f"{self} was killed; the kernel has ended {what} of this machine since then, because memory ran out"
        return f"{self} was killed"


def this() -> Holder:
    """Return this process as the holder of a lock from now on."""
    return Holder(platform.node(), os.getpid(), time.time(), machine.boot(), machine.killed_for_memory())


@contextlib.contextmanager
def said(path: Path) -> Iterator[Holder]:
    """Say in a file within the block that this process holds a lock; a file that cannot be written says nothing."""
    mine, ended = this(), threading.Event()
    with contextlib.suppress(OSError):
        path.write_bytes(text(mine).encode())
    signs = threading.Thread(target=_give_signs, args=(path, ended), daemon=True, name="tlkit-lock")
    signs.start()
    try:
        yield mine
    finally:
        ended.set()
        if read(path) in (mine, None):
            with contextlib.suppress(OSError):
                path.unlink()


def text(holder: Holder) -> str:
    """Return what is written of who holds a lock."""
    return json.dumps(asdict(holder))


def parsed(written: str | bytes) -> Holder | None:
    """Return who holds a lock from what was written, whatever follows it; None where it cannot be read."""
    try:
        record, _ = json.JSONDecoder().raw_decode(written if isinstance(written, str) else written.decode())
        found = Holder(**{each.name: record[each.name] for each in fields(Holder)})
        str(found)
        return found if isinstance(found.process, int) and isinstance(found.out_of_memory, int) else None
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def read(path: Path) -> Holder | None:
    """Return what a file says of who holds a lock; None where it cannot be read."""
    try:
        return parsed(path.read_bytes())
    except OSError:
        return None


def is_gone(path: Path, lock: Path) -> bool:
    """Return whether a file was left by a process of this machine that has ended; False where that is not known.

    Args:
        path: The file.
        lock: That of the lock, which the system gives up when its process ends, and those that it had forked. Where it cannot tell, a process
            without a sign is gone.
    """
    holder = read(path)
    if holder is None or not holder.is_here:
        return False
    free = file_lock.is_free(lock)
    return _is_silent_now(path) if free is None else free or has_heirs(path)


def has_heirs(path: Path) -> bool:
    """Return whether who holds a lock has ended, and a process that it had forked keeps the lock, as the file of the holder tells.

    A process in a container has another number there, and gives signs.
    """
    holder = read(path)
    if holder is None or not holder.is_here or not hasattr(os, "fork"):
        return False
    try:
        os.kill(holder.process, 0)  # asks whether it is there
    except ProcessLookupError:
        return _is_silent_now(path)
    except (OSError, OverflowError):  # it is somebody else's, or no number of a process
        pass
    return False


def _is_silent_now(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > SILENCE
    return False


def words(path: Path) -> str:
    """Return which process holds a lock, ", process 12 on host since 2026-01-31 12:00:00"; "" where that cannot be read."""
    holder = read(path)
    return "" if holder is None else f", {holder}"


def is_silent(path: Path, *, watch: Callable[[], None]) -> bool:
    """Wait for a sign of who holds a lock; return whether none came.

    No clock is believed, neither this machine's nor the other's: what counts is that the file changes.

    Args:
        path: The holder's file.
        watch: Called while it is waited; may raise to stop.
    """
    first, began = _sign(path), time.monotonic()
    while time.monotonic() - began < SILENCE:
        watch()
        time.sleep(_LOOK)
        if _sign(path) != first:
            return False
    return True


def _give_signs(path: Path, ended: threading.Event) -> None:
    while not ended.wait(SIGN):
        with contextlib.suppress(OSError):
            os.utime(path)


def _sign(path: Path) -> tuple[int, int] | None:
    """Return what changes with each sign; the file is opened, so that a file server is asked."""
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
