"""Remember the fastest kernels of convolutions' gradients on this machine. Imports no torch.

The rule: one record holds all of one machine with one version of torch and of the kernels, so that networks share what they have
in common. Two processes that write at once may lose timings of one, which are then measured again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from tlkit.plugin import remembered
from tlkit.record.kernels import Convolution, KernelTiming, Part
from tlkit.store.measurements import is_good

Key = tuple[Convolution, Part, int]


@dataclass(frozen=True)
class Taken:
    """A timing, and how it was taken.

    Attributes:
        timing: The timing.
        waited: The part of the time, 0 to 1, in which threads waited for a processor that another program had.
        taken: When, in seconds since 1970.
    """

    timing: KernelTiming
    waited: float
    taken: float

    @property
    def key(self) -> Key:
        """The convolution, the gradient and the number of images."""
        return self.timing.convolution, self.timing.part, self.timing.images


_ADAPTER = TypeAdapter(tuple[Taken, ...])


def recall(machine: Mapping[str, object]) -> dict[Key, KernelTiming]:
    """Return the timings of a machine; an old one of a busy time does not count, and a damaged record is none."""
    return {each.key: each.timing for each in _read(machine) if is_good(each.waited, each.taken)}


def remember(machine: Mapping[str, object], timings: Iterable[KernelTiming], *, waited: float) -> None:
    """Store timings beside those that are known; a cache that cannot be written is no error.

    Args:
        machine: Everything that they depend on besides the convolution.
        timings: What was measured.
        waited: The part of the time, 0 to 1, in which threads waited for a processor that another program had.
    """
    new = {each.key: each for each in (Taken(timing, waited, time.time()) for timing in timings)}
    old = {each.key: each for each in _read(machine)}
    remembered.remember(_kept_as(machine), _ADAPTER.dump_python(tuple({**old, **new}.values()), mode="json"))


def _read(machine: Mapping[str, object]) -> tuple[Taken, ...]:
    try:
        found: tuple[Taken, ...] = _ADAPTER.validate_python(remembered.recall(_kept_as(machine)) or ())
    except (ValueError, RecursionError):
        return ()
    return tuple(each for each in found if each.timing.seconds > 0 and each.timing.native_seconds > 0)


def _kept_as(machine: Mapping[str, object]) -> dict[str, object]:
    return {"kernels": "of convolutions", **machine}
