"""From a plan and what is known of this machine's speed to the same plan with its forms and stores chosen. Imports no torch.

The rule: every choice carries its reason and its sum; with nothing measured, float32 and FLOPs decide, and the reason says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tlkit import files, units
from tlkit.plans import packing, precision, unlabelled
from tlkit.plans.plan import Choice, PhasePlan, Plan, StagePlan
from tlkit.plans.prefix_output import pools_after, prefix_shape, runs_on, why_images_differ
from tlkit.record.formats import (
    PLAIN_FORMAT,
    ComputeFormat,
    MemoryFormat,
    NotStored,
    PrefixPlan,
    SharedFormats,
    StorePlan,
    chunk_on,
    usual_layout,
)
from tlkit.record.kernels import ChosenKernel
from tlkit.record.timings import STEP_TOLERANCE, TOLERANCE, EarlierChoices, Measurements, Timing, choose

# Where nothing is measured: floating-point operations a second, of a small CPU in float32.
ASSUMED_RATE = 5e10
# Bytes a second at which stored rows are read again; from the page cache it is several times faster.
_READ_RATE = 1e9
# And at which they are computed into it: with checksums and flushed to the disk.
_WRITE_RATE = 5e8
_SIZES = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}


def decide(
    plan: Plan,
    measured: Measurements,
    *,
    room: int,
    earlier: EarlierChoices | None = None,
    shared: SharedFormats | None = None,
    device: str = "cpu",
) -> Plan:
    """Choose forms and stores.

    Args:
        plan: The plan before compute formats and stores are chosen.
        measured: What was measured on this machine.
        room: Bytes that the store may take.
        earlier: Forms of a run that is continued.
        shared: What all arms of the recipe have in common; by default what this one alone would.
        device: The type of device that the run uses.
    """
    if shared is None:
        shared = precision.decide([(plan, measured)])
    layout = usual_layout(device)
    compute_format, reason = _step_form(plan, measured, earlier, shared, layout)
    choices = [*plan.choices]
    if shared.step and earlier is None and plan.tables.precision == "auto" and precision.needs(plan)[0]:
        choices.append(Choice("training steps of all arms", shared.step.precision, shared.step.reason))
    choices.append(Choice("training step", str(compute_format), reason))
    evaluated = _evaluation(plan, compute_format, measured, earlier)
    if evaluated != compute_format:
        choices.append(Choice("evaluation", str(evaluated), f"the training step is more than {TOLERANCE:.0%} off float32"))
    kernels = _kernels(plan, compute_format, measured, earlier)
    choices += kernel_choices(kernels, measured.of_step(compute_format))
    phases = []
    for number, phase in enumerate(plan.phases, start=1):
        fixed = _prefix(plan, phase, measured, room, earlier, shared, layout)
        phases.append(replace(phase, fixed=replace(fixed[0], chunk=chunk_on(device, plan.pixels)) if fixed else None))
        if fixed:
            name = "fixed prefix" if len(plan.phases) == 1 else f"fixed prefix, phase {number}"
            choices.append(Choice(name, str(fixed[0].compute_format), fixed[1]))
            choices += _stored(name, fixed[0])
    return replace(
        plan, compute_format=compute_format, evaluation_format=None if evaluated == compute_format else evaluated,
        kernels=kernels, phases=tuple(phases), choices=tuple(choices),
    )  # fmt: skip


def work(plan: Plan) -> float:
    """Return the floating-point operations of a whole run: three forward passes where a stage trains, one where it is fixed.

    Of images that repeat, the fixed prefix counts once for each phase and view. Images of a target that steps take are counted as those
    of the source are.
    """
    total = 0.0
    every, repeats = plan.images.held_out + plan.images.target, not why_images_differ(plan)
    beside, augmented = _beside(plan), bool(plan.tables.data.augment)
    for phase in plan.phases:
        epochs, trained = phase.epochs, plan.at(phase.image_size)
        once = phase.views_used(plan.tables.data.augment_views or 1) if repeats else epochs
        fixed, rest = _divided(trained, phase)
        total += plan.images.train * (once * fixed + epochs * 3 * rest)
        if beside:  # images that are not augmented are stored once, those that are evaluated among them
            total += _of_steps(plan) * augmented * once * fixed if repeats else beside * epochs * fixed
            total += beside * epochs * 3 * rest
        fixed, rest = _divided(plan, phase)
        total += every * (fixed + epochs * rest)
    return total


def batch_images(plan: Plan) -> int:
    """Return how many images a training step's batch has, with those of a target that it takes."""
    train = plan.images.train
    return plan.batch_size * (train + _beside(plan)) // train if train else plan.batch_size


def _beside(plan: Plan) -> int:
    """Return how many images of a target the steps of an epoch take."""
    found, size = unlabelled.of_plan(plan), plan.batch_size
    if found is None or plan.learns != "steps":
        return 0
    full, last = divmod(plan.images.train, size)
    labelled = full * min(size, plan.images.labelled) + min(last, plan.images.labelled)
    return labelled + plan.images.train * found.beside


