"""SIGINT, SIGTERM and SIGUSR1 as questions that are asked between two batches, so that what is saved is whole. Imports no torch."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tlkit.errors import Interrupted

_APART = 0.3  # seconds: signals closer than that are one, which a launcher passed on that the terminal had told too
_CURSOR = "\x1b[?25h"  # shows the cursor, which a bar hides: ECMA-48, DECTCEM
_told: set[int] = set()  # the descriptor that signals are written to while `ended_by_a_second` lasts


class Watch:
    """Remembers the signal that came. Call it between batches.

    Attributes:
        signum: The signal that asks to stop, if one came.
        asked: SIGUSR1 came: what asks is to save, and to set this back.

    Raises:
        Interrupted: when called after a signal that asks to stop.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.asked = False

    def __call__(self) -> None:
        """Raise if a signal came."""
        if self.signum is not None:
            raise Interrupted(
                self.signum, f"stopped by {signal.Signals(self.signum).name}.", "run the same command again to continue"
            )


class Terminated:
    """A handler of SIGTERM that stops a program as Ctrl-C does; a second one ends the process, as without us.

    Attributes:
        came: SIGTERM, once it came.
    """

    def __init__(self) -> None:
        self.came: list[int] = []

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Handle the first signal."""
        self.came.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt


@contextmanager
def watching() -> Iterator[Watch]:
    """Catch SIGINT, SIGTERM and SIGUSR1, in the main thread alone.

    A second one of the first two stops at once, as without us, unless it is one with the first.
    """
    watch, first = Watch(), 0.0
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    second = {number: signal.SIG_DFL if isinstance(each, Terminated) else each for number, each in before.items()}

    def remember(number: int, _: FrameType | None) -> None:
        nonlocal first
        if watch.signum is None:
            watch.signum, first = number, time.monotonic()
        elif time.monotonic() - first >= _APART:
            for each, handler in second.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    def ask(_: int, __: FrameType | None) -> None:
        watch.asked = True

    saving = {signal.SIGUSR1: signal.getsignal(signal.SIGUSR1)} if hasattr(signal, "SIGUSR1") else {}  # not on Windows
    for number in before:
        signal.signal(number, remember)
    for number in saving:
        signal.signal(number, ask)
    try:
        yield watch
    finally:
        for number, handler in ((before if watch.signum is None else second) | saving).items():
            signal.signal(number, handler)


@contextmanager
def ended_by_a_second() -> Iterator[None]:
    """End the process at a second SIGINT or SIGTERM, whatever computes; only in the main thread.

    A handler of Python waits until what computes in C returns, a fit of a solved head for minutes. No file is damaged: each is written beside,
    and renamed when it is whole. Signals of processes that are forked, as a pool ends its own, are theirs alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reads, writes = socket.socketpair()
    writes.setblocking(False)  # as set_wakeup_fd asks
    waiting = threading.Thread(target=_end_at_second, args=(reads,), daemon=True)
    before = signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
    _told.add(writes.fileno())
    waiting.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        _told.clear()
        writes.shutdown(socket.SHUT_WR)  # which ends the thread; closing does not where a forked process has it too
        waiting.join()
        writes.close()
        reads.close()


def _forked() -> None:
    """Tell the thread of the process that forked this one nothing of this one's signals."""
    if _told:
        signal.set_wakeup_fd(-1)
        _told.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


def _end_at_second(reads: socket.socket) -> None:
    """Read the numbers of signals as they come, until the other end is closed."""
    first = None
    while numbers := reads.recv(64):
        for number in numbers:
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            now = time.monotonic()
            first = now if first is None else first
            if now - first >= _APART:
                _end(signal.Signals(number))


def _end(number: signal.Signals) -> None:
    """End the process as it is, with a line and the cursor of its terminal."""
    shown = _CURSOR if sys.__stderr__ is not None and sys.__stderr__.isatty() else ""
    try:
        os.write(2, f"{shown}\nstopped at once by {number.name}; what was saved before is kept.\n".encode())
    finally:
        os._exit(128 + number)
