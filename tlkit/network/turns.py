"""A lock that several threads take in turn, and that refuses to wait where they would wait for each other forever."""

from __future__ import annotations

import os
import threading

from tlkit.errors import TlkitError

_waiting: dict[int, Turn] = {}  # thread -> what it waits for


class Turn:
    """A lock that its own thread may take again, as callbacks do. Copies of a model that share its network share it.

    A forked process waits for no thread of its parent: it has none of them.

    Attributes:
        training: The thread that has it trains the model.

    Raises:
        TlkitError: the thread that has it waits, maybe through others, for one that this thread has.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.training = False
        self._lock, self._process = threading.RLock(), os.getpid()
        self._owner, self._times = 0, 0  # the thread that has it, 0 for none, and how often

    def __enter__(self) -> None:
        mine = threading.get_ident()
        if self._process != os.getpid():
            if self._lock.acquire(blocking=False):  # nobody has it, or this thread had it when it was forked
                self._lock.release()
                self._process = os.getpid()
            else:
                self._start()
        if not self._lock.acquire(blocking=False):
            self._wait(mine)
        self._owner, self._times = mine, self._times + 1

    def __exit__(self, *_: object) -> None:
        self._times -= 1
        if not self._times:
            self._owner = 0
        self._lock.release()

    def __deepcopy__(self, memo: object) -> Turn:
        return Turn()

    def _wait(self, mine: int) -> None:
        _waiting[mine] = self  # before it is looked: of two threads that begin to wait, one at least sees the other
        try:
            wanted: Turn | None = self
            while wanted is not None:
                if wanted._owner == mine:
                    raise TlkitError(
                        "another thread has the model, and waits for one that this thread has; both would wait forever.",
                        "a callback uses no model that another thread trains; copy.deepcopy(model) is one of its own",
                    )
                wanted = _waiting.get(wanted._owner)
            self._lock.acquire()
        finally:
            del _waiting[mine]
