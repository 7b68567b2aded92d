"""What was measured on this machine, remembered by what it depends on. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter

from tlkit.errors import TlkitError
from tlkit.plugin import remembered
from tlkit.record.formats import COMPUTE_FORMATS, PLAIN_FORMAT, Measurements, Timing

_ADAPTER = TypeAdapter(Measurements)


def recall(facts: Mapping[str, object]) -> Measurements | None:
    """Return what was measured for the same facts, or None; a record that no measuring can have written is as none."""
    try:
        found = _ADAPTER.validate_python(remembered.recall(facts))
    except (TlkitError, ValueError, RecursionError):
        return None
    return found if all(map(_whole, [found.step, *(timings for _, timings in found.prefixes)])) else None


def remember(facts: Mapping[str, object], measured: Measurements) -> None:
    """Keep measurements; a cache that cannot be written costs time, never an error."""
    remembered.remember(facts, _ADAPTER.dump_python(measured, mode="json"))


def _whole(timings: Sequence[Timing]) -> bool:
    """Whether the timings of a part are of every form once, or none, and each is one that can be."""
    compute_formats = [each.compute_format for each in timings]
    return not timings or (
        len(compute_formats) == len(COMPUTE_FORMATS) == len(set(compute_formats)) and all(map(_possible, timings))
    )


def _possible(timing: Timing) -> bool:
    """Whether a clock and a comparison can have given a timing; NaN is in no order.

    The error of an output that is not finite is infinite. So are both where the form cannot be run, which is never PLAIN.
    """
    if timing.seconds == math.inf:
        return timing.error == math.inf and timing.compute_format != PLAIN_FORMAT
    return timing.seconds > 0 and timing.error >= 0
