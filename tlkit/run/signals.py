"""SIGINT and SIGTERM as a question that is asked between two batches, so that what is saved is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tlkit.errors import Interrupted


class Watch:
    """Remembers the signal that came. Call it between batches.

    Raises:
        Interrupted: when called after a signal.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    def __call__(self) -> None:
        """Raise if a signal came."""
        if self.signum is not None:
            raise Interrupted(
                self.signum, f"stopped by {signal.Signals(self.signum).name}.", "run the same command again to continue"
            )


@contextmanager
def watching() -> Iterator[Watch]:
    """Catch SIGINT and SIGTERM; a second one of them stops at once, as without us. Only in the main thread."""
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, _: FrameType | None) -> None:
        watch.signum = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, remember)
    try:
        yield watch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
