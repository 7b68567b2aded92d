"""Networks on the meta device that arms share while they are planned, and what was computed of each of them.

The rule: outside `sharing` a network is built for each plan: a plugin's code may change between two, in a notebook for instance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from tlkit.network.network import Network

_Found = TypeVar("_Found")
_Shared = list[tuple[tuple[object, ...], Network]]

_MOST = 4  # networks that are kept, the last that were used: arms with the same network often follow each other
_shared: ContextVar[_Shared | None] = ContextVar("shared networks", default=None)
_computed: WeakKeyDictionary[Network, dict[tuple[Hashable, ...], object]] = WeakKeyDictionary()


@contextmanager
def sharing() -> Iterator[None]:
    """Let plans that are made until the end share networks that are built from the same. It may be nested."""
    token = _shared.set([] if (shared := _shared.get()) is None else shared)
    try:
        yield
    finally:
        _shared.reset(token)


def network(build: partial[Network]) -> Network:
    """Return the network that was built with equal arguments within `sharing`, or build it.

    Args:
        build: Builds it on the meta device; its arguments are all that the network depends on.
    """
    shared = _shared.get()
    if shared is None:
        return build()
    arguments = (build.args, build.keywords)
    said = repr(arguments)  # True and 1 are equal, and may be different options
    place = next((place for place, (known, _) in enumerate(shared) if known == arguments and repr(known) == said), None)
    shared.append((arguments, build()) if place is None else shared.pop(place))
    del shared[:-_MOST]
    return shared[-1][1]


def once(network: Network, question: tuple[Hashable, ...], compute: Callable[[], _Found]) -> _Found:
    """Return what was computed of a network before, or compute it; an error is not kept.

    Args:
        network: On the meta device.
        question: All that the answer depends on beside the network, such as which of its parameters train.
        compute: Gives the answer.
    """
    known = _computed.setdefault(network, {})
    if question not in known:
        known[question] = compute()
    return cast(_Found, known[question])
