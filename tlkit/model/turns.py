"""One thread at a time uses a model's network: whoever evaluates puts its BatchNorm into another mode, and back when it is done."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Turn:
    """A lock that its own thread may take again, as callbacks do. Copies of a model that share its network share it.

    A forked process waits for no thread of its parent: it has none of them.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            if self._lock.acquire(blocking=False):  # nobody has it, or this thread had it when it was forked
                self._lock.release()
            else:
                self._lock = threading.RLock()
            self._process = os.getpid()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __deepcopy__(self, memo: object) -> Turn:
        return Turn()


class _Shared(Protocol):
    _turn: Turn


M = TypeVar("M", bound=_Shared)


def in_turn(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Return a method of a model that waits until no other thread is in such a method of it."""

    @functools.wraps(method)
    def call(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._turn:
            return method(self, *args, **kwargs)

    return call
