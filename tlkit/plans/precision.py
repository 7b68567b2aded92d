"""One precision for all arms of a recipe, so that no arm is rounded otherwise than its rival. Imports no torch.

The rule: a lower precision is taken where every arm was measured, stays within the tolerance in it, and all of them together are faster.
Of several, the fastest is.
The memory format is chosen for each part alone, in `choices`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tlkit import units
from tlkit.plans.plan import Plan, why_images_differ
from tlkit.record.formats import Precision, SharedPrecision
from tlkit.record.timings import MARGIN, TOLERANCE, Measurements, Timing


def decide(arms: Sequence[tuple[Plan, Measurements]]) -> SharedPrecision:
    """Return the precision for arms that are compared.

    Args:
        arms: Plans, with what was measured of each; those whose recipe names a precision do not count.
    """
    asked = [(plan, measured) for plan, measured in arms if plan.tables.precision == "auto"]
    for plan, measured in asked:
        if any(needs(plan)) and not measured:
            return SharedPrecision("float32", measured.why)
    parts = [(plan.arm, part) for plan, measured in asked for part in _parts(plan, measured) if part.timings]
    lower: list[Precision] = [name for name in _measured(parts) if name != "float32"]
    off = {name: why for name in lower if (why := _too_far(name, parts))}
    near = [name for name in lower if name not in off]
    if not near:
        return SharedPrecision("float32", "; ".join(off.values()) if off else "nothing else was measured")
    names: tuple[Precision, ...] = ("float32", *near)
    seconds: dict[Precision, float] = {name: sum(part.seconds(name) for _, part in parts) for name in names}
    best: Precision = min(near, key=seconds.__getitem__)
    if not seconds[best] <= seconds["float32"] * (1 - MARGIN):
        best = "float32"
    against = ", ".join(f"{units.seconds(seconds[name])} in {name}" for name in seconds if name != best)
    return SharedPrecision(best, f"about {units.seconds(seconds[best])} of training and evaluation, against {against}")


def _measured(parts: Sequence[tuple[str, _Part]]) -> list[Precision]:
    """Return the precisions in which every part was measured."""
    each = [[timing.compute_format.precision for timing in part.timings] for _, part in parts]
    return [name for name in dict.fromkeys(each[0] if each else ()) if all(name in names for names in each)]


def _too_far(name: Precision, parts: Sequence[tuple[str, _Part]]) -> str:
    """Return which arm is too far from float32 in a precision, and how far; empty where none is."""
    for arm, part in parts:
        best = min(each.error for each in part.timings if each.compute_format.precision == name)
        if best > TOLERANCE:
            far = (
                f"{best:.1%} off float32 on real images, allowed is {TOLERANCE:.0%}" if math.isfinite(best) else "not possible"
            )
            return f"in {name} {arm} is {far}"
    return ""


def needs(plan: Plan) -> tuple[bool, bool]:
    """Return whether a plan has a training step and whether it has a fixed prefix: what can be measured of it."""
    prefixes = [len(phase.prefix) for phase in plan.phases]
    return plan.learns == "steps" and min(prefixes) < plan.depth, max(prefixes) > 0


@dataclass(frozen=True)
class _Part:
    """A part of a network that was measured.

    Attributes:
        timings: In every format.
        images: That pass through it in the whole run.
    """

    timings: Sequence[Timing]
    images: float

    def seconds(self, precision: Precision) -> float:
        """Return the seconds that it takes in a precision, in the fastest memory format that is within the tolerance."""
        known = [each for each in self.timings if each.compute_format.precision == precision]
        right = [each for each in known if each.error <= TOLERANCE] or known
        return self.images * min((each.seconds for each in right), default=math.inf)


def _parts(plan: Plan, measured: Measurements) -> list[_Part]:
    """Return the parts of a plan's network that are measured, as far as they are."""
    step, _ = needs(plan)
    parts = [_Part(measured.step, plan.images.train * plan.epochs)] if step else []
    for cut in sorted({len(phase.prefix) for phase in plan.phases} - {0}):
        epochs = [phase.last - phase.first + 1 for phase in plan.phases if len(phase.prefix) == cut]
        passes = sum(epochs) if why_images_differ(plan) else len(epochs)
        parts.append(_Part(measured.prefix(cut), plan.images.train * passes + plan.images.held_out))
    return parts
