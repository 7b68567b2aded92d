"""Remember the measured speed of compute formats on this machine. Imports no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter

from tlkit.errors import TlkitError
from tlkit.plugin import remembered
from tlkit.record.formats import PLAIN_FORMAT, compute_formats
from tlkit.record.timings import Measurements, Timing

# Where threads waited for a processor for more than this part of the time, other programs were busy, and what was measured may
# choose for a day, not for good: seconds.
BUSY = 0.2
_DAY = 86_400.0
_ADAPTER = TypeAdapter(Measurements)


def recall(depends_on: Mapping[str, object]) -> Measurements | None:
    """Return the measurements for the same values, or None; an impossible record counts as none, as does an old one of a busy time.

    Args:
        depends_on: The values; "precision" is the one that was measured, where it is not "auto".
    """
    try:
        found = _ADAPTER.validate_python(remembered.recall(depends_on))
    except (TlkitError, ValueError, RecursionError):
        return None
    if not is_good(found.waited, found.taken):
        return None
    asked = depends_on.get("precision", "auto")
    return found if all(_whole(timings, asked) for timings in (found.step, *dict(found.prefixes).values())) else None


def is_good(waited: float, taken: float) -> bool:
    """Whether what was measured may still choose.

    Args:
        waited: The part of the time, 0 to 1, in which threads waited for a processor that another program had.
        taken: When it was measured, in seconds since 1970.
    """
    return waited <= BUSY or 0 <= time.time() - taken < _DAY


def remember(depends_on: Mapping[str, object], measured: Measurements) -> None:
    """Store measurements; a cache that cannot be written is no error."""
    remembered.remember(depends_on, _ADAPTER.dump_python(measured, mode="json"))


def _whole(timings: Sequence[Timing], asked: object) -> bool:
    """Whether the timings hold each memory format once, or nothing, of the precision asked for or of float32 and others, and are possible."""
    found = [each.compute_format for each in timings]
    precisions = list(dict.fromkeys(each.precision for each in found))
    right = precisions == [asked] if asked != "auto" else len(precisions) > 1 and PLAIN_FORMAT in found
    whole = len(found) == len(set(found)) and set(found) == set(compute_formats(precisions))
    return not timings or (right and whole and all(map(_possible, timings)))


def _possible(timing: Timing) -> bool:
    """Whether a timing is possible: positive seconds, an error of at least 0, no NaN.

    The error of an output that is not finite is infinite. So are both where the form cannot be run, which is never PLAIN.
    """
    if timing.seconds == math.inf:
        return timing.error == math.inf and timing.compute_format != PLAIN_FORMAT
    return timing.seconds > 0 and timing.error >= 0
