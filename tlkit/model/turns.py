"""One thread at a time uses a model's network: whoever evaluates puts its BatchNorm into another mode, and back when it is done."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from tlkit.network.turns import Turn

P = ParamSpec("P")
R = TypeVar("R")


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
