"""The time that advice may take, in measured seconds. Imports no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tlkit.errors import OutOfTime, TlkitError

USUAL = "10m"


def words(seconds: float) -> str:
    """Return seconds as --budget takes them, rounded up: "45s", "10m"."""
    whole = math.ceil(seconds)
    return f"{whole}s" if whole < 120 else f"{math.ceil(whole / 60)}m"


@dataclass
class Budget:
    """A number of seconds from now on.

    Attributes:
        seconds: In all.
        clock: Tells the time, seconds. Another one than the usual tells processor time, which does not depend on what else runs.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return self.clock() - self._began

    @property
    def left(self) -> float:
        """Seconds that remain, at least 0."""
        return max(self.seconds - self.spent, 0.0)

    def watch(self, end: float) -> Callable[[], None]:
        """Return what stops a download that is not finished when so many seconds are spent.

        Args:
            end: Seconds since it began.
        """

        def stop() -> None:
            if self.spent > end:
                raise TlkitError(f"the download was stopped: it takes too much of a budget of {words(self.seconds)}.")

        return stop

    def each(self, count: int, *, end: float) -> float:
        """Return the seconds for each of several tasks that together end when so many seconds are spent.

        Args:
            count: Tasks that are left, one at least.
            end: Seconds since it began.
        """
        return max(end - self.spent, 0.0) / count


@dataclass
class Deadline:
    """What is called between two batches, and interrupts what computes them when the time is over.

    Attributes:
        budget: The time.
        watch: Called first; may raise to stop.
    """

    budget: Budget
    watch: Callable[[], None]

    def __call__(self) -> None:
        """Call the other, and look at the clock.

        Raises:
            OutOfTime: the time is over; or whatever the other raises.
        """
        self.watch()
        if self.budget.left <= 0:
            raise OutOfTime("there was no time for more.")