def _of_steps(plan: Plan) -> int:
    """Return how many different images of a target steps take, where they take some."""
    found = unlabelled.of_plan(plan)
    return plan.images.target if found is not None and found.beside else plan.images.labelled


def _divided(plan: Plan, phase: PhasePlan) -> tuple[int, int]:
    """Return the floating-point operations of a phase's fixed prefix for one image, and those of the rest."""
    fixed = flops(plan, 0, len(phase.prefix))
    return fixed, plan.flops_per_image - fixed


def _step_form(
    plan: Plan, measured: Measurements, earlier: EarlierChoices | None, shared: SharedFormats, layout: MemoryFormat
) -> tuple[ComputeFormat, str]:
    if earlier is not None:
        return earlier.step, "kept from when this run began"
    if plan.learns != "steps":
        return PLAIN_FORMAT, "there is none: " + ("the head is solved" if plan.learns == "solved" else "nothing is trained")
    if all(len(phase.prefix) == plan.depth for phase in plan.phases):
        return PLAIN_FORMAT, "only the head trains, which takes no time to speak of"
    asked = plan.tables.precision
    if asked != "auto":
        return choose(measured.step, asked, limit=STEP_TOLERANCE, why=measured.why, exactly=True, layout=layout)
    step = "float32" if shared.step is None else shared.step.precision
    return choose(measured.step, step, limit=STEP_TOLERANCE, why=measured.why, layout=layout)


def _evaluation(
    plan: Plan, compute_format: ComputeFormat, measured: Measurements, earlier: EarlierChoices | None
) -> ComputeFormat:
    """Return in which format trained stages are evaluated: that of the step, if the recipe asks for it or it is near enough to float32."""
    if earlier is not None:
        return earlier.evaluation or compute_format
    timing = measured.of_step(compute_format)
    if plan.tables.precision != "auto" or timing is None or timing.error <= TOLERANCE:
        return compute_format
    return ComputeFormat("float32", compute_format.layout)


def _kernels(
    plan: Plan, compute_format: ComputeFormat, measured: Measurements, earlier: EarlierChoices | None
) -> tuple[ChosenKernel, ...]:
    if earlier is not None:
        return earlier.kernels
    timing = measured.of_step(compute_format) if plan.learns == "steps" else None
    return () if timing is None else timing.kernels


def kernel_choices(kernels: Sequence[ChosenKernel], timing: Timing | None) -> list[Choice]:
    """Say how many gradients other kernels than the library's compute, and how much faster a step is with them."""
    if not kernels:
        return []
    reason = "kept from when this run began"
    if timing is not None and timing.native_seconds is not None:
        reason = f"a step is {timing.native_seconds / timing.seconds:.2g} times faster, measured"
    return [
        Choice(
            "kernels", f"{len(kernels)} gradient{'s' if len(kernels) > 1 else ''} by other kernels than the library's", reason
        )
    ]


def _prefix(
    plan: Plan, phase: PhasePlan, measured: Measurements, room: int, earlier: EarlierChoices | None, shared: SharedFormats,
    layout: MemoryFormat,
) -> tuple[PrefixPlan, str] | None:  # fmt: skip
    cut = len(phase.prefix)
    if not cut:
        return None
    timings = measured.prefix(cut)
    asked, decided = plan.tables.precision, shared.prefix(precision.network(plan), cut)
    if earlier is not None and cut in earlier.prefixes:
        compute_format, reason = earlier.prefixes[cut], "kept from when this run began"
    elif asked != "auto":
        compute_format, reason = choose(timings, asked, limit=TOLERANCE, why=measured.why, exactly=True, layout=layout)
    elif decided is not None:
        compute_format, reason = decided.compute_format, decided.reason
    else:
        compute_format, reason = choose(timings, None, limit=TOLERANCE, why=measured.why)
    known = next((each.seconds for each in timings if each.compute_format == compute_format), None)
    seconds = flops(plan, 0, cut) / ASSUMED_RATE if known is None else known  # for one image
    sums = _Sums(plan, cut, compute_format, seconds, estimated=known is None)
    held_out = plan.images.held_out + plan.images.target
    evaluation = sums.best(held_out, 1, phase, room, what="held-out images") if held_out and plan.tile is None else None
    kind_not, why_not = sums.why(held_out, room) if held_out and evaluation is None else (None, "")
    if held_out and plan.tile is not None:
        kind_not, why_not = NotStored.NOT_FASTER, "they are evaluated in tiles"
    train, why = None, why_images_differ(plan)
    kind = NotStored.CHANGES if why else None
    if not why and plan.images.train:
        left = room - (evaluation.bytes_per_image * evaluation.images if evaluation is not None else 0)
        views = phase.views_used(plan.tables.data.augment_views or 1) if plan.tables.data.augment else 1
        if phase.image_size is not None:
            other = plan.at(phase.image_size)
            part = flops(other, 0, cut) / max(flops(plan, 0, cut), 1)
            sums = _Sums(other, cut, compute_format, seconds * part, estimated=True)
        train = sums.best(plan.images.train, views, phase, left, what="images")
        kind, why = (None, "") if train is not None else sums.why(plan.images.train * views, left)
    return PrefixPlan(
        compute_format=compute_format, train=train, evaluation=evaluation, reason=why, evaluation_reason=why_not,
        not_stored=kind, evaluation_not_stored=kind_not,
    ), reason  # fmt: skip


