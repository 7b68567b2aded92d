"""Where the host is while something is measured: twenty times a second, in which function of tlkit, and in what that calls."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_EVERY = 0.05  # seconds
_OURS = ("/tlkit/", "/tlkit_", "/benchmarks/")


class Places:
    """How long the thread that made it was in which place, since then."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._seen: Counter[str] = Counter()

    def lines(self, most: int = 12) -> list[str]:
        """Return the places in which most time was spent, with seconds."""
        return [f"{count * _EVERY:.1f} s {place}" for place, count in self._seen.most_common(most)]

    def look(self) -> None:
        """Count where the thread is now."""
        frame = sys._current_frames().get(self._thread)
        if frame is not None:
            self._seen[_place(frame)] += 1


@contextmanager
def watched() -> Iterator[Places]:
    """Look at this thread from another one as long as the context lasts."""
    places, over = Places(), threading.Event()

    def look() -> None:
        while not over.wait(_EVERY):
            places.look()

    looking = threading.Thread(target=look, name="places", daemon=True)
    looking.start()
    try:
        yield places
    finally:
        over.set()
        looking.join()


def _place(frame: FrameType) -> str:
    """Return the two innermost functions of ours, and the innermost of all."""
    inner, ours, at = _told(frame), [], frame
    while at is not None and len(ours) < 2:
        if any(part in at.f_code.co_filename for part in _OURS):
            ours.append(_told(at))
        at = at.f_back
    told = " in ".join(ours) or "?"
    return told if ours and inner == ours[0] else f"{inner} of {told}"


def _told(frame: FrameType) -> str:
    file = "/".join(frame.f_code.co_filename.split("/")[-2:])  # of a frozen module its name alone
    return f"{file.removesuffix('.py')}.{frame.f_code.co_name}"
