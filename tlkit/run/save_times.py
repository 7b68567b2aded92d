"""When a run is saved in the middle of an epoch: so long after it was last saved, and when a signal asks for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tlkit.run.signals import Watch

EVERY = 300.0  # seconds


@dataclass
class SaveTimes:
    """Says when.

    Attributes:
        every: Seconds between two checkpoints; infinite for none within an epoch.
        watch: Remembers a signal that asks for one.
    """

    every: float = EVERY
    watch: Watch = field(default_factory=Watch)
    _last: float = field(default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Return whether to save now."""
        return self.watch.asked or time.monotonic() - self._last >= self.every

    def saved(self) -> None:
        """Begin to wait again."""
        self.watch.asked, self._last = False, time.monotonic()
