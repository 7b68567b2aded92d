"""A process that is forked while a thread of its parent is within something that one thread has at a time."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


def exit_code_within(make: Callable[[], AbstractContextManager[object]]) -> int:
    """Return the exit status of a forked process that enters what a thread of its parent has entered: 0, unless it waits for that thread."""
    has, done = threading.Event(), threading.Event()

    def use() -> None:
        with make():
            has.set()
            done.wait(30)

    thread = threading.Thread(target=use)
    thread.start()
    has.wait()
    child = os.fork()
    if not child:
        signal.alarm(2)  # ends it, should it wait
        with make(), make():
            os._exit(0)
    try:
        return os.waitpid(child, 0)[1]
    finally:
        done.set()
        thread.join()
