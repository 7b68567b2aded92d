"""The time that advice may take, in measured seconds. Imports no torch."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field

from tlkit.errors import TlkitError, option

USUAL = "10m"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str) -> float:
    """Return the seconds of "90s", "10m" or "1h"; a number alone is seconds.

    Raises:
        TlkitError: it is no such time, or not above 0.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smh]?)\s*", text)
    if not found or not float(found[1]):
        raise TlkitError(f"{option('budget', text)}: is no time.", "a number of seconds, minutes or hours: 90s, 10m, 1h")
    return float(found[1]) * _UNITS[found[2] or "s"]


def words(seconds: float) -> str:
    """Return seconds as --budget takes them, rounded up: "45s", "10m"."""
    whole = math.ceil(seconds)
    return f"{whole}s" if whole < 120 else f"{math.ceil(whole / 60)}m"


@dataclass
class Budget:
    """A number of seconds from now on.

    Attributes:
        seconds: In all.
    """

    seconds: float
    _began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that remain, at least 0."""
        return max(self.seconds - self.spent, 0.0)

    def each(self, count: int, *, end: float) -> float:
        """Return the seconds for each of several tasks that together end when so many seconds are spent.

        Args:
            count: Tasks that are left, one at least.
            end: Seconds since it began.
        """
        return max(end - self.spent, 0.0) / count