@dataclass(frozen=True)
class _Sums:
    """What storing after each leading stage costs and saves."""

    plan: Plan
    cut: int
    compute_format: ComputeFormat
    seconds: float
    estimated: bool

    def best(self, images: int, views: int, phase: PhasePlan, room: int, *, what: str) -> StorePlan | None:
        """Return the cut that makes an epoch shortest within the room, or None where none makes it shorter."""
        whole, epochs = images * self.seconds, phase.epochs
        found: list[tuple[float, StorePlan]] = []
        for stages in self._cuts():
            size = self._bytes(stages)
            epoch = images * (size / _READ_RATE + self._rest(stages))
            writing = size * images * views / _WRITE_RATE
            if size * images * views <= room and epoch * epochs + writing < whole * epochs:
                found.append((epoch * epochs + writing, self._plan(stages, size, images, views, epochs, whole - epoch, what)))
        return min(found, key=lambda each: each[0], default=(0.0, None))[1]

    def why(self, rows: int, room: int) -> tuple[NotStored, str]:
        """Return why no cut of so many rows is worth keeping, and the same in words."""
        least = min(map(self._bytes, self._cuts())) * rows
        if least > room:
            store = f"the store's {units.size(max(room, 0))}" + ("" if room > 0 else f" in {files.told_cache()}")
            return NotStored.NO_ROOM, f"no cut of it fits {store}: the smallest takes {units.size(least)}"
        return NotStored.NOT_FASTER, "computing it is as fast as keeping it"

    def _plan(self, stages: int, size: int, images: int, views: int, epochs: int, saves: float, what: str) -> StorePlan:
        name = self.plan.stages[stages - 1].name + (", pooled" if self._pooled(stages) else "") + self._beside(stages)
        count = f"{images:,} {what}" + (f" x {views} views" if views > 1 else "")
        about = "about " if self.estimated else ""
        halved = _SIZES[self.compute_format.precision] == 2 and not self._pooled(stages)
        stored_as = self.compute_format.precision if halved else "float32"
        reason = (
            f"cut after {name}: {units.size(size)} x {count} = {units.size(size * images * views)} in {stored_as}, "
            f"saves {about}{units.seconds(saves)} an epoch"
        )
        return StorePlan(stages, size, images * views, saves, reason if epochs > views else f"{reason} of later runs")

    def _cuts(self) -> list[int]:
        return [stages for stages in range(1, self.cut + 1) if runs_on(self.plan, stages, self.cut)]

    def _bytes(self, stages: int) -> int:
        if self._pooled(stages):
            return self.plan.stages[stages - 1].output[0] * _SIZES["float32"]
        return math.prod(prefix_shape(self.plan, stages)) * _SIZES[self.compute_format.precision]

    def _pooled(self, stages: int) -> bool:
        return pools_after(self.plan, stages)

    def _beside(self, stages: int) -> str:
        """Say of which earlier stages the maps, or the means, are kept beside the last one's map, and so needed later."""
        plan = self.plan
        names = [plan.stages[stage].name for stage in packing.needed(plan.reads or plan.compared, stages)[:-1]]
        return f" with the {'maps' if plan.reads else 'means'} of {', '.join(names)}" if names else ""

    def _rest(self, stages: int) -> float:
        """Seconds of the stages that are run again in every epoch, for one image: by their part of the FLOPs."""
        return self.seconds * flops(self.plan, stages, self.cut) / max(flops(self.plan, 0, self.cut), 1)


def _stored(name: str, fixed: PrefixPlan) -> list[Choice]:
    lines = []
    if fixed.train is not None:
        lines.append(Choice(f"{name}, training images", "computed once and stored", fixed.train.reason))
    elif fixed.reason:  # without one no image of [data] is trained on
        lines.append(Choice(f"{name}, training images", "computed in every epoch", fixed.reason))
    if fixed.evaluation is not None:
        lines.append(Choice(f"{name}, held-out images", "computed once and stored", fixed.evaluation.reason))
    elif fixed.evaluation_reason:
        lines.append(Choice(f"{name}, held-out images", "computed in every epoch", fixed.evaluation_reason))
    return lines


def flops(plan: Plan, start: int, stop: int) -> int:
    """Return the floating-point operations of a range of stages, for one image."""
    return sum(stage.flops for stage in _backbone(plan)[start:stop])


def training_flops(plan: Plan, phase: PhasePlan) -> int:
    """Return the floating-point operations of training on one image: three forward passes of what trains, and the prefix where it is run."""
    stored = phase.fixed is not None and phase.fixed.train is not None
    before = flops(plan, 0, len(phase.prefix))
    return 3 * (plan.flops_per_image - before) + (0 if stored else before)


def _backbone(plan: Plan) -> Sequence[StagePlan]:
    return plan.stages[: plan.depth]
