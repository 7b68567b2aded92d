"""The loss of an epoch so far, read without waiting for the device: each look is a copy that is read at a later one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from tlkit.engine.step.step import Step


@dataclass(frozen=True)
class Seen:
    """What a look saw.

    Attributes:
        steps: Steps of the epoch that were taken before it.
        loss: Sum of the loss over their images.
        bad: Whether the loss of one of them is not a number.
    """

    steps: int
    loss: float
    bad: bool


class Looks(Protocol):
    """Looks at the sums of a step."""

    def look(self, steps: int) -> Seen | None:
        """Look after so many steps of an epoch; return what is known by now, None where nothing is."""

    def forget(self) -> None:
        """Begin another epoch."""


class Mark(Protocol):
    """A point in the work of a device."""

    def query(self) -> bool:
        """Return whether it is reached."""

    def synchronize(self) -> None:
        """Wait until it is."""


class LooksAtOnce:
    """Looks that see what they ask for: of the CPU, whose memory is the host's.

    Args:
        step: Whose sums.
    """

    def __init__(self, step: Step) -> None:
        self._step = step

    def look(self, steps: int) -> Seen:
        """Return the sums as they are."""
        return _seen(steps, self._step.so_far())

    def forget(self) -> None:
        """Nothing is waited for."""


class LooksLater:
    """Looks that copy the sums to pinned memory, and see what the one before copied if that is done.

    Args:
        step: Whose sums, on a CUDA device.
        there: (2,) float64, where they go: pinned memory.
        mark: Returns an event that has happened when all that was asked of the device so far is done.
    """

    def __init__(self, step: Step, there: Tensor, mark: Callable[[], Mark]) -> None:
        self._step, self._there, self._mark = step, there, mark
        self._asked: tuple[int, Mark] | None = None

    def look(self, steps: int) -> Seen | None:
        """Return what the look before saw; where its copy is not done yet, nothing, and the next look asks again."""
        seen = None
        if self._asked is not None:
            before, event = self._asked
            if not event.query():
                return None
            seen = _seen(before, self._there)
        self._there.copy_(self._step.so_far(), non_blocking=True)
        self._asked = steps, self._mark()
        return seen

    def forget(self) -> None:
        """Let go of the last look of an epoch, which nobody reads: the sums of the whole epoch are read after it."""
        if self._asked is not None:
            self._asked[1].synchronize()
        self._asked = None


def looks(step: Step, device: torch.device) -> Looks:
    """Return how the sums of a step are looked at on a device."""
    if device.type != "cuda":
        return LooksAtOnce(step)
    return LooksLater(step, torch.empty(2, dtype=torch.float64, pin_memory=True), partial(_marked, device))


def _marked(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    event.record(torch.cuda.current_stream(device))
    return event


def _seen(steps: int, so_far: Tensor) -> Seen:
    loss, bad = so_far.tolist()
    return Seen(steps, loss, bad >= 0)
