"""One precision for the training steps of all arms of a recipe, and one compute format for each fixed prefix. Imports no torch.

The rule: no arm is rounded otherwise than its rival. A lower precision of the steps is taken where every arm was measured, stays within
the limit of steps in it, and all steps together are faster. Of several, the fastest is. The memory format of a step is chosen for each
arm alone, in `choices`. A fixed prefix is decided for itself, by the limit of prefixes, and is the same in every arm that has it, so
that these arms read the same stored outputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlkit import units
from tlkit.plans.plan import Plan
from tlkit.plans.prefix_output import why_images_differ
from tlkit.record.formats import Precision, SharedFormats, SharedPrecision, SharedPrefix
from tlkit.record.timings import MARGIN, STEP_TOLERANCE, TOLERANCE, Measurements, Timing, choose


def decide(arms: Sequence[tuple[Plan, Measurements]], kept: SharedFormats | None = None) -> SharedFormats:
    """Return what arms that are compared have in common.

    Args:
        arms: Plans, with what was measured of each; those whose recipe names a precision do not count.
        kept: What was decided before, which holds.
    """
    kept = kept or SharedFormats()
    asked = [(plan, measured) for plan, measured in arms if plan.tables.precision == "auto"]
    prefixes = {(each.network, each.stages): each for each in kept.prefixes}
    for plan, _ in asked:
        for cut in cuts(plan):
            which = network(plan), cut
            if which not in prefixes:
                prefixes[which] = _prefix(*which, asked)
    return SharedFormats(kept.step or _step(asked), tuple(prefixes.values()))


def is_decided(plan: Plan, kept: SharedFormats) -> bool:
    """Whether everything was decided before that a plan has in common with other arms."""
    trains, _ = needs(plan)
    return not (trains and kept.step is None) and all(kept.prefix(network(plan), cut) for cut in cuts(plan))


def needs(plan: Plan) -> tuple[bool, bool]:
    """Return whether a plan has a training step and whether it has a fixed prefix: what can be measured of it."""
    prefixes = [len(phase.prefix) for phase in plan.phases]
    return plan.learns == "steps" and min(prefixes) < plan.depth, max(prefixes) > 0


def cuts(plan: Plan) -> list[int]:
    """Return the number of leading stages of every fixed prefix of a plan."""
    return sorted({len(phase.prefix) for phase in plan.phases} - {0})


def network(plan: Plan) -> str:
    """Return what a recipe says of the network that a fixed prefix is of, so that two arms can be seen to have the same."""
    table = plan.tables.backbone
    said = {"name": table.name, "weights": table.weights, "options": table.options, "image_size": list(plan.image_size)}
    if table.input is not None:
        said["input"] = table.model_dump(mode="json")["input"]
    return json.dumps(said, sort_keys=True)


# ---- the training steps


@dataclass(frozen=True)
class _Step:
    """The measured training step of an arm.

    Attributes:
        arm: Its name.
        timings: In every format.
        images: That it is taken on in the whole run.
    """

    arm: str
    timings: Sequence[Timing]
    images: float

    def seconds(self, precision: Precision) -> float:
        """Return the seconds of all steps in a precision, in the fastest memory format that is within the limit."""
        known = [each for each in self.timings if each.compute_format.precision == precision]
        right = [each for each in known if each.error <= STEP_TOLERANCE] or known
        return self.images * min((each.seconds for each in right), default=math.inf)


def _step(asked: Sequence[tuple[Plan, Measurements]]) -> SharedPrecision | None:
    training = [(plan, measured) for plan, measured in asked if needs(plan)[0]]
    if not training:
        return None
    for _, measured in training:
        if not measured:
            return SharedPrecision("float32", measured.why)
    steps = [_Step(plan.arm, measured.step, plan.images.train * plan.epochs) for plan, measured in training if measured.step]
    lower: list[Precision] = [name for name in _measured(steps) if name != "float32"]
    off = {name: why for name in lower if (why := _too_far(name, steps))}
    near = [name for name in lower if name not in off]
    if not near:
        return SharedPrecision("float32", "; ".join(off.values()) if off else "nothing else was measured")
    names: tuple[Precision, ...] = ("float32", *near)
    seconds: dict[Precision, float] = {name: sum(step.seconds(name) for step in steps) for name in names}
    best: Precision = min(near, key=seconds.__getitem__)
    if not seconds[best] <= seconds["float32"] * (1 - MARGIN):
        best = "float32"
    against = ", ".join(f"{units.seconds(seconds[name])} in {name}" for name in seconds if name != best)
    return SharedPrecision(best, f"about {units.seconds(seconds[best])} of training steps, against {against}")


def _measured(steps: Sequence[_Step]) -> list[Precision]:
    """Return the precisions in which every step was measured."""
    each = [[timing.compute_format.precision for timing in step.timings] for step in steps]
    return [name for name in dict.fromkeys(each[0] if each else ()) if all(name in names for names in each)]


def _too_far(name: Precision, steps: Sequence[_Step]) -> str:
    """Return which arm's step is too far from float32 in a precision, and how far; empty where none is."""
    for step in steps:
        best = min(each.error for each in step.timings if each.compute_format.precision == name)
        if best > STEP_TOLERANCE:
            far = f"{best:.1%} off float32 on real images, allowed is {STEP_TOLERANCE:.0%}"
            return f"in {name} {step.arm} is {far if math.isfinite(best) else 'not possible'}"
    return ""


# ---- the fixed prefixes


def _prefix(name: str, cut: int, asked: Sequence[tuple[Plan, Measurements]]) -> SharedPrefix:
    """Decide for a fixed prefix by its timings in all arms that have it: their mean over images, and the largest error."""
    having = [(plan, measured) for plan, measured in asked if network(plan) == name and cut in cuts(plan)]
    timings: tuple[Timing, ...] = ()
    why = next((measured.why for _, measured in having if not measured.prefix(cut)), "")
    if not why:
        timings = tuple(_mean(cut, having))
    return SharedPrefix(name, cut, *choose(timings, None, limit=TOLERANCE, why=why))


def _mean(cut: int, having: Sequence[tuple[Plan, Measurements]]) -> Iterator[Timing]:
    images = [max(_images(plan, cut), 1) for plan, _ in having]
    each = [{timing.compute_format: timing for timing in measured.prefix(cut)} for _, measured in having]
    for compute_format in each[0]:
        if all(compute_format in timings for timings in each):
            mine = [timings[compute_format] for timings in each]
            seconds = sum(count * timing.seconds for count, timing in zip(images, mine, strict=True)) / sum(images)
            yield Timing(compute_format, seconds, max(timing.error for timing in mine))


def _images(plan: Plan, cut: int) -> int:
    """Return the images that pass through a fixed prefix in the whole run."""
    epochs = [phase.epochs for phase in plan.phases if len(phase.prefix) == cut]
    passes = sum(epochs) if why_images_differ(plan) else len(epochs)
    return plan.images.train * passes + plan.images.held_out
