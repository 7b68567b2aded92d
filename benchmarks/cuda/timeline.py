"""What a GPU did, in few lines: which kernels take the time of a step, after and before which it waits, and what runs beside it.

The rule: a line is a number of microseconds, how often, and of what; both are those of one replay, and of everything without replays.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

_NAME = 90  # characters of a kernel's name
_KERNELS, _OTHERS = 10, 6  # lines of a list


@dataclass(frozen=True)
class Event:
    """What a profiler saw.

    Attributes:
        begin: Microseconds.
        end: Likewise.
        launch: The kernels of one replay have it in common, and every other kernel or copy has one of its own.
        name: Of the kernel or copy, or of what the host called.
    """

    begin: float
    end: float
    launch: int
    name: str = ""


@dataclass(frozen=True)
class Timeline:
    """What takes time, the longest first.

    Attributes:
        kernels: Of the replays; all of them without replays.
        waits: Gaps within replays, of all kernels without replays: after which kernel, before which.
        between: Gaps from a replay to the next one, likewise, of all replays together.
        longest: The longest single gaps before the first replay and after the last.
        beside: Kernels and copies that no replay has.
        host: What the host called, which tells who waits for whom.
    """

    kernels: list[str]
    waits: list[str]
    between: list[str]
    longest: list[str]
    beside: list[str]
    host: list[str]


Gap = tuple[Event, Event]  # nothing runs from the end of the first to the begin of the second


def gaps(events: Iterable[Event]) -> Iterator[Gap]:
    """Yield the times that nothing covers, in order."""
    ordered = sorted(events, key=lambda event: (event.begin, event.end))
    last = ordered[0]
    for event in ordered[1:]:
        if event.begin > last.end:
            yield last, event
        last = max(last, event, key=lambda each: each.end)


def lines(events: Iterable[Event], *, over: int, most: int = _OTHERS) -> list[str]:
    """Return a line for each name, the longest first, of so many replays."""
    return _lines(((_short(event.name), event.end - event.begin) for event in events), over=over, most=most)


def waits(found: Iterable[Gap], *, over: int) -> list[str]:
    """Return a line for each pair of names, the longest gaps first, of so many replays."""
    spent = ((f"{_short(one.name)} -> {_short(other.name)}", other.begin - one.end) for one, other in found)
    return _lines(spent, over=over, most=_OTHERS)


def timeline(
    replayed: Iterable[Event], others: Iterable[Event], host: Iterable[Event], found: Mapping[str, Iterable[Gap]], *, replays: int
) -> Timeline:  # fmt: skip
    """Return what takes time.

    Args:
        replayed: Kernels of replays; all of them without replays.
        others: Kernels and copies that no replay has.
        host: What the host called.
        found: The gaps "within", "between" and "around".
        replays: How many there were.
    """
    over = max(replays, 1)
    return Timeline(
        kernels=lines(replayed, over=over, most=_KERNELS),
        waits=waits(found["within"], over=over),
        between=waits(found["between"], over=1),
        longest=waits(found["around"], over=1),
        beside=lines(others, over=over),
        host=lines(host, over=over),
    )


def _lines(spent: Iterable[tuple[str, float]], *, over: int, most: int) -> list[str]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for name, microseconds in spent:
        seconds[name].append(microseconds)
    longest = sorted(seconds.items(), key=lambda each: -sum(each[1]))[:most]
    return [f"{sum(each) / over:.1f} us in {len(each) / over:.3g}: {name}" for name, each in longest]


@cache
def _short(name: str) -> str:
    """Return a kernel's name without what says nothing: namespaces, arguments, what it gives back."""
    name = re.sub(r"^void |at::native::|\(anonymous namespace\)::|c10::|std::", "", name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 25]}...{name[-22:]}"
